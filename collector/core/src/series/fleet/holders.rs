//! Who goes by which name, and when a name passes on.

use std::collections::BTreeMap;

use watchfire_shared::member::{MemberState, NodeId, Role};

use crate::series::node::Node;

/// Who holds each name. An agent and a collector may share one: both go by their host's.
#[derive(Default)]
pub(super) struct Holders {
    agents: BTreeMap<String, NodeId>,
    collectors: BTreeMap<String, NodeId>,
}

impl Holders {
    pub(super) fn of(&mut self, role: Role) -> &mut BTreeMap<String, NodeId> {
        match role {
            Role::Agent => &mut self.agents,
            Role::Collector => &mut self.collectors,
        }
    }

    pub(super) fn get(&self, role: Role, name: &str) -> Option<NodeId> {
        match role {
            Role::Agent => self.agents.get(name).copied(),
            Role::Collector => self.collectors.get(name).copied(),
        }
    }

    pub(super) fn release(&mut self, role: Role, name: &str, id: NodeId) {
        if self.get(role, name) == Some(id) {
            self.of(role).remove(name);
        }
    }
}

/// Whether the holder of a name leaves it to the claimant. Frames prove more than gossip, which may not have noticed yet
/// that a node is gone.
pub(super) fn gives_way(holder: &Node, claimant: &Node) -> bool {
    let alive = |node: &Node| node.is(MemberState::Alive) || node.is(MemberState::Suspect);
    if holder.connected && !holder.is(MemberState::Down) {
        return false;
    }
    claimant.connected || (alive(claimant) && !alive(holder))
}
