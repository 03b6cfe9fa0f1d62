//! Between alerts and nodes: what remediation sees of the collector, and what it asks for.

use std::collections::BTreeSet;

use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::ViewQuery;
use watchfire_shared::labels::{ALERT_NAME, Fingerprint, Labels};
use watchfire_shared::order::OrderSeen;
use watchfire_shared::time::Timestamp;
use watchfire_store::Disk;

use super::{Answer, Effect, Engine};
use crate::notify::{self, Pipeline};
use crate::remediation::{self, Command, ESCALATION, Firing, Nodes, Output, Remediator, Seen, Situation};
use crate::rules::RuleSet;
use crate::rules::alert::State;
use crate::series::fleet::Fleet;
use crate::series::node::Node;

impl<D: Disk> Engine<D> {
    /// Lets remediation look at every firing alert.
    pub(super) fn remedy(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut out = Vec::new();
        let notifier = &self.notifier;
        let silenced = |labels: &Labels| is_silenced(now, notifier, labels);
        let situation = Situation {
            fresh: self.freshness.is_fresh(),
            firing: firing(now, &self.rules, notifier),
            nodes: nodes(&self.fleet),
            silenced: &silenced,
        };
        self.remediator.look(now, &situation, &mut out);
        self.absorb_remediation(now, out, effects);
    }

    /// Takes what a person says to remediation, and tells what became of it.
    pub(super) fn command(&mut self, now: Timestamp, command: Command, effects: &mut Vec<Effect>) {
        let approved = if let Command::Approve { id, .. } = &command { Some(*id) } else { None };
        let mut answer = None;
        self.with_remediator(now, effects, |own, out| answer = Some(own.command(now, command, out)));
        if let (Some(id), Some(remediation::Answer::Done { .. })) = (approved, &answer) {
            self.remedy(now, effects);
            answer = Some(self.remediator.approved(id));
        }
        self.answer = answer.map(Answer::Remediation);
    }

    /// Tells what would be done about an alert of a node.
    pub(super) fn simulate(&mut self, now: Timestamp, remediation: &str, node: &str) {
        let notifier = &self.notifier;
        let silenced = |labels: &Labels| is_silenced(now, notifier, labels);
        let situation = Situation {
            fresh: self.freshness.is_fresh(),
            firing: firing(now, &self.rules, notifier),
            nodes: nodes(&self.fleet),
            silenced: &silenced,
        };
        let answer = self.remediator.simulate(now, remediation, node, &situation);
        self.answer = Some(Answer::Remediation(answer));
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
                Output::Note { table, key, value } => self.ledger.change_soon(now, table, key, Some(value)),
                Output::Escalate(alert) => {
                    let alert = self.with_external_labels(*alert);
                    self.picture.change_notifications(now);
                    self.tell_notifier(now, notify::Input::Alerts(vec![alert]), effects);
                }
                Output::Ask { observer, about } => {
                    let bytes = Message::ViewQuery(ViewQuery { about }).encode();
                    let conn = self.ingest.connection_of(observer);
                    effects.extend(conn.map(|conn| Effect::Reply { conn, bytes }));
                }
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
            Output::Save { .. } | Output::Note { .. } | Output::Ask { .. } | Output::Escalate(_) | Output::Fact(_) => {
                None
            }
        });
    }
}

/// Every registered member.
fn nodes(fleet: &Fleet) -> Nodes<'_> {
    Nodes::new(fleet.nodes().filter(|node| !node.is_dismissed()).map(seen))
}

fn seen(node: &Node) -> Seen<'_> {
    Seen {
        id: node.id,
        name: &node.record.name,
        instance: &node.target.instance,
        role: node.record.role,
        labels: &node.record.labels,
        state: node.record.membership.map(|membership| membership.state),
        up: node.current_up,
        connected: node.connected,
        maintained: node.maintenance_until,
    }
}

/// Alerts that fire: those of the rules, and those that were posted from outside and are not the rules' too.
fn firing<'a>(now: Timestamp, rules: &'a RuleSet, notifier: &'a Pipeline) -> Vec<Firing<'a>> {
    let own = rules.active().filter(|alert| alert.state == State::Firing);
    let own = own.map(|alert| Firing { labels: &alert.labels, since: alert.fired_at.unwrap_or(now), of_rules: true });
    let mut firing: Vec<Firing<'a>> = own.collect();
    let known: BTreeSet<Fingerprint> = firing.iter().map(|alert| alert.labels.fingerprint()).collect();
    let posted = notifier.posted(now).filter(|alert| alert.labels.value(ALERT_NAME) != ESCALATION);
    let posted = posted.filter(|alert| !known.contains(&alert.fingerprint()));
    firing.extend(posted.map(|alert| Firing { labels: &alert.labels, since: alert.starts_at, of_rules: false }));
    firing
}

fn is_silenced(now: Timestamp, notifier: &Pipeline, alert: &Labels) -> bool {
    notifier.silences().any(|silence| silence.is_active(now) && silence.matches(alert))
}
