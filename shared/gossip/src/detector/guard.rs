//! The isolation guard: is it them, or is it me?
//!
//! A node that hears nobody doubts itself and declares nobody dead, until packets return and a suspicion time has
//! passed, or until a silent member's host answers, which shows that the network carries. Doubt has an end: who hears
//! nothing for two minutes is alone and says so. With one other member there is nobody to compare with, so no doubt.

use watchfire_shared::time::{Span, Timestamp};

use crate::config::Pace;

/// How long the guard holds at most: longer than a switch takes to restart.
const LONGEST_DOUBT: Span = Span::from_seconds(120);

/// The isolation guard (rule A).
#[derive(Debug)]
pub(crate) struct Guard {
    last_heard: Timestamp,
    host_answered: Option<Timestamp>,
    holds_until: Timestamp,
}

impl Guard {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { last_heard: now, host_answered: None, holds_until: now }
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
}
