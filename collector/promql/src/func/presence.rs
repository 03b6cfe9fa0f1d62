//! Functions about whether and when there are samples, and conversions between scalars and vectors.

use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::matcher::MatchOp;
use watchfire_shared::sample::{is_stale, stale_nan};

use crate::ast::{Expr, ExprKind};
use crate::error::QueryError;
use crate::eval::{Call, Column, Evaluator, Row};

/// One sample where there is none, labelled with what the selector demands.
fn absence(evaluator: &Evaluator<'_>, arg: &Expr, rows: &[Row]) -> Column {
    let absent = |index| rows.iter().all(|row: &Row| is_stale(row.values[index]));
    let values = (0..evaluator.steps.count).map(|index| if absent(index) { 1.0 } else { stale_nan() });
    let row = Row::new(demanded_labels(arg), values.collect());
    Column::Rows(if row.is_empty() { Vec::new() } else { vec![row] })
}

/// The labels that a selector's matchers ask for by `=`; one that is asked for twice is left out.
fn demanded_labels(arg: &Expr) -> Labels {
    let (ExprKind::Selector(selector) | ExprKind::Range { selector, .. }) = &arg.unwrapped().kind else {
        return Labels::default();
    };
    let matchers = selector.matchers.iter().filter(|matcher| matcher.name != METRIC_NAME);
    let alone = |name: &str| selector.matchers.iter().filter(|matcher| matcher.name == name).count() == 1;
    let demanded = matchers.filter(|matcher| matcher.op == MatchOp::Equal && alone(&matcher.name));
    Labels::new(demanded.map(|matcher| (matcher.name.as_str(), matcher.value.as_str())))
}

pub(super) fn absent(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let rows = evaluator.rows(&call.args[0])?;
    Ok(absence(evaluator, &call.args[0], &rows))
}

pub(super) fn absent_over_time(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let rows = evaluator.over_windows(&call.args[0], |_, _| Some(1.0))?;
    Ok(absence(evaluator, &call.args[0], &rows))
}

pub(super) fn scalar(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let rows = evaluator.rows(&call.args[0])?;
    let only = |index: usize| {
        let mut present = rows.iter().map(|row| row.values[index]).filter(|value| !is_stale(*value));
        match (present.next(), present.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    Ok(Column::Scalar((0..evaluator.steps.count).map(only).collect()))
}

pub(super) fn vector(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let values = evaluator.scalar(&call.args[0])?;
    Ok(Column::Rows(vec![Row::new(Labels::default(), values)]))
}

pub(super) fn time(evaluator: &mut Evaluator<'_>, _: &Call<'_>) -> Result<Column, QueryError> {
    Ok(Column::Scalar(evaluator.steps.times().map(|time| time as f64 / 1000.0).collect()))
}

/// When each sample was taken; for a computed sample that is the time of evaluation.
pub(super) fn timestamp(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    if let ExprKind::Selector(selector) = &call.args[0].unwrapped().kind {
        let rows = evaluator.select_latest(selector, |time, _| time as f64 / 1000.0)?;
        return evaluator.without_names(rows).map(Column::Rows);
    }
    let mut rows = evaluator.rows(&call.args[0])?;
    let steps = evaluator.steps;
    for row in &mut rows {
        for (value, time) in row.values.iter_mut().zip(steps.times()).filter(|(value, _)| !is_stale(**value)) {
            *value = time as f64 / 1000.0;
        }
    }
    evaluator.without_names(rows).map(Column::Rows)
}

/// A scalar that is the same at every step, given in milliseconds.
fn constant(evaluator: &Evaluator<'_>, millis: i64) -> Result<Column, QueryError> {
    Ok(Column::Scalar(vec![millis as f64 / 1000.0; evaluator.steps.count]))
}

pub(super) fn start(evaluator: &mut Evaluator<'_>, _: &Call<'_>) -> Result<Column, QueryError> {
    constant(evaluator, evaluator.query.start)
}

pub(super) fn end(evaluator: &mut Evaluator<'_>, _: &Call<'_>) -> Result<Column, QueryError> {
    constant(evaluator, evaluator.query.end)
}

pub(super) fn range(evaluator: &mut Evaluator<'_>, _: &Call<'_>) -> Result<Column, QueryError> {
    constant(evaluator, evaluator.query.end.saturating_sub(evaluator.query.start))
}

/// The distance of the query's steps; 0 in an instant query.
pub(super) fn step(evaluator: &mut Evaluator<'_>, _: &Call<'_>) -> Result<Column, QueryError> {
    constant(evaluator, evaluator.query.step)
}
