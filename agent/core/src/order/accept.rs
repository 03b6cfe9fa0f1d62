//! Whether an order is taken: the checks, from whom it is for to what it would do.

use watchfire_shared::limits::MAX_ORDER_LIFE;
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Order, OrderReport, OrderState};
use watchfire_shared::time::{Span, Timestamp};

use super::{CAP_WINDOW, ClusterView, Effect, Entry, Fact, Kept, MAX_ENTRIES, Orders, is_within, place, tell};

/// How far the clocks of agent and collector may be apart before an order counts as out of time.
const MAX_SKEW: Span = Span::from_seconds(30);

/// Kinds of actions that are done in a minority too: they give something up, or only look.
const WITHOUT_MAJORITY: &[&str] = &["demote", "fence-self", "diagnose"];

impl Orders {
    /// Takes an order whose signature is good.
    pub(super) fn order(
        &mut self,
        now: Timestamp,
        from: NodeId,
        order: Order,
        view: ClusterView,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(kept) = self.entries.get(&order.id) {
            // Sending an order again is free: the answer is what became of it.
            if kept.durable {
                effects.push(tell(&kept.entry));
            }
            return;
        }
        if let Err(reason) = self.is_for_us(from, &order) {
            self.count(OrderState::Refused);
            return refuse(now, &order, reason, effects);
        }
        self.forget(now, effects);
        let verdict = self.judge(now, &order, view);
        self.last = Some(place(&order));
        if self.journal_failure.is_some() || self.entries.len() >= MAX_ENTRIES {
            let reason = verdict.err().unwrap_or_else(|| "too many orders are in mind already".to_owned());
            self.count(OrderState::Refused);
            return refuse(now, &order, reason, effects);
        }
        let (id, action, remediation) = (order.id, order.action.clone(), order.remediation.clone());
        let (accepted_at, report, fact) = match verdict {
            Ok(()) => {
                self.running = Some(id);
                let report = OrderReport::new(id, OrderState::Accepted, now, "");
                (Some(now), report, Fact::Accepted { id, action, remediation })
            }
            Err(reason) => {
                self.count(OrderState::Refused);
                let report = OrderReport::new(id, OrderState::Refused, now, &*reason);
                (None, report, Fact::Refused { id, action, reason })
            }
        };
        let entry = Entry { order, accepted_at, report, seen: false };
        effects.push(Effect::Fact(fact));
        effects.push(Effect::Journal(Box::new(entry.clone())));
        self.entries.insert(id, Kept { entry, durable: false });
    }

    /// Whether the order is one for this agent that was never seen. One that is not leaves no trace in the journal.
    fn is_for_us(&self, from: NodeId, order: &Order) -> Result<(), String> {
        if order.target != self.node {
            return Err(format!("it is for node {}, and this is {}", order.target, self.node));
        }
        if order.issuer != from {
            return Err(format!("it is of collector {} and came from {from}", order.issuer));
        }
        match self.last {
            Some((epoch, _)) if order.epoch < epoch => {
                Err(format!("its epoch {} is over, the last one was {epoch}", order.epoch))
            }
            Some(last) if place(order) <= last => {
                Err(format!("its sequence {} is not above the last one, {}", order.seq, last.1))
            }
            _ => Ok(()),
        }
    }

    fn judge(&self, now: Timestamp, order: &Order, view: ClusterView) -> Result<(), String> {
        if let Some(reason) = &self.journal_failure {
            return Err(format!("the journal of orders cannot be written: {reason}"));
        }
        if !self.catalogue.refuses.is_empty() {
            return Err(self.catalogue.refuses.clone());
        }
        if order.boot != self.boot {
            return Err("it was meant for another boot of this machine".to_owned());
        }
        if let Some(reason) = out_of_time(now, order) {
            return Err(reason);
        }
        let action = self.catalogue.actions.get(&order.action);
        let action = action.ok_or_else(|| format!("no file of this node allows the action {:?}", order.action))?;
        if action.digest != order.digest {
            return Err("the file of the action is not the one that was ordered".to_owned());
        }
        action.check(&order.params)?;
        let ClusterView { known, living } = view;
        // Whoever is cut off with the collector from the rest must not take over; it may step down, and look.
        if living * 2 <= known && !WITHOUT_MAJORITY.contains(&action.kind.as_str()) {
            let needed = known / 2 + 1;
            return Err(format!(
                "this node sees {living} of the {known} members that it knows, and a majority is {needed}"
            ));
        }
        if self.running.is_some() {
            return Err("another action is running".to_owned());
        }
        let times: Vec<Timestamp> =
            self.accepted().filter(|(name, _)| *name == action.name).map(|(_, at)| at).collect();
        if times.iter().any(|at| is_within(now, *at, action.cooldown)) {
            return Err(format!("it ran within the last {}, the cooldown of its file", action.cooldown));
        }
        let lately = times.iter().filter(|at| is_within(now, **at, CAP_WINDOW)).count();
        if lately >= action.max_per_hour as usize {
            return Err(format!("it ran {lately} times within the hour, as often as its file allows"));
        }
        Ok(())
    }
}

/// Why an order is not valid at `now`; `None` if it is.
pub(super) fn out_of_time(now: Timestamp, order: &Order) -> Option<String> {
    let life = order.expires_at.since(order.not_before);
    if !life.is_positive() || life > MAX_ORDER_LIFE {
        return Some(format!("it would be valid for {life}, and an order may be for {MAX_ORDER_LIFE}"));
    }
    if now > order.expires_at + MAX_SKEW {
        return Some(format!("it expired {} ago by this node's clock", now.since(order.expires_at)));
    }
    if now + MAX_SKEW < order.not_before {
        return Some(format!("it is of {} from now by this node's clock", order.not_before.since(now)));
    }
    None
}

fn refuse(now: Timestamp, order: &Order, reason: String, effects: &mut Vec<Effect>) {
    let report = OrderReport::new(order.id, OrderState::Refused, now, &*reason);
    let message = Box::new(watchfire_shared::frame::Message::OrderReport(report));
    effects.push(Effect::Fact(Fact::Refused { id: order.id, action: order.action.clone(), reason }));
    effects.push(Effect::Say { to: Some(order.issuer), message });
}
