//! Functions of single values: clamps, rounding, sign and constants.

use watchfire_shared::sample::{is_stale, stale_nan};

use crate::error::QueryError;
use crate::eval::{Call, Column, Evaluator};

pub(super) fn sgn(value: f64) -> f64 {
    if value < 0.0 {
        -1.0
    } else if value > 0.0 {
        1.0
    } else {
        value
    }
}

/// The lesser of two values, NaN if either is.
fn lesser(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.min(right) }
}

/// The greater of two values, NaN if either is.
fn greater(left: f64, right: f64) -> f64 {
    if left.is_nan() || right.is_nan() { f64::NAN } else { left.max(right) }
}

/// Applies a function of a sample and the step's number to the vector, the call's first argument.
fn by_step(
    evaluator: &mut Evaluator<'_>,
    call: &Call<'_>,
    apply: impl Fn(f64, usize) -> f64,
) -> Result<Column, QueryError> {
    let mut rows = evaluator.rows(&call.args[0])?;
    for row in &mut rows {
        for (index, value) in row.values.iter_mut().enumerate().filter(|(_, value)| !is_stale(**value)) {
            *value = apply(*value, index);
        }
    }
    rows.retain(|row| !row.is_empty());
    evaluator.without_names(rows).map(Column::Rows)
}

pub(super) fn clamp(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let (least, most) = (evaluator.scalar(&call.args[1])?, evaluator.scalar(&call.args[2])?);
    // Limits that exclude everything leave no sample.
    by_step(evaluator, call, |value, index| match (least[index], most[index]) {
        (least, most) if most < least => stale_nan(),
        (least, most) => greater(least, lesser(most, value)),
    })
}

pub(super) fn clamp_max(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let most = evaluator.scalar(&call.args[1])?;
    by_step(evaluator, call, |value, index| lesser(most[index], value))
}

pub(super) fn clamp_min(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let least = evaluator.scalar(&call.args[1])?;
    by_step(evaluator, call, |value, index| greater(least[index], value))
}

/// To the nearest multiple of the second argument (1 if absent), ties upwards.
pub(super) fn round(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let nearest = call.args.get(1).map(|arg| evaluator.scalar(arg)).transpose()?;
    by_step(evaluator, call, |value, index| {
        // Dividing by the inverse is exact for 0.1 and the like, where multiplying is not.
        let inverse = 1.0 / nearest.as_ref().map_or(1.0, |nearest| nearest[index]);
        (value * inverse + 0.5).floor() / inverse
    })
}

pub(super) fn pi(evaluator: &mut Evaluator<'_>, _: &Call<'_>) -> Result<Column, QueryError> {
    Ok(Column::Scalar(vec![std::f64::consts::PI; evaluator.steps.count]))
}

pub(super) fn min_of(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    of_both(evaluator, call, lesser)
}

pub(super) fn max_of(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    of_both(evaluator, call, greater)
}

fn of_both(evaluator: &mut Evaluator<'_>, call: &Call<'_>, choose: fn(f64, f64) -> f64) -> Result<Column, QueryError> {
    let (left, right) = (evaluator.scalar(&call.args[0])?, evaluator.scalar(&call.args[1])?);
    Ok(Column::Scalar(left.into_iter().zip(right).map(|(left, right)| choose(left, right)).collect()))
}
