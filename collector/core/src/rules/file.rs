//! Prometheus' rule files (`prometheus.io/docs/prometheus/latest/configuration/recording_rules`), all of the format.
//!
//! Keys are strict and every mistake of a file is reported at once, each at its place; a mistake in an expression or in a
//! template is placed inside the text. A file with a mistake yields no group at all: half a group would change what the
//! other half means. As in Prometheus, a file is its first YAML document, and two rules of a group may be equal: each has
//! its own state.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_promql::{Expr, Syntax};
use watchfire_shared::document::{self, Node, Position, Report, Table, Value, yaml};
use watchfire_shared::document::{Mistake, list, span, text};
use watchfire_shared::labels::{Fingerprint, Labels, METRIC_NAME};
use watchfire_shared::time::Span;

use super::expand::Templates;
use super::{expand, place};

/// A group of rules, evaluated in order at the same point in time.
#[derive(Debug, Clone)]
pub struct Group {
    /// The file's name as it was given to [`parse`].
    pub file: String,
    /// Unique in its file.
    pub name: String,
    /// How often it is evaluated; the configured default if absent.
    pub interval: Option<Span>,
    /// How far back its queries and samples lie, for data that arrives late.
    pub query_offset: Option<Span>,
    /// How many alerts or series one rule may give; 0 is no limit.
    pub limit: usize,
    pub rules: Vec<Rule>,
}

/// A recording or alerting rule.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The series that is recorded, or the alert's name.
    pub name: String,
    pub kind: RuleKind,
    pub expr: Expr,
    /// The group's labels and the rule's own over them. An empty value removes a label. Templates, if it is an alert.
    pub labels: BTreeMap<String, String>,
    /// Where the rule stands in its file.
    pub at: Position,
    /// Where its expression starts.
    pub expr_at: Position,
    /// The labels and annotations of an alerting rule, ready to be expanded.
    pub(super) templates: Templates,
    /// Identifies the rule's state over reloads and restarts, see [`Group::identify`].
    pub(super) id: Fingerprint,
}

/// What a rule's result becomes.
#[derive(Debug, Clone)]
pub enum RuleKind {
    Record,
    Alert(AlertRule),
}

/// What an alerting rule has beyond its expression.
#[derive(Debug, Clone, Default)]
pub struct AlertRule {
    /// How long a label set must be in the result before it fires (`for`).
    pub hold: Span,
    /// How long it goes on firing after it left the result.
    pub keep_firing_for: Span,
    /// Templates by name.
    pub annotations: BTreeMap<String, String>,
}

impl Group {
    /// Gives each rule its identity: file, group, name and labels, and a number among those that are equal in all of it.
    ///
    /// As in Prometheus (`rules.Group.CopyState`) the expression is no part of it: a threshold that was edited does not
    /// resolve what is firing.
    fn identify(&mut self) {
        let mut seen = BTreeMap::new();
        for rule in &mut self.rules {
            let mut words = vec![self.file.as_str(), &self.name, &rule.name, rule.kind.word()];
            rule.labels.iter().for_each(|(name, value)| words.extend([name.as_str(), value]));
            let pairs: Vec<(String, String)> =
                words.iter().enumerate().map(|(at, word)| (format!("{at:04}"), format!("={word}"))).collect();
            let number = seen.entry(pairs.clone()).and_modify(|count| *count += 1).or_insert(0);
            rule.id = Labels::new(pairs).with("number", &number.to_string()).fingerprint();
        }
    }
}

impl Rule {
    /// The alerting part, if it is an alerting rule.
    #[must_use]
    pub const fn alert(&self) -> Option<&AlertRule> {
        match &self.kind {
            RuleKind::Alert(alert) => Some(alert),
            RuleKind::Record => None,
        }
    }
}

impl RuleKind {
    const fn word(&self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Alert(_) => "alert",
        }
    }
}

/// Reads a rule file. `file` is the name that messages, views and identities carry.
///
/// # Errors
/// Every mistake of the file, in the order of their places.
pub fn parse(file: &str, content: &str) -> Result<Vec<Group>, Vec<Mistake>> {
    parse_with(file, content, Syntax::default())
}

/// As [`parse`], with the choice of what expressions may use.
///
/// # Errors
/// As [`parse`].
pub fn parse_with(file: &str, content: &str, syntax: Syntax) -> Result<Vec<Group>, Vec<Mistake>> {
    let mut report = Report::new(file);
    let groups = yaml::parse_first(content, &mut report).and_then(|root| {
        let reader = Reader { file, content, syntax };
        reader.file(&root, &mut report)
    });
    report.finish(groups)
}

struct Reader<'a> {
    file: &'a str,
    content: &'a str,
    syntax: Syntax,
}

impl Reader<'_> {
    fn file(&self, root: &Node, report: &mut Report) -> Option<Vec<Group>> {
        let mut table = Table::of(root, report)?;
        let groups = table.optional(report, "groups", list(|node, report| self.group(node, report)));
        table.finish(report);
        let groups = groups.unwrap_or_default();
        let mut names = BTreeSet::new();
        for (name, at) in names_of(root) {
            if !names.insert(name) {
                report.add(at, format!("the group name {name:?} stands in this file twice"));
            }
        }
        Some(groups)
    }

    fn group(&self, node: &Node, report: &mut Report) -> Option<Group> {
        let mut table = Table::of(node, report)?;
        let name = table.required(report, "name", name_text);
        let interval = table.optional(report, "interval", span);
        let query_offset = table.optional(report, "query_offset", span);
        let limit = table.optional(report, "limit", document::integer(0, i64::from(u32::MAX)));
        let labels = table.optional(report, "labels", labels).unwrap_or_default();
        let rules = table.optional(report, "rules", list(|node, report| self.rule(node, &labels, report)));
        table.finish(report);
        let rules = rules.unwrap_or_default();
        let mut group = Group {
            file: self.file.to_owned(),
            name: name?,
            // Prometheus takes an interval of zero for an absent one.
            interval: interval.filter(|interval| interval.is_positive()),
            query_offset,
            limit: usize::try_from(limit.unwrap_or(0)).unwrap_or(0),
            rules,
        };
        group.identify();
        Some(group)
    }

    fn rule(&self, node: &Node, group: &BTreeMap<String, String>, report: &mut Report) -> Option<Rule> {
        let mut table = Table::of(node, report)?;
        let record = table.node("record");
        let alert = table.node("alert");
        let is_alert = alert.is_some() && record.is_none();
        let expr = table.required(report, "expr", |node, report| expression(self.content, self.syntax, node, report));
        let hold = table.optional(report, "for", span);
        let keep_firing_for = table.optional(report, "keep_firing_for", span);
        let templates = [table.node("labels").filter(|_| is_alert), table.node("annotations")];
        templates.into_iter().flatten().for_each(|node| self.templates(node, report));
        let own = table.optional(report, "labels", labels);
        let annotations = table.optional(report, "annotations", annotations);
        let only_alerts = ["for", "keep_firing_for", "annotations"].map(|key| table.entry(key));
        table.finish(report);
        let name = rule_name(node, record, alert, report);
        if record.is_some() {
            for (key, _) in only_alerts.into_iter().flatten().filter(|(_, value)| !value.is_null()) {
                report.add(key.at, format!("a recording rule has no `{}`", key.name));
            }
        }
        let kind = match is_alert {
            true => RuleKind::Alert(AlertRule {
                hold: hold.unwrap_or_default(),
                keep_firing_for: keep_firing_for.unwrap_or_default(),
                annotations: annotations.unwrap_or_default(),
            }),
            false => RuleKind::Record,
        };
        let mut merged = group.clone();
        merged.extend(own.unwrap_or_default());
        let ((_, expr, expr_at), name) = (expr?, name?);
        let templates = match &kind {
            RuleKind::Alert(alert) => Templates::new(&name, &merged, &alert.annotations),
            RuleKind::Record => Templates::new(&name, &BTreeMap::new(), &BTreeMap::new()),
        };
        Some(Rule { name, kind, expr, labels: merged, at: node.at, expr_at, templates, id: Fingerprint(0) })
    }

    fn templates(&self, node: &Node, report: &mut Report) {
        for (node, text) in values(node) {
            if let Err((at, message)) = expand::check(text) {
                let offset = place::offset_of(text, at.line, at.column);
                report.add(place::locate(self.content, node.at, text, offset), message);
            }
        }
    }
}

/// Reads a PromQL expression of a file: its text, the expression, and where it begins. A mistake is placed inside the text.
pub(crate) fn expression(
    content: &str,
    syntax: Syntax,
    node: &Node,
    report: &mut Report,
) -> Option<(String, Expr, Position)> {
    let text = text(node, report)?;
    match watchfire_promql::parse_with(&text, syntax) {
        Ok(expr) => {
            let at = place::locate(content, node.at, &text, expr.place.start);
            Some((text, expr, at))
        }
        Err(error) => {
            let offset = place::offset_of(&text, error.line, error.column);
            report.add(place::locate(content, node.at, &text, offset), error.message);
            None
        }
    }
}

/// The names of the groups and where they stand, the broken ones included.
fn names_of(root: &Node) -> Vec<(&str, Position)> {
    let groups = child(root, "groups").map(|node| match &node.value {
        Value::List(groups) => groups.as_slice(),
        _ => &[],
    });
    let name = |group| {
        let node = child(group, "name")?;
        match &node.value {
            Value::Scalar(scalar) => Some((scalar.text.as_str(), node.at)),
            _ => None,
        }
    };
    groups.unwrap_or_default().iter().filter_map(name).collect()
}

fn child<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    match &node.value {
        Value::Table(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
        _ => None,
    }
}

fn name_text(node: &Node, report: &mut Report) -> Option<String> {
    let name = text(node, report)?;
    if name.is_empty() {
        report.add(node.at, "the name is empty");
        return None;
    }
    Some(name)
}

fn rule_name(rule: &Node, record: Option<&Node>, alert: Option<&Node>, report: &mut Report) -> Option<String> {
    match (record, alert) {
        (None, None) => {
            report.add(rule.at, "a rule needs `record` or `alert`");
            None
        }
        (Some(record), Some(alert)) => {
            report.add(record.at.max(alert.at), "a rule has either `record` or `alert`, not both");
            None
        }
        (None, Some(alert)) => name_text(alert, report),
        (Some(record), None) => {
            let name = name_text(record, report)?;
            if name.contains(['{', '}']) {
                report.add(record.at, format!("braces in the recorded name {name:?}; labels belong into `labels`"));
                return None;
            }
            Some(name)
        }
    }
}

/// The values in labels and annotations, which are templates in alerting rules.
fn values(node: &Node) -> impl Iterator<Item = (&Node, &str)> {
    let entries = match &node.value {
        Value::Table(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().filter_map(|(_, value)| match &value.value {
        Value::Scalar(scalar) => Some((value, scalar.text.as_str())),
        _ => None,
    })
}

fn labels(node: &Node, report: &mut Report) -> Option<BTreeMap<String, String>> {
    for (key, _) in Table::of(node, report)?.entries() {
        if key.name.is_empty() || key.name == METRIC_NAME {
            report.add(key.at, format!("a rule cannot set the label `{}`", key.name));
        }
    }
    document::text_map(node, report)
}

fn annotations(node: &Node, report: &mut Report) -> Option<BTreeMap<String, String>> {
    for (key, _) in Table::of(node, report)?.entries() {
        if key.name.is_empty() {
            report.add(key.at, "an annotation needs a name");
        }
    }
    document::text_map(node, report)
}
