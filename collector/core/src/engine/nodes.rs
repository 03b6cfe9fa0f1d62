//! What people and gossip say of nodes beside their states: maintenance, decommissioning, the end of a member; and what
//! follows from many states together: fallen groups, and the history.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchfire_shared::labels::INSTANCE;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::member::{DownCause, MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, State, StateError};

use super::{Effect, Engine};
use crate::availability::{self, Window};
use crate::catalogue::inventory::Expected;
use crate::catalogue::maintenance::{Maintenance, Maintenances};
use crate::catalogue::{Policy, is_ephemeral};
use crate::fact::{Fact, Level};
use crate::history::{self, Change, History, Source};
use crate::ingest::naming::NodeFacts;
use crate::notify::{self, Silence};
use crate::series::Samples;
use crate::series::node::{Node, NodeRecord};
use crate::series::write::{self, FleetFigures};

/// How often availability is reckoned anew. It is a figure over weeks.
const AVAILABILITY_EVERY: Span = Span::from_seconds(300);
/// The table of announced maintenance, by node.
const MAINTENANCE_TABLE: &str = "maintenance";
/// The table of decommissioned nodes of which gossip may still speak, by id.
const RETIRED_TABLE: &str = "retired";
/// The table that says when this collector was last seen running.
const RUN_TABLE: &str = "collector";
const SEEN_AT: &str = "seen_at";
/// Stands in that table once the collector knew enough of its fleet to judge.
const JUDGED: &str = "judged";

/// What was durable of all this.
pub(super) struct Saved {
    pub(super) maintenances: Maintenances,
    pub(super) retired: Vec<NodeId>,
    pub(super) history: History,
    /// When the collector was last seen running.
    pub(super) seen_at: Option<Timestamp>,
    /// Whether it knew enough of its fleet to judge: then the nodes that are saved are all whom it expects.
    pub(super) judged: bool,
    /// Records that could not be read.
    pub(super) unreadable: usize,
}

/// Reads what was durable.
///
/// # Errors
/// If the state cannot be read.
pub(super) fn load(state: &mut State) -> Result<Saved, StateError> {
    let maintenances = state.load(MAINTENANCE_TABLE)?;
    let readable: Vec<Maintenance> =
        maintenances.iter().filter_map(|(_, value)| rmp_serde::from_slice(value).ok()).collect();
    let (history, unreadable) = History::restore(state.load(history::TABLE)?);
    let run: BTreeMap<String, Vec<u8>> = state.load(RUN_TABLE)?.into_iter().collect();
    Ok(Saved {
        unreadable: unreadable + maintenances.len() - readable.len(),
        maintenances: Maintenances::restore(readable),
        retired: state.load(RETIRED_TABLE)?.iter().filter_map(|(id, _)| id.parse().ok()).collect(),
        history,
        seen_at: run.get(SEEN_AT).and_then(|value| rmp_serde::from_slice(value).ok()),
        judged: run.contains_key(JUDGED),
    })
}

impl<D: Disk> Engine<D> {
    /// Notes that the collector runs again and since when it did not. It sees nothing yet.
    pub(super) fn note_start(&mut self, now: Timestamp, seen_at: Option<Timestamp>) {
        if let Some(at) = seen_at {
            self.note_of_self(now, at, "away", "");
        }
        self.note_of_self(now, now, "blind", "started");
        self.note_running(now);
    }

    /// Notes what the collector itself does since `at`.
    pub(super) fn note_of_self(&mut self, now: Timestamp, at: Timestamp, state: &str, reason: &str) {
        let (name, id) = (self.settings.node_name.clone(), self.settings.node_id);
        let (state, reason) = (state.to_owned(), reason.to_owned());
        self.record(now, &name, Change { at, id, role: Role::Collector, source: Source::Collector, state, reason });
    }

    /// Notes that the collector is still running, so that a later life knows when this one ended.
    pub(super) fn note_running(&mut self, now: Timestamp) {
        let value = rmp_serde::to_vec(&now).expect("a time can always be encoded");
        self.ledger.change_soon(now, RUN_TABLE, SEEN_AT.to_owned(), Some(value));
    }

    /// Notes that the collector knows enough to judge.
    pub(super) fn note_judging(&mut self, now: Timestamp) {
        self.note_of_self(now, now, "running", "");
        self.ledger.change_soon(now, RUN_TABLE, JUDGED.to_owned(), Some(Vec::new()));
    }

    fn note(&mut self, now: Timestamp, node: &str, (id, role): (NodeId, Role), source: Source, state: &str, why: &str) {
        let change = Change { at: now, id, role, source, state: state.to_owned(), reason: why.to_owned() };
        self.record(now, node, change);
    }

    pub(super) fn record(&mut self, now: Timestamp, node: &str, change: Change) {
        let saved = Arc::make_mut(&mut self.history).record(node, change);
        self.save_history(now, saved);
    }

    fn save_history(&mut self, now: Timestamp, saved: Vec<history::Saved>) {
        for (key, value) in saved {
            self.ledger.change_soon(now, history::TABLE, key, value);
        }
    }

    /// Drops history that is past its retention.
    pub(super) fn expire_history(&mut self, now: Timestamp) {
        let saved = Arc::make_mut(&mut self.history).expire(now - self.settings.nodes.history_retention);
        self.save_history(now, saved);
    }

    /// Notes the states of nodes that changed.
    pub(super) fn note_states(&mut self, now: Timestamp, changed: &BTreeSet<NodeId>) {
        // Whoever took over the name of one that is gone speaks last.
        let gone: Vec<Node> = self.fleet.take_removed();
        let there = changed.iter().filter_map(|id| self.fleet.get(*id)).filter(|node| !self.fleet.is_namesake(node));
        let states: Vec<_> = gone.iter().chain(there).map(States::of).collect();
        for States { name, node, peers, reports } in states {
            if let Some((state, reason)) = peers {
                self.note(now, &name, node, Source::Peers, state, reason);
            }
            if let Some(state) = reports {
                self.note(now, &name, node, Source::Collector, state, "");
            }
        }
    }

    pub(super) fn save_retired(&mut self, now: Timestamp) {
        for id in self.fleet.take_unsaved_retired() {
            let value = self.fleet.is_retired(id).then(Vec::new);
            self.ledger.change_soon(now, RETIRED_TABLE, id.to_string(), value);
        }
    }

    pub(super) fn decommission(&mut self, now: Timestamp, id: NodeId, effects: &mut Vec<Effect>) {
        let Some(node) = self.fleet.get(id).filter(|node| !node.is_living()) else { return };
        let (name, role) = (node.record.name.clone(), node.record.role);
        self.fleet.decommission(id);
        self.note(now, &name, (id, role), Source::Operator, "decommissioned", "");
        self.end_maintenance(now, &name, effects);
        let fact = Fact::new(Level::Info, "a node was decommissioned: it is not expected any more");
        effects.push(Effect::Fact(fact.with("node", name).with("id", id)));
    }

    pub(super) fn set_maintenance(&mut self, now: Timestamp, maintenance: Maintenance, effects: &mut Vec<Effect>) {
        let Some(set) = self.maintenances.set(maintenance).cloned() else {
            let message = "maintenance was refused: more nodes than a cluster holds are in it already";
            return effects.push(Effect::Fact(Fact::new(Level::Error, message)));
        };
        // Named fields, so that a later version can add one and an older one can pass over it.
        let value = rmp_serde::to_vec_named(&set).expect("texts and times can always be encoded");
        self.ledger.change(now, MAINTENANCE_TABLE, set.node.clone(), Some(value));
        self.note(now, &set.node, self.holder_of(&set.node), Source::Operator, "maintenance", &set.reason);
        self.mute(now, &set, effects);
        self.mark_maintenance(now);
        let fact = Fact::new(Level::Info, "a node is in maintenance");
        effects.push(Effect::Fact(fact.with("node", &set.node).with("until", set.until).with("reason", &set.reason)));
    }

    pub(super) fn end_maintenance(&mut self, now: Timestamp, node: &str, effects: &mut Vec<Effect>) {
        if self.maintenances.end(node).is_some() {
            self.tell_notifier(now, notify::Input::Unmute { id: silence_id(node) }, effects);
            self.ended_maintenance(now, node, effects);
        }
    }

    /// Ends the maintenance whose time is over. Its silence ends by itself.
    pub(super) fn end_due_maintenance(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.maintenances.deadline().is_some_and(|at| at <= now) {
            for over in self.maintenances.take_over(now) {
                self.ended_maintenance(now, &over.node, effects);
            }
        }
    }

    fn ended_maintenance(&mut self, now: Timestamp, node: &str, effects: &mut Vec<Effect>) {
        self.ledger.change(now, MAINTENANCE_TABLE, node.to_owned(), None);
        self.note(now, node, self.holder_of(node), Source::Operator, "in_service", "");
        self.mark_maintenance(now);
        effects.push(Effect::Fact(Fact::new(Level::Info, "a node's maintenance is over").with("node", node)));
    }

    /// Lets every node know of its maintenance.
    pub(super) fn mark_maintenance(&mut self, now: Timestamp) {
        let maintenances = &self.maintenances;
        self.fleet.mark_maintenance(|name| maintenances.get(name).map(|own| own.until));
        self.remediator.look_soon(now);
        self.picture.change(now);
    }

    /// Keeps every alert about the node quiet for the time.
    fn mute(&mut self, now: Timestamp, maintenance: &Maintenance, effects: &mut Vec<Effect>) {
        let silence = Silence {
            id: silence_id(&maintenance.node),
            matchers: vec![Matcher::equal(INSTANCE, self.instance_of(&maintenance.node))],
            starts_at: maintenance.since,
            ends_at: maintenance.until,
            updated_at: now,
            created_by: "maintenance".to_owned(),
            comment: maintenance.reason.clone(),
            annotations: BTreeMap::new(),
        };
        self.tell_notifier(now, notify::Input::Mute(silence), effects);
    }

    /// Other names may follow from a new configuration.
    pub(super) fn mute_again(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        for maintenance in self.maintenances.all().cloned().collect::<Vec<_>>() {
            self.mute(now, &maintenance, effects);
        }
    }

    /// Whom a name means: the agent, if there is one.
    fn holder_of(&self, name: &str) -> (NodeId, Role) {
        let roles = [Role::Agent, Role::Collector].into_iter();
        roles.filter_map(|role| Some((self.fleet.named(role, name)?.id, role))).next().unwrap_or_default()
    }

    fn instance_of(&self, name: &str) -> String {
        let roles = [Role::Agent, Role::Collector].into_iter();
        let known = roles.filter_map(|role| self.fleet.named(role, name)).next();
        let expected = || self.settings.nodes.inventory.iter().find(|expected| expected.name == name);
        let of_inventory = || expected().map(|expected| self.expected_instance(expected));
        known.map(|node| node.target.instance.to_string()).or_else(of_inventory).unwrap_or_else(|| name.to_owned())
    }

    pub(super) fn expected_instance(&self, expected: &Expected) -> String {
        let facts = NodeFacts { id: NodeId(0), name: &expected.name, labels: &expected.labels };
        self.settings.naming.target(facts).instance.to_string()
    }

    /// Nodes of the inventory that no agent goes by.
    pub(super) fn never_seen(&self) -> impl Iterator<Item = &Expected> {
        let missing = |expected: &&Expected| self.fleet.named(Role::Agent, &expected.name).is_none();
        self.settings.nodes.inventory.iter().filter(missing)
    }

    /// Looks for groups that fell, or came back, with the nodes that changed.
    pub(super) fn look_for_causes(&mut self, now: Timestamp, changed: &BTreeSet<NodeId>, effects: &mut Vec<Effect>) {
        let due = self.causes.deadline().is_some_and(|at| at <= now);
        if (changed.is_empty() && !due) || !self.causes.update(now, &self.fleet, changed.iter().copied()) {
            return;
        }
        let explained = self.causes.explained();
        let instances = explained.into_iter().filter_map(|(id, group)| {
            let node = self.fleet.get(id)?;
            Some((node.target.instance.to_string(), self.causes.name(&group, &self.fleet)))
        });
        let instances: BTreeMap<String, (String, String)> = instances.collect();
        self.tell_notifier(now, notify::Input::Explained(instances), effects);
        self.own_series.want_fleet(now);
        self.picture.change(now);
    }

    /// The series about the fleet as a whole.
    pub(super) fn fleet_samples(&self) -> Samples {
        let policy = &self.settings.nodes;
        write::fleet_samples(&FleetFigures {
            fallen: self.causes.fallen(&self.fleet),
            namesakes: self.namesakes(),
            availability: &self.availability,
            never_seen: self.never_seen().map(|expected| self.expected_instance(expected)).collect(),
            ephemeral: policy
                .group_minimum
                .iter()
                .map(|(group, minimum)| (group.as_str(), *minimum, self.living(policy, group)))
                .collect(),
        })
    }

    /// Reckons anew which part of the usual window each agent was up.
    pub(super) fn reckon_availability(&mut self, now: Timestamp) {
        if now < self.next_availability {
            return;
        }
        self.next_availability = now + AVAILABILITY_EVERY;
        let window = Window { from: now - availability::DEFAULT_WINDOW, to: now };
        let policy = availability::Policy::new(self.settings.nodes.expected_back);
        let is_subject = |node: &&Node| node.record.role == Role::Agent && self.fleet.is_shown(node);
        let ratios = self.fleet.nodes().filter(is_subject).filter_map(|node| {
            let NodeRecord { name, labels, last_report_at, .. } = &node.record;
            let subject = availability::Agent { name, labels, last_report_at: *last_report_at };
            let tally = availability::of_agent(&self.history, &self.settings.node_name, subject, window, policy);
            Some((name.clone(), tally.figures().availability_ratio?))
        });
        self.availability = ratios.collect();
    }

    /// Instances of living agents that go by the name of another one, and how many each.
    fn namesakes(&self) -> BTreeMap<String, usize> {
        let mut namesakes = BTreeMap::new();
        let is_one = |node: &&Node| node.record.role == Role::Agent && node.is_living() && self.fleet.is_namesake(node);
        for node in self.fleet.nodes().filter(is_one) {
            *namesakes.entry(node.target.instance.to_string()).or_default() += 1;
        }
        namesakes
    }

    fn living(&self, policy: &Policy, group: &str) -> usize {
        let belongs = |node: &&Node| {
            let labels = &node.record.labels;
            is_ephemeral(labels) && labels.get(&policy.group_label).is_some_and(|own| own == group) && node.is_living()
        };
        self.fleet.nodes().filter(belongs).count()
    }
}

fn silence_id(node: &str) -> String {
    format!("maintenance-{node}")
}

/// What the history notes of a node.
struct States {
    name: String,
    node: (NodeId, Role),
    peers: Option<(&'static str, &'static str)>,
    reports: Option<&'static str>,
}

impl States {
    fn of(node: &Node) -> Self {
        let membership = node.record.membership;
        let known =
            membership.filter(|own| node.gossiped || matches!(own.state, MemberState::Down | MemberState::Left));
        let peers = known.map(|own| match (own.state, own.cause) {
            // Suspicion comes and goes, and is no downtime before it is confirmed.
            (MemberState::Alive | MemberState::Suspect, _) => ("alive", ""),
            (MemberState::Down, Some(DownCause::Refused)) => ("down", "refused"),
            (MemberState::Down, Some(DownCause::Silent)) => ("down", "silent"),
            (MemberState::Down, None) => ("down", ""),
            (MemberState::Left, _) => ("left", ""),
        });
        let reports = node.current_up.map(|up| if up { "reporting" } else { "silent" });
        Self { name: node.record.name.clone(), node: (node.id, node.record.role), peers, reports }
    }
}
