//! Ingest: what agents send becomes samples in the store, and what is durable there is acknowledged.
//!
//! One connection serves one agent; a newer connection of the same agent replaces the older one. Frames of a lane are
//! appended strictly in order, each at most once, and acknowledged only after a sync of the store: an acknowledgement
//! is cumulative and speaks of durable frames only. Whatever an agent sends, memory stays bounded: there are at most
//! [`MAX_CONNECTIONS`] connections, each with a fixed amount of state, and everything per series lives in the store
//! under its quotas.
//!
//! Ingest decides nothing about health. It reports who spoke and when ([`Report`]); the series make `up` of it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use watchfire_shared::frame::FrameError;
use watchfire_shared::frame::message::{Bye, Lane, Message, Nack, NackCode, Ping, Position, ViewAnswer};
use watchfire_shared::life::Life;
use watchfire_shared::member::NodeId;
use watchfire_shared::order::{Actions, OrderReport};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, Source, Store};

use crate::fact::{Fact, Level};
use crate::metadata::Metadata;

pub mod naming;

mod session;

mod stamp;

mod hello;

mod lane;

mod acknowledge;

use lane::LaneState;
use naming::{Naming, TargetLabels};
use session::idle_limit;
pub(crate) use session::shown;

/// Connections at a time: every agent of the largest fleet, and some that are only now replaced or refused.
pub const MAX_CONNECTIONS: usize = watchfire_shared::limits::MAX_MEMBERS + 1024;
/// How long a new connection may take to say who it is.
const GREETING_TIME: Span = Span::from_seconds(10);
/// What an agent may have sent and not yet seen acknowledged, bytes. 64 frames of the largest usual size fit.
pub(crate) const CREDIT_BYTES: u32 = 1 << 20;
/// When a refused agent may try again. Nothing will have changed within seconds.
const REFUSED_RETRY_MS: u64 = 60_000;

/// A connection of an agent, numbered by the shell; a number is never used twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ConnId(pub u64);

/// What ingest counts since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub connections: u64,
    pub frames: u64,
    pub bytes: u64,
    pub samples_live: u64,
    pub samples_backfill: u64,
    pub duplicates: u64,
    /// Live frames that were stamped with the time of receipt.
    pub restamped: u64,
    pub rejected: Rejected,
}

/// Refused frames by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rejected {
    /// Another cluster or protocol, frames out of turn, connections above the limit.
    pub protocol: u64,
    /// Bytes that are no frame.
    pub malformed: u64,
    pub quota: u64,
    pub schema: u64,
    pub clock: u64,
    pub resync: u64,
    /// Frames that the full store had no room for; the agent keeps them.
    pub storage: u64,
}

impl Rejected {
    /// Every reason, by the name that series have for it, and how many frames were refused for it.
    #[must_use]
    pub const fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            ("protocol", self.protocol),
            ("malformed", self.malformed),
            ("quota", self.quota),
            ("schema", self.schema),
            ("clock", self.clock),
            ("resync", self.resync),
            ("storage", self.storage),
        ]
    }
}

/// What the rest of the collector learns from ingest.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Report {
    /// An agent introduced itself.
    Connected(Introduction),
    /// A live frame of it was taken.
    Live { id: NodeId, clock_offset: Span },
    /// Its clock was compared without a frame.
    Clock { id: NodeId, clock_offset: Span },
    /// It says what it would do if it were ordered to.
    Offers { id: NodeId, offers: Actions },
    /// It says what became of an order.
    Order { id: NodeId, report: OrderReport },
    /// It says what it noted of its own life.
    Life { id: NodeId, life: Life },
    /// An agent tells what it believes of a member that it was asked about.
    View { id: NodeId, answer: ViewAnswer },
    /// It said that it stops.
    Goodbye { id: NodeId },
    /// Its connection ended.
    Disconnected { id: NodeId },
}

/// An agent, as it introduced itself.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Introduction {
    pub(crate) id: NodeId,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) version: String,
    pub(crate) interval: Span,
    pub(crate) clock_offset: Span,
    /// Its gossip is off.
    pub(crate) gossip_off: bool,
}

/// What ingest wants done, in order.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Output {
    Reply(ConnId, Message),
    Close(ConnId, String),
    Report(Report),
    Fact(Fact),
}

/// Who this collector is, and how it calls the series of agents.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Identity {
    pub(crate) node_id: NodeId,
    pub(crate) node_name: String,
    pub(crate) naming: Naming,
    pub(crate) retention: Span,
}

/// All connections and the agents behind them.
pub(crate) struct Ingest {
    identity: Identity,
    connections: BTreeMap<ConnId, Connection>,
    agents: BTreeMap<NodeId, Agent>,
    /// Names in use by connected agents.
    names: BTreeMap<String, NodeId>,
    /// When each connection is looked at next; pushed on lazily, so that a frame costs nothing here.
    expiry: BTreeSet<(Timestamp, ConnId)>,
    /// Lanes with frames that were appended, or asked about again, since the last acknowledgement.
    unacknowledged: BTreeSet<(NodeId, Lane)>,
    /// Whether the store refused something for want of room since it was last asked.
    no_room: bool,
    counters: Counters,
    /// What senders said of their metrics.
    pub(crate) metadata: Metadata,
}

struct Connection {
    peer: SocketAddr,
    last_frame_at: Timestamp,
    expires_at: Timestamp,
    agent: Option<NodeId>,
}

/// A connected agent.
struct Agent {
    conn: ConnId,
    name: String,
    interval: Span,
    target: TargetLabels,
    /// When it introduced itself, or sent its last live frame.
    heard_at: Timestamp,
    live: LaneState,
    backfill: LaneState,
}

impl Agent {
    fn lane(&mut self, lane: Lane) -> &mut LaneState {
        match lane {
            Lane::Live => &mut self.live,
            Lane::Backfill => &mut self.backfill,
        }
    }
}

impl Ingest {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            connections: BTreeMap::new(),
            agents: BTreeMap::new(),
            names: BTreeMap::new(),
            expiry: BTreeSet::new(),
            unacknowledged: BTreeSet::new(),
            no_room: false,
            counters: Counters::default(),
            metadata: Metadata::default(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Agents that are connected and have introduced themselves.
    pub(crate) fn agents(&self) -> usize {
        self.agents.len()
    }

    /// The connection of an agent, if it has one.
    pub(crate) fn connection_of(&self, id: NodeId) -> Option<ConnId> {
        self.agents.get(&id).map(|agent| agent.conn)
    }

    /// Whether the store had no room since the last call.
    pub(crate) fn found_no_room(&mut self) -> bool {
        std::mem::take(&mut self.no_room)
    }

    /// When a connection may have to be closed for its silence.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.expiry.first().map(|(at, _)| *at)
    }

    /// Takes a new connection, or refuses it where there are too many.
    pub(crate) fn connected(&mut self, now: Timestamp, conn: ConnId, peer: SocketAddr, out: &mut Vec<Output>) {
        self.counters.connections += 1;
        if self.connections.len() >= MAX_CONNECTIONS {
            self.counters.rejected.protocol += 1;
            out.push(Output::Close(conn, "too many connections".to_owned()));
            return;
        }
        let expires_at = now + GREETING_TIME;
        self.expiry.insert((expires_at, conn));
        let previous = self.connections.insert(conn, Connection { peer, last_frame_at: now, expires_at, agent: None });
        debug_assert!(previous.is_none(), "connection numbers are never used twice");
    }

    /// The other side hung up, or the shell did.
    pub(crate) fn disconnected(&mut self, conn: ConnId, out: &mut Vec<Output>) {
        self.forget(conn, out);
    }

    /// Takes one frame.
    pub(crate) fn frame<D: Disk>(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        bytes: &[u8],
        store: &mut Store<D>,
        out: &mut Vec<Output>,
    ) {
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        connection.last_frame_at = now;
        let agent = connection.agent;
        self.counters.frames += 1;
        self.counters.bytes += bytes.len() as u64;
        let message = match Message::decode(bytes) {
            Ok(Some(message)) => message,
            // A harmless frame of a newer minor version.
            Ok(None) => return,
            Err(error) => return self.malformed(conn, &error, out),
        };
        match (message, agent) {
            (Message::Hello(hello), None) => self.hello(now, conn, hello, store, out),
            (Message::Dict(dict), Some(id)) => self.dict(conn, id, dict, store, out),
            (Message::Data(data), Some(id)) => self.data(now, conn, id, &data, store, out),
            (Message::Ping(ping), Some(id)) => self.ping(now, conn, id, ping, out),
            (Message::Pong(_), Some(_)) => {}
            (Message::Actions(offers), Some(id)) => out.push(Output::Report(Report::Offers { id, offers })),
            (Message::OrderReport(report), Some(id)) => out.push(Output::Report(Report::Order { id, report })),
            (Message::Life(life), Some(id)) => out.push(Output::Report(Report::Life { id, life })),
            (Message::ViewAnswer(answer), Some(id)) => out.push(Output::Report(Report::View { id, answer })),
            (Message::Bye(bye), _) => self.bye(conn, &bye, out),
            (_, None) => self.hang_up(conn, "a frame came before Hello", out),
            (_, Some(_)) => self.hang_up(conn, "a frame came that an agent does not send", out),
        }
    }

    /// The bytes of a connection are no frames.
    pub(crate) fn malformed(&mut self, conn: ConnId, error: &FrameError, out: &mut Vec<Output>) {
        self.counters.rejected.malformed += 1;
        self.refuse(conn, NackCode::Schema, &error.to_string(), 0, out);
    }

    /// Closes connections that said nothing for too long.
    pub(crate) fn expire(&mut self, now: Timestamp, out: &mut Vec<Output>) {
        while let Some((at, conn)) = self.expiry.first().copied().filter(|(at, _)| *at <= now) {
            self.expiry.remove(&(at, conn));
            let Some(connection) = self.connections.get_mut(&conn) else { continue };
            let interval = connection.agent.and_then(|id| self.agents.get(&id)).map(|agent| agent.interval);
            let until = match interval {
                Some(interval) => connection.last_frame_at + idle_limit(interval),
                None => at,
            };
            if until > now {
                connection.expires_at = until;
                self.expiry.insert((until, conn));
            } else if interval.is_some() {
                out.push(Output::Fact(self.about(conn, Level::Info, "closed a silent connection")));
                self.close(conn, "nothing came for too long", 0, out);
            } else {
                self.hang_up(conn, "no Hello came", out);
            }
        }
    }

    /// We did not listen for a while: the time does not count against any connection.
    pub(crate) fn excuse(&mut self, absence: Span) {
        for connection in self.connections.values_mut() {
            connection.last_frame_at += absence;
        }
    }

    /// Takes another way of naming. Agents are asked to send their dictionaries again if their series change names.
    pub(crate) fn rename(&mut self, identity: Identity, out: &mut Vec<Output>) {
        let renamed = self.identity.naming != identity.naming;
        self.identity = identity;
        if renamed {
            // An agent that comes again sends its labels with it, which are not kept here.
            let conns: Vec<ConnId> = self.agents.values().map(|agent| agent.conn).collect();
            for conn in conns {
                self.close(conn, "the collector's naming of series has changed", 0, out);
            }
        }
    }

    fn ping(&mut self, now: Timestamp, conn: ConnId, id: NodeId, ping: Ping, out: &mut Vec<Output>) {
        out.push(Output::Reply(conn, Message::Pong(ping)));
        let clock_offset = Timestamp::from_millis(ping.clock_ms).since(now);
        out.push(Output::Report(Report::Clock { id, clock_offset }));
    }

    fn bye(&mut self, conn: ConnId, bye: &Bye, out: &mut Vec<Output>) {
        let fact = self.about(conn, Level::Debug, "an agent said goodbye").with("reason", shown(&bye.reason));
        out.push(Output::Fact(fact));
        out.push(Output::Close(conn, "the agent said goodbye".to_owned()));
        let agent = self.connections.get(&conn).and_then(|connection| connection.agent);
        out.extend(agent.map(|id| Output::Report(Report::Goodbye { id })));
        self.forget(conn, out);
    }

    /// Ends a connection that broke the protocol.
    fn hang_up(&mut self, conn: ConnId, reason: &str, out: &mut Vec<Output>) {
        self.counters.rejected.protocol += 1;
        self.refuse(conn, NackCode::Protocol, reason, REFUSED_RETRY_MS, out);
    }

    fn refuse(&mut self, conn: ConnId, code: NackCode, reason: &str, retry_after_ms: u64, out: &mut Vec<Output>) {
        let nack = Nack { lane: Lane::Live, seq: 0, code, detail: reason.to_owned(), slots: Vec::new() };
        out.push(Output::Reply(conn, Message::Nack(nack)));
        out.push(Output::Fact(self.about(conn, Level::Warn, "refused a connection").with("reason", reason)));
        self.close(conn, reason, retry_after_ms, out);
    }

    fn close(&mut self, conn: ConnId, reason: &str, retry_after_ms: u64, out: &mut Vec<Output>) {
        out.push(Output::Reply(conn, Message::Bye(Bye { reason: reason.to_owned(), retry_after_ms })));
        out.push(Output::Close(conn, reason.to_owned()));
        self.forget(conn, out);
    }

    /// Drops what is known of a connection, and of its agent unless a newer connection serves it.
    fn forget(&mut self, conn: ConnId, out: &mut Vec<Output>) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        self.expiry.remove(&(connection.expires_at, conn));
        let Some(id) = connection.agent else { return };
        if self.agents.get(&id).is_some_and(|agent| agent.conn == conn) {
            self.drop_agent(id);
            out.push(Output::Report(Report::Disconnected { id }));
        }
    }

    fn drop_agent(&mut self, id: NodeId) {
        let Some(agent) = self.agents.remove(&id) else { return };
        self.names.remove(&agent.name);
        for lane in Lane::ALL {
            self.unacknowledged.remove(&(id, lane));
        }
    }

    fn about(&self, conn: ConnId, level: Level, message: &'static str) -> Fact {
        let Some(connection) = self.connections.get(&conn) else { return Fact::new(level, message) };
        let fact = Fact::new(level, message).with("peer", connection.peer);
        match connection.agent.and_then(|id| self.agents.get(&id)) {
            Some(agent) => fact.with("node", &agent.name),
            None => fact,
        }
    }
}

fn source(id: NodeId, lane: Lane) -> Source {
    Source::Agent(id, lane)
}

fn position(epoch: u64, seq: u64) -> Position {
    Position { epoch, seq }
}
