//! Aggregations, with their grouping before or after the argument.

use super::Parser;
use crate::ast::{AggregateOp, Expr, ExprKind};
use crate::error::ParseError;
use crate::lexer::{TokenKind, unquote};

/// The aggregation operator of that name, in lower case.
pub(super) fn operator(lower: &str) -> Option<AggregateOp> {
    AggregateOp::ALL.into_iter().find(|op| op.as_str() == lower)
}

impl Parser<'_> {
    pub(super) fn aggregate(&mut self, op: AggregateOp) -> Result<Expr, ParseError> {
        let first = self.next().place;
        if op.is_experimental() && !self.syntax.functions {
            let message = "is experimental and must be enabled with --enable-feature=promql-experimental-functions";
            return Err(super::error_at(first, format!("{}() {message}", op.as_str())));
        }
        let mut modifier = self.grouping_modifier()?;
        let mut args = self.arguments("aggregation")?;
        if modifier.is_none() {
            modifier = self.grouping_modifier()?;
        }
        let place = self.place_from(first);
        let (without, grouping) = modifier.unwrap_or_default();
        let expected = 1 + usize::from(op.param().is_some());
        if args.is_empty() {
            return Err(super::error_at(place, "no arguments for aggregate expression provided"));
        }
        if args.len() != expected {
            let found = args.len();
            let message = format!(
                "wrong number of arguments for aggregate expression provided, expected {expected}, got {found}"
            );
            return Err(super::error_at(place, message));
        }
        let expr = Box::new(args.remove(expected - 1));
        let param = args.pop().map(Box::new);
        self.node(ExprKind::Aggregate { op, expr, param, grouping, without }, place)
    }

    fn grouping_modifier(&mut self) -> Result<Option<(bool, Vec<String>)>, ParseError> {
        let without = self.at_word("without");
        if !without && !self.at_word("by") {
            return Ok(None);
        }
        self.next();
        Ok(Some((without, self.label_names()?)))
    }

    /// Label names in parentheses; a trailing comma is allowed, keywords are names, and others are quoted.
    pub(super) fn label_names(&mut self) -> Result<Vec<String>, ParseError> {
        self.expect_symbol("(", "grouping opts")?;
        let mut names = Vec::new();
        while !self.take_symbol(")") {
            let token = self.peek();
            match token.kind {
                TokenKind::Word if !token.text.contains(':') => names.push(token.text.to_owned()),
                TokenKind::Text => {
                    names.push(unquote(token.text).map_err(|message| super::error_at(token.place, message))?);
                }
                _ => return Err(self.unexpected("grouping opts", "label")),
            }
            self.next();
            if !self.take_symbol(",") && !self.at_symbol(")") {
                return Err(self.unexpected("grouping opts", "\",\" or \")\""));
            }
        }
        Ok(names)
    }
}
