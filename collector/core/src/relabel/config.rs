//! One rule as it stands in a file, with Prometheus' defaults and its demands.

use watchfire_shared::document::{self, Node, Report, Table, Value, word};
use watchfire_shared::matcher::anchored;

use super::{Action, Rule};

const ACTIONS: &[(&str, Action)] = &[
    ("replace", Action::Replace),
    ("keep", Action::Keep),
    ("drop", Action::Drop),
    ("keepequal", Action::KeepEqual),
    ("dropequal", Action::DropEqual),
    ("hashmod", Action::HashMod),
    ("labelmap", Action::LabelMap),
    ("labeldrop", Action::LabelDrop),
    ("labelkeep", Action::LabelKeep),
    ("lowercase", Action::Lowercase),
    ("uppercase", Action::Uppercase),
];

const SEPARATOR: &str = ";";
const REGEX: &str = "(.*)";
const REPLACEMENT: &str = "$1";

/// Reads one rule; mistakes go into the report.
#[must_use]
pub fn read(node: &Node, report: &mut Report) -> Option<Rule> {
    let mut table = Table::of(node, report)?;
    let action = match table.node("action") {
        Some(node) => action(node, report),
        None => Some(Action::Replace),
    };
    let sources = table.optional(report, "source_labels", document::list(label_name));
    let separator = table.optional(report, "separator", document::text).unwrap_or_else(|| SEPARATOR.to_owned());
    let pattern = table.optional(report, "regex", pattern).unwrap_or_else(|| REGEX.to_owned());
    let modulus = table.optional(report, "modulus", document::integer(0, i64::MAX)).unwrap_or_default();
    let target = table.optional(report, "target_label", document::text).unwrap_or_default();
    let replacement = table.optional(report, "replacement", document::text).unwrap_or_else(|| REPLACEMENT.to_owned());
    if let Some(action) = action {
        demand(action, &table, report);
    }
    table.finish(report);
    Some(Rule {
        action: action?,
        sources: sources.unwrap_or_default(),
        separator,
        regex: anchored(&pattern).ok()?,
        target,
        replacement,
        modulus: modulus.unsigned_abs(),
    })
}

/// Upper case is lower case, as Prometheus reads it.
fn action(node: &Node, report: &mut Report) -> Option<Action> {
    let text = document::text(node, report)?.to_lowercase();
    match ACTIONS.iter().find(|(name, _)| *name == text) {
        Some((_, action)) => Some(*action),
        None => word(ACTIONS)(node, report),
    }
}

fn label_name(node: &Node, report: &mut Report) -> Option<String> {
    let name = document::text(node, report)?;
    if name.is_empty() {
        report.add(node.at, "a label's name is not empty");
    }
    Some(name)
}

fn pattern(node: &Node, report: &mut Report) -> Option<String> {
    let text = document::text(node, report)?;
    if let Err(error) = anchored(&text) {
        report.add(node.at, error.to_string());
    }
    Some(text)
}

/// What an action needs, and what it does not look at and therefore must not be said.
fn demand(action: Action, table: &Table<'_>, report: &mut Report) {
    let name = ACTIONS.iter().find(|(_, own)| *own == action).map_or("", |(name, _)| name);
    let text = |key: &str| match table.entry(key).map(|(_, node)| &node.value) {
        Some(Value::Scalar(scalar)) => Some(scalar.text.as_str()),
        _ => None,
    };
    let is_absent = |key: &str, default: &str| table.entry(key).is_none() || text(key) == Some(default);
    let (needs_target, unread): (bool, &[(&str, &str)]) = match action {
        Action::Replace | Action::HashMod => (true, &[]),
        Action::Lowercase | Action::Uppercase => (true, &[("replacement", REPLACEMENT)]),
        Action::KeepEqual | Action::DropEqual => {
            (true, &[("regex", REGEX), ("modulus", "0"), ("separator", SEPARATOR), ("replacement", REPLACEMENT)])
        }
        Action::LabelDrop | Action::LabelKeep => (
            false,
            &[
                ("source_labels", ""),
                ("target_label", ""),
                ("modulus", "0"),
                ("separator", SEPARATOR),
                ("replacement", REPLACEMENT),
            ],
        ),
        Action::LabelMap | Action::Keep | Action::Drop => (false, &[]),
    };
    if needs_target && is_absent("target_label", "") {
        report.add(table.at(), format!("the action {name} needs a `target_label`"));
    }
    if action == Action::HashMod && text("modulus").and_then(|text| text.parse::<i64>().ok()).is_none_or(|own| own == 0)
    {
        report.add(table.at(), "the action hashmod needs a `modulus` that is not 0");
    }
    if action == Action::LabelMap && text("replacement") == Some("") {
        report.add(table.at(), "the action labelmap needs a `replacement` that is not empty");
    }
    for (key, default) in unread {
        if !is_absent(key, default)
            && let Some((key, _)) = table.entry(key)
        {
            report.add(key.at, format!("the action {name} takes no `{}`", key.name));
        }
    }
}
