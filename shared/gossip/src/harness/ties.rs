//! Connections of the network that say nothing: what a host answers to one, and ties, which a host that goes on ends when a
//! program ended, and one that is gone or cut off does not.

use std::net::SocketAddr;

use watchfire_shared::member::NodeId;
use watchfire_shared::time::Span;

use super::{Event, Net, STREAM_LATENCY};
use crate::{HostAnswer, Input};

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
        let takes = |to: usize| self.nodes[to].gossip.is_some() && !self.takes_no_connections.contains(&to);
        let (after, answer) = match host.map(takes) {
            Some(true) => (1, HostAnswer::Accepted),
            Some(false) => (1, HostAnswer::Refused),
            None => (2000, HostAnswer::Silent),
        };
        self.enqueue(Span::from_millis(after), Event::Told { to: at, input: Input::HostAnswer { id, answer } });
    }

    pub(super) fn tie(&mut self, from: usize, tie: u64, to: SocketAddr) {
        let reachable = |to: &usize| !self.streams_blocked && self.connects(from, *to) && self.nodes[*to].host_is_up;
        let to = self.by_addr.get(&to).copied().filter(reachable);
        match to {
            Some(to) if self.nodes[to].gossip.is_some() && !self.takes_no_connections.contains(&to) => {
                self.ties.push(Tie { from, tie, to })
            }
            Some(_) => self
                .enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded { tie, came_about: false } }),
            None => self.enqueue(
                Span::from_seconds(1),
                Event::Told { to: from, input: Input::TieEnded { tie, came_about: false } },
            ),
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
