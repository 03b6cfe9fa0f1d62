//! Collectors in the world: replies to agents, evaluations inline, and the webhook.

use serde_json::Value;
use watchfire_agent_core::agent as agent_core;
use watchfire_collector_core::engine::{ConnId, Effect, Input};
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};
use watchfire_shared::frame::Message;
use watchfire_shared::machine::Machine;
use watchfire_store::CrashKeeps;

use super::{Event, Notified, Work, World};
use crate::sim::host::Program;
use crate::sim::network::HostId;

impl World {
    pub(super) fn engine_input(&mut self, id: HostId, input: Input) {
        let Some(running) = &mut self.hosts[id].running else { return };
        let Program::Collector(engine) = &mut running.program else { return };
        let mut effects = Vec::new();
        engine.handle(self.now, input, &mut effects);
        for effect in effects {
            self.perform_engine(id, effect);
        }
    }

    fn perform_engine(&mut self, id: HostId, effect: Effect) {
        match effect {
            Effect::Reply { conn, bytes } => self.reply(conn, bytes),
            Effect::Close { conn, reason } => {
                let Some(stream) = self.network.close(conn.0) else { return };
                self.trace.note(
                    self.now,
                    format_args!("closes the connection of {}: {reason}", self.hosts[stream.agent].name),
                );
                self.tell_agent_of_end(&stream, &reason);
                self.work.push_back(Work::Engine(id, Input::Disconnected { conn }));
            }
            Effect::Evaluate(job) => self.work.push_back(Work::Engine(id, Input::Evaluated(Box::new(job.run())))),
            Effect::Deliver(delivery) => {
                let at = self.now + self.network.draw_delay();
                let life = self.hosts[id].life;
                self.schedule(at, Event::Webhook { collector: id, life, delivery });
            }
            Effect::Order { conn, order } => {
                let frame = self.order_frame(&order);
                self.reply(conn, frame);
            }
            Effect::Fact(fact) => self.trace.note(self.now, format_args!("{}: {fact:?}", self.hosts[id].name)),
            // Nobody asks in a simulated world.
            Effect::Answer { .. } | Effect::Written { .. } => {}
            Effect::Fatal { reason } => {
                assert!(self.hosts[id].dying, "{} gives up: {reason}\n{}", self.hosts[id].name, self.trace);
                self.cut_power(id, CrashKeeps::NOTHING);
            }
        }
    }

    fn reply(&mut self, conn: ConnId, bytes: Vec<u8>) {
        self.trace.mix(&bytes);
        let Some(stream) = self.network.streams.get(&conn.0).copied() else { return };
        if let Ok(Some(Message::Ack(ack))) = Message::decode(&bytes) {
            let sent = &self.record.sent;
            let from = (stream.agent, conn.0, ack.lane, 0);
            let ticks = sent.range(from..=(stream.agent, conn.0, ack.lane, ack.seq)).map(|(_, tick)| *tick);
            self.record.acknowledged.entry(stream.agent).or_default().extend(ticks);
        }
        if !self.network.connected(stream.agent, stream.collector) {
            self.break_stream(conn.0);
            return;
        }
        let at = (self.now + self.network.draw_delay()).max(stream.to_agent_until);
        if let Some(stream) = self.network.streams.get_mut(&conn.0) {
            stream.to_agent_until = at;
        }
        let input = agent_core::Input::Frame { connection: stream.connection, bytes };
        self.schedule(at, Event::ToAgent { host: stream.agent, life: stream.agent_life, input });
    }

    /// A notification arrives. It counts even if its sender died meanwhile: the receiver has it.
    pub(super) fn webhook(&mut self, collector: HostId, life: u32, delivery: &Delivery) {
        let outcome = if self.webhook_refuses {
            DeliveryOutcome::Failed { retry: true, reason: "503 Service Unavailable".to_owned(), retry_after: None }
        } else {
            let Body::Json(body) = &delivery.body;
            let alerts = alerts_of(body.as_bytes());
            self.trace.note(self.now, format_args!("webhook {alerts:?}"));
            self.record.notified.push(Notified { at: self.now, alerts });
            DeliveryOutcome::Ok
        };
        let at = self.now + self.network.draw_delay();
        let input = Input::Delivered { id: delivery.id, outcome };
        self.schedule(at, Event::ToCollector { host: collector, life, input });
    }
}

fn alerts_of(body: &[u8]) -> Vec<(String, String, String)> {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let alerts = body["alerts"].as_array().cloned().unwrap_or_default();
    alerts
        .iter()
        .map(|a| (text(&a["status"]), text(&a["labels"]["alertname"]), text(&a["labels"]["instance"])))
        .collect()
}
