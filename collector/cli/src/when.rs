//! Times as they are typed: `now`, `1h ago`, `in 2h`, `2026-01-01T12:00:00Z`, or seconds since 1970.

use watchfire_shared::time::{Span, Timestamp};

/// Reads a time; `now` is what lengths of time count from.
pub(crate) fn parse(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    let expected = || {
        format!(
            "{text:?} is no time: expected `now`, `1h ago`, `in 2h`, RFC 3339 such as 2026-01-01T12:00:00Z, or seconds"
        )
    };
    if let Some(span) = text.strip_suffix("ago").or_else(|| text.strip_prefix('-')) {
        return Span::parse(span.trim()).map(|span| now - span).map_err(|_| expected());
    }
    if let Some(span) = text.strip_prefix("in ").or_else(|| text.strip_prefix('+')) {
        return Span::parse(span.trim()).map(|span| now + span).map_err(|_| expected());
    }
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e11);
    let seconds = seconds.map(|seconds| Timestamp::from_millis((seconds * 1000.0).round() as i64));
    seconds.or_else(|| Timestamp::parse_rfc3339(text)).ok_or_else(expected)
}

/// The system's time.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp::EPOCH + Span::from_std(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_type_them() {
        let now = Timestamp::parse_rfc3339("2026-01-02T12:00:00Z").unwrap();
        for (text, expected) in [
            ("now", "2026-01-02T12:00:00Z"),
            ("1h30m ago", "2026-01-02T10:30:00Z"),
            ("-1d", "2026-01-01T12:00:00Z"),
            ("in 2h", "2026-01-02T14:00:00Z"),
            ("+5s", "2026-01-02T12:00:05Z"),
            ("2026-01-01T00:00:00+01:00", "2025-12-31T23:00:00Z"),
            ("1767225600.5", "2026-01-01T00:00:00.500Z"),
        ] {
            assert_eq!(parse(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["", "yesterday", "1x ago", "2026-01-01", "1e300", "nan"] {
            assert!(parse(text, now).unwrap_err().contains("is no time"), "{text}");
        }
    }
}
