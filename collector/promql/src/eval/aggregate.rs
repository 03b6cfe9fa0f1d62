//! Aggregations: rows are grouped once, then every group is folded over all steps.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::sample::{is_stale, stale_nan};

use super::groups::{Groups, Part};
use super::kahan::{Mean, Sum, Variance};
use super::{Column, Evaluator, Row, rows};
use crate::ast::{AggregateOp, Expr, Place};
use crate::error::QueryError;
use crate::func::quantile;

impl Evaluator<'_> {
    pub(super) fn eval_aggregate(
        &mut self,
        op: AggregateOp,
        expr: &Expr,
        param: Option<&Expr>,
        grouping: &[String],
        without: bool,
    ) -> Result<Column, QueryError> {
        let place = param.map_or(expr.place, |param| param.place);
        let (scalars, label) = match (op, param) {
            (AggregateOp::CountValues, Some(param)) => (Vec::new(), self.text(param)?),
            (_, Some(param)) => (self.scalar(param)?, String::new()),
            (_, None) => (Vec::new(), String::new()),
        };
        if let Some(rows) = self.fused(op, expr, grouping, without)? {
            return Ok(Column::Rows(rows));
        }
        // The samples that an operator chooses keep their names, and `count_values` looks at them for its label.
        let keeps = op.selects() || op == AggregateOp::CountValues;
        self.names_unused = !keeps && (without || !grouping.iter().any(|name| rows::is_name_part(name)));
        let rows = self.rows(expr)?;
        self.names_unused = false;
        // Accumulators take more room than samples, but there are fewer groups than rows.
        self.reserve(rows.iter().map(|row| row.values.len()).sum())?;
        let groups = grouped(&rows, grouping, without);
        let steps = self.steps.count;
        let out = match op {
            AggregateOp::TopK | AggregateOp::BottomK => select_k(op, &rows, &groups, &counts(&scalars)?),
            AggregateOp::LimitK => limit(&rows, &groups, &counts(&scalars)?),
            AggregateOp::LimitRatio => {
                let ratios = self.ratios(&scalars, place)?;
                by_ratio(rows, &ratios)
            }
            AggregateOp::Quantile => {
                self.warn_of_quantiles(&scalars, place);
                fold(&groups, &rows, |members| quantiles(members, &scalars))
            }
            AggregateOp::CountValues => return count_values(&rows, &groups, &label, steps).map(Column::Rows),
            AggregateOp::Sum => fold(&groups, &rows, |members| folded(members, steps, Sum::add, Sum::value)),
            AggregateOp::Avg => fold(&groups, &rows, |members| folded(members, steps, Mean::add, Mean::value)),
            AggregateOp::Stdvar => {
                fold(&groups, &rows, |members| folded(members, steps, Variance::add, Variance::value))
            }
            AggregateOp::Stddev => fold(&groups, &rows, |members| {
                folded(members, steps, Variance::add, |variance| variance.value().sqrt())
            }),
            AggregateOp::Count => {
                fold(&groups, &rows, |members| reduced(members, steps, |_| 1.0, |count, _| count + 1.0))
            }
            AggregateOp::Group => fold(&groups, &rows, |members| reduced(members, steps, |_| 1.0, |_, _| 1.0)),
            AggregateOp::Min => fold(&groups, &rows, |members| reduced(members, steps, |value| value, least)),
            AggregateOp::Max => fold(&groups, &rows, |members| reduced(members, steps, |value| value, greatest)),
        };
        Ok(Column::Rows(out))
    }

    pub(crate) fn warn_of_quantiles(&mut self, values: &[f64], place: Place) {
        for value in values.iter().filter(|value| !(0.0..=1.0).contains(*value)) {
            let shown = crate::number::format_float(*value);
            self.warn(&format!("quantile value should be between 0 and 1, got {shown}"), place);
        }
    }
}

impl Evaluator<'_> {
    /// The ratios of `limit_ratio`, brought into -1..1 with a warning.
    fn ratios(&mut self, values: &[f64], place: Place) -> Result<Vec<f64>, QueryError> {
        let mut out = Vec::with_capacity(values.len());
        for value in values {
            if value.is_nan() {
                return Err(QueryError::Execution("Ratio value is NaN".to_owned()));
            }
            let capped = value.clamp(-1.0, 1.0);
            if capped != *value {
                let shown = [*value, capped].map(crate::number::format_float);
                let [found, capped] = &shown;
                self.warn(&format!("ratio value should be between -1 and 1, got {found}, capping to {capped}"), place);
            }
            out.push(capped);
        }
        Ok(out)
    }
}

/// `limitk`: the first rows of each group that have a sample, whatever their values.
fn limit(rows: &[Row], groups: &[Group], counts: &[usize]) -> Vec<Row> {
    let mut kept: Vec<Row> = rows.iter().map(Row::empty_like).collect();
    for group in groups {
        for (index, count) in counts.iter().enumerate() {
            let present = group.members.iter().filter(|member| !is_stale(rows[**member].values[index]));
            for member in present.take(*count) {
                kept[*member].values[index] = rows[*member].values[index];
            }
        }
    }
    kept.retain(|row| !row.is_empty());
    kept
}

/// `limit_ratio`: the rows whose labels' hash falls into the first part, or with a negative ratio into the last, so that
/// `limit_ratio(0.3, x)` and `limit_ratio(-0.7, x)` are all of `x`.
fn by_ratio(mut rows: Vec<Row>, ratios: &[f64]) -> Vec<Row> {
    for row in &mut rows {
        let offset = spread(row.labels.fingerprint().0) as f64 / u64::MAX as f64;
        for (value, ratio) in row.values.iter_mut().zip(ratios) {
            let kept = if *ratio >= 0.0 { offset < *ratio } else { offset >= 1.0 + *ratio };
            if !kept {
                *value = stale_nan();
            }
        }
    }
    rows.retain(|row| !row.is_empty());
    rows
}

/// Mixes the bits of a hash, so that its highest ones depend on every byte (the finaliser of SplitMix64).
fn spread(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

/// The rows of one output series.
struct Group {
    labels: Labels,
    drop_name: bool,
    members: Vec<usize>,
}

fn grouped(rows: &[Row], grouping: &[String], without: bool) -> Vec<Group> {
    let mut index = Groups::new(Part { listed: !without, names: grouping, without_metadata: true });
    let mut groups: Vec<Group> = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let at = index.number(&row.labels);
        if at == groups.len() {
            let labels = index.labels(at).clone();
            groups.push(Group { labels, drop_name: row.drop_name, members: Vec::new() });
        }
        groups[at].members.push(number);
    }
    groups
}

fn fold(groups: &[Group], rows: &[Row], values: impl Fn(&[&Row]) -> Vec<f64>) -> Vec<Row> {
    let rows = groups.iter().map(|group| {
        let members: Vec<&Row> = group.members.iter().map(|member| &rows[*member]).collect();
        Row { labels: group.labels.clone(), drop_name: group.drop_name, values: values(&members) }
    });
    rows.filter(|row| !row.is_empty()).collect()
}

/// Folds with an accumulator per step; a step without samples yields none.
fn folded<A: Default + Clone>(
    members: &[&Row],
    steps: usize,
    add: impl Fn(&mut A, f64),
    value: impl Fn(&A) -> f64,
) -> Vec<f64> {
    let mut accumulators = vec![(false, A::default()); steps];
    for row in members {
        for ((used, accumulator), value) in accumulators.iter_mut().zip(&row.values) {
            if !is_stale(*value) {
                *used = true;
                add(accumulator, *value);
            }
        }
    }
    accumulators.iter().map(|(used, accumulator)| if *used { value(accumulator) } else { stale_nan() }).collect()
}

/// Folds where the result so far is all there is to remember.
fn reduced(members: &[&Row], steps: usize, first: impl Fn(f64) -> f64, next: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    let mut results = vec![stale_nan(); steps];
    for row in members {
        for (result, value) in results.iter_mut().zip(&row.values).filter(|(_, value)| !is_stale(**value)) {
            *result = if is_stale(*result) { first(*value) } else { next(*result, *value) };
        }
    }
    results
}

/// The lesser of two values; NaN only if both are.
pub(crate) fn least(so_far: f64, value: f64) -> f64 {
    if value < so_far || so_far.is_nan() { value } else { so_far }
}

/// The greater of two values; NaN only if both are.
pub(crate) fn greatest(so_far: f64, value: f64) -> f64 {
    if value > so_far || so_far.is_nan() { value } else { so_far }
}

fn quantiles(members: &[&Row], ranks: &[f64]) -> Vec<f64> {
    let at_step = |(index, rank): (usize, &f64)| {
        let mut values: Vec<f64> =
            members.iter().map(|row| row.values[index]).filter(|value| !is_stale(*value)).collect();
        if values.is_empty() { stale_nan() } else { quantile(*rank, &mut values) }
    };
    ranks.iter().enumerate().map(at_step).collect()
}

/// How many samples to keep at each step.
fn counts(values: &[f64]) -> Result<Vec<usize>, QueryError> {
    // As in Prometheus, however far below one they are.
    if values.iter().all(|value| *value < 1.0) {
        return Ok(vec![0; values.len()]);
    }
    let count = |value: &f64| {
        if value.is_nan() {
            return Err(QueryError::Execution("Parameter value is NaN".to_owned()));
        }
        let shown = || crate::number::format_float(*value);
        if *value <= i64::MIN as f64 {
            return Err(QueryError::Execution(format!("Scalar value {} underflows int64", shown())));
        }
        if *value >= i64::MAX as f64 {
            return Err(QueryError::Execution(format!("Scalar value {} overflows int64", shown())));
        }
        Ok(value.max(0.0) as usize)
    };
    values.iter().map(count).collect()
}

/// `topk` and `bottomk`: the rows themselves, less the samples that are not among the first.
fn select_k(op: AggregateOp, rows: &[Row], groups: &[Group], counts: &[usize]) -> Vec<Row> {
    let mut kept: Vec<Row> = rows.iter().map(Row::empty_like).collect();
    // The order in which a single step's result is shown: by group, then by rank.
    let mut order = Vec::new();
    for group in groups {
        for (index, count) in counts.iter().enumerate() {
            let mut ranked: Vec<usize> =
                group.members.iter().copied().filter(|member| !is_stale(rows[*member].values[index])).collect();
            ranked.sort_by(|left, right| rank(op, rows[*left].values[index], rows[*right].values[index]));
            ranked.truncate(*count);
            for member in &ranked {
                kept[*member].values[index] = rows[*member].values[index];
            }
            if index == 0 {
                order.extend(ranked);
            }
        }
    }
    if counts.len() == 1 {
        return order.into_iter().map(|member| kept[member].clone()).collect();
    }
    kept.retain(|row| !row.is_empty());
    kept
}

/// NaN is the last choice of either operator.
fn rank(op: AggregateOp, left: f64, right: f64) -> Ordering {
    let (left_nan, right_nan) = (left.is_nan(), right.is_nan());
    if left_nan || right_nan {
        return left_nan.cmp(&right_nan);
    }
    let ascending = left.partial_cmp(&right).unwrap_or(Ordering::Equal);
    if op == AggregateOp::TopK { ascending.reverse() } else { ascending }
}

fn count_values(rows: &[Row], groups: &[Group], label: &str, steps: usize) -> Result<Vec<Row>, QueryError> {
    if label.is_empty() {
        return Err(QueryError::Execution(format!("invalid label name {label:?}")));
    }
    let mut out: Vec<Row> = Vec::new();
    for group in groups {
        let mut found: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for member in &group.members {
            for (index, value) in rows[*member].values.iter().enumerate().filter(|(_, value)| !is_stale(**value)) {
                let counts =
                    found.entry(crate::number::format_plain(*value)).or_insert_with(|| vec![stale_nan(); steps]);
                counts[index] = if is_stale(counts[index]) { 1.0 } else { counts[index] + 1.0 };
            }
        }
        out.extend(found.into_iter().map(|(value, counts)| Row {
            labels: group.labels.with(label, &value),
            drop_name: group.drop_name && label != METRIC_NAME,
            values: counts,
        }));
    }
    rows::united(out)
}
