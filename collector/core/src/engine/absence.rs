//! The collector's own absence: a process that was stopped, a machine that slept, a clock that was set forward.
//!
//! Silence proves something only to one who listened. A wake-up that comes much later than it was asked for means that
//! frames may have come meanwhile and still wait in line, so nobody is accused for that time. After a long absence the
//! collector knows as little as after a restart, and behaves as after one. The same holds for one that runs and hears
//! nobody at all any more: its own uplink is the likelier cause than the death of all.

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
        self.go_blind(now, "it was not running");
    }

    /// Looks whether nobody is heard any more, before the first is accused of silence.
    pub(super) fn notice_blindness(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let due = self.fleet.deadline().is_some_and(|at| at <= now);
        // A full disk of ours makes every agent wait.
        if !due || self.durability.is_full() || !self.fleet.hears_nobody(now) {
            return;
        }
        let message = "no agent is heard any more, though peers confirm no death: rules neither fire nor resolve until \
                       agents report or two minutes have passed";
        effects.push(Effect::Fact(Fact::new(Level::Error, message)));
        self.go_blind(now, "it hears nobody");
    }

    /// Nothing is known of the fleet any more, since somebody was heard last.
    fn go_blind(&mut self, now: Timestamp, reason: &str) {
        let heard = self.fleet.nodes().filter_map(|node| node.record.last_report_at).max();
        self.note_of_self(now, heard.unwrap_or(now).min(now), "blind", reason);
        self.fleet.forget_reports(now);
        self.freshness = Freshness::lost(now);
        self.rules.set_fresh(now, false);
        self.picture.change(now);
    }
}
