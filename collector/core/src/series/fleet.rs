//! The fleet: every node that was ever heard of, by gossip or by its own frames.
//!
//! A node is expected for ever once it is known, until somebody decommissions it; only another node that takes its name
//! replaces it. An ephemeral node is forgotten when it goes. The fleet is bounded by [`MAX_MEMBERS`]; beyond that the
//! longest gone node makes room, and if none is gone the new one is refused.

mod holders;

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::limits::MAX_MEMBERS;
use watchfire_shared::member::{Member, MemberChange, MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use self::holders::{Holders, gives_way};
use super::node::{Membership, Node, NodeRecord};
use crate::catalogue::is_ephemeral;
use crate::ingest::Introduction;
use crate::ingest::naming::{Naming, NodeFacts};

/// From how many silent nodes on, with nobody heard beside them, it is rather us. Two may well share a switch.
const ALL_SILENT: usize = 3;

/// All nodes.
pub(crate) struct Fleet {
    naming: Naming,
    nodes: BTreeMap<NodeId, Node>,
    /// Whose series carry a name. A node whose name another one holds writes none.
    holders: Holders,
    /// When silence alone may change some node's `up`.
    check_at: Option<Timestamp>,
    /// Nodes of which something was heard that may change their `up`.
    due: BTreeSet<NodeId>,
    /// Nodes whose series changed since they were last taken.
    changed: BTreeSet<NodeId>,
    /// Nodes whose records changed since they were last taken, the removed ones included.
    unsaved: BTreeSet<NodeId>,
    /// Nodes that were removed since they were last taken, as they were.
    removed: Vec<Node>,
    /// Nodes that were decommissioned: what gossip still says of their deaths is no news.
    retired: BTreeSet<NodeId>,
    /// Those of whom that changed since they were last taken.
    unsaved_retired: BTreeSet<NodeId>,
    /// How long a node that was stopped is expected back.
    grace: Span,
    refused: u64,
    /// Whether gossip has shown no other living node since the start, so that its silence about a node means nothing.
    is_isolated: bool,
}

impl Fleet {
    /// The nodes known before the start. Of each it is open until it is heard whether it still lives.
    pub(crate) fn restore(
        now: Timestamp,
        naming: Naming,
        grace: Span,
        records: impl IntoIterator<Item = (NodeId, NodeRecord)>,
    ) -> Self {
        let mut fleet = Self {
            naming,
            nodes: BTreeMap::new(),
            holders: Holders::default(),
            check_at: None,
            due: BTreeSet::new(),
            changed: BTreeSet::new(),
            unsaved: BTreeSet::new(),
            removed: Vec::new(),
            retired: BTreeSet::new(),
            unsaved_retired: BTreeSet::new(),
            grace,
            refused: 0,
            is_isolated: true,
        };
        for (id, record) in records.into_iter().take(MAX_MEMBERS) {
            fleet.insert(now, id, record);
        }
        fleet.unsaved.clear();
        fleet
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values()
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// Whether the node's series are written: it is the one that holds its name, and somebody misses it.
    pub(crate) fn is_shown(&self, node: &Node) -> bool {
        self.holders.get(node.record.role, &node.record.name) == Some(node.id) && !node.is_dismissed()
    }

    /// Whether the node goes by a name that another one of its role holds: a copied machine, or a mistake in two files.
    pub(crate) fn is_namesake(&self, node: &Node) -> bool {
        self.holders.get(node.record.role, &node.record.name).is_some_and(|holder| holder != node.id)
    }

    /// The node of this role that goes by a name.
    pub(crate) fn named(&self, role: Role, name: &str) -> Option<&Node> {
        self.get(self.holders.get(role, name)?)
    }

    pub(crate) fn cluster(&self) -> &str {
        &self.naming.cluster
    }

    /// Nodes that found no room.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// When [`Fleet::check`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.check_at
    }

    /// An agent introduced itself.
    pub(crate) fn introduced(&mut self, now: Timestamp, agent: Introduction) {
        let (id, clock_offset) = (agent.id, agent.clock_offset);
        self.reinstate(id);
        let known = self.nodes.get(&id).map(|node| node.record.clone());
        let record = NodeRecord {
            name: agent.name,
            role: Role::Agent,
            labels: agent.labels,
            version: agent.version,
            interval: agent.interval,
            // What gossip said of it before its gossip was turned off is over.
            membership: known.as_ref().and_then(|known| known.membership).filter(|_| !agent.gossip_off),
            up: known.as_ref().and_then(|known| known.up),
            last_report_at: known.as_ref().and_then(|known| known.last_report_at),
            life_seq: known.as_ref().map_or(0, |known| known.life_seq),
            gossip_off: agent.gossip_off,
        };
        if let Some(node) = self.upsert(now, id, record) {
            node.connected = true;
            node.clock_offset = Some(clock_offset);
            self.claim_name(id);
        }
    }

    /// A live frame came. Returns whether it is the first of this run.
    pub(crate) fn heard(&mut self, now: Timestamp, id: NodeId, clock_offset: Span) -> bool {
        let Some(node) = self.nodes.get_mut(&id) else { return false };
        let first = node.heard_at.replace(now).is_none();
        node.record.last_report_at = Some(now);
        node.clock_offset = Some(clock_offset);
        if node.current_up != Some(true) {
            self.due.insert(id);
        }
        first
    }

    /// The history holds what an agent noted of its own life, up to this number.
    pub(crate) fn life_noted(&mut self, id: NodeId, seq: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.record.life_seq = seq;
            self.unsaved.insert(id);
        }
    }

    pub(crate) fn clock(&mut self, id: NodeId, clock_offset: Span) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.clock_offset = Some(clock_offset);
        }
    }

    /// An agent said that it stops. Where gossip is on, that tells more of it: the agent may say goodbye to this collector only.
    pub(crate) fn said_goodbye(&mut self, now: Timestamp, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id).filter(|node| node.record.gossip_off) {
            node.record.membership = Some(Membership { state: MemberState::Left, since: now, cause: None });
            self.changed.insert(id);
            self.unsaved.insert(id);
            self.due.insert(id);
        }
    }

    pub(crate) fn disconnected(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(&id) {
            node.connected = false;
            self.due.insert(id);
        }
    }

    /// Gossip speaks of a member.
    pub(crate) fn member(&mut self, now: Timestamp, change: MemberChange) {
        let id = change.member.id;
        let is_gone = matches!(change.member.state, MemberState::Down | MemberState::Left);
        if is_gone && self.nodes.get(&id).is_some_and(|node| node.record.gossip_off) {
            return;
        }
        if is_gone && !self.nodes.contains_key(&id) {
            if self.retired.contains(&id) || is_ephemeral(&change.member.labels) {
                return;
            }
        } else if !is_gone {
            self.reinstate(id);
        }
        self.is_isolated &= change.member.state != MemberState::Alive || change.member.role == Role::Collector;
        let conditions = change.member.conditions.iter().map(|condition| condition.name).collect();
        let record = self.record_of(change.member);
        if let Some(node) = self.upsert(now, id, record) {
            let news = !node.gossiped || node.conditions != conditions;
            node.conditions = conditions;
            if !std::mem::replace(&mut node.gossiped, true) {
                node.expected_since = now;
            }
            if news {
                self.changed.insert(id);
            }
            self.due.insert(id);
            self.claim_name(id);
        }
    }

    /// What is known of a member, together with what it told us itself.
    fn record_of(&self, member: Member) -> NodeRecord {
        let known = self.nodes.get(&member.id).map(|known| known.record.clone());
        let membership = Some(Membership { state: member.state, since: member.since, cause: member.cause });
        // A member whose metadata has not reached us goes by its id and has no labels and no version.
        let nameless = member.name == member.id.to_string();
        match known {
            Some(known) if nameless => NodeRecord { membership, gossip_off: false, ..known },
            known => NodeRecord {
                name: member.name,
                role: member.role,
                labels: member.labels,
                version: member.version,
                interval: known.as_ref().map_or(Span::ZERO, |known| known.interval),
                membership,
                up: known.as_ref().and_then(|known| known.up),
                last_report_at: known.as_ref().and_then(|known| known.last_report_at),
                life_seq: known.as_ref().map_or(0, |known| known.life_seq),
                gossip_off: false,
            },
        }
    }

    /// Decides `up` of the nodes where it may have changed by now.
    pub(crate) fn check(&mut self, now: Timestamp, frames_are_refused: bool) {
        if self.check_at.is_some_and(|at| at <= now) {
            return self.check_all(now, frames_are_refused);
        }
        for id in std::mem::take(&mut self.due) {
            self.check_node(now, id, frames_are_refused);
        }
    }

    /// Decides `up` of every node anew.
    pub(crate) fn check_all(&mut self, now: Timestamp, frames_are_refused: bool) {
        self.check_at = None;
        self.due.clear();
        let ids: Vec<NodeId> = self.nodes.keys().copied().collect();
        for id in ids {
            self.check_node(now, id, frames_are_refused);
        }
    }

    fn check_node(&mut self, now: Timestamp, id: NodeId, frames_are_refused: bool) {
        let isolated = self.is_isolated;
        let Some(node) = self.nodes.get_mut(&id) else { return };
        if node.is_missing(now) && !isolated {
            node.record.membership = Some(Membership { state: MemberState::Down, since: now, cause: None });
            self.changed.insert(id);
            self.unsaved.insert(id);
        }
        let up = node.up(now, frames_are_refused, self.grace);
        let expected_back = node.expected_back_until(self.grace);
        let overdue = expected_back.is_some_and(|until| until <= now);
        let until = expected_back.filter(|_| !overdue);
        self.check_at = [self.check_at, up.until, until].into_iter().flatten().min();
        if (node.current_up, node.overdue) != (up.value, overdue) {
            (node.current_up, node.overdue) = (up.value, overdue);
            self.changed.insert(id);
        }
        if up.value.is_some() && node.record.up != up.value {
            node.record.up = up.value;
            self.unsaved.insert(id);
        }
        if node.is_dismissed() && !node.connected {
            self.remove(id);
        }
    }

    /// Gossip does not list a node any more. It stays expected, unless another one has its name.
    pub(crate) fn unlisted(&mut self, id: NodeId) {
        self.reinstate(id);
        let holds = |node: &Node| self.holders.get(node.record.role, &node.record.name) == Some(node.id);
        if self.nodes.get(&id).is_some_and(|node| !node.connected && !holds(node)) {
            self.remove(id);
        }
    }

    /// A person says that a node is gone for good; one that lives comes back by itself.
    pub(crate) fn decommission(&mut self, id: NodeId) {
        self.remove(id);
        if self.retired.len() < MAX_MEMBERS {
            self.retired.insert(id);
            self.unsaved_retired.insert(id);
        }
    }

    /// Decommissioned nodes of an earlier run.
    pub(crate) fn retire(&mut self, ids: impl IntoIterator<Item = NodeId>) {
        self.retired.extend(ids.into_iter().take(MAX_MEMBERS));
    }

    pub(crate) fn is_retired(&self, id: NodeId) -> bool {
        self.retired.contains(&id)
    }

    fn reinstate(&mut self, id: NodeId) {
        if self.retired.remove(&id) {
            self.unsaved_retired.insert(id);
        }
    }

    /// Notes until when each name is in maintenance.
    pub(crate) fn mark_maintenance(&mut self, until: impl Fn(&str) -> Option<Timestamp>) {
        for (id, node) in &mut self.nodes {
            let until = until(&node.record.name);
            if node.maintenance_until != until {
                node.maintenance_until = until;
                self.changed.insert(*id);
            }
        }
    }

    /// Whether there is anything to take.
    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Takes another grace for nodes that were stopped.
    pub(crate) fn set_grace(&mut self, grace: Span) {
        if self.grace != grace {
            self.grace = grace;
            self.due.extend(self.nodes.keys());
        }
    }

    /// We did not listen for a while: the time does not count against anybody.
    pub(crate) fn excuse(&mut self, absence: Span) {
        for node in self.nodes.values_mut() {
            node.heard_at = node.heard_at.map(|at| at + absence);
            node.expected_since += absence;
        }
        self.check_at = self.check_at.map(|at| at + absence);
    }

    /// Whether a living node is about to be accused of silence while no other is heard either: each of [`ALL_SILENT`] or
    /// more has missed at least a frame.
    pub(crate) fn hears_nobody(&self, now: Timestamp) -> bool {
        let living = self.nodes.values().filter(|node| node.record.role == Role::Agent && node.is_living());
        let mut silent = 0;
        let mut accused = false;
        for node in living.filter(|node| node.heard_at.is_some()) {
            if !node.misses_frame(now) {
                return false;
            }
            silent += 1;
            accused |= node.current_up == Some(true) && node.is_silent(now);
        }
        accused && silent >= ALL_SILENT
    }

    /// We did not listen for so long that nothing is known of anybody any more, as after a start.
    pub(crate) fn forget_reports(&mut self, now: Timestamp) {
        for node in self.nodes.values_mut() {
            node.heard_at = None;
            node.expected_since = now;
        }
        self.due.extend(self.nodes.keys());
        self.check_at = None;
    }

    /// Takes another way of naming.
    pub(crate) fn rename(&mut self, naming: Naming) {
        self.naming = naming;
        for (id, node) in &mut self.nodes {
            let target = target(&self.naming, *id, &node.record);
            if node.target != target {
                node.target = target;
                self.changed.insert(*id);
            }
        }
    }

    /// The nodes whose series changed since the last call, those that are no more included.
    pub(crate) fn take_changed(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.changed)
    }

    /// The nodes whose records have to be saved, or removed where there is no such node any more.
    pub(crate) fn take_unsaved(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.unsaved)
    }

    /// Nodes that were decommissioned, or are so no more, since the last call.
    pub(crate) fn take_unsaved_retired(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.unsaved_retired)
    }

    /// The nodes that were removed since the last call, as they were.
    pub(crate) fn take_removed(&mut self) -> Vec<Node> {
        std::mem::take(&mut self.removed)
    }

    /// Inserts or updates a node; `None` if there is no room.
    fn upsert(&mut self, now: Timestamp, id: NodeId, record: NodeRecord) -> Option<&mut Node> {
        let known = self.nodes.get(&id).map(|known| known.record == record);
        match known {
            None if self.nodes.len() >= MAX_MEMBERS && !self.make_room() => {
                self.refused += 1;
                return None;
            }
            None => self.insert(now, id, record),
            Some(false) => self.update(now, id, record),
            Some(true) => {}
        }
        self.nodes.get_mut(&id)
    }

    fn insert(&mut self, now: Timestamp, id: NodeId, record: NodeRecord) {
        let node = Node {
            id,
            target: target(&self.naming, id, &record),
            expected_since: now,
            heard_at: None,
            gossiped: false,
            conditions: Vec::new(),
            connected: false,
            clock_offset: None,
            current_up: None,
            overdue: false,
            maintenance_until: None,
            record,
        };
        self.nodes.insert(id, node);
        self.changed.insert(id);
        self.unsaved.insert(id);
        self.due.insert(id);
        self.claim_name(id);
    }

    fn update(&mut self, now: Timestamp, id: NodeId, record: NodeRecord) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        node.target = target(&self.naming, id, &record);
        let old = std::mem::replace(&mut node.record, record);
        if old.name != node.record.name && node.heard_at.is_none() {
            // Its reports were refused while another had the name; under the new one they have yet to come.
            node.expected_since = now;
            node.record.up = None;
        }
        self.holders.release(old.role, &old.name, id);
        self.changed.insert(id);
        self.unsaved.insert(id);
        self.claim_name(id);
    }

    /// Gives the node its name unless another living node of the same role has it. One that is gone gives way for good:
    /// the host came back with a new identity.
    fn claim_name(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get(&id) else { return };
        let (role, name) = (node.record.role, node.record.name.clone());
        if let Some(holder) = self.holders.get(role, &name).filter(|holder| *holder != id) {
            if self.nodes.get(&holder).is_some_and(|holder| !gives_way(holder, node)) {
                return;
            }
            // One that its peers see alive stays listed, as a namesake: gossip would not tell of it again.
            if !self.nodes.get(&holder).is_some_and(|holder| holder.is(MemberState::Alive)) {
                self.remove(holder);
            }
        }
        self.holders.of(role).insert(name, id);
    }

    fn make_room(&mut self) -> bool {
        let gone = |node: &&Node| !node.connected && (node.is(MemberState::Down) || node.is(MemberState::Left));
        let since = |node: &&Node| node.record.membership.map(|membership| membership.since);
        let Some(id) = self.nodes.values().filter(gone).min_by_key(since).map(|node| node.id) else { return false };
        self.remove(id);
        true
    }

    fn remove(&mut self, id: NodeId) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.holders.release(node.record.role, &node.record.name, id);
        self.changed.insert(id);
        self.unsaved.insert(id);
        self.removed.push(node);
    }
}

fn target(naming: &Naming, id: NodeId, record: &NodeRecord) -> crate::ingest::naming::TargetLabels {
    naming.target(NodeFacts { id, name: &record.name, labels: &record.labels })
}
