//! Saying goodbye, and hearing others say it.
//!
//! foca knows only down. A node that leaves therefore tells so itself, keeps answering while the note spreads, and goes
//! down in foca afterwards; whoever has the note shows it as left whatever foca says of that life.
//!
//! Who is leaving itself is told no more by those that know of it, though foca still tells it that they are down: it
//! declares nobody dead any more.

use watchfire_shared::member::MemberState;
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip};
use crate::identity::Identity;
use crate::packet::Packet;
use crate::schedule::Alarm;

/// Members that are told in the first round, collectors before all others: who has the note cannot take the silence for
/// a death. That is everybody in all but the largest clusters, for 60 bytes each; the others hear of it from them.
const FIRST_ROUND: usize = 1024;
/// Rounds after the first, one gossip interval apart and half a second in all at most, when a process is to stop.
const MORE_ROUNDS: u32 = 3;
const LONGEST_INTERVAL: Span = Span::from_millis(200);
/// How long foca keeps a member that left: until the note, which must not be overtaken, is everywhere.
const SETTLE: Span = Span::from_seconds(2);

#[derive(Debug)]
pub(super) struct Leaving {
    rounds: u32,
}

impl Gossip {
    pub(super) fn leave(&mut self, now: Timestamp) {
        if self.leaving.is_some() {
            return;
        }
        let own = self.own();
        self.leaving = Some(Leaving { rounds: MORE_ROUNDS });
        self.detector.leave();
        // Whom it met in its last second is whom it looks for in its next life.
        self.save_peers(now);
        self.view.change(own.id, |entry| entry.leave(now));
        self.tell_collectors_of_leave();
        self.tell_leave(FIRST_ROUND);
        self.schedule.set(Alarm::Leave, now + self.leave_interval());
        if self.view.active_count() == 0 {
            self.leave_done(now);
        }
    }

    fn leave_interval(&self) -> Span {
        self.pace.gossip_interval().min(LONGEST_INTERVAL)
    }

    fn tell_leave(&mut self, count: usize) {
        let own = self.own();
        for target in self.random_members(count) {
            self.send(target.addr, &Packet::Leave(vec![own]));
        }
    }

    /// Collectors wake people, so no chance decides whether they hear of it.
    fn tell_collectors_of_leave(&mut self) {
        if self.view.active_count() <= FIRST_ROUND {
            return;
        }
        let own = self.own();
        let collectors: Vec<Identity> = self
            .view
            .active()
            .filter(|entry| entry.is_collector())
            .map(|entry| entry.identity)
            .take(FIRST_ROUND)
            .collect();
        for target in collectors {
            self.send(target.addr, &Packet::Leave(vec![own]));
        }
    }

    pub(super) fn leave_round(&mut self, now: Timestamp) {
        let Some(leaving) = &mut self.leaving else { return };
        leaving.rounds -= 1;
        if leaving.rounds == 0 {
            return self.leave_done(now);
        }
        self.tell_leave(2 * self.pace.fanout);
        self.schedule.set(Alarm::Leave, now + self.leave_interval());
    }

    fn leave_done(&mut self, now: Timestamp) {
        self.with_foca(now, |foca, outbox| foca.leave_cluster(outbox));
        self.stopped = true;
        self.out.push(Effect::LeaveDone);
        self.schedule.clear();
    }

    pub(super) fn receive_leave(&mut self, now: Timestamp, identities: &[Identity]) {
        if self.poll_at_once {
            self.poll(now);
        }
        for identity in identities {
            let known = self.view.get(identity.id).filter(|entry| entry.identity == *identity);
            if known.is_none() || identity.id == self.own().id {
                self.stats.dropped_unexpected += 1;
            } else if self.mark_left(now, *identity) {
                self.spread_left(now, *identity);
            }
        }
    }

    /// Shows a life as one that said goodbye. Returns whether that was news.
    pub(super) fn mark_left(&mut self, now: Timestamp, identity: Identity) -> bool {
        let moved = self.view.change(identity.id, |entry| entry.leave(now)).flatten();
        if let Some((before, after)) = moved {
            self.moved(now, identity.id, before, after);
            self.schedule.set_by(Alarm::Settle, now + SETTLE);
        }
        moved.is_some()
    }

    /// Tells foca of members that left some time ago, so that it stops probing them.
    pub(super) fn settle_left(&mut self, now: Timestamp) {
        let left = self.view.others().filter(|entry| entry.state == MemberState::Left);
        let (due, waiting): (Vec<_>, Vec<_>) =
            left.map(|entry| (entry.since + SETTLE, entry.identity)).partition(|(at, _)| *at <= now);
        let downs: Vec<_> = due.into_iter().map(|(_, identity)| foca::Member::down(identity)).collect();
        self.with_foca(now, |foca, outbox| foca.apply_many(downs.into_iter(), true, outbox));
        if let Some(next) = waiting.into_iter().map(|(at, _)| at).min() {
            self.schedule.set(Alarm::Settle, next);
        }
    }
}
