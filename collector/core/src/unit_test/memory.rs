//! A storage in memory that shows samples only from the time on at which they would have come.

use watchfire_promql::script::Memory as Stored;
use watchfire_promql::{Selection, Series, Storage, StorageError};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::{Span, Timestamp};

use super::file::Input;

/// Series, and the input that is still to come.
pub(super) struct Memory {
    stored: Stored,
    /// In the order of time.
    ahead: std::iter::Peekable<std::vec::IntoIter<(Timestamp, Labels, f64)>>,
}

impl Memory {
    pub(super) fn new(input: &[Input], start: Timestamp, interval: Span) -> Self {
        let mut ahead: Vec<(Timestamp, Labels, f64)> = Vec::new();
        for series in input {
            let mut at = start;
            for value in &series.values {
                ahead.extend(value.map(|value| (at, series.labels.clone(), value)));
                at += interval;
            }
        }
        ahead.sort_by_key(|(at, _, _)| *at);
        Self { stored: Stored::default(), ahead: ahead.into_iter().peekable() }
    }

    /// Shows the input up to and including a time.
    pub(super) fn advance(&mut self, to: Timestamp) {
        while let Some((at, labels, value)) = self.ahead.next_if(|(at, _, _)| *at <= to) {
            self.stored.insert(labels, at.as_millis(), value);
        }
    }

    /// Adds samples of one time.
    pub(super) fn append(&mut self, at: Timestamp, samples: Vec<(Labels, f64)>) {
        for (labels, value) in samples {
            self.stored.insert(labels, at.as_millis(), value);
        }
    }
}

impl Storage for Memory {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        self.stored.select(selection)
    }
}
