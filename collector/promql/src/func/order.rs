//! Sorting. It shows in the result of an instant query only; the series of a matrix are ordered by their labels.

use std::cmp::Ordering;

use watchfire_shared::labels::Labels;

use crate::error::QueryError;
use crate::eval::{Call, Column, Evaluator};

pub(super) fn sort(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    by_value(evaluator, call, |left, right| left.partial_cmp(&right).unwrap_or(Ordering::Equal))
}

pub(super) fn sort_desc(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    by_value(evaluator, call, |left, right| right.partial_cmp(&left).unwrap_or(Ordering::Equal))
}

/// NaN is last either way.
fn by_value(
    evaluator: &mut Evaluator<'_>,
    call: &Call<'_>,
    compare: fn(f64, f64) -> Ordering,
) -> Result<Column, QueryError> {
    let mut rows = evaluator.rows(&call.args[0])?;
    if evaluator.steps.count == 1 {
        rows.sort_by(|left, right| {
            let (left, right) = (left.values[0], right.values[0]);
            left.is_nan().cmp(&right.is_nan()).then_with(|| compare(left, right))
        });
    }
    Ok(Column::Rows(rows))
}

pub(super) fn sort_by_label(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    by_label(evaluator, call, compare_labels)
}

pub(super) fn sort_by_label_desc(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    by_label(evaluator, call, |left, right, names| compare_labels(right, left, names))
}

fn by_label(
    evaluator: &mut Evaluator<'_>,
    call: &Call<'_>,
    compare: fn(&Labels, &Labels, &[String]) -> Ordering,
) -> Result<Column, QueryError> {
    let mut names = Vec::with_capacity(call.args.len());
    for arg in &call.args[1..] {
        names.push(evaluator.text(arg)?);
    }
    let mut rows = evaluator.rows(&call.args[0])?;
    rows.sort_by(|left, right| compare(&left.labels, &right.labels, &names));
    Ok(Column::Rows(rows))
}

fn compare_labels(left: &Labels, right: &Labels, names: &[String]) -> Ordering {
    let by_name = |name: &String| natural(left.value(name), right.value(name));
    names.iter().map(by_name).find(|order| order.is_ne()).unwrap_or_else(|| left.cmp(right))
}

/// Compares texts with numbers in them by the numbers' size: `a2` before `a10`.
fn natural(left: &str, right: &str) -> Ordering {
    let (mut left, mut right) = (left, right);
    while !left.is_empty() && !right.is_empty() {
        let ((left_part, left_rest), (right_part, right_rest)) = (chunk(left), chunk(right));
        let numbers = is_number(left_part) && is_number(right_part);
        let order = if numbers { compare_numbers(left_part, right_part) } else { left_part.cmp(right_part) };
        if order.is_ne() {
            return order;
        }
        (left, right) = (left_rest, right_rest);
    }
    left.len().cmp(&right.len())
}

fn is_number(part: &str) -> bool {
    part.starts_with(|char: char| char.is_ascii_digit())
}

/// The run of digits, or of other characters, that a text begins with.
fn chunk(text: &str) -> (&str, &str) {
    let digits = is_number(text);
    let end = text.find(|char: char| char.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

fn compare_numbers(left: &str, right: &str) -> Ordering {
    let (left, right) = (left.trim_start_matches('0'), right.trim_start_matches('0'));
    left.len().cmp(&right.len()).then_with(|| left.cmp(right))
}
