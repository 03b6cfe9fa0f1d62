//! Start and reload: what was durable is brought back, and configuration is exchanged without losing it.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, Options, Quarantined, State, StateError, Store, StoreError};

use super::durability::Durability;
use super::ledger::Ledger;
use super::own_series::OwnSeries;
use super::picture::Picture;
use super::upkeep::set_aside;
use super::{Effect, Engine, NODE_TABLE, Settings, exports, nodes};
use crate::catalogue::causes::Causes;
use crate::fact::{Fact, Level};
use crate::ingest::naming::is_essential;
use crate::ingest::{Identity, Ingest, Output};
use crate::notify::{self, Pipeline};
use crate::remediation::{self, Remediator};
use crate::remote_write::Writer;
use crate::rules::{self, RuleSet};
use crate::series::fleet::Fleet;
use crate::series::freshness::Freshness;
use crate::series::node::NodeRecord;
use crate::view::View;

/// Why the engine cannot start. Nothing durable was changed that a later attempt would miss.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the sample log: {0}")]
    Store(#[from] StoreError),
    #[error("the state: {0}")]
    State(#[from] StateError),
}

/// What the start found.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    pub store: watchfire_store::Recovery,
    /// A damaged state file that was set aside; alerts, nodes and notifications then begin anew.
    pub state: Option<Quarantined>,
    /// Nodes that were known before.
    pub nodes: usize,
    /// Alerts of rules that were firing or lately resolved.
    pub alerts: usize,
    /// How far each remote engine had come, by its name.
    pub exports: BTreeMap<String, Vec<u8>>,
}

impl<D: Disk + Clone> Engine<D> {
    /// Opens store and state on `disk`, replays what was durable, and brings rules and notification back to where they
    /// were. What was due when the process ended is delivered from the first call of
    /// [`handle`](watchfire_shared::machine::Machine::handle) on.
    ///
    /// # Errors
    /// If the disk cannot be used or holds files of a newer version. Damage is no error; see [`Recovery`].
    pub fn open(disk: D, settings: Settings, now: Timestamp) -> Result<(Self, Recovery), OpenError> {
        let (mut state, state_recovery) = State::open(disk.clone())?;
        let (store, store_recovery) = Store::open(disk, Options { essential: is_essential, ..settings.storage })?;
        let records = state.load(NODE_TABLE)?;
        let nodes: BTreeMap<NodeId, NodeRecord> = records.iter().filter_map(|(id, value)| decode(id, value)).collect();
        let saved = nodes::load(&mut state)?;
        let unreadable = records.len() - nodes.len() + saved.unreadable;
        let damaged = store_recovery.quarantined.iter().map(|file| Effect::Fact(set_aside(file)));
        let unread = (unreadable > 0).then(|| {
            let message = "records of nodes could not be read; what they said has to be learnt anew";
            Effect::Fact(Fact::new(Level::Warn, message).with("records", unreadable))
        });
        let early = damaged.chain(unread).collect();
        let mut fleet = Fleet::restore(now, settings.naming.clone(), settings.nodes.expected_back, nodes);
        fleet.retire(saved.retired);
        let mut rules_out = rules::Output::default();
        let rules = RuleSet::new(
            settings.rule_settings.clone(),
            settings.rules.clone(),
            state.load(rules::TABLE)?,
            now,
            &mut rules_out,
        );
        let external_url = settings.rule_settings.external_url.clone();
        let notifier =
            Pipeline::new(now, Arc::clone(&settings.alertmanager), external_url, saved_notifications(&mut state)?);
        let remediator =
            Remediator::restore(now, settings.node_id, settings.remediations.clone(), &saved_remediation(&mut state)?);
        let exports = exports::load(&mut state)?;
        let mut engine = Self {
            ingest: Ingest::new(identity(&settings)),
            writer: Writer::new(&store),
            freshness: if saved.judged { Freshness::again(now, &fleet) } else { Freshness::new(now) },
            causes: Causes::new(&settings.nodes.shared_labels),
            maintenances: saved.maintenances,
            history: Arc::new(saved.history),
            ledger: Ledger::default(),
            durability: Durability::default(),
            own_series: OwnSeries::new(now, own_interval(&settings)),
            exports: BTreeMap::new(),
            picture: Picture::new(View::empty(now), None),
            next_maintenance: now,
            next_upkeep: now,
            last_upkeep: now,
            behind_told_at: None,
            availability: Vec::new(),
            next_availability: now,
            lost_results: 0,
            answer: None,
            early,
            settings,
            store,
            state,
            fleet,
            rules,
            notifier,
            remediator,
        };
        engine.note_start(now, saved.seen_at);
        engine.mark_maintenance(now);
        let alerts = engine.begin(now, rules_out);
        let nodes = engine.fleet.nodes().count();
        Ok((engine, Recovery { store: store_recovery, state: state_recovery.quarantined, nodes, alerts, exports }))
    }

    /// Takes what the restored parts gave, and tells notification what the rules know: the last changes before a crash
    /// may not have reached it. Effects wait for the first call of `handle`.
    fn begin(&mut self, now: Timestamp, rules_out: rules::Output) -> usize {
        let mut effects = Vec::new();
        // Alerts that a fallen group explained stay explained.
        let all = self.fleet.nodes().map(|node| node.id).collect();
        self.look_for_causes(now, &all, &mut effects);
        self.tell_notifier(now, notify::Input::Wake, &mut effects);
        let known = self.known_alerts(now);
        let alerts = known.len();
        self.tell_notifier(now, notify::Input::Alerts(known), &mut effects);
        // What notification holds and no rule knows of belongs to rules that are no more.
        self.tell_notifier(now, notify::Input::Confirmed { since: now }, &mut effects);
        self.absorb_rules(now, rules_out, &mut effects);
        self.early.append(&mut effects);
        self.picture.change_remediation(now);
        self.picture.change_notifications(now);
        self.redraw(now, 1, self.notifier.next_turn(now));
        alerts
    }
}

impl<D: Disk> Engine<D> {
    /// Takes another configuration. State is kept; what is no more configured ends.
    pub(super) fn reload(
        &mut self,
        now: Timestamp,
        settings: Settings,
        effects: &mut Vec<Effect>,
        out: &mut Vec<Output>,
    ) {
        self.ingest.rename(identity(&settings), out);
        self.fleet.rename(settings.naming.clone());
        self.own_series.set_interval(now, own_interval(&settings));
        self.fleet.set_grace(settings.nodes.expected_back);
        let regroup = self.causes.set_labels(&settings.nodes.shared_labels);
        self.settings = settings;
        self.forget_exports();
        if regroup {
            let all = self.fleet.nodes().map(|node| node.id).collect();
            self.look_for_causes(now, &all, effects);
        }
        self.own_series.want_fleet(now);
        let (rule_settings, groups) = (self.settings.rule_settings.clone(), self.settings.rules.clone());
        self.tell_notifier(now, notify::Input::Reload(Arc::clone(&self.settings.alertmanager)), effects);
        self.mute_again(now, effects);
        self.remediator.reload(now, self.settings.remediations.clone());
        self.with_rules(now, effects, |rules, out| rules.reload(rule_settings, groups, now, out));
        self.picture.change_notifications(now);
        effects.push(Effect::Fact(Fact::new(Level::Info, "the configuration was taken over")));
    }
}

fn saved_notifications(state: &mut State) -> Result<Vec<notify::Saved>, StateError> {
    let mut saved = Vec::new();
    for table in notify::TABLES {
        let records = state.load(table)?.into_iter();
        saved.extend(records.map(|(key, value)| notify::Saved { table: (*table).to_owned(), key, value }));
    }
    Ok(saved)
}

/// The records of remediation's tables, in their order.
fn saved_remediation(state: &mut State) -> Result<remediation::Saved, StateError> {
    let mut saved = remediation::Saved::default();
    for (records, table) in saved.iter_mut().zip(remediation::TABLES) {
        *records = state.load(table)?;
    }
    Ok(saved)
}

fn identity(settings: &Settings) -> Identity {
    Identity {
        node_id: settings.node_id,
        node_name: settings.node_name.clone(),
        naming: settings.naming.clone(),
        retention: settings.storage.retention,
    }
}

/// Rules must find a value of every round, so the own series are written at least as often as rules are evaluated.
fn own_interval(settings: &Settings) -> Span {
    settings.self_interval.min(settings.rule_settings.interval).max(Span::from_millis(1))
}

fn decode(id: &str, record: &[u8]) -> Option<(NodeId, NodeRecord)> {
    Some((id.parse().ok()?, rmp_serde::from_slice(record).ok()?))
}
