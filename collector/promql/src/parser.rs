//! Tokens to a checked syntax tree: a Pratt parser with Prometheus' grammar, precedences and error texts.
//!
//! What parses is fully typed and supported; everything else is refused here, so that a rule file can be judged without
//! any data. Limits on size and depth are checked before the recursion that they guard.

use watchfire_shared::limits;
use watchfire_shared::matcher::Matcher;

use crate::ast::{BinaryOp, Expr, ExprKind, Place};
use crate::error::ParseError;
use crate::lexer::{self, Token, TokenKind, tokens};
use crate::number;

mod aggregate;
mod binary;
mod check;
mod duration;
mod selector;

/// What a text may use beyond the stable language: what Prometheus has behind `--enable-feature`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Syntax {
    /// Functions and aggregations: `promql-experimental-functions`.
    pub functions: bool,
    /// Arithmetic on durations in brackets and after `offset`: `promql-duration-expr`.
    pub durations: bool,
    /// `fill`, `fill_left` and `fill_right`: `promql-binop-fill-modifiers`.
    pub fill: bool,
}

impl Syntax {
    /// The names of the features, as Prometheus has them.
    pub const FEATURES: [&str; 3] =
        ["promql-experimental-functions", "promql-duration-expr", "promql-binop-fill-modifiers"];

    /// Everything.
    #[must_use]
    pub const fn experimental() -> Self {
        Self { functions: true, durations: true, fill: true }
    }

    /// The names of the features that this has.
    pub fn features(self) -> Vec<&'static str> {
        let has = [self.functions, self.durations, self.fill];
        Self::FEATURES.into_iter().zip(has).filter(|(_, has)| *has).map(|(name, _)| name).collect()
    }

    /// With these features.
    ///
    /// # Errors
    /// The first name that is no feature's.
    pub fn with_features<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, &'n str> {
        let mut syntax = Self::default();
        for name in names {
            match name {
                "promql-experimental-functions" => syntax.functions = true,
                "promql-duration-expr" => syntax.durations = true,
                "promql-binop-fill-modifiers" => syntax.fill = true,
                _ => return Err(name),
            }
        }
        Ok(syntax)
    }
}

/// Parses an expression of the stable language.
///
/// # Errors
/// The first mistake, with its line and column: of the grammar, of types, of argument counts, an unknown or unsupported
/// function, or a text or nesting beyond the limits.
pub fn parse(input: &str) -> Result<Expr, ParseError> {
    parse_with(input, Syntax::default())
}

/// As [`parse`], with the choice of what is allowed.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(input: &str, syntax: Syntax) -> Result<Expr, ParseError> {
    parsed(input, syntax, false)
}

/// `selects_all`: whether selectors may select everything.
fn parsed(input: &str, syntax: Syntax, selects_all: bool) -> Result<Expr, ParseError> {
    if input.len() > limits::MAX_QUERY_BYTES {
        let message = format!("expression is longer than {} bytes", limits::MAX_QUERY_BYTES);
        return Err(ParseError { line: 1, column: 1, message });
    }
    let mut parser = Parser { tokens: tokens(input), at: 0, nesting: 0, syntax, selects_all };
    if parser.peek().kind == TokenKind::End {
        return Err(ParseError { line: 0, column: 0, message: "no expression found in input".to_owned() });
    }
    let expr = parser.expression(0)?;
    match parser.peek().kind {
        TokenKind::End => Ok(expr),
        _ => Err(parser.unexpected("", "")),
    }
}

/// Parses a selector of series, without a range or a shift in time, and gives its matchers. As Prometheus'
/// `ParseMetricSelector` it takes one that selects everything, and `{}`; see [`selects_all`].
///
/// # Errors
/// As [`parse`], and if the text is any other expression.
pub fn parse_selector(input: &str) -> Result<Vec<Matcher>, ParseError> {
    let syntax = Syntax::default();
    let parser = Parser { tokens: tokens(input), at: 0, nesting: 0, syntax, selects_all: true };
    let first = parser.peek();
    if !matches!(first.kind, TokenKind::Word | TokenKind::Bad(_) | TokenKind::End) && first.text != "{" {
        return Err(parser.unexpected("", ""));
    }
    match parsed(input, syntax, true)?.kind {
        ExprKind::Selector(selector) if selector.shift.offset.is_none() && selector.shift.at.is_none() => {
            Ok(selector.matchers)
        }
        _ => Err(parser.unexpected("", "")),
    }
}

/// Whether a series without labels would be selected, and so every series that has none of those that are named.
#[must_use]
pub fn selects_all(matchers: &[Matcher]) -> bool {
    matchers.iter().all(|matcher| matcher.matches(""))
}

pub(crate) struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    nesting: usize,
    syntax: Syntax,
    selects_all: bool,
}

impl<'a> Parser<'a> {
    pub(crate) fn peek(&self) -> Token<'a> {
        self.tokens[self.at]
    }

    fn peek_second(&self) -> Token<'a> {
        self.tokens[(self.at + 1).min(self.tokens.len() - 1)]
    }

    pub(crate) fn next(&mut self) -> Token<'a> {
        let token = self.tokens[self.at];
        self.at = (self.at + 1).min(self.tokens.len() - 1);
        token
    }

    /// The place from the start of `first` to the end of the token before the next.
    pub(crate) fn place_from(&self, first: Place) -> Place {
        Place { end: self.tokens[self.at.saturating_sub(1)].place.end.max(first.end), ..first }
    }

    pub(crate) fn at_symbol(&self, symbol: &str) -> bool {
        let token = self.peek();
        token.kind == TokenKind::Symbol && token.text == symbol
    }

    pub(crate) fn take_symbol(&mut self, symbol: &str) -> bool {
        let found = self.at_symbol(symbol);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn at_word(&self, word: &str) -> bool {
        let token = self.peek();
        token.kind == TokenKind::Word && token.text.eq_ignore_ascii_case(word)
    }

    pub(crate) fn take_word(&mut self, word: &str) -> bool {
        let found = self.at_word(word);
        if found {
            self.next();
        }
        found
    }

    pub(crate) fn expect_symbol(&mut self, symbol: &str, context: &str) -> Result<(), ParseError> {
        if self.take_symbol(symbol) { Ok(()) } else { Err(self.unexpected(context, &format!("{symbol:?}"))) }
    }

    pub(crate) fn error_here(&self, message: impl Into<String>) -> ParseError {
        error_at(self.peek().place, message)
    }

    /// The error for a token that has no business here.
    pub(crate) fn unexpected(&self, context: &str, expected: &str) -> ParseError {
        let token = self.peek();
        if let TokenKind::Bad(message) = token.kind {
            let shown: String = token.text.chars().take(20).collect();
            return self.error_here(format!("{message}: {shown:?}"));
        }
        if let TokenKind::Unclosed(message) = token.kind {
            return self.error_here(message);
        }
        let mut message = format!("unexpected {}", describe(token));
        if !context.is_empty() {
            message += &format!(" in {context}");
        }
        if !expected.is_empty() {
            message += &format!(", expected {expected}");
        }
        self.error_here(message)
    }

    pub(crate) fn node(&self, kind: ExprKind, place: Place) -> Result<Expr, ParseError> {
        let expr = Expr::new(kind, place);
        if expr.height() > limits::MAX_QUERY_DEPTH {
            return Err(too_deep(place));
        }
        check::check(&expr, self.syntax)?;
        Ok(expr)
    }

    /// An expression whose operators bind more tightly than `above`.
    pub(crate) fn expression(&mut self, above: u8) -> Result<Expr, ParseError> {
        self.nesting += 1;
        if self.nesting > limits::MAX_QUERY_DEPTH {
            return Err(too_deep(self.peek().place));
        }
        let mut left = self.unary()?;
        while let Some((op, power)) = self.operator().filter(|(_, power)| *power > above) {
            self.next();
            left = self.binary(left, op, power)?;
        }
        self.nesting -= 1;
        Ok(left)
    }

    /// A signed operand; the sign binds as multiplication does, so `-1 ^ 2` is -1.
    fn unary(&mut self) -> Result<Expr, ParseError> {
        let negative = self.at_symbol("-");
        if !negative && !self.at_symbol("+") {
            let primary = self.primary()?;
            return self.postfix(primary);
        }
        let first = self.next().place;
        let expr = self.expression(binary::power(BinaryOp::Mul))?;
        let place = self.place_from(first);
        if let ExprKind::Number { value, duration } = expr.kind {
            let value = if negative { -value } else { value };
            return self.node(ExprKind::Number { value, duration }, place);
        }
        self.node(ExprKind::Unary { negative, expr: Box::new(expr) }, place)
    }

    fn primary(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek();
        match token.kind {
            TokenKind::Number | TokenKind::Duration => self.number(),
            TokenKind::Text => {
                self.next();
                let text = lexer::unquote(token.text).map_err(|message| error_at(token.place, message))?;
                self.node(ExprKind::String(text), token.place)
            }
            TokenKind::Symbol if token.text == "(" => {
                self.next();
                let inner = self.expression(0)?;
                self.expect_symbol(")", "")?;
                self.node(ExprKind::Paren(Box::new(inner)), self.place_from(token.place))
            }
            TokenKind::Symbol if token.text == "{" => self.selector(None),
            TokenKind::Word => self.word(),
            _ if token.kind == TokenKind::End => Err(self.error_here("unexpected end of input")),
            _ => Err(self.unexpected("", "")),
        }
    }

    fn number(&mut self) -> Result<Expr, ParseError> {
        let token = self.next();
        let duration = token.kind == TokenKind::Duration;
        let value = if duration { duration::seconds(token.text) } else { number::parse_number(token.text) };
        let value = value
            .ok_or_else(|| error_at(token.place, format!("error parsing number: {:?} is out of range", token.text)))?;
        self.node(ExprKind::Number { value, duration }, token.place)
    }

    /// A name: of a number, an aggregation, a function or a metric, whichever what follows allows.
    fn word(&mut self) -> Result<Expr, ParseError> {
        let token = self.peek();
        let lower = token.text.to_ascii_lowercase();
        let called = self.peek_second().kind == TokenKind::Symbol && self.peek_second().text == "(";
        if matches!(lower.as_str(), "inf" | "nan") {
            return self.number();
        }
        let second = self.peek_second();
        let grouped = ["by", "without"].iter().any(|word| second.text.eq_ignore_ascii_case(word));
        let applied = called || (grouped && second.kind == TokenKind::Word);
        if let Some(op) = aggregate::operator(&lower) {
            if applied {
                return self.aggregate(op);
            }
        } else if matches!(lower.as_str(), "bool" | "on" | "ignoring" | "group_left" | "group_right" | "atan2") {
            return Err(self.unexpected("", ""));
        } else if called {
            return self.call();
        }
        self.next();
        self.selector(Some(token))
    }

    fn call(&mut self) -> Result<Expr, ParseError> {
        let name = self.next();
        let function = check::function(name, self.syntax)?;
        let args = if function.name == "info" { self.info_arguments()? } else { self.arguments("function call")? };
        self.node(ExprKind::Call { function, args }, self.place_from(name.place))
    }

    /// A vector, and matchers of labels that may all match nothing.
    fn info_arguments(&mut self) -> Result<Vec<Expr>, ParseError> {
        self.expect_symbol("(", "function call")?;
        let mut args = vec![self.expression(0)?];
        if self.take_symbol(",") {
            let place = self.peek().place;
            let labels = if self.at_symbol("{") { self.label_selector()? } else { self.expression(0)? };
            match &labels.kind {
                ExprKind::Selector(selector) if selector.name.is_none() => {}
                _ => return Err(error_at(place, "expected label selectors only, got vector selector instead")),
            }
            args.push(labels);
        }
        self.expect_symbol(")", "function call")?;
        Ok(args)
    }

    /// Expressions in parentheses, separated by commas.
    pub(crate) fn arguments(&mut self, context: &str) -> Result<Vec<Expr>, ParseError> {
        self.expect_symbol("(", context)?;
        let mut args = Vec::new();
        if self.take_symbol(")") {
            return Ok(args);
        }
        loop {
            args.push(self.expression(0)?);
            if self.take_symbol(")") {
                return Ok(args);
            }
            if !self.take_symbol(",") {
                return Err(self.unexpected(context, "\",\" or \")\""));
            }
            if self.at_symbol(")") {
                return Err(self.error_here("trailing commas not allowed in function call args"));
            }
        }
    }
}

/// How an error message names a token.
fn describe(token: Token<'_>) -> String {
    let lower = token.text.to_ascii_lowercase();
    match token.kind {
        TokenKind::End | TokenKind::Unclosed(_) => "end of input".to_owned(),
        TokenKind::Number => format!("number {:?}", token.text),
        TokenKind::Duration => format!("duration {:?}", token.text),
        TokenKind::Text => {
            let shown: String = token.text.chars().skip(1).take(token.text.chars().count().saturating_sub(2)).collect();
            format!("string {shown:?}")
        }
        TokenKind::Word if aggregate::operator(&lower).is_some() => format!("<aggr:{lower}>"),
        TokenKind::Word if matches!(lower.as_str(), "and" | "or" | "unless" | "atan2") => format!("<op:{lower}>"),
        TokenKind::Word if is_keyword(&lower) => format!("<{lower}>"),
        TokenKind::Word if token.text.contains(':') => format!("metric identifier {:?}", token.text),
        TokenKind::Word => format!("identifier {:?}", token.text),
        TokenKind::Symbol if matches!(token.text, "(" | ")" | "{" | "}" | "[" | "]" | "," | "=" | ":" | "@") => {
            format!("{:?}", token.text)
        }
        TokenKind::Symbol => format!("<op:{}>", token.text),
        TokenKind::Bad(message) => message.to_owned(),
    }
}

fn is_keyword(lower: &str) -> bool {
    let keywords = ["offset", "by", "without", "on", "ignoring", "group_left", "group_right", "bool", "start", "end"];
    keywords.contains(&lower)
}

fn too_deep(place: Place) -> ParseError {
    error_at(place, format!("expression is nested more than {} levels deep", limits::MAX_QUERY_DEPTH))
}

pub(crate) fn error_at(place: Place, message: impl Into<String>) -> ParseError {
    ParseError { line: place.line, column: place.column, message: message.into() }
}

#[cfg(test)]
mod tests;
