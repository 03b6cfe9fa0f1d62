//! Whether a collector has seen enough to judge.
//!
//! A collector that was away, or blind, knows neither who died nor who recovered in the meantime. Until nine of ten of
//! the agents it expects have reported, or two minutes have passed, its rules neither fire nor resolve. Once it is fresh
//! it stays so: what goes silent later is news, not blindness, unless everybody goes silent at once.

use watchfire_shared::member::{MemberState, Role};
use watchfire_shared::time::Timestamp;

use super::fleet::Fleet;
use super::node::{HEARING_TIME, Node};

/// Share of the expected agents that must have reported, percent. The rest may have died meanwhile.
const ENOUGH_PERCENT: usize = 90;

/// How many agents are expected to report, and how many have.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Coverage {
    pub(crate) expected: usize,
    pub(crate) reported: usize,
}

impl Coverage {
    pub(crate) fn of(fleet: &Fleet) -> Self {
        let mut coverage = Self::default();
        for node in fleet.nodes().filter(|node| awaited(node) && !fleet.is_namesake(node)) {
            coverage.expected += 1;
            coverage.reported += usize::from(node.heard_at.is_some());
        }
        coverage
    }

    fn is_enough(self) -> bool {
        self.expected > 0 && self.reported * 100 >= self.expected * ENOUGH_PERCENT
    }
}

/// Agents that gossip shows alive, and those that were alive before the start and of which it has said nothing yet.
fn awaited(node: &Node) -> bool {
    let gone = node.is(MemberState::Down) || node.is(MemberState::Left);
    node.record.role == Role::Agent && !gone
}

/// Whether the collector may judge.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Freshness {
    until: Timestamp,
    fresh: bool,
    /// It was fresh before, so it knows whom it expects, be it nobody.
    knows_fleet: bool,
}

impl Freshness {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { until: now + HEARING_TIME, fresh: false, knows_fleet: false }
    }

    /// A collector that judged before and was started again: if it expects nobody, there is nobody to wait for.
    pub(crate) fn again(now: Timestamp, fleet: &Fleet) -> Self {
        let lost = Self::lost(now);
        if Coverage::of(fleet).expected == 0 { Self { until: now, ..lost } } else { lost }
    }

    /// A collector that has just gone blind.
    pub(crate) fn lost(now: Timestamp) -> Self {
        Self { knows_fleet: true, ..Self::new(now) }
    }

    pub(crate) fn is_fresh(&self) -> bool {
        self.fresh
    }

    /// Looks again; returns whether the collector has just become fresh.
    pub(crate) fn update(&mut self, now: Timestamp, fleet: &Fleet) -> bool {
        if self.fresh {
            return false;
        }
        let coverage = Coverage::of(fleet);
        // Peers that confirm deaths are heard: if all whom they left are dead, there is nobody to wait for.
        let nobody_left = self.knows_fleet && coverage.expected == 0;
        self.fresh = now >= self.until || coverage.is_enough() || nobody_left;
        self.fresh
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        (!self.fresh).then_some(self.until)
    }
}
