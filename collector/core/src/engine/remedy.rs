//! Between alerts and nodes: what remediation sees of the collector, and what it asks for.

use watchfire_shared::frame::Message;
use watchfire_shared::labels::Labels;
use watchfire_shared::member::{NodeId, Role};
use watchfire_shared::order::OrderSeen;
use watchfire_shared::time::Timestamp;
use watchfire_store::Disk;

use super::{Effect, Engine};
use crate::notify::Pipeline;
use crate::remediation::{Output, Remediator, Situation};
use crate::rules::alert::State;
use crate::series::fleet::Fleet;

impl<D: Disk> Engine<D> {
    /// Lets remediation look at every firing alert.
    pub(super) fn remedy(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut out = Vec::new();
        let (fleet, notifier) = (&self.fleet, &self.notifier);
        let situation = Situation {
            fresh: self.freshness.is_fresh(),
            firing: self.rules.active().filter(|alert| alert.state == State::Firing).collect(),
            node: &|instance| node(fleet, instance),
            maintained: &|node| fleet.get(node).and_then(|node| node.maintenance_until),
            silenced: &|labels| is_silenced(now, notifier, labels),
        };
        self.remediator.look(now, &situation, &mut out);
        self.absorb_remediation(now, out, effects);
    }

    /// Lets remediation take a step and hands on what it gave.
    pub(super) fn with_remediator(
        &mut self,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        step: impl FnOnce(&mut Remediator, &mut Vec<Output>),
    ) {
        let mut out = Vec::new();
        step(&mut self.remediator, &mut out);
        self.absorb_remediation(now, out, effects);
    }

    fn absorb_remediation(&mut self, now: Timestamp, out: Vec<Output>, effects: &mut Vec<Effect>) {
        for output in out {
            match output {
                Output::Save { table, key, value } => self.ledger.change(now, table, key, value),
                Output::Fact(fact) => effects.push(Effect::Fact(fact)),
                output @ (Output::Dispatch(_) | Output::Seen { .. }) => self.ledger.order(output),
            }
        }
        if self.remediator.take_changed() {
            self.picture.change_remediation(now);
        }
    }

    /// Lets out what waited for the disk. An agent that is not connected any more asks again when it comes back.
    pub(super) fn dispatch(&self, output: Output, effects: &mut Vec<Effect>) {
        let connection = |node| self.ingest.connection_of(node);
        effects.extend(match output {
            Output::Dispatch(order) => connection(order.target).map(|conn| Effect::Order { conn, order }),
            Output::Seen { node, id } => {
                let bytes = Message::OrderSeen(OrderSeen { id }).encode();
                connection(node).map(|conn| Effect::Reply { conn, bytes })
            }
            Output::Save { .. } | Output::Fact(_) => None,
        });
    }
}

/// The agent whose series have this `instance`; of several, the one that is connected.
fn node(fleet: &Fleet, instance: &str) -> Option<(NodeId, String)> {
    let named = fleet.nodes().filter(|node| node.record.role == Role::Agent && &*node.target.instance == instance);
    let node = named.max_by_key(|node| (node.connected, node.id))?;
    Some((node.id, node.record.name.clone()))
}

fn is_silenced(now: Timestamp, notifier: &Pipeline, alert: &Labels) -> bool {
    notifier.silences().any(|silence| silence.is_active(now) && silence.matches(alert))
}
