//! The rest of the collector as remediation sees it: firing alerts, and the registered members with what is known of each.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::labels::{INSTANCE, Labels};
use watchfire_shared::member::{MemberState, NodeId, Role};
use watchfire_shared::time::Timestamp;

use super::file::Remediation;

/// Everything that a decision rests on beside orders and attempts.
pub(crate) struct Situation<'a> {
    /// Whether the collector sees the fleet.
    pub(crate) fresh: bool,
    pub(crate) firing: Vec<Firing<'a>>,
    pub(crate) nodes: Nodes<'a>,
    /// Whether a silence matches these labels.
    pub(crate) silenced: &'a dyn Fn(&Labels) -> bool,
}

/// An alert that fires.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Firing<'a> {
    pub(crate) labels: &'a Labels,
    pub(crate) since: Timestamp,
    /// It is one of the rules' here, and was not posted from outside.
    pub(crate) of_rules: bool,
}

/// A registered member, dead or alive.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seen<'a> {
    pub(crate) id: NodeId,
    pub(crate) name: &'a str,
    pub(crate) instance: &'a str,
    pub(crate) role: Role,
    pub(crate) labels: &'a BTreeMap<String, String>,
    /// What gossip says; `None` if it never spoke of it.
    pub(crate) state: Option<MemberState>,
    /// Whether its live frames come; `None` while that is open.
    pub(crate) up: Option<bool>,
    pub(crate) connected: bool,
    /// Until when it is in maintenance, if it is.
    pub(crate) maintained: Option<Timestamp>,
}

impl Seen<'_> {
    /// Whether the collector has reason to believe that it lives.
    fn lives(&self) -> bool {
        match self.state {
            Some(state) => matches!(state, MemberState::Alive | MemberState::Suspect),
            None => self.up == Some(true),
        }
    }

    /// Whether it is missing, on purpose or not.
    fn is_gone(&self) -> bool {
        matches!(self.state, Some(MemberState::Down | MemberState::Left)) || self.up == Some(false)
    }

    /// Whether it has all these labels.
    pub(super) fn has(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.iter().all(|(name, value)| self.label(name) == value)
    }

    /// The value of a label; empty if it has none.
    pub(super) fn label(&self, name: &str) -> &str {
        self.labels.get(name).map_or("", String::as_str)
    }
}

/// All registered members.
pub(crate) struct Nodes<'a> {
    all: BTreeMap<NodeId, Seen<'a>>,
    /// Agents by instance and by name; of several, the one that is connected.
    instances: BTreeMap<&'a str, NodeId>,
    names: BTreeMap<&'a str, NodeId>,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(nodes: impl Iterator<Item = Seen<'a>>) -> Self {
        let mut own = Self { all: BTreeMap::new(), instances: BTreeMap::new(), names: BTreeMap::new() };
        let mut agents: Vec<Seen<'a>> = Vec::new();
        for node in nodes {
            own.all.insert(node.id, node);
            agents.extend((node.role == Role::Agent).then_some(node));
        }
        agents.sort_by_key(|node| (node.connected, node.id));
        for node in agents {
            own.instances.insert(node.instance, node.id);
            own.names.insert(node.name, node.id);
        }
        own
    }

    pub(super) fn get(&self, id: NodeId) -> Option<&Seen<'a>> {
        self.all.get(&id)
    }

    pub(super) fn agents(&self) -> impl Iterator<Item = &Seen<'a>> {
        self.all.values().filter(|node| node.role == Role::Agent)
    }

    /// The agent that an alert's label `instance` names: the one whose series have it, or, since others write
    /// `host:9100`, the one whose series or name are what stands before the port.
    pub(super) fn find(&self, instance: &str) -> Option<&Seen<'a>> {
        let port = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let host = instance.rsplit_once(':').filter(|(_, rest)| port(rest)).map_or(instance, |(host, _)| host);
        let found = [instance, host].into_iter().find_map(|text| self.instances.get(text).or(self.names.get(text)));
        self.all.get(found?)
    }

    /// How many members are registered, and how many of them the collector believes to live.
    pub(super) fn quorum(&self) -> (usize, usize) {
        (self.all.len(), self.all.values().filter(|node| node.lives()).count())
    }
}

/// The agents whose health counts for a remediation.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Scope {
    pub(super) total: usize,
    pub(super) unhealthy: BTreeSet<NodeId>,
}

impl Scope {
    /// Those with the labels of its `scope` and with those labels of its `when` that are any node's, and which of them
    /// are gone or have its alert.
    pub(super) fn of(remediation: &Remediation, situation: &Situation<'_>) -> Self {
        let nodes = &situation.nodes;
        let is_node_label =
            |(name, value): &(&String, &String)| nodes.agents().any(|node| node.labels.get(*name) == Some(*value));
        let narrowed = remediation.labels.iter().filter(is_node_label);
        let labels: BTreeMap<String, String> =
            narrowed.chain(&remediation.scope).map(|(name, value)| (name.clone(), value.clone())).collect();
        let inside: Vec<&Seen<'_>> = nodes.agents().filter(|node| node.has(&labels)).collect();
        let alerts = situation.firing.iter().filter(|alert| remediation.is_for(alert.labels, alert.of_rules));
        let named: BTreeSet<NodeId> =
            alerts.filter_map(|alert| nodes.find(alert.labels.get(INSTANCE)?)).map(|node| node.id).collect();
        let unhealthy = inside.iter().filter(|node| node.is_gone() || named.contains(&node.id));
        Self { total: inside.len(), unhealthy: unhealthy.map(|node| node.id).collect() }
    }

    /// How many are unhealthy with this one, which an alert names.
    pub(super) fn with(&self, node: Option<NodeId>) -> usize {
        self.unhealthy.len() + usize::from(node.is_some_and(|node| !self.unhealthy.contains(&node)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_found_by_its_instance_by_its_host_and_by_its_name() {
        let labels = BTreeMap::new();
        let node = |id, name: &'static str, instance: &'static str, connected| Seen {
            id: NodeId(id),
            name,
            instance,
            role: Role::Agent,
            labels: &labels,
            state: None,
            up: None,
            connected,
            maintained: None,
        };
        let all =
            [node(1, "web-1", "web-1", true), node(2, "web-2", "node/web-2", true), node(3, "web-1", "web-1", false)];
        let nodes = Nodes::new(all.into_iter());
        let find = |text: &str| nodes.find(text).map(|node| node.id.0);
        assert_eq!(find("web-1"), Some(1), "of two, the one that is connected");
        assert_eq!(find("web-1:9100"), Some(1));
        assert_eq!((find("node/web-2"), find("web-2"), find("web-2:9100")), (Some(2), Some(2), Some(2)));
        assert_eq!((find("web-3"), find("web-1:http"), find(":9100"), find("")), (None, None, None, None));
    }
}
