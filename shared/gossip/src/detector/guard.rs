//! The isolation guard: is it them, or is it me?
//!
//! A node that hears nobody doubts itself and declares nobody dead, until packets return and a suspicion time has
//! passed, or until a silent member's host answers, which shows that the network carries. Doubt has an end: who hears
//! nothing for two minutes is alone and says so. With one other member there is nobody to compare with, so no doubt.
//!
//! Where a split ends just when suspicions run out, members would be declared down that are back already. So when one of
//! several that are out of reach is heard, deaths wait for a moment, and the suspects are told so that they object.

use foca::State;
use watchfire_shared::time::{Span, Timestamp};

use super::{Detector, Told};
use crate::config::Pace;
use crate::identity::Identity;

/// How long deaths wait when a network mends: for objections to arrive, and for what others judged meanwhile to be told.
const MENDING: Span = Span::from_seconds(2);
/// The time from one such wait to the next, so that a network that loses much holds nothing up for long.
const MENDS_AGAIN: Span = Span::from_seconds(10);

/// How long the guard holds at most: longer than a switch takes to restart.
const LONGEST_DOUBT: Span = Span::from_seconds(120);

/// The isolation guard (rule A).
#[derive(Debug)]
pub(crate) struct Guard {
    last_heard: Timestamp,
    host_answered: Option<Timestamp>,
    holds_until: Timestamp,
    mended: Option<Timestamp>,
}

impl Guard {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { last_heard: now, host_answered: None, holds_until: now, mended: None }
    }

    /// A packet of a member came. Returns whether it ended an isolation.
    pub(crate) fn heard(&mut self, now: Timestamp, pace: &Pace, others: usize) -> bool {
        let was_isolated = now.since(self.last_heard) > pace.isolated_after();
        if was_isolated {
            self.holds_until = now + pace.suspicion_time(others + 1);
        }
        self.last_heard = now;
        was_isolated
    }

    /// The host of a silent member answered: the network carries.
    pub(crate) fn host_answered(&mut self, now: Timestamp) {
        self.host_answered = Some(now);
    }

    /// Whether a declaration of death should be held back.
    pub(crate) fn doubts(&self, now: Timestamp, pace: &Pace, others: usize) -> bool {
        let silence = now.since(self.last_heard);
        if others < 2 {
            return false;
        }
        if silence <= pace.isolated_after() {
            return now < self.holds_until;
        }
        let network_carries = self.host_answered.is_some_and(|at| at > self.last_heard);
        !network_carries && silence <= pace.isolated_after() + LONGEST_DOUBT
    }

    /// Whether deaths may wait again.
    pub(crate) fn may_wait(&self, now: Timestamp) -> bool {
        self.mended.is_none_or(|at| now.since(at) >= MENDS_AGAIN)
    }

    /// One of several that are out of reach is heard again. Returns until when deaths wait.
    pub(crate) fn met(&mut self, now: Timestamp) -> Timestamp {
        self.mended = Some(now);
        now + MENDING
    }

    /// Whether the network mended just now.
    pub(crate) fn mends(&self, now: Timestamp) -> bool {
        self.mended.is_some_and(|at| now.since(at) < MENDING)
    }
}

impl Detector {
    /// The host of a silent member answered: the network carries.
    pub(crate) fn host_answered(&mut self, now: Timestamp) {
        self.guard.host_answered(now);
    }

    /// Whether this node doubts itself rather than others, and declares nobody down.
    pub(crate) fn doubts(&self, now: Timestamp) -> bool {
        self.guard.doubts(now, &self.pace, self.foca.num_members())
    }

    /// A packet came from a member. If it was out of reach, and it is not the only one, the network mends: those who are
    /// suspected are told so, and their time does not run out before they could object.
    pub(crate) fn met(&mut self, now: Timestamp, from: &Identity) {
        let one_of_several = match self.suspicions.count() {
            0 => false,
            1 => self.suspicions.incarnation_of(from).is_none(),
            _ => true,
        };
        if one_of_several && self.guard.may_wait(now) && self.is_out_of_reach(from) {
            self.suspicions.hold(self.guard.met(now));
            self.told.push(Told::Reconnected);
        }
    }

    fn is_out_of_reach(&self, identity: &Identity) -> bool {
        self.suspicions.incarnation_of(identity).is_some()
            || self.members().any(|member| member.id() == identity && member.state() != State::Alive)
    }

    /// Whether the network mended just now, so that what others say of deaths was judged without those it is about.
    pub(crate) fn mends(&self, now: Timestamp) -> bool {
        self.guard.mends(now)
    }

    pub(super) fn heard(&mut self, now: Timestamp) {
        if self.guard.heard(now, &self.pace, self.foca.num_members()) {
            self.told.push(Told::Reconnected);
        }
    }
}
