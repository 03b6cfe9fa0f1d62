//! The store's upkeep: history moves to blocks and goes, a little at a time between other inputs, or goes at once because
//! somebody deletes it.

use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, Event, Quarantined};

use super::{Answer, Effect, Engine, MAINTENANCE};
use crate::fact::{Fact, Level};

/// Between two pieces of work, which take up to some tens of milliseconds each: inputs that came meanwhile go first.
const PAUSE: Span = Span::from_millis(20);
/// While somebody has to wait for it, only what has come already goes first.
const SHORT_PAUSE: Span = Span::from_millis(1);
/// How often it is told that the store is behind.
const BEHIND_TOLD: Span = Span::from_seconds(60);

impl<D: Disk> Engine<D> {
    pub(super) fn keep_up_store(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        self.tell_of_being_behind(now, effects);
        if self.store.wants_maintenance(now) {
            self.next_upkeep = self.next_upkeep.min(self.last_upkeep + PAUSE);
        }
        if now < self.next_upkeep {
            return;
        }
        self.last_upkeep = now;
        let mut next = MAINTENANCE;
        match self.store.maintain(now) {
            Ok(done) => {
                if done.busy {
                    next = if self.store.is_behind() { SHORT_PAUSE } else { PAUSE };
                }
                effects.extend(done.events.iter().map(|event| Effect::Fact(fact(event))));
            }
            Err(error) => {
                let fact = Fact::new(Level::Warn, "old data cannot be moved or removed; it is tried again");
                effects.push(Effect::Fact(fact.with("error", error)));
            }
        }
        self.next_upkeep = now + next;
    }

    fn tell_of_being_behind(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.store.is_behind() && self.behind_told_at.is_none_or(|told| told + BEHIND_TOLD <= now) {
            self.behind_told_at = Some(now);
            let message = "more comes than goes to blocks in time: who pushes samples has to wait, and nothing is lost";
            let stats = self.store.stats();
            effects.push(Effect::Fact(
                Fact::new(Level::Warn, message).with("log_bytes", stats.wal_bytes).with("failures", stats.failures),
            ));
        }
    }

    pub(super) fn delete(
        &mut self,
        now: Timestamp,
        selectors: &[Vec<Matcher>],
        from: Timestamp,
        to: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let deleted = self.store.delete(selectors, from, to);
        let fact = match &deleted {
            Ok(()) => Fact::new(Level::Info, "series were deleted"),
            Err(error) => Fact::new(Level::Warn, "series were not deleted").with("error", error),
        };
        let texts: Vec<String> = selectors.iter().map(|matchers| format!("{matchers:?}")).collect();
        let mut fact = fact.with("selectors", texts.join(" "));
        for (name, at) in [("from", from), ("to", to)] {
            if ![Timestamp::MIN, Timestamp::MAX].contains(&at) {
                fact = fact.with(name, at);
            }
        }
        effects.push(Effect::Fact(fact));
        if deleted.is_ok() {
            self.writer.deleted(&self.store, selectors, from, to);
        }
        // Whether blocks have anything of it is found out soon.
        self.next_upkeep = now;
        self.answer = Some(Answer::Deleted(deleted));
    }

    pub(super) fn clean_deleted(&mut self, now: Timestamp) {
        self.store.clean_deleted();
        self.next_upkeep = now;
    }
}

fn fact(event: &Event) -> Fact {
    match event {
        Event::Cut { path, samples, bytes } => Fact::new(Level::Info, "history moved from memory to a block")
            .with("block", path)
            .with("samples", samples)
            .with("bytes", bytes),
        Event::Merged { path, blocks, samples, bytes } => Fact::new(Level::Info, "blocks were merged")
            .with("block", path)
            .with("blocks", blocks)
            .with("samples", samples)
            .with("bytes", bytes),
        Event::Dropped { path, expired, samples, bytes, from, to } => {
            let fact = match expired {
                true => Fact::new(Level::Info, "a block was dropped: it is older than storage.retention"),
                false => Fact::new(
                    Level::Warn,
                    "the oldest history was dropped before its time: there is more than storage.max_bytes",
                ),
            };
            fact.with("block", path).with("samples", samples).with("bytes", bytes).with("from", from).with("to", to)
        }
        Event::Damaged { path, reason, from, to } => {
            let message =
                "a block is damaged: what cannot be read of it is missing from answers; the rest is written anew";
            let fact = Fact::new(Level::Error, message).with("file", path).with("reason", reason);
            fact.with("from", from).with("to", to)
        }
        Event::Quarantined(file) => set_aside(file),
    }
}

/// That a file was set aside.
pub(super) fn set_aside(file: &Quarantined) -> Fact {
    let message = "a damaged file was set aside; what could not be read of it is missing from answers";
    let mut fact = Fact::new(Level::Error, message)
        .with("file", &file.path)
        .with("kept_as", &file.kept_as)
        .with("reason", &file.reason)
        .with("samples", file.times());
    if let Some(lost) = file.lost_samples {
        fact = fact.with("lost_samples", lost);
    }
    fact
}
