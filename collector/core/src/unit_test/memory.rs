//! A storage in memory that shows samples only from the time on at which they would have come.

use std::collections::BTreeMap;

use watchfire_promql::{Selection, Series, Storage, StorageError};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::{Span, Timestamp};

use super::file::Input;

/// Series by their labels, and the input that is still to come.
pub(super) struct Memory {
    series: BTreeMap<Labels, Vec<(i64, f64)>>,
    /// In the order of time.
    ahead: std::vec::IntoIter<(Timestamp, Labels, f64)>,
}

impl Memory {
    pub(super) fn new(input: &[Input], start: Timestamp, interval: Span) -> Self {
        let points = |input: &Input| {
            let labels = input.labels.clone();
            let values = input.values.clone().into_iter().enumerate();
            values.filter_map(move |(at, value)| {
                Some((start + interval * i64::try_from(at).ok()?, labels.clone(), value?))
            })
        };
        let mut ahead: Vec<(Timestamp, Labels, f64)> = input.iter().flat_map(points).collect();
        ahead.sort_by_key(|(at, _, _)| *at);
        Self { series: BTreeMap::new(), ahead: ahead.into_iter() }
    }

    /// Shows the input up to and including a time.
    pub(super) fn advance(&mut self, to: Timestamp) {
        while let Some((at, _, _)) = self.ahead.as_slice().first() {
            if *at > to {
                return;
            }
            if let Some((at, labels, value)) = self.ahead.next() {
                self.append(at, vec![(labels, value)]);
            }
        }
    }

    /// Adds samples; one that is not after the last of its series is dropped, as a store does.
    pub(super) fn append(&mut self, at: Timestamp, samples: Vec<(Labels, f64)>) {
        for (labels, value) in samples {
            let points = self.series.entry(labels).or_default();
            if points.last().is_none_or(|(last, _)| *last < at.as_millis()) {
                points.push((at.as_millis(), value));
            }
        }
    }
}

impl Storage for Memory {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        let (from, to) = (selection.from.as_millis(), selection.to.as_millis());
        let matches = |labels: &Labels| selection.matchers.iter().all(|matcher| matcher.matches_labels(labels));
        let found = self.series.iter().filter(|(labels, _)| matches(labels)).map(|(labels, points)| {
            let first = points.partition_point(|(at, _)| *at < from);
            let last = points.partition_point(|(at, _)| *at <= to).max(first);
            let points = &points[first..last];
            Series {
                labels: labels.clone(),
                times: points.iter().map(|(at, _)| *at).collect(),
                values: points.iter().map(|(_, value)| *value).collect(),
            }
        });
        Ok(found.filter(|series| !series.values.is_empty()).collect())
    }
}
