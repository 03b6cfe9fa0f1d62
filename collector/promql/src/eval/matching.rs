//! Operators between two vectors: which rows belong together, and what they yield.
//!
//! Rows are grouped by the labels that the matching looks at, once for all steps. Within a group a side may hold several
//! rows as long as no two of them have a sample at the same step; that is checked step by step.

use std::collections::BTreeMap;

use watchfire_shared::labels::{Labels, Quoted};
use watchfire_shared::sample::is_stale;

use super::binary::combine;
use super::groups::{Groups, Part};
use super::{Evaluator, Row, rows};
use crate::ast::{BinaryOp, Cardinality, Matching};
use crate::error::QueryError;

/// The labels that the matching looks at.
pub(super) fn part(matching: &Matching) -> Part<'_> {
    Part { listed: matching.on, names: &matching.labels, without_metadata: false }
}

/// The rows of one side, by the labels that the matching looks at.
pub(super) struct Side<'r> {
    pub(super) groups: Groups<'r>,
    members: Vec<Vec<&'r Row>>,
}

impl<'r> Side<'r> {
    pub(super) fn new(rows: &'r [Row], matching: &'r Matching) -> Self {
        let mut side = Self { groups: Groups::new(part(matching)), members: Vec::new() };
        for row in rows {
            let number = side.groups.number(&row.labels);
            side.members.resize_with(side.groups.len(), Vec::new);
            side.members[number].push(row);
        }
        side
    }

    /// The rows that belong to these labels.
    pub(super) fn rows(&self, labels: &Labels) -> &[&'r Row] {
        self.groups.find(labels).map_or(&[], |number| &self.members[number])
    }

    fn steps(&self) -> usize {
        self.members.iter().flatten().map(|row| row.values.len()).next().unwrap_or_default()
    }

    /// Every group with its rows.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Labels, &[&'r Row])> {
        self.members.iter().enumerate().map(|(number, rows)| (self.groups.labels(number), &rows[..]))
    }
}

/// `and`, `or` and `unless`.
pub(super) fn set(
    op: BinaryOp,
    mut left: Vec<Row>,
    mut right: Vec<Row>,
    matching: &Matching,
) -> Result<Vec<Row>, QueryError> {
    // `or` takes from the right what the left does not have; the others take from the left.
    let (filtered, other) = if op == BinaryOp::Or { (&mut right, &left) } else { (&mut left, &right) };
    let side = Side::new(other, matching);
    for row in filtered.iter_mut() {
        let others = side.rows(&row.labels);
        for (index, value) in row.values.iter_mut().enumerate() {
            let present = others.iter().any(|other| !is_stale(other.values[index]));
            if present != (op == BinaryOp::And) {
                *value = watchfire_shared::sample::stale_nan();
            }
        }
    }
    filtered.retain(|row| !row.is_empty());
    if op == BinaryOp::Or {
        left.append(&mut right);
        return rows::united(left);
    }
    Ok(left)
}

impl Evaluator<'_> {
    /// Arithmetic and comparisons.
    pub(super) fn matched(
        &self,
        op: BinaryOp,
        left: &[Row],
        right: &[Row],
        bool_modifier: bool,
        matching: &Matching,
    ) -> Result<Vec<Row>, QueryError> {
        let swapped = matching.cardinality == Cardinality::OneToMany;
        let (many, one) = if swapped { (right, left) } else { (left, right) };
        let ones = Side::new(one, matching);
        if ones.iter().any(|(_, rows)| rows.len() > 1) {
            // Where one side has no sample at all nothing can match, so nothing can match twice.
            let busy = busy_steps(many, ones.steps());
            for (labels, rows) in ones.iter() {
                unique(rows, labels, &busy, if swapped { "left" } else { "right" })?;
            }
        }
        let one_to_one = matching.cardinality == Cardinality::OneToOne;
        let mut results: Vec<Match<'_>> = Vec::with_capacity(many.len());
        // The results that must not match at the same step: of one group, or of the same labels.
        let mut of_group: Vec<Vec<usize>> = vec![Vec::new(); if one_to_one { ones.groups.len() } else { 0 }];
        let mut of_labels: BTreeMap<Labels, Vec<usize>> = BTreeMap::new();
        let mut distinct = one_to_one && !op.is_comparison();
        for row in many {
            let Some(number) = ones.groups.find(&row.labels) else { continue };
            let group = ones.groups.labels(number);
            for partner in &ones.members[number] {
                let mut result = self.pair(op, row, partner, bool_modifier, swapped);
                result.labels = match one_to_one {
                    true => group_result(op, &row.labels, group, matching),
                    false => result_labels(op, &row.labels, &partner.labels, matching),
                };
                if bool_modifier && !self.options.delayed_name_removal {
                    result.labels = rows::without_name(&result.labels);
                }
                let earlier = match one_to_one {
                    true => &mut of_group[number],
                    false => of_labels.entry(result.labels.clone()).or_default(),
                };
                let new = Match { row: result, many: row, one: partner };
                check_match(earlier.iter().map(|at| &results[*at]), &new, matching.cardinality)?;
                // Results of different groups have different labels, unless a name makes or hides the difference.
                distinct &= earlier.is_empty() && new.row.labels == *group;
                earlier.push(results.len());
                results.push(new);
            }
        }
        let rows: Vec<Row> = results.into_iter().map(|found| found.row).filter(|row| !row.is_empty()).collect();
        if distinct { Ok(rows) } else { rows::united(rows) }
    }

    fn pair(&self, op: BinaryOp, many: &Row, one: &Row, bool_modifier: bool, swapped: bool) -> Row {
        let mut result = Row::empty(Labels::default(), many.values.len());
        result.drop_name = many.drop_name || bool_modifier;
        for (slot, (many, one)) in result.values.iter_mut().zip(many.values.iter().zip(&one.values)) {
            if is_stale(*many) || is_stale(*one) {
                continue;
            }
            let (left, right) = if swapped { (*one, *many) } else { (*many, *one) };
            *slot = combine(op, left, right, bool_modifier, left);
        }
        result
    }
}

/// As [`result_labels`] where each side has one row for a group: most often its labels.
fn group_result(op: BinaryOp, many: &Labels, group: &Labels, matching: &Matching) -> Labels {
    let plain = !op.is_comparison() && !many.iter().any(|(name, _)| matches!(name, "__type__" | "__unit__"));
    if plain && matching.include.is_empty() && !group.iter().any(|(name, _)| rows::is_name_part(name)) {
        return group.clone();
    }
    result_labels(op, many, &Labels::default(), matching)
}

/// The labels of a result: those of the "many" side, less what the operator and the matching drop, with what the
/// grouping takes over.
fn result_labels(op: BinaryOp, many: &Labels, one: &Labels, matching: &Matching) -> Labels {
    let base = if op.is_comparison() { many.clone() } else { rows::without_name(many) };
    let mut builder = base.to_builder();
    if matching.cardinality == Cardinality::OneToOne {
        let listed = |name: &str| matching.labels.iter().any(|own| own == name);
        builder.retain(|name| listed(name) == matching.on);
    }
    for name in &matching.include {
        builder.set(name.as_str(), one.value(name));
    }
    builder.build()
}

/// The steps at which any of the rows has a sample.
fn busy_steps(rows: &[Row], steps: usize) -> Vec<bool> {
    let mut busy = vec![false; steps];
    for row in rows {
        for (busy, value) in busy.iter_mut().zip(&row.values) {
            *busy |= !is_stale(*value);
        }
    }
    busy
}

/// Checks that no two rows of a side that must be unique have a sample at the same step, where the other side has any.
fn unique(rows: &[&Row], group: &Labels, busy: &[bool], side: &str) -> Result<(), QueryError> {
    let both = |left: &Row, right: &Row| {
        let pairs = left.values.iter().zip(&right.values).zip(busy);
        pairs.into_iter().any(|((own, other), busy)| *busy && !is_stale(*own) && !is_stale(*other))
    };
    let clash =
        |rows: &[&Row]| rows.iter().enumerate().any(|(at, row)| rows[..at].iter().any(|other| both(row, other)));
    if rows.len() < 2 || !clash(rows) {
        return Ok(());
    }
    // The message names the first pair in the order of labels, whatever order the rows came in.
    let mut rows = rows.to_vec();
    rows.sort_by(|left, right| left.labels.cmp(&right.labels));
    for (number, row) in rows.iter().enumerate() {
        for other in &rows[..number] {
            if both(row, other) {
                return Err(QueryError::Execution(format!(
                    "found duplicate series for the match group {} on the {side} hand-side of the operation: [{}, {}];\
                     many-to-many matching not allowed: matching labels must be unique on one side",
                    Braced(group),
                    Braced(&other.labels),
                    Braced(&row.labels),
                )));
            }
        }
    }
    Ok(())
}

/// A result and what it was made of.
struct Match<'r> {
    row: Row,
    many: &'r Row,
    one: &'r Row,
}

impl Match<'_> {
    /// Whether both sides had a sample at a step, whether or not a comparison kept it.
    fn matched(&self, step: usize) -> bool {
        !is_stale(self.many.values[step]) && !is_stale(self.one.values[step])
    }
}

/// Checks that a result and those of the same group have not matched at the same step. Whether a comparison keeps them
/// does not matter, as in Prometheus' own scripts (3.5 takes them).
fn check_match<'r>(
    mut earlier: impl Iterator<Item = &'r Match<'r>>,
    new: &Match<'_>,
    cardinality: Cardinality,
) -> Result<(), QueryError> {
    let meets = |other: &Match<'_>| (0..new.many.values.len()).any(|step| new.matched(step) && other.matched(step));
    if !earlier.any(meets) {
        return Ok(());
    }
    let why = if cardinality == Cardinality::OneToOne {
        "many-to-one matching must be explicit (group_left/group_right)"
    } else {
        "grouping labels must ensure unique matches"
    };
    Err(QueryError::Execution(format!("multiple matches for labels: {why}")))
}

/// Labels with the metric name among them, as error messages show them.
struct Braced<'a>(&'a Labels);

impl std::fmt::Display for Braced<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("{")?;
        for (index, (name, value)) in self.0.iter().enumerate() {
            write!(f, "{}{name}={}", if index > 0 { ", " } else { "" }, Quoted(value))?;
        }
        f.write_str("}")
    }
}
