//! Orders as an agent takes them: each is accepted or refused once, run at most once, and what became of it is told until
//! the collector has seen it.
//!
//! ```text
//! order, signature verified -> checks -> Journal (durable) -> Run -> Finished -> Journal (durable) -> report, until seen
//!                                    \-> refused: Journal (durable) -> report, until seen
//! ```
//!
//! This is a machine beside [`crate::agent`]: it knows no connection and no process. Signatures are verified by the
//! shell, and what could not be verified never gets further than a count.
//!
//! Invariants:
//! - nothing runs before the journal that says so is durable, and nothing that the journal knows runs again;
//! - places in the sequence of orders only rise, also over restarts: whatever is sent twice is known;
//! - one action runs at a time, and there is always a bound for how often;
//! - without a journal, or without a key to verify with, nothing runs.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use watchfire_shared::frame::Message;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Actions, Order, OrderId, OrderReport, OrderState};
use watchfire_shared::time::{Span, Timestamp};

use crate::action::{Action, fill};
pub use figures::{ClusterView, ENDS, EndCounts};

mod accept;

mod figures;

#[cfg(test)]
mod tests;

/// Orders that are kept in mind. An hour's orders are needed for the caps; more than these within an hour are refused.
pub const MAX_ENTRIES: usize = 64;
/// For how long an order counts for the caps.
const CAP_WINDOW: Span = Span::from_seconds(3600);

/// What an agent may be ordered to do.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    /// Why no order is taken at all; empty if orders are taken.
    pub refuses: String,
    /// By name.
    pub actions: BTreeMap<String, Action>,
    /// Files that could not be used, each with its mistake.
    pub problems: Vec<String>,
}

/// An order and what became of it, as the journal keeps it. A later one of the same order replaces an earlier one.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    pub order: Order,
    /// When it was accepted; `None` if it was refused.
    pub accepted_at: Option<Timestamp>,
    pub report: OrderReport,
    /// The collector has the final report.
    #[serde(default)]
    pub seen: bool,
}

/// A command to run, its parameters filled in.
#[derive(Clone, PartialEq, Debug)]
pub struct Job {
    pub id: OrderId,
    pub argv: Vec<String>,
    /// Variables that tell the command why it runs; it gets no other but a fixed `PATH`.
    pub env: Vec<(String, String)>,
    pub timeout: Span,
    /// What the program's file has to hash to.
    pub sha256: Option<String>,
    pub verify: Option<VerifyJob>,
}

/// How it is found out whether the command helped.
#[derive(Clone, PartialEq, Debug)]
pub struct VerifyJob {
    pub argv: Vec<String>,
    pub retries: u32,
    pub interval: Span,
    pub deadline: Span,
}

/// How a job ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    pub state: OrderState,
    pub detail: String,
    pub exit_code: Option<i32>,
    pub output: String,
    pub output_truncated: bool,
    pub verified: Option<bool>,
}

/// What the machine is told.
#[derive(Clone, Debug)]
pub enum Input {
    Wake,
    /// A collector was greeted: it has to know what is offered, and what it has not seen.
    Greeted {
        collector: NodeId,
    },
    /// An order arrived from a collector, signed by whom we trust. `view` is what this node saw of the cluster then.
    Order {
        from: NodeId,
        order: Box<Order>,
        view: ClusterView,
    },
    /// Something arrived that is no such order; `claims` is the identity that it claims to have.
    Forged {
        from: NodeId,
        claims: Option<OrderId>,
        reason: String,
    },
    /// The collector has the final report of an order on its disk.
    Seen {
        id: OrderId,
    },
    /// What [`Effect::Journal`] asked for is durable, or cannot become so.
    Journaled {
        id: OrderId,
        state: OrderState,
        result: Result<(), String>,
    },
    /// The command ended well and is being verified.
    Verifying {
        id: OrderId,
    },
    /// What [`Effect::Run`] asked for is over.
    Ended {
        id: OrderId,
        ended: Box<Ended>,
    },
    /// The files of actions, or the key, were read again.
    Catalogue(Catalogue),
}

/// What the machine asks for, in order.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Append the entry to the journal, sync, and tell.
    Journal(Box<Entry>),
    /// Replace the journal by these entries; nobody waits for it.
    Rewrite(Vec<Entry>),
    /// Run a command, once.
    Run(Box<Job>),
    /// Send a message to a collector, or to all of them, if they are connected.
    Say {
        to: Option<NodeId>,
        message: Box<Message>,
    },
    Fact(Fact),
}

/// Something for the log.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    /// An order could not be verified.
    Forged {
        from: NodeId,
        reason: String,
    },
    Refused {
        id: OrderId,
        action: String,
        reason: String,
    },
    Accepted {
        id: OrderId,
        action: String,
        remediation: String,
    },
    Ended {
        id: OrderId,
        action: String,
        report: OrderReport,
    },
    JournalFailed {
        reason: String,
    },
}

#[derive(Debug)]
struct Kept {
    entry: Entry,
    /// Whether the entry as it stands is on the disk.
    durable: bool,
}

/// The orders of an agent.
#[derive(Debug)]
pub struct Orders {
    node: NodeId,
    boot: String,
    catalogue: Catalogue,
    entries: BTreeMap<OrderId, Kept>,
    /// The highest place that was ever accepted or refused.
    last: Option<(u64, u64)>,
    running: Option<OrderId>,
    journal_failure: Option<String>,
    ends: EndCounts,
}

impl Machine for Orders {
    type Input = Input;
    type Effect = Effect;

    fn wake() -> Input {
        Input::Wake
    }

    fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        match input {
            Input::Wake => {}
            Input::Greeted { collector } => self.greeted(collector, effects),
            Input::Order { from, order, view } => self.order(now, from, *order, view, effects),
            Input::Forged { from, claims, reason } => self.forged(now, from, claims, reason, effects),
            Input::Seen { id } => self.seen(id, effects),
            Input::Journaled { id, state, result } => self.journaled(now, id, state, result, effects),
            Input::Verifying { id } => self.tell_progress(now, id, OrderState::Verifying, effects),
            Input::Ended { id, ended } => self.ended(now, id, *ended, effects),
            Input::Catalogue(catalogue) => {
                self.catalogue = catalogue;
                effects.push(Effect::Say { to: None, message: Box::new(self.offer()) });
            }
        }
    }

    fn deadline(&self) -> Option<Timestamp> {
        None
    }
}

impl Orders {
    /// Starts with the entries of the journal, in its order. What was accepted and has no end was interrupted: it is
    /// journalled and told as such, and not run again.
    #[must_use]
    pub fn new(
        now: Timestamp,
        node: NodeId,
        boot: String,
        journal: Vec<Entry>,
        catalogue: Catalogue,
        effects: &mut Vec<Effect>,
    ) -> Self {
        let mut entries: BTreeMap<OrderId, Kept> = BTreeMap::new();
        for entry in journal {
            entries.insert(entry.order.id, Kept { entry, durable: true });
        }
        for kept in entries.values_mut().filter(|kept| !kept.entry.report.state.is_final()) {
            let detail = "the agent ended before the action did";
            kept.entry.report = OrderReport::new(kept.entry.order.id, OrderState::Interrupted, now, detail);
            kept.durable = false;
            effects.push(Effect::Journal(Box::new(kept.entry.clone())));
        }
        let last = entries.values().map(|kept| place(&kept.entry.order)).max();
        let mut orders =
            Self { node, boot, catalogue, entries, last, running: None, journal_failure: None, ends: [0; ENDS.len()] };
        let interrupted = orders.entries.values().filter(|kept| !kept.durable).count();
        (0..interrupted).for_each(|_| orders.count(OrderState::Interrupted));
        orders
    }

    /// The entries as they stand, for a journal that is written anew.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(|kept| &kept.entry)
    }

    /// How orders ended since the start; `None` where none are taken, so that nobody has series about them.
    #[must_use]
    pub fn ends(&self) -> Option<EndCounts> {
        let takes_orders = self.catalogue.refuses.is_empty() || self.ends.iter().any(|count| *count > 0);
        takes_orders.then_some(self.ends)
    }

    fn count(&mut self, state: OrderState) {
        if let Some(at) = ENDS.iter().position(|end| *end == state) {
            self.ends[at] += 1;
        }
    }

    fn offer(&self) -> Message {
        let refuses = match &self.journal_failure {
            Some(reason) => format!("the journal of orders cannot be written: {reason}"),
            None => self.catalogue.refuses.clone(),
        };
        Message::Actions(Actions {
            boot: self.boot.clone(),
            refuses,
            last: self.last,
            offered: self.catalogue.actions.values().map(Action::offer).collect(),
            problems: self.catalogue.problems.clone(),
        })
    }

    fn greeted(&self, collector: NodeId, effects: &mut Vec<Effect>) {
        let unseen = |kept: &&Kept| kept.durable && !kept.entry.seen && kept.entry.order.issuer == collector;
        effects.push(Effect::Say { to: Some(collector), message: Box::new(self.offer()) });
        effects.extend(self.entries.values().filter(unseen).map(|kept| tell(&kept.entry)));
    }

    /// Nothing is done and nothing kept. Whoever sent it is told, unless it claims to be an order that is known: that one
    /// goes its own way.
    fn forged(&self, now: Timestamp, from: NodeId, claims: Option<OrderId>, reason: String, effects: &mut Vec<Effect>) {
        if let Some(id) = claims.filter(|id| !self.entries.contains_key(id)) {
            let message = Message::OrderReport(OrderReport::new(id, OrderState::Refused, now, &*reason));
            effects.push(Effect::Say { to: Some(from), message: Box::new(message) });
        }
        effects.push(Effect::Fact(Fact::Forged { from, reason }));
    }

    /// The collector has the outcome. What the action wrote is its to keep from now on.
    fn seen(&mut self, id: OrderId, effects: &mut Vec<Effect>) {
        let Some(kept) = self.entries.get_mut(&id) else { return };
        if kept.entry.seen || !kept.entry.report.state.is_final() {
            return;
        }
        kept.entry.seen = true;
        kept.entry.report.output.clear();
        effects.push(Effect::Journal(Box::new(kept.entry.clone())));
    }

    /// An entry is durable, or cannot be: then nothing runs any more, for its acceptance could not be kept either.
    fn journaled(
        &mut self,
        now: Timestamp,
        id: OrderId,
        state: OrderState,
        result: Result<(), String>,
        effects: &mut Vec<Effect>,
    ) {
        if let Err(reason) = &result
            && self.journal_failure.is_none()
        {
            self.journal_failure = Some(reason.clone());
            effects.push(Effect::Fact(Fact::JournalFailed { reason: reason.clone() }));
            effects.push(Effect::Say { to: None, message: Box::new(self.offer()) });
        }
        let Some(kept) = self.entries.get_mut(&id).filter(|kept| kept.entry.report.state == state) else { return };
        kept.durable = result.is_ok();
        if kept.entry.seen {
            return;
        }
        match (state, result) {
            (OrderState::Accepted, Ok(())) => self.begin(now, id, effects),
            (OrderState::Accepted, Err(reason)) => {
                self.running = None;
                let detail = format!("its acceptance could not be written: {reason}");
                kept.entry.report = OrderReport::new(id, OrderState::Refused, now, detail);
                effects.push(tell(&kept.entry));
            }
            // It is over either way, and the collector has to know.
            _ => effects.push(tell(&kept.entry)),
        }
    }

    /// The acceptance is durable: the action runs, unless the disk took so long that the order is no more valid.
    fn begin(&mut self, now: Timestamp, id: OrderId, effects: &mut Vec<Effect>) {
        let Some(kept) = self.entries.get_mut(&id) else { return };
        let order = &kept.entry.order;
        let action = self.catalogue.actions.get(&order.action).filter(|action| action.digest == order.digest);
        let problem = match action {
            None => Some("the file of the action was changed meanwhile".to_owned()),
            Some(_) => accept::out_of_time(now, order),
        };
        let (Some(action), None) = (action, &problem) else {
            let ended = Ended::refused(problem.unwrap_or_default());
            return self.ended(now, id, ended, effects);
        };
        let job = job(order, action);
        effects.push(tell(&kept.entry));
        self.tell_progress(now, id, OrderState::Running, effects);
        effects.push(Effect::Run(Box::new(job)));
    }

    /// Tells of a step that need not be durable.
    fn tell_progress(&self, now: Timestamp, id: OrderId, state: OrderState, effects: &mut Vec<Effect>) {
        let Some(kept) = self.entries.get(&id).filter(|kept| !kept.entry.report.state.is_final()) else { return };
        let report = OrderReport::new(id, state, now, "");
        let message = Box::new(Message::OrderReport(report));
        effects.push(Effect::Say { to: Some(kept.entry.order.issuer), message });
    }

    fn ended(&mut self, now: Timestamp, id: OrderId, ended: Ended, effects: &mut Vec<Effect>) {
        if self.running == Some(id) {
            self.running = None;
        }
        let Some(kept) = self.entries.get_mut(&id).filter(|kept| !kept.entry.report.state.is_final()) else { return };
        let Ended { state, detail, exit_code, output, output_truncated, verified } = ended;
        kept.entry.report = OrderReport { id, state, at: now, detail, exit_code, output, output_truncated, verified };
        kept.durable = false;
        let (action, report) = (kept.entry.order.action.clone(), kept.entry.report.clone());
        let journal = Box::new(kept.entry.clone());
        self.count(state);
        effects.push(Effect::Fact(Fact::Ended { id, action, report }));
        effects.push(Effect::Journal(journal));
    }

    /// Forgets what neither a collector nor a cap needs; the newest place stays, so that it is known after a restart.
    fn forget(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.entries.len() < MAX_ENTRIES {
            return;
        }
        let last = self.last;
        let before = self.entries.len();
        self.entries.retain(|_, kept| {
            let recent = kept.entry.accepted_at.is_some_and(|at| is_within(now, at, CAP_WINDOW));
            !kept.entry.seen || !kept.durable || recent || Some(place(&kept.entry.order)) == last
        });
        if self.entries.len() < before {
            effects.push(Effect::Rewrite(self.entries().cloned().collect()));
        }
    }

    /// Actions that stand in the entries as accepted, with the times.
    fn accepted(&self) -> impl Iterator<Item = (&str, Timestamp)> {
        self.entries.values().filter_map(|kept| Some((&*kept.entry.order.action, kept.entry.accepted_at?)))
    }

    /// Orders that are known.
    #[must_use]
    pub fn known(&self) -> BTreeSet<OrderId> {
        self.entries.keys().copied().collect()
    }
}

impl Ended {
    /// The end of something that was not begun.
    #[must_use]
    pub fn refused(detail: String) -> Self {
        Self::without_process(OrderState::Refused, detail)
    }

    /// An end of which no process tells.
    #[must_use]
    pub fn without_process(state: OrderState, detail: String) -> Self {
        Self { state, detail, exit_code: None, output: String::new(), output_truncated: false, verified: None }
    }
}

fn place(order: &Order) -> (u64, u64) {
    (order.epoch, order.seq)
}

/// Whether two times are nearer than `span`, whichever is the later: a clock that was set back must not lift a cap, nor
/// one that was far ahead impose one for long.
fn is_within(now: Timestamp, at: Timestamp, span: Span) -> bool {
    now.since(at) < span && at.since(now) < span
}

fn tell(entry: &Entry) -> Effect {
    Effect::Say { to: Some(entry.order.issuer), message: Box::new(Message::OrderReport(entry.report.clone())) }
}

fn job(order: &Order, action: &Action) -> Job {
    let env = [
        ("WF_ACTION", order.action.clone()),
        ("WF_ORDER_ID", order.id.to_string()),
        ("WF_REMEDIATION", order.remediation.clone()),
        ("WF_ALERT", order.alert.to_string()),
    ];
    let verify = action.verify.as_ref().map(|verify| VerifyJob {
        argv: fill(&verify.exec, &order.params),
        retries: verify.retries,
        interval: verify.interval,
        deadline: verify.deadline,
    });
    Job {
        id: order.id,
        argv: fill(&action.exec, &order.params),
        env: env.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
        timeout: action.timeout,
        sha256: action.sha256.clone(),
        verify,
    }
}
