//! Orders in the world: an agent's journal whose writes take time, actions that take time, and what both leave behind.
//!
//! There are no keys here: what a collector sends counts as signed, and what a test sends again is what was sent before.

use rand::RngExt;
use watchfire_agent_core::agent as agent_core;
use watchfire_agent_core::order::{ClusterView, Effect, Ended, Entry, Input};
use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::ViewAnswer;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::Member;
use watchfire_shared::order::{Order, OrderState, SignedOrder};
use watchfire_shared::time::Span;
use watchfire_store::CrashKeeps;

use super::{Event, Work, World};
use crate::sim::host::Program;
use crate::sim::network::HostId;

/// How long a write to the journal takes at most, milliseconds.
const MAX_WRITE: i64 = 40;
/// How long an action takes at most, milliseconds.
const MAX_ACTION: i64 = 3000;

impl World {
    pub(super) fn order_input(&mut self, id: HostId, input: Input) {
        let Some(running) = &mut self.hosts[id].running else { return };
        let Program::Agent { orders, .. } = &mut running.program else { return };
        let mut effects = Vec::new();
        orders.handle(self.now, input, &mut effects);
        self.perform_orders(id, effects);
    }

    pub(super) fn perform_orders(&mut self, id: HostId, effects: Vec<Effect>) {
        let life = self.hosts[id].life;
        for effect in effects {
            match effect {
                Effect::Journal(entry) => {
                    let took = Span::from_millis(self.rng.random_range(0..MAX_WRITE));
                    let at = (self.now + took).max(self.hosts[id].kept.journal_until);
                    self.hosts[id].kept.journal_until = at;
                    self.hosts[id].kept.writing.push_back((*entry).clone());
                    self.schedule(at, Event::JournalWritten { host: id, life });
                }
                Effect::Rewrite(entries) => self.hosts[id].kept.journal = entries,
                Effect::Run(job) => {
                    self.record.executed.push((id, job.id));
                    self.trace.note(self.now, format_args!("{} runs {}", self.hosts[id].name, job.id));
                    let at = self.now + Span::from_millis(self.rng.random_range(0..MAX_ACTION));
                    let state = if self.rng.random_bool(0.8) { OrderState::Succeeded } else { OrderState::Failed };
                    let ended = Box::new(Ended::without_process(state, String::new()));
                    let input = Input::Ended { id: job.id, ended };
                    self.schedule(at, Event::ToOrders { host: id, life, input });
                }
                Effect::Say { to, message } => {
                    self.work.push_back(Work::Agent(id, agent_core::Input::Say { to, message }));
                }
                Effect::Fact(fact) => self.trace.note(self.now, format_args!("{}: {fact:?}", self.hosts[id].name)),
            }
        }
    }

    /// The oldest write is on the disk.
    pub(super) fn journal_written(&mut self, id: HostId) {
        if self.is_cut_at_write(id) {
            return;
        }
        let kept = &mut self.hosts[id].kept;
        let Some(entry) = kept.writing.pop_front() else { return };
        let (order, state) = (entry.order.id, entry.report.state);
        kept.journal.push(entry);
        self.work.push_back(Work::Orders(id, Input::Journaled { id: order, state, result: Ok(()) }));
    }

    /// Lets the power fail at a write for which that was asked.
    fn is_cut_at_write(&mut self, id: HostId) -> bool {
        let kept = &mut self.hosts[id].kept;
        let Some((left, after)) = kept.cut_at_write else { return false };
        kept.cut_at_write = (left > 1).then_some((left - 1, after));
        if left > 1 {
            return false;
        }
        // The oldest write is this one; those behind it are lost.
        kept.writing.truncate(usize::from(after));
        let reached: Vec<Entry> = kept.writing.drain(..).collect();
        kept.journal.extend(reached);
        kept.journal_until = self.now;
        self.cut_power(id, CrashKeeps::NOTHING);
        true
    }

    /// What a crash makes of the journal: writes that were under way may have reached the disk, the first ones first.
    pub(super) fn crash_journal(&mut self, id: HostId) {
        let kept = &mut self.hosts[id].kept;
        if kept.writing.is_empty() {
            return;
        }
        let written = self.rng.random_range(0..=kept.writing.len());
        let reached: Vec<Entry> = kept.writing.drain(..).take(written).collect();
        kept.journal.extend(reached);
        kept.journal_until = self.now;
    }

    pub(super) fn agent_heard(
        &mut self,
        id: HostId,
        collector: watchfire_shared::member::NodeId,
        news: agent_core::News,
    ) {
        let input = match news {
            agent_core::News::Greeted => Input::Greeted { collector },
            agent_core::News::Seen(order) => Input::Seen { id: order },
            agent_core::News::Asked(about) => {
                let member = self.members_of(id).into_iter().find(|member| member.id == about);
                let answer = ViewAnswer { about, state: member.map(|member| member.state) };
                let message = Box::new(Message::ViewAnswer(answer));
                let say = agent_core::Input::Say { to: Some(collector), message };
                return self.work.push_back(Work::Agent(id, say));
            }
            agent_core::News::Order(signed) => {
                let order = Order::from_bytes(&signed.order).expect("orders of this world are orders");
                let view = ClusterView::of(self.members_of(id).iter());
                Input::Order { from: collector, order: Box::new(order), view }
            }
        };
        self.work.push_back(Work::Orders(id, input));
    }

    fn members_of(&self, id: HostId) -> Vec<Member> {
        self.hosts[id].running.as_ref().map(|running| running.gossip.members()).unwrap_or_default()
    }

    /// The frame of an order as it goes out. It is remembered, for whoever sends it again.
    pub(super) fn order_frame(&mut self, order: &Order) -> Vec<u8> {
        let signed = SignedOrder { order: order.to_bytes(), signature: Vec::new() };
        self.record.ordered.push(signed.clone());
        Message::Order(signed).encode()
    }

    /// Hands an agent an order that was sent at some time, to whomever it was.
    pub fn replay_order(&mut self, id: HostId) {
        if self.record.ordered.is_empty() || self.hosts[id].running.is_none() {
            return;
        }
        let at = self.rng.random_range(0..self.record.ordered.len());
        let signed = self.record.ordered[at].clone();
        let collector = Order::from_bytes(&signed.order).map(|order| order.issuer).unwrap_or_default();
        self.agent_heard(id, collector, agent_core::News::Order(signed));
        self.work_through();
        self.plan_wake(id);
    }
}
