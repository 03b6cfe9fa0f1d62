//! Ties of the network: a host that goes on ends those of a program that ended; one that is gone, or cut off, ends none.

use std::net::SocketAddr;

use watchfire_shared::time::Span;

use super::{Event, Net, STREAM_LATENCY};
use crate::Input;

/// A connection that says nothing, between two running programs.
pub(crate) struct Tie {
    pub(crate) from: usize,
    tie: u64,
    pub(crate) to: usize,
}

impl Net {
    pub(super) fn tie(&mut self, from: usize, tie: u64, to: SocketAddr) {
        let reachable = |to: &usize| !self.streams_blocked && self.connects(from, *to) && self.nodes[*to].host_is_up;
        let to = self.by_addr.get(&to).copied().filter(reachable);
        match to {
            Some(to) if self.nodes[to].gossip.is_some() => self.ties.push(Tie { from, tie, to }),
            Some(_) => self.enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded(tie) }),
            None => self.enqueue(Span::from_seconds(1), Event::Told { to: from, input: Input::TieEnded(tie) }),
        }
    }

    pub(super) fn untie(&mut self, from: usize, tie: u64) {
        self.ties.retain(|held| (held.from, held.tie) != (from, tie));
    }

    /// Something on the way ends every tie, and all programs go on.
    pub(crate) fn break_ties(&mut self) {
        for Tie { from, tie, .. } in std::mem::take(&mut self.ties) {
            self.enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded(tie) });
        }
    }

    /// A node's program ended: who was tied to it hears so, if its host goes on and reaches them.
    pub(super) fn end_ties(&mut self, ended: usize) {
        let ties = std::mem::take(&mut self.ties);
        let (over, stay): (Vec<Tie>, Vec<Tie>) = ties.into_iter().partition(|tie| tie.from == ended || tie.to == ended);
        self.ties = stay;
        for Tie { from, tie, to } in over {
            if from != ended && self.nodes[ended].host_is_up && self.hears(to, from) {
                self.enqueue(STREAM_LATENCY, Event::Told { to: from, input: Input::TieEnded(tie) });
            }
        }
    }
}
