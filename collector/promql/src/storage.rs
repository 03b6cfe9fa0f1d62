//! The door to stored series: what the evaluator asks for and what it gets.
//!
//! The evaluator selects once per selector and query, never per step; the answer holds raw samples, and windows,
//! look-back and staleness are the evaluator's business.

use std::ops::ControlFlow;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::sample::Sample;
use watchfire_shared::time::Timestamp;

/// What the evaluator reads from; several evaluations may read at the same time.
pub trait Storage: Sync {
    /// Returns every series that satisfies all matchers, with its samples in the interval, in any order.
    ///
    /// A series without a sample in the interval may be left out.
    ///
    /// # Errors
    /// If the samples cannot be read; the query fails with that reason.
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError>;

    /// Gives what [`select`](Self::select) returns to `take`, a series at a time and in the same order, until it breaks. What
    /// a query of many series asks for, which then need not all be held.
    ///
    /// # Errors
    /// As [`select`](Self::select); series may have been given before.
    fn visit(&self, selection: &Selection<'_>, take: Visitor<'_>) -> Result<(), StorageError> {
        for series in &self.select(selection)? {
            if take(&series.labels, &series.times, &series.values).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Returns the newest sample in the interval of every series that satisfies all matchers, in any order; a stale marker
    /// is a sample too. What queries of one point in time ask for.
    ///
    /// # Errors
    /// As [`select`](Self::select).
    fn latest(&self, selection: &Selection<'_>) -> Result<Vec<Sample>, StorageError> {
        let newest = |series: Series| {
            let (time, value) = (*series.times.last()?, *series.values.last()?);
            Some(Sample { labels: series.labels, at: Timestamp::from_millis(time), value })
        };
        Ok(self.select(selection)?.into_iter().filter_map(newest).collect())
    }

    /// What may be missing of what was read for a selection, a sentence for each reason. Asked after it was read.
    fn missing(&self, _selection: &Selection<'_>) -> Vec<String> {
        Vec::new()
    }
}

/// Is given a series' labels, times and values, as [`Series`] has them.
pub type Visitor<'a> = &'a mut dyn FnMut(&Labels, &Arc<[i64]>, &[f64]) -> ControlFlow<()>;

/// Which samples to read.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// All of them must be satisfied; the metric name is the matcher on `__name__`.
    pub matchers: &'a [Matcher],
    /// Earliest time, inclusive.
    pub from: Timestamp,
    /// Latest time, inclusive.
    pub to: Timestamp,
}

/// One series and its samples.
#[derive(Debug, Clone)]
pub struct Series {
    pub labels: Labels,
    /// Milliseconds since the epoch, strictly increasing, as many as `values`; shared between series of one source.
    pub times: Arc<[i64]>,
    /// The values, stale markers included.
    pub values: Vec<f64>,
}

/// Why samples could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct StorageError(pub String);
