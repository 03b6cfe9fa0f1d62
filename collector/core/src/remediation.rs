//! Remediation: a firing alert orders an action on a node, if everything allows it, and otherwise says why not.
//!
//! ```text
//! firing alerts -> decide (every guard is asked) -> order: state commit (durable) -> Dispatch -> agent
//!                       \-> a case with its reasons                 reports <- (signed by nobody: they only tell)
//! ```
//!
//! What may run stands in files on the node; here stands when. Orders are signed by the shell, and dispatched at most a
//! few times each: again only when the agent came back and has not seen it, and never after a restart of ours. One pass
//! through a remediation's steps is an attempt ([`run`]); every step passes the guards anew.
//!
//! Invariants:
//! - an order leaves only after it is durable, with an epoch above those of all earlier starts;
//! - in doubt nothing is ordered: no sight of the fleet, no agent, an unknown outcome, a full ledger;
//! - an outcome that an agent tells is durable before the agent hears that it was seen;
//! - agents only speak of orders that were given to them;
//! - shares and majorities count registered members, never those that are alive now;
//! - the reports of agents authorise nothing: they can keep an order back, and what others say of a silent node is asked
//!   for by us.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::Fingerprint;
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::order::{Actions, Order, OrderId, OrderReport};
use watchfire_shared::time::{Span, Timestamp};

mod file;

mod guards;

mod window;

mod case;

mod order;

mod run;

mod situation;

mod decide;

mod fleet;

mod storm;

mod witness;

mod look;

mod attempt;

mod control;

mod journal;

mod figures;

pub mod view;

#[cfg(test)]
mod tests;

use crate::alert::Alert;
use crate::fact::{Fact, Level};
use crate::ingest::shown;
pub use attempt::{ESCALATE_TO, ESCALATION};
pub use case::{Case, CaseState};
pub(crate) use control::PAUSE_TABLE;
pub use control::{Answer, Command, MAX_PAUSE, MAX_WORDS_BYTES, Pause, Refusal, SimulatedOrder, Simulation};
pub use figures::Figures;
pub use file::{
    AlertSource, MAX_REMEDIATIONS, Mode, Remediation, Step as FileStep, Target, parse, receivers, unknown_receivers,
};
pub use guards::{Attempts, Blocker, Corroborate, Domains, Guards, Quorum, Share};
pub(crate) use journal::TABLE as JOURNAL_TABLE;
pub use order::{Issued, State, Step};
pub use run::{Change as RunChange, Run, RunState};
pub(crate) use situation::{Firing, Nodes, Seen, Situation};
pub(crate) use storm::TABLE as STORM_TABLE;

/// The table of the durable state that holds orders.
pub(crate) const ORDER_TABLE: &str = "orders";
/// The table that holds attempts.
pub(crate) const RUN_TABLE: &str = "remediation_runs";
/// The table that holds the epoch.
pub(crate) const EPOCH_TABLE: &str = "order_epoch";
/// The one key of [`EPOCH_TABLE`].
const EPOCH_KEY: &str = "last";
/// Every table of remediation.
pub(crate) const TABLES: [&str; 6] = [ORDER_TABLE, RUN_TABLE, EPOCH_TABLE, PAUSE_TABLE, STORM_TABLE, JOURNAL_TABLE];

/// The records of each of [`TABLES`], key and value.
pub(crate) type Saved = [Vec<(String, Vec<u8>)>; 6];

/// Orders that are kept, and attempts. Those of a day are needed to count attempts; more than these within a day are no
/// repair.
pub(crate) const MAX_ORDERS: usize = 1000;
/// How often cases are looked at although no alert changed: silences and members change too.
const LOOK_EVERY: Span = Span::from_seconds(5);
/// How soon after the last look a change of some node leads to another.
const LOOK_AFTER_CHANGE: Span = Span::from_seconds(1);
/// What is kept of an action's output, bytes. A thousand orders take 8 MiB of memory.
const MAX_OUTPUT_BYTES: usize = 8 << 10;
/// Problems and actions of one agent that are kept, and the bytes of their texts.
const MAX_TEXT_BYTES: usize = 64 << 10;

/// What remediation wants done.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Output {
    /// Make this durable before anything that follows.
    Save {
        table: &'static str,
        key: String,
        value: Option<Vec<u8>>,
    },
    /// Make this durable at some time; nothing waits for it.
    Note {
        table: &'static str,
        key: String,
        value: Vec<u8>,
    },
    /// Sign the order and send it to its target.
    Dispatch(Box<Order>),
    /// Tell the agent that the final report of the order is durable.
    Seen {
        node: NodeId,
        id: OrderId,
    },
    /// Ask an agent what it believes of a node.
    Ask {
        observer: NodeId,
        about: NodeId,
    },
    /// Notify of this alert, or of its end.
    Escalate(Box<Alert>),
    Fact(Fact),
}

/// The epoch, as it is kept.
#[derive(Serialize, Deserialize)]
struct SavedEpoch {
    epoch: u64,
}

/// A connected agent that takes orders, or says why not.
struct Agent {
    offers: Actions,
    /// Since when it is connected.
    since: Timestamp,
}

/// All remediations, their cases, attempts and orders.
pub(crate) struct Remediator {
    collector: NodeId,
    remediations: Vec<Remediation>,
    /// By time, for their identities sort so.
    orders: BTreeMap<OrderId, Issued>,
    runs: BTreeMap<OrderId, Run>,
    agents: BTreeMap<NodeId, Agent>,
    cases: BTreeMap<(String, Fingerprint), Case>,
    storms: storm::Storms,
    witnesses: witness::Witnesses,
    pauses: control::Pauses,
    journal: journal::Journal,
    epoch: u64,
    epoch_saved: bool,
    seq: u64,
    /// Orders and attempts that ended since the start, by how.
    ended_orders: BTreeMap<State, u64>,
    ended_runs: BTreeMap<RunState, u64>,
    /// When the cases are looked at next; `None` if nothing could change.
    look_at: Option<Timestamp>,
    looked_at: Timestamp,
    /// Whether the view is older than the state.
    changed: bool,
}

impl Remediator {
    /// Brings everything back from the tables of [`TABLES`], in their order.
    pub(crate) fn restore(now: Timestamp, collector: NodeId, remediations: Vec<Remediation>, tables: &Saved) -> Self {
        let [orders, runs, epoch, pauses, storms, journal] = tables;
        let last = epoch.iter().filter_map(|(_, value)| rmp_serde::from_slice::<SavedEpoch>(value).ok());
        let last = last.map(|saved| saved.epoch).max().unwrap_or_default();
        let orders = orders.iter().filter_map(|(_, value)| rmp_serde::from_slice::<Issued>(value).ok());
        let runs = runs.iter().filter_map(|(_, value)| rmp_serde::from_slice::<Run>(value).ok());
        // Whether an alert was quiet while we were away is not known.
        let runs = runs.map(|run| Run { quiet_since: run.quiet_since.map(|_| now), ..run });
        // A state that was lost must not bring back epochs that agents have seen; the wall clock is above them.
        let epoch = (last + 1).max(u64::try_from(now.as_millis()).unwrap_or_default());
        let mut remediator = Self {
            collector,
            remediations,
            orders: orders.map(|issued| (issued.order.id, issued)).collect(),
            runs: runs.map(|run| (run.id, run)).collect(),
            agents: BTreeMap::new(),
            cases: BTreeMap::new(),
            storms: storm::Storms::restore(storms),
            witnesses: witness::Witnesses::default(),
            pauses: control::Pauses::restore(pauses),
            journal: journal::Journal::restore(journal),
            epoch,
            epoch_saved: false,
            seq: 0,
            ended_orders: BTreeMap::new(),
            ended_runs: BTreeMap::new(),
            look_at: None,
            looked_at: now,
            changed: true,
        };
        remediator.look_soon(now);
        remediator
    }

    /// Takes other remediations. Orders that are under way go on.
    pub(crate) fn reload(&mut self, now: Timestamp, remediations: Vec<Remediation>) {
        self.remediations = remediations;
        self.look_soon(now);
        self.changed = true;
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.look_at
    }

    /// An alert changed, or something else that a case may rest on.
    pub(crate) fn look_soon(&mut self, now: Timestamp) {
        if !self.remediations.is_empty() || self.has_open() {
            self.look_at = Some(now);
        }
    }

    /// Some node changed: a storm may have begun or ended. Many change at once, so there is a pause between two looks.
    pub(crate) fn nodes_changed(&mut self, now: Timestamp) {
        if !self.remediations.is_empty() || self.has_open() {
            let at = now.max(self.looked_at + LOOK_AFTER_CHANGE);
            self.look_at = Some(self.look_at.map_or(at, |own| own.min(at)));
        }
    }

    fn has_open(&self) -> bool {
        self.orders.values().any(|own| own.state.is_open()) || self.runs.values().any(|run| run.state.is_open())
    }

    /// An agent tells what it would do.
    pub(crate) fn offers(&mut self, now: Timestamp, node: NodeId, mut offers: Actions, out: &mut Vec<Output>) {
        tidy(&mut offers);
        let last = offers.last;
        let since = self.agents.get(&node).map_or(now, |known| known.since);
        self.agents.insert(node, Agent { offers, since });
        self.changed = true;
        let open: Vec<OrderId> = self
            .orders
            .values()
            .filter(|own| own.order.target == node && !own.state.is_settled())
            .map(|own| own.order.id)
            .collect();
        for id in open {
            self.look_for(now, id, last, out);
        }
        self.look_soon(now);
    }

    /// Looks whether an order reached its agent, whose highest place in the sequence is `last`.
    fn look_for(&mut self, now: Timestamp, id: OrderId, last: Option<(u64, u64)>, out: &mut Vec<Output>) {
        let epoch = self.epoch;
        let Some(issued) = self.orders.get_mut(&id) else { return };
        let arrived = last.is_some_and(|last| last >= (issued.order.epoch, issued.order.seq));
        let was_accepted = issued.history.iter().any(|step| step.state == State::Accepted);
        if arrived || was_accepted || !matches!(issued.state, State::Dispatched | State::Unknown) {
            return;
        }
        if issued.order.epoch == epoch && issued.is_valid(now) {
            out.push(Output::Dispatch(Box::new(issued.order.clone())));
        } else {
            self.turn(now, id, State::Expired, "the agent came back and had not seen it", out);
        }
    }

    /// An agent's connection ended.
    pub(crate) fn gone(&mut self, now: Timestamp, node: NodeId) {
        if self.agents.remove(&node).is_some() {
            self.changed = true;
            self.look_soon(now);
        }
    }

    /// An agent tells what became of an order.
    pub(crate) fn report(&mut self, now: Timestamp, node: NodeId, mut report: OrderReport, out: &mut Vec<Output>) {
        let (id, is_final) = (report.id, report.state.is_final());
        let Some(issued) = self.orders.get_mut(&id) else {
            let fact = Fact::new(Level::Warn, "an agent speaks of an order that is not known here");
            out.push(Output::Fact(fact.with("node", node).with("order", id)));
            // It was forgotten here for good, so the agent may forget it too.
            out.extend(is_final.then_some(Output::Seen { node, id }));
            return;
        };
        if issued.order.target != node {
            let fact = Fact::new(Level::Error, "an agent speaks of an order that was given to another");
            out.push(Output::Fact(fact.with("node", node).with("order", id)));
            return;
        }
        report.detail = shown_long(&report.detail);
        keep_end(&mut report);
        let was_open = issued.state.is_open();
        if issued.hear(now, report) {
            out.push(save(issued));
            out.push(Output::Fact(tell(issued)));
            if was_open && !issued.state.is_open() {
                *self.ended_orders.entry(issued.state).or_default() += 1;
            }
            self.changed = true;
            self.look_soon(now);
        }
        out.extend(is_final.then_some(Output::Seen { node, id }));
    }

    /// An agent tells what it believes of a node, as it was asked to.
    pub(crate) fn testify(&mut self, now: Timestamp, observer: NodeId, about: NodeId, state: Option<MemberState>) {
        if self.witnesses.answer(now, observer, about, state) {
            self.look_soon(now);
        }
    }

    /// Orders whose agents had the time to tell and did not: nobody knows what became of them.
    fn give_up_lost(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        let lost = self.orders.values().filter(|own| own.state.is_open() && own.lost_at <= now);
        for id in lost.map(|own| own.order.id).collect::<Vec<_>>() {
            self.turn(now, id, State::Unknown, "the agent has not told what became of it", out);
        }
    }

    fn turn(&mut self, now: Timestamp, id: OrderId, state: State, detail: &str, out: &mut Vec<Output>) {
        let Some(issued) = self.orders.get_mut(&id) else { return };
        if issued.state.is_open() && !state.is_open() {
            *self.ended_orders.entry(state).or_default() += 1;
        }
        issued.turn(now, state, detail);
        out.push(save(issued));
        out.push(Output::Fact(tell(issued)));
        self.changed = true;
    }

    /// Forgets the oldest orders and attempts that no guard counts any more.
    fn forget(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while self.orders.len() >= MAX_ORDERS {
            let Some((id, oldest)) = self.orders.first_key_value() else { return };
            if oldest.state.is_open() || now.since(oldest.issued_at) < guards::MAX_WINDOW {
                break;
            }
            let id = *id;
            self.orders.remove(&id);
            out.push(Output::Save { table: ORDER_TABLE, key: id.to_string(), value: None });
            self.changed = true;
        }
        while self.runs.len() >= MAX_ORDERS {
            let Some((id, oldest)) = self.runs.first_key_value() else { return };
            if oldest.state.is_open() || now.since(oldest.began_at) < guards::MAX_WINDOW {
                break;
            }
            let id = *id;
            self.runs.remove(&id);
            out.push(Output::Save { table: RUN_TABLE, key: id.to_string(), value: None });
            self.changed = true;
        }
    }

    /// Whether something changed of what is shown, since it was last asked.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }
}

fn save(issued: &Issued) -> Output {
    Output::Save { table: ORDER_TABLE, key: issued.order.id.to_string(), value: Some(encode(issued)) }
}

fn save_run(run: &Run) -> Output {
    Output::Save { table: RUN_TABLE, key: run.id.to_string(), value: Some(encode(run)) }
}

fn tell_run(run: &Run) -> Fact {
    let level = match run.state {
        RunState::Failed | RunState::Escalated | RunState::Expired => Level::Warn,
        _ => Level::Info,
    };
    let fact = Fact::new(level, "an attempt's state changed").with("attempt", run.id).with("node", &run.node);
    let fact = fact.with("remediation", &run.remediation).with("step", run.step + 1);
    fact.with("state", run.state.as_str()).with("detail", &run.detail)
}

fn encode(value: &impl Serialize) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("plain structs always encode into memory")
}

fn tell(issued: &Issued) -> Fact {
    let level = match issued.state {
        State::Failed | State::TimedOut | State::Interrupted | State::Refused | State::Expired | State::Unknown => {
            Level::Warn
        }
        _ => Level::Info,
    };
    let fact = Fact::new(level, "an order's state changed").with("order", issued.order.id).with("node", &issued.node);
    let fact = fact.with("remediation", &issued.order.remediation).with("action", &issued.order.action);
    fact.with("state", issued.state.as_str()).with("detail", &issued.detail)
}

/// Foreign text that may be longer than a name: its beginning, without control characters.
fn shown_long(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).take(1024).collect()
}

/// Keeps the end of what an action wrote, which says how it ended.
fn keep_end(report: &mut OrderReport) {
    if let Some(excess) = report.output.len().checked_sub(MAX_OUTPUT_BYTES).filter(|excess| *excess > 0) {
        report.output.drain(..report.output.ceil_char_boundary(excess));
        report.output_truncated = true;
    }
}

/// Bounds what an agent says of itself.
fn tidy(offers: &mut Actions) {
    offers.refuses = shown_long(&offers.refuses);
    offers.boot = shown(&offers.boot);
    offers.offered.truncate(watchfire_shared::limits::MAX_ACTIONS);
    let mut room = MAX_TEXT_BYTES;
    offers.problems = std::mem::take(&mut offers.problems)
        .iter()
        .map(|problem| shown_long(problem))
        .take_while(|problem| {
            room = room.saturating_sub(problem.len());
            room > 0
        })
        .collect();
    let bytes = |offered: &watchfire_shared::order::OfferedAction| {
        offered.name.len()
            + offered.digest.len()
            + offered.kind.len()
            + offered.params.iter().map(String::len).sum::<usize>()
    };
    let mut room = MAX_TEXT_BYTES;
    offers.offered.retain(|offered| {
        room = room.saturating_sub(bytes(offered));
        room > 0
    });
}
