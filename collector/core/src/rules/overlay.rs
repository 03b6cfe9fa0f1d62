//! Stored series with the results of this pass above them, so that later rules of a group see what earlier ones gave.

use std::collections::BTreeMap;

use watchfire_promql::{Selection, Series, Storage, StorageError};
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::matcher::MatchOp;
use watchfire_shared::sample::Sample;
use watchfire_shared::time::Timestamp;

/// A storage and samples of one point in time that it does not hold yet.
pub(super) struct Overlay<'a> {
    below: &'a dyn Storage,
    at: Timestamp,
    /// By metric name, then by labels.
    results: BTreeMap<String, BTreeMap<Labels, f64>>,
}

impl<'a> Overlay<'a> {
    pub(super) const fn new(below: &'a dyn Storage, at: Timestamp) -> Self {
        Self { below, at, results: BTreeMap::new() }
    }

    /// Adds results; of two for the same series the later one counts.
    pub(super) fn add(&mut self, samples: &[(Labels, f64)]) {
        for (labels, value) in samples {
            let named = self.results.entry(labels.metric_name().to_owned()).or_default();
            named.insert(labels.clone(), *value);
        }
    }

    fn matching(&self, selection: &Selection<'_>) -> BTreeMap<&Labels, f64> {
        let named =
            |matcher: &&watchfire_shared::matcher::Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        let groups: Vec<&BTreeMap<Labels, f64>> = match selection.matchers.iter().find(named) {
            Some(matcher) => self.results.get(&matcher.value).into_iter().collect(),
            None => self.results.values().collect(),
        };
        let matches = |labels: &&Labels| selection.matchers.iter().all(|matcher| matcher.matches_labels(labels));
        groups
            .into_iter()
            .flatten()
            .map(|(labels, value)| (labels, *value))
            .filter(|(labels, _)| matches(labels))
            .collect()
    }
}

impl Storage for Overlay<'_> {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        let mut series = self.below.select(selection)?;
        if self.results.is_empty() || !(selection.from..=selection.to).contains(&self.at) {
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
        if self.results.is_empty() || !(selection.from..=selection.to).contains(&self.at) {
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
