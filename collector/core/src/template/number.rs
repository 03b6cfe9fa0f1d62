//! Go's text forms of floating point numbers (`strconv.FormatFloat`).

/// More digits than a double has behind its point, after which only zeros come.
const MOST_DIGITS: usize = 1100;

/// `FormatFloat(value, verb, precision, 64)` for the verbs `e E f F g G`; no precision means the shortest digits that
/// read back as the same number.
pub(crate) fn format_float(value: f64, verb: char, precision: Option<usize>) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = match verb {
        'e' | 'E' => exponent_form(value, precision),
        'f' | 'F' => match precision {
            Some(precision) => fixed(value, precision),
            None => format!("{value}"),
        },
        _ => general_form(value, precision),
    };
    if verb.is_ascii_uppercase() { text.to_uppercase() } else { text }
}

/// What `fmt.Print` makes of a float: `%v`.
pub(crate) fn print_float(value: f64) -> String {
    format_float(value, 'g', None)
}

/// With so many digits behind the point; Rust itself refuses to write more than 65,535.
fn fixed(value: f64, precision: usize) -> String {
    let written = precision.min(MOST_DIGITS);
    format!("{value:.written$}") + &"0".repeat(precision - written)
}

fn exponent_form(value: f64, precision: Option<usize>) -> String {
    let written = precision.map(|precision| precision.min(MOST_DIGITS));
    let text = match written {
        Some(written) => format!("{value:.written$e}"),
        None => format!("{value:e}"),
    };
    let zeros = "0".repeat(precision.unwrap_or(0) - written.unwrap_or(0));
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    format!("{digits}{zeros}e{sign}{exponent:0>2}")
}

fn general_form(value: f64, precision: Option<usize>) -> String {
    // The exponent after rounding decides between the two forms; where the shortest digits are asked for, six digits
    // decide, which is why a million prints as 1e+06.
    let digits = precision.map(|precision| precision.max(1));
    let rounded = exponent_form(value, digits.map(|digits| digits - 1));
    let (mantissa, exponent) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let limit = i32::try_from(digits.unwrap_or(6)).unwrap_or(i32::MAX);
    if value != 0.0 && (exponent < -4 || exponent >= limit) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim_zeros(mantissa), exponent.abs());
    }
    match digits {
        None => format!("{value}"),
        Some(digits) => {
            let places = usize::try_from(i64::try_from(digits).unwrap_or(0) - 1 - i64::from(exponent)).unwrap_or(0);
            trim_zeros(&fixed(value, places.min(MOST_DIGITS))).to_owned()
        }
    }
}

fn trim_zeros(text: &str) -> &str {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_in_prometheus_api() {
        for (value, text) in
            [(1.0, "1e+00"), (0.00000025, "2.5e-07"), (-123.5, "-1.235e+02"), (0.0, "0e+00"), (1e100, "1e+100")]
        {
            assert_eq!(format_float(value, 'e', None), text);
        }
        assert_eq!(format_float(f64::NEG_INFINITY, 'e', None), "-Inf");
    }

    #[test]
    fn a_million_digits_are_written() {
        let zeros = |count: usize| "0".repeat(count);
        assert_eq!(format_float(0.5, 'f', Some(1_000_000)), format!("0.5{}", zeros(999_999)));
        assert_eq!(format_float(-2.5e9, 'e', Some(100_000)), format!("-2.5{}e+09", zeros(99_999)));
        assert_eq!(format_float(0.5, 'g', Some(1_000_000)), "0.5");
        let smallest = format_float(5e-324, 'f', Some(70_000));
        assert_eq!((smallest.len(), smallest.trim_end_matches('0').len()), (70_002, 1076));
    }

    #[test]
    fn floats_print_as_go_prints_them() {
        let cases: &[(f64, &str)] = &[
            (999_999.0, "999999"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.000_012_34, "1.234e-05"),
            (0.0001, "0.0001"),
            (0.0, "0"),
            (-0.5, "-0.5"),
            (1e21, "1e+21"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
            (0.1 + 0.2, "0.30000000000000004"),
        ];
        for (value, text) in cases {
            assert_eq!(print_float(*value), *text);
        }
        let four = |value| format_float(value, 'g', Some(4));
        assert_eq!(
            [four(1234.5), four(12345.0), four(0.1), four(100.0), four(0.0)],
            ["1234", "1.234e+04", "0.1", "100", "0"]
        );
        assert_eq!([format_float(1.5, 'e', Some(2)), format_float(123.0, 'E', None)], ["1.50e+00", "1.23E+02"]);
        assert_eq!([format_float(9.999, 'g', Some(2)), format_float(99.99, 'g', Some(2))], ["10", "1e+02"]);
    }
}
