//! Aggregations that take the rows below them one by one as they are computed, so that neither the series nor the rows are
//! ever held together.
//!
//! Rows come in the same order as they would otherwise, so sums have the same bits.

use std::ops::ControlFlow;

use watchfire_shared::labels::{Labels, METRIC_NAME, Text};
use watchfire_shared::sample::{is_stale, stale_nan};

use super::aggregate::{greatest, least};
use super::groups::{Groups, Part};
use super::kahan::{Mean, Sum, Variance};
use super::window::TakeRow;
use super::{Call, Evaluator, Row, SAMPLE_BYTES, is_step_invariant, rows};
use crate::ast::{AggregateOp, Expr, ExprKind};
use crate::error::QueryError;
use crate::func::Run;

/// What an accumulator is before the first value, how it takes one, and what it gives.
struct Fold<A, T, G> {
    init: A,
    take: T,
    give: G,
}

/// An accumulator and whether it took anything.
#[expect(clippy::type_complexity, reason = "types of closures have no names")]
fn used<A: Default>(
    take: impl Fn(&mut A, f64),
    give: impl Fn(&A) -> f64,
) -> Fold<(bool, A), impl Fn(&mut (bool, A), f64), impl Fn(&(bool, A)) -> f64> {
    Fold {
        init: (false, A::default()),
        take: move |(used, own): &mut (bool, A), value| {
            *used = true;
            take(own, value);
        },
        give: move |(used, own): &(bool, A)| if *used { give(own) } else { stale_nan() },
    }
}

/// The result so far, which is all there is to remember: `next` makes the next one of it, `first` the first one.
fn reduced(
    first: impl Fn(f64) -> f64,
    next: impl Fn(f64, f64) -> f64,
) -> Fold<f64, impl Fn(&mut f64, f64), impl Fn(&f64) -> f64> {
    let take = move |own: &mut f64, value| *own = if is_stale(*own) { first(value) } else { next(*own, value) };
    Fold { init: stale_nan(), take, give: |result: &f64| *result }
}

impl Evaluator<'_> {
    /// The rows of an aggregation; `None` if what it is of has to be evaluated as a whole.
    pub(super) fn fused(
        &mut self,
        op: AggregateOp,
        expr: &Expr,
        grouping: &[String],
        without: bool,
    ) -> Result<Option<Vec<Row>>, QueryError> {
        let invariant = self.steps.count > 1 && is_step_invariant(expr);
        if self.ordered || self.options.delayed_name_removal || invariant {
            return Ok(None);
        }
        let part = Part { listed: !without, names: grouping, without_metadata: true };
        match op {
            AggregateOp::Sum => self.fold(expr, part, &used(Sum::add, Sum::value)),
            AggregateOp::Avg => self.fold(expr, part, &used(Mean::add, Mean::value)),
            AggregateOp::Stdvar => self.fold(expr, part, &used(Variance::add, Variance::value)),
            AggregateOp::Stddev => {
                self.fold(expr, part, &used(Variance::add, |variance: &Variance| variance.value().sqrt()))
            }
            AggregateOp::Count => self.fold(expr, part, &reduced(|_| 1.0, |count, _| count + 1.0)),
            AggregateOp::Group => self.fold(expr, part, &reduced(|_| 1.0, |_, _| 1.0)),
            AggregateOp::Min => self.fold(expr, part, &reduced(|value| value, least)),
            AggregateOp::Max => self.fold(expr, part, &reduced(|value| value, greatest)),
            _ => Ok(None),
        }
    }

    fn fold<A: Clone>(
        &mut self,
        expr: &Expr,
        part: Part<'_>,
        fold: &Fold<A, impl Fn(&mut A, f64), impl Fn(&A) -> f64>,
    ) -> Result<Option<Vec<Row>>, QueryError> {
        let steps = self.steps.count;
        let (mut groups, mut folded) = (Groups::new(part), Vec::new());
        let mut take = |labels: &Labels, _: bool, values: &[f64]| {
            let at = groups.number(labels) * steps;
            if at == folded.len() {
                folded.resize(at + steps, fold.init.clone());
            }
            for (own, value) in folded[at..].iter_mut().zip(values).filter(|(_, value)| !is_stale(**value)) {
                (fold.take)(own, *value);
            }
            ControlFlow::Continue((folded.len() * size_of::<A>()).div_ceil(SAMPLE_BYTES))
        };
        if !self.each_row(expr, &part, &mut take)? {
            return Ok(None);
        }
        let values = |group: usize| folded[group * steps..][..steps].iter().map(&fold.give).collect();
        let rows = (0..groups.len()).map(|group| Row::new(groups.labels(group).clone(), values(group)));
        Ok(Some(rows.filter(|row| !row.is_empty()).collect()))
    }

    /// Gives the rows of an expression one by one, with metric names that may have to be dropped; `false` if it cannot.
    fn each_row(&mut self, expr: &Expr, part: &Part<'_>, take: TakeRow<'_>) -> Result<bool, QueryError> {
        let expr = expr.unwrapped();
        match &expr.kind {
            ExprKind::Selector(selector) => {
                self.check_cancelled()?;
                self.each_latest(selector, |_, value| value, take)?;
                Ok(true)
            }
            ExprKind::Call { function, args } if matches!(function.run, Run::Window(_)) => {
                self.check_cancelled()?;
                self.each_result(&Call { function, args }, part, take)
            }
            _ => Ok(false),
        }
    }

    /// The results of a function of windows. Series that differ in the name alone become one without it, which takes all of
    /// them together to find: then it is `false`.
    fn each_result(&mut self, call: &Call<'_>, part: &Part<'_>, take: TakeRow<'_>) -> Result<bool, QueryError> {
        let Run::Window(run) = call.function.run else { return Ok(false) };
        if !run.keeps_name && part.listed && part.names.iter().any(|name| rows::is_name_part(name)) {
            return Ok(false);
        }
        let (params, range) = self.window_arguments(call)?;
        let (before, mut name, mut differ) = (self.seen, None, false);
        self.each_window_row(range, run.extrapolation, run.with(&params), &mut |labels, drop_name, values| {
            differ = !run.keeps_name && !NameParts::same(&mut name, labels);
            if differ { ControlFlow::Break(()) } else { take(labels, drop_name, values) }
        })?;
        if differ {
            self.seen = before;
            return Ok(false);
        }
        if let Some(name) = name.filter(|_| run.expects_counter) {
            self.note_gauge(name.0[0].as_deref().unwrap_or_default(), range.place);
        }
        Ok(true)
    }
}

/// A metric's name, type and unit.
struct NameParts([Option<Text>; 3]);

impl NameParts {
    /// Whether the labels have the same as those before; the first ones are remembered.
    fn same(known: &mut Option<Self>, labels: &Labels) -> bool {
        let own = [METRIC_NAME, "__type__", "__unit__"].map(|name| labels.get(name));
        match known {
            Some(known) => known.0.iter().zip(own).all(|(known, own)| known.as_deref() == own),
            None => {
                *known = Some(Self(own.map(|part| part.map(Text::from))));
                true
            }
        }
    }
}
