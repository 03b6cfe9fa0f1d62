//! The store as queries see it.

use std::fmt;

use watchfire_promql::{Selection, Series, Storage, StorageError, Visitor};
use watchfire_shared::sample::Sample;
use watchfire_store::{Newest, Snapshot};

/// A picture of the store that never changes, behind the evaluator's door.
#[derive(Clone)]
pub struct SnapshotStorage(pub Snapshot);

impl Storage for SnapshotStorage {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        let selected = self.0.select(selection.matchers, selection.from, selection.to);
        Ok(selected
            .into_iter()
            .map(|series| Series { labels: series.labels, times: series.times, values: series.values })
            .collect())
    }

    fn visit(&self, selection: &Selection<'_>, take: Visitor<'_>) -> Result<(), StorageError> {
        self.0.visit(selection.matchers, selection.from, selection.to, take);
        Ok(())
    }

    fn latest(&self, selection: &Selection<'_>) -> Result<Vec<Sample>, StorageError> {
        let newest = self.0.latest(selection.matchers, selection.from, selection.to);
        Ok(newest.into_iter().map(|Newest { labels, at, value }| Sample { labels, at, value }).collect())
    }

    fn missing(&self, selection: &Selection<'_>) -> Vec<String> {
        self.0.missing(selection.from, selection.to)
    }
}

impl fmt::Debug for SnapshotStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SnapshotStorage").field("series", &self.0.series_count()).finish()
    }
}
