//! Quantiles of the chi-square distribution, for confidence intervals of rates.
//!
//! The regularized incomplete gamma function by its series and its continued fraction (Abramowitz and Stegun, Handbook of
//! Mathematical Functions, 6.5.29 and 6.5.31; Lentz's method), inverted by bisection: it rises strictly, and two hundred
//! halvings end below the distance of two neighbouring numbers.

/// The value below which a chi-square variable with `degrees` of freedom, more than 0, lies with probability `p`, 0..1.
pub(super) fn quantile(p: f64, degrees: f64) -> f64 {
    let (mut low, mut high) = (0.0, degrees.max(1.0));
    while gamma_p(degrees / 2.0, high / 2.0) < p {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = f64::midpoint(low, high);
        if gamma_p(degrees / 2.0, middle / 2.0) < p {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// The regularized lower incomplete gamma function P(a, x).
fn gamma_p(a: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 { scale * series(a, x) } else { 1.0 - scale * continued_fraction(a, x) }
}

fn series(a: f64, x: f64) -> f64 {
    let (mut term, mut sum, mut n) = (1.0 / a, 1.0 / a, a);
    while term.abs() > sum.abs() * f64::EPSILON {
        n += 1.0;
        term *= x / n;
        sum += term;
    }
    sum
}

fn continued_fraction(a: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let mut b = x + 1.0 - a;
    let mut c = 1.0 / TINY;
    let mut d = 1.0 / b;
    let mut h = d;
    // It converges within a few times the root of `a` steps; the bound is for numbers that are none.
    for i in 1..100_000 {
        let i = f64::from(i);
        let an = -i * (i - a);
        b += 2.0;
        d = 1.0 / keep_off_zero(an * d + b, TINY);
        c = keep_off_zero(b + an / c, TINY);
        let factor = d * c;
        h *= factor;
        if (factor - 1.0).abs() <= f64::EPSILON {
            break;
        }
    }
    h
}

fn keep_off_zero(value: f64, tiny: f64) -> f64 {
    if value.abs() < tiny { tiny } else { value }
}

/// Lanczos' approximation with g = 7 and nine terms, for arguments of at least one half: 15 digits.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 9] = [
        0.999_999_999_999_809_9,
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let t = x + 7.5;
    let sum = TERMS[1..].iter().zip(1u8..).fold(TERMS[0], |sum, (term, i)| sum + term / (x + f64::from(i)));
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against printed tables, NIST/SEMATECH e-Handbook of Statistical Methods, 1.3.6.7.4.
    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, degrees, expected) in [
            (0.025, 2.0, 0.051),
            (0.975, 4.0, 11.143),
            (0.025, 10.0, 3.247),
            (0.975, 10.0, 20.483),
            (0.025, 100.0, 74.222),
            (0.975, 100.0, 129.561),
            (0.95, 1.0, 3.841),
        ] {
            let found = quantile(p, degrees);
            assert!((found - expected).abs() < 6e-4, "{p} {degrees}: {found}");
        }
        // Two degrees are an exponential distribution.
        assert!((quantile(0.5, 2.0) - 2.0 * std::f64::consts::LN_2).abs() < 1e-12);
    }
}
