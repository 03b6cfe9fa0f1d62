//! Comparing what a case gave with what it expects.

use std::collections::BTreeMap;

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::unanchored;
use watchfire_shared::sample::is_stale;
use watchfire_shared::time::Timestamp;

use super::command::{Case, Expected, Query, Wanted};
use crate::number::format_float;
use crate::value::{Answer, Value};

/// Relative difference that two numbers may have and still be equal.
const TOLERANCE: f64 = 1e-6;

fn equal(left: f64, right: f64) -> bool {
    if is_stale(left) || is_stale(right) {
        return is_stale(left) && is_stale(right);
    }
    if left == right || (left.is_nan() && right.is_nan()) {
        return true;
    }
    let difference = (left - right).abs();
    let sum = left.abs() + right.abs();
    if left == 0.0 || right == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < TOLERANCE * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < TOLERANCE
}

fn satisfied(wanted: &Wanted, text: &str) -> Result<bool, String> {
    match wanted {
        Wanted::Anything => Ok(true),
        Wanted::Message(message) => Ok(message == text),
        Wanted::Regex(regex) => unanchored(regex).map(|regex| regex.is_match(text)).map_err(|error| error.to_string()),
    }
}

pub(super) fn check_failure(wanted: &Wanted, message: &str) -> Result<(), String> {
    if satisfied(wanted, message)? { Ok(()) } else { Err(format!("expected failure {wanted:?}, found {message:?}")) }
}

pub(super) fn check(case: &Case, answer: &Answer) -> Result<(), String> {
    check_notes("warning", &case.warnings, case.no_warnings, &answer.warnings)?;
    check_notes("info", &case.infos, case.no_infos, &answer.infos)?;
    check_value(case, &answer.value)
}

fn check_notes(kind: &str, wanted: &[Wanted], none: bool, found: &[String]) -> Result<(), String> {
    if none && !found.is_empty() {
        return Err(format!("expected no {kind}, found {found:?}"));
    }
    let matches = |wanted: &Wanted, text: &String| satisfied(wanted, text);
    let mut explained = vec![wanted.is_empty(); found.len()];
    for one in wanted {
        let mut met = false;
        for (text, explained) in found.iter().zip(&mut explained) {
            let satisfied = matches(one, text)?;
            *explained |= satisfied;
            met |= satisfied;
        }
        if !met {
            return Err(format!("expected {kind} {one:?}, found {found:?}"));
        }
    }
    match explained.iter().position(|explained| !explained) {
        Some(index) => Err(format!("unexpected {kind} {:?}", found[index])),
        None => Ok(()),
    }
}

pub(super) fn check_value(case: &Case, value: &Value) -> Result<(), String> {
    match (&case.expected, value) {
        (Expected::Text(wanted), Value::String(found)) if wanted == found => Ok(()),
        (Expected::Number(wanted), Value::Scalar(found)) => match equal(*wanted, *found) {
            true => Ok(()),
            false => Err(format!("expected {}, found {}", format_float(*wanted), format_float(*found))),
        },
        (Expected::Series(wanted), Value::Vector(found)) => {
            let found: Vec<_> = found.iter().map(|sample| (&sample.labels, vec![(None, sample.value)])).collect();
            let wanted: Result<Vec<_>, String> = wanted.iter().map(single).collect();
            check_series(&wanted?, &found, case.ordered)
        }
        (Expected::Series(wanted), Value::Matrix(found)) => {
            let found: Vec<_> = found
                .iter()
                .map(|one| (&one.labels, one.points.iter().map(|(time, value)| (Some(*time), *value)).collect()))
                .collect();
            check_series(&timed(case, wanted), &found, false)
        }
        (Expected::Number(wanted), Value::Matrix(_)) => {
            let Query::Range { start, end, step } = case.query else { return Err("found a matrix".to_owned()) };
            let count = end.since(start).as_millis() / step.as_millis().max(1) + 1;
            let points = std::iter::repeat_n(Some(*wanted), usize::try_from(count).unwrap_or(0)).collect();
            let case = Case { expected: Expected::Series(vec![(Labels::default(), points)]), ..copy(case) };
            check_value(&case, value)
        }
        (wanted, found) => Err(format!("expected {wanted:?}, found {found:?}")),
    }
}

fn copy(case: &Case) -> Case {
    Case {
        query: case.query,
        expression: case.expression.clone(),
        fails: None,
        warnings: Vec::new(),
        infos: Vec::new(),
        no_warnings: false,
        no_infos: false,
        ordered: false,
        range_vector: None,
        expected: Expected::Number(0.0),
    }
}

/// A series' samples; the time is absent in an instant vector.
type Points<'a> = (&'a Labels, Vec<Point>);

type Point = (Option<i64>, f64);

fn single((labels, points): &(Labels, Vec<Option<f64>>)) -> Result<Points<'_>, String> {
    match points[..] {
        [Some(value)] => Ok((labels, vec![(None, value)])),
        _ => Err(format!("an instant query gives one value, but {} are expected for {labels}", points.len())),
    }
}

/// Expected points with the times that the case's range, or the expected range vector, gives them.
fn timed<'a>(case: &Case, wanted: &'a [(Labels, Vec<Option<f64>>)]) -> Vec<Points<'a>> {
    let (start, step) = match (case.range_vector, case.query) {
        (Some((start, step)), _) => (start, step.as_millis()),
        (None, Query::Range { start, step, .. }) => (start, step.as_millis()),
        (None, Query::Instant { .. }) => (Timestamp::EPOCH, 0),
    };
    let time = |index: usize| start.as_millis() + step * index as i64;
    let points = |points: &[Option<f64>]| {
        points.iter().enumerate().filter_map(|(index, value)| value.map(|value| (Some(time(index)), value))).collect()
    };
    wanted.iter().map(|(labels, values)| (labels, points(values))).collect()
}

fn check_series(wanted: &[Points<'_>], found: &[Points<'_>], ordered: bool) -> Result<(), String> {
    let index: BTreeMap<&Labels, usize> = wanted.iter().enumerate().map(|(at, (labels, _))| (*labels, at)).collect();
    let shown = |points: &[Point]| {
        let values: Vec<String> = points.iter().map(|(_, value)| format_float(*value)).collect();
        values.join(" ")
    };
    for (position, (labels, points)) in found.iter().enumerate() {
        let Some(at) = index.get(labels).copied() else {
            return Err(format!("unexpected series {labels} {}", shown(points)));
        };
        if ordered && at != position {
            return Err(format!("expected {labels} at position {}, found it at {}", at + 1, position + 1));
        }
        let same = |(own, other): (&Point, &Point)| own.0 == other.0 && equal(own.1, other.1);
        let expected = &wanted[at].1;
        if expected.len() != points.len() || !expected.iter().zip(points).all(same) {
            return Err(format!("expected {} for {labels}, found {}", shown(expected), shown(points)));
        }
    }
    let missing = wanted.iter().find(|(labels, _)| !found.iter().any(|(found, _)| found == labels));
    missing.map_or(Ok(()), |(labels, points)| Err(format!("expected series {labels} {}, found none", shown(points))))
}
