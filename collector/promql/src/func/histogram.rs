//! Quantiles and fractions of classic histograms, whose buckets are series with an `le` label.
//!
//! Within a bucket observations are taken to be spread evenly; the lowest bucket begins at 0 if its bound is positive.
//! See <https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile>.

use std::collections::BTreeMap;

use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::sample::{is_stale, stale_nan};

use crate::ast::Expr;
use crate::error::QueryError;
use crate::eval::{Call, Column, Evaluator, Row};
use crate::number::parse_number;

/// The label with a bucket's upper bound.
const BOUND: &str = "le";

/// Relative differences of counts up to this come from rounding, not from the data.
const SMALL_DELTA: f64 = 1e-12;

/// A bucket: its upper bound, and the observations up to it.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    bound: f64,
    count: f64,
}

/// One histogram: the rows of its buckets.
struct Histogram {
    metric: String,
    rows: Vec<(f64, Row)>,
}

pub(super) fn histogram_quantile(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let ranks = evaluator.scalar(&call.args[0])?;
    evaluator.warn_of_quantiles(&ranks, call.args[0].place);
    let histograms = histograms(evaluator, &call.args[1])?;
    let mut forced = Vec::new();
    let column = per_step(evaluator, &histograms, |histogram, index, buckets| {
        let (value, was_forced) = quantile(ranks[index], buckets);
        if was_forced {
            forced.push(histogram.metric.clone());
        }
        value
    });
    inform_of_forced(evaluator, &forced, call);
    column
}

/// Tells of metrics whose buckets had to be made monotonic.
fn inform_of_forced(evaluator: &mut Evaluator<'_>, metrics: &[String], call: &Call<'_>) {
    for metric in metrics {
        let link = "https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile";
        let text = format!("input to histogram_quantile needed to be fixed for monotonicity (see {link})");
        evaluator.inform(&(text + &named(metric)), call.args[1].place);
    }
}

/// As many rows for each histogram as there are ranks, each with its rank in the label that is named.
pub(super) fn histogram_quantiles(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let label = evaluator.text(&call.args[1])?;
    if label.is_empty() {
        return Err(QueryError::Execution(format!("invalid label name {label:?}")));
    }
    let histograms = histograms(evaluator, &call.args[0])?;
    let (mut out, mut forced) = (Vec::new(), Vec::new());
    for arg in &call.args[2..] {
        let ranks = evaluator.scalar(arg)?;
        evaluator.warn_of_quantiles(&ranks, arg.place);
        let column = per_step(evaluator, &histograms, |histogram, index, buckets| {
            let (value, was_forced) = quantile(ranks[index], buckets);
            forced.extend(was_forced.then(|| histogram.metric.clone()));
            value
        })?;
        let Column::Rows(rows) = column else { continue };
        let shown = |rank: f64| {
            let text = crate::number::format_float(rank);
            if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') { text + ".0" } else { text }
        };
        // A rank that changes from step to step gives a series for each of its values.
        let mut values: Vec<f64> = ranks.clone();
        values.sort_by(f64::total_cmp);
        values.dedup_by(|left, right| left.to_bits() == right.to_bits());
        for rank in values {
            for row in &rows {
                let at_step = |(value, own): (&f64, &f64)| {
                    if own.to_bits() == rank.to_bits() { *value } else { stale_nan() }
                };
                let values = row.values.iter().zip(&ranks).map(at_step).collect();
                out.push(Row { labels: row.labels.with(&label, &shown(rank)), drop_name: row.drop_name, values });
            }
        }
    }
    inform_of_forced(evaluator, &forced, call);
    out.retain(|row| !row.is_empty());
    crate::eval::united(out).map(Column::Rows)
}

pub(super) fn histogram_fraction(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let (lower, upper) = (evaluator.scalar(&call.args[0])?, evaluator.scalar(&call.args[1])?);
    let histograms = histograms(evaluator, &call.args[2])?;
    per_step(evaluator, &histograms, |_, index, buckets| fraction(lower[index], upper[index], &buckets))
}

fn named(metric: &str) -> String {
    if metric.is_empty() { String::new() } else { format!(" for metric name {metric:?}") }
}

/// The histograms of a vector, by their labels without the bound.
fn histograms(evaluator: &mut Evaluator<'_>, arg: &Expr) -> Result<BTreeMap<Labels, Histogram>, QueryError> {
    let rows = evaluator.rows(arg)?;
    let delayed = evaluator.options.delayed_name_removal;
    let mut histograms: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for row in rows {
        let Some(bound) = row.labels.get(BOUND).and_then(parse_number) else {
            let value = row.labels.value(BOUND);
            let text = format!("bucket label \"le\" is missing or has a malformed value of {value:?}");
            evaluator.warn(&(text + &named(row.labels.metric_name())), arg.place);
            continue;
        };
        let without_bound = row.labels.without(BOUND);
        let key = if delayed { without_bound } else { without_bound.without(METRIC_NAME) };
        let metric = row.labels.metric_name().to_owned();
        histograms.entry(key).or_insert_with(|| Histogram { metric, rows: Vec::new() }).rows.push((bound, row));
    }
    Ok(histograms)
}

/// Applies a function to each histogram's buckets at each step, sorted by bound, the last one being infinite.
fn per_step(
    evaluator: &Evaluator<'_>,
    histograms: &BTreeMap<Labels, Histogram>,
    mut apply: impl FnMut(&Histogram, usize, Vec<Bucket>) -> f64,
) -> Result<Column, QueryError> {
    let mut out = Vec::with_capacity(histograms.len());
    for (labels, histogram) in histograms {
        let mut values = vec![stale_nan(); evaluator.steps.count];
        for (index, slot) in values.iter_mut().enumerate() {
            let present = histogram.rows.iter().filter(|(_, row)| !is_stale(row.values[index]));
            let mut buckets: Vec<_> =
                present.map(|(bound, row)| Bucket { bound: *bound, count: row.values[index] }).collect();
            if buckets.is_empty() {
                continue;
            }
            buckets.sort_by(|left, right| left.bound.total_cmp(&right.bound));
            let complete = buckets.last().is_some_and(|last| last.bound == f64::INFINITY);
            *slot = if complete { apply(histogram, index, coalesced(buckets)) } else { f64::NAN };
        }
        out.push(Row::new(labels.clone(), values));
    }
    evaluator.without_names(out).map(Column::Rows)
}

/// Unites buckets with the same bound.
fn coalesced(buckets: Vec<Bucket>) -> Vec<Bucket> {
    let mut out: Vec<Bucket> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        match out.last_mut().filter(|last| last.bound == bucket.bound) {
            Some(last) => last.count += bucket.count,
            None => out.push(bucket),
        }
    }
    out
}

/// Lifts counts that are below the one before them, and levels differences that are mere rounding; says whether a count
/// was lifted.
fn make_monotonic(buckets: &mut [Bucket]) -> bool {
    let mut forced = false;
    let mut previous = buckets[0].count;
    for bucket in &mut buckets[1..] {
        let difference = (bucket.count - previous).abs();
        let rounding = difference <= SMALL_DELTA * (bucket.count.abs() + previous.abs());
        if bucket.count < previous || rounding {
            forced |= !rounding;
            bucket.count = previous;
        } else {
            previous = bucket.count;
        }
    }
    forced
}

/// The value below which the share `rank` of the observations lies, and whether the counts had to be made monotonic.
fn quantile(rank: f64, mut buckets: Vec<Bucket>) -> (f64, bool) {
    if rank.is_nan() {
        return (f64::NAN, false);
    }
    if !(0.0..=1.0).contains(&rank) {
        return (if rank < 0.0 { f64::NEG_INFINITY } else { f64::INFINITY }, false);
    }
    let forced = make_monotonic(&mut buckets);
    let last = buckets.len() - 1;
    let observations = buckets[last].count;
    if last == 0 || observations == 0.0 || observations.is_nan() {
        return (f64::NAN, forced);
    }
    let wanted = rank * observations;
    let at = buckets[..last].iter().position(|bucket| bucket.count >= wanted).unwrap_or(last);
    if at == last {
        return (buckets[last - 1].bound, forced);
    }
    let bucket = buckets[at];
    if at == 0 && bucket.bound <= 0.0 {
        return (bucket.bound, forced);
    }
    let (start, below) = if at == 0 { (0.0, 0.0) } else { (buckets[at - 1].bound, buckets[at - 1].count) };
    (start + (bucket.bound - start) * ((wanted - below) / (bucket.count - below)), forced)
}

/// The share of observations between two values.
fn fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let count = buckets[buckets.len() - 1].count;
    if count == 0.0 || count.is_nan() || lower.is_nan() || upper.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let (upper, lower) = (rank_of(upper, buckets).unwrap_or(count), rank_of(lower, buckets).unwrap_or(count));
    (upper.min(count) - lower.min(count)) / count
}

/// How many observations lie below a value; `None` if the value is above every bucket.
fn rank_of(value: f64, buckets: &[Bucket]) -> Option<f64> {
    let mut below = 0.0;
    let mut start = if buckets[0].bound > 0.0 { 0.0 } else { f64::NEG_INFINITY };
    for bucket in buckets {
        if start >= value {
            return Some(below);
        }
        if bucket.bound > value {
            // Nothing says where in an infinite bucket its observations lie. Those of the
            // highest are taken to be above the value, those of the lowest below it.
            if start == f64::NEG_INFINITY {
                return Some(bucket.count);
            }
            let share = if bucket.bound.is_finite() { (value - start) / (bucket.bound - start) } else { 0.0 };
            return Some(below + (bucket.count - below) * share);
        }
        (below, start) = (bucket.count, bucket.bound);
    }
    None
}
