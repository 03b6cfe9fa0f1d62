//! What the nodes of a network see and have seen.

use watchfire_shared::member::{Member, MemberState};
use watchfire_shared::time::Timestamp;

use super::{Net, Node};
use crate::Gossip;

impl Net {
    pub(crate) fn running(&self) -> impl Iterator<Item = (usize, &Gossip)> {
        self.nodes.iter().enumerate().filter_map(|(at, node)| node.gossip.as_ref().map(|gossip| (at, gossip)))
    }

    pub(crate) fn members(&self, at: usize) -> Vec<Member> {
        self.nodes[at].gossip.as_ref().map(Gossip::members).unwrap_or_default()
    }

    /// What the node at `at` lists under a name.
    pub(crate) fn state(&self, at: usize, name: &str) -> Option<MemberState> {
        self.members(at).iter().find(|member| member.name == name).map(|member| member.state)
    }

    /// Whether every running node lists every running node as alive by its name, and nothing else.
    pub(crate) fn is_complete(&self) -> bool {
        let mut expected: Vec<&str> = self.running().map(|(at, _)| self.nodes[at].name.as_str()).collect();
        expected.sort_unstable();
        self.running().all(|(_, gossip)| {
            let members = gossip.members();
            members.len() == expected.len()
                && members.iter().zip(&expected).all(|(m, name)| m.name == *name && m.state == MemberState::Alive)
        })
    }

    /// Whether every running node but the named one lists the name in this state.
    pub(crate) fn all_see(&self, name: &str, state: MemberState) -> bool {
        let mut observers = self.running().filter(|(at, _)| self.nodes[*at].name != name);
        observers.all(|(at, _)| self.state(at, name) == Some(state))
    }

    /// The states that a node went through in another's eyes since `since`.
    pub(crate) fn history(&self, at: usize, name: &str, since: Timestamp) -> Vec<MemberState> {
        let changes = self.nodes[at].changes.iter().filter(|change| change.at >= since && change.member.name == name);
        let mut states: Vec<MemberState> = changes.map(|change| change.member.state).collect();
        states.dedup();
        states
    }

    /// Changes to down since `since`: who saw it, about whom.
    pub(crate) fn downs(&self, since: Timestamp) -> Vec<(String, String)> {
        let seen = |node: &Node| -> Vec<(String, String)> {
            let downs = node.changes.iter().filter(|change| change.at >= since && change.previous.is_some());
            let downs = downs.filter(|change| change.member.state == MemberState::Down);
            let fresh = downs.filter(|change| change.previous != Some(MemberState::Down));
            fresh.map(|change| (node.name.clone(), change.member.name.clone())).collect()
        };
        self.nodes.iter().flat_map(seen).collect()
    }
}
