//! Warnings: what Prometheus loads, but is seldom what was meant.
//!
//! Nothing here looks at data: a warning follows from the files, from what agents and the collector are known to send, and
//! from what functions can yield at all.

mod bounds;

mod names;

use std::collections::BTreeSet;

use watchfire_promql::Expr;
use watchfire_promql::ast::{AggregateOp, ExprKind, Selector};
use watchfire_shared::document::Mistake;
use watchfire_shared::labels::METRIC_NAME;
use watchfire_shared::matcher::MatchOp;

use super::{Group, Rule, RuleKind};
use bounds::Verdict;
use names::Known;

/// Warnings about the groups of one file, in the order of the file. `all` are the groups of every file that is checked
/// with it: what they record is known.
pub(super) fn lint(groups: &[Group], all: &[Group]) -> Vec<Mistake> {
    let mut lint = Lint { known: Known::new(all), told: BTreeSet::new(), warnings: Vec::new() };
    for group in groups {
        for (at, rule) in group.rules.iter().enumerate() {
            lint.rule(group, rule, &group.rules[..at]);
        }
    }
    lint.warnings
}

struct Lint {
    known: Known,
    /// Unknown names that were told already: one warning each is enough.
    told: BTreeSet<String>,
    warnings: Vec<Mistake>,
}

impl Lint {
    fn rule(&mut self, group: &Group, rule: &Rule, before: &[Rule]) {
        let mut warn = |at, message| self.warnings.push(Mistake { file: group.file.clone(), at: Some(at), message });
        let silent = if rule.alert().is_some() { never_fires(rule) } else { None };
        let verdict = silent.or_else(|| unconditional(rule));
        for message in verdict.into_iter().chain(unbounded(rule)) {
            warn(rule.expr_at, message);
        }
        for message in changing_labels(rule).into_iter().chain(overlapping(rule, before)) {
            warn(rule.at, message);
        }
        for message in self.known.unknown(&rule.expr, &mut self.told) {
            warn(rule.expr_at, message);
        }
    }
}

/// An alert over series that nothing compares fires for every one of them.
fn unconditional(rule: &Rule) -> Option<String> {
    let alert = matches!(rule.kind, RuleKind::Alert(_));
    let conditional = alert && (rule.expr.selectors().is_empty() || any(&rule.expr, decides));
    (alert && !conditional).then(|| {
        format!("the expression of {:?} compares nothing: it fires for every series, whatever its value", rule.name)
    })
}

fn decides(expr: &Expr) -> bool {
    match &expr.kind {
        ExprKind::Binary { op, .. } => op.is_comparison() || op.is_set(),
        ExprKind::Call { function, .. } => function.name.starts_with("absent"),
        _ => false,
    }
}

fn any(expr: &Expr, holds: fn(&Expr) -> bool) -> bool {
    let mut found = false;
    expr.walk(&mut |expr| found |= holds(expr));
    found
}

/// An alert whose condition no value can satisfy, or whose selectors contradict themselves.
fn never_fires(rule: &Rule) -> Option<String> {
    if let Some(selector) = rule.expr.selectors().into_iter().find(|selector| contradicts_itself(selector)) {
        let shown = selector.name.as_deref().unwrap_or("a selector");
        return Some(format!("{:?} can never fire: the matchers of {shown} exclude each other", rule.name));
    }
    match bounds::verdict(&rule.expr) {
        Verdict::Never(why) => Some(format!("{:?} can never fire: {why}", rule.name)),
        Verdict::Always(why) => Some(format!("{:?} fires whenever there is data: {why}", rule.name)),
        Verdict::Open => None,
    }
}

/// Whether a label would have to have two values at once.
fn contradicts_itself(selector: &Selector) -> bool {
    let demanded = selector.matchers.iter().filter(|matcher| matcher.op == MatchOp::Equal);
    demanded.into_iter().any(|demanded| {
        let same = selector.matchers.iter().filter(|other| other.name == demanded.name);
        same.into_iter().any(|other| !other.matches(&demanded.value))
    })
}

/// What makes as many series as there are values, or reads every series that there is.
fn unbounded(rule: &Rule) -> Option<String> {
    let counts = |expr: &Expr| matches!(expr.kind, ExprKind::Aggregate { op: AggregateOp::CountValues, .. });
    if any(&rule.expr, counts) {
        return Some(format!(
            "{:?} gives a series for each value that count_values meets: their number has no bound",
            rule.name
        ));
    }
    let reads_all = |selector: &&Selector| {
        selector.matchers.iter().all(|matcher| matcher.name == METRIC_NAME && matcher.matches("watchfire_any_name"))
    };
    let selectors = rule.expr.selectors();
    selectors.into_iter().find(reads_all).map(|_| format!("{:?} reads every series that there is", rule.name))
}

/// A label that holds the value is another one at each evaluation, so that each is an alert of its own.
fn changing_labels(rule: &Rule) -> Option<String> {
    rule.alert()?;
    let holds_value = |text: &str| text.contains("{{") && (text.contains("$value") || text.contains(".Value"));
    let (name, _) = rule.labels.iter().find(|(_, text)| holds_value(text))?;
    Some(format!(
        "the label `{name}` of {:?} holds the value: with each value it is another alert, and `for` begins anew",
        rule.name
    ))
}

/// Two rules of one name and one set of labels may give the same series.
fn overlapping(rule: &Rule, before: &[Rule]) -> Option<String> {
    let same = |other: &&Rule| {
        (&other.name, &other.labels, other.alert().is_some()) == (&rule.name, &rule.labels, rule.alert().is_some())
    };
    let first = before.iter().find(same)?;
    let equal = |other: &Rule| other.expr.to_string() == rule.expr.to_string();
    if let Some(first) = before.iter().filter(same).find(|other| equal(other)) {
        return Some(format!("{:?} is the rule in line {} once more: both do the same", rule.name, first.at.line));
    }
    Some(format!("{:?} has the name and the labels of the rule in line {}", rule.name, first.at.line))
}
