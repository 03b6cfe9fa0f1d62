//! Collectors, a disk and a network in memory, driven second by second.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::frame::body::ValueState;
use watchfire_shared::frame::message::{
    Ack, Data, HelloAck, Lane, Message, Nack, NackCode, PROTOCOL, Slow, coding_for,
};
use watchfire_shared::labels::Labels;
use watchfire_shared::life::LifeWanted;
use watchfire_shared::sample::MetricKind;
use watchfire_shared::time::Span;

use super::super::*;
use crate::spool::{FoundSegment, SegmentScan};

pub(super) const SPOOL_BYTES: u64 = 4 << 20;
const STEP: Span = Span::from_millis(50);

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// Collectors keep what they get, but from the next acknowledgement on nothing comes back over the connections that
    /// stand.
    LoseAcks,
    /// From the next frame on, nothing reaches the collector over the connections that stand.
    LoseFrames,
    /// The collector refuses every Data.
    Refuse(NackCode),
}

/// A collector as the protocol wants it: it keeps what it acknowledges, by position.
pub(super) struct Collector {
    pub(super) id: NodeId,
    /// Nominal times by (lane, epoch, sequence).
    pub(super) positions: BTreeMap<(Lane, u64, u64), i64>,
    durable: BTreeMap<Lane, Position>,
    epochs: BTreeMap<Lane, u64>,
    streams: BTreeMap<Lane, (ValueState, Option<u64>)>,
    credit: u32,
    pub(super) duplicates: u64,
    pub(super) resyncs: u64,
    pub(super) greetings: u64,
    /// What the agent said of orders.
    pub(super) reports: Vec<watchfire_shared::order::OrderReport>,
    /// What it said of its own life.
    pub(super) life: Vec<watchfire_shared::life::LifeNote>,
    /// The protocol that it speaks.
    pub(super) proto: (u16, u16),
    pub(super) keyframes: u64,
    pub(super) dictionaries: u64,
}

impl Collector {
    fn new(id: u64) -> Self {
        Self {
            id: NodeId(id),
            positions: BTreeMap::new(),
            durable: BTreeMap::new(),
            epochs: BTreeMap::new(),
            streams: BTreeMap::new(),
            credit: 1 << 20,
            duplicates: 0,
            resyncs: 0,
            greetings: 0,
            reports: Vec::new(),
            life: Vec::new(),
            proto: PROTOCOL,
            keyframes: 0,
            dictionaries: 0,
        }
    }

    /// Ticks that came live, and ticks that came later.
    pub(super) fn lanes(&self) -> (usize, usize) {
        (self.received(Lane::Live).len(), self.received(Lane::Backfill).len())
    }

    pub(super) fn received(&self, lane: Lane) -> Vec<i64> {
        self.positions.iter().filter(|((own, ..), _)| *own == lane).map(|(_, at)| *at).collect()
    }

    pub(super) fn forget_stream(&mut self) {
        self.streams.clear();
    }

    fn hear(&mut self, bytes: &[u8], refuse: Option<NackCode>) -> Option<Message> {
        match Message::decode(bytes).unwrap().unwrap() {
            Message::Hello(hello) => {
                self.greetings += 1;
                self.streams.clear();
                self.epochs = BTreeMap::from([(Lane::Live, hello.epoch), (Lane::Backfill, hello.spool_epoch)]);
                Some(Message::HelloAck(HelloAck {
                    proto: self.proto,
                    features: Vec::new(),
                    collector_id: self.id,
                    name: "c".to_owned(),
                    live: self.durable.get(&Lane::Live).copied(),
                    backfill: self.durable.get(&Lane::Backfill).copied(),
                    clock_ms: 0,
                    max_series: 10_000,
                    credit_bytes: self.credit,
                }))
            }
            Message::Dict(dict) => {
                self.dictionaries += 1;
                if dict.base {
                    self.streams.insert(dict.lane, (ValueState::default(), None));
                }
                None
            }
            Message::Data(data) => Some(self.data(&data, refuse)),
            Message::Ping(ping) => Some(Message::Pong(ping)),
            Message::Bye(_) => None,
            Message::OrderReport(report) => {
                self.reports.push(report);
                None
            }
            Message::Life(life) => {
                self.life.extend(life.notes);
                None
            }
            other => panic!("an agent does not send {other:?}"),
        }
    }

    fn data(&mut self, data: &Data, refuse: Option<NackCode>) -> Message {
        let nack = |code| {
            Message::Nack(Nack { lane: data.lane, seq: data.seq, code, detail: String::new(), slots: Vec::new() })
        };
        let gap = |last: Option<u64>| !data.keyframe && last.is_none_or(|last| last + 1 != data.seq);
        let Some((state, last)) = self.streams.get_mut(&data.lane).filter(|(_, last)| !gap(*last)) else {
            self.resyncs += 1;
            return nack(NackCode::Resync);
        };
        assert_eq!(data.coding, coding_for(self.proto), "ticks are written as the collector reads them");
        state.resize(data.n as usize);
        state.decode(&data.body, data.keyframe, data.coding).expect("the agent's bodies are well-formed");
        *last = Some(data.seq);
        self.keyframes += u64::from(data.keyframe);
        if let Some(code) = refuse {
            return nack(code);
        }
        // Every series carries the tick's own time, so that a value in a wrong slot or frame would be seen.
        for value in state.values() {
            assert_eq!(*value, data.ts_ms as f64, "{:?} {}", data.lane, data.seq);
        }
        let position = Position { epoch: self.epochs[&data.lane], seq: data.seq };
        if self.durable.get(&data.lane).is_some_and(|durable| *durable >= position) {
            self.duplicates += 1;
        } else {
            self.durable.insert(data.lane, position);
            self.positions.insert((data.lane, position.epoch, data.seq), data.ts_ms);
        }
        Message::Ack(Ack { lane: data.lane, seq: data.seq, credit_bytes: self.credit })
    }
}

/// Everything around one agent.
pub(super) struct World {
    pub(super) agent: AgentCore,
    now: Timestamp,
    pub(super) collectors: Vec<Collector>,
    /// Whether each collector can be connected to.
    pub(super) up: Vec<bool>,
    connections: BTreeMap<u64, usize>,
    dead: BTreeSet<u64>,
    mute: BTreeSet<u64>,
    pending: VecDeque<Effect>,
    performing: bool,
    pub(super) fault: Option<Fault>,
    pub(super) disk: BTreeMap<u64, Vec<u8>>,
    state: Option<Vec<u8>>,
    life: Option<Vec<u8>>,
    pub(super) series: u32,
    known_series: u32,
    /// Nominal times of all ticks that were sampled.
    pub(super) ticks: Vec<i64>,
    /// What collectors said of orders.
    pub(super) heard: Vec<(NodeId, News)>,
    pub(super) facts: Vec<Fact>,
    pub(super) attempts: Vec<Timestamp>,
    dialled: Vec<String>,
}

impl World {
    pub(super) fn new(collectors: usize) -> Self {
        let now = Timestamp::from_millis(1_000_000);
        let mut effects = Vec::new();
        let agent = AgentCore::new(now, Self::start(now, collectors), Found::default(), &mut effects);
        let mut world = Self {
            agent,
            now,
            collectors: (0..collectors as u64).map(|i| Collector::new(100 + i)).collect(),
            up: vec![true; collectors],
            connections: BTreeMap::new(),
            dead: BTreeSet::new(),
            mute: BTreeSet::new(),
            pending: VecDeque::new(),
            performing: false,
            fault: None,
            disk: BTreeMap::new(),
            state: None,
            life: None,
            series: 4,
            known_series: 0,
            ticks: Vec::new(),
            heard: Vec::new(),
            facts: Vec::new(),
            attempts: Vec::new(),
            dialled: Vec::new(),
        };
        world.perform(effects);
        // Connections stand before the first tick.
        world.input(Input::Wake);
        world
    }

    fn start(now: Timestamp, collectors: usize) -> Start {
        let settings = Settings {
            cluster: "c".to_owned(),
            name: "n".to_owned(),
            labels: BTreeMap::new(),
            interval: Span::from_seconds(1),
            collectors: (0..collectors).map(|i| format!("collector:{i}")).collect(),
            spool_bytes: SPOOL_BYTES,
            gossips: true,
        };
        let (boot, life) = ("b1".to_owned(), None);
        Start { node: NodeId(3), epoch: now.as_millis() as u64, seed: 11, version: "0", boot, life, settings }
    }

    pub(super) fn settings(&self) -> Settings {
        Self::start(self.now, self.collectors.len()).settings
    }

    /// Runs so many seconds.
    pub(super) fn run(&mut self, seconds: u32) {
        let end = self.now + Span::from_seconds(i64::from(seconds));
        while self.now < end {
            self.now += STEP;
            while self.agent.deadline().is_some_and(|at| at <= self.now) {
                self.input(Input::Wake);
            }
        }
    }

    pub(super) fn input(&mut self, input: Input) {
        let effects = self.input_raw(input);
        self.perform(effects);
    }

    pub(super) fn input_raw(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.agent.handle(self.now, input, &mut effects);
        effects
    }

    /// Performs effects in the order in which the agent gave them. What comes back at once may bring more; those wait.
    fn perform(&mut self, effects: Vec<Effect>) {
        self.pending.extend(effects);
        if std::mem::replace(&mut self.performing, true) {
            return;
        }
        while let Some(effect) = self.pending.pop_front() {
            match effect {
                Effect::Collect { tick, .. } => self.collect(tick),
                Effect::Connect { connection, address } => self.connect(connection, &address),
                Effect::Send { connection, bytes } => self.send(connection, &bytes),
                Effect::Disconnect { connection } => {
                    self.connections.remove(&connection);
                }
                Effect::Spool(effect) => self.spool(effect),
                Effect::KeepLife { bytes } => self.life = Some(bytes),
                Effect::Heard { collector, news } => self.heard.push((collector, news)),
                Effect::Fact(fact) => self.facts.push(fact),
                Effect::Stopped => {}
            }
        }
        self.performing = false;
    }

    fn collect(&mut self, tick: Timestamp) {
        let entry = |slot: u32| watchfire_shared::frame::message::SeriesEntry {
            slot,
            labels: Labels::new([("__name__", format!("m{slot}"))]),
            kind: MetricKind::Gauge,
        };
        let added = (self.known_series..self.series).map(entry).collect();
        self.known_series = self.series;
        self.ticks.push(tick.as_millis());
        let values = vec![tick.as_millis() as f64; self.series as usize];
        self.input(Input::Collected(Round { tick, added, removed: Vec::new(), values }));
    }

    fn connect(&mut self, connection: u64, address: &str) {
        self.attempts.push(self.now);
        self.dialled.push(address.to_owned());
        let whom = address.strip_prefix("collector:").and_then(|whom| whom.parse::<usize>().ok());
        if let Some(whom) = whom.filter(|whom| self.up[*whom]) {
            self.connections.insert(connection, whom);
            self.input(Input::Connected { connection });
        } else {
            self.input(Input::Disconnected { connection, reason: "refused".to_owned() });
        }
    }

    fn send(&mut self, connection: u64, bytes: &[u8]) {
        let Some(whom) = self.connections.get(&connection).copied() else { return };
        let is_hello = matches!(Message::decode(bytes), Ok(Some(Message::Hello(_))));
        // A connection that lost bytes never delivers any again, as with TCP.
        if self.fault == Some(Fault::LoseFrames) && !is_hello {
            self.dead.insert(connection);
        }
        if self.dead.contains(&connection) {
            return;
        }
        let refuse = if let Some(Fault::Refuse(code)) = self.fault { Some(code) } else { None };
        let Some(answer) = self.collectors[whom].hear(bytes, refuse) else { return };
        if self.fault == Some(Fault::LoseAcks) && matches!(answer, Message::Ack(_)) {
            self.mute.insert(connection);
        }
        if self.mute.contains(&connection) {
            return;
        }
        self.input(Input::Frame { connection, bytes: answer.encode() });
    }

    fn spool(&mut self, effect: SpoolEffect) {
        match effect {
            SpoolEffect::Append { segment, bytes } => self.disk.entry(segment).or_default().extend(bytes),
            SpoolEffect::Delete { segment } => drop(self.disk.remove(&segment)),
            SpoolEffect::Save { bytes } => self.state = Some(bytes),
            SpoolEffect::Sync => {}
            SpoolEffect::Read { connection, segment, offset, length } => {
                let bytes = self.disk.get(&segment).and_then(|bytes| bytes.get(offset as usize..));
                let bytes = bytes.map(|bytes| bytes[..length.min(bytes.len())].to_vec());
                self.input(Input::SpoolRead { connection, segment, offset, bytes });
            }
        }
    }

    /// Cuts the connection of one collector.
    pub(super) fn cut(&mut self, whom: usize) {
        let cut: Vec<u64> = self.connections.iter().filter(|(_, to)| **to == whom).map(|(c, _)| *c).collect();
        for connection in cut {
            self.connections.remove(&connection);
            self.input(Input::Disconnected { connection, reason: "cut".to_owned() });
        }
    }

    pub(super) fn slow(&mut self, whom: usize, credit_bytes: u32) {
        self.collectors[whom].credit = credit_bytes;
        self.raw(whom, Message::Slow(Slow { credit_bytes }).encode());
    }

    /// Bytes from a collector.
    pub(super) fn raw(&mut self, whom: usize, bytes: Vec<u8>) {
        let connection = self.connections.iter().find(|(_, to)| **to == whom).map(|(connection, _)| *connection);
        if let Some(connection) = connection {
            self.input(Input::Frame { connection, bytes });
        }
    }

    /// Stops the agent and starts it again with what is on disk.
    pub(super) fn restart(&mut self) {
        self.input(Input::Stop);
        self.begin(STEP);
    }

    /// Kills the agent and starts it again after so many seconds.
    pub(super) fn kill(&mut self, seconds: i64) {
        self.begin(Span::from_seconds(seconds));
    }

    /// Starts a new life with what is on disk.
    fn begin(&mut self, pause: Span) {
        // A new life numbers its connections anew.
        self.connections.clear();
        self.dead.clear();
        self.mute.clear();
        self.pending.clear();
        self.now += pause;
        self.known_series = 0;
        let scan =
            |(segment, bytes): (&u64, &Vec<u8>)| FoundSegment { segment: *segment, scan: SegmentScan::of(bytes) };
        let found = Found { segments: self.disk.iter().map(scan).collect(), state: self.state.clone() };
        let mut effects = Vec::new();
        let start = Start { life: self.life.clone(), ..Self::start(self.now, self.collectors.len()) };
        self.agent = AgentCore::new(self.now, start, found, &mut effects);
        self.perform(effects);
        self.input(Input::Wake);
    }

    /// Lets a collector ask for the agent's life, as one does at each greeting.
    pub(super) fn ask_for_life(&mut self, whom: usize) {
        let after = self.collectors[whom].life.last().map_or(0, |note| note.seq);
        self.raw(whom, Message::LifeWanted(LifeWanted { after }).encode());
    }

    pub(super) fn dialled(&mut self) -> Vec<String> {
        std::mem::take(&mut self.dialled)
    }

    /// Ticks that a collector does not have.
    pub(super) fn missing(&self, whom: usize) -> Vec<i64> {
        let has: BTreeSet<i64> = self.collectors[whom].positions.values().copied().collect();
        self.ticks.iter().copied().filter(|tick| !has.contains(tick)).collect()
    }

    /// Each collector has each tick at exactly one position.
    pub(super) fn check_exactly_once(&self) {
        for (whom, collector) in self.collectors.iter().enumerate() {
            assert_eq!(self.missing(whom), Vec::<i64>::new(), "collector {whom} lacks ticks");
            let mut times: Vec<i64> = collector.positions.values().copied().collect();
            times.sort_unstable();
            assert_eq!(times, self.ticks, "collector {whom} has ticks twice");
        }
    }
}
