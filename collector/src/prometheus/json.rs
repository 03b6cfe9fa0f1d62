//! Results of queries as JSON: what a dashboard asks for most often, written straight into one buffer.
//!
//! Numbers look as Go prints them in Prometheus: times as seconds with three digits or none, values as texts of the
//! shortest form, with an exponent only below 1e-6 and from 1e21.

use std::io::Write;

use watchfire_promql::{PointSeries, Value};
use watchfire_shared::labels::Labels;
use watchfire_shared::round::round;
use watchfire_shared::sample::Sample;

/// An answer, bytes. The samples of the largest permitted query fit; labels a megabyte each do not.
const MAX_ANSWER_BYTES: usize = 384 << 20;
/// The highest power of ten that [`decimal`] tries; more digits after the point are rare.
const MAX_DECIMALS: usize = 6;
/// Decimals of at most 15 digits are told apart by their values, so the one that is found is the shortest.
const MAX_EXACT: f64 = 1e15;
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
const POWERS: [f64; MAX_DECIMALS + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

/// The answer would be longer than any client should have to read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Writes `"resultType":...,"result":...`; a scalar or text was evaluated at `at_millis`.
pub(super) fn result(value: &Value, at_millis: i64, out: &mut Vec<u8>) -> Result<(), TooLong> {
    let named = |kind: &str, out: &mut Vec<u8>| {
        out.extend_from_slice(b"\"resultType\":\"");
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(b"\",\"result\":");
    };
    match value {
        Value::Scalar(value) => {
            named("scalar", out);
            point(at_millis, *value, out);
        }
        Value::String(value) => {
            named("string", out);
            out.push(b'[');
            seconds(at_millis, out);
            out.push(b',');
            text(value, out);
            out.push(b']');
        }
        Value::Vector(samples) => {
            named("vector", out);
            list(samples, out, sample)?;
        }
        Value::Matrix(series) => {
            named("matrix", out);
            let samples: usize = series.iter().map(|series| series.points.len()).sum();
            // About what a point takes, so that the buffer grows once and not by halves.
            out.reserve((samples * 28).min(MAX_ANSWER_BYTES));
            let mut heads = Heads::default();
            list(series, out, |series, out| points(series, &mut heads, out))?;
        }
    }
    Ok(())
}

fn list<T>(items: &[T], out: &mut Vec<u8>, mut write: impl FnMut(&T, &mut Vec<u8>)) -> Result<(), TooLong> {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(item, out);
        if out.len() > MAX_ANSWER_BYTES {
            return Err(TooLong);
        }
    }
    out.push(b']');
    Ok(())
}

fn sample(sample: &Sample, out: &mut Vec<u8>) {
    metric(&sample.labels, out);
    out.extend_from_slice(b",\"value\":");
    point(sample.at.as_millis(), sample.value, out);
    out.push(b'}');
}

/// The texts that the points of the last series began with: those of the next one most often have the same times.
#[derive(Default)]
struct Heads {
    times: Vec<i64>,
    text: Vec<u8>,
    /// Where in the text each of them ends.
    ends: Vec<usize>,
}

impl Heads {
    /// Writes how a point begins that is the `at`-th of its series.
    fn put(&mut self, at: usize, time: i64, out: &mut Vec<u8>) {
        if self.times.get(at) != Some(&time) {
            self.times.truncate(at);
            self.ends.truncate(at);
            self.text.truncate(self.ends.last().copied().unwrap_or_default());
            head(time, &mut self.text);
            self.times.push(time);
            self.ends.push(self.text.len());
        }
        let begin = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        out.extend_from_slice(&self.text[begin..self.ends[at]]);
    }
}

fn points(series: &PointSeries, heads: &mut Heads, out: &mut Vec<u8>) {
    metric(&series.labels, out);
    out.extend_from_slice(b",\"values\":[");
    for (at, (time, value)) in series.points.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        heads.put(at, *time, out);
        number(*value, out);
        out.extend_from_slice(b"\"]");
    }
    out.extend_from_slice(b"]}");
}

fn metric(labels: &Labels, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"metric\":{");
    for (at, (name, value)) in labels.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        text(name, out);
        out.push(b':');
        text(value, out);
    }
    out.push(b'}');
}

fn text(text: &str, out: &mut Vec<u8>) {
    let plain = |byte: u8| byte >= 0x20 && byte != b'"' && byte != b'\\';
    if text.bytes().all(plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        serde_json::to_writer(out, text).expect("a text can be written to memory");
    }
}

/// `[1435781430.781,"1"]`
fn point(millis: i64, value: f64, out: &mut Vec<u8>) {
    head(millis, out);
    number(value, out);
    out.extend_from_slice(b"\"]");
}

/// `[1435781430.781,"`
fn head(millis: i64, out: &mut Vec<u8>) {
    out.push(b'[');
    seconds(millis, out);
    out.extend_from_slice(b",\"");
}

/// Milliseconds as seconds.
fn seconds(millis: i64, out: &mut Vec<u8>) {
    if millis < 0 {
        out.push(b'-');
    }
    let (whole, fraction) = (millis.unsigned_abs() / 1000, millis.unsigned_abs() % 1000);
    digits(whole, 0, out);
    if fraction > 0 {
        out.push(b'.');
        digits(fraction, 3, out);
    }
}

/// A whole number, with zeros in front up to so many digits.
fn digits(mut number: u64, least: usize, out: &mut Vec<u8>) {
    let mut buffer = [b'0'; 20];
    let mut first = buffer.len();
    while number >= 10 {
        first -= 2;
        buffer[first..first + 2].copy_from_slice(&PAIRS[(number % 100) as usize]);
        number /= 100;
    }
    if number > 0 || first == buffer.len() {
        first -= 1;
        buffer[first] = b'0' + number as u8;
    }
    out.extend_from_slice(&buffer[first.min(buffer.len() - least)..]);
}

/// A value as `jsonutil.MarshalFloat` prints it.
pub(super) fn number(value: f64, out: &mut Vec<u8>) {
    if value.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if value.is_infinite() {
        return out.extend_from_slice(if value > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let magnitude = value.abs();
    if decimal(magnitude, out) {
        return;
    }
    if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        write!(out, "{magnitude}").expect("a number can be written to memory");
        return;
    }
    let text = format!("{magnitude:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |exponent| ('-', exponent));
    write!(out, "{mantissa}e{sign}{exponent:0>2}").expect("a number can be written to memory");
}

/// Writes a number that is a decimal of few digits, as most measured values are; says whether it was one.
fn decimal(magnitude: f64, out: &mut Vec<u8>) -> bool {
    for (decimals, power) in POWERS.iter().enumerate() {
        let scaled = magnitude * power;
        if scaled >= MAX_EXACT {
            return false;
        }
        let whole = round(scaled);
        // Only the division is exact: the product may have been rounded to a whole number.
        if whole / power == magnitude {
            let power = *power as u64;
            digits(whole as u64 / power, 0, out);
            if decimals > 0 {
                out.push(b'.');
                digits(whole as u64 % power, decimals, out);
            }
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn printed(value: f64) -> String {
        let mut out = Vec::new();
        number(value, &mut out);
        String::from_utf8(out).unwrap()
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
            (1e21, "1e+21"),
            (0.000_001, "0.000001"),
            (0.000_12, "0.00012"),
            (2.5e-7, "2.5e-07"),
            (f64::NEG_INFINITY, "-Inf"),
            (f64::NAN, "NaN"),
        ];
        for (value, text) in cases {
            assert_eq!(printed(value), text);
        }
    }

    proptest! {
        /// What Rust prints is the shortest form, and so must this be.
        #[test]
        fn decimals_are_the_shortest_form(mantissa in 0u64..10_000_000_000_000_000, scale in 0i32..9, bits: u64) {
            let value = mantissa as f64 / 10f64.powi(scale);
            if value == 0.0 || value >= 1e-6 {
                prop_assert_eq!(printed(value), format!("{value}"));
            }
            let any = f64::from_bits(bits).abs();
            if (1e-6..1e21).contains(&any) {
                prop_assert_eq!(printed(any), format!("{any}"));
            }
        }
    }

    #[test]
    fn each_series_has_its_own_times() {
        let series = |points: &[(i64, f64)]| PointSeries { labels: Labels::default(), points: points.to_vec() };
        let all = [
            series(&[(1000, 1.0), (2500, 2.0), (4000, 3.0)]),
            series(&[(1000, 1.0), (3000, 2.0)]),
            series(&[(1000, 1.0), (3000, 2.0), (4000, 3.0)]),
        ];
        let mut out = Vec::new();
        result(&Value::Matrix(all.to_vec()), 0, &mut out).unwrap();
        let expected = r#""resultType":"matrix","result":[{"metric":{},"values":[[1,"1"],[2.500,"2"],[4,"3"]]},{"metric":{},"values":[[1,"1"],[3,"2"]]},{"metric":{},"values":[[1,"1"],[3,"2"],[4,"3"]]}]"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn times_have_three_digits_or_none() {
        let printed = |millis| {
            let mut out = Vec::new();
            seconds(millis, &mut out);
            String::from_utf8(out).unwrap()
        };
        for (millis, text) in
            [(0, "0"), (1500, "1.500"), (7, "0.007"), (-1, "-0.001"), (1_435_781_430_781, "1435781430.781")]
        {
            assert_eq!(printed(millis), text);
        }
    }
}
