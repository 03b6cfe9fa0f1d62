//! Operators between scalars, and between a scalar and a vector; [`super::matching`] has vectors on both sides.

use watchfire_shared::sample::{is_stale, stale_nan};

use super::{Column, Evaluator, Row};
use crate::ast::{BinaryOp, Expr, Matching};
use crate::error::QueryError;

/// What an arithmetic operator yields; `None` for other operators.
pub(crate) fn arithmetic(op: BinaryOp, left: f64, right: f64) -> Option<f64> {
    Some(match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        _ => return None,
    })
}

/// Whether a comparison holds; false for other operators.
fn holds(op: BinaryOp, left: f64, right: f64) -> bool {
    match op {
        BinaryOp::Equal => left == right,
        BinaryOp::NotEqual => left != right,
        BinaryOp::Greater => left > right,
        BinaryOp::Less => left < right,
        BinaryOp::GreaterEqual => left >= right,
        BinaryOp::LessEqual => left <= right,
        _ => false,
    }
}

/// What two samples yield: a number, or `kept` if a comparison holds, or the stale marker for no sample.
pub(super) fn combine(op: BinaryOp, left: f64, right: f64, bool_modifier: bool, kept: f64) -> f64 {
    if let Some(value) = arithmetic(op, left, right) {
        return value;
    }
    match (bool_modifier, holds(op, left, right)) {
        (true, holds) => f64::from(u8::from(holds)),
        (false, true) => kept,
        (false, false) => stale_nan(),
    }
}

impl Evaluator<'_> {
    pub(super) fn eval_binary(
        &mut self,
        op: BinaryOp,
        left: &Expr,
        right: &Expr,
        bool_modifier: bool,
        matching: &Matching,
    ) -> Result<Column, QueryError> {
        let (left, right) = (self.eval(left)?, self.eval(right)?);
        match (left, right) {
            (Column::Scalar(left), Column::Scalar(right)) => {
                let values = left.into_iter().zip(right);
                Ok(Column::Scalar(values.map(|(left, right)| combine(op, left, right, true, left)).collect()))
            }
            (Column::Rows(rows), Column::Scalar(scalars)) => {
                let apply = |value, scalar| combine(op, value, scalar, bool_modifier, value);
                self.with_scalars(op, rows, &scalars, bool_modifier, apply)
            }
            (Column::Scalar(scalars), Column::Rows(rows)) => {
                let apply = |value, scalar| combine(op, scalar, value, bool_modifier, value);
                self.with_scalars(op, rows, &scalars, bool_modifier, apply)
            }
            (Column::Rows(left), Column::Rows(right)) => {
                self.reserve(left.iter().chain(&right).map(|row| row.values.len()).sum())?;
                let rows = if op.is_set() {
                    super::matching::set(op, left, right, matching)?
                } else {
                    let (left, right) = super::fill::filled(left, right, matching);
                    self.matched(op, &left, &right, bool_modifier, matching)?
                };
                Ok(Column::Rows(rows))
            }
            _ => Err(QueryError::Execution("a string has no operators".to_owned())),
        }
    }

    /// `apply` is given the vector's value first.
    fn with_scalars(
        &self,
        op: BinaryOp,
        mut rows: Vec<Row>,
        scalars: &[f64],
        bool_modifier: bool,
        apply: impl Fn(f64, f64) -> f64,
    ) -> Result<Column, QueryError> {
        for row in &mut rows {
            for (value, scalar) in row.values.iter_mut().zip(scalars).filter(|(value, _)| !is_stale(**value)) {
                *value = apply(*value, *scalar);
            }
        }
        if op.is_comparison() && !bool_modifier {
            rows.retain(|row| !row.is_empty());
            return Ok(Column::Rows(rows));
        }
        self.without_names(rows).map(Column::Rows)
    }
}
