//! The network between hosts: delay, loss of datagrams, partitions, and byte streams that break.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use rand::RngExt;
use rand::rngs::StdRng;
use watchfire_shared::time::{Span, Timestamp};

/// A host's number in the world.
pub type HostId = usize;

/// The gossip address of a host.
#[must_use]
pub fn gossip_addr(host: HostId) -> SocketAddr {
    address(host, 7950)
}

/// Where a collector's host takes frames.
#[must_use]
pub fn ingest_addr(host: HostId) -> SocketAddr {
    address(host, 7961)
}

fn address(host: HostId, port: u16) -> SocketAddr {
    let [_, _, high, low] = u32::try_from(host + 1).unwrap_or(u32::MAX).to_be_bytes();
    SocketAddr::from((Ipv4Addr::new(10, 0, high, low), port))
}

/// Which host has an address.
#[must_use]
pub fn host_of(addr: SocketAddr) -> Option<HostId> {
    match addr {
        SocketAddr::V4(addr) => {
            let [_, _, high, low] = addr.ip().octets();
            usize::from(u16::from_be_bytes([high, low])).checked_sub(1)
        }
        SocketAddr::V6(_) => None,
    }
}

/// One connection from an agent to a collector.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stream {
    pub agent: HostId,
    /// Which life of the agent opened it; what arrives for an earlier life goes nowhere.
    pub agent_life: u32,
    /// The agent's own number of the connection.
    pub connection: u64,
    pub collector: HostId,
    pub collector_life: u32,
    /// Nothing overtakes: the time up to which each direction has deliveries.
    pub to_agent_until: Timestamp,
    pub to_collector_until: Timestamp,
}

/// The state of the network.
pub struct Network {
    rng: StdRng,
    /// The share of datagrams that get lost, 0..1.
    pub loss: f64,
    /// Delay in milliseconds, least and most.
    pub delay: (i64, i64),
    /// The side of each host; hosts of different sides do not hear each other.
    pub sides: Vec<u8>,
    /// Pairs of hosts, the smaller number first, that do not hear each other although both hear others.
    pub severed: BTreeSet<(HostId, HostId)>,
    pub streams: BTreeMap<u64, Stream>,
    /// Where each stream is, by agent, its life and its own number.
    of_agent: BTreeMap<(HostId, u32, u64), u64>,
    next_stream: u64,
    /// Gossip's connections that say nothing.
    pub ties: Vec<Tie>,
}

/// A tie of gossip: who holds it in which life, by which number, and to whom.
pub struct Tie {
    pub from: HostId,
    pub from_life: u32,
    pub tie: u64,
    pub to: HostId,
}

impl Network {
    #[must_use]
    pub fn new(rng: StdRng) -> Self {
        Self {
            rng,
            loss: 0.0,
            delay: (0, 2),
            sides: Vec::new(),
            severed: BTreeSet::new(),
            streams: BTreeMap::new(),
            of_agent: BTreeMap::new(),
            next_stream: 1,
            ties: Vec::new(),
        }
    }

    /// Whether two hosts hear each other.
    #[must_use]
    pub fn connected(&self, a: HostId, b: HostId) -> bool {
        self.sides.get(a) == self.sides.get(b) && !self.severed.contains(&(a.min(b), a.max(b)))
    }

    /// How long the next packet takes.
    pub fn draw_delay(&mut self) -> Span {
        Span::from_millis(self.rng.random_range(self.delay.0..=self.delay.1))
    }

    /// Whether a datagram from one host to another arrives.
    pub fn arrives(&mut self, from: HostId, to: HostId) -> bool {
        let lost = self.loss > 0.0 && self.rng.random_bool(self.loss);
        self.connected(from, to) && !lost
    }

    /// A new connection; the caller has checked that both ends live and hear each other.
    pub fn open(&mut self, stream: Stream) -> u64 {
        let id = self.next_stream;
        self.next_stream += 1;
        self.of_agent.insert((stream.agent, stream.agent_life, stream.connection), id);
        self.streams.insert(id, stream);
        id
    }

    /// The connection that an agent's life knows by its own number.
    #[must_use]
    pub fn stream_of(&self, agent: HostId, life: u32, connection: u64) -> Option<(u64, Stream)> {
        let id = *self.of_agent.get(&(agent, life, connection))?;
        self.streams.get(&id).map(|stream| (id, *stream))
    }

    /// Ends a connection.
    pub fn close(&mut self, id: u64) -> Option<Stream> {
        let stream = self.streams.remove(&id)?;
        self.of_agent.remove(&(stream.agent, stream.agent_life, stream.connection));
        Some(stream)
    }

    /// Ends every connection of a host and returns them.
    pub fn cut(&mut self, host: HostId) -> Vec<(u64, Stream)> {
        let ended: Vec<(u64, Stream)> = self
            .streams
            .iter()
            .filter(|(_, s)| s.agent == host || s.collector == host)
            .map(|(id, s)| (*id, *s))
            .collect();
        for (id, _) in &ended {
            self.close(*id);
        }
        ended
    }
}
