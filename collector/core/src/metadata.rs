//! What metrics mean: their kinds, and texts where somebody gave one, for `/api/v1/metadata`.
//!
//! Agents name the kind of each series in their dictionaries, remote writers send kinds and texts beside their samples,
//! and what the collector writes of itself is known here. Nothing of it is kept on disk: senders repeat it, agents when
//! they connect and remote writers every minute.
//!
//! Invariant: at most [`MAX_FAMILIES`] families are kept, whatever is sent; later ones are not.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::sample::MetricKind;

/// Families that are remembered. A large installation has a few thousand.
const MAX_FAMILIES: usize = 20_000;
/// Bytes of a family's text that are kept; the longest of well-known exporters have 300.
const MAX_HELP_BYTES: usize = 512;
/// Bytes of a unit.
const MAX_UNIT_BYTES: usize = 64;

/// One metric family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Family {
    /// `counter`, `gauge` and so on, as OpenMetrics calls them.
    pub kind: &'static str,
    pub help: Arc<str>,
    pub unit: Arc<str>,
}

/// Metric families by name. A clone is cheap and never changes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metadata(Arc<BTreeMap<Arc<str>, Family>>);

impl Default for Metadata {
    /// What the collector itself writes.
    fn default() -> Self {
        let own = OWN.iter().map(|(name, kind, help)| {
            (Arc::from(*name), Family { kind, help: Arc::from(*help), unit: Arc::default() })
        });
        Self(Arc::new(own.collect()))
    }
}

impl Metadata {
    /// Every family, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Family)> {
        self.0.iter().map(|(name, family)| (&**name, family))
    }

    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Family> {
        self.0.get(name)
    }

    /// Remembers the kind of a metric that an agent sends. What is known of it otherwise stays.
    pub(crate) fn note_kind(&mut self, name: &str, kind: MetricKind) {
        let kind = match kind {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Untyped => return,
        };
        if self.get(name).is_none_or(|family| family.kind == "unknown") {
            self.note(name, kind, "", "");
        }
    }

    /// Remembers what a writer says of a metric family.
    pub(crate) fn note(&mut self, name: &str, kind: &'static str, help: &str, unit: &str) {
        let (help, unit) = (cut(help, MAX_HELP_BYTES), cut(unit, MAX_UNIT_BYTES));
        let known = self.get(name);
        let is_known = known.is_some_and(|own| own.kind == kind && &*own.help == help && &*own.unit == unit);
        if is_known || name.is_empty() || (known.is_none() && self.0.len() >= MAX_FAMILIES) {
            return;
        }
        let family = Family { kind, help: help.into(), unit: unit.into() };
        Arc::make_mut(&mut self.0).insert(name.into(), family);
    }
}

/// What the collector writes of itself, by name: the kind and the text. What it writes of nodes and of the fleet is not
/// among it.
pub fn own() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    let of_fleet = |name: &str| OF_FLEET.iter().any(|start| name.starts_with(start));
    OWN.iter().copied().filter(move |(name, ..)| *name != "up" && !of_fleet(name))
}

/// What the names begin with of series about nodes, or about the fleet.
const OF_FLEET: [&str; 5] =
    ["watchfire_availability_", "watchfire_ephemeral_", "watchfire_group_", "watchfire_member_", "watchfire_node_"];

fn cut(text: &str, most: usize) -> &str {
    let end = text.char_indices().map(|(at, char)| at + char.len_utf8()).take_while(|end| *end <= most).last();
    &text[..end.unwrap_or(0)]
}

/// What the collector writes itself.
const OWN: &[(&str, &str, &str)] = &[
    ("up", "gauge", "1 while the target reports, 0 when it does not."),
    ("watchfire_agents_connected", "gauge", "Agents that are connected."),
    ("watchfire_agents_expected", "gauge", "Agents that should report."),
    ("watchfire_agents_reported", "gauge", "Agents that have reported since the start."),
    ("watchfire_collector_fresh", "gauge", "Whether enough of the fleet has reported for rules to judge."),
    ("watchfire_ephemeral_nodes", "gauge", "Ephemeral nodes of the group that live."),
    ("watchfire_ephemeral_nodes_minimum", "gauge", "Ephemeral nodes that the group should have at least."),
    ("watchfire_group_down", "gauge", "1 for a group of nodes that went down together."),
    ("watchfire_group_nodes", "gauge", "Nodes of the fallen group."),
    ("watchfire_group_nodes_down", "gauge", "Nodes of the fallen group that are down."),
    ("watchfire_ingest_bytes_total", "counter", "Bytes of frames that arrived."),
    ("watchfire_ingest_connections_total", "counter", "Connections that agents opened."),
    ("watchfire_ingest_duplicate_frames_total", "counter", "Frames that were known already."),
    ("watchfire_ingest_frames_total", "counter", "Frames that arrived."),
    ("watchfire_ingest_rejected_frames_total", "counter", "Frames refused, by reason."),
    ("watchfire_ingest_restamped_frames_total", "counter", "Frames stamped with the time of receipt."),
    ("watchfire_ingest_samples_total", "counter", "Samples taken, by lane."),
    (
        "watchfire_member_condition",
        "gauge",
        "1 while something is wrong about a member that lives: udp_blocked, one_way_link, slow, view_divergence.",
    ),
    ("watchfire_member_down_cause", "gauge", "1 for the cause for which a member counts as down."),
    ("watchfire_member_state", "gauge", "1 for the state that a member is in, as gossip sees it."),
    ("watchfire_node_clock_offset_seconds", "gauge", "The node's wall clock less the collector's."),
    ("watchfire_node_gossip_off", "gauge", "1 for a node whose gossip is off: its reports alone tell of it."),
    ("watchfire_node_info", "gauge", "A node's labels and version, as labels; always 1."),
    ("watchfire_node_maintenance", "gauge", "1 while the node is in maintenance."),
    ("watchfire_availability_ratio", "gauge", "Which part of the window the node was up, of what is known."),
    ("watchfire_node_namesakes", "gauge", "Living agents that go by the name of this node without being it."),
    ("watchfire_node_never_seen", "gauge", "1 for a node that the inventory names and nobody has seen."),
    ("watchfire_node_overdue", "gauge", "Whether a node that was stopped is not back in time."),
    ("watchfire_nodes", "gauge", "Nodes that the collector knows of."),
    ("watchfire_nodes_refused_total", "counter", "Nodes that were beyond the limit."),
    ("watchfire_notifications_failed_total", "counter", "Notifications that failed, by receiver and integration."),
    ("watchfire_notifications_queued", "gauge", "Notifications that have not got out yet."),
    ("watchfire_notifications_total", "counter", "Notifications delivered, by receiver and integration."),
    ("watchfire_orders_total", "counter", "Orders that ended, by outcome."),
    ("watchfire_remediation_attempts_total", "counter", "Attempts of remediations that ended, by outcome."),
    ("watchfire_remediations", "gauge", "Alerts that a remediation considers, by what is done about them."),
    ("watchfire_remediations_paused", "gauge", "Remediations that are paused."),
    ("watchfire_remote_write_behind_seconds", "gauge", "How old the oldest live sample is that waits to be sent."),
    ("watchfire_remote_write_dropped_exemplars_total", "counter", "Pushed exemplars, which are not kept."),
    ("watchfire_remote_write_dropped_histograms_total", "counter", "Pushed native histograms, which are not kept."),
    (
        "watchfire_remote_write_dropped_samples_total",
        "counter",
        "Samples that a remote engine does not get, by reason.",
    ),
    (
        "watchfire_remote_write_failed_requests_total",
        "counter",
        "Requests to a remote engine that failed and are made again.",
    ),
    ("watchfire_remote_write_failing", "gauge", "Whether the last request to a remote engine failed."),
    (
        "watchfire_remote_write_highest_sent_timestamp_seconds",
        "gauge",
        "The latest time of a sample that a remote engine took.",
    ),
    (
        "watchfire_remote_write_left_out_samples_total",
        "counter",
        "Samples that `match` or `write_relabel_configs` leave out.",
    ),
    ("watchfire_remote_write_pending_samples", "gauge", "Samples that wait to be sent to a remote engine, about."),
    ("watchfire_remote_write_refused_samples_total", "counter", "Pushed samples that were refused, by reason."),
    ("watchfire_remote_write_repeated_samples_total", "counter", "Pushed samples that were there already."),
    ("watchfire_remote_write_requests_total", "counter", "Requests that pushed samples."),
    (
        "watchfire_remote_write_restarts_total",
        "counter",
        "Times that writing to a remote engine was started again after a panic.",
    ),
    ("watchfire_remote_write_samples_total", "counter", "Pushed samples that were taken."),
    ("watchfire_remote_write_sent_samples_total", "counter", "Samples that a remote engine took."),
    ("watchfire_rule_evaluation_failures_total", "counter", "Evaluations of rules that failed."),
    ("watchfire_rule_evaluations_total", "counter", "Evaluations of rules."),
    ("watchfire_rule_group_iterations_missed_total", "counter", "Evaluations of groups that were left out."),
    ("watchfire_rule_results_lost_total", "counter", "Results of rules that the store did not take."),
    ("watchfire_series", "gauge", "Series in memory."),
    ("watchfire_state_commit_failures_total", "counter", "Changes of state that could not be written to disk."),
    ("watchfire_storage_full", "gauge", "Whether the disk has no room for samples."),
    ("watchfire_store_behind", "gauge", "Whether pushes have to wait because more came than goes to blocks in time."),
    ("watchfire_store_bytes", "gauge", "Length of log and blocks."),
    (
        "watchfire_store_dropped_for_size_samples_total",
        "counter",
        "Samples that were dropped before their time because of storage.max_bytes.",
    ),
    ("watchfire_store_failures_total", "counter", "Attempts to make or remove a file of the store that failed."),
    ("watchfire_store_quarantined_total", "counter", "Damaged files of the store that were set aside."),
    ("watchfire_wal_sync_failures_total", "counter", "Syncs of the log that failed."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::series::write::{IntegrationFigures, SelfFigures, self_samples};

    #[test]
    fn everything_that_the_collector_writes_of_itself_is_described() {
        let remediation = crate::remediation::Figures {
            orders: vec![("failed", 1)],
            attempts: vec![("failed", 1)],
            cases: vec![("r".to_owned(), "blocked", 1)],
            paused: 1,
        };
        let notifications = vec![IntegrationFigures::default()];
        let exports = [("metrics".to_owned(), crate::export::Figures::default())].into();
        let figures = SelfFigures { notifications, remediation, exports, ..SelfFigures::default() };
        let metadata = Metadata::default();
        for (labels, _) in self_samples("watch", &figures) {
            let family = metadata.get(labels.metric_name());
            let family = family.unwrap_or_else(|| panic!("{} is not described", labels.metric_name()));
            let own = labels.metric_name() == "up" || own().any(|(name, ..)| name == labels.metric_name());
            assert!(own, "{labels} is about the collector");
            assert_eq!(family.kind == "counter", labels.metric_name().ends_with("_total"), "{labels}");
        }
    }

    #[test]
    fn later_words_replace_earlier_ones_and_kinds_alone_replace_nothing() {
        let mut metadata = Metadata::default();
        metadata.note_kind("a", MetricKind::Gauge);
        metadata.note("a", "counter", "What a is.", "");
        metadata.note_kind("a", MetricKind::Gauge);
        metadata.note_kind("b", MetricKind::Untyped);
        let family = metadata.get("a").unwrap();
        assert_eq!((family.kind, &*family.help), ("counter", "What a is."));
        assert_eq!(metadata.get("b"), None);
    }

    #[test]
    fn what_is_sent_is_bounded() {
        let mut metadata = Metadata::default();
        for number in 0..MAX_FAMILIES + 10 {
            metadata.note(&format!("m{number}"), "gauge", &"ä".repeat(1000), &"u".repeat(100));
        }
        assert_eq!(metadata.iter().count(), MAX_FAMILIES);
        let family = metadata.get("m0").unwrap();
        assert_eq!((family.help.len(), family.unit.len()), (MAX_HELP_BYTES, MAX_UNIT_BYTES));
    }
}
