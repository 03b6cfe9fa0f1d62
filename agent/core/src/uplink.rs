//! One collector and the connection to it: dialling, greeting, two lanes with their acknowledgements, credit.
//!
//! A connection that lives holds its place in both lanes; everything that outlives it (what the collector has) is the
//! spool's [`Cursor`](crate::spool).

use std::collections::VecDeque;

use watchfire_shared::frame::body::Coding;
use watchfire_shared::frame::message::{HelloAck, Lane, coding_for};
use watchfire_shared::limits::MAX_UNACKED_FRAMES;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use crate::lane::LaneEncoder;
use crate::random::Random;
use crate::spool::reader::LogReader;

/// The shortest wait before dialling again.
const MIN_RETRY: Span = Span::from_millis(500);
/// The longest.
pub(crate) const MAX_RETRY: Span = Span::from_seconds(30);
/// How long dialling, and then the answer to Hello, may take.
pub(crate) const MAX_GREETING: Span = Span::from_seconds(10);
/// A silent connection is asked for a sign of life after this.
pub(crate) const PING_AFTER: Span = Span::from_seconds(15);
/// A connection that says nothing for so long is dead.
pub(crate) const MAX_SILENCE: Span = Span::from_seconds(45);
/// Backfill goes in portions: so many frames ...
const PORTION: u32 = 10;
/// ... in so much time. 50 frames a second make up for a day at ten seconds in three minutes, and cost a collector of a
/// thousand agents less than their live frames do.
const PORTION_EVERY: Span = Span::from_millis(200);
/// Frames of the backfill lane on their way. Fewer than in the live lane, which must never wait for them.
const MAX_BACKFILL_IN_FLIGHT: usize = 16;
/// A collector that asks again and again for the same stream from its beginning is left for a while.
pub(crate) const MAX_RESYNCS: u32 = 5;

/// A collector that the agent sends to.
#[derive(Debug)]
pub(crate) struct Target {
    /// `host:port`.
    pub(crate) address: String,
    /// Who it is by gossip; `None` for one that the configuration names.
    pub(crate) member: Option<NodeId>,
    /// Whose cursor it uses: who it said it is, or else who gossip says.
    pub(crate) collector: Option<NodeId>,
    pub(crate) phase: Phase,
    /// Attempts since the last greeting.
    pub(crate) attempts: u32,
}

#[derive(Debug)]
pub(crate) enum Phase {
    Idle { retry_at: Timestamp },
    Dialling { connection: u64, until: Timestamp },
    Greeting { connection: u64, until: Timestamp },
    Ready(Box<Session>),
}

impl Target {
    pub(crate) fn new(address: String, member: Option<NodeId>, retry_at: Timestamp) -> Self {
        Self { address, member, collector: member, phase: Phase::Idle { retry_at }, attempts: 0 }
    }

    pub(crate) fn connection(&self) -> Option<u64> {
        match &self.phase {
            Phase::Idle { .. } => None,
            Phase::Dialling { connection, .. } | Phase::Greeting { connection, .. } => Some(*connection),
            Phase::Ready(session) => Some(session.connection),
        }
    }

    pub(crate) fn session(&mut self) -> Option<&mut Session> {
        if let Phase::Ready(session) = &mut self.phase { Some(session) } else { None }
    }

    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Ready(_))
    }

    /// When something has to be done although nothing arrived.
    pub(crate) fn deadline(&self) -> Timestamp {
        match &self.phase {
            Phase::Idle { retry_at } => *retry_at,
            Phase::Dialling { until, .. } | Phase::Greeting { until, .. } => *until,
            Phase::Ready(session) => session.deadline(),
        }
    }

    /// Full jitter: anything from the shortest wait to one that doubles with each attempt.
    pub(crate) fn backoff(&mut self, now: Timestamp, random: &mut Random) -> Timestamp {
        let longest = Span::from_seconds(1 << self.attempts.min(5)).min(MAX_RETRY);
        self.attempts = self.attempts.saturating_add(1);
        now + random.between(MIN_RETRY, longest)
    }
}

/// A greeted connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) connection: u64,
    pub(crate) collector: NodeId,
    pub(crate) live: SendLane,
    pub(crate) backfill: SendLane,
    /// The next live tick to send.
    pub(crate) next_live: u64,
    /// Bytes that may be on their way.
    pub(crate) credit: u64,
    pub(crate) last_heard: Timestamp,
    pub(crate) pinged_at: Option<Timestamp>,
    pub(crate) reader: Option<LogReader>,
    /// The log is read from here on, if it is behind the cursor: what precedes is on its way.
    pub(crate) read_from: u64,
    portion: u32,
    portion_until: Timestamp,
    /// Backfill waits for the next portion.
    pub(crate) held_back: bool,
    pub(crate) resyncs: u32,
    /// The last note of the agent's life that the collector has or was sent; `None` until it asks for any.
    pub(crate) life_after: Option<u64>,
}

/// One lane as it is being sent.
#[derive(Debug)]
pub(crate) struct SendLane {
    pub(crate) encoder: LaneEncoder,
    /// Sequence and bytes of each frame that is on its way.
    pub(crate) in_flight: VecDeque<(u64, u64)>,
}

impl SendLane {
    fn new(lane: Lane, coding: Coding) -> Self {
        Self { encoder: LaneEncoder::new(lane, coding), in_flight: VecDeque::new() }
    }

    fn bytes(&self) -> u64 {
        self.in_flight.iter().map(|(_, bytes)| bytes).sum()
    }

    pub(crate) fn has(&self, seq: u64) -> bool {
        self.in_flight.iter().any(|(own, _)| *own == seq)
    }
}

impl Session {
    /// `answer` is what the collector greeted with.
    pub(crate) fn new(connection: u64, answer: &HelloAck, next_live: u64, now: Timestamp) -> Self {
        let coding = coding_for(answer.proto);
        Self {
            connection,
            collector: answer.collector_id,
            live: SendLane::new(Lane::Live, coding),
            backfill: SendLane::new(Lane::Backfill, coding),
            next_live,
            credit: u64::from(answer.credit_bytes),
            last_heard: now,
            pinged_at: None,
            reader: None,
            read_from: 0,
            portion: PORTION,
            portion_until: now,
            held_back: false,
            resyncs: 0,
            life_after: None,
        }
    }

    pub(crate) fn lane(&mut self, lane: Lane) -> &mut SendLane {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Backfill => &mut self.backfill,
        }
    }

    /// Whether a live frame may be sent. One may always be on its way while there is any credit at all: its size is not
    /// known before it is encoded.
    pub(crate) fn may_send_live(&self) -> bool {
        let on_the_way = self.live.bytes() + self.backfill.bytes();
        self.credit > 0 && on_the_way < self.credit && self.live.in_flight.len() < MAX_UNACKED_FRAMES
    }

    /// Whether a backfill frame may be sent now. It leaves half of the credit to live ones.
    pub(crate) fn may_send_backfill(&mut self, now: Timestamp) -> bool {
        let on_the_way = self.live.bytes() + self.backfill.bytes();
        if on_the_way * 2 >= self.credit || self.backfill.in_flight.len() >= MAX_BACKFILL_IN_FLIGHT {
            return false;
        }
        if now >= self.portion_until {
            self.portion = PORTION;
            self.portion_until = now + PORTION_EVERY;
        }
        self.held_back = self.portion == 0;
        !self.held_back
    }

    /// A backfill frame was sent.
    pub(crate) fn spend(&mut self) {
        self.portion = self.portion.saturating_sub(1);
    }

    fn deadline(&self) -> Timestamp {
        let silence = match self.pinged_at {
            None => self.last_heard + PING_AFTER,
            Some(_) => self.last_heard + MAX_SILENCE,
        };
        if self.held_back { silence.min(self.portion_until) } else { silence }
    }
}
