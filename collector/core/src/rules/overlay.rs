//! Stored series with the results of this pass above them, so that later rules of a group see what earlier ones gave.

use std::collections::BTreeMap;

use watchfire_promql::{Selection, Series, Storage, StorageError, Visitor};
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::matcher::MatchOp;
use watchfire_shared::sample::{Sample, is_stale};
use watchfire_shared::time::Timestamp;

/// A storage and samples of one point in time that it does not hold yet.
pub(super) struct Overlay<'a> {
    below: &'a dyn Storage,
    at: Timestamp,
    /// By metric name, in the order in which they were given. What reads them looks for those of one series; most are never
    /// read.
    results: BTreeMap<String, Vec<(Labels, f64)>>,
}

impl<'a> Overlay<'a> {
    pub(super) const fn new(below: &'a dyn Storage, at: Timestamp) -> Self {
        Self { below, at, results: BTreeMap::new() }
    }

    /// Adds results. Of two for the same series the first counts, but a value goes before a stale marker.
    pub(super) fn add(&mut self, samples: &[(Labels, f64)]) {
        for run in samples.chunk_by(|(one, _), (other, _)| one.metric_name() == other.metric_name()) {
            let name = run[0].0.metric_name();
            match self.results.get_mut(name) {
                Some(named) => named.extend_from_slice(run),
                None => drop(self.results.insert(name.to_owned(), run.to_vec())),
            }
        }
    }

    /// All results, sorted by labels, one for each series.
    pub(super) fn into_samples(self) -> Vec<(Labels, f64)> {
        let mut samples: Vec<(Labels, f64)> = self.results.into_values().flatten().collect();
        samples.sort_by(|(one, _), (other, _)| one.cmp(other));
        samples.dedup_by(|later, first| {
            let same = later.0 == first.0;
            if same {
                first.1 = counting(first.1, later.1);
            }
            same
        });
        samples
    }

    fn matching(&self, selection: &Selection<'_>) -> BTreeMap<&Labels, f64> {
        let named =
            |matcher: &&watchfire_shared::matcher::Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        let groups: Vec<&Vec<(Labels, f64)>> = match selection.matchers.iter().find(named) {
            Some(matcher) => self.results.get(&matcher.value).into_iter().collect(),
            None => self.results.values().collect(),
        };
        let mut found = BTreeMap::new();
        for (labels, value) in groups.into_iter().flatten() {
            if selection.matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
                let own = found.entry(labels).or_insert(*value);
                *own = counting(*own, *value);
            }
        }
        found
    }
}

/// Of two results for one series the one that counts.
fn counting(first: f64, later: f64) -> f64 {
    if is_stale(first) { later } else { first }
}

impl Overlay<'_> {
    /// Whether any result may be among what is selected.
    fn may_hold(&self, selection: &Selection<'_>) -> bool {
        let named = |name: &String| {
            let names = selection.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
            names.clone().all(|matcher| matcher.matches(name))
        };
        (selection.from..=selection.to).contains(&self.at) && self.results.keys().any(named)
    }
}

impl Storage for Overlay<'_> {
    fn visit(&self, selection: &Selection<'_>, take: Visitor<'_>) -> Result<(), StorageError> {
        if !self.may_hold(selection) {
            return self.below.visit(selection, take);
        }
        let series = self.select(selection)?;
        let _ = series.iter().try_for_each(|series| take(&series.labels, &series.times, &series.values));
        Ok(())
    }

    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        let mut series = self.below.select(selection)?;
        if !self.may_hold(selection) {
            return Ok(series);
        }
        let mut above = self.matching(selection);
        if above.is_empty() {
            return Ok(series);
        }
        for known in &mut series {
            if let Some(value) = above.remove(&known.labels) {
                *known = with_sample(known, self.at.as_millis(), value);
            }
        }
        series.extend(above.into_iter().map(|(labels, value)| Series {
            labels: labels.clone(),
            times: [self.at.as_millis()].into(),
            values: vec![value],
        }));
        Ok(series)
    }

    fn latest(&self, selection: &Selection<'_>) -> Result<Vec<Sample>, StorageError> {
        let mut samples = self.below.latest(selection)?;
        if !self.may_hold(selection) {
            return Ok(samples);
        }
        let mut above = self.matching(selection);
        if above.is_empty() {
            return Ok(samples);
        }
        for known in &mut samples {
            // A stored sample that is newer stays, one of the same time does not.
            if let Some(value) = above.remove(&known.labels)
                && known.at <= self.at
            {
                (known.at, known.value) = (self.at, value);
            }
        }
        let sample = |(labels, value): (&Labels, f64)| Sample { labels: labels.clone(), at: self.at, value };
        samples.extend(above.into_iter().map(sample));
        Ok(samples)
    }
}

/// A series with one more sample, in its place; a sample of the same time is replaced.
fn with_sample(series: &Series, at: i64, value: f64) -> Series {
    let before = series.times.partition_point(|time| *time < at);
    let after = series.times.partition_point(|time| *time <= at);
    let join = |head: &[i64], tail: &[i64]| head.iter().chain([&at]).chain(tail).copied().collect();
    let mut values = series.values[..before].to_vec();
    values.push(value);
    values.extend_from_slice(&series.values[after..]);
    Series { labels: series.labels.clone(), times: join(&series.times[..before], &series.times[after..]), values }
}
