//! Warnings: what Prometheus loads, but is seldom what was meant.

use watchfire_promql::Expr;
use watchfire_promql::ast::ExprKind;
use watchfire_shared::document::Mistake;

use super::{Group, Rule, RuleKind};

/// Warnings about the groups of one file, in the order of the file.
pub(super) fn lint(groups: &[Group]) -> Vec<Mistake> {
    let mut warnings = Vec::new();
    for group in groups {
        for (at, rule) in group.rules.iter().enumerate() {
            if let Some(message) = unconditional(rule) {
                warnings.push(Mistake { file: group.file.clone(), at: Some(rule.expr_at), message });
            }
            if let Some(message) = overlapping(rule, &group.rules[..at]) {
                warnings.push(Mistake { file: group.file.clone(), at: Some(rule.at), message });
            }
        }
    }
    warnings
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

/// Two rules of one name and one set of labels may give the same series.
fn overlapping(rule: &Rule, before: &[Rule]) -> Option<String> {
    let same = |other: &&Rule| {
        (&other.name, &other.labels, other.alert().is_some()) == (&rule.name, &rule.labels, rule.alert().is_some())
    };
    let first = before.iter().find(same)?;
    Some(format!("{:?} has the name and the labels of the rule in line {}", rule.name, first.at.line))
}
