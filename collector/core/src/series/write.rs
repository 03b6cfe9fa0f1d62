//! Samples of what the collector knows: one set per node, and one of itself.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::labels::{INSTANCE, JOB, Labels, METRIC_NAME};
use watchfire_shared::member::{DownCause, MemberState, Role};

use super::Samples;
use super::freshness::Coverage;
use super::node::{Membership, Node};
use crate::catalogue::causes::Fallen;
use crate::ingest::Counters;
use crate::{export, remediation, remote_write};

/// The value of `job` on the collector's series about itself.
const OWN_JOB: &str = "watchfire";

/// All series about one node that have a value now; those that are missing have none any more.
pub(crate) fn node_samples(node: &Node) -> Samples {
    let mut samples = Samples::new();
    if let Some(up) = node.current_up {
        samples.push((node.target.own("up"), number(up)));
    }
    if let Some(membership) = node.record.membership.filter(|membership| is_known(node, *membership)) {
        member_samples(node, membership, &mut samples);
    }
    if node.record.role == Role::Agent {
        samples.push((info(node), 1.0));
    }
    if node.record.role == Role::Agent && node.is(MemberState::Left) {
        let labels = Labels::new([(METRIC_NAME, "watchfire_node_overdue"), (INSTANCE, &*node.target.instance)]);
        samples.push((labels, number(node.overdue)));
    }
    if node.record.gossip_off {
        let labels = Labels::new([(METRIC_NAME, "watchfire_node_gossip_off"), (INSTANCE, &*node.target.instance)]);
        samples.push((labels, 1.0));
    }
    if node.maintenance_until.is_some() && node.record.role == Role::Agent {
        let labels = Labels::new([(METRIC_NAME, "watchfire_node_maintenance"), (INSTANCE, &*node.target.instance)]);
        samples.push((labels, 1.0));
    }
    if let Some(offset) = node.clock_offset {
        let labels = [(METRIC_NAME, "watchfire_node_clock_offset_seconds"), (INSTANCE, &node.target.instance)];
        samples.push((Labels::new(labels), offset.as_seconds()));
    }
    samples
}

/// A node that was down or gone is still so until gossip says otherwise; that one was alive says nothing of today.
fn is_known(node: &Node, membership: Membership) -> bool {
    node.gossiped || matches!(membership.state, MemberState::Down | MemberState::Left)
}

fn member_samples(node: &Node, membership: Membership, samples: &mut Samples) {
    let series = |metric: &str, name: &str, value: &str| {
        let role = role_name(node.record.role);
        Labels::new([(METRIC_NAME, metric), (INSTANCE, &node.target.instance), ("role", role), (name, value)])
    };
    for state in MemberState::ALL {
        let labels = series("watchfire_member_state", "state", state.as_str());
        samples.push((labels, number(state == membership.state)));
    }
    for cause in [DownCause::Refused, DownCause::Silent] {
        let is_cause = membership.state == MemberState::Down && membership.cause == Some(cause);
        samples.push((series("watchfire_member_down_cause", "cause", cause.as_str()), number(is_cause)));
    }
    for condition in &node.conditions {
        samples.push((series("watchfire_member_condition", "condition", condition.as_str()), 1.0));
    }
}

fn info(node: &Node) -> Labels {
    let labels = node.record.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    // The node's labels come first, so that none of them can replace one that identifies the series.
    Labels::new(labels.chain([
        (METRIC_NAME, "watchfire_node_info"),
        (INSTANCE, &*node.target.instance),
        ("version", node.record.version.as_str()),
    ]))
}

pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Agent => "agent",
        Role::Collector => "collector",
    }
}

fn number(condition: bool) -> f64 {
    f64::from(u8::from(condition))
}

/// What is known of the fleet as a whole.
pub(crate) struct FleetFigures<'a> {
    pub(crate) fallen: Vec<Fallen>,
    /// Instances of living agents that go by the name of another one, and how many each.
    pub(crate) namesakes: BTreeMap<String, usize>,
    /// Which part of the usual window each agent was up, by its name.
    pub(crate) availability: &'a [(String, f64)],
    /// Instances of nodes that the inventory names and nobody has seen.
    pub(crate) never_seen: Vec<String>,
    /// Groups of ephemeral nodes: how many there should be, and how many live.
    pub(crate) ephemeral: Vec<(&'a str, u64, usize)>,
}

/// The series about the fleet as a whole.
pub(crate) fn fleet_samples(figures: &FleetFigures<'_>) -> Samples {
    let mut samples = Samples::new();
    for fallen in &figures.fallen {
        let series =
            |metric| Labels::new([(METRIC_NAME, metric), ("label", &*fallen.label), ("value", &*fallen.value)]);
        samples.push((series("watchfire_group_down"), 1.0));
        samples.push((series("watchfire_group_nodes"), fallen.nodes as f64));
        samples.push((series("watchfire_group_nodes_down"), fallen.down as f64));
    }
    let mut instances = BTreeSet::new();
    for instance in figures.never_seen.iter().filter(|instance| instances.insert(*instance)) {
        samples.push((Labels::new([(METRIC_NAME, "watchfire_node_never_seen"), (INSTANCE, instance)]), 1.0));
    }
    for (instance, nodes) in &figures.namesakes {
        samples.push((Labels::new([(METRIC_NAME, "watchfire_node_namesakes"), (INSTANCE, instance)]), *nodes as f64));
    }
    for (node, ratio) in figures.availability {
        let labels = [(METRIC_NAME, "watchfire_availability_ratio"), ("subject", &**node), ("window", "30d")];
        samples.push((Labels::new(labels), *ratio));
    }
    for &(group, minimum, living) in &figures.ephemeral {
        let series = |metric: &'static str| Labels::new([(METRIC_NAME, metric), ("group", group)]);
        samples.push((series("watchfire_ephemeral_nodes"), living as f64));
        samples.push((series("watchfire_ephemeral_nodes_minimum"), minimum as f64));
    }
    samples
}

/// What the collector counts of itself.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct SelfFigures {
    pub(crate) ingest: Counters,
    pub(crate) remote_write: remote_write::Counters,
    pub(crate) agents_connected: usize,
    pub(crate) coverage: Coverage,
    pub(crate) fresh: bool,
    pub(crate) storage_full: bool,
    pub(crate) store_behind: bool,
    pub(crate) wal_sync_failures: u64,
    pub(crate) state_commit_failures: u64,
    pub(crate) store: watchfire_store::Stats,
    pub(crate) nodes: usize,
    pub(crate) nodes_refused: u64,
    pub(crate) rule_evaluations: u64,
    pub(crate) rule_evaluation_failures: u64,
    pub(crate) rule_iterations_missed: u64,
    pub(crate) rule_results_lost: u64,
    pub(crate) notifications_queued: usize,
    pub(crate) notifications: Vec<IntegrationFigures>,
    pub(crate) remediation: remediation::Figures,
    /// By the name of the remote engine.
    pub(crate) exports: BTreeMap<String, export::Figures>,
}

/// What became of notifications of one integration of one receiver.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct IntegrationFigures {
    pub(crate) receiver: String,
    pub(crate) integration: String,
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Notifications that have not got out yet.
    pub(crate) queued: usize,
}

/// The collector's series about itself, as they go into the store.
pub(crate) fn self_samples(instance: &str, figures: &SelfFigures) -> Samples {
    let target = [(INSTANCE, instance), (JOB, OWN_JOB)];
    let up = Labels::new([(METRIC_NAME, "up")].into_iter().chain(target));
    let mut samples = vec![(up, 1.0)];
    samples.extend(samples_of(&target, figures));
    samples
}

/// The same as whoever scrapes the collector gets them: `up`, `instance` and `job` are the scraper's.
pub(crate) fn bare_samples(figures: &SelfFigures) -> Samples {
    samples_of(&[], figures)
}

fn samples_of(target: &[(&str, &str)], figures: &SelfFigures) -> Samples {
    let mut samples = Samples::new();
    let mut push = |metric: &str, labels: &[(&str, &str)], value: f64| {
        let own = std::iter::once((METRIC_NAME, metric)).chain(target.iter().chain(labels).copied());
        samples.push((Labels::new(own), value));
    };
    push("watchfire_agents_connected", &[], figures.agents_connected as f64);
    push("watchfire_agents_expected", &[], figures.coverage.expected as f64);
    push("watchfire_agents_reported", &[], figures.coverage.reported as f64);
    push("watchfire_collector_fresh", &[], number(figures.fresh));
    push("watchfire_storage_full", &[], number(figures.storage_full));
    push("watchfire_wal_sync_failures_total", &[], figures.wal_sync_failures as f64);
    push("watchfire_state_commit_failures_total", &[], figures.state_commit_failures as f64);
    push("watchfire_series", &[], figures.store.series as f64);
    push("watchfire_store_quarantined_total", &[], figures.store.quarantined as f64);
    push("watchfire_store_behind", &[], number(figures.store_behind));
    push("watchfire_store_dropped_for_size_samples_total", &[], figures.store.dropped_for_size_samples as f64);
    push("watchfire_store_failures_total", &[], figures.store.failures as f64);
    push("watchfire_store_bytes", &[], (figures.store.wal_bytes + figures.store.block_bytes) as f64);
    push("watchfire_nodes", &[], figures.nodes as f64);
    push("watchfire_nodes_refused_total", &[], figures.nodes_refused as f64);
    push("watchfire_rule_evaluations_total", &[], figures.rule_evaluations as f64);
    push("watchfire_rule_evaluation_failures_total", &[], figures.rule_evaluation_failures as f64);
    push("watchfire_rule_group_iterations_missed_total", &[], figures.rule_iterations_missed as f64);
    push("watchfire_rule_results_lost_total", &[], figures.rule_results_lost as f64);
    push("watchfire_notifications_queued", &[], figures.notifications_queued as f64);
    for integration in &figures.notifications {
        let labels = [("receiver", integration.receiver.as_str()), ("integration", integration.integration.as_str())];
        push("watchfire_notifications_total", &labels, integration.sent as f64);
        push("watchfire_notifications_failed_total", &labels, integration.failed as f64);
    }
    remediation_samples(&figures.remediation, &mut push);
    ingest_samples(&figures.ingest, &mut push);
    remote_write_samples(&figures.remote_write, &mut push);
    for (remote, figures) in &figures.exports {
        for series in export::series::of(figures) {
            let reason = series.reason.map(|reason| ("reason", reason));
            let labels: Vec<_> = std::iter::once(("remote", remote.as_str())).chain(reason).collect();
            push(series.family.name, &labels, series.value);
        }
    }
    samples
}

fn remediation_samples(figures: &remediation::Figures, push: &mut impl FnMut(&str, &[(&str, &str)], f64)) {
    for (outcome, count) in &figures.orders {
        push("watchfire_orders_total", &[("outcome", outcome)], *count as f64);
    }
    for (outcome, count) in &figures.attempts {
        push("watchfire_remediation_attempts_total", &[("outcome", outcome)], *count as f64);
    }
    for (name, state, count) in &figures.cases {
        push("watchfire_remediations", &[("remediation", name), ("state", state)], *count as f64);
    }
    push("watchfire_remediations_paused", &[], figures.paused as f64);
}

fn remote_write_samples(counters: &remote_write::Counters, push: &mut impl FnMut(&str, &[(&str, &str)], f64)) {
    push("watchfire_remote_write_requests_total", &[], counters.requests as f64);
    push("watchfire_remote_write_samples_total", &[], counters.samples as f64);
    push("watchfire_remote_write_repeated_samples_total", &[], counters.repeated as f64);
    push("watchfire_remote_write_dropped_histograms_total", &[], counters.histograms_dropped as f64);
    push("watchfire_remote_write_dropped_exemplars_total", &[], counters.exemplars_dropped as f64);
    for (reason, count) in counters.refused.by_reason() {
        push("watchfire_remote_write_refused_samples_total", &[("reason", reason)], count as f64);
    }
}

fn ingest_samples(counters: &Counters, push: &mut impl FnMut(&str, &[(&str, &str)], f64)) {
    push("watchfire_ingest_connections_total", &[], counters.connections as f64);
    push("watchfire_ingest_frames_total", &[], counters.frames as f64);
    push("watchfire_ingest_bytes_total", &[], counters.bytes as f64);
    push("watchfire_ingest_samples_total", &[("lane", "live")], counters.samples_live as f64);
    push("watchfire_ingest_samples_total", &[("lane", "backfill")], counters.samples_backfill as f64);
    push("watchfire_ingest_duplicate_frames_total", &[], counters.duplicates as f64);
    push("watchfire_ingest_restamped_frames_total", &[], counters.restamped as f64);
    for (reason, count) in counters.rejected.by_reason() {
        push("watchfire_ingest_rejected_frames_total", &[("reason", reason)], count as f64);
    }
}
