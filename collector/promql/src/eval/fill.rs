//! `fill`: samples that stand for those which one side of an operator lacks.

use std::collections::BTreeSet;

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::{is_stale, stale_nan};

use super::Row;
use super::matching::Side;
use crate::ast::{Cardinality, Matching};

/// Both sides, each with a row more for every group that lacks it at some step where the other side has a sample. Such a
/// row is labelled with what the matching looks at.
pub(super) fn filled(left: Vec<Row>, right: Vec<Row>, matching: &Matching) -> (Vec<Row>, Vec<Row>) {
    if matching.fill == (None, None) {
        return (left, right);
    }
    // With `group_right`, Prometheus takes the "many" side to be the left one.
    let (fill_left, fill_right) = match (matching.cardinality, matching.fill) {
        (Cardinality::OneToMany, (left, right)) => (right, left),
        (_, fill) => fill,
    };
    let (mut more_left, mut more_right) = (Vec::new(), Vec::new());
    let (lefts, rights) = (Side::new(&left, matching), Side::new(&right, matching));
    let groups: BTreeSet<&Labels> = lefts.iter().chain(rights.iter()).map(|(group, _)| group).collect();
    for group in groups {
        let (own_left, own_right) = (lefts.rows(group), rights.rows(group));
        more_left.extend(fill_left.and_then(|value| substitute(group, own_left, own_right, value)));
        more_right.extend(fill_right.and_then(|value| substitute(group, own_right, own_left, value)));
    }
    let joined = |mut rows: Vec<Row>, more| {
        rows.extend::<Vec<Row>>(more);
        rows
    };
    (joined(left, more_left), joined(right, more_right))
}

/// The row that stands in where only the other side has a sample, if that is anywhere.
fn substitute(group: &Labels, own: &[&Row], other: &[&Row], value: f64) -> Option<Row> {
    let steps = own.iter().chain(other).map(|row| row.values.len()).next()?;
    let present = |rows: &[&Row], index: usize| rows.iter().any(|row| !is_stale(row.values[index]));
    let lacking = |index: &usize| present(other, *index) && !present(own, *index);
    let values = (0..steps).map(|index| if lacking(&index) { value } else { stale_nan() }).collect();
    let row = Row::new(group.clone(), values);
    (!row.is_empty()).then_some(row)
}
