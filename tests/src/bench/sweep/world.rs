//! The network of the sweep: members in virtual time, in one thread, from one seed.
//!
//! A datagram takes up to a millisecond and may be lost; a stream takes two and is not. A process may be stopped (nothing of
//! it runs, its host's kernel goes on), a member's traffic may be held up (its timers run, what it sends and gets waits), a
//! host may be gone. Every change of a member's state in another's view is written down.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_gossip::{Effect, HostAnswer, Input};
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::{Span, Timestamp};

/// Half of what a stream needs to be opened, asked and answered.
const STREAM_LATENCY: Span = Span::from_millis(1);
/// How long a program waits for a host that says nothing.
const CONNECT_TIME: Span = Span::from_seconds(1);
/// How long a program waits for a program that accepted and says nothing.
const ANSWER_TIME: Span = Span::from_seconds(5);

/// A membership under test.
pub(super) trait Subject {
    /// Takes an input; `verdicts` gets every state in which another member is now held that it was not held in before.
    fn take(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>, verdicts: &mut Vec<Verdict>);
    fn deadline(&self) -> Option<Timestamp>;
}

/// What a member holds of another.
pub(super) type Verdict = (NodeId, MemberState);

/// A verdict with its time and author.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) at: Timestamp,
    pub(super) by: usize,
    pub(super) about: usize,
    pub(super) state: MemberState,
}

/// One host.
pub(super) struct Host<S> {
    pub(super) subject: Option<S>,
    pub(super) powered: bool,
    /// How often it was started.
    pub(super) life: u32,
    /// The generation that its program kept last.
    pub(super) generation: u32,
    stopped_until: Timestamp,
    held_up_until: Timestamp,
    deadline: Option<Timestamp>,
    /// What it holds of each other.
    view: Vec<Option<MemberState>>,
}

enum Event {
    Datagram { from: usize, to: usize, bytes: Vec<u8> },
    Asked { from: usize, to: usize, exchange: u64, frames: Vec<Vec<u8>> },
    Told { to: usize, input: Input },
}

pub(super) struct World<S> {
    pub(super) now: Timestamp,
    pub(super) hosts: Vec<Host<S>>,
    pub(super) rng: StdRng,
    /// Share of datagrams that are lost.
    pub(super) loss: f64,
    /// Hosts of different groups do not reach each other.
    pub(super) groups: Option<Vec<u8>>,
    pub(super) log: Vec<Entry>,
    /// Datagrams, and their bytes with the headers of IPv4 and UDP.
    pub(super) sent: (u64, u64),
    queue: BTreeMap<(Timestamp, u64), Event>,
    queued: u64,
    deadlines: BTreeSet<(Timestamp, usize)>,
    streams: BTreeMap<u64, (usize, usize, u64)>,
    opened: u64,
    /// Connections that say nothing, to whom, by who holds them and their number.
    ties: BTreeMap<(usize, u64), usize>,
}

/// The id of the host with a number: any two differ, and their order is not that of the numbers.
pub(super) fn id(host: usize) -> NodeId {
    NodeId((host as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

fn host_of(id: NodeId) -> usize {
    // The inverse of the factor above, modulo 2^64.
    id.0.wrapping_mul(0xf1de_83e1_9937_733d) as usize - 1
}

pub(super) fn address(host: usize) -> SocketAddr {
    let [_, a, b, c] = (host as u32 + 1).to_be_bytes();
    SocketAddr::from(([10, a, b, c], 7950))
}

fn at_address(addr: SocketAddr) -> usize {
    match addr {
        SocketAddr::V4(v4) => (u32::from_be_bytes(v4.ip().octets()) & 0x00ff_ffff) as usize - 1,
        SocketAddr::V6(_) => usize::MAX,
    }
}

impl<S: Subject> World<S> {
    pub(super) fn new(seed: u64, hosts: usize) -> Self {
        let host = |_| Host {
            subject: None,
            powered: true,
            life: 0,
            generation: 0,
            stopped_until: Timestamp::EPOCH,
            held_up_until: Timestamp::EPOCH,
            deadline: None,
            view: vec![None; hosts],
        };
        Self {
            now: Timestamp::from_millis(1_800_000_000_000),
            hosts: (0..hosts).map(host).collect(),
            rng: StdRng::seed_from_u64(seed),
            loss: 0.0,
            groups: None,
            log: Vec::new(),
            sent: (0, 0),
            queue: BTreeMap::new(),
            queued: 0,
            deadlines: BTreeSet::new(),
            streams: BTreeMap::new(),
            opened: 0,
            ties: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Runs a program that was just made on a host, and carries out what it asked for while it was made.
    pub(super) fn run_on(&mut self, host: usize, subject: S, effects: Vec<Effect>, verdicts: &[Verdict]) {
        let slot = &mut self.hosts[host];
        slot.subject = Some(subject);
        slot.powered = true;
        slot.view.fill(None);
        self.note(host, verdicts);
        self.perform(host, effects);
    }

    /// Carries out what a running program asked for outside of an input.
    pub(super) fn take_over(&mut self, host: usize, effects: Vec<Effect>, verdicts: &[Verdict]) {
        self.note(host, verdicts);
        self.perform(host, effects);
    }

    /// kill -9. The host answers for it, unless it is off.
    pub(super) fn kill(&mut self, host: usize, powered: bool) {
        self.hosts[host].subject = None;
        self.hosts[host].powered = powered;
        self.end_ties(host);
        self.rearm(host);
    }

    /// SIGSTOP, and SIGCONT after `span`.
    pub(super) fn stop(&mut self, host: usize, span: Span) {
        self.hosts[host].stopped_until = self.now + span;
        self.rearm(host);
    }

    /// Holds up everything that a host sends and gets for `span`.
    pub(super) fn hold_up(&mut self, host: usize, span: Span) {
        self.hosts[host].held_up_until = self.now + span;
    }

    pub(super) fn is_held_up(&self, host: usize) -> bool {
        self.hosts[host].held_up_until > self.now
    }

    pub(super) fn input(&mut self, host: usize, input: Input) {
        let Some(subject) = &mut self.hosts[host].subject else { return };
        let (mut effects, mut verdicts) = (Vec::new(), Vec::new());
        subject.take(self.now, input, &mut effects, &mut verdicts);
        self.note(host, &verdicts);
        self.perform(host, effects);
    }

    fn note(&mut self, by: usize, verdicts: &[Verdict]) {
        for (id, state) in verdicts {
            let about = host_of(*id);
            let held = &mut self.hosts[by].view[about];
            if *held != Some(*state) {
                *held = Some(*state);
                if about != by {
                    self.log.push(Entry { at: self.now, by, about, state: *state });
                }
            }
        }
    }

    /// What one host holds of another.
    pub(super) fn held(&self, by: usize, about: usize) -> Option<MemberState> {
        self.hosts[by].view[about]
    }

    pub(super) fn is_running(&self, host: usize) -> bool {
        self.hosts[host].subject.is_some()
    }

    /// Whether all that run, except the subject itself, hold it in this state.
    pub(super) fn all_hold(&self, about: usize, state: MemberState) -> bool {
        (0..self.len()).all(|by| by == about || !self.is_running(by) || self.held(by, about) == Some(state))
    }

    /// Ordered pairs of running members of which the first holds the second for alive, and all such pairs.
    pub(super) fn alive_pairs(&self) -> (usize, usize) {
        let running: Vec<usize> = (0..self.len()).filter(|host| self.is_running(*host)).collect();
        let alive = |by: &usize| {
            running.iter().filter(|about| by != *about && self.held(*by, **about) == Some(MemberState::Alive)).count()
        };
        (running.iter().map(alive).sum(), running.len() * running.len().saturating_sub(1))
    }

    pub(super) fn is_complete(&self) -> bool {
        let (alive, pairs) = self.alive_pairs();
        alive == pairs
    }

    fn rearm(&mut self, host: usize) {
        let slot = &mut self.hosts[host];
        let deadline = slot.subject.as_ref().and_then(Subject::deadline).map(|at| at.max(slot.stopped_until));
        let old = std::mem::replace(&mut slot.deadline, deadline);
        if old != deadline {
            old.map(|old| self.deadlines.remove(&(old, host)));
            self.deadlines.extend(deadline.map(|deadline| (deadline, host)));
        }
    }

    fn perform(&mut self, host: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, bytes } => self.transmit(host, at_address(to), bytes),
                Effect::SaveGeneration(generation) => self.hosts[host].generation = generation,
                Effect::AskHost { id, addr } => self.ask(host, id, at_address(addr)),
                Effect::Tie { tie, to, .. } => self.tie(host, tie, at_address(to)),
                Effect::Untie { tie } => drop(self.ties.remove(&(host, tie))),
                Effect::Exchange { exchange, to, frames } => self.exchange(host, exchange, at_address(to), frames),
                Effect::Reply { stream, frames } => self.reply(stream, Ok(frames)),
                Effect::LeaveDone => {
                    self.hosts[host].subject = None;
                    self.end_ties(host);
                }
                // Changes are verdicts by now; what else is kept or told does not matter here.
                _ => {}
            }
        }
        self.rearm(host);
    }

    fn reaches(&self, from: usize, to: usize) -> bool {
        to < self.len() && self.groups.as_ref().is_none_or(|groups| groups[from] == groups[to])
    }

    /// How long what one host sends to another waits because either's traffic is held up.
    fn held_up(&self, from: usize, to: usize) -> Span {
        let until = self.hosts[from].held_up_until.max(self.hosts[to].held_up_until);
        until.since(self.now).max(Span::ZERO)
    }

    fn enqueue(&mut self, after: Span, event: Event) {
        self.queued += 1;
        self.queue.insert((self.now + after, self.queued), event);
    }

    fn transmit(&mut self, from: usize, to: usize, bytes: Vec<u8>) {
        self.sent.0 += 1;
        self.sent.1 += bytes.len() as u64 + 28;
        if !self.reaches(from, to) || self.loss > 0.0 && self.rng.random_bool(self.loss) {
            return;
        }
        let latency = self.held_up(from, from) + Span::from_millis(self.rng.random_range(0..=1));
        self.enqueue(latency, Event::Datagram { from, to, bytes });
    }

    /// How a connection would go, and after what time that is known.
    fn connect(&self, from: usize, to: usize) -> (Span, HostAnswer) {
        let wait = if self.reaches(from, to) { self.held_up(from, to) } else { CONNECT_TIME };
        if wait >= CONNECT_TIME || !self.hosts[to].powered {
            return (CONNECT_TIME, HostAnswer::Silent);
        }
        let answer = if self.is_running(to) { HostAnswer::Accepted } else { HostAnswer::Refused };
        (wait + STREAM_LATENCY, answer)
    }

    fn ask(&mut self, from: usize, id: NodeId, to: usize) {
        let (after, answer) = self.connect(from, to);
        self.enqueue(after, Event::Told { to: from, input: Input::HostAnswer { id, answer } });
    }

    fn exchange(&mut self, from: usize, exchange: u64, to: usize, frames: Vec<Vec<u8>>) {
        let (after, answer) = self.connect(from, to);
        let event = match answer {
            HostAnswer::Accepted => Event::Asked { from, to, exchange, frames },
            no => Event::Told { to: from, input: Input::Exchanged { exchange, outcome: Err(no) } },
        };
        self.enqueue(after, event);
    }

    fn tie(&mut self, from: usize, tie: u64, to: usize) {
        match self.connect(from, to) {
            (_, HostAnswer::Accepted) => drop(self.ties.insert((from, tie), to)),
            (after, _) => {
                self.enqueue(after, Event::Told { to: from, input: Input::TieEnded { tie, came_about: false } })
            }
        }
    }

    /// A program ended: its host ends its ties, if it goes on and what it sends arrives.
    fn end_ties(&mut self, ended: usize) {
        let over: Vec<(usize, u64)> =
            self.ties.iter().filter(|((from, _), to)| *from == ended || **to == ended).map(|(tie, _)| *tie).collect();
        for (from, tie) in over {
            self.ties.remove(&(from, tie));
            if from != ended && self.hosts[ended].powered && self.reaches(ended, from) {
                let after = self.held_up(ended, from) + STREAM_LATENCY;
                self.enqueue(after, Event::Told { to: from, input: Input::TieEnded { tie, came_about: true } });
            }
        }
    }

    fn asked(&mut self, from: usize, to: usize, exchange: u64, frames: Vec<Vec<u8>>) {
        self.opened += 1;
        let stream = self.opened;
        self.streams.insert(stream, (from, to, exchange));
        if !self.is_running(to) {
            return self.reply(stream, Err(HostAnswer::Refused));
        }
        let stopped = self.hosts[to].stopped_until.since(self.now);
        if stopped > ANSWER_TIME {
            self.streams.remove(&stream);
            let outcome = Err(HostAnswer::Accepted);
            return self.enqueue(ANSWER_TIME, Event::Told { to: from, input: Input::Exchanged { exchange, outcome } });
        }
        if stopped.is_positive() {
            self.streams.remove(&stream);
            return self.enqueue(stopped, Event::Asked { from, to, exchange, frames });
        }
        self.input(to, Input::Asked { stream, frames });
        self.reply(stream, Err(HostAnswer::Accepted));
    }

    /// Ends a stream, unless it has ended.
    fn reply(&mut self, stream: u64, outcome: Result<Vec<Vec<u8>>, HostAnswer>) {
        if let Some((asker, answerer, exchange)) = self.streams.remove(&stream) {
            let after = self.held_up(answerer, asker) + STREAM_LATENCY;
            self.enqueue(after, Event::Told { to: asker, input: Input::Exchanged { exchange, outcome } });
        }
    }

    /// Until when an event has to wait for the host that it reaches.
    fn waits(&self, event: &Event) -> Option<Span> {
        let to = match event {
            Event::Datagram { to, .. } | Event::Asked { to, .. } | Event::Told { to, .. } => *to,
        };
        let host = &self.hosts[to];
        let until = match event {
            Event::Datagram { .. } => host.stopped_until.max(host.held_up_until),
            // A stopped process' host takes the connection.
            Event::Asked { .. } => host.held_up_until,
            Event::Told { .. } => host.stopped_until,
        };
        Some(until.since(self.now)).filter(|wait| wait.is_positive())
    }

    fn happen(&mut self, event: Event) {
        if let Some(wait) = self.waits(&event) {
            return self.enqueue(wait, event);
        }
        match event {
            Event::Datagram { from, to, bytes } => self.input(to, Input::Datagram { from: address(from), bytes }),
            Event::Asked { from, to, exchange, frames } => self.asked(from, to, exchange, frames),
            Event::Told { to, input } => self.input(to, input),
        }
    }

    fn step(&mut self, end: Timestamp) -> bool {
        let event = self.queue.first_key_value().map(|((at, _), _)| *at);
        let deadline = self.deadlines.first().copied();
        let next = event.into_iter().chain(deadline.map(|(at, _)| at)).min();
        let Some(next) = next.filter(|next| *next <= end) else { return false };
        self.now = self.now.max(next);
        // Of one instant, timers come first: a stopped process finds its own overdue before it reads its socket.
        if let Some((_, host)) = deadline.filter(|(at, _)| *at <= next) {
            self.input(host, Input::Wake);
        } else if let Some((_, event)) = self.queue.pop_first() {
            self.happen(event);
        }
        true
    }

    pub(super) fn run_for(&mut self, span: Span) {
        let end = self.now + span;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, looked at every `every`; returns how long that took, or nothing if `limit` passed.
    pub(super) fn run_until(&mut self, every: Span, limit: Span, done: impl Fn(&Self) -> bool) -> Option<Span> {
        let start = self.now;
        while !done(self) {
            if self.now.since(start) >= limit {
                return None;
            }
            self.run_for(every);
        }
        Some(self.now.since(start))
    }
}
