//! Many at once is one cause: groups of nodes that share something and fall together.
//!
//! A group is all agents with the same value of one of the policy's labels, and the whole cluster. It has fallen when at
//! least [`LEAST`] of its nodes, and more than half of those that lived, went down within [`WINDOW`]; nodes under suspicion
//! count once one that fell with them is confirmed, or the first death would be told before the others are known. A fallen group stays
//! so until all that fell with it are back and rules have seen it, or most have been for [`CALM`]; then those that are still missing speak for
//! themselves. A group whose fallen nodes a wider one explains already is not told.
//!
//! Ephemeral nodes, and those that left on purpose, belong to no group.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::member::{MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use super::is_ephemeral;
use crate::series::fleet::Fleet;
use crate::series::node::Node;

/// Fewer are a coincidence, or a small group whose nodes may as well speak for themselves.
pub(crate) const LEAST: usize = 3;
/// How far apart deaths of one cause are found. Gossip confirms the members of a lost zone within half of it.
pub(crate) const WINDOW: Span = Span::from_seconds(60);
/// How long after a death suspicion may begin to be of its cause: what falls together is doubted before the first of it is
/// confirmed. Rumours that a healed partition brings come later.
const LATE: Span = Span::from_seconds(5);
/// How long most nodes have to be back before the rest is no longer part of the event.
const CALM: Span = Span::from_seconds(300);
/// How long a group whose nodes are all back still explains them: until rules were evaluated over their return. Otherwise an
/// alert that is just about to resolve would be told, because nothing keeps it quiet any more.
const SETTLE: Span = Span::from_seconds(15);
/// The name under which the whole cluster is a group; no label of a node can be called so.
const CLUSTER: &str = "";

/// A label and its value; the whole cluster has none.
pub(crate) type Group = (String, String);

/// A fallen group as it is told.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fallen {
    pub(crate) label: String,
    pub(crate) value: String,
    pub(crate) nodes: usize,
    pub(crate) down: usize,
}

#[derive(Debug)]
struct Event {
    /// When the first of them fell.
    began: Timestamp,
    /// Those that were confirmed down since.
    members: BTreeSet<NodeId>,
    /// Those that are under suspicion just now.
    suspected: BTreeSet<NodeId>,
    /// Since when most of them are back.
    calm_since: Option<Timestamp>,
    /// Since when all of them are.
    back_since: Option<Timestamp>,
}

impl Event {
    /// When it is over if nothing else happens.
    fn over_at(&self) -> Option<Timestamp> {
        let calm = self.calm_since.map(|since| since + CALM);
        let back = self.back_since.map(|since| since + SETTLE);
        calm.into_iter().chain(back).min()
    }

    fn all(&self) -> impl Iterator<Item = NodeId> {
        self.members.union(&self.suspected).copied()
    }
}

/// All groups, and which of them have fallen.
#[derive(Debug)]
pub(crate) struct Causes {
    labels: Vec<String>,
    members: BTreeMap<Group, BTreeSet<NodeId>>,
    groups: BTreeMap<NodeId, Vec<Group>>,
    events: BTreeMap<Group, Event>,
}

/// What is counted of a group.
struct Count {
    down: BTreeMap<NodeId, Timestamp>,
    /// Down or under suspicion, within one window, and when the first of them fell.
    fell: BTreeSet<NodeId>,
    began: Timestamp,
    /// Those of the group that lived when the first of `fell` did.
    lived: usize,
}

impl Causes {
    pub(crate) fn new(labels: &[String]) -> Self {
        let labels = labels.to_vec();
        Self { labels, members: BTreeMap::new(), groups: BTreeMap::new(), events: BTreeMap::new() }
    }

    /// Takes other labels; everything is sorted anew with the next [`Causes::update`].
    pub(crate) fn set_labels(&mut self, labels: &[String]) -> bool {
        let changed = self.labels != labels;
        if changed {
            *self = Self::new(labels);
        }
        changed
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.events.values().filter_map(Event::over_at).min()
    }

    /// Looks at the groups of nodes that changed. Returns whether another picture follows.
    pub(crate) fn update(&mut self, now: Timestamp, fleet: &Fleet, changed: impl IntoIterator<Item = NodeId>) -> bool {
        let mut touched = BTreeSet::new();
        for id in changed {
            self.sort(id, fleet.get(id).filter(|node| belongs(node)), &mut touched);
        }
        let over = |event: &Event| event.over_at().is_some_and(|at| at <= now);
        touched.extend(self.events.iter().filter(|(_, event)| over(event)).map(|(group, _)| group.clone()));
        let before = self.sizes(&touched);
        for group in &touched {
            self.judge(now, fleet, group);
        }
        before != self.sizes(&touched)
    }

    /// How many nodes belong to the events of some groups.
    fn sizes(&self, groups: &BTreeSet<Group>) -> Vec<Option<usize>> {
        groups.iter().map(|group| self.events.get(group).map(|event| event.all().count())).collect()
    }

    /// Puts a node where it belongs.
    fn sort(&mut self, id: NodeId, node: Option<&Node>, touched: &mut BTreeSet<Group>) {
        let groups = node.map(|node| self.groups_of(node)).unwrap_or_default();
        let before = if groups.is_empty() { self.groups.remove(&id) } else { self.groups.insert(id, groups.clone()) };
        for group in before.into_iter().flatten().filter(|group| !groups.contains(group)) {
            if let Some(members) = self.members.get_mut(&group) {
                members.remove(&id);
            }
            touched.insert(group);
        }
        for group in groups {
            self.members.entry(group.clone()).or_default().insert(id);
            touched.insert(group);
        }
    }

    fn groups_of(&self, node: &Node) -> Vec<Group> {
        let labelled = self.labels.iter().filter_map(|label| {
            let value = node.record.labels.get(label).filter(|value| !value.is_empty())?;
            Some((label.clone(), value.clone()))
        });
        labelled.chain([(CLUSTER.to_owned(), String::new())]).collect()
    }

    fn judge(&mut self, now: Timestamp, fleet: &Fleet, group: &Group) {
        let members = self.members.get(group);
        if members.is_none_or(BTreeSet::is_empty) {
            self.members.remove(group);
            self.events.remove(group);
            return;
        }
        let count = count(members.into_iter().flatten().filter_map(|id| fleet.get(*id)));
        let fell = count.fell.len() >= LEAST && count.fell.len() * 2 > count.lived;
        if fell {
            let began = count.began;
            let new = || Event {
                began,
                members: BTreeSet::new(),
                suspected: BTreeSet::new(),
                calm_since: None,
                back_since: None,
            };
            let event = self.events.entry(group.clone()).or_insert_with(new);
            event.suspected = count.fell.iter().filter(|id| !count.down.contains_key(id)).copied().collect();
        }
        let Some(event) = self.events.get_mut(group) else { return };
        event.members.extend(count.down.iter().filter(|(_, since)| **since >= event.began).map(|(id, _)| *id));
        if fell {
            (event.calm_since, event.back_since) = (None, None);
            return;
        }
        event.suspected.clear();
        let missing = event.members.iter().filter(|id| count.down.contains_key(id)).count();
        event.back_since = if missing == 0 { event.back_since.or(Some(now)) } else { None };
        event.calm_since = if missing * 2 > event.members.len() { None } else { event.calm_since.or(Some(now)) };
        // A suspicion that was refuted leaves nothing that could have been one cause.
        if event.members.len() < LEAST || event.over_at().is_some_and(|at| at <= now) {
            self.events.remove(group);
        }
    }

    /// The fallen groups that are told: the widest first, and others only if they explain what those do not.
    pub(crate) fn fallen(&self, fleet: &Fleet) -> Vec<Fallen> {
        self.told().into_iter().map(|(group, _)| self.describe(group, fleet)).collect()
    }

    /// Which told group each fallen node belongs to.
    pub(crate) fn explained(&self) -> BTreeMap<NodeId, Group> {
        let mut explained = BTreeMap::new();
        for (group, event) in self.told() {
            for id in event.all() {
                explained.entry(id).or_insert_with(|| group.clone());
            }
        }
        explained
    }

    fn told(&self) -> Vec<(&Group, &Event)> {
        let mut explained: BTreeSet<NodeId> = BTreeSet::new();
        let mut told = Vec::new();
        let labels = self.labels.iter().map(String::as_str).chain([CLUSTER]);
        for label in labels {
            for (group, event) in self.events.iter().filter(|((own, _), _)| own == label) {
                if event.all().filter(|id| !explained.contains(id)).count() >= LEAST {
                    explained.extend(event.all());
                    told.push((group, event));
                }
            }
        }
        told
    }

    /// The label and the value under which a group is told.
    pub(crate) fn name(&self, group: &Group, fleet: &Fleet) -> Group {
        let is_cluster = group.0 == CLUSTER;
        if is_cluster { ("cluster".to_owned(), fleet.cluster().to_owned()) } else { group.clone() }
    }

    fn describe(&self, group: &Group, fleet: &Fleet) -> Fallen {
        let members = self.members.get(group).into_iter().flatten();
        let states: Vec<bool> =
            members.filter_map(|id| fleet.get(*id)).map(|node| node.is(MemberState::Down)).collect();
        let (label, value) = self.name(group, fleet);
        Fallen { label, value, nodes: states.len(), down: states.iter().filter(|down| **down).count() }
    }
}

fn belongs(node: &Node) -> bool {
    let gone = node.is(MemberState::Left) || node.record.membership.is_none();
    node.record.role == Role::Agent && !gone && !is_ephemeral(&node.record.labels)
}

/// Finds the window in which the most fell.
fn count<'a>(nodes: impl Iterator<Item = &'a Node>) -> Count {
    let mut total = 0;
    let mut down = BTreeMap::new();
    let mut falls: Vec<(Timestamp, NodeId)> = Vec::new();
    let mut doubted: Vec<(Timestamp, NodeId)> = Vec::new();
    for node in nodes {
        total += 1;
        let Some(membership) = node.record.membership else { continue };
        match membership.state {
            MemberState::Down => {
                down.insert(node.id, membership.since);
                falls.push((membership.since, node.id));
            }
            MemberState::Suspect => doubted.push((membership.since, node.id)),
            MemberState::Alive | MemberState::Left => {}
        }
    }
    // What is doubted for long and not dead is so because we heard nobody for a while, and falls with the first that is
    // confirmed then.
    let deaths: BTreeSet<Timestamp> = down.values().copied().collect();
    let with_first_death = |(at, id): (Timestamp, NodeId)| Some(((*deaths.range(at - LATE..).next()?).max(at), id));
    falls.extend(doubted.into_iter().filter_map(with_first_death));
    falls.sort_unstable();
    let is_down = |(_, id): &(Timestamp, NodeId)| usize::from(down.contains_key(id));
    let (mut best, mut from, mut confirmed) = (0..0, 0, 0);
    for to in 0..falls.len() {
        confirmed += is_down(&falls[to]);
        while falls[to].0.since(falls[from].0) > WINDOW {
            confirmed -= is_down(&falls[from]);
            from += 1;
        }
        if confirmed > 0 && to + 1 - from > best.len() {
            best = from..to + 1;
        }
    }
    let dead_before: usize = falls[..best.start].iter().map(is_down).sum();
    let began = falls.get(best.start).map_or(Timestamp::MAX, |(at, _)| *at);
    Count { fell: falls[best].iter().map(|(_, id)| *id).collect(), began, lived: total - dead_before, down }
}

#[cfg(test)]
mod tests;
