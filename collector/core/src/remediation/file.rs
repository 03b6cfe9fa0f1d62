//! Files of remediations: YAML, every mistake with its place. What an action does stands in a file on the node.
//!
//! ```yaml
//! remediations:
//!   - name: nginx-restart
//!     when: { alert: NginxDown, for: 1m, labels: { role: web } }
//!     mode: observe            # observe (default) | auto
//!     target: self             # the node that the alert's label `instance` names
//!     steps:
//!       - { action: restart-service, params: { unit: nginx.service } }
//!     guards:
//!       cooldown: 10m          # per remediation and node, from the end of the last order
//!       attempts: { max: 3, per: 1h }
//!       max_concurrent: 1      # orders of this remediation that are under way at a time
//!       blocked_by: [silence]
//! ```

use std::collections::BTreeMap;

use serde::Serialize;
use watchfire_shared::document::{
    self, Mistake, Node, Position, Report, Table, Value, integer, list, span, text, text_map, word,
};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Span;

/// Remediations of all files. Each is held against each firing alert.
pub const MAX_REMEDIATIONS: usize = 1000;
/// The longest window in which attempts are counted; orders are kept for as long.
pub(super) const MAX_WINDOW: Span = Span::from_seconds(86_400);
/// The shortest: what is refused at once must not be ordered again at once.
const MIN_WINDOW: Span = Span::from_seconds(1);
const DEFAULT_COOLDOWN: Span = Span::from_seconds(600);
const DEFAULT_ATTEMPTS: Attempts = Attempts { max: 3, per: Span::from_seconds(3600) };
/// Orders that one remediation may have under way at a time.
const MAX_CONCURRENT: i64 = 100;

/// Whether orders are given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is shown what would be ordered, and nothing is.
    #[default]
    Observe,
    Auto,
}

/// What keeps a remediation from acting besides its figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Blocker {
    /// A silence that matches the alert.
    Silence,
}

/// How many orders may be given to a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Attempts {
    pub max: usize,
    pub per: Span,
}

/// What limits a remediation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Guards {
    /// The wait after an order to a node before the next one to it.
    pub cooldown: Span,
    pub attempts: Attempts,
    pub max_concurrent: usize,
    pub blocked_by: Vec<Blocker>,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            cooldown: DEFAULT_COOLDOWN,
            attempts: DEFAULT_ATTEMPTS,
            max_concurrent: 1,
            blocked_by: vec![Blocker::Silence],
        }
    }
}

/// One remediation: because of which alert a node is ordered to do what.
#[derive(Clone, PartialEq, Debug)]
pub struct Remediation {
    pub name: String,
    pub file: String,
    pub alert: String,
    /// Labels that the alert has to have.
    pub labels: BTreeMap<String, String>,
    /// How long the alert has to have been firing.
    pub hold: Span,
    pub mode: Mode,
    pub action: String,
    pub params: BTreeMap<String, String>,
    pub guards: Guards,
}

impl Remediation {
    /// Whether an alert with these labels is one that it is for.
    #[must_use]
    pub fn is_for(&self, alert: &Labels) -> bool {
        alert.get(watchfire_shared::labels::ALERT_NAME) == Some(&self.alert)
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
    let mode = table.optional(report, "mode", word(&[("observe", Mode::Observe), ("auto", Mode::Auto)]));
    table.optional(report, "target", word(&[("self", ())]));
    let step = table.required(report, "steps", steps);
    let guards = table.optional(report, "guards", guards);
    table.finish(report);
    let (name, (alert, hold, labels), (action, params)) = (name?, when?, step?);
    let file = report.file().to_owned();
    let (mode, guards) = (mode.unwrap_or_default(), guards.unwrap_or_default());
    Some((node.at, Remediation { name, file, alert, labels, hold, mode, action, params, guards }))
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

type When = (String, Span, BTreeMap<String, String>);

fn when(node: &Node, report: &mut Report) -> Option<When> {
    let mut table = Table::of(node, report)?;
    let alert = table.required(report, "alert", text);
    let hold = table.optional(report, "for", span).unwrap_or(Span::ZERO);
    let labels = table.optional(report, "labels", text_map).unwrap_or_default();
    table.finish(report);
    Some((alert?, hold, labels))
}

/// One step. More than one needs an engine that knows what to do when a later one fails; there is none yet.
fn steps(node: &Node, report: &mut Report) -> Option<(String, BTreeMap<String, String>)> {
    let Value::List(items) = &node.value else {
        report.add(node.at, format!("expected a list, found {}", node.describe()));
        return None;
    };
    let [item] = items.as_slice() else {
        let at = items.get(1).map_or(node.at, |item| item.at);
        report.add(at, format!("a remediation has one step, found {}", items.len()));
        return None;
    };
    let mut table = Table::of(item, report)?;
    let action = table.required(report, "action", text);
    let params = table.optional(report, "params", text_map).unwrap_or_default();
    table.finish(report);
    Some((action?, params))
}

fn guards(node: &Node, report: &mut Report) -> Option<Guards> {
    let default = Guards::default();
    let mut table = Table::of(node, report)?;
    let cooldown = table.optional(report, "cooldown", window);
    let attempts = table.optional(report, "attempts", attempts);
    let max_concurrent = table.optional(report, "max_concurrent", integer(1, MAX_CONCURRENT));
    let blocked_by = table.optional(report, "blocked_by", list(word(&[("silence", Blocker::Silence)])));
    table.finish(report);
    Some(Guards {
        cooldown: cooldown.unwrap_or(default.cooldown),
        attempts: attempts.unwrap_or(default.attempts),
        max_concurrent: max_concurrent.map_or(1, |max| usize::try_from(max).unwrap_or(1)),
        blocked_by: blocked_by.unwrap_or(default.blocked_by),
    })
}

fn attempts(node: &Node, report: &mut Report) -> Option<Attempts> {
    let mut table = Table::of(node, report)?;
    let max = table.required(report, "max", integer(1, 100));
    let per = table.required(report, "per", window);
    table.finish(report);
    Some(Attempts { max: usize::try_from(max?).unwrap_or(1), per: per? })
}

fn window(node: &Node, report: &mut Report) -> Option<Span> {
    let window = span(node, report)?;
    if (MIN_WINDOW..=MAX_WINDOW).contains(&window) {
        return Some(window);
    }
    report.add(node.at, format!("{window} is not between {MIN_WINDOW} and {MAX_WINDOW}"));
    None
}
