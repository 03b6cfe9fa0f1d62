//! The tree of routes: which receiver hears of an alert, how its alerts are grouped and when it hears of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchfire_shared::document::{self, Mistake, Node, Report, Table, Value};
use watchfire_shared::labels::{ALERT_NAME, Labels};
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Span;

use super::interval::TimeInterval;
use super::receiver::{Receiver, Template, field};
use super::{items, matchers};
use crate::remediation::{ESCALATE_TO, ESCALATION};

/// Nesting of routes. The document's own bound is the same; this one guards the walk.
const MAX_ROUTE_DEPTH: usize = 64;

/// One route with everything that it inherits filled in.
#[derive(Debug, Clone)]
pub struct Route {
    /// The matchers on the way from the root, joined by `/`: the first half of Alertmanager's group key.
    pub key: String,
    /// The key, made unique among routes with equal matchers; stays the same when other routes come and go.
    pub id: Arc<str>,
    pub receiver: String,
    pub matchers: Vec<Matcher>,
    pub group_by: GroupBy,
    pub group_wait: Span,
    pub group_interval: Span,
    pub repeat_interval: Span,
    pub mute_time_intervals: Vec<String>,
    pub active_time_intervals: Vec<String>,
    /// Whether routes behind this one are tried although it matched.
    pub continues: bool,
    /// Its own and those of the routes above that it does not set itself; templates, filled in for each notification.
    pub labels: BTreeMap<String, Template>,
    children: Vec<usize>,
}

/// Which labels alerts of one group have in common.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupBy {
    /// `...`: all labels, so each alert is a group of its own.
    All,
    Labels(BTreeSet<String>),
}

/// All routes; the root is the first.
#[derive(Debug, Clone)]
pub struct RouteTree {
    routes: Vec<Route>,
}

impl RouteTree {
    /// Every route, the root first, parents before their children.
    #[must_use]
    pub fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The routes that an alert with these labels takes, in the order of the file; there is always at least one.
    #[must_use]
    pub fn matching(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        for child in &self.routes[0].children {
            if self.descend(*child, labels, &mut found) && !self.routes[*child].continues {
                break;
            }
        }
        if found.is_empty() {
            found.push(0);
        }
        found
    }

    /// Adds a route for the escalations to a receiver, which hears of each at once and for itself.
    pub(super) fn add_escalation(&mut self, receiver: String) {
        let matchers = vec![Matcher::equal(ALERT_NAME, ESCALATION), Matcher::equal(ESCALATE_TO, receiver.clone())];
        let mut route =
            Route { receiver, group_by: GroupBy::All, group_wait: Span::ZERO, ..inherited(self.routes.first()) };
        name_route(&mut route, &matchers, Some(0), self);
        route.matchers = matchers;
        let index = self.routes.len();
        self.routes.push(route);
        self.routes[0].children.insert(0, index);
    }

    fn descend(&self, at: usize, labels: &Labels, found: &mut Vec<usize>) -> bool {
        let route = &self.routes[at];
        if !route.matchers.iter().all(|matcher| matcher.matches_labels(labels)) {
            return false;
        }
        let before = found.len();
        for child in &route.children {
            if self.descend(*child, labels, found) && !self.routes[*child].continues {
                break;
            }
        }
        if found.len() == before {
            found.push(at);
        }
        true
    }
}

impl Route {
    /// The labels that name the group of an alert on this route.
    #[must_use]
    pub fn group_labels(&self, labels: &Labels) -> Labels {
        match &self.group_by {
            GroupBy::All => labels.clone(),
            GroupBy::Labels(names) => labels.iter().filter(|(name, _)| names.contains(*name)).collect(),
        }
    }
}

/// What routes refer to by name.
pub(super) struct Names<'a> {
    pub(super) receivers: &'a BTreeMap<String, Option<Arc<Receiver>>>,
    pub(super) time_intervals: &'a BTreeMap<String, Vec<TimeInterval>>,
}

pub(super) fn read(
    node: &Node,
    names: &Names<'_>,
    warnings: &mut Vec<Mistake>,
    report: &mut Report,
) -> Option<RouteTree> {
    let mut tree = RouteTree { routes: Vec::new() };
    read_route(node, None, &mut tree, names, warnings, report, 0)?;
    Some(tree)
}

/// Reads a route and those below it; returns its index.
fn read_route(
    node: &Node,
    parent: Option<usize>,
    tree: &mut RouteTree,
    names: &Names<'_>,
    warnings: &mut Vec<Mistake>,
    report: &mut Report,
    depth: usize,
) -> Option<usize> {
    if depth > MAX_ROUTE_DEPTH {
        report.add(node.at, format!("routes are nested deeper than {MAX_ROUTE_DEPTH} levels"));
        return None;
    }
    let mut table = Table::of(node, report)?;
    let matchers = matchers::read(&mut table, ["match", "match_re", "matchers"], warnings, report);
    let mut route = inherited(parent.map(|parent| &tree.routes[parent]));
    if parent.is_none() {
        refuse_on_root(&table, report);
    }
    read_receiver(&mut table, &mut route, parent.is_none(), names, report);
    if let Some(group_by) = table.optional(report, "group_by", group_by) {
        route.group_by = group_by;
    }
    if let Some(span) = table.optional(report, "group_wait", document::span) {
        route.group_wait = span;
    }
    for (key, target) in
        [("group_interval", &mut route.group_interval), ("repeat_interval", &mut route.repeat_interval)]
    {
        if let Some(span) = table.optional(report, key, positive_span) {
            *target = span;
        }
    }
    route.mute_time_intervals = intervals(&mut table, "mute_time_intervals", names, report);
    route.active_time_intervals = intervals(&mut table, "active_time_intervals", names, report);
    route.continues = table.optional(report, "continue", document::boolean).unwrap_or(false);
    route.labels.extend(table.optional(report, "labels", field::templates).unwrap_or_default());
    let children = table.optional(report, "routes", |node, report| items(node, report));
    table.finish(report);
    name_route(&mut route, &matchers, parent, tree);
    route.matchers = matchers;
    let index = tree.routes.len();
    tree.routes.push(route);
    for child in children.unwrap_or_default() {
        let child = read_route(child, Some(index), tree, names, warnings, report, depth + 1);
        tree.routes[index].children.extend(child);
    }
    Some(index)
}

/// What a route has before its own keys are read: its parent's grouping and timing, or the defaults.
fn inherited(parent: Option<&Route>) -> Route {
    let fresh = Route {
        key: String::new(),
        id: Arc::from(""),
        receiver: String::new(),
        matchers: Vec::new(),
        group_by: GroupBy::Labels(BTreeSet::new()),
        group_wait: Span::from_seconds(30),
        group_interval: Span::from_seconds(5 * 60),
        repeat_interval: Span::from_seconds(4 * 3600),
        mute_time_intervals: Vec::new(),
        active_time_intervals: Vec::new(),
        continues: false,
        labels: BTreeMap::new(),
        children: Vec::new(),
    };
    match parent {
        None => fresh,
        Some(parent) => Route {
            receiver: parent.receiver.clone(),
            group_by: parent.group_by.clone(),
            group_wait: parent.group_wait,
            group_interval: parent.group_interval,
            repeat_interval: parent.repeat_interval,
            labels: parent.labels.clone(),
            ..fresh
        },
    }
}

fn name_route(route: &mut Route, matchers: &[Matcher], parent: Option<usize>, tree: &RouteTree) {
    let written: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    let own = format!("{{{}}}", written.join(","));
    let (key, id) = match parent.map(|parent| &tree.routes[parent]) {
        Some(parent) => (format!("{}/{own}", parent.key), format!("{}/{own}", parent.id)),
        None => (own.clone(), own),
    };
    let twins = tree.routes.iter().filter(|other| other.key == key).count();
    route.id = if twins > 0 { format!("{id}#{twins}").into() } else { id.into() };
    route.key = key;
}

fn refuse_on_root(table: &Table<'_>, report: &mut Report) {
    for key in ["match", "match_re", "matchers", "mute_time_intervals", "active_time_intervals", "continue"] {
        if let Some((name, node)) = table.entry(key)
            && says_something(&node.value)
        {
            report.add(name.at, format!("the root route takes every alert and must not have `{key}`"));
        }
    }
}

fn says_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::List(items) => !items.is_empty(),
        Value::Table(entries) => !entries.is_empty(),
        Value::Scalar(scalar) => !matches!(scalar.text.to_ascii_lowercase().as_str(), "false" | "no" | "off" | "n"),
    }
}

fn read_receiver(table: &mut Table<'_>, route: &mut Route, root: bool, names: &Names<'_>, report: &mut Report) {
    let receiver = match root {
        true => table.required(report, "receiver", document::text),
        false => table.optional(report, "receiver", document::text),
    };
    let Some(receiver) = receiver.filter(|receiver| root || !receiver.is_empty()) else { return };
    if !names.receivers.contains_key(&receiver) {
        let at = table.entry("receiver").map_or(table.at(), |(_, node)| node.at);
        report.add(at, undefined("receiver", &receiver, names.receivers.keys()));
    }
    route.receiver = receiver;
}

fn undefined<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a String>) -> String {
    let hint = document::nearest(name, known.map(String::as_str));
    let hint = hint.map(|hint| format!(", did you mean {hint:?}?")).unwrap_or_default();
    format!("there is no {what} {name:?}{hint}")
}

fn intervals(table: &mut Table<'_>, key: &'static str, names: &Names<'_>, report: &mut Report) -> Vec<String> {
    let read = |node: &Node, report: &mut Report| {
        let name = document::text(node, report)?;
        if !names.time_intervals.contains_key(&name) {
            report.add(node.at, undefined("time interval", &name, names.time_intervals.keys()));
        }
        Some(name)
    };
    table.optional(report, key, document::list(read)).unwrap_or_default()
}

fn group_by(node: &Node, report: &mut Report) -> Option<GroupBy> {
    let mut names = BTreeSet::new();
    let mut all = false;
    for item in items(node, report)? {
        let Some(name) = document::text(item, report) else { continue };
        if name.is_empty() {
            report.add(item.at, "the label name is empty");
        } else if name == "..." {
            all = true;
        } else if !names.insert(name.clone()) {
            report.add(item.at, format!("the label {name:?} stands here twice"));
        }
    }
    if all && !names.is_empty() {
        report.add(node.at, "`...` stands for all labels and must stand alone");
    }
    Some(if all { GroupBy::All } else { GroupBy::Labels(names) })
}

fn positive_span(node: &Node, report: &mut Report) -> Option<Span> {
    let span = document::span(node, report)?;
    if span.is_zero() {
        report.add(node.at, "the interval must not be zero");
    }
    Some(span)
}

/// Labels of a receiver; templates in them are refused, for there is no alert that they could be filled in with.
pub(super) fn plain_labels(node: &Node, report: &mut Report) -> Option<BTreeMap<String, String>> {
    let labels = document::text_map(node, report)?;
    for (name, value) in &labels {
        if value.contains("{{") {
            report.add(node.at, format!("the label `{name}` holds a template, which is not supported here"));
        }
    }
    Some(labels)
}
