//! Operators between two expressions: precedence, `bool`, matching and grouping.

use super::{Parser, error_at};
use crate::ast::{BinaryOp, Cardinality, Expr, ExprKind, Matching, Place};
use crate::error::ParseError;
use crate::lexer::TokenKind;

/// How tightly an operator binds; more is tighter.
pub(super) const fn power(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => 6,
        _ => 3,
    }
}

const OPERATORS: [BinaryOp; 16] = [
    BinaryOp::Add,
    BinaryOp::Sub,
    BinaryOp::Mul,
    BinaryOp::Div,
    BinaryOp::Mod,
    BinaryOp::Pow,
    BinaryOp::Atan2,
    BinaryOp::Equal,
    BinaryOp::NotEqual,
    BinaryOp::Greater,
    BinaryOp::Less,
    BinaryOp::GreaterEqual,
    BinaryOp::LessEqual,
    BinaryOp::And,
    BinaryOp::Or,
    BinaryOp::Unless,
];

impl Parser<'_> {
    /// The operator that comes next, and how tightly it binds.
    pub(super) fn operator(&self) -> Option<(BinaryOp, u8)> {
        let token = self.peek();
        if !matches!(token.kind, TokenKind::Symbol | TokenKind::Word) {
            return None;
        }
        let op = OPERATORS.into_iter().find(|op| token.text.eq_ignore_ascii_case(op.as_str()))?;
        Some((op, power(op)))
    }

    /// What follows an operator.
    pub(super) fn binary(&mut self, left: Expr, op: BinaryOp, power: u8) -> Result<Expr, ParseError> {
        let operator = self.tokens[self.at - 1].place;
        let bool_modifier = self.take_word("bool");
        if bool_modifier && !op.is_comparison() {
            return Err(error_at(operator, "bool modifier can only be used on comparison operators"));
        }
        let matching = self.matching(op, operator)?;
        // The power operator alone groups from the right.
        let right = self.expression(if op == BinaryOp::Pow { power - 1 } else { power })?;
        let place = self.place_from(left.place);
        if !bool_modifier {
            super::check::needs_bool(op, &left, &right, operator)?;
        }
        let matching = super::check::without_needless(matching, &left, &right);
        let (left, right) = (Box::new(left), Box::new(right));
        self.node(ExprKind::Binary { op, left, right, bool_modifier, matching }, place)
    }

    fn matching(&mut self, op: BinaryOp, operator: Place) -> Result<Matching, ParseError> {
        let mut matching = Matching::default();
        if op.is_set() {
            matching.cardinality = Cardinality::ManyToMany;
        }
        let on = self.at_word("on");
        if !on && !self.at_word("ignoring") {
            self.fill(&mut matching, op)?;
            return Ok(matching);
        }
        self.next();
        matching.on = on;
        matching.labels = self.label_names()?;
        let (left, group) = (self.at_word("group_left"), self.peek());
        if left || self.at_word("group_right") {
            self.next();
            if op.is_set() {
                return Err(error_at(group.place, format!("no grouping allowed for {:?} operation", op.as_str())));
            }
            matching.cardinality = if left { Cardinality::ManyToOne } else { Cardinality::OneToMany };
            if self.at_symbol("(") {
                matching.include = self.label_names()?;
            }
        }
        if let Some(label) = matching.include.iter().find(|label| on && matching.labels.contains(label)) {
            let message = format!("label {label:?} must not occur in ON and GROUP clause at once");
            return Err(error_at(operator, message));
        }
        self.fill(&mut matching, op)?;
        Ok(matching)
    }

    /// `fill(x)`, `fill_left(x)` and `fill_right(x)`, each at most once.
    fn fill(&mut self, matching: &mut Matching, op: BinaryOp) -> Result<(), ParseError> {
        loop {
            let (word, next) = (self.peek(), self.peek_second());
            let called = next.kind == TokenKind::Symbol && next.text == "(";
            let lower = word.text.to_ascii_lowercase();
            if !called || !matches!(lower.as_str(), "fill" | "fill_left" | "fill_right") {
                return Ok(());
            }
            self.require(self.syntax.fill, word.place, "binop fill modifiers are experimental and not enabled")?;
            if op.is_set() {
                return Err(error_at(word.place, "filling in missing series not allowed for set operators"));
            }
            let (left, right) = (lower != "fill_right", lower != "fill_left");
            if (left && matching.fill.0.is_some()) || (right && matching.fill.1.is_some()) {
                return Err(error_at(word.place, "fill modifiers must not fill a side twice"));
            }
            let value = self.fill_value()?;
            matching.fill.0 = if left { Some(value) } else { matching.fill.0 };
            matching.fill.1 = if right { Some(value) } else { matching.fill.1 };
        }
    }

    fn fill_value(&mut self) -> Result<f64, ParseError> {
        self.next();
        self.expect_symbol("(", "fill modifier")?;
        let value = self.expression(0)?;
        self.expect_symbol(")", "fill modifier")?;
        match value.kind {
            ExprKind::Number { value, .. } => Ok(value),
            _ => Err(error_at(value.place, "expected a number in fill modifier")),
        }
    }
}
