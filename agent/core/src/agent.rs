//! The agent as a state machine: it decides when to sample, to whom each tick goes, and what waits in the spool.
//!
//! Every tick is a live frame first, to every collector that is connected. A tick that some collector did not get or did
//! not acknowledge before its connection died goes to the log ([`crate::spool`]), and from there to that collector in
//! the backfill lane, behind live frames and rate limited. A tick is dropped only by the log's cap, which counts it.
//!
//! Invariants: live sequences rise by one from tick to tick, the same for all collectors; the ring holds the latest
//! ticks without a gap; every tick that left the ring is acknowledged by every collector or stands in the log; the log
//! holds ticks in the order of their times.

mod deliver;

mod greet;

mod settings;

use std::collections::VecDeque;

use watchfire_shared::frame::message::{Bye, Message, NackCode, Position};
use watchfire_shared::limits::MAX_UNACKED_FRAMES;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{Member, NodeId};
use watchfire_shared::order::{OrderId, SignedOrder};
use watchfire_shared::time::Timestamp;

use crate::dictionary::Dictionary;
use crate::lane::Values;
use crate::life::LifeJournal;
use crate::random::Random;
use crate::sampler::OwnFigures;
use crate::schedule::Schedule;
use crate::sink::Round;
use crate::spool::{Found, Spool, SpoolEffect};
use crate::uplink::{Phase, Target};
pub use settings::{Settings, Start};

/// What the agent is told.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// The deadline was reached.
    Wake,
    /// The answer to [`Effect::Collect`].
    Collected(Round),
    /// The members as gossip sees them now.
    Members(Vec<Member>),
    /// The configuration was read anew.
    Settings(Settings),
    /// The configuration as it is on disk cannot be used, or could; and how many keys nobody knows.
    ConfigRead { good: bool, unknown_keys: u64 },
    /// A connection that [`Effect::Connect`] asked for stands.
    Connected { connection: u64 },
    /// One whole frame arrived.
    Frame { connection: u64, bytes: Vec<u8> },
    /// The connection could not be made, or ended.
    Disconnected { connection: u64, reason: String },
    /// The answer to [`SpoolEffect::Read`]; `None` if it could not be read.
    SpoolRead { connection: u64, segment: u64, offset: u64, bytes: Option<Vec<u8>> },
    /// The spool's disk takes nothing; what is appended waits in memory.
    SpoolFailed { reason: String },
    /// It took what waited.
    SpoolRecovered,
    /// Send a message about orders to this collector, or to all, if connected.
    Say { to: Option<NodeId>, message: Box<Message> },
    /// Stop: what is not acknowledged goes to the spool. Nothing is done afterwards.
    Stop,
}

/// What the agent asks for.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// Sample the host.
    Collect {
        tick: Timestamp,
        own: Box<OwnFigures>,
    },
    /// Connect to `host:port`.
    Connect {
        connection: u64,
        address: String,
    },
    /// Send one frame.
    Send {
        connection: u64,
        bytes: Vec<u8>,
    },
    /// Send what was given, then hang up. The end is not reported.
    Disconnect {
        connection: u64,
    },
    Spool(SpoolEffect),
    /// Replace the journal of this agent's life by these bytes, durably; nobody waits for it. It is handed in at the next
    /// start.
    KeepLife {
        bytes: Vec<u8>,
    },
    /// A collector said something that concerns orders.
    Heard {
        collector: NodeId,
        news: News,
    },
    Fact(Fact),
    /// Everything that stopping needs was asked for.
    Stopped,
}

/// What a collector says that concerns orders: most of it [`crate::order`] has to know.
#[derive(Clone, PartialEq, Debug)]
pub enum News {
    /// It greets: it may be new, or come back.
    Greeted,
    Order(SignedOrder),
    Seen(OrderId),
    /// It asks what this node believes of a member.
    Asked(NodeId),
}

/// Something that happened and that a person may want to read in the log.
#[derive(Clone, PartialEq, Debug)]
pub enum Fact {
    Connected {
        address: String,
        collector: String,
    },
    /// `attempts` counts those since the last greeting, this one included.
    Lost {
        address: String,
        reason: String,
        attempts: u32,
        retry_at: Timestamp,
    },
    /// A collector refused a frame for good.
    Refused {
        address: String,
        code: NackCode,
        detail: String,
    },
    /// Ticks at which nothing was sampled: the machine was suspended, or sampling took longer than an interval.
    Missed {
        ticks: u64,
    },
    SpoolDegraded {
        reason: String,
    },
    SpoolRecovered,
    SpoolDropped {
        frames: u64,
    },
    SpoolDamaged {
        parts: u64,
    },
    /// More collectors are known than an agent sends to.
    Surplus {
        collectors: usize,
    },
}

/// A tick that is in memory.
#[derive(Debug)]
struct Tick {
    seq: u64,
    at: Timestamp,
    dictionary: Dictionary,
    values: Vec<f64>,
}

impl Tick {
    fn values(&self) -> Values<'_> {
        Values { seq: self.seq, at: self.at, dictionary: &self.dictionary, values: &self.values }
    }
}

/// The agent.
#[derive(Debug)]
pub struct AgentCore {
    settings: Settings,
    node: NodeId,
    /// Epoch of the live lane.
    epoch: u64,
    random: Random,
    schedule: Schedule,
    /// The tick that is being sampled.
    collecting: Option<Timestamp>,
    dictionary: Dictionary,
    next_live: u64,
    last_tick: Option<Timestamp>,
    ring: VecDeque<Tick>,
    /// Live ticks before this one that are needed stand in the log.
    logged_before: u64,
    spool: Spool,
    life: LifeJournal,
    targets: Vec<Target>,
    members: Vec<Member>,
    next_connection: u64,
    own: OwnFigures,
    reported_drops: u64,
    stopped: bool,
}

impl Machine for AgentCore {
    type Input = Input;
    type Effect = Effect;

    fn wake() -> Input {
        Input::Wake
    }

    fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        if self.stopped {
            return;
        }
        match input {
            Input::Wake => {}
            Input::Collected(round) => self.collected(now, round, effects),
            Input::Members(members) => self.membership(now, members, effects),
            Input::Settings(settings) => self.reconfigure(now, settings, effects),
            Input::ConfigRead { good, unknown_keys } => {
                self.own.config_good = good;
                self.own.config_unknown_keys = unknown_keys;
            }
            Input::Connected { connection } => self.greet(now, connection, effects),
            Input::Frame { connection, bytes } => self.frame(now, connection, &bytes, effects),
            Input::Disconnected { connection, reason } => {
                if let Some(at) = self.target_of(connection) {
                    self.lost(now, at, &reason, None, effects);
                }
            }
            Input::SpoolRead { connection, segment, offset, bytes } => {
                self.spool_read(connection, segment, offset, bytes);
            }
            Input::SpoolFailed { reason } => {
                if !self.spool.is_degraded() {
                    effects.push(Effect::Fact(Fact::SpoolDegraded { reason }));
                }
                self.with_spool(effects, |spool, effects| spool.degrade(effects));
            }
            Input::SpoolRecovered => {
                self.spool.recover();
                effects.push(Effect::Fact(Fact::SpoolRecovered));
            }
            Input::Say { to, message } => self.say(to, &message, effects),
            Input::Stop => return self.stop(now, effects),
        }
        self.due(now, effects);
        self.live(now, effects);
        self.deliver(now, effects);
    }

    fn deadline(&self) -> Option<Timestamp> {
        if self.stopped {
            return None;
        }
        let targets = self.targets.iter().map(Target::deadline);
        let own = [self.spool.deadline(), self.life.deadline(), Some(self.schedule.next())];
        targets.chain(own.into_iter().flatten()).min()
    }
}

impl AgentCore {
    /// Starts an agent with what was found of its spool.
    #[must_use]
    pub fn new(now: Timestamp, start: Start, found: Found, effects: &mut Vec<Effect>) -> Self {
        let Start { node, epoch, seed, version, boot, life, settings } = start;
        let mut spool_effects = Vec::new();
        let spool = Spool::open(found, settings.spool_bytes, epoch, &mut spool_effects);
        effects.extend(spool_effects.into_iter().map(Effect::Spool));
        let mut agent = Self {
            schedule: Schedule::new(now, node.0, settings.interval),
            node,
            epoch,
            random: Random::new(seed),
            collecting: None,
            dictionary: Dictionary::default(),
            next_live: 1,
            last_tick: None,
            ring: VecDeque::new(),
            logged_before: 1,
            spool,
            life: LifeJournal::open(now, life.as_deref(), &boot),
            targets: Vec::new(),
            members: Vec::new(),
            next_connection: 1,
            own: OwnFigures { version, ..OwnFigures::default() },
            reported_drops: 0,
            stopped: false,
            settings,
        };
        agent.retarget(now, effects);
        agent.deliver(now, effects);
        agent.keep_life(now, effects);
        agent
    }

    /// What the agent tells of itself, as of now.
    #[must_use]
    pub fn figures(&self) -> OwnFigures {
        OwnFigures {
            uplinks: self.targets.iter().filter(|target| target.is_ready()).count() as u64,
            spool_bytes: self.spool.bytes(),
            spool_degraded: self.spool.is_degraded(),
            spool_dropped: self.spool.dropped(),
            ..self.own.clone()
        }
    }

    /// Runs what the clock asks for.
    fn due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if let Some(due) = self.schedule.take(now) {
            let missed = due.missed + u64::from(self.collecting.is_some());
            if missed > 0 {
                self.own.ticks_missed += missed;
                effects.push(Effect::Fact(Fact::Missed { ticks: missed }));
            }
            if self.collecting.is_none() {
                self.collecting = Some(due.tick);
                effects.push(Effect::Collect { tick: due.tick, own: Box::new(self.figures()) });
            }
        }
        if self.spool.deadline().is_some_and(|at| at <= now) {
            self.with_spool(effects, |spool, effects| spool.sync(effects));
        }
        for at in 0..self.targets.len() {
            self.due_target(now, at, effects);
        }
    }

    fn collected(&mut self, now: Timestamp, round: Round, effects: &mut Vec<Effect>) {
        if self.collecting.take() != Some(round.tick) {
            return;
        }
        self.dictionary.change(&round.removed, &round.added);
        self.dictionary.reserve(round.values.len());
        // Within an epoch times strictly rise; a tick that would break that adds nothing that could be kept.
        if self.last_tick.is_some_and(|last| round.tick <= last) {
            self.own.ticks_missed += 1;
            return;
        }
        self.last_tick = Some(round.tick);
        let mut values = round.values;
        values.resize(self.dictionary.len(), watchfire_shared::sample::stale_nan());
        let tick = Tick { seq: self.next_live, at: round.tick, dictionary: self.dictionary.clone(), values };
        self.next_live += 1;
        self.ring.push_back(tick);
        if self.somebody_is_away() {
            self.log_ring(now, self.next_live, effects);
        }
        while self.ring.len() > MAX_UNACKED_FRAMES {
            self.give_up_oldest(now, effects);
        }
    }

    /// Whether a collector that wants every tick is not connected, so that the tick has to wait for it in the log.
    fn somebody_is_away(&self) -> bool {
        let ready: Vec<NodeId> =
            self.targets.iter().filter(|target| target.is_ready()).filter_map(|target| target.collector).collect();
        ready.is_empty() || ready.len() < self.targets.len() || self.spool.remembers_others(&ready)
    }

    /// Puts the ticks of the ring before `seq` into the log, as far as they are not there.
    fn log_ring(&mut self, now: Timestamp, before: u64, effects: &mut Vec<Effect>) {
        let mut spool_effects = Vec::new();
        for tick in self.ring.iter().filter(|tick| (self.logged_before..before).contains(&tick.seq)) {
            let live = Position { epoch: self.epoch, seq: tick.seq };
            self.spool.append(now, live, tick.values(), &mut spool_effects);
        }
        self.logged_before = self.logged_before.max(before);
        effects.extend(spool_effects.into_iter().map(Effect::Spool));
        self.report_drops(effects);
    }

    /// The oldest tick of a full ring is left to the log: a collector that has not got it live gets it from there.
    fn give_up_oldest(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let Some(seq) = self.ring.front().map(|tick| tick.seq) else { return };
        self.log_ring(now, seq + 1, effects);
        self.ring.pop_front();
        for session in self.targets.iter_mut().filter_map(Target::session) {
            session.next_live = session.next_live.max(seq + 1);
        }
    }

    fn report_drops(&mut self, effects: &mut Vec<Effect>) {
        let dropped = self.spool.dropped();
        if dropped > self.reported_drops {
            effects.push(Effect::Fact(Fact::SpoolDropped { frames: dropped - self.reported_drops }));
            self.reported_drops = dropped;
        }
    }

    fn with_spool(&mut self, effects: &mut Vec<Effect>, act: impl FnOnce(&mut Spool, &mut Vec<SpoolEffect>)) {
        let mut spool_effects = Vec::new();
        act(&mut self.spool, &mut spool_effects);
        effects.extend(spool_effects.into_iter().map(Effect::Spool));
        self.report_drops(effects);
    }

    /// Forgets the ticks that every connected collector acknowledged, and the parts of the log that nobody needs.
    fn tidy(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some(seq) = self.ring.front().map(|tick| tick.seq) {
            let wanted =
                self.targets.iter_mut().filter_map(Target::session).any(|s| s.next_live <= seq || s.live.has(seq));
            if wanted {
                break;
            }
            self.ring.pop_front();
        }
        let oldest = self.ring.front().map_or(self.next_live, |tick| tick.seq);
        let oldest = Position { epoch: self.epoch, seq: oldest };
        let targets: Vec<Option<NodeId>> = self.targets.iter().map(|target| target.collector).collect();
        self.with_spool(effects, |spool, effects| spool.trim(now, &targets, oldest, effects));
    }

    fn stop(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.life.stop(now);
        self.tell_life(effects);
        self.keep_life(now, effects);
        for at in 0..self.targets.len() {
            if let Some(connection) = self.targets[at].connection() {
                let bye = Message::Bye(Bye { reason: "the agent stops".to_owned(), retry_after_ms: 0 });
                if matches!(self.targets[at].phase, Phase::Ready(_)) {
                    effects.push(Effect::Send { connection, bytes: bye.encode() });
                }
                effects.push(Effect::Disconnect { connection });
            }
            self.forget_session(now, at, effects);
        }
        self.with_spool(effects, |spool, effects| {
            if spool.is_empty() {
                spool.save(effects);
            } else {
                spool.sync(effects);
            }
        });
        self.stopped = true;
        effects.push(Effect::Stopped);
    }

    fn target_of(&self, connection: u64) -> Option<usize> {
        self.targets.iter().position(|target| target.connection() == Some(connection))
    }
}

#[cfg(test)]
mod tests;
