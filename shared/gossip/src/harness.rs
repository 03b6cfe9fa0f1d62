//! A network of membership machines in virtual time, for this crate's tests: one thread, one seed, one order of events.

mod look;
mod ties;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{MemberChange, Metadata, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use crate::{
    Admission, Effect, Forgotten, Gossip, GossipConfig, GossipKey, HostAnswer, Input, KeyRefusal, Peer, Profile,
    Removal,
};

pub(crate) const JOIN_KIND: u8 = 2;
/// Opening a stream takes a round trip.
const STREAM_LATENCY: Span = Span::from_millis(2);

/// One host with its disk and, while it runs, its machine.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) id: NodeId,
    pub(crate) addr: SocketAddr,
    pub(crate) seeds: Vec<SocketAddr>,
    pub(crate) gossip: Option<Gossip>,
    pub(crate) stored_generation: u32,
    pub(crate) stored_peers: Vec<Peer>,
    pub(crate) stored_forgotten: Vec<Forgotten>,
    /// What its key file holds, once it was written.
    pub(crate) stored_keys: Option<Vec<GossipKey>>,
    stored_key_order: u64,
    pub(crate) key_file_is_broken: bool,
    /// What became of the changes of keys that it was asked for.
    pub(crate) answered: Vec<(u64, Result<(), KeyRefusal>)>,
    pub(crate) host_is_up: bool,
    pub(crate) left: bool,
    pub(crate) changes: Vec<MemberChange>,
    pub(crate) removals: Vec<Removal>,
    pub(crate) asked: Vec<NodeId>,
    /// Where another process with its id answered, and whether it yielded to that one.
    pub(crate) clones: Vec<(SocketAddr, bool)>,
    /// When its last probe was sent.
    probed: Option<Timestamp>,
    paused_until: Timestamp,
    /// How far its clock is ahead of the network's.
    pub(crate) ahead: Span,
    /// Until when what it sends and gets waits; its timers run.
    held_up_until: Timestamp,
    deadline: Option<Timestamp>,
}

enum Event {
    Datagram { from: usize, to: usize, bytes: Vec<u8> },
    Told { to: usize, input: Input },
    Asked { from: usize, to: usize, exchange: u64, frames: Vec<Vec<u8>> },
    Tied { from: usize, tie: u64, to: usize, frame: Vec<u8> },
}

pub(crate) struct Net {
    pub(crate) now: Timestamp,
    pub(crate) nodes: Vec<Node>,
    pub(crate) profile: Profile,
    /// Share of datagrams lost, by their kind.
    pub(crate) loss: fn(kind: u8) -> f64,
    /// Nodes that speak the first protocol only.
    pub(crate) first_protocol: Vec<usize>,
    /// What reaches one node as datagrams, while somebody records it.
    pub(crate) recorded: Option<(usize, Vec<Vec<u8>>)>,
    /// Nodes whose firewall drops datagrams, in and out.
    pub(crate) no_datagrams: Vec<usize>,
    /// Datagrams from the first to the second get lost.
    pub(crate) one_way: Vec<(usize, usize)>,
    /// Nothing passes between these two.
    pub(crate) cut: Vec<(usize, usize)>,
    /// Streams are not opened: a firewall drops them.
    pub(crate) streams_blocked: bool,
    /// Hosts that refuse every connection though their programs run and datagrams reach them.
    pub(crate) takes_no_connections: BTreeSet<usize>,
    /// Hosts that do not say that nobody listens for datagrams: a firewall holds it back.
    pub(crate) says_nothing_of_ports: BTreeSet<usize>,
    /// Nodes of different groups do not hear each other.
    pub(crate) groups: Option<Vec<u8>>,
    /// Links that carry nothing from the first node to the second.
    pub(crate) deaf: BTreeSet<(usize, usize)>,
    /// Share of datagrams that arrive twice.
    pub(crate) duplicates: f64,
    /// The longest way of a datagram; shorter ones overtake it.
    pub(crate) latency: Span,
    pub(crate) sent: u64,
    /// Which node told of a conflict or a stranger.
    pub(crate) told: Vec<(usize, Effect)>,
    /// A hash over everything that every machine asked for.
    pub(crate) trace: u64,
    moved: u16,
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    /// Who waits on which stream, and what that exchange is called there.
    streams: BTreeMap<u64, (usize, u64)>,
    opened: u64,
    judged: BTreeMap<u64, Admission>,
    /// Connections that say nothing.
    pub(crate) ties: Vec<ties::Tie>,
    pub(crate) keys: Vec<GossipKey>,
    deadlines: BTreeSet<(Timestamp, usize)>,
    by_addr: BTreeMap<SocketAddr, usize>,
    rng: StdRng,
    seed: u64,
}

impl Net {
    pub(crate) fn new(seed: u64, profile: Profile) -> Self {
        Self {
            now: Timestamp::from_millis(1_800_000_000_000),
            nodes: Vec::new(),
            profile,
            loss: |_| 0.0,
            first_protocol: Vec::new(),
            recorded: None,
            no_datagrams: Vec::new(),
            one_way: Vec::new(),
            cut: Vec::new(),
            streams_blocked: false,
            takes_no_connections: BTreeSet::new(),
            says_nothing_of_ports: BTreeSet::new(),
            groups: None,
            deaf: BTreeSet::new(),
            duplicates: 0.0,
            latency: Span::from_millis(1),
            sent: 0,
            told: Vec::new(),
            trace: 0,
            moved: 0,
            queue: BTreeMap::new(),
            queued: 0,
            streams: BTreeMap::new(),
            opened: 0,
            judged: BTreeMap::new(),
            ties: Vec::new(),
            keys: Vec::new(),
            deadlines: BTreeSet::new(),
            by_addr: BTreeMap::new(),
            rng: StdRng::seed_from_u64(seed),
            seed,
        }
    }

    /// `count` nodes, of which all but the first join by the first one's address, started within half a second.
    pub(crate) fn cluster(seed: u64, profile: Profile, count: usize) -> Self {
        let mut net = Self::new(seed, profile);
        net.add_all(count);
        for at in 0..count {
            net.start(at);
            let pause = net.rng.random_range(0..=500 / count as i64);
            net.run_for(Span::from_millis(pause));
        }
        net
    }

    /// As [`Net::settled`], encrypted with these keys.
    pub(crate) fn sealed(seed: u64, count: usize, keys: &[GossipKey]) -> Self {
        let mut net = Self::new(seed, Profile::Lan);
        net.keys = keys.to_vec();
        net.add_all(count);
        (0..count).for_each(|at| net.start(at));
        let took = net.run_until(Span::from_seconds(60), Net::is_complete);
        assert!(took.is_some(), "{count} nodes never became one cluster");
        net
    }

    /// As [`Net::cluster`], run until everybody lists everybody.
    pub(crate) fn settled(seed: u64, profile: Profile, count: usize) -> Self {
        let mut net = Self::cluster(seed, profile, count);
        let took = net.run_until(Span::from_seconds(60), Net::is_complete);
        assert!(took.is_some(), "{count} nodes never became one cluster");
        net
    }

    /// `count` nodes, named by their number, of which all but the first join by the first one's address.
    pub(crate) fn add_all(&mut self, count: usize) {
        for at in 0..count {
            self.add(&format!("node-{at:03}"), if at == 0 { &[] } else { &[0] });
        }
    }

    pub(crate) fn add(&mut self, name: &str, seeds: &[usize]) -> usize {
        let at = self.nodes.len();
        let [high, low] = (at as u16 + 1).to_be_bytes();
        let addr = SocketAddr::from(([10, 0, high, low], 7950));
        self.by_addr.insert(addr, at);
        self.nodes.push(Node {
            name: name.to_owned(),
            id: NodeId(self.rng.random()),
            addr,
            seeds: seeds.iter().map(|seed| self.nodes[*seed].addr).collect(),
            gossip: None,
            stored_generation: 0,
            stored_peers: Vec::new(),
            stored_forgotten: Vec::new(),
            stored_keys: None,
            stored_key_order: 0,
            key_file_is_broken: false,
            answered: Vec::new(),
            host_is_up: true,
            left: false,
            changes: Vec::new(),
            removals: Vec::new(),
            asked: Vec::new(),
            clones: Vec::new(),
            probed: None,
            paused_until: Timestamp::EPOCH,
            ahead: Span::ZERO,
            held_up_until: Timestamp::EPOCH,
            deadline: None,
        });
        at
    }

    pub(crate) fn metadata(name: &str) -> Metadata {
        let labels = BTreeMap::from([("zone".to_owned(), "eu-1a".to_owned()), ("team".to_owned(), "core".to_owned())]);
        Metadata { name: name.to_owned(), labels, version: "0.1.0".to_owned(), ..Metadata::default() }
    }

    pub(crate) fn start(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        node.stored_generation += 1;
        node.left = false;
        node.host_is_up = true;
        let config = GossipConfig {
            cluster: "watchfire".to_owned(),
            id: node.id,
            generation: node.stored_generation,
            advertise: node.addr,
            profile: self.profile,
            seeds: node.seeds.clone(),
            known: node.stored_peers.clone(),
            forgotten: node.stored_forgotten.clone(),
            metadata: Self::metadata(&node.name),
            keys: node.stored_keys.clone().unwrap_or_else(|| self.keys.clone()),
            key_order: node.stored_key_order,
        };
        let seed = self.seed.wrapping_mul(1_000_003) + at as u64 + u64::from(node.stored_generation) * 7919;
        let mut effects = Vec::new();
        let mut gossip =
            Gossip::new(config, seed, self.now + node.ahead, &mut effects).expect("the harness' config is valid");
        if self.first_protocol.contains(&at) {
            gossip.speak_first_protocol();
        }
        node.gossip = Some(gossip);
        self.perform(at, effects);
    }

    /// kill -9; the host goes on answering.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].gossip = None;
        self.end_ties(at);
        self.rearm(at);
    }

    pub(crate) fn kill_host(&mut self, at: usize) {
        self.nodes[at].host_is_up = false;
        self.kill(at);
    }

    /// SIGSTOP, and SIGCONT after `span`; what arrives meanwhile waits in the socket.
    pub(crate) fn pause(&mut self, at: usize, span: Span) {
        self.nodes[at].paused_until = self.now + span;
        self.rearm(at);
    }

    /// Sets a node's clock forward, as where the time of a machine is counted on while the machine is not.
    pub(crate) fn set_clock_forward(&mut self, at: usize, by: Span) {
        self.nodes[at].ahead = self.nodes[at].ahead + by;
        self.nodes[at].paused_until = self.now;
        self.rearm(at);
    }

    /// Holds up all traffic of a node for `span`, while its timers run: a starved process, or a full queue before it.
    pub(crate) fn hold_up(&mut self, at: usize, span: Span) {
        self.nodes[at].held_up_until = self.now + span;
    }

    fn is_held_up(&self, at: usize) -> bool {
        self.nodes[at].held_up_until > self.now
    }

    pub(crate) fn input(&mut self, at: usize, input: Input) {
        let now = self.now + self.nodes[at].ahead;
        let Some(gossip) = &mut self.nodes[at].gossip else { return };
        let mut effects = Vec::new();
        gossip.handle(now, input, &mut effects);
        self.perform(at, effects);
    }

    fn rearm(&mut self, at: usize) {
        let node = &self.nodes[at];
        let deadline = node.gossip.as_ref().and_then(Gossip::deadline).map(|at| at - node.ahead);
        let deadline = deadline.map(|at| at.max(node.paused_until));
        if let Some(old) = std::mem::replace(&mut self.nodes[at].deadline, deadline) {
            self.deadlines.remove(&(old, at));
        }
        self.deadlines.extend(deadline.map(|deadline| (deadline, at)));
    }

    fn perform(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            let line = format!("{} {at} {effect:?}", self.now);
            self.trace = self.trace.rotate_left(7) ^ u64::from(crc32fast::hash(line.as_bytes()));
            match effect {
                Effect::Send { to, bytes } => self.transmit(at, to, &bytes),
                Effect::Changed(change) => self.nodes[at].changes.push(change),
                Effect::Removed(removal) => self.nodes[at].removals.push(removal),
                Effect::SaveGeneration(generation) => self.nodes[at].stored_generation = generation,
                Effect::SavePeers(peers) => self.nodes[at].stored_peers = peers,
                Effect::SaveForgotten(forgotten) => self.nodes[at].stored_forgotten = forgotten,
                Effect::SaveKeys { keys, order } => self.save_keys(at, keys, order),
                Effect::KeysAnswered { ticket, answer } => self.nodes[at].answered.push((ticket, answer)),
                Effect::AskHost { id, addr } => self.ask(at, id, addr),
                Effect::Tie { tie, to, frame } => self.tie(at, tie, to, frame),
                Effect::Untie { tie } => self.untie(at, tie),
                Effect::Exchange { exchange, to, frames } => self.exchange(at, exchange, to, frames),
                Effect::Judged { stream, admission } => drop(self.judged.insert(stream, admission)),
                Effect::Reply { stream, frames } => self.reply(stream, Ok(frames)),
                told @ (Effect::NameConflict(_) | Effect::Stranger { .. }) => self.told.push((at, told)),
                Effect::TimeProbe => self.nodes[at].probed = Some(self.now),
                Effect::Cloned { other, yields } => {
                    self.nodes[at].clones.push((other, yields));
                    if yields {
                        self.nodes[at].gossip = None;
                        self.end_ties(at);
                    }
                }
                Effect::LeaveDone => {
                    self.nodes[at].left = true;
                    self.nodes[at].gossip = None;
                    self.end_ties(at);
                }
            }
        }
        self.rearm(at);
    }

    fn save_keys(&mut self, at: usize, keys: Vec<GossipKey>, order: u64) {
        let node = &mut self.nodes[at];
        let result = if node.key_file_is_broken { Err("the disk is full".to_owned()) } else { Ok(()) };
        if result.is_ok() {
            node.stored_keys = Some(keys);
            node.stored_key_order = order;
        }
        self.enqueue(Span::from_millis(5), Event::Told { to: at, input: Input::KeysSaved(result) });
    }

    fn waits_until(&self, at: usize) -> Timestamp {
        self.nodes[at].paused_until.max(self.nodes[at].held_up_until)
    }

    fn hears(&self, from: usize, to: usize) -> bool {
        let is_cut = self.cut.contains(&(from, to)) || self.cut.contains(&(to, from));
        let together = self.groups.as_ref().is_none_or(|groups| groups[from] == groups[to]);
        !is_cut && together && !self.deaf.contains(&(from, to))
    }

    /// A connection needs both ways.
    fn connects(&self, one: usize, other: usize) -> bool {
        self.hears(one, other) && self.hears(other, one)
    }

    /// The host gets another address, and its agent is started there.
    pub(crate) fn move_host(&mut self, at: usize) {
        self.kill(at);
        self.moved += 1;
        let [high, low] = self.moved.to_be_bytes();
        let addr = SocketAddr::from(([10, 9, high, low], 7950));
        self.by_addr.remove(&self.nodes[at].addr);
        self.by_addr.insert(addr, at);
        self.nodes[at].addr = addr;
        self.start(at);
    }

    pub(crate) fn draw(&mut self, range: std::ops::Range<usize>) -> usize {
        self.rng.random_range(range)
    }

    fn transmit(&mut self, from: usize, to: SocketAddr, bytes: &[u8]) {
        self.sent += 1;
        let lost = self.rng.random_bool((self.loss)(bytes[1]));
        let dropped = |to: usize| {
            let silent = |node: usize| self.no_datagrams.contains(&node);
            silent(from) || silent(to) || self.one_way.contains(&(from, to))
        };
        let reachable = |to: &usize| !lost && self.hears(from, *to) && !dropped(*to);
        if let Some(to) = self.by_addr.get(&to).copied().filter(reachable) {
            let wait = self.nodes[from].held_up_until.since(self.now).max(Span::ZERO);
            let times = if self.duplicates > 0.0 && self.rng.random_bool(self.duplicates) { 2 } else { 1 };
            for _ in 0..times {
                let latency = Span::from_millis(self.rng.random_range(0..=self.latency.as_millis()));
                self.enqueue(wait + latency, Event::Datagram { from, to, bytes: bytes.to_owned() });
            }
        }
    }

    /// Streams lose nothing: they come about or they do not.
    fn exchange(&mut self, from: usize, exchange: u64, to: SocketAddr, frames: Vec<Vec<u8>>) {
        let flows = |at: usize| !self.is_held_up(at);
        let reachable = |to: &usize| {
            !self.streams_blocked && self.connects(from, *to) && self.nodes[*to].host_is_up && flows(from) && flows(*to)
        };
        let to = self.by_addr.get(&to).copied().filter(reachable);
        match to {
            Some(to) if self.takes_no_connections.contains(&to) => {
                let refused = Input::Exchanged { exchange, outcome: Err(HostAnswer::Refused) };
                self.enqueue(STREAM_LATENCY, Event::Told { to: from, input: refused });
            }
            Some(to) => self.enqueue(STREAM_LATENCY, Event::Asked { from, to, exchange, frames }),
            None => {
                let silent = Input::Exchanged { exchange, outcome: Err(HostAnswer::Silent) };
                self.enqueue(Span::from_seconds(1), Event::Told { to: from, input: silent });
            }
        }
    }

    fn enqueue(&mut self, after: Span, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), event);
    }

    /// Lets one thing happen, if anything happens until `end`.
    fn step(&mut self, end: Timestamp) -> bool {
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.deadlines.first().map(|(at, _)| *at);
        let Some(next) = event.into_iter().chain(deadline).min().filter(|next| *next <= end) else { return false };
        assert!(next >= self.now, "a deadline lies in the past");
        self.now = next;
        if event == Some(next) {
            match self.queue.pop_first().expect("its key was just read").1 {
                Event::Datagram { from, to, bytes } if self.waits_until(to) > self.now => {
                    let wait = self.waits_until(to).since(self.now);
                    self.enqueue(wait, Event::Datagram { from, to, bytes });
                }
                Event::Datagram { from, to, bytes } => {
                    if let Some((_, recorded)) = self.recorded.as_mut().filter(|(at, _)| *at == to) {
                        recorded.push(bytes.clone());
                    }
                    let from = self.nodes[from].addr;
                    let micros = self.nodes[to].probed.map(|at| self.now.since(at).as_millis() as u32 * 1000);
                    self.input(
                        to,
                        match micros {
                            Some(micros) => Input::Timed { from, bytes, micros },
                            None => Input::Datagram { from, bytes },
                        },
                    );
                }
                Event::Asked { from, to, exchange, frames } if self.nodes[to].paused_until > self.now => {
                    let wait = self.nodes[to].paused_until.since(self.now);
                    self.enqueue(wait, Event::Asked { from, to, exchange, frames });
                }
                Event::Asked { from, to, exchange, frames } => self.asked(from, to, exchange, frames),
                Event::Tied { from, tie, to, frame } => self.tied(from, tie, to, &frame),
                Event::Told { to, input } => self.input(to, input),
            }
        } else if let Some((_, at)) = self.deadlines.first().copied() {
            self.input(at, Input::Wake);
            let later = self.nodes[at].deadline.is_none_or(|deadline| deadline > next);
            assert!(later, "node {at} is not done with what was due");
        }
        true
    }

    pub(crate) fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, looked at every 10 ms; returns how long it took, `None` if `limit` passed.
    pub(crate) fn run_until(&mut self, limit: Span, done: impl Fn(&Self) -> bool) -> Option<Span> {
        let start = self.now;
        while self.now.since(start) <= limit {
            if done(self) {
                return Some(self.now.since(start));
            }
            self.run_for(Span::from_millis(10));
        }
        None
    }
}
