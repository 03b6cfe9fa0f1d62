//! What a window's samples amount to: the `*_over_time` functions.

use crate::error::QueryError;
use crate::eval::kahan::{Mean, Sum, Variance};
use crate::eval::window::Window;
use crate::eval::{Call, Column, Evaluator};

pub(super) fn sum(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    Some(window.values.iter().copied().collect::<Sum>().value())
}

pub(super) fn avg(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let mut mean = Mean::default();
    window.values.iter().for_each(|value| mean.add(*value));
    Some(mean.value())
}

pub(super) fn stdvar(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let mut variance = Variance::default();
    window.values.iter().for_each(|value| variance.add(*value));
    Some(variance.value())
}

pub(super) fn stddev(window: &Window<'_>, params: [f64; 2]) -> Option<f64> {
    stdvar(window, params).map(f64::sqrt)
}

pub(super) fn count(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    Some(window.values.len() as f64)
}

pub(super) fn present(_: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    Some(1.0)
}

pub(super) fn first(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    window.values.first().copied()
}

pub(super) fn last(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    window.values.last().copied()
}

pub(super) fn min(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    chosen(window, |so_far, value| value < so_far).map(|index| window.values[index])
}

pub(super) fn max(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    chosen(window, |so_far, value| value > so_far).map(|index| window.values[index])
}

pub(super) fn time_of_first(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    window.times.first().map(|time| *time as f64 / 1000.0)
}

pub(super) fn time_of_last(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    window.times.last().map(|time| *time as f64 / 1000.0)
}

/// Of equal values the latest counts.
pub(super) fn time_of_min(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    chosen(window, |so_far, value| value <= so_far).map(|index| window.times[index] as f64 / 1000.0)
}

/// Of equal values the latest counts.
pub(super) fn time_of_max(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    chosen(window, |so_far, value| value >= so_far).map(|index| window.times[index] as f64 / 1000.0)
}

/// The index of the value that `better` prefers to all before it; NaN only if there is nothing else.
fn chosen(window: &Window<'_>, better: impl Fn(f64, f64) -> bool) -> Option<usize> {
    let values = window.values;
    (0..values.len()).reduce(|so_far, index| {
        if better(values[so_far], values[index]) || values[so_far].is_nan() { index } else { so_far }
    })
}

/// The median of the absolute deviations from the median; NaN if any sample is.
pub(super) fn mad(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    if window.values.iter().any(|value| value.is_nan()) {
        return Some(f64::NAN);
    }
    let mut values = window.values.to_vec();
    let median = quantile(0.5, &mut values);
    values.iter_mut().for_each(|value| *value = (*value - median).abs());
    Some(quantile(0.5, &mut values))
}

pub(super) fn quantile_over_time(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let ranks = evaluator.scalar(&call.args[0])?;
    let rows = evaluator
        .over_windows(&call.args[1], |window, index| Some(quantile(ranks[index], &mut window.values.to_vec())))?;
    if !rows.is_empty() {
        evaluator.warn_of_quantiles(&ranks, call.args[0].place);
    }
    evaluator.without_names(rows).map(Column::Rows)
}

/// The value below which the share `rank` (0..=1) of the values lies, linear between two of them. NaN counts as the
/// least value. The values are sorted by it.
///
/// NaN if there are none or the rank is NaN; -Inf and +Inf for ranks below 0 and above 1.
pub(crate) fn quantile(rank: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || rank.is_nan() {
        return f64::NAN;
    }
    if rank < 0.0 {
        return f64::NEG_INFINITY;
    }
    if rank > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(|left, right| match (left.is_nan(), right.is_nan()) {
        (false, false) => left.partial_cmp(right).unwrap_or(std::cmp::Ordering::Equal),
        (left_nan, right_nan) => right_nan.cmp(&left_nan),
    });
    let last = values.len() - 1;
    let position = rank * last as f64;
    let lower = (position.floor() as usize).min(last);
    let upper = (lower + 1).min(last);
    let weight = position - position.floor();
    values[lower] * (1.0 - weight) + values[upper] * weight
}
