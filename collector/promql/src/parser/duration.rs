//! Lengths of time in brackets and after `offset`, and the times after `@`.

use watchfire_shared::time::{Span, Timestamp};

use super::{Parser, error_at};
use crate::ast::{At, ExprKind, Length, Place};
use crate::error::ParseError;
use crate::lexer::TokenKind;
use crate::number::{parse_number, span_of_seconds};

/// A duration such as `1h30m` in seconds.
pub(super) fn seconds(text: &str) -> Option<f64> {
    Span::parse(text).ok().map(Span::as_seconds)
}

impl Parser<'_> {
    /// A length that must be longer than nothing: a range or a step.
    pub(super) fn positive_length(&mut self) -> Result<Length, ParseError> {
        let place = self.peek().place;
        let length = self.length(0)?;
        if length.as_millis() > 0 { Ok(length) } else { Err(error_at(place, "duration must be greater than 0")) }
    }

    /// The length after `offset`, which may be negative; arithmetic needs parentheses there.
    pub(super) fn offset_length(&mut self) -> Result<Length, ParseError> {
        self.length(super::binary::power(crate::ast::BinaryOp::Pow))
    }

    /// A duration or a number of seconds, or arithmetic on them that binds more tightly than `above`.
    fn length(&mut self, above: u8) -> Result<Length, ParseError> {
        let place = self.peek().place;
        let seconds = self.length_seconds(above)?;
        span_of_seconds(seconds).filter(|_| seconds.is_finite()).ok_or_else(|| error_at(place, "duration out of range"))
    }

    fn length_seconds(&mut self, above: u8) -> Result<f64, ParseError> {
        self.nesting += 1;
        if self.nesting > watchfire_shared::limits::MAX_QUERY_DEPTH {
            return Err(super::too_deep(self.peek().place));
        }
        // A sign binds as multiplication does, so -2 ^ 2 is -4.
        let sign = if self.take_symbol("-") { Some(-1.0) } else { self.take_symbol("+").then_some(1.0) };
        let mut left = match sign {
            Some(sign) => sign * self.length_seconds(above.max(super::binary::power(crate::ast::BinaryOp::Mul)))?,
            None => self.length_operand()?,
        };
        while let Some((op, power)) = self.operator().filter(|(op, power)| *power > above && !op.is_set()) {
            let operator = self.next().place;
            self.require_experimental(operator)?;
            let right = self.length_seconds(power)?;
            if right == 0.0 && matches!(op.as_str(), "/" | "%") {
                let what = if op.as_str() == "/" { "division" } else { "modulo" };
                return Err(error_at(operator, format!("{what} by zero")));
            }
            left = crate::eval::arithmetic(op, left, right)
                .ok_or_else(|| error_at(operator, format!("operator {:?} not allowed in a duration", op.as_str())))?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    fn length_operand(&mut self) -> Result<f64, ParseError> {
        let token = self.peek();
        let value = match (token.kind, token.text) {
            (TokenKind::Number, text) => parse_number(text),
            (TokenKind::Duration, text) => seconds(text),
            (TokenKind::Symbol, "(") => {
                self.next();
                self.require_experimental(token.place)?;
                let value = self.length_seconds(0)?;
                self.expect_symbol(")", "duration expression")?;
                return Ok(value);
            }
            (TokenKind::Word, "step" | "range" | "start" | "end" | "min_of" | "max_of") => {
                return Err(self.error_here(format!("{}() in durations is experimental and not supported", token.text)));
            }
            _ => return Err(self.unexpected("", "number, duration, or step()")),
        };
        self.next();
        value.ok_or_else(|| error_at(token.place, "duration out of range"))
    }

    fn require_experimental(&self, place: Place) -> Result<(), ParseError> {
        if self.syntax.experimental {
            return Ok(());
        }
        Err(error_at(place, "arithmetic on durations is experimental and not enabled"))
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
