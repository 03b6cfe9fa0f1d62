//! What the API shows: an immutable picture of nodes, rules, alerts and figures, rebuilt when something changed.
//!
//! Readers hold an `Arc` of it and never wait for the engine. [`View::version`] rises with every change of state, so that
//! a reader can wait for a newer one; the times of last reports and the counters move on without it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use watchfire_shared::labels::Labels;
use watchfire_shared::member::{DownCause, MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use crate::alertmanager::Config;
use crate::catalogue::maintenance::Maintenance;
use crate::history::History;
use crate::ingest::Counters;
use crate::metadata::Metadata;
use crate::notify::{Silence, query};
use crate::series::write::{SelfFigures, bare_samples};
use crate::{availability, export, remediation, remote_write, rules};

/// The state of the collector at one time.
#[derive(Clone, Debug)]
pub struct View {
    /// Rises with every change of a node's, a rule's or an alert's state; starts anew with the process.
    pub version: u64,
    pub generated_at: Timestamp,
    /// The collector's own name.
    pub node: String,
    /// How availability is judged.
    pub availability: availability::Policy,
    /// Whether the collector has seen enough of the fleet to fire and to resolve.
    pub fresh: bool,
    /// By name. Those that the inventory names and nobody has seen are among them.
    pub nodes: Arc<Vec<NodeView>>,
    pub history: Arc<History>,
    /// The rules with their alerts.
    pub rules: Arc<rules::Standing>,
    /// What notification makes of the alerts.
    pub notifications: Arc<Notifications>,
    /// Remediations and their orders.
    pub remediation: Arc<remediation::view::View>,
    pub metadata: Metadata,
    pub stats: Stats,
    /// What the collector's series about itself are made of.
    pub(crate) own: Arc<SelfFigures>,
}

/// Alerts as they are notified of, for Alertmanager's API.
#[derive(Clone, Debug, Default)]
pub struct Notifications {
    /// Every firing alert, by fingerprint.
    pub alerts: Vec<Arc<query::AlertView>>,
    /// Every group with firing alerts.
    pub groups: Vec<query::GroupView>,
    /// Every receiver, with what waits for it and its last error.
    pub receivers: Vec<query::ReceiverView>,
    pub silences: Vec<Silence>,
    /// The routes and receivers in force; `None` before anything is known.
    pub config: Option<Arc<Config>>,
}

impl View {
    /// What is shown before anything is known.
    pub(crate) fn empty(now: Timestamp) -> Self {
        Self {
            version: 0,
            generated_at: now,
            node: String::new(),
            availability: availability::Policy::new(Span::ZERO),
            fresh: false,
            nodes: Arc::default(),
            history: Arc::default(),
            rules: Arc::default(),
            notifications: Arc::default(),
            remediation: Arc::default(),
            metadata: Metadata::default(),
            stats: Stats::default(),
            own: Arc::default(),
        }
    }
}

/// A node as `/v1/nodes` shows it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct NodeView {
    /// `None` of a node that the inventory names and nobody has seen.
    pub id: Option<NodeId>,
    pub name: String,
    pub role: Role,
    /// What gossip says; `None` if it never spoke of the node.
    pub state: Option<MemberState>,
    /// `false`: its gossip is off, and it is judged by its reports alone.
    pub gossip: bool,
    pub health: Health,
    /// Why it is not `ok`, the worst reason first.
    pub reasons: Vec<String>,
    /// When its last live frame came.
    pub last_report_at: Option<Timestamp>,
    /// Its wall clock less ours.
    pub clock_offset_seconds: Option<f64>,
    pub alerts: AlertCounts,
    pub labels: BTreeMap<String, String>,
    pub version: String,
    /// Until when it is in maintenance, if it is.
    pub maintenance_until: Option<Timestamp>,
    /// How Prometheus' API shows it as a target; `None` of what sends no frames.
    #[serde(skip)]
    pub target: Option<Target>,
}

/// An agent as a target.
#[derive(Clone, PartialEq, Debug)]
pub struct Target {
    pub instance: String,
    pub job: String,
    /// `None`: nothing can be said yet.
    pub up: Option<bool>,
    pub interval: Span,
}

/// How well a node is, from what counts least to the worst.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// It is worked on, and counts for nothing.
    Maintenance,
    Ok,
    /// Nothing can be said: it was stopped and is expected back, or it was never heard.
    Unknown,
    Degraded,
    Down,
}

/// Alerts whose `instance` is the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct AlertCounts {
    pub firing: usize,
    pub pending: usize,
}

impl View {
    /// The collector's series about itself: what it writes into the store, without `up`, `instance` and `job`.
    #[must_use]
    pub fn own_series(&self) -> Vec<(Labels, f64)> {
        bare_samples(&self.own)
    }
}

/// Figures of the running collector.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Stats {
    pub ingest: Counters,
    pub remote_write: remote_write::Counters,
    pub agents_connected: usize,
    pub agents_expected: usize,
    pub storage_full: bool,
    pub store: watchfire_store::Stats,
    /// Whether pushes have to wait because more came than goes to blocks in time.
    pub store_behind: bool,
    /// Damaged files of the store that were set aside and whose samples are missing still.
    pub damaged: Arc<Vec<watchfire_store::Quarantined>>,
    pub notifications_queued: usize,
    /// By the name of the remote engine.
    pub exports: BTreeMap<String, export::Figures>,
}

/// What a node's health is judged by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) role: Role,
    pub(crate) state: Option<MemberState>,
    pub(crate) cause: Option<DownCause>,
    pub(crate) up: Option<bool>,
    pub(crate) last_report_at: Option<Timestamp>,
    /// It was stopped, and is not back in time.
    pub(crate) overdue: bool,
    /// The fallen group that it belongs to.
    pub(crate) group: Option<&'a (String, String)>,
    pub(crate) maintenance: Option<&'a Maintenance>,
    pub(crate) gossip_off: bool,
    /// Names of the node's firing alerts, each once.
    pub(crate) firing: &'a [String],
}

/// Judges a node by the worst that is known of it, and says why.
pub(crate) fn judge(evidence: &Evidence<'_>) -> (Health, Vec<String>) {
    let mut findings = vec![by_membership(evidence), by_reports(evidence), by_group(evidence)];
    findings.extend(evidence.firing.iter().map(|name| Some((Health::Degraded, format!("alert {name} is firing")))));
    let mut findings: Vec<(Health, String)> = findings.into_iter().flatten().collect();
    findings.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
    let health = findings.first().map_or(Health::Ok, |(health, _)| *health);
    let reasons = findings.into_iter().map(|(_, reason)| reason);
    match evidence.maintenance {
        Some(maintenance) => (Health::Maintenance, std::iter::once(announced(maintenance)).chain(reasons).collect()),
        None => (health, reasons.collect()),
    }
}

fn announced(maintenance: &Maintenance) -> String {
    let Maintenance { until, reason, .. } = maintenance;
    if reason.is_empty() {
        format!("in maintenance until {until}")
    } else {
        format!("in maintenance until {until}: {reason}")
    }
}

fn by_group(evidence: &Evidence<'_>) -> Option<(Health, String)> {
    let (label, value) = evidence.group?;
    let is_down = evidence.state == Some(MemberState::Down);
    is_down.then(|| (Health::Down, format!("it went down together with most of {label} {value}")))
}

fn by_membership(evidence: &Evidence<'_>) -> Option<(Health, String)> {
    let (health, reason) = match (evidence.state?, evidence.cause) {
        (MemberState::Alive, _) => return None,
        (MemberState::Suspect, _) => (Health::Degraded, "it does not answer probes and may be down"),
        (MemberState::Down, Some(DownCause::Refused)) => (Health::Down, "its host answers, but its agent is gone"),
        (MemberState::Down, _) => (Health::Down, "its peers hear nothing from it"),
        (MemberState::Left, _) if evidence.overdue => (Health::Down, "it was stopped and is not back in time"),
        (MemberState::Left, _) => (Health::Unknown, "it left on purpose and is expected back"),
    };
    Some((health, reason.to_owned()))
}

fn by_reports(evidence: &Evidence<'_>) -> Option<(Health, String)> {
    if evidence.role != Role::Agent {
        return None;
    }
    match (evidence.up, evidence.last_report_at) {
        (Some(true), _) => None,
        (Some(false), Some(at)) if evidence.gossip_off => {
            Some((Health::Down, format!("no report since {at}; its gossip is off, so nothing else is known of it")))
        }
        (Some(false), Some(at)) => Some((Health::Degraded, format!("no report since {at}"))),
        (Some(false), None) => Some((Health::Degraded, "it has never reported".to_owned())),
        (None, _) => Some((Health::Unknown, "it has not reported yet".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: Evidence<'_> = Evidence {
        role: Role::Agent,
        state: None,
        cause: None,
        up: None,
        last_report_at: None,
        overdue: false,
        group: None,
        maintenance: None,
        gossip_off: false,
        firing: &[],
    };

    fn check(state: Option<MemberState>, up: Option<bool>, firing: &[&str], health: Health, reasons: &[&str]) {
        let firing: Vec<String> = firing.iter().map(|name| (*name).to_owned()).collect();
        let last_report_at = Some(Timestamp::EPOCH);
        let evidence = Evidence { state, up, last_report_at, firing: &firing, ..NOTHING };
        assert_eq!(judge(&evidence), (health, reasons.iter().map(|reason| (*reason).to_owned()).collect()));
    }

    #[test]
    fn health_is_the_worst_of_membership_reports_and_alerts() {
        let down = "its peers hear nothing from it";
        let silent = "no report since 1970-01-01T00:00:00Z";
        check(Some(MemberState::Alive), Some(true), &[], Health::Ok, &[]);
        check(Some(MemberState::Alive), Some(true), &["A"], Health::Degraded, &["alert A is firing"]);
        check(Some(MemberState::Alive), Some(false), &[], Health::Degraded, &[silent]);
        check(Some(MemberState::Down), Some(false), &["A"], Health::Down, &[down, silent, "alert A is firing"]);
        check(Some(MemberState::Left), Some(true), &[], Health::Unknown, &["it left on purpose and is expected back"]);
        check(None, None, &[], Health::Unknown, &["it has not reported yet"]);
    }

    #[test]
    fn a_node_whose_gossip_is_off_is_judged_by_its_reports_alone() {
        let evidence = Evidence { gossip_off: true, last_report_at: Some(Timestamp::EPOCH), ..NOTHING };
        assert_eq!(judge(&Evidence { up: Some(true), ..evidence }), (Health::Ok, Vec::new()));
        let reason = "no report since 1970-01-01T00:00:00Z; its gossip is off, so nothing else is known of it";
        assert_eq!(judge(&Evidence { up: Some(false), ..evidence }), (Health::Down, vec![reason.to_owned()]));
    }

    #[test]
    fn maintenance_goes_before_everything_and_hides_no_reason() {
        let maintenance =
            Maintenance { node: "a".into(), since: Timestamp::EPOCH, until: Timestamp::EPOCH, reason: "disks".into() };
        let group = ("zone".to_owned(), "a".to_owned());
        let (state, up) = (Some(MemberState::Down), Some(true));
        let evidence = Evidence { state, up, maintenance: Some(&maintenance), group: Some(&group), ..NOTHING };
        let announced = "in maintenance until 1970-01-01T00:00:00Z: disks";
        let reasons = ["its peers hear nothing from it", "it went down together with most of zone a"];
        let (health, told) = judge(&evidence);
        assert_eq!(
            (health, told),
            (Health::Maintenance, [&[announced], &reasons[..]].concat().iter().map(|t| (*t).to_owned()).collect())
        );
        assert_eq!(judge(&Evidence { maintenance: None, ..evidence }).0, Health::Down);
        let overdue = Evidence { state: Some(MemberState::Left), up: Some(false), overdue: true, ..NOTHING };
        assert_eq!(judge(&overdue).0, Health::Down);
    }
}
