//! Expressions to values.
//!
//! Every node is evaluated once, for all steps of the query: it yields a column (a value per step) or rows (a column per
//! series). So a selector is read once, and inner loops run over plain float slices. An instant query has one step.
//!
//! In a row the stale marker stands for "no sample at this step"; no stored or computed value is ever that NaN, because
//! selectors drop markers and arithmetic on other NaNs does not yield its bits.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::{Sample, is_stale, stale_nan};
use watchfire_shared::time::{Span, Timestamp};

use crate::ast::{Expr, ExprKind, Place, Type};
use crate::error::QueryError;
use crate::storage::Storage;
use crate::value::{Answer, Effort, PointSeries, Value};

mod notes;

mod select;

pub(crate) mod window;

mod binary;

mod groups;

mod matching;

mod fill;

mod aggregate;

mod fuse;

mod call;

pub(crate) mod kahan;

mod rows;

pub(crate) use binary::arithmetic;
pub(crate) use call::Call;
pub(crate) use notes::Notes;
pub(crate) use rows::{Column, Row, united};

/// A time and a value: what a sample takes that is held.
pub(crate) const SAMPLE_BYTES: usize = 16;

/// How a query is evaluated.
#[derive(Clone, Copy)]
pub struct Options<'a> {
    /// How old a sample may be and still stand for now.
    pub lookback: Span,
    /// Samples that a query may hold at once; a series counts for each step of a range query, with or without a sample.
    pub max_samples: usize,
    /// The step of subqueries that name none.
    pub subquery_step: Span,
    /// Whether metric names are dropped at the end instead of by each function, as Prometheus does behind a flag.
    pub delayed_name_removal: bool,
    /// Asked now and then; the query is given up once it says true.
    pub cancelled: Option<&'a dyn Fn() -> bool>,
}

impl Default for Options<'_> {
    /// Prometheus' defaults: five minutes, fifty million samples, one minute.
    fn default() -> Self {
        Self {
            lookback: Span::from_seconds(300),
            max_samples: 50_000_000,
            subquery_step: Span::from_seconds(60),
            delayed_name_removal: false,
            cancelled: None,
        }
    }
}

/// Evaluates an expression at one time.
///
/// # Errors
/// If the data does not allow an answer, the storage fails, or a limit of the options is reached.
pub fn instant(storage: &dyn Storage, expr: &Expr, at: Timestamp, options: &Options<'_>) -> Result<Answer, QueryError> {
    let steps = Steps { start: at.as_millis(), step: 1, count: 1 };
    let mut evaluator =
        Evaluator::new(storage, options, steps, Bounds { start: steps.start, end: steps.start, step: 0 });
    evaluator.ordered = gives_order(expr);
    let value = match expr.value_type() {
        Type::RangeVector => evaluator.matrix(expr)?,
        _ => match evaluator.eval(expr)? {
            Column::Scalar(values) => Value::Scalar(values[0]),
            Column::Text(text) => Value::String(text),
            Column::Rows(rows) => {
                let rows = evaluator.finish(rows)?.into_iter();
                let mut samples: Vec<Sample> = rows.filter_map(|row| row.sample(at)).collect();
                if !evaluator.ordered {
                    samples.sort_by(|left, right| left.labels.cmp(&right.labels));
                }
                Value::Vector(samples)
            }
        },
    };
    Ok(evaluator.answer(value))
}

/// Evaluates an expression at `start`, `start + step` and so on up to `end`, both inclusive.
///
/// The value is a matrix; a scalar becomes one series without labels.
///
/// # Errors
/// As [`instant`]; also if the step is not positive or the expression is neither scalar nor instant vector.
pub fn range(
    storage: &dyn Storage,
    expr: &Expr,
    start: Timestamp,
    end: Timestamp,
    step: Span,
    options: &Options<'_>,
) -> Result<Answer, QueryError> {
    if !matches!(expr.value_type(), Type::Scalar | Type::InstantVector) {
        let found = expr.value_type().describe();
        let expected = "must be Scalar or instant Vector";
        return Err(QueryError::Execution(format!("invalid expression type {found:?} for range query, {expected}")));
    }
    if !step.is_positive() {
        return Err(QueryError::Execution("zero or negative query resolution step widths are not accepted".to_owned()));
    }
    let steps = Steps::between(start.as_millis(), end.as_millis(), step.as_millis());
    let query = Bounds { start: steps.start, end: end.as_millis(), step: steps.step };
    let mut evaluator = Evaluator::new(storage, options, steps, query);
    evaluator.ordered = gives_order(expr);
    let rows = match evaluator.eval(expr)? {
        Column::Rows(rows) => evaluator.finish(rows)?,
        Column::Scalar(values) => vec![Row::new(Labels::default(), values)],
        Column::Text(_) => Vec::new(),
    };
    let mut series: Vec<_> = rows.into_iter().filter_map(|row| steps.series(row)).collect();
    series.sort_by(|left, right| left.labels.cmp(&right.labels));
    Ok(evaluator.answer(Value::Matrix(series)))
}

/// The times at which everything is evaluated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps {
    pub start: i64,
    pub step: i64,
    pub count: usize,
}

impl Steps {
    /// All of `start`, `start + step`, … that are not after `end`.
    fn between(start: i64, end: i64, step: i64) -> Self {
        let distance = i128::from(end) - i128::from(start);
        let count = if distance < 0 { 0 } else { distance / i128::from(step) + 1 };
        Self { start, step, count: usize::try_from(count).unwrap_or(usize::MAX) }
    }

    pub(crate) fn time(&self, index: usize) -> i64 {
        self.start + self.step * index as i64
    }

    pub(crate) fn times(&self) -> impl Iterator<Item = i64> + use<> {
        let steps = *self;
        (0..steps.count).map(move |index| steps.time(index))
    }

    fn series(&self, row: Row) -> Option<PointSeries> {
        let mut points = Vec::with_capacity(row.values.len());
        points.extend(self.times().zip(row.values).filter(|(_, value)| !is_stale(*value)));
        (!points.is_empty()).then_some(PointSeries { labels: row.labels, points })
    }
}

/// The query's own times in milliseconds, which `start()` and its like mean even within a subquery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub start: i64,
    pub end: i64,
    /// 0 in an instant query.
    pub step: i64,
}

/// Sentences about what could not be read that one answer has.
const MAX_MISSING: usize = 20;

/// One evaluation under way.
pub(crate) struct Evaluator<'a> {
    storage: &'a dyn Storage,
    pub(crate) options: &'a Options<'a>,
    pub(crate) steps: Steps,
    pub(crate) query: Bounds,
    pub(crate) notes: Notes,
    /// What could not be read of what was selected.
    missing: RefCell<BTreeSet<String>>,
    /// Samples that finished nodes hold.
    held: usize,
    /// The most that was ever reserved.
    peak: Cell<usize>,
    /// Samples that selectors and windows took in.
    pub(crate) seen: u64,
    /// Whether selectors give their series in the order of labels, because the order of the rows may show in the result.
    ordered: bool,
    /// Whether the node that is evaluated next serves an aggregation that looks at no part of the metric's name.
    names_unused: bool,
}

impl<'a> Evaluator<'a> {
    fn new(storage: &'a dyn Storage, options: &'a Options<'a>, steps: Steps, query: Bounds) -> Self {
        Self {
            storage,
            options,
            steps,
            query,
            notes: Notes::default(),
            missing: RefCell::default(),
            held: 0,
            peak: Cell::new(0),
            seen: 0,
            ordered: false,
            names_unused: false,
        }
    }

    fn answer(self, value: Value) -> Answer {
        let effort = Effort { samples: self.seen, peak_samples: self.peak.get() };
        let (mut warnings, infos) = self.notes.into_texts();
        warnings.extend(self.missing.into_inner().into_iter().take(MAX_MISSING));
        Answer { value, warnings, infos, effort }
    }

    /// The value of a node that is no range vector.
    pub(crate) fn eval(&mut self, expr: &Expr) -> Result<Column, QueryError> {
        self.check_cancelled()?;
        let before = self.held;
        if !matches!(expr.kind, ExprKind::Call { .. } | ExprKind::Paren(_)) {
            self.names_unused = false;
        }
        if self.steps.count > 1 && is_step_invariant(expr) {
            let all = std::mem::replace(&mut self.steps.count, 1);
            let once = self.eval_kind(expr);
            self.steps.count = all;
            let once = once?;
            self.reserve(once.samples().saturating_mul(all))?;
            self.held = before + once.samples() * all;
            return Ok(once.repeated(all));
        }
        self.reserve(self.steps.count)?;
        let column = self.eval_kind(expr)?;
        // What the node was made of is gone by now; its result stays.
        self.held = before;
        self.reserve(column.samples())?;
        self.held = before + column.samples();
        Ok(column)
    }

    fn eval_kind(&mut self, expr: &Expr) -> Result<Column, QueryError> {
        match &expr.kind {
            ExprKind::Number { value, .. } => Ok(Column::Scalar(vec![*value; self.steps.count])),
            ExprKind::String(text) => Ok(Column::Text(text.clone())),
            ExprKind::Selector(selector) => self.select_instant(selector).map(Column::Rows),
            ExprKind::Paren(inner) => self.eval(inner),
            ExprKind::Unary { negative, expr } => {
                let value = self.eval(expr)?;
                if *negative { self.map_rows(value, |value| -value) } else { Ok(value) }
            }
            ExprKind::Binary { op, left, right, bool_modifier, matching } => {
                self.eval_binary(*op, left, right, *bool_modifier, matching)
            }
            ExprKind::Call { function, args } => self.eval_call(&Call { function, args }),
            ExprKind::Aggregate { op, expr, param, grouping, without } => {
                self.eval_aggregate(*op, expr, param.as_deref(), grouping, *without)
            }
            ExprKind::Range { .. } | ExprKind::Subquery { .. } => {
                Err(QueryError::Execution("a range vector has no value of its own".to_owned()))
            }
        }
    }

    /// The rows of an instant vector.
    pub(crate) fn rows(&mut self, expr: &Expr) -> Result<Vec<Row>, QueryError> {
        Ok(match self.eval(expr)? {
            Column::Rows(rows) => rows,
            Column::Scalar(_) | Column::Text(_) => Vec::new(),
        })
    }

    /// A scalar's value at each step.
    pub(crate) fn scalar(&mut self, expr: &Expr) -> Result<Vec<f64>, QueryError> {
        Ok(match self.eval(expr)? {
            Column::Scalar(values) => values,
            Column::Rows(_) | Column::Text(_) => Vec::new(),
        })
    }

    pub(crate) fn text(&mut self, expr: &Expr) -> Result<String, QueryError> {
        Ok(match self.eval(expr)? {
            Column::Text(text) => text,
            Column::Rows(_) | Column::Scalar(_) => String::new(),
        })
    }

    /// Applies a function to every sample; the result is another quantity and so has no metric name.
    pub(crate) fn map_rows(&self, column: Column, apply: impl Fn(f64) -> f64) -> Result<Column, QueryError> {
        match column {
            Column::Scalar(values) => Ok(Column::Scalar(values.into_iter().map(apply).collect())),
            Column::Text(text) => Ok(Column::Text(text)),
            Column::Rows(mut rows) => {
                for value in rows.iter_mut().flat_map(|row| &mut row.values).filter(|value| !is_stale(**value)) {
                    *value = apply(*value);
                }
                self.without_names(rows).map(Column::Rows)
            }
        }
    }

    /// Drops the metric names, or marks them for it, and unites rows that have become the same series.
    pub(crate) fn without_names(&self, rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        self.nameless(rows, false)
    }

    /// As [`without_names`](Self::without_names); with `unused` nobody looks at the names, which then may stay.
    pub(crate) fn nameless(&self, mut rows: Vec<Row>, unused: bool) -> Result<Vec<Row>, QueryError> {
        // Rows that differ, but not in the name, differ without it.
        let one_name = !self.options.delayed_name_removal && rows::have_one_name(&rows);
        let keep = self.options.delayed_name_removal || (one_name && unused);
        for row in &mut rows {
            row.drop_name = true;
            if !keep {
                row.labels = rows::without_name(&row.labels);
            }
        }
        if one_name { Ok(rows) } else { united(rows) }
    }

    /// Carries out what `delayed_name_removal` put off.
    fn finish(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        if !self.options.delayed_name_removal {
            return Ok(rows);
        }
        for row in rows.iter_mut().filter(|row| row.drop_name) {
            row.labels = rows::without_name(&row.labels);
        }
        united(rows)
    }

    /// Makes sure that so many samples may be held besides those that are; what else takes room counts as [`SAMPLE_BYTES`] each.
    pub(crate) fn reserve(&self, samples: usize) -> Result<(), QueryError> {
        let total = self.held.saturating_add(samples);
        self.peak.set(self.peak.get().max(total));
        if total <= self.options.max_samples { Ok(()) } else { Err(QueryError::TooManySamples) }
    }

    pub(crate) fn check_cancelled(&self) -> Result<(), QueryError> {
        let cancelled = self.options.cancelled.is_some_and(|cancelled| cancelled());
        if cancelled { Err(QueryError::Cancelled) } else { Ok(()) }
    }

    pub(crate) fn warn(&mut self, text: &str, place: Place) {
        self.notes.warn(text, place);
    }

    pub(crate) fn inform(&mut self, text: &str, place: Place) {
        self.notes.inform(text, place);
    }
}

impl Row {
    fn sample(&self, at: Timestamp) -> Option<Sample> {
        let value = self.values.first().copied().filter(|value| !is_stale(*value))?;
        Some(Sample { labels: self.labels.clone(), at, value })
    }

    /// The same row without its samples.
    pub(crate) fn empty_like(other: &Self) -> Self {
        let values = vec![stale_nan(); other.values.len()];
        Self { labels: other.labels.clone(), drop_name: other.drop_name, values }
    }

    /// A row without any sample.
    pub(crate) fn empty(labels: Labels, steps: usize) -> Self {
        Self::new(labels, vec![stale_nan(); steps])
    }
}

/// Whether an expression has a part whose result depends on the order of the rows that it is given.
fn gives_order(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| {
        found |= match &expr.kind {
            ExprKind::Aggregate { op, .. } => op.selects(),
            ExprKind::Call { function, .. } => function.name.starts_with("sort"),
            _ => false,
        };
    });
    found
}

/// Whether the value is the same at every step: everything it reads is pinned by `@`, and nothing asks for the time.
fn is_step_invariant(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => false,
        _ => pinned(expr),
    }
}

fn pinned(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Number { .. } | ExprKind::String(_) => true,
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => selector.shift.at.is_some(),
        ExprKind::Subquery { shift, .. } => shift.at.is_some(),
        ExprKind::Paren(expr) | ExprKind::Unary { expr, .. } => pinned(expr),
        ExprKind::Binary { left, right, .. } => pinned(left) && pinned(right),
        ExprKind::Aggregate { expr, param, .. } => pinned(expr) && param.as_deref().is_none_or(pinned),
        ExprKind::Call { function, args } => !function.reads_time && args.iter().all(pinned),
    }
}

#[cfg(test)]
mod tests;
