//! What limits a remediation. Everything is on by default; what is left out of a file has the value of [`Guards::default`].

use std::fmt;

use serde::{Serialize, Serializer};
use watchfire_shared::document::{Node, Report, Scalar, Table, Value, integer, list, span, text, word};
use watchfire_shared::time::Span;

use super::window::Window;

/// The longest window in which attempts are counted; orders are kept for as long.
pub(super) const MAX_WINDOW: Span = Span::from_seconds(86_400);
/// The shortest: what is refused at once must not be ordered again at once.
const MIN_WINDOW: Span = Span::from_seconds(1);
/// Orders that one remediation may have under way at a time in one domain.
const MAX_CONCURRENT: i64 = 100;
/// Members that are asked for their view of one node, at most.
const MAX_OBSERVERS: i64 = 9;
/// The longest wait that a file may ask for: after a storm, after a connection, for an approval.
const MAX_WAIT: Span = MAX_WINDOW;

/// What keeps a remediation from acting besides its figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Blocker {
    /// The node is in maintenance.
    Maintenance,
    /// A silence that matches the alert.
    Silence,
    /// An order of another remediation is under way on the node.
    OtherRemediationSameNode,
}

const BLOCKERS: &[(&str, Blocker)] = &[
    ("maintenance", Blocker::Maintenance),
    ("silence", Blocker::Silence),
    ("other_remediation_same_node", Blocker::OtherRemediationSameNode),
];

/// How often a remediation may try to repair a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Attempts {
    pub max: usize,
    pub per: Span,
    /// Once the alert has been quiet for this long, earlier attempts count no more.
    pub reset_after_healthy: Span,
}

/// A share of the members in scope, in hundredths of a percent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Share(u32);

impl Share {
    /// How many of `total` it is, at least one.
    #[must_use]
    pub fn of(self, total: usize) -> usize {
        (total * self.0 as usize / 10_000).max(1)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 100 {
            0 => write!(f, "{}%", self.0 / 100),
            rest => write!(f, "{}.{rest:02}%", self.0 / 100),
        }
    }
}

impl Serialize for Share {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How many failure domains may be worked on at a time.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Domains {
    /// The node label that names a node's domain. Nodes without it are one domain.
    pub label: String,
    pub max_zones: usize,
}

/// Who has to agree that a node is gone from which the collector hears nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Corroborate {
    /// How many other members are asked.
    pub observers: usize,
    /// How many of them have to see it down too.
    pub min: usize,
}

/// Of how many of the registered members the collector has to know that they live.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quorum {
    /// More than half.
    Majority,
    /// It does not matter.
    Off,
}

/// What limits a remediation.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Guards {
    /// The wait after an attempt on a node before the next one.
    pub cooldown: Span,
    pub attempts: Attempts,
    /// Attempts under way at a time, per remediation and failure domain.
    pub max_concurrent: usize,
    /// Above this share of unhealthy members in scope nothing begins.
    pub max_unhealthy: Share,
    /// How long nothing begins after that share was exceeded.
    pub storm_cooldown: Span,
    /// `None` if domains do not matter.
    pub domains: Option<Domains>,
    /// `None` if nobody has to agree.
    pub corroborate: Option<Corroborate>,
    pub quorum: Quorum,
    /// How long an agent has to have been connected: what was found out without it may be over.
    pub settle: Span,
    /// Empty: at any time.
    pub windows: Vec<Window>,
    pub blocked_by: Vec<Blocker>,
    /// How long a person may take to approve.
    pub approve_within: Span,
}

impl Default for Guards {
    fn default() -> Self {
        Self {
            cooldown: Span::from_seconds(600),
            attempts: Attempts { max: 3, per: Span::from_seconds(3600), reset_after_healthy: Span::from_seconds(3600) },
            max_concurrent: 1,
            max_unhealthy: Share(3300),
            storm_cooldown: Span::from_seconds(120),
            domains: Some(Domains { label: "zone".to_owned(), max_zones: 1 }),
            corroborate: Some(Corroborate { observers: 3, min: 2 }),
            quorum: Quorum::Majority,
            settle: Span::from_seconds(30),
            windows: Vec::new(),
            blocked_by: BLOCKERS.iter().map(|(_, blocker)| *blocker).collect(),
            approve_within: Span::from_seconds(3600),
        }
    }
}

/// Reads `guards`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<Guards> {
    let default = Guards::default();
    let mut table = Table::of(node, report)?;
    let guards = Guards {
        cooldown: table.optional(report, "cooldown", window).unwrap_or(default.cooldown),
        attempts: table.optional(report, "attempts", attempts).unwrap_or(default.attempts),
        max_concurrent: table.optional(report, "max_concurrent", count(MAX_CONCURRENT)).unwrap_or(1),
        max_unhealthy: table.optional(report, "max_unhealthy", share).unwrap_or(default.max_unhealthy),
        storm_cooldown: table.optional(report, "storm_cooldown", wait).unwrap_or(default.storm_cooldown),
        domains: table.optional(report, "domains", or_off(domains)).unwrap_or(default.domains),
        corroborate: table.optional(report, "corroborate", or_off(corroborate)).unwrap_or(default.corroborate),
        quorum: table
            .optional(report, "quorum", word(&[("majority", Quorum::Majority), ("off", Quorum::Off)]))
            .unwrap_or(default.quorum),
        settle: table.optional(report, "settle", wait).unwrap_or(default.settle),
        windows: table.optional(report, "windows", list(time_window)).unwrap_or_default(),
        blocked_by: table.optional(report, "blocked_by", list(word(BLOCKERS))).unwrap_or(default.blocked_by),
        approve_within: table.optional(report, "approve_within", window).unwrap_or(default.approve_within),
    };
    table.finish(report);
    Some(guards)
}

fn attempts(node: &Node, report: &mut Report) -> Option<Attempts> {
    let mut table = Table::of(node, report)?;
    let max = table.required(report, "max", count(100));
    let per = table.required(report, "per", window);
    let reset = table.optional(report, "reset_after_healthy", window);
    table.finish(report);
    let reset_after_healthy = reset.unwrap_or(Guards::default().attempts.reset_after_healthy);
    Some(Attempts { max: max?, per: per?, reset_after_healthy })
}

fn domains(node: &Node, report: &mut Report) -> Option<Domains> {
    let mut table = Table::of(node, report)?;
    let label = table.required(report, "label", text);
    let max_zones = table.optional(report, "max_zones", count(MAX_CONCURRENT)).unwrap_or(1);
    table.finish(report);
    Some(Domains { label: label?, max_zones })
}

fn corroborate(node: &Node, report: &mut Report) -> Option<Corroborate> {
    let mut table = Table::of(node, report)?;
    let observers = table.required(report, "observers", count(MAX_OBSERVERS));
    let min = table.required(report, "min", count(MAX_OBSERVERS));
    table.finish(report);
    let (observers, min) = (observers?, min?);
    if min > observers {
        report.add(node.at, format!("of {observers} observers never {min} agree"));
    }
    Some(Corroborate { observers, min })
}

/// `off`, or what `read` reads.
fn or_off<T>(read: impl Fn(&Node, &mut Report) -> Option<T>) -> impl Fn(&Node, &mut Report) -> Option<Option<T>> {
    move |node, report| match &node.value {
        Value::Scalar(Scalar { text, .. }) if text == "off" => Some(None),
        Value::Scalar(_) => {
            report.add(node.at, format!("expected a table of keys and values, or off, found {}", node.describe()));
            None
        }
        _ => read(node, report).map(Some),
    }
}

fn share(node: &Node, report: &mut Report) -> Option<Share> {
    let found = text(node, report)?;
    let percent: Option<f64> = found.strip_suffix('%').and_then(|number| number.trim().parse().ok());
    match percent {
        Some(percent) if percent > 0.0 && percent <= 100.0 => Some(Share((percent * 100.0).round() as u32)),
        _ => {
            report
                .add(node.at, format!("expected a share such as \"33%\", above 0% and at most 100%, found {found:?}"));
            None
        }
    }
}

fn time_window(node: &Node, report: &mut Report) -> Option<Window> {
    let text = text(node, report)?;
    Window::parse(&text).map_err(|reason| report.add(node.at, reason)).ok()
}

fn count(max: i64) -> impl Fn(&Node, &mut Report) -> Option<usize> {
    move |node, report| integer(1, max)(node, report).and_then(|count| usize::try_from(count).ok())
}

fn window(node: &Node, report: &mut Report) -> Option<Span> {
    between(node, MIN_WINDOW, MAX_WINDOW, report)
}

/// A length of time that may be nothing.
pub(super) fn wait(node: &Node, report: &mut Report) -> Option<Span> {
    between(node, Span::ZERO, MAX_WAIT, report)
}

fn between(node: &Node, least: Span, most: Span, report: &mut Report) -> Option<Span> {
    let found = span(node, report)?;
    if (least..=most).contains(&found) {
        return Some(found);
    }
    report.add(node.at, format!("{found} is not between {least} and {most}"));
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_registered_members_and_leaves_room_for_one() {
        let third = Share(3300);
        assert_eq!([1, 2, 3, 6, 7, 60].map(|total| third.of(total)), [1, 1, 1, 1, 2, 19]);
        assert_eq!(Share(10_000).of(60), 60);
        assert_eq!((third.to_string(), Share(3333).to_string()), ("33%".to_owned(), "33.33%".to_owned()));
    }
}
