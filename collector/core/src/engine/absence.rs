//! The collector's own absence: a process that was stopped, a machine that slept, a clock that was set forward.
//!
//! Silence proves something only to one who listened. A wake-up that comes much later than it was asked for means that
//! frames may have come meanwhile and still wait in line, so nobody is accused for that time. After a long absence the
//! collector knows as little as after a restart, and behaves as after one.

use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::Disk;

use super::{Effect, Engine};
use crate::fact::{Fact, Level};
use crate::series::freshness::Freshness;

/// How late a wake-up may be without having to be excused. A loaded machine is late by some hundred milliseconds.
const NOTABLE: Span = Span::from_seconds(2);
/// After this time what was known of the fleet is too old to be judged by.
const BLINDING: Span = Span::from_seconds(60);

impl<D: Disk> Engine<D> {
    /// Looks whether this call comes much later than the engine had asked for.
    pub(super) fn notice_absence(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let absence = self.deadline().map_or(Span::ZERO, |due| now.since(due));
        if absence < NOTABLE {
            return;
        }
        let message = "the collector was not running; nobody is accused of silence for that time";
        effects.push(Effect::Fact(Fact::new(Level::Warn, message).with("for", absence)));
        self.ingest.excuse(absence);
        if absence < BLINDING {
            self.fleet.excuse(absence);
            return;
        }
        self.fleet.forget_reports(now);
        self.freshness = Freshness::new(now);
        self.rules.set_fresh(now, false);
        self.picture.change(now);
    }
}
