//! The engine: the machine that holds ingest, the collector's own series, the rules and notification together with the
//! store, and lets data flow through them in one direction.
//!
//! ```text
//! frames  -> ingest ----> store --> snapshot -> Job (beside) -> rules -> notify -> state commit -> Deliver
//!                                                                    \-> remediation -> state commit -> Order
//! members -> fleet -> own series --^                 (an input comes back)          (durable first)
//! ```
//!
//! One thread owns it. Each call takes one input through every part that it concerns, then does what has become due,
//! commits the state once, and only then lets deliveries out. Evaluations run elsewhere over a snapshot, so a heavy rule
//! never keeps frames waiting.
//!
//! Invariants:
//! - a frame is acknowledged only after a sync that covered it;
//! - a delivery leaves only after the changes of state that led to it are durable (or have failed to become so for a
//!   bounded time: alerts fail open);
//! - whatever comes from outside is bounded in memory before it is believed;
//! - equal inputs at equal times give equal effects.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, Feed, State, Store};

use crate::catalogue::causes::Causes;
use crate::catalogue::maintenance::Maintenances;
use crate::export;
use crate::history::History;
use crate::ingest::Ingest;
use crate::notify::{self, Pipeline};
use crate::remediation::Remediator;
use crate::remote_write::Writer;
use crate::rules::RuleSet;
use crate::series::fleet::Fleet;
use crate::series::freshness::Freshness;
use crate::view::View;

mod settings;

mod input;

mod storage;

mod upkeep;

mod open;

mod ledger;

mod durability;

mod own_series;

mod nodes;

mod life;

mod flow;

mod alerting;

mod remedy;

mod absence;

mod figures;

mod exports;

mod picture;

#[cfg(test)]
mod tests;

pub use input::{Answer, Effect, Input, Job};
pub use open::{OpenError, Recovery};
pub use settings::Settings;
pub use storage::SnapshotStorage;

pub use crate::ingest::ConnId;

use durability::Durability;
use ledger::Ledger;
use own_series::OwnSeries;
use picture::Picture;

/// The table of the durable state that holds what is known of nodes.
const NODE_TABLE: &str = "nodes";
/// How often old data is moved and dropped. The store looks at one number per source when there is nothing to do.
const MAINTENANCE: Span = Span::from_seconds(60);

/// The collector's decisions and their state.
pub struct Engine<D: Disk> {
    settings: Settings,
    store: Store<D>,
    state: State,
    ingest: Ingest,
    writer: Writer,
    fleet: Fleet,
    causes: Causes,
    maintenances: Maintenances,
    history: Arc<History>,
    freshness: Freshness,
    rules: RuleSet,
    notifier: Pipeline,
    remediator: Remediator,
    ledger: Ledger,
    durability: Durability,
    own_series: OwnSeries,
    /// What became of samples on their way to each remote engine.
    exports: BTreeMap<String, export::Figures>,
    picture: Picture,
    next_maintenance: Timestamp,
    next_upkeep: Timestamp,
    last_upkeep: Timestamp,
    /// When somebody was last told that the store is behind.
    behind_told_at: Option<Timestamp>,
    /// Which part of the usual window each agent was up, and when that is reckoned anew.
    availability: Vec<(String, f64)>,
    next_availability: Timestamp,
    /// Evaluations whose samples the store did not take.
    lost_results: u64,
    /// What became of the input at hand, told once it is durable.
    answer: Option<Answer>,
    /// Effects of the start, which go out with the first call.
    early: Vec<Effect>,
}

impl<D: Disk> Engine<D> {
    /// What the API shows. It is exchanged for a newer one when something changed; compare [`View::version`].
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.picture.view()
    }

    /// Every source with its rows as of now, for whoever copies the store elsewhere.
    #[must_use]
    pub fn feed(&self) -> Feed {
        self.store.feed()
    }

    /// The stored series as of now, for queries on any thread.
    #[must_use]
    pub fn snapshot(&self) -> SnapshotStorage {
        SnapshotStorage(self.store.snapshot())
    }

    fn take(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        let mut out = Vec::new();
        if !matches!(input, Input::Wake) {
            self.picture.touch(now);
        }
        match input {
            Input::Wake => {}
            Input::Connected { conn, peer } => self.ingest.connected(now, conn, peer, &mut out),
            Input::Frame { conn, bytes } => self.ingest.frame(now, conn, &bytes, &mut self.store, &mut out),
            Input::Write { id, request } => self.write(now, id, &request, effects),
            Input::Unreadable { conn, error } => self.ingest.malformed(conn, &error, &mut out),
            Input::Disconnected { conn } => self.ingest.disconnected(conn, &mut out),
            Input::Member(change) => {
                self.fleet.member(now, *change);
                self.look_for_freshness(now, effects);
            }
            Input::Unlisted(id) => self.fleet.unlisted(id),
            Input::SetMaintenance(maintenance) => self.set_maintenance(now, *maintenance, effects),
            Input::EndMaintenance { node } => self.end_maintenance(now, &node, effects),
            Input::Decommission(id) => self.decommission(now, id, effects),
            Input::Evaluated(evaluation) => {
                self.with_rules(now, effects, |rules, out| rules.apply(now, *evaluation, out))
            }
            Input::Delivered { id, outcome } => {
                self.picture.change_notifications(now);
                self.tell_notifier(now, notify::Input::Delivered { id, outcome }, effects);
            }
            Input::PostAlerts(alerts) => {
                self.ask_notifier(now, notify::Input::Post(alerts), effects);
                self.remediator.look_soon(now);
            }
            Input::SetSilence { silence, replaces } => {
                self.ask_notifier(now, notify::Input::SetSilence { silence: *silence, replaces }, effects);
            }
            Input::ExpireSilence { id } => self.ask_notifier(now, notify::Input::ExpireSilence { id }, effects),
            Input::Exported(progress) => self.exported(now, *progress),
            Input::Remediation(command) => self.command(now, command, effects),
            Input::Simulate { remediation, node } => self.simulate(now, &remediation, &node),
            Input::Delete { selectors, from, to } => self.delete(now, &selectors, from, to, effects),
            Input::CleanDeleted => self.clean_deleted(now),
            Input::Reload(settings) => self.reload(now, *settings, effects, &mut out),
        }
        self.absorb(now, out, effects);
    }

    /// Does everything that time or the input has made due.
    fn settle(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.expire_connections(now, effects);
        self.sync(now, effects);
        if self.freshness.deadline().is_some_and(|at| at <= now) {
            self.look_for_freshness(now, effects);
        }
        self.end_due_maintenance(now, effects);
        self.notice_blindness(now, effects);
        self.write_own_series(now, effects);
        self.maintain(now);
        self.keep_up_store(now, effects);
        if self.rules.deadline().is_some_and(|at| at <= now) {
            self.with_rules(now, effects, |rules, out| rules.wake(now, out));
        }
        if self.notifier.deadline().is_some_and(|at| at <= now) {
            self.tell_notifier(now, notify::Input::Wake, effects);
        }
        if self.remediator.deadline().is_some_and(|at| at <= now) {
            self.remedy(now, effects);
        }
        self.commit(now, effects);
        self.refresh_view(now);
    }
}

impl<D: Disk> Machine for Engine<D> {
    type Input = Input;
    type Effect = Effect;

    fn wake() -> Input {
        Input::Wake
    }

    fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        effects.append(&mut self.early);
        self.notice_absence(now, effects);
        self.take(now, input, effects);
        self.settle(now, effects);
    }

    fn deadline(&self) -> Option<Timestamp> {
        let deadlines = [
            self.ingest.deadline(),
            self.durability.deadline(),
            self.freshness.deadline(),
            self.fleet.deadline(),
            self.causes.deadline(),
            self.maintenances.deadline(),
            Some(self.own_series.deadline()),
            Some(self.next_maintenance),
            Some(self.next_upkeep),
            self.rules.deadline(),
            self.notifier.deadline(),
            self.remediator.deadline(),
            self.ledger.deadline(),
            self.picture.deadline(),
        ];
        deadlines.into_iter().flatten().min()
    }
}
