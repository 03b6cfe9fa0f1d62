//! Numbers and durations as PromQL writes them, and floats as Go prints them.

use watchfire_shared::time::Span;

/// Reads a number: decimal, hexadecimal, octal with a leading zero, with an exponent, with `_` between digits,
/// `inf` and `nan` in any case.
#[must_use]
pub(crate) fn parse_number(text: &str) -> Option<f64> {
    let lower = text.to_ascii_lowercase();
    match lower.trim_start_matches(['+', '-']) {
        "inf" | "infinity" => return Some(if lower.starts_with('-') { f64::NEG_INFINITY } else { f64::INFINITY }),
        "nan" => return Some(f64::NAN),
        _ => {}
    }
    let (negative, digits) = match lower.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, lower.strip_prefix('+').unwrap_or(&lower)),
    };
    let value = parse_unsigned(digits)?;
    Some(if negative { -value } else { value })
}

fn parse_unsigned(lower: &str) -> Option<f64> {
    if lower.starts_with('_') || lower.ends_with('_') || lower.contains("__") {
        return None;
    }
    let digits: String = lower.chars().filter(|char| *char != '_').collect();
    if let Some(hex) = digits.strip_prefix("0x") {
        return i64::from_str_radix(hex, 16).ok().map(|value| value as f64);
    }
    let octal = digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|byte| matches!(byte, b'0'..=b'7'));
    if octal {
        return i64::from_str_radix(&digits, 8).ok().map(|value| value as f64);
    }
    let plain = digits.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'+' | b'-'));
    // A number beyond the largest float is a mistake, as it is in Go.
    digits.parse().ok().filter(|value: &f64| plain && value.is_finite())
}

/// The longest length that the original can hold: nanoseconds in 64 bits.
const MAX_MILLIS: f64 = (i64::MAX / 1_000_000) as f64;

/// Seconds as a span; `None` if it is longer than 292 years.
#[must_use]
pub(crate) fn span_of_seconds(seconds: f64) -> Option<Span> {
    let millis = (seconds * 1000.0).round();
    (millis.abs() <= MAX_MILLIS).then(|| Span::from_millis(millis as i64))
}

/// The shortest text that reads back as the same float, in Go's `%g` form (`strconv.FormatFloat(v, 'g', -1, 64)`): an
/// exponent below 1e-4 and from 1e6, `+Inf`, `-Inf` and `NaN` by name.
///
/// This is how numbers stand in expressions, in label values made by `count_values`, and in messages.
#[must_use]
pub fn format_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-4..1e6).contains(&magnitude) {
        let text = format!("{value:e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, digits) = exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
        return format!("{mantissa}e{sign}{digits:0>2}");
    }
    format!("{value}")
}

/// As [`format_float`] but never with an exponent (`strconv.FormatFloat(v, 'f', -1, 64)`).
#[must_use]
pub(crate) fn format_plain(value: f64) -> String {
    if value.is_finite() { format!("{value}") } else { format_float(value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_in_go() {
        let good =
            [("1_000", 1000.0), ("0x1F", 31.0), ("010", 8.0), ("1e3", 1000.0), (".5", 0.5), ("2.", 2.0), ("-3", -3.0)];
        for (text, value) in good {
            assert_eq!(parse_number(text), Some(value), "{text}");
        }
        assert_eq!(parse_number("-Inf"), Some(f64::NEG_INFINITY));
        assert!(parse_number("NaN").is_some_and(f64::is_nan));
        for text in ["", "1__0", "_1", "0xg", "1e999", "1.2.3", "abc"] {
            assert_eq!(parse_number(text), None, "{text}");
        }
    }

    #[test]
    fn floats_print_as_in_go() {
        let cases = [(1e21, "1e+21"), (0.0001, "0.0001"), (0.00001, "1e-05"), (999_999.0, "999999"), (-2.5, "-2.5")];
        for (value, text) in cases {
            assert_eq!(format_float(value), text);
        }
        assert_eq!(format_float(f64::NEG_INFINITY), "-Inf");
    }
}
