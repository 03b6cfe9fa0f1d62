//! A collector and its agents in one thread: what the engine asks for is done at once, time moves when it is told to.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Data, Dict, Hello, Lane, Message, PROTOCOL, SeriesEntry};
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::life::{Life, LifeNote, LifeState};
use watchfire_shared::machine::Machine;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::member::{DownCause, Member, MemberChange, MemberState, NodeId, Role};
use watchfire_shared::order::Order;
use watchfire_shared::sample::{MetricKind, is_stale};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::disk::CrashKeeps;
use watchfire_store::{DeleteError, SimDisk};

use crate::alertmanager;
use crate::catalogue::Policy;
use crate::engine::{ConnId, Effect, Engine, Input, Recovery, Settings};
use crate::fact::Fact;
use crate::ingest::naming::Naming;
use crate::notify::{Answer, Body, Delivery, DeliveryOutcome};
use crate::remote_write::{Outcome, WriteId};
use crate::rules;
use crate::view::{NodeView, View};

pub(super) const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);
pub(super) const CLUSTER: &str = "test";

const ROUTES: &str = "
route:
  receiver: hook
  group_by: [alertname]
  group_wait: 0s
  group_interval: 10s
  repeat_interval: 4h
receivers:
  - name: hook
    webhook_configs:
      - url: http://127.0.0.1:9/
";

pub(super) fn seconds(seconds: f64) -> Span {
    Span::from_millis((seconds * 1000.0) as i64)
}

pub(super) fn settings(rules: &str) -> Settings {
    Settings {
        exports: Vec::new(),
        node_id: NodeId(0xc0),
        node_name: "watch-1".to_owned(),
        naming: Naming::standard(CLUSTER),
        nodes: Policy::default(),
        out_of_order_window: Span::from_seconds(1800),
        storage: watchfire_store::Options { min_free_bytes: 0, ..Default::default() },
        self_interval: seconds(10.0),
        rules: rules::parse("rules.yml", rules).expect("the test's rules are good"),
        rule_settings: rules::Settings::default(),
        alertmanager: Arc::new(alertmanager::parse("alertmanager.yml", ROUTES).expect("the test's routes are good")),
        remediations: Vec::new(),
    }
}

/// What the receiver of notifications does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Webhook {
    Takes,
    Refuses,
    /// Takes what comes, but its answer is lost.
    Mute,
}

/// A notification as it arrived: when, of which group, and `name status` of each alert.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Arrived {
    pub(super) at: Timestamp,
    pub(super) alerts: Vec<String>,
}

/// The collector and what it asked for.
pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) settings: Settings,
    pub(super) engine: Engine<SimDisk>,
    pub(super) recovery: Recovery,
    pub(super) now: Timestamp,
    pub(super) replies: Vec<(ConnId, Message)>,
    pub(super) closed: Vec<(ConnId, String)>,
    /// Orders that left, with the connection on which they did.
    pub(super) orders: Vec<(ConnId, Order)>,
    pub(super) facts: Vec<Fact>,
    pub(super) fatal: Vec<String>,
    /// Times of the evaluations that were made.
    pub(super) evaluated: Vec<Timestamp>,
    pub(super) webhook: Webhook,
    pub(super) arrived: Vec<Arrived>,
    /// What askers were told, and whether it is durable.
    pub(super) answers: Vec<(Answer, bool)>,
    /// The same of remediation.
    pub(super) told: Vec<crate::remediation::Answer>,
    /// What became of deletions.
    pub(super) deleted: Vec<Result<(), DeleteError>>,
    pub(super) written: Vec<(WriteId, Outcome)>,
    /// Effects of the current life that are performed; the process dies after them.
    pub(super) dies_after: usize,
    pub(super) effects: usize,
    next_conn: u64,
}

impl World {
    pub(super) fn new(rules: &str) -> Self {
        Self::open(SimDisk::new(), settings(rules), START)
    }

    pub(super) fn open(disk: SimDisk, settings: Settings, now: Timestamp) -> Self {
        let (engine, recovery) = Engine::open(disk.clone(), settings.clone(), now).expect("the simulated disk works");
        let mut world = Self {
            disk,
            settings,
            engine,
            recovery,
            now,
            replies: Vec::new(),
            closed: Vec::new(),
            orders: Vec::new(),
            facts: Vec::new(),
            fatal: Vec::new(),
            evaluated: Vec::new(),
            webhook: Webhook::Takes,
            arrived: Vec::new(),
            answers: Vec::new(),
            told: Vec::new(),
            deleted: Vec::new(),
            written: Vec::new(),
            dies_after: usize::MAX,
            effects: 0,
            next_conn: now.as_millis() as u64,
        };
        world.input(Input::Wake);
        world
    }

    /// The power fails now, and the collector starts again at `at`.
    pub(super) fn crash(self, keeps: CrashKeeps, at: Timestamp) -> Self {
        let Self { disk, settings, engine, .. } = self;
        disk.crash(keeps);
        drop(engine);
        Self::open(disk, settings, at)
    }

    pub(super) fn input(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop().filter(|_| !self.is_dead()) {
            let mut effects = Vec::new();
            self.engine.handle(self.now, input, &mut effects);
            for effect in effects {
                if self.effects >= self.dies_after {
                    return;
                }
                self.effects += 1;
                match effect {
                    Effect::Reply { conn, bytes } => {
                        let message = Message::decode(&bytes).expect("replies are frames");
                        self.replies.push((conn, message.expect("replies are known frames")));
                    }
                    Effect::Close { conn, reason } => {
                        self.closed.push((conn, reason));
                        inputs.push(Input::Disconnected { conn });
                    }
                    Effect::Evaluate(job) => {
                        self.evaluated.push(job.at());
                        inputs.push(Input::Evaluated(Box::new(job.run())));
                    }
                    Effect::Deliver(delivery) => inputs.extend(self.deliver(&delivery)),
                    Effect::Order { conn, order } => self.orders.push((conn, *order)),
                    Effect::Answer { answer: crate::engine::Answer::Notification(answer), durable } => {
                        self.answers.push((answer, durable));
                    }
                    Effect::Answer { answer: crate::engine::Answer::Remediation(answer), .. } => self.told.push(answer),
                    Effect::Answer { answer: crate::engine::Answer::Deleted(answer), .. } => self.deleted.push(answer),
                    Effect::Written { id, outcome } => self.written.push((id, outcome)),
                    Effect::Fact(fact) => self.facts.push(fact),
                    Effect::Fatal { reason } => self.fatal.push(reason),
                }
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> Option<Input> {
        let failed = DeliveryOutcome::Failed { retry: true, reason: "503".to_owned(), retry_after: None };
        let outcome = if self.webhook == Webhook::Refuses { failed } else { DeliveryOutcome::Ok };
        if outcome == DeliveryOutcome::Ok {
            let Body::Json(body) = &delivery.body;
            let body: serde_json::Value = serde_json::from_str(body).expect("a webhook gets JSON");
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let alerts = body["alerts"].as_array().cloned().unwrap_or_default();
            let alerts = alerts
                .iter()
                .map(|alert| format!("{} {}", text(&alert["labels"]["alertname"]), text(&alert["status"])));
            self.arrived.push(Arrived { at: self.now, alerts: alerts.collect() });
        }
        (self.webhook != Webhook::Mute).then_some(Input::Delivered { id: delivery.id, outcome })
    }

    /// Lets time pass, waking the engine whenever it asked for it.
    pub(super) fn run(&mut self, span: Span) {
        let until = self.now + span;
        while let Some(at) = self.engine.deadline().filter(|at| *at <= until && !self.is_dead()) {
            assert!(at >= self.now - seconds(1.0), "a deadline lies in the past");
            self.now = self.now.max(at);
            self.input(Input::Wake);
            let next = self.engine.deadline();
            assert!(
                self.is_dead() || next.is_none_or(|next| next > self.now),
                "the engine wants to be woken without end: {next:?}"
            );
        }
        self.now = until;
    }

    /// Whether the process has died, so that it neither hears nor does anything.
    pub(super) fn is_dead(&self) -> bool {
        self.effects >= self.dies_after
    }

    /// Takes the replies on a connection since the last call.
    pub(super) fn replies(&mut self, conn: ConnId) -> Vec<Message> {
        let (own, rest) = std::mem::take(&mut self.replies).into_iter().partition(|(to, _)| *to == conn);
        self.replies = rest;
        let own: Vec<(ConnId, Message)> = own;
        own.into_iter().map(|(_, message)| message).collect()
    }

    pub(super) fn connect(&mut self) -> ConnId {
        self.next_conn += 1;
        let conn = ConnId(self.next_conn);
        self.input(Input::Connected { conn, peer: "10.0.0.1:4000".parse().expect("an address") });
        conn
    }

    pub(super) fn send(&mut self, conn: ConnId, message: &Message) {
        self.input(Input::Frame { conn, bytes: message.encode() });
    }

    /// Gossip says something of a node.
    pub(super) fn member(&mut self, id: u64, name: &str, state: MemberState) {
        self.member_because(id, name, state, None);
    }

    pub(super) fn member_because(&mut self, id: u64, name: &str, state: MemberState, cause: Option<DownCause>) {
        self.labelled(id, name, state, cause, &BTreeMap::new());
    }

    pub(super) fn labelled(
        &mut self,
        id: u64,
        name: &str,
        state: MemberState,
        cause: Option<DownCause>,
        labels: &BTreeMap<String, String>,
    ) {
        let member = Member {
            id: NodeId(id),
            name: name.to_owned(),
            addr: "10.0.0.1:7950".parse().expect("an address"),
            state,
            since: self.now,
            incarnation: 0,
            generation: 1,
            role: Role::Agent,
            labels: labels.clone(),
            version: "0.1.0".to_owned(),
            services: BTreeMap::new(),
            rtt_ms: None,
            suspected_by: Vec::new(),
            conditions: Vec::new(),
            suspicions: Vec::new(),
            keys: Default::default(),
            pools: Vec::new(),
            gossip_off: false,
            namesakes: Vec::new(),
            cause,
        };
        self.input(Input::Member(Box::new(MemberChange { at: self.now, previous: None, member })));
    }

    /// Every point of the series with this name, as `labels -> [(seconds since START, value)]`; stale is NaN.
    pub(super) fn points(&self, name: &str) -> BTreeMap<String, Vec<(f64, f64)>> {
        let matchers = [Matcher::equal(METRIC_NAME, name)];
        let selected = self.engine.snapshot().0.select(&matchers, Timestamp::MIN, Timestamp::MAX);
        let at = |millis: &i64| Timestamp::from_millis(*millis).since(START).as_seconds();
        selected
            .into_iter()
            .map(|series| (series.labels.to_string(), series.times.iter().map(at).zip(series.values).collect()))
            .collect()
    }

    /// The newest value of the series that prints as `series`; `None` if it has none or is stale.
    pub(super) fn value(&self, series: &str) -> Option<f64> {
        let name = series.split('{').next().unwrap_or_default();
        let newest = self.engine.snapshot().0.newest(&[Matcher::equal(METRIC_NAME, name)]);
        let newest = newest.into_iter().find(|newest| newest.labels.to_string() == series)?;
        (!is_stale(newest.value)).then_some(newest.value)
    }

    pub(super) fn view(&self) -> Arc<View> {
        self.engine.view()
    }

    pub(super) fn node(&self, name: &str) -> NodeView {
        self.view().nodes.iter().find(|node| node.name == name).expect("the node is known").clone()
    }

    /// Alerts as `name state` in the order of the rules.
    pub(super) fn alerts(&self) -> Vec<String> {
        let alerts = self.view();
        let alerts = alerts.rules.active();
        alerts.map(|alert| format!("{} {}", alert.labels.value("alertname"), alert.state.as_str())).collect()
    }

    pub(super) fn said(&self, message: &str) -> usize {
        self.facts.iter().filter(|fact| fact.message.contains(message)).count()
    }
}

/// An agent as the wire knows it.
pub(super) struct FakeAgent {
    pub(super) hello: Hello,
    pub(super) conn: ConnId,
    pub(super) live: FakeLane,
    pub(super) backfill: FakeLane,
}

#[derive(Default)]
pub(super) struct FakeLane {
    state: ValueState,
    dict_id: u32,
    slots: usize,
    pub(super) seq: u64,
    keyframe: bool,
}

impl FakeAgent {
    /// An agent with a tick of ten seconds that is connected and has sent the dictionary `m0`, `m1` and so on, as many
    /// series as `series` says, on its live lane.
    pub(super) fn join(world: &mut World, id: u64, name: &str, series: usize) -> Self {
        let mut agent = Self::new(world.now, id, name);
        agent.connect(world);
        agent.dict(world, Lane::Live, series);
        agent
    }

    pub(super) fn new(now: Timestamp, id: u64, name: &str) -> Self {
        let hello = Hello {
            proto: PROTOCOL,
            features: Vec::new(),
            cluster: CLUSTER.to_owned(),
            agent_id: NodeId(id),
            name: name.to_owned(),
            labels: BTreeMap::new(),
            version: "0.1.0".to_owned(),
            epoch: now.as_millis() as u64,
            spool_epoch: 7,
            clock_ms: now.as_millis(),
            interval_ms: 10_000,
            spooled: None,
        };
        Self { hello, conn: ConnId(0), live: FakeLane::default(), backfill: FakeLane::default() }
    }

    /// Opens a connection and says hello by the world's clock.
    pub(super) fn connect(&mut self, world: &mut World) {
        self.hello.clock_ms = world.now.as_millis();
        self.connect_as_is(world);
    }

    /// Says what it noted of its life: number, seconds since [`START`], state.
    pub(super) fn life(&self, world: &mut World, notes: &[(u64, f64, LifeState)]) {
        let note = |(seq, at, state): &(u64, f64, LifeState)| LifeNote {
            seq: *seq,
            at: START + seconds(*at),
            state: *state,
            reason: "a\nreason".to_owned(),
        };
        world.send(self.conn, &Message::Life(Life { notes: notes.iter().map(note).collect() }));
    }

    /// Opens a connection and says hello by whatever clock it has.
    pub(super) fn connect_as_is(&mut self, world: &mut World) {
        self.conn = world.connect();
        world.send(self.conn, &Message::Hello(self.hello.clone()));
        for lane in Lane::ALL {
            self.lane(lane).keyframe = true;
        }
    }

    pub(super) fn lane(&mut self, lane: Lane) -> &mut FakeLane {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Backfill => &mut self.backfill,
        }
    }

    pub(super) fn dict(&mut self, world: &mut World, lane: Lane, series: usize) {
        let entries: Vec<SeriesEntry> = (0..series)
            .map(|slot| SeriesEntry {
                slot: slot as u32,
                labels: Labels::new([(METRIC_NAME, format!("m{slot}"))]),
                kind: MetricKind::Gauge,
            })
            .collect();
        let parts = Dict::parts(lane, 1, &entries);
        let own = self.lane(lane);
        own.dict_id = parts.len() as u32;
        own.slots = series;
        own.keyframe = true;
        own.state.resize(series);
        for part in parts {
            world.send(self.conn, &Message::Dict(part));
        }
    }

    /// The next frame of a lane, every series with the same value.
    pub(super) fn frame(&mut self, lane: Lane, at: Timestamp, value: f64) -> Data {
        let own = self.lane(lane);
        own.seq += 1;
        let keyframe = std::mem::take(&mut own.keyframe);
        let mut body = Vec::new();
        own.state.encode(&vec![value; own.slots], keyframe, &mut body);
        let (seq, dict_id, n) = (own.seq, own.dict_id, own.slots as u32);
        Data { lane, seq, dict_id, ts_ms: at.as_millis(), n, keyframe, body, coding: Coding::Short }
    }

    /// Sends a live frame for now.
    pub(super) fn tick(&mut self, world: &mut World, value: f64) {
        let data = self.frame(Lane::Live, world.now, value);
        world.send(self.conn, &Message::Data(data));
    }

    /// Goes on for some ticks.
    pub(super) fn live(&mut self, world: &mut World, ticks: usize) {
        for _ in 0..ticks {
            self.tick(world, 1.0);
            world.run(seconds(10.0));
        }
    }
}

/// Several agents go on for some ticks.
pub(super) fn live(world: &mut World, agents: &mut [FakeAgent], ticks: usize) {
    for _ in 0..ticks {
        for agent in agents.iter_mut() {
            agent.tick(world, 1.0);
        }
        world.run(seconds(10.0));
    }
}
