//! `info`: labels taken over from info metrics such as `target_info`, which say in labels what they are about.
//!
//! A sample and an info sample belong together if they have the same `instance` and `job`, as in Prometheus
//! (<https://prometheus.io/docs/prometheus/latest/querying/functions/#info>). Labels that a sample has itself stay.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::labels::{INSTANCE, JOB, Labels, METRIC_NAME, Quoted};
use watchfire_shared::matcher::Matcher;
use watchfire_shared::sample::{is_stale, stale_nan};

use crate::ast::{ExprKind, Selector};
use crate::error::QueryError;
use crate::eval::{Call, Column, Evaluator, Row};

/// What tells that samples speak of the same thing.
const IDENTITY: [&str; 2] = [INSTANCE, JOB];
/// The info metric that is meant where none is named.
const DEFAULT_METRIC: &str = "target_info";

/// What is asked of info metrics.
struct Wanted<'e> {
    /// On `__name__`.
    names: Vec<Matcher>,
    /// On the labels to take over; if there are none, all of them are.
    labels: Vec<&'e Matcher>,
}

impl<'e> Wanted<'e> {
    fn new(call: &'e Call<'_>) -> Self {
        let matchers: &[Matcher] = match call.args.get(1).map(|arg| &arg.kind) {
            Some(ExprKind::Selector(selector)) => &selector.matchers,
            _ => &[],
        };
        let (names, labels): (Vec<_>, Vec<_>) = matchers.iter().partition(|matcher| matcher.name == METRIC_NAME);
        let names = if names.is_empty() {
            vec![Matcher::equal(METRIC_NAME, DEFAULT_METRIC)]
        } else {
            names.into_iter().cloned().collect()
        };
        Self { names, labels }
    }

    fn is_info(&self, labels: &Labels) -> bool {
        self.names.iter().all(|matcher| matcher.matches(labels.metric_name()))
    }

    fn takes(&self, label: &str) -> bool {
        let listed = self.labels.is_empty() || self.labels.iter().any(|matcher| matcher.name == label);
        listed && label != METRIC_NAME && !IDENTITY.contains(&label)
    }

    /// A sample without any label to take over stays unless a label is demanded.
    fn demands(&self) -> bool {
        self.labels.iter().any(|matcher| !matcher.matches(""))
    }
}

type Identity<'l> = [&'l str; 2];

fn identity(labels: &Labels) -> Identity<'_> {
    IDENTITY.map(|name| labels.value(name))
}

pub(super) fn info(evaluator: &mut Evaluator<'_>, call: &Call<'_>) -> Result<Column, QueryError> {
    let wanted = Wanted::new(call);
    let base = evaluator.rows(&call.args[0])?;
    let matchers = wanted.names.iter().chain(wanted.labels.iter().copied()).cloned().collect();
    // Info samples are those of the time that the first argument speaks of, as in Prometheus.
    let shift = call.args[0].selectors().first().map(|selector| selector.shift.clone()).unwrap_or_default();
    let selector = Selector { name: None, matchers, shift };
    // The times of the samples decide between two of one metric.
    let infos = evaluator.select_latest(&selector, |time, _| time as f64)?;
    let mut by_identity: BTreeMap<Identity<'_>, Vec<&Row>> = BTreeMap::new();
    for row in &infos {
        by_identity.entry(identity(&row.labels)).or_default().push(row);
    }
    let mut out = Vec::with_capacity(base.len());
    for row in base {
        if wanted.is_info(&row.labels) {
            out.push(row);
            continue;
        }
        let infos = by_identity.get(&identity(&row.labels)).map_or(&[][..], Vec::as_slice);
        enrich(&row, infos, &wanted, &mut out)?;
    }
    crate::eval::united(out).map(Column::Rows)
}

/// Splits a row by the labels that its samples get at each step.
fn enrich(row: &Row, infos: &[&Row], wanted: &Wanted<'_>, out: &mut Vec<Row>) -> Result<(), QueryError> {
    let mut parts: BTreeMap<Labels, Vec<f64>> = BTreeMap::new();
    let mut known: Option<(Vec<usize>, Option<Labels>)> = None;
    for (index, value) in row.values.iter().enumerate().filter(|(_, value)| !is_stale(**value)) {
        let present = chosen(infos, index)?;
        let labels = match &known {
            Some((before, labels)) if *before == present => labels.clone(),
            _ => taken_over(&row.labels, &present, infos, wanted)?,
        };
        if let Some(labels) = &labels {
            let empty = || vec![stale_nan(); row.values.len()];
            parts.entry(labels.clone()).or_insert_with(empty)[index] = *value;
        }
        known = Some((present, labels));
    }
    out.extend(parts.into_iter().map(|(labels, values)| Row { labels, drop_name: row.drop_name, values }));
    Ok(())
}

/// The info rows that have a sample at a step: of each metric the one with the newest.
fn chosen(infos: &[&Row], index: usize) -> Result<Vec<usize>, QueryError> {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for (at, info) in infos.iter().enumerate().filter(|(_, info)| !is_stale(info.values[index])) {
        let Some(other) = newest.insert(info.labels.metric_name(), at) else { continue };
        let before = infos[other].values[index];
        if before > info.values[index] {
            newest.insert(info.labels.metric_name(), other);
        } else if before.to_bits() == info.values[index].to_bits() {
            return Err(QueryError::Execution(format!(
                "found duplicate series for info metric: existing {} @ {before}, new {} @ {before}",
                infos[other].labels, info.labels
            )));
        }
    }
    let chosen: BTreeSet<usize> = newest.into_values().collect();
    Ok(chosen.into_iter().collect())
}

/// The labels of a sample with those of its info samples; `None` if a label that is demanded is nowhere.
fn taken_over(
    base: &Labels,
    present: &[usize],
    infos: &[&Row],
    wanted: &Wanted<'_>,
) -> Result<Option<Labels>, QueryError> {
    let mut taken: BTreeMap<&str, &str> = BTreeMap::new();
    for at in present {
        for (name, value) in infos[*at].labels.iter().filter(|(name, _)| wanted.takes(name)) {
            if taken.insert(name, value).is_some_and(|other| other != value) {
                return Err(QueryError::Execution(format!("conflicting label: {}", Quoted(name))));
            }
        }
    }
    if taken.is_empty() && wanted.demands() {
        return Ok(None);
    }
    let mut builder = base.to_builder();
    for (name, value) in taken {
        if base.get(name).is_none() {
            builder.set(name, value);
        }
    }
    Ok(Some(builder.build()))
}
