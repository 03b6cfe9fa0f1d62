//! Lengths of time in brackets and after `offset`, and the times after `@`.

use watchfire_shared::time::{Span, Timestamp};

use super::binary::power;
use super::{Parser, error_at};
use crate::ast::{At, BinaryOp, Expr, ExprKind, Length, Matching, Place};
use crate::error::ParseError;
use crate::lexer::{Token, TokenKind};
use crate::number::span_of_seconds;

/// A duration such as `1h30m` in seconds.
pub(super) fn seconds(text: &str) -> Option<f64> {
    Span::parse(text).ok().map(Span::as_seconds)
}

/// The value of an expression without calls.
fn constant(expr: &Expr) -> Result<Option<f64>, ParseError> {
    Ok(match &expr.kind {
        ExprKind::Number { value, .. } => Some(*value),
        ExprKind::Paren(inner) => constant(inner)?,
        ExprKind::Unary { negative, expr } => constant(expr)?.map(|value| if *negative { -value } else { value }),
        ExprKind::Binary { op, left, right, .. } => match (constant(left)?, constant(right)?) {
            (_, Some(0.0)) if *op == BinaryOp::Div => return Err(error_at(expr.place, "division by zero")),
            (_, Some(0.0)) if *op == BinaryOp::Mod => return Err(error_at(expr.place, "modulo by zero")),
            (Some(left), Some(right)) => crate::eval::arithmetic(*op, left, right),
            _ => None,
        },
        _ => None,
    })
}

impl Parser<'_> {
    /// A length that must be longer than nothing: a range or a step.
    pub(super) fn positive_length(&mut self) -> Result<Length, ParseError> {
        let place = self.peek().place;
        match self.length(0)? {
            Length::Fixed(span) if !span.is_positive() => Err(error_at(place, "duration must be greater than 0")),
            length => Ok(length),
        }
    }

    /// The length after `offset`, which may be negative; arithmetic needs parentheses there.
    pub(super) fn offset_length(&mut self) -> Result<Length, ParseError> {
        self.length(power(BinaryOp::Pow))
    }

    /// A duration or a number of seconds, or arithmetic on them that binds more tightly than `above`.
    fn length(&mut self, above: u8) -> Result<Length, ParseError> {
        let place = self.peek().place;
        let expr = self.length_expression(above)?;
        let Some(seconds) = constant(&expr)? else { return Ok(Length::Computed(Box::new(expr))) };
        let span = span_of_seconds(seconds).filter(|_| seconds.is_finite());
        span.map(Length::Fixed).ok_or_else(|| error_at(place, "duration out of range"))
    }

    fn length_expression(&mut self, above: u8) -> Result<Expr, ParseError> {
        self.nesting += 1;
        if self.nesting > watchfire_shared::limits::MAX_QUERY_DEPTH {
            return Err(super::too_deep(self.peek().place));
        }
        let mut left = self.length_operand(above)?;
        while let Some((op, power)) = self.operator().filter(|(op, power)| *power > above && !op.is_set()) {
            let operator = self.next().place;
            self.require(self.syntax.durations, operator, "experimental duration expression is not enabled")?;
            let right = self.length_expression(if op == BinaryOp::Pow { power - 1 } else { power })?;
            if op.is_comparison() || op == BinaryOp::Atan2 {
                return Err(error_at(operator, format!("operator {:?} not allowed in a duration", op.as_str())));
            }
            let place = self.place_from(left.place);
            let (left_side, right) = (Box::new(left), Box::new(right));
            let matching = Matching::default();
            left = self.node(ExprKind::Binary { op, left: left_side, right, bool_modifier: false, matching }, place)?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn length_operand(&mut self, above: u8) -> Result<Expr, ParseError> {
        let token = self.peek();
        match (token.kind, token.text) {
            (TokenKind::Number | TokenKind::Duration, _) => self.number(),
            (TokenKind::Symbol, sign @ ("-" | "+")) => {
                self.next();
                // A sign binds as multiplication does, so -2 ^ 2 is -4.
                let expr = Box::new(self.length_expression(above.max(power(BinaryOp::Mul)))?);
                self.node(ExprKind::Unary { negative: sign == "-", expr }, self.place_from(token.place))
            }
            (TokenKind::Symbol, "(") => {
                self.next();
                self.require(self.syntax.durations, token.place, "experimental duration expression is not enabled")?;
                let inner = Box::new(self.length_expression(0)?);
                self.expect_symbol(")", "duration expression")?;
                self.node(ExprKind::Paren(inner), self.place_from(token.place))
            }
            (TokenKind::Word, word) => self.length_call(token, &word.to_ascii_lowercase()),
            _ => Err(self.unexpected("", "number, duration, or step()")),
        }
    }

    fn length_call(&mut self, name: Token<'_>, lower: &str) -> Result<Expr, ParseError> {
        if !matches!(lower, "step" | "range" | "min_of" | "max_of") {
            return Err(self.unexpected("", "number, duration, or step()"));
        }
        self.next();
        self.require(self.syntax.durations, name.place, "experimental duration expression is not enabled")?;
        let syntax = super::Syntax { functions: true, ..self.syntax };
        let function = super::check::function(Token { text: lower, ..name }, syntax)?;
        self.expect_symbol("(", "duration expression")?;
        let mut args = Vec::new();
        while !self.take_symbol(")") {
            if !args.is_empty() && !self.take_symbol(",") {
                return Err(self.unexpected("duration expression", "\",\" or \")\""));
            }
            args.push(self.length_expression(0)?);
        }
        self.node(ExprKind::Call { function, args }, self.place_from(name.place))
    }

    pub(super) fn require(&self, enabled: bool, place: Place, message: &str) -> Result<(), ParseError> {
        if enabled { Ok(()) } else { Err(error_at(place, message)) }
    }

    /// What follows `@`: `start()`, `end()`, or a time in seconds.
    pub(super) fn at_time(&mut self) -> Result<At, ParseError> {
        let token = self.peek();
        for (word, at) in [("start", At::Start), ("end", At::End)] {
            if self.take_word(word) {
                self.expect_symbol("(", "@")?;
                self.expect_symbol(")", "@")?;
                return Ok(at);
            }
        }
        let mut sign = 1.0;
        while self.at_symbol("-") || self.at_symbol("+") {
            sign *= if self.next().text == "-" { -1.0 } else { 1.0 };
        }
        let word = self.peek();
        let number = matches!(word.kind, TokenKind::Number | TokenKind::Duration)
            || (word.kind == TokenKind::Word && matches!(word.text.to_ascii_lowercase().as_str(), "inf" | "nan"));
        if !number {
            return Err(self.unexpected("@", "timestamp"));
        }
        let ExprKind::Number { value, .. } = self.number()?.kind else { return Err(self.unexpected("@", "timestamp")) };
        // Beyond this, milliseconds do not fit 64 bits.
        let millis = sign * value * 1000.0;
        if !millis.is_finite() || millis.abs() >= i64::MAX as f64 {
            return Err(error_at(token.place, format!("timestamp out of bounds for @ modifier: {}", sign * value)));
        }
        Ok(At::Time(Timestamp::from_millis(millis.round() as i64)))
    }
}
