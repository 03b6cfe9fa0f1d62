//! The text format of Prometheus (version 0.0.4), as `/metrics` and `sample` show a round.
//!
//! Families are sorted by name and values printed as Go prints them, so that two texts of the same host can be compared
//! line by line with node_exporter's.

use std::fmt::Write as _;

use watchfire_shared::labels::METRIC_NAME;

use crate::sink::{Series, Sink};

/// The last round as text.
#[must_use]
pub fn render(sink: &Sink) -> String {
    let mut series: Vec<(&Series, f64)> = sink.sampled().collect();
    // The sort is stable: within a family the samplers' own order stays, which is that of the kernel's files.
    series.sort_by(|a, b| a.0.labels.metric_name().cmp(b.0.labels.metric_name()));
    let mut out = String::with_capacity(series.len() * 100);
    let mut family = "";
    for (series, value) in series {
        let name = series.labels.metric_name();
        if name != family {
            let help = series.family.help(&series.field).replace('\\', "\\\\").replace('\n', "\\n");
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {}", series.family.kind.as_str());
            family = name;
        }
        out.push_str(name);
        let mut separator = '{';
        for (label, value) in series.labels.iter().filter(|(label, _)| *label != METRIC_NAME) {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(out, "{separator}{label}=\"{value}\"");
            separator = ',';
        }
        if separator == ',' {
            out.push('}');
        }
        let _ = writeln!(out, " {}", go_float(value));
    }
    out
}

/// A float as Go's `strconv.FormatFloat(v, 'g', -1, 64)` prints it, which expositions use: the shortest digits that read
/// back the same, with an exponent if that is below -4 or at least 6.
#[must_use]
pub fn go_float(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_print_as_go_prints_them() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.26, "0.26"),
            (123_456.0, "123456"),
            (123_456.75, "123456.75"),
            (1_234_567.0, "1.234567e+06"),
            (1_795_162_885.0, "1.795162885e+09"),
            (1e21, "1e+21"),
            (0.0001, "0.0001"),
            (0.000_012_3, "1.23e-05"),
            (f64::INFINITY, "+Inf"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(go_float(value), text);
        }
    }
}
