//! Label matchers with Prometheus' meaning: an absent label is the empty text, and expressions match the whole value.

mod alternatives;
mod expand;
mod re2;

use std::collections::BTreeSet;
use std::fmt;

use regex::Regex;

use crate::labels::{Labels, Quoted, is_label_name};
use crate::limits;
pub use expand::expand;

/// How a matcher compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum MatchOp {
    Equal,
    NotEqual,
    Regex,
    NotRegex,
}

impl MatchOp {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label.
#[derive(Clone)]
pub struct Matcher {
    pub name: String,
    pub op: MatchOp,
    pub value: String,
    test: Test,
}

/// What a value is compared with.
#[derive(Clone)]
enum Test {
    /// The matcher's own value.
    Text,
    Alternatives(BTreeSet<Box<str>>),
    Regex(Regex),
}

/// Why a regular expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid regular expression {expression:?}: {reason}")]
pub struct RegexError {
    pub expression: String,
    pub reason: String,
}

impl Matcher {
    /// Makes a matcher; `value` is an expression in RE2's syntax for the two regex operators.
    ///
    /// # Errors
    /// If the expression is malformed or its compiled form is larger than [`limits::MAX_REGEX_BYTES`].
    pub fn new(name: impl Into<String>, op: MatchOp, value: impl Into<String>) -> Result<Self, RegexError> {
        Self::within(name, op, value, limits::MAX_REGEX_BYTES)
    }

    /// The same where what an expression is compiled to may take so many bytes, for a matcher that is kept for long.
    ///
    /// # Errors
    /// If the expression is malformed or its compiled form is larger.
    pub fn within(
        name: impl Into<String>,
        op: MatchOp,
        value: impl Into<String>,
        bytes: usize,
    ) -> Result<Self, RegexError> {
        let (name, value) = (name.into(), value.into());
        let test = match op {
            MatchOp::Equal | MatchOp::NotEqual => Test::Text,
            MatchOp::Regex | MatchOp::NotRegex => match alternatives::alternatives(&value) {
                Some(texts) if alternatives::size(&texts) <= bytes => Test::Alternatives(texts),
                _ => Test::Regex(compile(&whole(&value)?, &value, bytes)?),
            },
        };
        Ok(Self { name, op, value, test })
    }

    /// `name="value"`, which cannot fail.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), op: MatchOp::Equal, value: value.into(), test: Test::Text }
    }

    /// Whether a label with this value (empty where absent) satisfies the condition.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let holds = match &self.test {
            Test::Text => self.value == value,
            Test::Alternatives(texts) => texts.contains(value),
            Test::Regex(regex) => regex.is_match(value),
        };
        holds != matches!(self.op, MatchOp::NotEqual | MatchOp::NotRegex)
    }

    /// Whether the label set satisfies the condition.
    #[must_use]
    pub fn matches_labels(&self, labels: &Labels) -> bool {
        self.matches(labels.value(&self.name))
    }
}

/// Compiles `^(?s:expression)$` as Prometheus does, with the differences between RE2 and this engine evened out.
///
/// # Errors
/// If the expression is malformed or its compiled form is larger than [`limits::MAX_REGEX_BYTES`].
pub fn anchored(expression: &str) -> Result<Regex, RegexError> {
    compile(&whole(expression)?, expression, limits::MAX_REGEX_BYTES)
}

fn whole(expression: &str) -> Result<String, RegexError> {
    Ok(format!("^(?s:{})$", from_re2(expression)?))
}

fn from_re2(expression: &str) -> Result<String, RegexError> {
    re2::translate(expression).map_err(|reason| RegexError { expression: expression.to_owned(), reason })
}

/// Compiles an expression that may match anywhere, with RE2's syntax.
///
/// # Errors
/// As [`anchored`].
pub fn unanchored(expression: &str) -> Result<Regex, RegexError> {
    compile(&from_re2(expression)?, expression, limits::MAX_REGEX_BYTES)
}

fn compile(pattern: &str, expression: &str, bytes: usize) -> Result<Regex, RegexError> {
    regex::RegexBuilder::new(pattern)
        .size_limit(bytes)
        .dfa_size_limit(bytes)
        .build()
        .map_err(|error| RegexError { expression: expression.to_owned(), reason: reason_of(&error) })
}

fn reason_of(error: &regex::Error) -> String {
    match error {
        regex::Error::CompiledTooBig(_) => "it is too large once compiled".to_owned(),
        other => other.to_string().lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    }
}

impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.op, &self.value) == (&other.name, other.op, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_label_name(&self.name) {
            write!(f, "{}{}{}", self.name, self.op.as_str(), Quoted(&self.value))
        } else {
            write!(f, "{}{}{}", Quoted(&self.name), self.op.as_str(), Quoted(&self.value))
        }
    }
}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expression: &str, value: &str) -> bool {
        Matcher::new("l", MatchOp::Regex, expression).unwrap().matches(value)
    }

    #[test]
    fn expressions_match_whole_values_as_in_re2() {
        assert!(check("a.c", "a\nc") && !check("b", "abc") && check("", ""));
        assert!(check(r"\Qa.b\E+", "a.bb") && !check(r"\Qa.b\E", "axb"));
        assert!(check("[[a]+", "[a[") && check("[a&&b]+", "a&b") && check("[]a]+", "]a"));
        assert!(check("bc{abc}", "bc{abc}") && check("a{,2}", "a{,2}") && check("a{2,}b{1}", "aab"));
        assert!(check("[[:alpha:]x]+", "abx") && check("[+--z]*", "-"));
    }

    #[test]
    fn malformed_and_huge_expressions_are_refused() {
        for expression in ["(", "a{2,1}", "(?:(?:(?:a{100}){100}){100}){100}"] {
            assert!(Matcher::new("l", MatchOp::Regex, expression).is_err(), "{expression}");
        }
        let small = |expression: &str| Matcher::within("l", MatchOp::Regex, expression, 128 << 10);
        assert!(small(r"node-\d+(\.example\.(com|org))?|\w+").is_ok());
        assert_eq!(small(r"\pL{50}").unwrap_err().reason, "it is too large once compiled");
    }

    #[test]
    fn an_absent_label_is_empty() {
        let labels = Labels::new([("a", "1")]);
        assert!(Matcher::equal("b", "").matches_labels(&labels));
        assert!(!Matcher::new("b", MatchOp::NotEqual, "").unwrap().matches_labels(&labels));
        assert!(Matcher::new("b", MatchOp::NotRegex, "x").unwrap().matches_labels(&labels));
    }
}
