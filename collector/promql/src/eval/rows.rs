//! What nodes yield: columns and rows over the steps of the query.

use std::collections::BTreeMap;

use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::sample::is_stale;

use crate::error::QueryError;

/// The value of a node at every step.
#[derive(Debug)]
pub(crate) enum Column {
    Scalar(Vec<f64>),
    Rows(Vec<Row>),
    Text(String),
}

impl Column {
    /// How many samples it holds.
    pub(super) fn samples(&self) -> usize {
        match self {
            Self::Scalar(values) => values.len(),
            Self::Rows(rows) => rows.iter().map(|row| row.values.len()).sum(),
            Self::Text(_) => 0,
        }
    }

    /// The column of one step, for so many steps.
    pub(super) fn repeated(self, steps: usize) -> Self {
        match self {
            Self::Scalar(values) => Self::Scalar(vec![values[0]; steps]),
            Self::Rows(mut rows) => {
                for row in &mut rows {
                    row.values = vec![row.values[0]; steps];
                }
                Self::Rows(rows)
            }
            Self::Text(text) => Self::Text(text),
        }
    }
}

/// One series of an instant vector, over all steps.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub labels: Labels,
    /// The metric name is to be dropped from the result (only with `delayed_name_removal`).
    pub drop_name: bool,
    /// One per step; the stale marker where the series has no sample.
    pub values: Vec<f64>,
}

impl Row {
    pub(crate) fn new(labels: Labels, values: Vec<f64>) -> Self {
        Self { labels, drop_name: false, values }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.values.iter().all(|value| is_stale(*value))
    }
}

/// Whether a label is the metric's name or what belongs to it, its type and unit.
pub(super) fn is_name_part(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The labels without the metric's name and what belongs to it.
pub(crate) fn without_name(labels: &Labels) -> Labels {
    if !labels.iter().any(|(name, _)| is_name_part(name)) {
        return labels.clone();
    }
    let mut builder = labels.to_builder();
    builder.retain(|name| !is_name_part(name));
    builder.build()
}

/// Whether all rows have the same name, and the same of what belongs to it.
pub(super) fn have_one_name(rows: &[Row]) -> bool {
    let Some((first, rest)) = rows.split_first() else { return true };
    let names = [METRIC_NAME, "__type__", "__unit__"];
    let first = names.map(|name| first.labels.get(name));
    rest.iter().all(|row| names.iter().zip(first).all(|(name, first)| row.labels.get(name) == first))
}

/// Unites rows with equal labels.
///
/// # Errors
/// If two of them have a sample at the same step.
pub(crate) fn united(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    // Most often there are none, which hashes tell far sooner than comparing labels would.
    let mut hashes: Vec<u64> = rows.iter().map(|row| row.labels.fingerprint().0).collect();
    hashes.sort_unstable();
    if hashes.windows(2).all(|pair| pair[0] != pair[1]) {
        return Ok(rows);
    }
    let mut seen: BTreeMap<Labels, usize> = BTreeMap::new();
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(earlier) = seen.get(&row.labels) else {
            seen.insert(row.labels.clone(), out.len());
            out.push(row);
            continue;
        };
        let earlier = &mut out[*earlier];
        earlier.drop_name &= row.drop_name;
        for (own, other) in earlier.values.iter_mut().zip(&row.values).filter(|(_, other)| !is_stale(**other)) {
            if !is_stale(*own) {
                let message = "vector cannot contain metrics with the same labelset";
                return Err(QueryError::Execution(message.to_owned()));
            }
            *own = *other;
        }
    }
    Ok(out)
}
