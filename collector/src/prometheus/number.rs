//! Numbers as Go prints them in Prometheus' answers: values of the shortest form, with an exponent only below 1e-6 and from
//! 1e21; times as seconds with three digits or none.
//!
//! Answers hold hundreds of thousands of them, so they are written into room that is there already.

/// What any number or time takes, bytes: at most 17 digits, six zeros in front of them or as many as make 21 behind them,
/// a sign, a point and an exponent.
pub(super) const MAX_BYTES: usize = 32;
/// Decimals of at most 15 digits are told apart by their values, so the one that is found is the shortest.
const MAX_EXACT: f64 = 1e15;
/// The highest power of ten that is tried; more digits after the point are rare.
const MOST: usize = 6;
const POWERS: [f64; MOST + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];
/// The numbers below a hundred with two digits each.
const PAIRS: [[u8; 2]; 100] = {
    let mut pairs = [[b'0'; 2]; 100];
    let mut number = 0;
    while number < 100 {
        pairs[number] = [b'0' + (number / 10) as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    pairs
};

/// Writes a value as `jsonutil.MarshalFloat` prints it, and tells its length.
///
/// # Panics
/// If there is less room than [`MAX_BYTES`].
pub(super) fn value(value: f64, room: &mut [u8]) -> usize {
    if value.is_nan() {
        return copy(b"NaN", room);
    }
    if value.is_infinite() {
        return copy(if value > 0.0 { b"+Inf" } else { b"-Inf" }, room);
    }
    room[0] = b'-';
    let sign = usize::from(value.is_sign_negative());
    let (magnitude, room) = (value.abs(), &mut room[sign..]);
    sign + decimal(magnitude, room).unwrap_or_else(|| shortest(magnitude, room))
}

/// Writes a time in milliseconds as seconds, and tells its length.
///
/// # Panics
/// If there is less room than [`MAX_BYTES`].
pub(super) fn seconds(millis: i64, room: &mut [u8]) -> usize {
    room[0] = b'-';
    let mut used = usize::from(millis < 0);
    let (whole, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    used += digits(whole, &mut room[used..]);
    if fraction > 0 {
        room[used] = b'.';
        padded(fraction, &mut room[used + 1..used + 4]);
        used += 4;
    }
    used
}

/// Writes a number that is a decimal of few digits, as most measured values are; `None` if it is none.
#[inline]
fn decimal(magnitude: f64, room: &mut [u8]) -> Option<usize> {
    if let Some(whole) = scaled(magnitude, 0) {
        return Some(digits(whole, room));
    }
    // What is no decimal of many digits is none of fewer.
    if magnitude * POWERS[MOST] < MAX_EXACT && scaled(magnitude, MOST).is_none() {
        return None;
    }
    let (decimals, whole) = (1..=MOST).find_map(|decimals| Some((decimals, scaled(magnitude, decimals)?)))?;
    Some(pointed(whole, decimals, room))
}

/// The whole number that such a decimal is, times the power of ten.
#[inline]
fn scaled(magnitude: f64, decimals: usize) -> Option<u64> {
    let scaled = magnitude * POWERS[decimals];
    if scaled >= MAX_EXACT {
        return None;
    }
    let whole = (scaled + 0.5) as i64;
    // Only the division is exact: the product may have been rounded to a whole number.
    (whole as f64 / POWERS[decimals] == magnitude).then_some(whole as u64)
}

/// Writes a number with so many of its digits behind the point.
#[inline]
fn pointed(number: u64, decimals: usize, room: &mut [u8]) -> usize {
    // Divisors that are known while this is compiled cost no division.
    let (whole, fraction) = match decimals {
        1 => (number / 10, number % 10),
        2 => (number / 100, number % 100),
        3 => (number / 1000, number % 1000),
        4 => (number / 10_000, number % 10_000),
        5 => (number / 100_000, number % 100_000),
        _ => (number / 1_000_000, number % 1_000_000),
    };
    let used = digits(whole, room);
    room[used] = b'.';
    padded(fraction, &mut room[used + 1..=used + decimals]);
    used + 1 + decimals
}

/// Writes a whole number.
#[inline]
fn digits(number: u64, room: &mut [u8]) -> usize {
    let length = number.checked_ilog10().unwrap_or(0) as usize + 1;
    padded(number, &mut room[..length]);
    length
}

/// Fills the room with a number, with zeros in front.
#[inline]
fn padded(mut number: u64, room: &mut [u8]) {
    let mut end = room.len();
    while end >= 2 {
        end -= 2;
        room[end..end + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if end == 1 {
        room[0] = b'0' + (number % 10) as u8;
    }
}

/// Writes the shortest text that reads as this positive number again.
#[cold]
fn shortest(magnitude: f64, room: &mut [u8]) -> usize {
    let mut buffer = zmij::Buffer::new();
    let (digits, exponent) = parts(buffer.format_finite(magnitude));
    let mut used = 0;
    let mut put = |bytes: &[u8]| {
        used += copy(bytes, &mut room[used..]);
    };
    let digits = &digits.0[..digits.1];
    let count = digits.len() as i32;
    match exponent {
        // The point stands behind so many digits.
        -5..=0 => {
            put(b"0.");
            put(&b"000000"[..-exponent as usize]);
            put(digits);
        }
        1..=21 if exponent >= count => {
            put(digits);
            put(&b"000000000000000000000"[..(exponent - count) as usize]);
        }
        1..=21 => {
            put(&digits[..exponent as usize]);
            put(b".");
            put(&digits[exponent as usize..]);
        }
        _ => {
            put(&digits[..1]);
            if count > 1 {
                put(b".");
                put(&digits[1..]);
            }
            let power = exponent - 1;
            put(if power < 0 { b"e-" } else { b"e+" });
            let power = u64::from(power.unsigned_abs());
            let mut text = [0; 3];
            let length = if power < 100 { 2 } else { 3 };
            padded(power, &mut text[..length]);
            put(&text[..length]);
        }
    }
    used
}

/// The digits of a number's text without zeros at either end, how many they are, and where before or behind the first of
/// them the point stands.
fn parts(text: &str) -> (([u8; 20], usize), i32) {
    let (mantissa, exponent) = text.split_once('e').unwrap_or((text, "0"));
    let mut point: i32 = exponent.parse().expect("an exponent is a whole number");
    let (mut digits, mut count, mut behind) = ([0; 20], 0, false);
    for byte in mantissa.bytes() {
        if byte == b'.' {
            behind = true;
        } else if byte == b'0' && count == 0 {
            point -= i32::from(behind);
        } else {
            point += i32::from(!behind);
            digits[count] = byte;
            count += 1;
        }
    }
    while count > 1 && digits[count - 1] == b'0' {
        count -= 1;
    }
    ((digits, count), point)
}

fn copy(bytes: &[u8], room: &mut [u8]) -> usize {
    room[..bytes.len()].copy_from_slice(bytes);
    bytes.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(number: f64) -> String {
        let mut room = [0; MAX_BYTES];
        let length = value(number, &mut room);
        String::from_utf8(room[..length].to_vec()).unwrap()
    }

    #[test]
    fn numbers_print_as_prometheus_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.1, "0.1"),
            (-2.5, "-2.5"),
            (1e6, "1000000"),
            (123_456_789.5, "123456789.5"),
            (0.3 - 0.1, "0.19999999999999998"),
            (1.0 / 3.0, "0.3333333333333333"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (1e20, "100000000000000000000"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (1e21, "1e+21"),
            (0.000_001, "0.000001"),
            (-0.000_001_234_567_890_123_45, "-0.00000123456789012345"),
            (0.000_12, "0.00012"),
            (0.000_000_999_9, "9.999e-07"),
            (2.5e-7, "2.5e-07"),
            (-1.797_693_134_862_315_7e308, "-1.7976931348623157e+308"),
            (5e-324, "5e-324"),
            // Halfway between two of sixteen digits.
            (6_930_146_070_077_322.0 / 10.0, "693014607007732.2"),
            (1.5e300, "1.5e+300"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(printed(value), text);
        }
    }

    /// What Rust prints, with the exponent in Go's form.
    fn expected(value: f64) -> String {
        let magnitude = value.abs();
        if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
            return format!("{value}");
        }
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap();
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
        format!("{mantissa}e{sign}{exponent:0>2}")
    }

    proptest! {
        /// What Rust prints is the shortest form, and so must this be. Halfway between two forms Rust rounds away from zero,
        /// Go to the even digit.
        #[test]
        fn numbers_are_the_shortest_form(mantissa in 0u64..10_000_000_000_000_000, scale in -9i32..12, bits: u64) {
            for value in [mantissa as f64 / 10f64.powi(scale), f64::from_bits(bits)] {
                if value.is_finite() {
                    let (printed, expected) = (printed(value), expected(value));
                    prop_assert_eq!(printed.parse::<f64>(), Ok(value));
                    prop_assert_eq!(printed.len(), expected.len(), "{} for {}", printed, expected);
                }
            }
        }
    }

    #[test]
    fn times_have_three_digits_or_none() {
        let printed = |millis| {
            let mut room = [0; MAX_BYTES];
            let length = seconds(millis, &mut room);
            String::from_utf8(room[..length].to_vec()).unwrap()
        };
        for (millis, text) in [
            (0, "0"),
            (1500, "1.500"),
            (7, "0.007"),
            (-1, "-0.001"),
            (1_435_781_430_781, "1435781430.781"),
            (i64::MIN, "-9223372036854775.808"),
        ] {
            assert_eq!(printed(millis), text);
        }
    }
}
