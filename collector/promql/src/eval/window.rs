//! Windows: the samples of a series that a range covers at one step.

use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::stale_nan;

use super::select::Reading;
use super::{Evaluator, Row};
use crate::ast::Expr;
use crate::error::QueryError;

/// A range vector over all steps.
pub(crate) struct Ranges {
    pub(super) rows: Vec<RangeRow>,
    /// Milliseconds.
    pub(super) range: i64,
    pub(super) reading: Reading,
}

/// All samples of a series that any step's window may cover, without stale markers.
pub(crate) struct RangeRow {
    pub labels: Labels,
    pub drop_name: bool,
    pub times: Arc<[i64]>,
    pub values: Vec<f64>,
}

/// The samples of one series after `start` up to and including `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// Milliseconds since the epoch; as many as `values`.
    pub times: &'a [i64],
    pub values: &'a [f64],
    /// The edges, in milliseconds, the left one exclusive.
    pub start: i64,
    pub end: i64,
    /// The time of evaluation, which differs from `end` under `offset` and `@`.
    pub now: i64,
    /// No value of the whole series is below the one before it.
    pub rising: bool,
}

impl Ranges {
    /// A row's window at a step. `cursor` is where the last window began and ended; windows never move back.
    pub(super) fn window<'r>(
        &self,
        row: &'r RangeRow,
        index: usize,
        now: i64,
        cursor: &mut (usize, usize),
    ) -> Window<'r> {
        let end = self.reading.time(index);
        let start = end.saturating_sub(self.range);
        while row.times.get(cursor.0).is_some_and(|time| *time <= start) {
            cursor.0 += 1;
        }
        cursor.1 = cursor.1.max(cursor.0);
        while row.times.get(cursor.1).is_some_and(|time| *time <= end) {
            cursor.1 += 1;
        }
        let covered = cursor.0..cursor.1;
        let (times, values) = (&row.times[covered.clone()], &row.values[covered]);
        Window { times, values, start, end, now, rising: false }
    }
}

impl Evaluator<'_> {
    /// Applies a function to every non-empty window of a range vector; `None` is no sample. The step's number comes
    /// with the window.
    ///
    /// The names stay; see [`Evaluator::without_names`].
    pub(crate) fn over_windows(
        &mut self,
        expr: &Expr,
        apply: impl Fn(&Window<'_>, usize) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        let mut ranges = self.ranges(expr)?;
        let steps = self.steps;
        self.reserve(ranges.rows.len().saturating_mul(steps.count))?;
        let mut rows = Vec::with_capacity(ranges.rows.len());
        for source in std::mem::take(&mut ranges.rows) {
            // A row of many steps with wide windows is the longest that a query computes without a pause.
            self.check_cancelled()?;
            let mut cursor = (0, 0);
            let mut found = false;
            let mut values = Vec::with_capacity(steps.count);
            // Over one window it would be no less work to know than to look.
            let rising = steps.count > 1 && source.values.windows(2).all(|pair| pair[1] >= pair[0]);
            for index in 0..steps.count {
                let window = Window { rising, ..ranges.window(&source, index, steps.time(index), &mut cursor) };
                self.seen += window.values.len() as u64;
                let value = if window.values.is_empty() { None } else { apply(&window, index) };
                found |= value.is_some();
                values.push(value.unwrap_or(stale_nan()));
            }
            if found {
                rows.push(Row { labels: source.labels, drop_name: source.drop_name, values });
            }
        }
        Ok(rows)
    }
}
