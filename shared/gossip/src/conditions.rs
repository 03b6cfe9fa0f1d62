//! Conditions of members: what the own probes show on each path, what others report, and where views disagree.
//!
//! Each node watches the paths of its own probes ([`paths`]) and reports now and then what it sees and whom it holds for
//! gone, to the collectors, or to some members where there is none ([`reports`]). A condition is what several probes in a row
//! agree on, so that a lost datagram is none, and ends when they agree no more.

mod paths;
mod reports;

pub(crate) use paths::Paths;
pub(crate) use reports::{Finding, MOST_GONE, MOST_OBSERVED, Report, Reports};

use watchfire_shared::member::ConditionName;

/// A set of conditions in one byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Names(pub(crate) u8);

impl Names {
    pub(crate) fn set(&mut self, name: ConditionName, holds: bool) {
        let bit = 1 << name as u8;
        if holds { self.0 |= bit } else { self.0 &= !bit }
    }

    pub(crate) fn has(self, name: ConditionName) -> bool {
        self.0 & (1 << name as u8) != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }
}
