//! What the engine needs to know before it starts, resolved from the configuration by the shell.

use std::sync::Arc;

use watchfire_shared::member::NodeId;
use watchfire_shared::time::Span;

use crate::alertmanager;
use crate::catalogue::Policy;
use crate::ingest::naming::Naming;
use crate::remediation::Remediation;
use crate::rules;

/// Everything the engine is told by configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This collector's own id, kept in its data directory.
    pub node_id: NodeId,
    pub node_name: String,
    /// The cluster's name, and how series of its agents are called.
    pub naming: Naming,
    /// What is expected of nodes.
    pub nodes: Policy,
    /// Bounds of the store, retention included. A reload does not change them.
    pub storage: watchfire_store::Options,
    /// How far a pushed sample may be behind its series' newest.
    pub out_of_order_window: Span,
    /// How often the collector writes its own series; at most every rule interval.
    pub self_interval: Span,
    /// Rule groups of all files, in the order of their evaluation.
    pub rules: Vec<rules::Group>,
    /// What all groups share: default interval, look-back, external address, and the external labels, which every alert
    /// gets unless it has them itself.
    pub rule_settings: rules::Settings,
    /// Routes, receivers, inhibition and timings, templates loaded.
    pub alertmanager: Arc<alertmanager::Config>,
    /// The names of the remote engines that are written to.
    pub exports: Vec<String>,
    /// Because of which alerts nodes are ordered to do what.
    pub remediations: Vec<Remediation>,
}
