//! Which nodes should be there, beside which are: what is expected of whom, and when its absence is nobody's alarm.
//!
//! The fleet itself (`series::fleet`) keeps every node that was ever seen. Here stands what people say about nodes: the
//! [`inventory`] of those that should exist, [`maintenance`] that was announced, and the [`Policy`] that tells a stop from
//! a loss. [`causes`] sees that many deaths at once are one. None of it touches a disk or a clock; the engine keeps what is
//! to be durable.

pub mod inventory;

pub mod maintenance;

pub(crate) mod causes;

use std::collections::BTreeMap;

use watchfire_shared::time::Span;

/// What is expected of nodes, resolved from the configuration.
#[derive(Clone, PartialEq, Debug)]
pub struct Policy {
    /// How long a node that was stopped in good order is simply expected back.
    pub expected_back: Span,
    /// Labels whose values name something that nodes share and lose together; the widest first, for it explains the most.
    pub shared_labels: Vec<String>,
    /// The label that says to which group an ephemeral node belongs.
    pub group_label: String,
    /// How many ephemeral nodes each group should have at least; groups without a number are not watched.
    pub group_minimum: BTreeMap<String, u64>,
    /// Names of the nodes that should exist.
    pub inventory: Vec<inventory::Expected>,
    /// How long the history of nodes' states is kept.
    pub history_retention: Span,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            expected_back: Span::from_seconds(15 * 60),
            shared_labels: ["region", "datacenter", "zone", "rack"].map(str::to_owned).to_vec(),
            group_label: "role".to_owned(),
            group_minimum: BTreeMap::new(),
            inventory: Vec::new(),
            history_retention: Span::from_seconds(400 * 86_400),
        }
    }
}

/// Whether a node's labels say that it comes and goes without notice, as autoscaled and spot instances do.
pub(crate) fn is_ephemeral(labels: &BTreeMap<String, String>) -> bool {
    labels.get("ephemeral").is_some_and(|value| value == "true")
}
