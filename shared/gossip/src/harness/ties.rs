//! Connections of the network: what a host answers to one that says nothing, how one that says something is taken, and ties,
//! which a host that goes on ends when a program ended, and one that is gone or cut off does not.

use std::net::SocketAddr;

use watchfire_shared::member::NodeId;
use watchfire_shared::time::Span;

use super::{Event, Net, STREAM_LATENCY};
use crate::{Admission, HostAnswer, Input};

/// A connection that says nothing, between two running programs.
pub(crate) struct Tie {
    pub(crate) from: usize,
    tie: u64,
    pub(crate) to: usize,
}

impl Net {
    /// Tries a connection to a host.
    pub(super) fn ask(&mut self, at: usize, id: NodeId, addr: SocketAddr) {
        self.nodes[at].asked.push(id);
        let flows = |to: usize| !self.is_held_up(at) && !self.is_held_up(to);
        let host = self.by_addr.get(&addr).copied();
        let host = host.filter(|to| self.connects(at, *to) && self.nodes[*to].host_is_up && flows(*to));
        let (after, answer) = match host {
            Some(to) => self.host_answers(at, to),
            None => (2000, HostAnswer::Silent),
        };
        self.enqueue(Span::from_millis(after), Event::Told { to: at, input: Input::HostAnswer { id, answer } });
    }

    /// What a host that is there answers to a connection and a datagram, and after how many milliseconds.
    fn host_answers(&self, at: usize, to: usize) -> (i64, HostAnswer) {
        let runs = self.nodes[to].gossip.is_some();
        let datagrams_pass = ![at, to].iter().any(|node| self.no_datagrams.contains(node));
        let says_no = !runs && datagrams_pass && !self.says_nothing_of_ports.contains(&to);
        match (runs && !self.takes_no_connections.contains(&to), self.streams_blocked) {
            (true, false) => (1, HostAnswer::Accepted),
            (_, false) if says_no => (1, HostAnswer::Refused),
            (false, false) => (250, HostAnswer::RefusedStreams),
            (_, true) if says_no => (250, HostAnswer::Refused),
            (_, true) => (1000, HostAnswer::Silent),
        }
    }

    pub(super) fn asked(&mut self, from: usize, to: usize, exchange: u64, frames: Vec<Vec<u8>>) {
        self.opened += 1;
        let stream = self.opened;
        self.streams.insert(stream, (from, exchange));
        if self.nodes[to].gossip.is_none() {
            return self.reply(stream, Err(HostAnswer::Refused));
        }
        if self.opens(to, stream, &frames[0]) == Some(Admission::Exchange) {
            self.input(to, Input::Asked { stream, frames });
        }
        self.reply(stream, Err(HostAnswer::Accepted));
    }

    /// Ends a stream, if it has not ended.
    pub(super) fn reply(&mut self, stream: u64, outcome: Result<Vec<Vec<u8>>, HostAnswer>) {
        if let Some((to, exchange)) = self.streams.remove(&stream) {
            self.enqueue(STREAM_LATENCY, Event::Told { to, input: Input::Exchanged { exchange, outcome } });
        }
    }

    /// What a stream's first frame makes of it.
    pub(crate) fn opens(&mut self, to: usize, stream: u64, frame: &[u8]) -> Option<Admission> {
        self.input(to, Input::Opening { stream, frame: frame.to_owned() });
        self.judged.remove(&stream)
    }

    pub(super) fn tie(&mut self, from: usize, tie: u64, to: SocketAddr, frame: Vec<u8>) {
        let reachable = |to: &usize| !self.streams_blocked && self.connects(from, *to) && self.nodes[*to].host_is_up;
        let to = self.by_addr.get(&to).copied().filter(reachable);
        match to {
            Some(to) if self.nodes[to].gossip.is_some() && !self.takes_no_connections.contains(&to) => {
                self.ties.push(Tie { from, tie, to });
                self.enqueue(STREAM_LATENCY, Event::Tied { from, tie, to, frame });
            }
            Some(_) => self
                .enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded { tie, came_about: false } }),
            None => self.enqueue(
                Span::from_seconds(1),
                Event::Told { to: from, input: Input::TieEnded { tie, came_about: false } },
            ),
        }
    }

    /// A tie's first frame arrives. A host takes the connection for a program that is stopped.
    pub(super) fn tied(&mut self, from: usize, tie: u64, to: usize, frame: &[u8]) {
        let is_held = self.ties.iter().any(|held| (held.from, held.tie) == (from, tie));
        if !is_held || self.nodes[to].paused_until > self.now {
            return;
        }
        self.opened += 1;
        if self.opens(to, self.opened, frame) != Some(Admission::Tie) {
            self.untie(from, tie);
            self.enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded { tie, came_about: true } });
        }
    }

    pub(super) fn untie(&mut self, from: usize, tie: u64) {
        self.ties.retain(|held| (held.from, held.tie) != (from, tie));
    }

    /// Something on the way ends every tie, and all programs go on.
    pub(crate) fn break_ties(&mut self) {
        for Tie { from, tie, .. } in std::mem::take(&mut self.ties) {
            self.enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded { tie, came_about: true } });
        }
    }

    /// A node's program ended: who was tied to it hears so, if its host goes on and reaches them.
    pub(super) fn end_ties(&mut self, ended: usize) {
        let ties = std::mem::take(&mut self.ties);
        let (over, stay): (Vec<Tie>, Vec<Tie>) = ties.into_iter().partition(|tie| tie.from == ended || tie.to == ended);
        self.ties = stay;
        for Tie { from, tie, to } in over {
            if from != ended && self.nodes[ended].host_is_up && self.hears(to, from) {
                self.enqueue(
                    STREAM_LATENCY,
                    Event::Told { to: from, input: Input::TieEnded { tie, came_about: true } },
                );
            }
        }
    }
}
