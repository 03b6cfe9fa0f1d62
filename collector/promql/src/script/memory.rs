//! A naive storage: all series in one ordered map.

use std::collections::BTreeMap;

use watchfire_shared::labels::Labels;
use watchfire_shared::time::Span;

use crate::storage::{Selection, Series, Storage, StorageError};

/// Series in memory, for scripts and unit tests of rules.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    series: BTreeMap<Labels, BTreeMap<i64, f64>>,
}

impl Memory {
    /// Adds samples at 0, `step`, twice `step` and so on; `None` leaves one out. Of a series that occurs twice in the
    /// batch the later one counts; samples from earlier batches stay.
    pub fn load(&mut self, step: Span, batch: impl IntoIterator<Item = (Labels, Vec<Option<f64>>)>) {
        let batch: BTreeMap<_, _> = batch.into_iter().collect();
        for (labels, points) in batch {
            let series = self.series.entry(labels).or_default();
            for (index, value) in points.into_iter().enumerate() {
                let Some(value) = value else { continue };
                series.insert(step.as_millis().saturating_mul(index as i64), value);
            }
        }
    }

    /// Adds one sample, which replaces one of the same time.
    pub fn insert(&mut self, labels: Labels, millis: i64, value: f64) {
        self.series.entry(labels).or_default().insert(millis, value);
    }
}

impl Storage for Memory {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        let (from, to) = (selection.from.as_millis(), selection.to.as_millis());
        if from > to {
            return Ok(Vec::new());
        }
        let matching = self
            .series
            .iter()
            .filter(|(labels, _)| selection.matchers.iter().all(|matcher| matcher.matches_labels(labels)));
        let read = |(labels, samples): (&Labels, &BTreeMap<i64, f64>)| {
            let (times, values): (Vec<i64>, Vec<f64>) =
                samples.range(from..=to).map(|(time, value)| (*time, *value)).unzip();
            Series { labels: labels.clone(), times: times.into(), values }
        };
        Ok(matching.map(read).filter(|series| !series.values.is_empty()).collect())
    }
}
