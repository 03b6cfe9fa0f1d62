//! Expressions as canonical text on one line, which parses to the same expression.

use std::fmt;

use watchfire_shared::labels::{METRIC_NAME, Quoted, is_label_name, is_metric_name};
use watchfire_shared::matcher::MatchOp;

use super::{AggregateOp, At, BinaryOp, Cardinality, Expr, ExprKind, Length, Matching, Selector, Shift};
use crate::number::format_float;

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ExprKind::Number { value, duration: true } => write_duration(f, *value),
            // All digits and no exponent, whatever its size.
            ExprKind::Number { value, duration: false } if value.is_finite() => write!(f, "{value}"),
            ExprKind::Number { value, duration: false } => f.write_str(&format_float(*value)),
            ExprKind::String(text) => write!(f, "{}", Quoted(text)),
            ExprKind::Selector(selector) => write!(f, "{}{}", Bare(selector), selector.shift),
            ExprKind::Range { selector, range } => write!(f, "{}[{range}]{}", Bare(selector), selector.shift),
            ExprKind::Subquery { expr, range, step, shift } => {
                write!(f, "{expr}{}", subquery_suffix(range, step.as_ref(), shift))
            }
            ExprKind::Unary { negative, expr } => write!(f, "{}{expr}", if *negative { "-" } else { "+" }),
            ExprKind::Binary { op, left, right, bool_modifier, matching } => {
                write!(f, "{left} {} {right}", operator(*op, *bool_modifier, matching))
            }
            ExprKind::Call { function, args } => {
                write!(f, "{}(", function.name)?;
                write_list(f, args.iter())?;
                f.write_str(")")
            }
            ExprKind::Aggregate { op, expr, param, grouping, without } => {
                write!(f, "{}(", aggregation(*op, grouping, *without))?;
                write_list(f, param.iter().map(|param| &**param).chain([&**expr]))?;
                f.write_str(")")
            }
            ExprKind::Paren(inner) => write!(f, "({inner})"),
        }
    }
}

fn write_list<'a>(f: &mut fmt::Formatter<'_>, items: impl Iterator<Item = &'a Expr>) -> fmt::Result {
    for (index, item) in items.enumerate() {
        if index > 0 {
            f.write_str(", ")?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

/// A number that was written as a duration, in seconds.
fn write_duration(f: &mut fmt::Formatter<'_>, seconds: f64) -> fmt::Result {
    let millis = (seconds * 1000.0).round() as i64;
    write!(f, "{}", watchfire_shared::time::Span::from_millis(millis))
}

/// What stands behind a subquery's expression.
pub(super) fn subquery_suffix(range: &Length, step: Option<&Length>, shift: &Shift) -> String {
    let step = step.map(Length::to_string).unwrap_or_default();
    format!("[{range}:{step}]{shift}")
}

/// An aggregation's operator with its grouping.
pub(super) fn aggregation(op: AggregateOp, grouping: &[String], without: bool) -> String {
    match (without, grouping) {
        (true, _) => format!("{} without ({}) ", op.as_str(), Names(grouping)),
        (false, []) => op.as_str().to_owned(),
        (false, _) => format!("{} by ({}) ", op.as_str(), Names(grouping)),
    }
}

/// An operator with its modifiers.
pub(super) fn operator(op: BinaryOp, bool_modifier: bool, matching: &Matching) -> String {
    let mut text = op.as_str().to_owned();
    if bool_modifier {
        text.push_str(" bool");
    }
    if matching.on || !matching.labels.is_empty() {
        let word = if matching.on { "on" } else { "ignoring" };
        text += &format!(" {word} ({})", Names(&matching.labels));
    }
    if let Some(word) = matching.cardinality.group_word() {
        text += &format!(" {word} ({})", Names(&matching.include));
    }
    match matching.fill {
        (Some(left), Some(right)) if left.to_bits() == right.to_bits() => {
            text += &format!(" fill ({})", format_float(left))
        }
        (left, right) => {
            for (word, value) in [("fill_left", left), ("fill_right", right)] {
                text += &value.map(|value| format!(" {word} ({})", format_float(value))).unwrap_or_default();
            }
        }
    }
    text
}

impl Cardinality {
    const fn group_word(self) -> Option<&'static str> {
        match self {
            Self::ManyToOne => Some("group_left"),
            Self::OneToMany => Some("group_right"),
            Self::OneToOne | Self::ManyToMany => None,
        }
    }
}

/// Label names, quoted where they are no identifiers.
struct Names<'a>(&'a [String]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            if is_label_name(name) { f.write_str(name)? } else { write!(f, "{}", Quoted(name))? }
        }
        Ok(())
    }
}

/// A selector without its modifiers.
struct Bare<'a>(&'a Selector);

impl fmt::Display for Bare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.0.name.as_deref();
        let plain = name.filter(|name| is_metric_name(name));
        f.write_str(plain.unwrap_or(""))?;
        let named =
            |matcher: &&watchfire_shared::matcher::Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        // The matcher that stands for the written name is not printed a second time.
        let mut implied = name.and_then(|name| self.0.matchers.iter().position(|m| named(&m) && m.value == name));
        let mut parts: Vec<String> = Vec::new();
        for (index, matcher) in self.0.matchers.iter().enumerate() {
            if implied.take_if(|implied| *implied == index).is_none() {
                parts.push(matcher.to_string());
            }
        }
        parts.sort_unstable();
        if let (Some(name), None) = (name, plain) {
            parts.insert(0, Quoted(name).to_string());
        }
        if parts.is_empty() && plain.is_some() { Ok(()) } else { write!(f, "{{{}}}", parts.join(",")) }
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(span) => write!(f, "{span}"),
            Self::Computed(expr) => write!(f, "{expr}"),
        }
    }
}

impl fmt::Display for Shift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(At::Time(at)) => write!(f, " @ {:.3}", at.as_seconds())?,
            Some(At::Start) => f.write_str(" @ start()")?,
            Some(At::End) => f.write_str(" @ end()")?,
            None => {}
        }
        match &self.offset {
            Some(Length::Computed(length)) if !matches!(length.kind, ExprKind::Call { .. } | ExprKind::Paren(_)) => {
                write!(f, " offset ({length})")
            }
            Some(offset) => write!(f, " offset {offset}"),
            None => Ok(()),
        }
    }
}
