//! Numbers and texts for people, as `prometheus/common/helpers/templates` and `prometheus/template` have them.

use watchfire_shared::matcher;
use watchfire_shared::time::Timestamp;

use super::number::format_float;
use super::value::too_long;
use super::{MAX_OUTPUT_BYTES, Value};

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// A number out of a number, a duration (seconds) or a text.
pub(super) fn to_float(value: &Value) -> Result<f64, String> {
    match value {
        Value::Float(value) => Ok(*value),
        Value::Integer(value) => Ok(*value as f64),
        Value::Duration(nanoseconds) => Ok(*nanoseconds as f64 / 1e9),
        Value::Text(text) => {
            let plain = text.strip_prefix('+').unwrap_or(text);
            plain.parse().map_err(|_| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
        }
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

fn four(value: f64) -> String {
    format_float(value, 'g', Some(4))
}

/// `1234.5` is `1.234k`, `0.002` is `2m`.
pub(super) fn humanize(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return four(value);
    }
    if value.abs() >= 1.0 { grown(value, 1000.0, &["k", "M", "G", "T", "P", "E", "Z", "Y"]) } else { shrunk(value) }
}

/// `2048` is `2ki`, `5 * 1024²` is `5Mi`.
pub(super) fn humanize_1024(value: f64) -> String {
    if value.abs() <= 1.0 || !value.is_finite() {
        return four(value);
    }
    grown(value, 1024.0, &["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

fn grown(mut value: f64, base: f64, prefixes: &[&'static str]) -> String {
    let mut prefix = "";
    for next in prefixes {
        if value.abs() < base {
            break;
        }
        prefix = next;
        value /= base;
    }
    format!("{}{prefix}", four(value))
}

fn shrunk(mut value: f64) -> String {
    let mut prefix = "";
    for next in SMALL {
        if value.abs() >= 1.0 {
            break;
        }
        prefix = next;
        value *= 1000.0;
    }
    format!("{}{prefix}", four(value))
}

/// Seconds as `1d 2h 3m 4s`, `12.3ms`.
pub(super) fn duration(value: f64) -> String {
    if !value.is_finite() {
        return four(value);
    }
    if value == 0.0 {
        return format!("{}s", four(value));
    }
    if value.abs() < 1.0 {
        return format!("{}s", shrunk(value));
    }
    let (sign, value) = if value < 0.0 { ("-", -value) } else { ("", value) };
    let whole = value as i64;
    let (seconds, minutes, hours, days) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    if days != 0 {
        format!("{sign}{days}d {hours}h {minutes}m {seconds}s")
    } else if hours != 0 {
        format!("{sign}{hours}h {minutes}m {seconds}s")
    } else if minutes != 0 {
        format!("{sign}{minutes}m {seconds}s")
    } else {
        format!("{sign}{}s", four(value))
    }
}

/// A ratio as `12.34%`.
pub(super) fn percentage(value: f64) -> String {
    format!("{}%", four(value * 100.0))
}

/// Seconds since the epoch as `2022-01-25 12:36:43.5 +0000 UTC`.
pub(super) fn timestamp(value: f64) -> Result<String, String> {
    if value.is_finite() { to_time(value)?.print() } else { Ok(four(value)) }
}

/// Seconds since the epoch as a time; milliseconds are its resolution, as in Prometheus.
pub(super) fn to_time(value: f64) -> Result<Value, String> {
    let nanoseconds = value * 1e9;
    if !nanoseconds.is_finite() || nanoseconds.abs() > i64::MAX as f64 {
        let value = format_float(value, 'g', None);
        return Err(format!("{value} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    Ok(Value::time(Timestamp::from_millis(nanoseconds as i64 / 1_000_000)))
}

/// `strings.Title`: the first letter of each word in upper case, the rest as it is. What of the characters beside letters,
/// digits and `_` belongs to a word differs between the two programs.
pub(super) fn title(text: &str, inside: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut start = true;
    for char in text.chars() {
        if start {
            out.extend(char.to_uppercase())
        } else {
            out.push(char)
        }
        start = !(char.is_alphanumeric() || char == '_' || inside.contains(char));
    }
    out
}

/// Go's `regexp.ReplaceAllString`, ended where the result grows past the bound.
pub(super) fn replace_all(pattern: &str, replacement: &str, text: &str) -> Result<String, String> {
    let regex = matcher::unanchored(pattern).map_err(|error| error.to_string())?;
    let mut out = String::new();
    let mut end = 0;
    for captures in regex.captures_iter(text) {
        let Some(whole) = captures.get(0) else { continue };
        out.push_str(&text[end..whole.start()]);
        matcher::expand(&captures, replacement, &mut out);
        end = whole.end();
        if out.len() > MAX_OUTPUT_BYTES {
            return Err(too_long());
        }
    }
    out.push_str(&text[end..]);
    Ok(out)
}

/// Host and port of `host:port` or `[host]:port`, as `net.SplitHostPort` finds them.
fn split_host_port(address: &str) -> Option<(&str, &str)> {
    if let Some(rest) = address.strip_prefix('[') {
        let (host, port) = rest.split_once("]:")?;
        return (!port.contains([':', '[', ']'])).then_some((host, port));
    }
    let (host, port) = address.rsplit_once(':')?;
    (!host.contains([':', '[', ']']) && !port.contains(['[', ']'])).then_some((host, port))
}

/// The host of `host:port`; anything else stays as it is.
pub(super) fn strip_port(address: &str) -> String {
    split_host_port(address).map_or(address, |(host, _)| host).to_owned()
}

/// `web-1.example.org:9100` is `web-1:9100`; IP addresses stay whole.
pub(super) fn strip_domain(address: &str) -> String {
    let (host, port) = split_host_port(address).unwrap_or((address, ""));
    if host.parse::<std::net::IpAddr>().is_ok() {
        return address.to_owned();
    }
    let name = host.split('.').next().unwrap_or(host);
    if port.is_empty() { name.to_owned() } else { format!("{name}:{port}") }
}

/// The path of an absolute URL, without query and fragment.
pub(super) fn url_path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let path = rest.find('/').map_or("", |at| &rest[at..]);
    path.split(['?', '#']).next().unwrap_or(path)
}
