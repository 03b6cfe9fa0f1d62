//! Other forms of a case that must give the same value.

use watchfire_shared::sample::Sample;
use watchfire_shared::time::{Span, Timestamp};

use crate::ast::{At, Expr, ExprKind, Length, Shift};
use crate::value::Value;

/// Whether the value depends on the times of the whole query.
pub(super) fn reads_bounds(expr: &Expr) -> bool {
    let mut found = false;
    expr.walk(&mut |node| {
        found |= node.lengths().any(|length| matches!(length, Length::Computed(_)));
        found |= matches!(&node.kind, ExprKind::Call { function, .. }
            if matches!(function.name, "start" | "end" | "range" | "step"));
    });
    found
}

/// The expression with `@ at` on every selector and subquery that has no `@`, those inside subqueries left alone.
///
/// `None` if its value depends on the time of evaluation all the same.
pub(super) fn pinned(expr: &Expr, at: Timestamp) -> Option<Expr> {
    let mut reads_time = false;
    expr.walk(&mut |node| {
        reads_time |= matches!(&node.kind, ExprKind::Call { function, .. } if function.reads_time);
    });
    let mut pinned = expr.clone();
    pin(&mut pinned, at);
    (!reads_time).then_some(pinned)
}

fn pin(expr: &mut Expr, at: Timestamp) {
    let set = |shift: &mut Shift| {
        shift.at = match shift.at {
            Some(At::Time(own)) => Some(At::Time(own)),
            Some(At::Start | At::End) | None => Some(At::Time(at)),
        };
    };
    match &mut expr.kind {
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => set(&mut selector.shift),
        ExprKind::Subquery { shift, .. } => set(shift),
        ExprKind::Number { .. } | ExprKind::String(_) => {}
        ExprKind::Unary { expr, .. } | ExprKind::Paren(expr) => pin(expr, at),
        ExprKind::Binary { left, right, .. } => {
            pin(left, at);
            pin(right, at);
        }
        ExprKind::Call { args, .. } => args.iter_mut().for_each(|arg| pin(arg, at)),
        ExprKind::Aggregate { expr, param, .. } => {
            pin(expr, at);
            if let Some(param) = param {
                pin(param, at);
            }
        }
    }
}

/// Times before and after, near and far.
pub(super) fn other_times(at: Timestamp) -> Vec<Timestamp> {
    let millis = at.as_millis();
    let others =
        if millis == 0 { vec![-1000, 0, 1000] } else { vec![millis * -10, 0, millis / 5, millis, millis * 10] };
    others.into_iter().map(Timestamp::from_millis).collect()
}

/// What a range query says of one time, as an instant query would.
pub(super) fn middle(value: &Value, at: Timestamp, scalar: bool) -> Value {
    let Value::Matrix(series) = value else { return value.clone() };
    let mut samples = Vec::new();
    for one in series {
        for (time, value) in one.points.iter().filter(|(time, _)| *time == at.as_millis()) {
            samples.push(Sample {
                labels: one.labels.clone(),
                at: at + Span::from_millis(time - at.as_millis()),
                value: *value,
            });
        }
    }
    match samples.as_slice() {
        [only] if scalar => Value::Scalar(only.value),
        _ => Value::Vector(samples),
    }
}
