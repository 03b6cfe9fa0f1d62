//! Rounding, as often as there are samples.

/// Below this the sum with [`MAGIC`] has a unit of one, so that adding it rounds.
const LIMIT: f64 = (1u64 << 51) as f64;
/// 1.5 * 2^52: of either sign of the other summand, the sum lies where floats are whole numbers.
const MAGIC: f64 = (3u64 << 51) as f64;

/// The nearest whole number, halves away from zero: `f64::round`, which is a call of a function on machines as old as
/// those that programs are built for. The sign of a zero is not kept.
#[must_use]
pub fn round(value: f64) -> f64 {
    if value.abs() >= LIMIT || value.is_nan() {
        return value.round();
    }
    let near = (value + MAGIC) - MAGIC;
    let rest = value - near;
    // The sum rounds halves to even.
    if rest.abs() == 0.5 && (rest > 0.0) == (value > 0.0) { near + rest + rest } else { near }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(value: f64) {
        let (own, expected) = (round(value), value.round());
        assert!(own == expected || (own.is_nan() && expected.is_nan()), "{value}: {own} instead of {expected}");
    }

    proptest! {
        #[test]
        fn it_rounds_as_the_standard_library_does(bits: u64, whole in -(1i64 << 53)..(1i64 << 53), part in 0u32..8) {
            check(f64::from_bits(bits));
            check(whole as f64 / 8.0);
            check((whole >> 20) as f64 + f64::from(part) / 8.0);
        }
    }

    #[test]
    fn halves_go_away_from_zero() {
        for whole in -5..=5 {
            check(f64::from(whole) + 0.5);
            check(f64::from_bits((f64::from(whole) + 0.5).to_bits() - 1));
        }
        for edge in [
            LIMIT,
            LIMIT - 0.5,
            LIMIT - 1.5,
            LIMIT + 0.5,
            0.5f64.next_down(),
            f64::MAX,
            f64::INFINITY,
            f64::NAN,
            5e-324,
        ] {
            check(edge);
            check(-edge);
        }
    }
}
