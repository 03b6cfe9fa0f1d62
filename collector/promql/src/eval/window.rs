//! Windows: the samples of a series that a range covers at one step.

use std::ops::ControlFlow;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::{is_stale, stale_nan};

use super::select::Reading;
use super::{Evaluator, Row, SAMPLE_BYTES, Steps};
use crate::ast::{Expr, ExprKind};
use crate::error::QueryError;
use crate::func::Extrapolation;

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
    /// `None` of fewer than two samples.
    pub reach: Option<Reach>,
}

impl Ranges {
    /// A row's samples within the window of the first step.
    pub(super) fn first_window<'r>(&self, row: &'r RangeRow) -> (&'r [i64], &'r [f64]) {
        let end = self.reading.time(0);
        let from = row.times.partition_point(|time| *time <= end.saturating_sub(self.range));
        let to = row.times.partition_point(|time| *time <= end).max(from);
        (&row.times[from..to], &row.values[from..to])
    }
}

/// How far a window's samples reach towards its edges, all in seconds; see [`crate::func`]'s rates. It follows from the
/// times alone, which series share, so it is found once for all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reach {
    /// From the first to the last sample.
    pub sampled: f64,
    /// What is added before the first and behind the last one.
    pub to_start: f64,
    pub to_end: f64,
}

impl Reach {
    /// Of the samples after `start` up to `end`, milliseconds; `None` of fewer than two.
    ///
    /// An edge farther away than 1.1 average sample distances is where the series begins or ends; then only half a
    /// distance is added.
    pub(crate) fn of(times: &[i64], start: i64, end: i64) -> Option<Self> {
        let &[first, .., last] = times else { return None };
        let seconds = |from: i64, to: i64| (to - from) as f64 / 1000.0;
        let sampled = seconds(first, last);
        let average_distance = sampled / (times.len() - 1) as f64;
        let threshold = average_distance * 1.1;
        let limited = |distance: f64| if distance >= threshold { average_distance / 2.0 } else { distance };
        Some(Self { sampled, to_start: limited(seconds(start, first)), to_end: limited(seconds(last, end)) })
    }
}

/// The windows of every step over one column of times.
pub(super) struct Frames {
    times: Arc<[i64]>,
    frames: Vec<Frame>,
}

/// The samples that the window of one step covers, and its edges.
struct Frame {
    covered: std::ops::Range<usize>,
    start: i64,
    end: i64,
    now: i64,
    reach: Option<Reach>,
}

impl Frames {
    pub(super) fn none() -> Self {
        Self { times: Arc::from([]), frames: Vec::new() }
    }

    /// What the frames of so many steps take, in samples.
    pub(super) fn room(steps: &Steps) -> usize {
        (steps.count * size_of::<Frame>()).div_ceil(SAMPLE_BYTES)
    }

    /// Makes them those of these times, unless they are.
    pub(super) fn fit(&mut self, times: &Arc<[i64]>, steps: &Steps, range: i64, reading: &Reading) {
        if Arc::ptr_eq(&self.times, times) && self.frames.len() == steps.count {
            return;
        }
        self.times = Arc::clone(times);
        self.frames.clear();
        self.frames.reserve_exact(steps.count);
        let mut covered = 0..0;
        for index in 0..steps.count {
            let end = reading.time(index);
            let start = end.saturating_sub(range);
            // Windows never move back.
            while times.get(covered.start).is_some_and(|time| *time <= start) {
                covered.start += 1;
            }
            covered.end = covered.end.max(covered.start);
            while times.get(covered.end).is_some_and(|time| *time <= end) {
                covered.end += 1;
            }
            let reach = Reach::of(&times[covered.clone()], start, end);
            self.frames.push(Frame { covered: covered.clone(), start, end, now: steps.time(index), reach });
        }
    }

    /// Applies a function to the window of each step, and says whether any gave a value. Between windows it calls `pause`
    /// now and then: those of one series may cover its samples thousands of times.
    fn apply(
        &self,
        values: &[f64],
        extrapolation: Option<Extrapolation>,
        (apply, pause): (impl Fn(&Window<'_>, usize) -> Option<f64>, impl Fn() -> Result<(), QueryError>),
        out: &mut Vec<f64>,
        seen: &mut u64,
    ) -> Result<bool, QueryError> {
        out.clear();
        // Over one window it would be no less work to know than to look.
        let rising = self.frames.len() > 1 && is_rising(values);
        if let Some(kind) = extrapolation.filter(|kind| rising || *kind == Extrapolation::Delta) {
            return Ok(self.extrapolate(kind, values, out, seen));
        }
        let (mut found, mut next_pause) = (false, seen.saturating_add(PAUSE));
        for (index, frame) in self.frames.iter().enumerate() {
            let (times, values) = (&self.times[frame.covered.clone()], &values[frame.covered.clone()]);
            let Frame { start, end, now, reach, .. } = *frame;
            *seen += values.len() as u64;
            if *seen >= next_pause {
                next_pause = seen.saturating_add(PAUSE);
                pause()?;
            }
            let value = match values {
                [] => None,
                _ => apply(&Window { times, values, start, end, now, rising, reach }, index),
            };
            found |= value.is_some();
            out.push(value.unwrap_or(stale_nan()));
        }
        Ok(found)
    }
}

impl Frames {
    /// As [`apply`](Self::apply), of a function that looks at the first and last value of each window.
    fn extrapolate(&self, kind: Extrapolation, values: &[f64], out: &mut Vec<f64>, seen: &mut u64) -> bool {
        let mut found = false;
        out.extend(self.frames.iter().map(|frame| {
            let covered = &values[frame.covered.clone()];
            *seen += covered.len() as u64;
            match (covered, frame.reach) {
                (&[first, .., last], Some(reach)) => {
                    found = true;
                    kind.of(first, last, reach, frame.end - frame.start)
                }
                _ => stale_nan(),
            }
        }));
        found
    }

    /// The last sample of each window, as `pick` makes it of time and value; says whether there was any.
    pub(super) fn latest(
        &self,
        values: &[f64],
        pick: impl Fn(i64, f64) -> f64,
        out: &mut Vec<f64>,
        seen: &mut u64,
    ) -> bool {
        out.clear();
        out.extend(self.frames.iter().map(|frame| {
            if frame.covered.is_empty() || is_stale(values[frame.covered.end - 1]) {
                return stale_nan();
            }
            *seen += 1;
            pick(self.times[frame.covered.end - 1], values[frame.covered.end - 1])
        }));
        out.iter().any(|value| !is_stale(*value))
    }
}

/// What is done with a row that was computed: labels, whether their name is to be dropped, and the values. Says how many
/// samples are held of all rows so far, or that no more are wanted.
pub(super) type TakeRow<'a> = &'a mut dyn FnMut(&Labels, bool, &[f64]) -> ControlFlow<(), usize>;

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
        self.window_rows(expr, None, apply)
    }

    /// As [`over_windows`](Self::over_windows), of a function that may extrapolate.
    pub(super) fn window_rows(
        &mut self,
        expr: &Expr,
        extrapolation: Option<Extrapolation>,
        apply: impl Fn(&Window<'_>, usize) -> Option<f64>,
    ) -> Result<Vec<Row>, QueryError> {
        let (mut rows, mut held) = (Vec::new(), 0);
        self.each_window_row(expr, extrapolation, apply, &mut |labels, drop_name, values| {
            rows.push(Row { labels: labels.clone(), drop_name, values: values.to_vec() });
            held += values.len();
            ControlFlow::Continue(held)
        })?;
        Ok(rows)
    }

    /// As [`over_windows`](Self::over_windows), with the rows given away one by one. Of a selector one series at a time is
    /// held.
    pub(super) fn each_window_row(
        &mut self,
        expr: &Expr,
        extrapolation: Option<Extrapolation>,
        apply: impl Fn(&Window<'_>, usize) -> Option<f64>,
        take: TakeRow<'_>,
    ) -> Result<(), QueryError> {
        let (steps, mut seen) = (self.steps, 0);
        let (mut frames, mut out) = (Frames::none(), Vec::with_capacity(steps.count.min(MAX_ROOM)));
        if let (ExprKind::Range { selector, range }, false) = (&expr.unwrapped().kind, self.ordered) {
            let reading = self.reading(&selector.shift)?;
            let range = self.positive_millis(range)?;
            let (first, last) = reading.bounds();
            let mut failed = None;
            let mut plain = Plain::default();
            let mut held = 0;
            self.visit(selector, first.saturating_sub(range), last, &mut |labels, times, values| {
                let (times, values) = plain.of(times, values);
                let mut row = || {
                    self.check_cancelled()?;
                    self.reserve(held + values.len() + steps.count + Frames::room(&steps))?;
                    frames.fit(times, &steps, range, &reading);
                    frames.apply(values, extrapolation, (&apply, || self.check_cancelled()), &mut out, &mut seen)
                };
                match row() {
                    Ok(true) => take(labels, false, &out).map_continue(|total| held = total),
                    Ok(false) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                }
            })?;
            self.seen += seen;
            return failed.map_or(Ok(()), Err);
        }
        let mut ranges = self.ranges(expr)?;
        let mut held = 0;
        for source in std::mem::take(&mut ranges.rows) {
            self.check_cancelled()?;
            self.reserve(held + steps.count + Frames::room(&steps))?;
            frames.fit(&source.times, &steps, ranges.range, &ranges.reading);
            let pause = || self.check_cancelled();
            if frames.apply(&source.values, extrapolation, (&apply, pause), &mut out, &mut seen)? {
                match take(&source.labels, source.drop_name, &out) {
                    ControlFlow::Continue(total) => held = total,
                    ControlFlow::Break(()) => break,
                }
            }
        }
        self.seen += seen;
        Ok(())
    }
}

/// Samples that windows cover between two looks at whether the query goes on; some milliseconds of work.
const PAUSE: u64 = 1 << 20;
/// Room that is made at once for the values of a row; longer ones are refused before they come to be.
const MAX_ROOM: usize = 16_384;

/// Series without their stale markers; most have none and are passed through.
#[derive(Default)]
struct Plain {
    times: Arc<[i64]>,
    values: Vec<f64>,
}

impl Plain {
    fn of<'s>(&'s mut self, times: &'s Arc<[i64]>, values: &'s [f64]) -> (&'s Arc<[i64]>, &'s [f64]) {
        if !values.iter().fold(false, |found, value| found | is_stale(*value)) {
            return (times, values);
        }
        self.times = times.iter().zip(values).filter(|(_, value)| !is_stale(**value)).map(|(time, _)| *time).collect();
        self.values.clear();
        self.values.extend(values.iter().filter(|value| !is_stale(**value)));
        (&self.times, &self.values)
    }
}

/// Whether no value is below the one before it, or NaN beside another. Looks at blocks, which takes no branch per value.
fn is_rising(values: &[f64]) -> bool {
    let rises = |block: &[f64]| block.windows(2).fold(true, |rose, pair| rose & (pair[1] >= pair[0]));
    let mut from = 0;
    while from + 1 < values.len() {
        let to = (from + 64).min(values.len());
        if !rises(&values[from..to]) {
            return false;
        }
        from = to - 1;
    }
    true
}
