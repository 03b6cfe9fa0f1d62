//! Clones: one node id alive at two addresses, because a machine was copied together with its data directory.
//!
//! Whoever hears that its own id lives elsewhere asks there. Only an answer to that very question proves a clone: what is
//! gossiped may be about an earlier life, and a forged claim leads to one question and no more. Of two clones the one that
//! runs for less long yields: it stops, and its shell gives it a new id.

use std::net::SocketAddr;

use rand::RngExt;
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip};
use crate::identity::Identity;
use crate::packet::{Packet, TwinNote};
use crate::schedule::Alarm;

/// Questions about one claim come this far apart.
const ASK_EVERY: Span = Span::from_seconds(2);
/// The younger of two clones goes on for this long.
const YIELD_AFTER: Span = Span::from_millis(500);
/// The elder of two clones tells of the other this often.
const TELL_EVERY: Span = Span::from_seconds(60);

#[derive(Debug)]
pub(super) struct Twins {
    started: Timestamp,
    asked: Option<(u32, SocketAddr)>,
    next_ask: Timestamp,
    next_tell: Timestamp,
    yields_to: Option<SocketAddr>,
}

impl Twins {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { started: now, asked: None, next_ask: now, next_tell: now, yields_to: None }
    }

    /// Whether this node is the younger of two clones, and says no more under the id that both have.
    pub(super) fn yields(&self) -> bool {
        self.yields_to.is_some()
    }

    fn age_millis(&self, now: Timestamp) -> u64 {
        u64::try_from(now.since(self.started).as_millis()).unwrap_or(0)
    }
}

impl Gossip {
    /// Somebody says that this node's id lives in `identity`.
    pub(super) fn claimed(&mut self, now: Timestamp, identity: &Identity) {
        let own = self.own();
        let elsewhere = identity.id == own.id && identity.addr != own.addr && identity.generation >= own.generation;
        if !elsewhere || now < self.twins.next_ask || self.leaving.is_some() {
            return;
        }
        let nonce = self.rng.random();
        self.twins.asked = Some((nonce, identity.addr));
        self.twins.next_ask = now + ASK_EVERY;
        self.say_twin(now, identity.addr, nonce, false);
    }

    /// A newcomer has the id of a member that lives elsewhere: the member is to ask it. If it only moved, nobody is there.
    pub(super) fn tell_of_twin(&mut self, newcomer: &Identity) {
        let known = self.view.get(newcomer.id).filter(|entry| entry.is_active()).map(|entry| entry.identity.addr);
        if let Some(addr) = known.filter(|addr| *addr != newcomer.addr) {
            let note = TwinNote { nonce: 0, answers: false, age_millis: 0, identity: *newcomer };
            self.send(addr, &Packet::Twin(note));
        }
    }

    fn say_twin(&mut self, now: Timestamp, to: SocketAddr, nonce: u32, answers: bool) {
        let age_millis = self.twins.age_millis(now);
        let note = TwinNote { nonce, answers, age_millis, identity: self.own() };
        self.send(to, &Packet::Twin(note));
    }

    pub(super) fn receive_twin(&mut self, now: Timestamp, from: SocketAddr, note: TwinNote) {
        let own = self.own();
        if note.identity.id != own.id || note.identity.addr == own.addr || self.leaving.is_some() {
            self.stats.dropped_unexpected += 1;
            return;
        }
        if !note.answers {
            if self.answers.take(now) {
                self.say_twin(now, from, note.nonce, true);
                // Both have to know, whoever heard of the other first.
                self.claimed(now, &Identity { generation: own.generation, ..note.identity });
            } else {
                self.stats.dropped_rate_limited += 1;
            }
            return;
        }
        if self.twins.asked != Some((note.nonce, note.identity.addr)) {
            self.stats.dropped_unexpected += 1;
            return;
        }
        self.twins.asked = None;
        let age = self.twins.age_millis(now);
        let yields = (age, note.identity.addr) < (note.age_millis, own.addr);
        let other = note.identity.addr;
        if yields {
            // Until then the elder's own question is answered.
            self.twins.yields_to = Some(other);
            self.schedule.set_by(Alarm::Yield, now + YIELD_AFTER);
            return;
        }
        // The other may have stamped what it says of itself alike or later: what is held elsewhere shows it.
        self.outstamp(now, self.view.own().stamp());
        self.pull_soon(now);
        if now >= self.twins.next_tell {
            self.twins.next_tell = now + TELL_EVERY;
            self.stats.clones_seen += 1;
            self.out.push(Effect::Cloned { other, yields });
        }
    }

    pub(super) fn yield_to_elder(&mut self) {
        if let Some(other) = self.twins.yields_to.take() {
            self.stats.clones_seen += 1;
            self.out.push(Effect::Cloned { other, yields: true });
            self.stopped = true;
        }
    }
}
