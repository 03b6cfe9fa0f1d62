//! The notation of series in scripts and in unit tests of rules: `name{label="value"} 1 2 3+2x5 _ stale`.

use watchfire_shared::labels::{Labels, LabelsBuilder, METRIC_NAME};
use watchfire_shared::sample::stale_nan;

use crate::lexer::{Token, TokenKind, tokens, unquote};
use crate::number::parse_number;

/// Why a line is no series.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SeriesError {
    #[error("expected a series such as name{{label=\"value\"}} 1 2 3, found {0:?}")]
    Labels(String),
    #[error("expected a value such as 1, 1+2x3, _, _x3 or stale, found {0:?}")]
    Value(String),
    #[error("native histograms are not supported")]
    NativeHistogram,
    #[error("the series has more than {MAX_POINTS} points")]
    TooLong,
}

impl SeriesError {
    pub(super) const fn is_native_histogram(&self) -> bool {
        matches!(self, Self::NativeHistogram)
    }
}

/// Points of one line once expanded; a repeat count is easily mistyped, and a year of minutes is half a million.
const MAX_POINTS: usize = 1_000_000;

/// Reads one line: labels, then values one step apart. `None` is a point that is missing; `stale` gives the stale marker.
///
/// `a+bxn` is `a`, `a+b`, … `a+n·b`; `axn` is `a` and `n` repeats; `_xn` is `n` missing points.
///
/// # Errors
/// Says what was expected and what was found.
pub fn parse_series(line: &str) -> Result<(Labels, Vec<Option<f64>>), SeriesError> {
    let (labels, values) = split(line)?;
    if values.contains("{{") {
        return Err(SeriesError::NativeHistogram);
    }
    let mut points = Vec::new();
    for item in values.split_whitespace() {
        expand(item, &mut points)?;
    }
    Ok((labels, points))
}

/// The labels that a line begins with, and the rest of it.
fn split(line: &str) -> Result<(Labels, &str), SeriesError> {
    let wrong = || SeriesError::Labels(line.to_owned());
    let all = tokens(line);
    let mut rest = all.iter().copied().peekable();
    let mut labels = LabelsBuilder::default();
    let mut end = 0;
    if let Some(name) = rest.next_if(|token| token.kind == TokenKind::Word) {
        labels.set(METRIC_NAME, name.text);
        end = name.place.end;
    }
    // Two braces begin a histogram.
    let opens = rest.peek().is_some_and(|token| token.text == "{" && !line[token.place.start..].starts_with("{{"));
    if opens {
        rest.next();
        loop {
            let token = rest.next().ok_or_else(wrong)?;
            if token.text == "}" && token.kind == TokenKind::Symbol {
                end = token.place.end;
                break;
            }
            let name = name_of(token).ok_or_else(wrong)?;
            if rest.next_if(|token| token.text == "=").is_some() {
                let value = rest.next().filter(|token| token.kind == TokenKind::Text).ok_or_else(wrong)?;
                labels.set(name, unquote(value.text).map_err(|_| wrong())?);
            } else {
                labels.set(METRIC_NAME, name);
            }
            rest.next_if(|token| token.text == ",");
        }
    }
    if end == 0 { Err(wrong()) } else { Ok((labels.build(), &line[end..])) }
}

fn name_of(token: Token<'_>) -> Option<String> {
    match token.kind {
        TokenKind::Word => Some(token.text.to_owned()),
        TokenKind::Text => unquote(token.text).ok(),
        _ => None,
    }
}

fn expand(item: &str, points: &mut Vec<Option<f64>>) -> Result<(), SeriesError> {
    let wrong = || SeriesError::Value(item.to_owned());
    let (value, repeats) = match item.rsplit_once('x') {
        Some((value, count)) => (value, Some(count.parse::<usize>().map_err(|_| wrong())?)),
        None => (item, None),
    };
    let count = repeats.map_or(1, |repeats| if value == "_" { repeats } else { repeats.saturating_add(1) });
    if points.len().saturating_add(count) > MAX_POINTS {
        return Err(SeriesError::TooLong);
    }
    if value == "_" {
        points.extend(std::iter::repeat_n(None, count));
        return Ok(());
    }
    let (mut value, delta) = match value {
        "stale" => (stale_nan(), 0.0),
        value => start_and_step(value).ok_or_else(wrong)?,
    };
    for _ in 0..count {
        points.push(Some(value));
        if delta != 0.0 {
            value += delta;
        }
    }
    Ok(())
}

/// Splits `a+b` and `a-b` at the sign that belongs to no exponent.
fn start_and_step(text: &str) -> Option<(f64, f64)> {
    if let Some(value) = parse_number(text) {
        return Some((value, 0.0));
    }
    let sign = |at: &usize| *at > 0 && matches!(text.as_bytes()[*at], b'+' | b'-');
    (0..text.len()).filter(sign).find_map(|at| Some((parse_number(&text[..at])?, parse_number(&text[at..])?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(line: &str) -> Vec<Option<f64>> {
        parse_series(line).unwrap().1
    }

    #[test]
    fn values_expand() {
        assert_eq!(
            values("x 1+2x2 _ 5x1 _x2 -1-1x1"),
            [1.0, 3.0, 5.0]
                .map(Some)
                .into_iter()
                .chain([None, Some(5.0), Some(5.0), None, None, Some(-1.0), Some(-2.0)])
                .collect::<Vec<_>>()
        );
        assert_eq!(values("x 1e-2+1e1x1 52+0x1"), [Some(0.01), Some(10.01), Some(52.0), Some(52.0)]);
        assert!(values("x stale")[0].is_some_and(watchfire_shared::sample::is_stale));
        assert_eq!(values("x{} 0x2 Inf"), [Some(0.0), Some(0.0), Some(0.0), Some(f64::INFINITY)]);
    }

    #[test]
    fn names_may_be_quoted_or_absent() {
        assert_eq!(parse_series(r#"{"a b", c="d"} 1"#).unwrap().0.to_string(), r#"{"a b", c="d"}"#);
        assert_eq!(parse_series("{} 1").unwrap().0, Labels::default());
    }

    #[test]
    fn mistakes_are_refused() {
        assert_eq!(parse_series("x {{count:1}}x3"), Err(SeriesError::NativeHistogram));
        for line in ["", "1 2", "x{a=1} 1", "x{a=\"1\" 1", "x 1y2", "x 1x99999999999", "x 1+x2"] {
            assert!(parse_series(line).is_err(), "{line}");
        }
    }
}
