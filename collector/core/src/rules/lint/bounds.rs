//! Which values an expression can have at all, and so which comparisons no value, or every value, satisfies.
//!
//! What is not known is unbounded, so a verdict is only given where functions and constants alone decide it. NaN is left
//! out of account: it satisfies no comparison but `!=`.

use watchfire_promql::Expr;
use watchfire_promql::ast::{AggregateOp, BinaryOp, ExprKind};

/// What can be said of an alert's condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    /// No value satisfies it, and why.
    Never(String),
    /// Every value does, and why.
    Always(String),
    Open,
}

/// The least and the greatest value.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    least: f64,
    most: f64,
}

const ANY: Bounds = Bounds { least: f64::NEG_INFINITY, most: f64::INFINITY };

const fn between(least: f64, most: f64) -> Bounds {
    Bounds { least, most }
}

const fn from(least: f64) -> Bounds {
    between(least, f64::INFINITY)
}

impl Bounds {
    fn within(self, other: Self) -> Self {
        between(self.least.max(other.least), self.most.min(other.most))
    }
}

/// Judges the outermost comparisons; what `and` joins must all hold, what `or` joins must not all fail.
pub(super) fn verdict(expr: &Expr) -> Verdict {
    let ExprKind::Binary { op, left, right, bool_modifier: false, .. } = &expr.unwrapped().kind else {
        return Verdict::Open;
    };
    match op {
        BinaryOp::And => match (verdict(left), verdict(right)) {
            (Verdict::Never(why), _) | (_, Verdict::Never(why)) => Verdict::Never(why),
            _ => Verdict::Open,
        },
        BinaryOp::Or => match (verdict(left), verdict(right)) {
            (Verdict::Never(why), Verdict::Never(_)) => Verdict::Never(why),
            _ => Verdict::Open,
        },
        BinaryOp::Unless => match verdict(left) {
            Verdict::Never(why) => Verdict::Never(why),
            _ => Verdict::Open,
        },
        op if op.is_comparison() => compared(*op, left, right),
        _ => Verdict::Open,
    }
}

fn compared(op: BinaryOp, left: &Expr, right: &Expr) -> Verdict {
    let (own, other) = (bounds(left), bounds(right));
    // Both unknown, or two constants, of which one is somebody's way of switching a rule off or on.
    let both_constant = left.selectors().is_empty() && right.selectors().is_empty();
    if both_constant || own == ANY || other == ANY {
        return Verdict::Open;
    }
    let shown = || {
        let number = |value: f64| if value.is_finite() { format!("{value}") } else { "any number".to_owned() };
        let range = |bounds: Bounds| match bounds {
            Bounds { least, most } if least == most => number(least),
            Bounds { least, most: f64::INFINITY } => format!("at least {}", number(least)),
            Bounds { least: f64::NEG_INFINITY, most } => format!("at most {}", number(most)),
            Bounds { least, most } => format!("between {} and {}", number(least), number(most)),
        };
        format!("`{left}` is {}, and it asks for {} {}", range(own), op.as_str(), range(other))
    };
    let (never, always) = match op {
        BinaryOp::Greater => (own.most <= other.least, own.least > other.most),
        BinaryOp::GreaterEqual => (own.most < other.least, own.least >= other.most),
        BinaryOp::Less => (own.least >= other.most, own.most < other.least),
        BinaryOp::LessEqual => (own.least > other.most, own.most <= other.least),
        BinaryOp::Equal => {
            let single = own.least == own.most && other.least == other.most;
            (own.most < other.least || own.least > other.most, single && own.least == other.least)
        }
        BinaryOp::NotEqual => (own == other && own.least == own.most, own.most < other.least || own.least > other.most),
        _ => (false, false),
    };
    match (never, always) {
        (true, _) => Verdict::Never(shown()),
        // That something is there at all is a condition too: `absent(x) == 1`, `count(x) > 0`.
        (_, true) if own.least < own.most && !is_presence(left) => Verdict::Always(shown()),
        _ => Verdict::Open,
    }
}

/// Whether an expression has a value only where there is something to tell.
fn is_presence(expr: &Expr) -> bool {
    match &expr.unwrapped().kind {
        ExprKind::Aggregate { op: AggregateOp::Count | AggregateOp::Group, .. } => true,
        ExprKind::Call { function, .. } => {
            matches!(function.name, "absent" | "absent_over_time" | "count_over_time" | "present_over_time")
        }
        // A comparison that filters has a value only where it holds.
        ExprKind::Binary { op, bool_modifier, .. } => (op.is_comparison() && !bool_modifier) || op.is_set(),
        _ => false,
    }
}

fn bounds(expr: &Expr) -> Bounds {
    match &expr.kind {
        ExprKind::Number { value, .. } => between(*value, *value),
        ExprKind::Paren(inner) => bounds(inner),
        ExprKind::Unary { negative: true, expr } => {
            let inner = bounds(expr);
            between(-inner.most, -inner.least)
        }
        ExprKind::Unary { expr, .. } => bounds(expr),
        ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => match selector.name.as_deref() {
            Some("up") => between(0.0, 1.0),
            _ => ANY,
        },
        ExprKind::Subquery { expr, .. } => bounds(expr),
        ExprKind::Aggregate { op, expr, .. } => aggregated(*op, expr),
        ExprKind::Call { function, args } => called(function.name, args),
        ExprKind::Binary { op, left, right, bool_modifier, .. } => combined(*op, left, right, *bool_modifier),
        ExprKind::String(_) => ANY,
    }
}

fn aggregated(op: AggregateOp, expr: &Expr) -> Bounds {
    let inner = bounds(expr);
    match op {
        AggregateOp::Count | AggregateOp::CountValues => from(1.0),
        AggregateOp::Group => between(1.0, 1.0),
        AggregateOp::Stddev | AggregateOp::Stdvar => from(0.0),
        AggregateOp::Sum if inner.least >= 0.0 => from(inner.least),
        AggregateOp::Sum => ANY,
        // A rank outside of 0..1 yields an infinity.
        AggregateOp::Quantile => ANY,
        _ => inner,
    }
}

fn called(name: &str, args: &[Expr]) -> Bounds {
    let first = || args.first().map_or(ANY, bounds);
    match name {
        "absent" | "absent_over_time" | "present_over_time" => between(1.0, 1.0),
        "count_over_time" => from(1.0),
        "rate" | "increase" | "irate" | "changes" | "resets" | "stddev_over_time" | "stdvar_over_time" => from(0.0),
        "histogram_fraction" => between(0.0, 1.0),
        "abs" => from(0.0),
        "sqrt" | "exp" => from(0.0),
        "sgn" => between(-1.0, 1.0),
        "sin" | "cos" | "tanh" => between(-1.0, 1.0),
        "hour" => between(0.0, 23.0),
        "minute" => between(0.0, 59.0),
        "day_of_week" => between(0.0, 6.0),
        "day_of_month" => between(1.0, 31.0),
        "days_in_month" => between(28.0, 31.0),
        "day_of_year" => between(1.0, 366.0),
        "month" => between(1.0, 12.0),
        "avg_over_time" | "min_over_time" | "max_over_time" | "last_over_time" | "first_over_time" | "sort"
        | "sort_desc" | "label_replace" | "label_join" | "vector" => first(),
        "clamp_max" => first().within(between(f64::NEG_INFINITY, args.get(1).map_or(ANY, bounds).most)),
        "clamp_min" => first().within(from(args.get(1).map_or(ANY, bounds).least)),
        _ => ANY,
    }
}

fn combined(op: BinaryOp, left: &Expr, right: &Expr, bool_modifier: bool) -> Bounds {
    let (left, right) = (bounds(left), bounds(right));
    let constant = |bounds: Bounds| (bounds.least == bounds.most).then_some(bounds.least);
    match op {
        op if op.is_comparison() && bool_modifier => between(0.0, 1.0),
        op if op.is_comparison() => left,
        BinaryOp::And | BinaryOp::Unless => left,
        BinaryOp::Or => between(left.least.min(right.least), left.most.max(right.most)),
        BinaryOp::Add => between(left.least + right.least, left.most + right.most),
        BinaryOp::Sub => between(left.least - right.most, left.most - right.least),
        BinaryOp::Mul | BinaryOp::Div => match (constant(left), constant(right)) {
            (_, Some(factor)) if factor > 0.0 => {
                let apply = |value: f64| if op == BinaryOp::Mul { value * factor } else { value / factor };
                between(apply(left.least), apply(left.most))
            }
            (Some(factor), _) if factor > 0.0 && op == BinaryOp::Mul => {
                between(right.least * factor, right.most * factor)
            }
            _ if left.least >= 0.0 && right.least >= 0.0 => from(0.0),
            _ => ANY,
        },
        _ => ANY,
    }
}
