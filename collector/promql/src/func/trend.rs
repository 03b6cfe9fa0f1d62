//! Trends: linear regression and exponential smoothing.

use crate::error::QueryError;
use crate::eval::kahan::Sum;
use crate::eval::window::Window;
use crate::eval::{Call, Column, Evaluator};

/// The slope per second.
pub(super) fn deriv(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let (slope, _) = regression(window, *window.times.first()?)?;
    Some(slope)
}

/// The value so many seconds after the time of evaluation.
pub(super) fn predict_linear(window: &Window<'_>, [seconds, _]: [f64; 2]) -> Option<f64> {
    let (slope, intercept) = regression(window, window.now)?;
    Some(slope * seconds + intercept)
}

/// Slope per second and value at `origin` (milliseconds) of the simple linear regression; `None` below two samples.
fn regression(window: &Window<'_>, origin: i64) -> Option<(f64, f64)> {
    let &[first, _, ..] = window.values else { return None };
    // Rounding would give a slope to a line that has none.
    if window.values.iter().all(|value| *value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, first) });
    }
    let (mut sum_x, mut sum_y, mut sum_xy, mut sum_xx) =
        (Sum::default(), Sum::default(), Sum::default(), Sum::default());
    for (time, y) in window.times.iter().zip(window.values) {
        let x = (time - origin) as f64 / 1000.0;
        sum_x.add(x);
        sum_y.add(*y);
        sum_xy.add(x * y);
        sum_xx.add(x * x);
    }
    let count = window.values.len() as f64;
    let (sum_x, sum_y) = (sum_x.value(), sum_y.value());
    let covariance = sum_xy.value() - sum_x * sum_y / count;
    let variance = sum_xx.value() - sum_x * sum_x / count;
    let slope = covariance / variance;
    Some((slope, sum_y / count - slope * sum_x / count))
}

pub(super) fn double_exponential_smoothing(
    evaluator: &mut Evaluator<'_>,
    call: &Call<'_>,
) -> Result<Column, QueryError> {
    let smoothing = evaluator.scalar(&call.args[1])?;
    let trend = evaluator.scalar(&call.args[2])?;
    for (name, factors) in [("smoothing", &smoothing), ("trend", &trend)] {
        if let Some(bad) = factors.iter().find(|factor| !(**factor > 0.0 && **factor < 1.0)) {
            let message = format!("invalid {name} factor. Expected: 0 < factor < 1, got: {bad}");
            return Err(QueryError::Execution(message));
        }
    }
    let rows = evaluator
        .over_windows(&call.args[0], |window, index| smoothed(window.values, smoothing[index], trend[index]))?;
    evaluator.without_names(rows).map(Column::Rows)
}

/// Holt's linear method: a level and a trend, each an exponential average.
fn smoothed(values: &[f64], smoothing: f64, trend_smoothing: f64) -> Option<f64> {
    let &[first, second, ..] = values else { return None };
    let (mut level, mut trend) = (first, second - first);
    let mut previous = 0.0;
    for (index, value) in values.iter().enumerate().skip(1) {
        if index > 1 {
            trend = trend_smoothing * (level - previous) + (1.0 - trend_smoothing) * trend;
        }
        let next = smoothing * value + (1.0 - smoothing) * (level + trend);
        previous = std::mem::replace(&mut level, next);
    }
    Some(level)
}
