//! Remediation: a firing alert orders an action on a node, if everything allows it, and otherwise says why not.
//!
//! ```text
//! firing alerts -> decide (every guard is asked) -> order: state commit (durable) -> Dispatch -> agent
//!                       \-> a case with its reasons                 reports <- (signed by nobody: they only tell)
//! ```
//!
//! What may run stands in files on the node; here stands when. Orders are signed by the shell, and dispatched at most a
//! few times each: again only when the agent came back and has not seen it, and never after a restart of ours.
//!
//! Invariants:
//! - an order leaves only after it is durable, with an epoch above those of all earlier starts;
//! - in doubt nothing is ordered: no sight of the fleet, no agent, an unknown outcome, a full ledger;
//! - an outcome that an agent tells is durable before the agent hears that it was seen;
//! - agents only speak of orders that were given to them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::Fingerprint;
use watchfire_shared::limits::MAX_ORDER_LIFE;
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Actions, Order, OrderId, OrderReport};
use watchfire_shared::time::{Span, Timestamp};

mod file;

mod case;

mod order;

mod decide;

pub mod view;

#[cfg(test)]
mod tests;

use crate::fact::{Fact, Level};
use crate::ingest::shown;
use crate::rules::alert::ActiveAlert;
pub use case::{Case, CaseState};
pub(crate) use decide::Situation;
use decide::{Decision, Plan, longest};
pub use file::{Attempts, Blocker, Guards, MAX_REMEDIATIONS, Mode, Remediation, parse};
pub use order::{Issued, State, Step};

/// The table of the durable state that holds orders.
pub(crate) const ORDER_TABLE: &str = "orders";
/// The table that holds the epoch.
pub(crate) const EPOCH_TABLE: &str = "order_epoch";
/// The one key of [`EPOCH_TABLE`].
const EPOCH_KEY: &str = "last";

/// Orders that are kept. Those of a day are needed to count attempts; more than these within a day are no repair.
pub(crate) const MAX_ORDERS: usize = 1000;
/// How often cases are looked at although no alert changed: silences and members change too.
const LOOK_EVERY: Span = Span::from_seconds(5);
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
    /// Sign the order and send it to its target.
    Dispatch(Box<Order>),
    /// Tell the agent that the final report of the order is durable.
    Seen {
        node: NodeId,
        id: OrderId,
    },
    Fact(Fact),
}

/// The epoch, as it is kept.
#[derive(Serialize, Deserialize)]
struct SavedEpoch {
    epoch: u64,
}

/// All remediations, their cases and their orders.
pub(crate) struct Remediator {
    collector: NodeId,
    remediations: Vec<Remediation>,
    /// By time, for their identities sort so.
    orders: BTreeMap<OrderId, Issued>,
    /// What connected agents offer.
    agents: BTreeMap<NodeId, Actions>,
    cases: BTreeMap<(String, Fingerprint), Case>,
    epoch: u64,
    epoch_saved: bool,
    seq: u64,
    /// When the cases are looked at next; `None` if nothing could change.
    look_at: Option<Timestamp>,
    /// Whether the view is older than the state.
    changed: bool,
}

impl Remediator {
    /// Brings orders and epoch back, from the tables [`ORDER_TABLE`] and [`EPOCH_TABLE`].
    pub(crate) fn restore(
        now: Timestamp,
        collector: NodeId,
        remediations: Vec<Remediation>,
        orders: &[(String, Vec<u8>)],
        epoch: &[(String, Vec<u8>)],
    ) -> Self {
        let last = epoch.iter().filter_map(|(_, value)| rmp_serde::from_slice::<SavedEpoch>(value).ok());
        let last = last.map(|saved| saved.epoch).max().unwrap_or_default();
        let orders = orders.iter().filter_map(|(_, value)| rmp_serde::from_slice::<Issued>(value).ok());
        // A state that was lost must not bring back epochs that agents have seen; the wall clock is above them.
        let epoch = (last + 1).max(u64::try_from(now.as_millis()).unwrap_or_default());
        let mut remediator = Self {
            collector,
            remediations,
            orders: orders.map(|issued| (issued.order.id, issued)).collect(),
            agents: BTreeMap::new(),
            cases: BTreeMap::new(),
            epoch,
            epoch_saved: false,
            seq: 0,
            look_at: None,
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
        if !self.remediations.is_empty() || self.orders.values().any(|own| own.state.is_open()) {
            self.look_at = Some(now);
        }
    }

    /// An agent tells what it would do.
    pub(crate) fn offers(&mut self, now: Timestamp, node: NodeId, mut offers: Actions, out: &mut Vec<Output>) {
        tidy(&mut offers);
        let last = offers.last;
        self.agents.insert(node, offers);
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
        if issued.hear(now, report) {
            out.push(save(issued));
            out.push(Output::Fact(tell(issued)));
            self.changed = true;
            self.look_soon(now);
        }
        out.extend(is_final.then_some(Output::Seen { node, id }));
    }

    /// Looks at every alert and gives the orders that nothing speaks against.
    pub(crate) fn look(&mut self, now: Timestamp, situation: &Situation<'_>, out: &mut Vec<Output>) {
        self.give_up_lost(now, out);
        self.forget(now, out);
        let mut cases = BTreeMap::new();
        for remediation in self.remediations.clone() {
            for alert in situation.firing.iter().filter(|alert| remediation.is_for(&alert.labels)) {
                let case = self.case(now, &remediation, alert, situation, out);
                cases.insert((remediation.name.clone(), alert.labels.fingerprint()), case);
            }
        }
        self.changed |= cases != self.cases;
        self.cases = cases;
        let open = self.orders.values().any(|own| own.state.is_open());
        self.look_at = (open || !self.cases.is_empty()).then(|| self.next_look(now));
    }

    fn next_look(&self, now: Timestamp) -> Timestamp {
        let cases = self.cases.values().filter_map(|case| case.until);
        let lost = self.orders.values().filter(|own| own.state.is_open()).map(|own| own.lost_at);
        cases.chain(lost).filter(|at| *at > now).chain([now + LOOK_EVERY]).min().unwrap_or(now + LOOK_EVERY)
    }

    fn case(
        &mut self,
        now: Timestamp,
        remediation: &Remediation,
        alert: &ActiveAlert,
        situation: &Situation<'_>,
        out: &mut Vec<Output>,
    ) -> Case {
        let (state, reasons, until) = match self.decide(now, remediation, alert, situation) {
            Decision::Hold { state, reasons, until } => (state, reasons, until),
            Decision::Act(plan) => {
                let id = self.issue(now, remediation, alert, plan, out);
                (CaseState::Ordered, vec![format!("order {id} is dispatched on the node")], None)
            }
        };
        let fingerprint = alert.labels.fingerprint();
        let before = self.cases.get(&(remediation.name.clone(), fingerprint));
        let same = before.filter(|before| before.state == state && before.reasons == reasons);
        let since = same.map_or(now, |before| before.since);
        if before.is_none_or(|before| before.state != state) {
            let fact =
                Fact::new(Level::Info, "a remediation considers an alert").with("remediation", &remediation.name);
            let fact = fact.with("alert", &alert.labels).with("state", state.as_str());
            out.push(Output::Fact(fact.with("reasons", reasons.join("; "))));
        }
        Case { fingerprint, alert: alert.labels.clone(), state, reasons, since, until }
    }

    /// Gives an order: the epoch and the order are saved, and only then it is dispatched.
    fn issue(
        &mut self,
        now: Timestamp,
        remediation: &Remediation,
        alert: &ActiveAlert,
        plan: Plan,
        out: &mut Vec<Output>,
    ) -> OrderId {
        if !std::mem::replace(&mut self.epoch_saved, true) {
            let value = encode(&SavedEpoch { epoch: self.epoch });
            out.push(Output::Save { table: EPOCH_TABLE, key: EPOCH_KEY.to_owned(), value: Some(value) });
        }
        self.seq += 1;
        let id = OrderId::new(now, self.collector, self.epoch, self.seq);
        let order = Order {
            id,
            issuer: self.collector,
            epoch: self.epoch,
            seq: self.seq,
            target: plan.node,
            boot: plan.boot,
            action: remediation.action.clone(),
            params: remediation.params.clone(),
            digest: plan.offered.digest.clone(),
            not_before: now,
            expires_at: now + MAX_ORDER_LIFE,
            remediation: remediation.name.clone(),
            alert: alert.labels.fingerprint(),
            approver: None,
        };
        let longest = longest(&plan.offered);
        let issued = Issued::new(now, order.clone(), plan.name, alert.labels.clone(), plan.offered.idempotent, longest);
        out.push(save(&issued));
        out.push(Output::Fact(tell(&issued)));
        out.push(Output::Dispatch(Box::new(order)));
        self.orders.insert(id, issued);
        self.changed = true;
        id
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
        issued.turn(now, state, detail);
        out.push(save(issued));
        out.push(Output::Fact(tell(issued)));
        self.changed = true;
    }

    /// Forgets the oldest orders that no guard counts any more.
    fn forget(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while self.orders.len() >= MAX_ORDERS {
            let Some((id, oldest)) = self.orders.first_key_value() else { return };
            if oldest.state.is_open() || now.since(oldest.issued_at) < file::MAX_WINDOW {
                return;
            }
            let id = *id;
            self.orders.remove(&id);
            out.push(Output::Save { table: ORDER_TABLE, key: id.to_string(), value: None });
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
