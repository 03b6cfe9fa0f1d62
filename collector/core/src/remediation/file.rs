//! Files of remediations: YAML, every mistake with its place. What an action does stands in a file on the node.
//!
//! ```yaml
//! remediations:
//!   - name: nginx-restart
//!     when: { alert: NginxDown, for: 1m, labels: { role: web }, from: any }  # from: any | rules | api
//!     mode: observe            # observe (default) | approve | auto
//!     scope: { role: web }     # whose health counts for max_unhealthy; the labels of `when` narrow it too
//!     target: self             # the node that the alert's label `instance` names, or labels of nodes: { role: lb }
//!     steps:                   # the next one if the alert still fires after `wait`, or the action fails
//!       - { action: restart-service, params: { unit: nginx.service }, wait: 2m }
//!       - { action: drain, on: { role: lb }, params: { node: "{instance}" }, wait: 1m }
//!       - { escalate: page-oncall }   # a receiver of alertmanager.yml
//!     guards:                  # these are the defaults
//!       cooldown: 10m          # per remediation and node, from the end of the last attempt
//!       attempts: { max: 3, per: 1h, reset_after_healthy: 1h }
//!       max_concurrent: 1      # attempts under way at a time, per remediation and failure domain
//!       max_unhealthy: "33%"   # of the registered members in scope, at least 1
//!       storm_cooldown: 2m
//!       domains: { label: zone, max_zones: 1 }        # or off
//!       corroborate: { observers: 3, min: 2 }         # or off
//!       quorum: majority       # or off
//!       settle: 30s            # how long the target's agent has to have been connected
//!       windows: []            # such as "Mon-Fri 08:00-20:00 Europe/Berlin"
//!       blocked_by: [maintenance, silence, other_remediation_same_node]
//!       approve_within: 1h
//! ```

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use watchfire_shared::document::{
    self, Mistake, Node, Position, Report, Table, Value, list, span, text, text_map, word,
};
use watchfire_shared::labels::{ALERT_NAME, Labels};
use watchfire_shared::time::Span;

use super::guards::{self, Guards};

/// Remediations of all files. Each is held against each firing alert.
pub const MAX_REMEDIATIONS: usize = 1000;
/// Steps of one remediation. Whoever needs more wants a program.
const MAX_STEPS: usize = 10;

/// Whether orders are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is shown what would be ordered, and nothing is.
    #[default]
    Observe,
    /// A person has to approve each attempt.
    Approve,
    Auto,
}

impl Mode {
    /// Every mode with its word.
    pub const ALL: [(&'static str, Self); 3] =
        [("observe", Self::Observe), ("approve", Self::Approve), ("auto", Self::Auto)];
}

/// Where an alert has to come from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertSource {
    #[default]
    Any,
    /// Rules of this collector.
    Rules,
    /// Posted to `/api/v2/alerts`, as a Prometheus does.
    Api,
}

/// Which nodes a step is ordered on.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// The node that the alert names.
    #[serde(rename = "self")]
    Own,
    /// Every node with these labels, one after the other. There is at least one label.
    Selector(BTreeMap<String, String>),
}

/// One step.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    Act {
        action: String,
        /// A value that is a label's name in braces is replaced by what the alert has there.
        params: BTreeMap<String, String>,
        on: Target,
        /// How long the alert may go on after the action. Without it, what the action itself verifies is enough.
        wait: Span,
    },
    /// A receiver is told that it could not be repaired.
    Escalate { receiver: String },
}

/// One remediation: because of which alert nodes are ordered to do what.
#[derive(Clone, PartialEq, Debug)]
pub struct Remediation {
    pub name: String,
    pub file: String,
    pub alert: String,
    /// Labels that the alert has to have.
    pub labels: BTreeMap<String, String>,
    pub from: AlertSource,
    /// How long the alert has to have been firing.
    pub hold: Span,
    pub mode: Mode,
    /// Labels of the nodes whose health counts.
    pub scope: BTreeMap<String, String>,
    /// The first one is an action.
    pub steps: Vec<Step>,
    /// Where receivers are named, for whoever knows which there are.
    pub receivers: Vec<(Position, String)>,
    pub guards: Guards,
}

impl Remediation {
    /// Whether an alert with these labels, of the rules or not, is one that it is for.
    #[must_use]
    pub fn is_for(&self, alert: &Labels, of_rules: bool) -> bool {
        let from = match self.from {
            AlertSource::Any => true,
            AlertSource::Rules => of_rules,
            AlertSource::Api => !of_rules,
        };
        from && alert.get(ALERT_NAME) == Some(&self.alert)
            && self.labels.iter().all(|(name, value)| alert.value(name) == value)
    }
}

/// Reads all files, given as name and content.
///
/// # Errors
/// Every mistake of every file; a name that is used twice is one.
pub fn parse(files: &[(String, String)]) -> Result<Vec<Remediation>, Vec<Mistake>> {
    let (mut all, mut mistakes) = (Vec::new(), Vec::new());
    for (file, content) in files {
        let mut report = Report::new(file);
        let root = document::yaml::parse(content, &mut report);
        let found = root.and_then(|root| read_root(&root, &mut report)).unwrap_or_default();
        for (at, remediation) in found {
            if all.iter().any(|other: &Remediation| other.name == remediation.name) {
                report.add(at, format!("there is another remediation called {:?}", remediation.name));
            }
            all.push(remediation);
        }
        if all.len() > MAX_REMEDIATIONS {
            report.add_whole(format!("more than {MAX_REMEDIATIONS} remediations"));
        }
        mistakes.extend(report.into_mistakes());
    }
    if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
}

/// The receivers that remediations name and nobody knows, each a mistake.
#[must_use]
pub fn unknown_receivers(remediations: &[Remediation], known: &BTreeSet<&str>) -> Vec<Mistake> {
    let named = remediations.iter().flat_map(|own| own.receivers.iter().map(|(at, name)| (&own.file, *at, name)));
    let missing = named.filter(|(_, _, name)| !known.contains(name.as_str()));
    let mistake = |(file, at, name): (&String, Position, &String)| {
        let hint = document::nearest(name, known.iter().copied());
        let hint = hint.map(|hint| format!(", did you mean {hint:?}?")).unwrap_or_default();
        Mistake { file: file.clone(), at: Some(at), message: format!("there is no receiver {name:?}{hint}") }
    };
    missing.map(mistake).collect()
}

/// The receivers that remediations tell when they cannot help.
#[must_use]
pub fn receivers(remediations: &[Remediation]) -> BTreeSet<String> {
    remediations.iter().flat_map(|own| own.receivers.iter().map(|(_, name)| name.clone())).collect()
}

fn read_root(root: &Node, report: &mut Report) -> Option<Vec<(Position, Remediation)>> {
    let mut table = Table::of(root, report)?;
    let found = table.required(report, "remediations", list(remediation));
    table.finish(report);
    found
}

fn remediation(node: &Node, report: &mut Report) -> Option<(Position, Remediation)> {
    let mut table = Table::of(node, report)?;
    let name = table.required(report, "name", name);
    let when = table.required(report, "when", when);
    let mode = table.optional(report, "mode", word(&Mode::ALL)).unwrap_or_default();
    let scope = table.optional(report, "scope", text_map).unwrap_or_default();
    let target = table.optional(report, "target", target).unwrap_or(Target::Own);
    let mut receivers = Vec::new();
    let steps = table.required(report, "steps", |node, report| steps(node, &target, &mut receivers, report));
    let guards = table.optional(report, "guards", guards::read).unwrap_or_default();
    table.finish(report);
    let (When { alert, hold, labels, from }, file) = (when?, report.file().to_owned());
    let (name, steps) = (name?, steps?);
    Some((node.at, Remediation { name, file, alert, labels, from, hold, mode, scope, steps, receivers, guards }))
}

fn name(node: &Node, report: &mut Report) -> Option<String> {
    let name = text(node, report)?;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if (1..=64).contains(&name.len()) && name.bytes().all(allowed) {
        return Some(name);
    }
    report.add(node.at, format!("{name:?} is no name: it has letters, digits, `-`, `_` and `.`, 1 to 64 of them"));
    None
}

struct When {
    alert: String,
    hold: Span,
    labels: BTreeMap<String, String>,
    from: AlertSource,
}

fn when(node: &Node, report: &mut Report) -> Option<When> {
    let mut table = Table::of(node, report)?;
    let alert = table.required(report, "alert", text);
    let hold = table.optional(report, "for", span).unwrap_or(Span::ZERO);
    let labels = table.optional(report, "labels", text_map).unwrap_or_default();
    let words = word(&[("any", AlertSource::Any), ("rules", AlertSource::Rules), ("api", AlertSource::Api)]);
    let from = table.optional(report, "from", words).unwrap_or_default();
    table.finish(report);
    Some(When { alert: alert?, hold, labels, from })
}

/// `self`, or labels of nodes.
fn target(node: &Node, report: &mut Report) -> Option<Target> {
    if !matches!(node.value, Value::Table(_)) {
        return word(&[("self", ())])(node, report).map(|()| Target::Own);
    }
    let labels = text_map(node, report)?;
    if labels.is_empty() || labels.values().any(String::is_empty) {
        report.add(node.at, "a selector names labels with their values; an empty one would be every node");
        return None;
    }
    Some(Target::Selector(labels))
}

fn steps(
    node: &Node,
    default: &Target,
    receivers: &mut Vec<(Position, String)>,
    report: &mut Report,
) -> Option<Vec<Step>> {
    let Value::List(items) = &node.value else {
        report.add(node.at, format!("expected a list, found {}", node.describe()));
        return None;
    };
    if items.is_empty() || items.len() > MAX_STEPS {
        report.add(node.at, format!("a remediation has 1 to {MAX_STEPS} steps, found {}", items.len()));
    }
    let mut steps = Vec::new();
    for (place, item) in items.iter().enumerate() {
        let step = step(item, default, report)?;
        if let Step::Escalate { receiver } = &step {
            receivers.push((item.at, receiver.clone()));
            if place == 0 {
                report.add(item.at, "the first step is an action; to notify only is what routes are for");
            } else if place + 1 < items.len() {
                report.add(item.at, "an escalation is the last step");
            }
        }
        steps.push(step);
    }
    Some(steps)
}

fn step(node: &Node, default: &Target, report: &mut Report) -> Option<Step> {
    let mut table = Table::of(node, report)?;
    if table.entry("escalate").is_some() {
        let receiver = table.required(report, "escalate", text);
        table.finish(report);
        return Some(Step::Escalate { receiver: receiver? });
    }
    let action = table.required(report, "action", text);
    let params = table.optional(report, "params", text_map).unwrap_or_default();
    let on = table.optional(report, "on", target);
    let wait = table.optional(report, "wait", guards::wait).unwrap_or(Span::ZERO);
    table.optional(report, "escalate", text);
    table.finish(report);
    Some(Step::Act { action: action?, params, on: on.unwrap_or_else(|| default.clone()), wait })
}
