//! Agents in the world: what they sample, their connections, and the disk of their spool.

use watchfire_agent_core::agent::{Effect, Input};
use watchfire_agent_core::sink::Round;
use watchfire_agent_core::spool::SpoolEffect;
use watchfire_collector_core::engine;
use watchfire_shared::frame::Message;
use watchfire_shared::frame::message::SeriesEntry;
use watchfire_shared::labels::Labels;
use watchfire_shared::machine::Machine;
use watchfire_shared::sample::MetricKind;
use watchfire_shared::time::Timestamp;

use super::{Event, Work, World};
use crate::sim::host::Program;
use crate::sim::network::{HostId, Stream, host_of};

/// The series whose value is its own tick, which shows what arrived, once or more often, whatever time it was given.
pub(super) const TICK_SERIES: &str = "sim_tick";

impl World {
    pub(super) fn agent_input(&mut self, id: HostId, input: Input) {
        let Some(running) = &mut self.hosts[id].running else { return };
        let Program::Agent { core, .. } = &mut running.program else { return };
        let mut effects = Vec::new();
        core.handle(self.now, input, &mut effects);
        self.perform_agent(id, effects);
    }

    pub(super) fn perform_agent(&mut self, id: HostId, effects: Vec<Effect>) {
        let life = self.hosts[id].life;
        for effect in effects {
            match effect {
                Effect::Collect { tick, .. } => {
                    let round = self.sample(id, tick);
                    self.work.push_back(Work::Agent(id, Input::Collected(round)));
                }
                Effect::Connect { connection, address } => {
                    let at = self.now + self.network.draw_delay();
                    self.schedule(at, Event::Knock { agent: id, agent_life: life, connection, address });
                }
                Effect::Send { connection, bytes } => self.send_frame(id, connection, bytes),
                Effect::Disconnect { connection } => self.hang_up(id, connection),
                Effect::Spool(effect) => self.perform_spool(id, effect),
                Effect::KeepLife { bytes } => self.hosts[id].kept.life = Some(bytes),
                Effect::Heard { collector, news } => self.agent_heard(id, collector, news),
                Effect::Fact(fact) => self.trace.note(self.now, format_args!("{}: {fact:?}", self.hosts[id].name)),
                Effect::Stopped => {}
            }
        }
    }

    /// Two series: the tick itself, and a constant.
    fn sample(&mut self, id: HostId, tick: Timestamp) -> Round {
        let constant = self.hosts[id].constant;
        let Some(running) = &mut self.hosts[id].running else { return Round::default() };
        let Program::Agent { greeted, .. } = &mut running.program else { return Round::default() };
        let entry =
            |slot, name: &str| SeriesEntry { slot, labels: Labels::new([("__name__", name)]), kind: MetricKind::Gauge };
        let added = if *greeted { Vec::new() } else { vec![entry(0, TICK_SERIES), entry(1, "sim_constant")] };
        *greeted = true;
        Round { tick, added, removed: Vec::new(), values: vec![tick.as_millis() as f64, constant] }
    }

    pub(super) fn knock(&mut self, agent: HostId, connection: u64, address: &str) {
        let (agent_life, now) = (self.hosts[agent].life, self.now);
        let collector = address.parse().ok().and_then(host_of).and_then(|host| self.hosts.get(host));
        let collector = collector.filter(|host| host.running.is_some() && self.network.connected(agent, host.id));
        let Some((collector, collector_life)) = collector.map(|host| (host.id, host.life)) else {
            let input = Input::Disconnected { connection, reason: "connection refused".to_owned() };
            self.work.push_back(Work::Agent(agent, input));
            return;
        };
        let stream = Stream {
            agent,
            agent_life,
            connection,
            collector,
            collector_life,
            to_agent_until: now,
            to_collector_until: now,
        };
        let conn = self.network.open(stream);
        let peer = crate::sim::network::gossip_addr(agent);
        self.tell_collector(conn, &stream, engine::Input::Connected { conn: engine::ConnId(conn), peer });
        self.work.push_back(Work::Agent(agent, Input::Connected { connection }));
    }

    fn stream_of(&self, agent: HostId, connection: u64) -> Option<(u64, Stream)> {
        let life = self.hosts[agent].life;
        self.network.stream_of(agent, life, connection)
    }

    fn send_frame(&mut self, id: HostId, connection: u64, bytes: Vec<u8>) {
        self.trace.mix(&bytes);
        let Some((conn, stream)) = self.stream_of(id, connection) else { return };
        if !self.network.connected(stream.agent, stream.collector) {
            self.break_stream(conn);
            return;
        }
        if let Ok(Some(Message::Data(data))) = Message::decode(&bytes) {
            self.record.sent.insert((id, conn, data.lane, data.seq), data.ts_ms);
        }
        self.tell_collector(conn, &stream, engine::Input::Frame { conn: engine::ConnId(conn), bytes });
    }

    fn hang_up(&mut self, id: HostId, connection: u64) {
        let Some((conn, stream)) = self.stream_of(id, connection) else { return };
        self.tell_collector(conn, &stream, engine::Input::Disconnected { conn: engine::ConnId(conn) });
        self.network.close(conn);
    }

    /// A connection over a cut network ends for both sides.
    pub(super) fn break_stream(&mut self, conn: u64) {
        let Some(stream) = self.network.close(conn) else { return };
        self.tell_collector(conn, &stream, engine::Input::Disconnected { conn: engine::ConnId(conn) });
        self.tell_agent_of_end(&stream, "connection timed out");
    }

    fn perform_spool(&mut self, id: HostId, effect: SpoolEffect) {
        let kept = &mut self.hosts[id].kept;
        match effect {
            SpoolEffect::Append { segment, bytes } => kept.segments.entry(segment).or_default().extend(bytes),
            SpoolEffect::Read { connection, segment, offset, length } => {
                let from = usize::try_from(offset).unwrap_or(usize::MAX);
                let bytes = kept.segments.get(&segment).map(|content| {
                    let rest = content.get(from..).unwrap_or_default();
                    rest[..rest.len().min(length)].to_vec()
                });
                self.work.push_back(Work::Agent(id, Input::SpoolRead { connection, segment, offset, bytes }));
            }
            SpoolEffect::Delete { segment } => drop(kept.segments.remove(&segment)),
            SpoolEffect::Save { bytes } => kept.spool_state = Some(bytes),
            SpoolEffect::Sync => {}
        }
    }
}
