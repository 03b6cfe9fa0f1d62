//! Types and argument counts of one node whose children are checked already.

use watchfire_shared::labels::is_label_name;

use super::{Syntax, error_at};
use crate::ast::{AggregateOp, BinaryOp, Expr, ExprKind, Matching, Place, Type};
use crate::error::ParseError;
use crate::func::{self, Function};
use crate::lexer::Token;

/// The function that a call names.
///
/// # Errors
/// If there is none (with the nearest name), or it is not supported or not enabled.
pub(super) fn function(name: Token<'_>, syntax: Syntax) -> Result<&'static Function, ParseError> {
    let Some(function) = func::find(name.text) else {
        if let Some(reason) = func::unsupported(name.text) {
            return Err(error_at(name.place, format!("function {:?} is not supported: {reason}", name.text)));
        }
        let hint = func::nearest(name.text).map(|near| format!(", did you mean {near:?}?")).unwrap_or_default();
        return Err(error_at(name.place, format!("unknown function with name {:?}{hint}", name.text)));
    };
    if function.experimental && !syntax.functions {
        return Err(error_at(name.place, format!("function {:?} is not enabled", name.text)));
    }
    Ok(function)
}

pub(super) fn check(expr: &Expr, _syntax: Syntax) -> Result<(), ParseError> {
    match &expr.kind {
        ExprKind::Call { function, args } => check_call(function, args, expr.place),
        ExprKind::Aggregate { op, expr, param, grouping, .. } => check_aggregate(*op, expr, param.as_deref(), grouping),
        ExprKind::Binary { op, left, right, matching, .. } => check_binary(*op, (left, right), matching, expr.place),
        ExprKind::Unary { expr: operand, .. } => match operand.value_type() {
            Type::Scalar | Type::InstantVector => Ok(()),
            found => {
                let message = "unary expression only allowed on expressions of type scalar or instant vector";
                Err(error_at(expr.place, format!("{message}, got {:?}", found.describe())))
            }
        },
        _ => Ok(()),
    }
}

fn expect_type(expr: &Expr, expected: Type, context: &str) -> Result<(), ParseError> {
    let found = expr.value_type();
    if found == expected {
        return Ok(());
    }
    let message = format!("expected type {} in {context}, got {}", expected.describe(), found.describe());
    Err(error_at(expr.place, message))
}

fn check_call(function: &Function, args: &[Expr], place: Place) -> Result<(), ParseError> {
    let (name, least, most) = (function.name, function.required(), function.most());
    let found = args.len();
    let message = if function.optional == func::Optional::None && found != least {
        format!("expected {least} argument(s) in call to {name:?}, got {found}")
    } else if found < least {
        format!("expected at least {least} argument(s) in call to {name:?}, got {found}")
    } else if most.is_some_and(|most| found > most) {
        format!("expected at most {} argument(s) in call to {name:?}, got {found}", most.unwrap_or(least))
    } else {
        let context = format!("call to function {name:?}");
        for (index, arg) in args.iter().enumerate() {
            expect_type(arg, function.arg_type(index), &context)?;
        }
        return Ok(());
    };
    Err(error_at(place, message))
}

fn check_aggregate(op: AggregateOp, expr: &Expr, param: Option<&Expr>, _grouping: &[String]) -> Result<(), ParseError> {
    expect_type(expr, Type::InstantVector, "aggregation expression")?;
    let (Some(param), Some(expected)) = (param, op.param()) else { return Ok(()) };
    expect_type(param, expected, "aggregation parameter")?;
    if let (AggregateOp::CountValues, ExprKind::String(label)) = (op, &param.unwrapped().kind) {
        // Any UTF-8 text is a label name nowadays, but for the empty one.
        if label.is_empty() && !is_label_name(label) {
            return Err(error_at(param.place, format!("invalid label name {label:?}")));
        }
    }
    Ok(())
}

/// A clause needs vectors on both sides. One that names no label says nothing, and goes, as in Prometheus.
pub(super) fn without_needless(matching: Matching, left: &Expr, right: &Expr) -> Matching {
    let says_nothing = matching.labels.is_empty() && matching.fill == (None, None);
    if says_nothing && !are_vectors(left, right) { Matching::default() } else { matching }
}

/// A comparison of numbers filters nothing, so it has to say that it answers 0 or 1.
pub(super) fn needs_bool(op: BinaryOp, left: &Expr, right: &Expr, operator: Place) -> Result<(), ParseError> {
    if op.is_comparison() && left.value_type() == Type::Scalar && right.value_type() == Type::Scalar {
        return Err(error_at(operator, "comparisons between scalars must use BOOL modifier"));
    }
    Ok(())
}

fn are_vectors(left: &Expr, right: &Expr) -> bool {
    left.value_type() == Type::InstantVector && right.value_type() == Type::InstantVector
}

fn check_binary(
    op: BinaryOp,
    (left, right): (&Expr, &Expr),
    matching: &Matching,
    place: Place,
) -> Result<(), ParseError> {
    let (left_type, right_type) = (left.value_type(), right.value_type());
    for (side, side_type) in [(left, left_type), (right, right_type)] {
        if !matches!(side_type, Type::Scalar | Type::InstantVector) {
            let message = "binary expression must contain only scalar and instant vector types";
            return Err(error_at(side.place, message));
        }
    }
    if !are_vectors(left, right) && *matching != Matching::default() {
        return Err(error_at(place, "vector matching only allowed between instant vectors"));
    }
    if op.is_set() && (left_type == Type::Scalar || right_type == Type::Scalar) {
        let message = format!("set operator {:?} not allowed in binary scalar expression", op.as_str());
        return Err(error_at(place, message));
    }
    Ok(())
}
