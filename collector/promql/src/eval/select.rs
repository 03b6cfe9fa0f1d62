//! Selectors: reading series once and laying their samples out over the steps.

use std::ops::ControlFlow;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::is_stale;
use watchfire_shared::time::Timestamp;

use super::window::{Frames, RangeRow, Ranges, TakeRow};
use super::{Evaluator, Row, Steps};
use crate::ast::{At, Expr, ExprKind, Length, Selector, Shift};
use crate::error::QueryError;
use crate::number::span_of_seconds;
use crate::storage::{Selection, Series, Visitor};
use crate::value::{PointSeries, Value};

/// At which time each step reads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reading {
    steps: Steps,
    at: Option<i64>,
    offset: i64,
}

impl Reading {
    pub(super) fn time(&self, index: usize) -> i64 {
        self.at.unwrap_or_else(|| self.steps.time(index)).saturating_sub(self.offset)
    }

    /// The earliest and the latest time that is read.
    pub(super) fn bounds(&self) -> (i64, i64) {
        (self.time(0), self.time(self.steps.count.saturating_sub(1)))
    }
}

impl Evaluator<'_> {
    pub(super) fn reading(&mut self, shift: &Shift) -> Result<Reading, QueryError> {
        let at = shift.at.map(|at| match at {
            At::Time(at) => at.as_millis(),
            At::Start => self.query.start,
            At::End => self.query.end,
        });
        let offset = shift.offset.as_ref().map_or(Ok(0), |offset| self.millis(offset))?;
        Ok(Reading { steps: self.steps, at, offset })
    }

    fn millis(&mut self, length: &Length) -> Result<i64, QueryError> {
        let expr = match length {
            Length::Fixed(span) => return Ok(span.as_millis()),
            Length::Computed(expr) => expr,
        };
        // The value is the same at every step, and is asked for even where there are none.
        let steps = std::mem::replace(&mut self.steps.count, 1);
        let seconds = self.scalar(expr);
        self.steps.count = steps;
        let seconds = seconds?.first().copied().unwrap_or(f64::NAN);
        let span = span_of_seconds(seconds).filter(|_| seconds.is_finite());
        span.map(|span| span.as_millis()).ok_or_else(|| QueryError::Execution("duration out of range".to_owned()))
    }

    /// The length of a range or a subquery's step.
    pub(super) fn positive_millis(&mut self, length: &Length) -> Result<i64, QueryError> {
        let millis = self.millis(length)?;
        if millis > 0 { Ok(millis) } else { Err(QueryError::Execution("duration must be greater than 0".to_owned())) }
    }

    /// Reads the samples after `from` up to and including `to`; in the order of labels if that may show.
    fn read(&self, selector: &Selector, from: i64, to: i64) -> Result<Vec<Series>, QueryError> {
        if self.steps.count == 0 {
            return Ok(Vec::new());
        }
        let (from, to) = (Timestamp::from_millis(from.saturating_add(1)), Timestamp::from_millis(to));
        let selection = Selection { matchers: &selector.matchers, from, to };
        let mut series = self.storage.select(&selection)?;
        self.note_missing(&selection);
        if self.ordered {
            series.sort_by(|left, right| left.labels.cmp(&right.labels));
        }
        Ok(series)
    }

    /// As [`read`](Self::read), in no particular order and one series at a time.
    pub(super) fn visit(&self, selector: &Selector, from: i64, to: i64, take: Visitor<'_>) -> Result<(), QueryError> {
        if self.steps.count == 0 {
            return Ok(());
        }
        let (from, to) = (Timestamp::from_millis(from.saturating_add(1)), Timestamp::from_millis(to));
        let selection = Selection { matchers: &selector.matchers, from, to };
        self.storage.visit(&selection, take)?;
        self.note_missing(&selection);
        Ok(())
    }

    fn note_missing(&self, selection: &Selection<'_>) {
        self.missing.borrow_mut().extend(self.storage.missing(selection));
    }

    /// The rows of an instant vector selector.
    pub(super) fn select_instant(&mut self, selector: &Selector) -> Result<Vec<Row>, QueryError> {
        self.select_latest(selector, |_, value| value)
    }

    /// The latest sample of each series at each step, if it is within the look-back and no stale marker; `pick` chooses
    /// what becomes of its time in milliseconds and its value.
    pub(crate) fn select_latest(
        &mut self,
        selector: &Selector,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Row>, QueryError> {
        let mut rows = Vec::new();
        let mut held = 0;
        self.each_latest(selector, pick, &mut |labels, _, values| {
            rows.push(Row::new(labels.clone(), values.to_vec()));
            held += values.len();
            ControlFlow::Continue(held)
        })?;
        Ok(rows)
    }

    /// As [`select_latest`](Self::select_latest), with the rows given away one by one.
    pub(super) fn each_latest(
        &mut self,
        selector: &Selector,
        pick: impl Fn(i64, f64) -> f64,
        take: TakeRow<'_>,
    ) -> Result<(), QueryError> {
        let (reading, lookback) = (self.reading(&selector.shift)?, self.options.lookback.as_millis());
        let (first, last) = reading.bounds();
        if self.steps.count == 1 {
            return self.each_at_once(selector, (last.saturating_sub(lookback), last), pick, take);
        }
        let (steps, ordered, mut seen, mut held, mut number) = (self.steps, self.ordered, 0, 0, 0);
        let (mut frames, mut out, mut failed) = (Frames::none(), Vec::new(), None);
        let mut visit = |labels: &Labels, times: &Arc<[i64]>, values: &[f64]| {
            number += 1;
            let cancelled = if number % 1024 == 0 { self.check_cancelled() } else { Ok(()) };
            if let Err(error) =
                cancelled.and_then(|()| self.reserve(held + values.len() + steps.count + Frames::room(&steps)))
            {
                failed = Some(error);
                return ControlFlow::Break(());
            }
            frames.fit(times, &steps, lookback, &reading);
            match frames.latest(values, &pick, &mut out, &mut seen) {
                true => take(labels, false, &out).map_continue(|total| held = total),
                false => ControlFlow::Continue(()),
            }
        };
        if ordered {
            for series in self.read(selector, first.saturating_sub(lookback), last)? {
                if visit(&series.labels, &series.times, &series.values).is_break() {
                    break;
                }
            }
        } else {
            self.visit(selector, first.saturating_sub(lookback), last, &mut visit)?;
        }
        self.seen += seen;
        failed.map_or(Ok(()), Err)
    }

    /// As [`each_latest`](Self::each_latest) at a single time: after the first of the bounds, up to the second.
    fn each_at_once(
        &mut self,
        selector: &Selector,
        (after, to): (i64, i64),
        pick: impl Fn(i64, f64) -> f64,
        take: TakeRow<'_>,
    ) -> Result<(), QueryError> {
        let (from, to) = (Timestamp::from_millis(after.saturating_add(1)), Timestamp::from_millis(to));
        let selection = Selection { matchers: &selector.matchers, from, to };
        let mut samples = self.storage.latest(&selection)?;
        self.note_missing(&selection);
        self.reserve(samples.len())?;
        self.check_cancelled()?;
        if self.ordered {
            samples.sort_by(|left, right| left.labels.cmp(&right.labels));
        }
        for sample in samples.iter().filter(|sample| !is_stale(sample.value)) {
            self.seen += 1;
            let value = pick(sample.at.as_millis(), sample.value);
            if take(&sample.labels, false, &[value]).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The samples of a range vector, for all steps.
    pub(crate) fn ranges(&mut self, expr: &Expr) -> Result<Ranges, QueryError> {
        match &expr.unwrapped().kind {
            ExprKind::Range { selector, range } => {
                let reading = self.reading(&selector.shift)?;
                let (first, last) = reading.bounds();
                let range = self.positive_millis(range)?;
                let series = self.read(selector, first.saturating_sub(range), last)?;
                let rows: Vec<RangeRow> = series.into_iter().map(without_markers).collect();
                self.hold(&rows)?;
                Ok(Ranges { rows, range, reading })
            }
            ExprKind::Subquery { expr, range, step, shift } => {
                let step = match step {
                    Some(step) => self.positive_millis(step)?,
                    None => self.options.subquery_step.as_millis().max(1),
                };
                let (reading, range) = (self.reading(shift)?, self.positive_millis(range)?);
                let (first, last) = reading.bounds();
                // The first multiple of the step after the beginning of the first window.
                let start = (first.saturating_sub(range).div_euclid(step) + 1).saturating_mul(step);
                let inner = Steps::between(start, last, step);
                let rows = self.subquery(expr, inner)?;
                self.hold(&rows)?;
                Ok(Ranges { rows, range, reading })
            }
            _ => Err(QueryError::Execution("expected a range vector".to_owned())),
        }
    }

    fn subquery(&mut self, expr: &Expr, inner: Steps) -> Result<Vec<RangeRow>, QueryError> {
        let (outer, held) = (std::mem::replace(&mut self.steps, inner), self.held);
        let rows = self.rows(expr);
        self.steps = outer;
        self.held = held;
        let rows = rows?;
        let times: Arc<[i64]> = inner.times().collect();
        Ok(rows.into_iter().map(|row| dense(row, &times)).collect())
    }

    fn hold(&mut self, rows: &[RangeRow]) -> Result<(), QueryError> {
        let samples = rows.iter().map(|row| row.values.len()).sum();
        self.reserve(samples)?;
        self.held += samples;
        Ok(())
    }

    /// A range vector as the result of an instant query.
    pub(super) fn matrix(&mut self, expr: &Expr) -> Result<Value, QueryError> {
        let ranges = self.ranges(expr)?;
        let mut series = Vec::with_capacity(ranges.rows.len());
        for row in &ranges.rows {
            self.check_cancelled()?;
            let (times, values) = ranges.first_window(row);
            let points: Vec<_> = times.iter().copied().zip(values.iter().copied()).collect();
            if !points.is_empty() {
                let labels = if row.drop_name { super::rows::without_name(&row.labels) } else { row.labels.clone() };
                series.push(PointSeries { labels, points });
            }
        }
        series.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(Value::Matrix(series))
    }
}

/// A stored series without its stale markers; the shared times are kept where there are none.
fn without_markers(series: Series) -> RangeRow {
    let Series { labels, mut times, mut values } = series;
    if values.iter().any(|value| is_stale(*value)) {
        times = times.iter().zip(&values).filter(|(_, value)| !is_stale(**value)).map(|(time, _)| *time).collect();
        values.retain(|value| !is_stale(*value));
    }
    RangeRow { labels, drop_name: false, times, values }
}

fn dense(row: Row, times: &Arc<[i64]>) -> RangeRow {
    let series = Series { labels: row.labels, times: Arc::clone(times), values: row.values };
    RangeRow { drop_name: row.drop_name, ..without_markers(series) }
}
