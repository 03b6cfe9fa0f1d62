//! Selectors, and what may follow them: a range, a subquery, `offset` and `@`.

use watchfire_shared::labels::METRIC_NAME;
use watchfire_shared::matcher::{MatchOp, Matcher};

use super::{Parser, error_at, selects_all};
use crate::ast::{Expr, ExprKind, Length, Place, Selector, Shift, Type};
use crate::error::ParseError;
use crate::lexer::{Token, TokenKind, unquote};

impl Parser<'_> {
    /// A selector whose name, if it has one before the braces, was just read.
    pub(super) fn selector(&mut self, name: Option<Token<'_>>) -> Result<Expr, ParseError> {
        let first = name.map_or(self.peek().place, |name| name.place);
        let mut selector =
            Selector { name: name.map(|name| name.text.to_owned()), matchers: Vec::new(), shift: Shift::default() };
        if self.at_symbol("{") {
            self.matchers(&mut selector)?;
        }
        if let Some(name) = &selector.name {
            selector.matchers.push(Matcher::equal(METRIC_NAME, name.clone()));
        }
        let place = self.place_from(first);
        if !self.selects_all && selects_all(&selector.matchers) {
            return Err(error_at(place, "vector selector must contain at least one non-empty matcher"));
        }
        self.node(ExprKind::Selector(selector), place)
    }

    /// Matchers in braces that need not choose a series: what `info` takes.
    pub(super) fn label_selector(&mut self) -> Result<Expr, ParseError> {
        let first = self.peek().place;
        let mut selector = Selector { name: None, matchers: Vec::new(), shift: Shift::default() };
        self.matchers(&mut selector)?;
        self.node(ExprKind::Selector(selector), self.place_from(first))
    }

    fn matchers(&mut self, selector: &mut Selector) -> Result<(), ParseError> {
        self.next();
        while !self.take_symbol("}") {
            let token = self.peek();
            let label = match token.kind {
                TokenKind::Word => token.text.to_owned(),
                TokenKind::Text => unquote(token.text).map_err(|message| error_at(token.place, message))?,
                _ => return Err(self.unexpected("label matching", "identifier or \"}\"")),
            };
            self.next();
            let quoted_name = token.kind == TokenKind::Text && (self.at_symbol(",") || self.at_symbol("}"));
            if quoted_name {
                set_name(selector, label, token.place)?;
            } else {
                selector.matchers.push(self.matcher(label, selector.name.as_deref())?);
            }
            if !self.take_symbol(",") && !self.at_symbol("}") {
                return Err(self.unexpected("label matching", "\",\" or \"}\""));
            }
        }
        Ok(())
    }

    fn matcher(&mut self, label: String, name: Option<&str>) -> Result<Matcher, ParseError> {
        let operator = self.peek();
        let op = match operator.text {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            "!~" => MatchOp::NotRegex,
            _ => return Err(self.unexpected("label matching", "label matching operator")),
        };
        self.next();
        let value = self.peek();
        if value.kind != TokenKind::Text {
            return Err(self.unexpected("label matching", "string"));
        }
        self.next();
        let text = unquote(value.text).map_err(|message| error_at(value.place, message))?;
        if let Some(name) = name.filter(|_| label == METRIC_NAME && op == MatchOp::Equal) {
            return Err(error_at(value.place, format!("metric name must not be set twice: {name:?} or {text:?}")));
        }
        Matcher::new(label, op, text).map_err(|error| error_at(value.place, error.to_string()))
    }

    /// A range, a subquery and modifiers after an operand.
    pub(super) fn postfix(&mut self, mut expr: Expr) -> Result<Expr, ParseError> {
        loop {
            expr = if self.at_symbol("[") {
                self.brackets(expr)?
            } else if self.at_word("offset") {
                let word = self.next().place;
                let offset = self.offset_length()?;
                self.shifted(expr, word, "offset", |shift| shift.offset.replace(offset).is_some())?
            } else if self.at_symbol("@") {
                let sign = self.next().place;
                let at = self.at_time()?;
                self.shifted(expr, sign, "@", |shift| shift.at.replace(at).is_some())?
            } else {
                return Ok(expr);
            };
        }
    }

    fn brackets(&mut self, expr: Expr) -> Result<Expr, ParseError> {
        let opening = self.next().place;
        let range = self.positive_length()?;
        if self.take_symbol(":") {
            let step = if self.at_symbol("]") { None } else { Some(self.positive_length()?) };
            self.expect_symbol("]", "subquery selector")?;
            return self.subquery(expr, range, step);
        }
        self.expect_symbol("]", "matrix selector")?;
        let place = self.place_from(expr.place);
        let ExprKind::Selector(selector) = expr.kind else {
            return Err(error_at(opening, "ranges only allowed for vector selectors"));
        };
        if selector.shift.offset.is_some() {
            return Err(error_at(place, "no offset modifiers allowed before range"));
        }
        if selector.shift.at.is_some() {
            return Err(error_at(place, "no @ modifiers allowed before range"));
        }
        self.node(ExprKind::Range { selector, range }, place)
    }

    fn subquery(&mut self, expr: Expr, range: Length, step: Option<Length>) -> Result<Expr, ParseError> {
        let place = self.place_from(expr.place);
        if expr.value_type() != Type::InstantVector {
            let found = expr.value_type().describe();
            return Err(error_at(place, format!("subquery is only allowed on instant vector, got {found} instead")));
        }
        self.node(ExprKind::Subquery { expr: Box::new(expr), range, step, shift: Shift::default() }, place)
    }

    /// Sets a modifier; `set` tells whether it had been set before.
    fn shifted(
        &self,
        mut expr: Expr,
        modifier: Place,
        name: &str,
        set: impl FnOnce(&mut Shift) -> bool,
    ) -> Result<Expr, ParseError> {
        let again = match &mut expr.kind {
            ExprKind::Selector(selector) | ExprKind::Range { selector, .. } => set(&mut selector.shift),
            ExprKind::Subquery { shift, .. } => set(shift),
            _ => {
                let operands = "an instant vector selector or range vector selector or a subquery";
                return Err(error_at(modifier, format!("{name} modifier must be preceded by {operands}")));
            }
        };
        if again {
            let name = if name == "@" { "@ <timestamp>" } else { name };
            return Err(error_at(modifier, format!("{name} may not be set multiple times")));
        }
        expr.place = self.place_from(expr.place);
        Ok(expr)
    }
}

fn set_name(selector: &mut Selector, name: String, place: Place) -> Result<(), ParseError> {
    let matched = |matcher: &&Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
    let earlier = selector.name.as_deref().or_else(|| selector.matchers.iter().find(matched).map(|m| m.value.as_str()));
    if let Some(earlier) = earlier {
        return Err(error_at(place, format!("metric name must not be set twice: {earlier:?} or {name:?}")));
    }
    selector.name = Some(name);
    Ok(())
}
