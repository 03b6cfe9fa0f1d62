//! The agent's journal of its own life: when it ran, was stopped, died, slept, and was heard by nobody.
//!
//! It is small and bounded, is written whole at each change and once a minute, and so knows after a crash or a loss of
//! power to within that minute when the life before ended. Collectors ask for what they have not seen of it; nothing the
//! agent does itself depends on it.
//!
//! Invariants: numbers strictly rise, times never decrease, and no two notes in a row have the same state but for a life
//! that ended in between.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use watchfire_shared::life::{AGENT_DIED, LifeNote, LifeState};
use watchfire_shared::limits::MAX_LIFE_NOTES;
use watchfire_shared::time::{Span, Timestamp};

/// How often it is written although nothing changed: how wrong the time of an unexpected end may be.
const SIGN_OF_LIFE_EVERY: Span = Span::from_seconds(60);
/// How long no collector may be connected before that is noted. A collector that is restarted takes less.
const CUT_OFF_AFTER: Span = Span::from_seconds(30);
/// How long the agent may do nothing before that is noted. A machine under the heaviest load takes less.
const SUSPENDED_AFTER: Span = Span::from_seconds(30);

/// What stands on the disk.
#[derive(Serialize, Deserialize)]
struct Kept {
    /// The boot of the machine in which it was written.
    #[serde(default)]
    boot: String,
    /// The last sign of life.
    seen_at: Timestamp,
    #[serde(default)]
    notes: Vec<LifeNote>,
}

/// The journal.
#[derive(Debug)]
pub(crate) struct LifeJournal {
    boot: String,
    notes: VecDeque<LifeNote>,
    /// When the agent last did something.
    seen_at: Timestamp,
    /// Since when no collector is connected.
    alone_since: Option<Timestamp>,
    saved_at: Timestamp,
    /// It has to be written.
    changed: bool,
}

impl LifeJournal {
    /// Begins a life. `found` is what the one before left, `boot` names the boot of the machine.
    pub(crate) fn open(now: Timestamp, found: Option<&[u8]>, boot: &str) -> Self {
        let kept = found.and_then(|bytes| rmp_serde::from_slice::<Kept>(bytes).ok());
        let mut journal = Self {
            boot: boot.to_owned(),
            notes: VecDeque::new(),
            seen_at: now,
            alone_since: Some(now),
            saved_at: now,
            changed: true,
        };
        let Some(kept) = kept else {
            journal.note(now, LifeState::Running, "started for the first time, or without its journal");
            return journal;
        };
        let rebooted = kept.boot != boot;
        journal.notes = kept.notes.into_iter().take(MAX_LIFE_NOTES).collect();
        if journal.state() != Some(LifeState::Stopped) {
            let reason = if rebooted { "the host went down" } else { AGENT_DIED };
            journal.note(kept.seen_at.min(now), LifeState::Ended, reason);
        }
        journal.note(now, LifeState::Running, if rebooted { "started after the host was booted" } else { "started" });
        journal
    }

    /// The agent does something; `heard` says whether a collector is connected.
    pub(crate) fn observe(&mut self, now: Timestamp, heard: bool) {
        let last = std::mem::replace(&mut self.seen_at, now);
        if now.since(last) >= SUSPENDED_AFTER {
            self.note(last, LifeState::Suspended, "nothing ran here: the host slept or hung, or its clock was set");
            self.note(now, LifeState::Running, "");
            // Whether a collector was out of reach meanwhile is not known.
            self.alone_since = Some(now);
        }
        if heard {
            self.alone_since = None;
            if self.state() == Some(LifeState::CutOff) {
                self.note(now, LifeState::Running, "connected to a collector");
            }
            return;
        }
        let since = *self.alone_since.get_or_insert(now);
        if now.since(since) >= CUT_OFF_AFTER && self.state() == Some(LifeState::Running) {
            self.note(since, LifeState::CutOff, "no collector was connected");
        }
    }

    /// The life ends in good order.
    pub(crate) fn stop(&mut self, now: Timestamp) {
        self.seen_at = now;
        self.note(now, LifeState::Stopped, "");
    }

    /// When [`Self::observe`] has something to say although nothing happens.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        let waits = self.state() == Some(LifeState::Running);
        self.alone_since.filter(|_| waits).map(|since| since + CUT_OFF_AFTER)
    }

    /// What is to be written now, if anything is.
    pub(crate) fn take_unsaved(&mut self, now: Timestamp) -> Option<Vec<u8>> {
        if !self.changed && now.since(self.saved_at) < SIGN_OF_LIFE_EVERY {
            return None;
        }
        self.changed = false;
        self.saved_at = now;
        let kept = Kept { boot: self.boot.clone(), seen_at: self.seen_at, notes: self.notes.iter().cloned().collect() };
        // Named fields, so that a later version can add one and an older one can pass over it.
        Some(rmp_serde::to_vec_named(&kept).expect("texts, numbers and times can always be encoded"))
    }

    /// The notes that somebody lacks who has those up to `after`. A number that was never given is of a journal that was
    /// lost: then all of them.
    pub(crate) fn notes_after(&self, after: u64) -> Vec<LifeNote> {
        let after = if after > self.last_seq() { 0 } else { after };
        self.notes.iter().filter(|note| note.seq > after).cloned().collect()
    }

    pub(crate) fn last_seq(&self) -> u64 {
        self.notes.back().map_or(0, |note| note.seq)
    }

    fn state(&self) -> Option<LifeState> {
        self.notes.back().map(|note| note.state)
    }

    fn note(&mut self, at: Timestamp, state: LifeState, reason: &str) {
        let last = self.notes.back();
        // The clock may have been set back between two lives.
        let at = last.map_or(at, |last| last.at.max(at));
        let seq = self.seen_at.as_millis().unsigned_abs().max(self.last_seq() + 1);
        self.notes.push_back(LifeNote { seq, at, state, reason: reason.to_owned() });
        if self.notes.len() > MAX_LIFE_NOTES {
            self.notes.pop_front();
        }
        self.changed = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(1_800_000_000_000 + seconds * 1000)
    }

    fn shown(journal: &LifeJournal) -> Vec<String> {
        let second = |note: &LifeNote| note.at.since(at(0)).as_seconds();
        journal.notes.iter().map(|note| format!("{} {}", second(note), note.state.as_str())).collect()
    }

    /// The agent does something each second, as one whose uplink stands or does not.
    fn live(journal: &mut LifeJournal, seconds: std::ops::Range<i64>, heard: bool) -> Option<Vec<u8>> {
        let mut saved = None;
        for second in seconds {
            journal.observe(at(second), heard);
            saved = journal.take_unsaved(at(second)).or(saved);
        }
        saved
    }

    #[test]
    fn an_ordinary_restart_is_a_stop_and_a_start() {
        let mut journal = LifeJournal::open(at(0), None, "b1");
        live(&mut journal, 1..100, true);
        journal.stop(at(100));
        let saved = journal.take_unsaved(at(100)).unwrap();
        let again = LifeJournal::open(at(130), Some(&saved), "b1");
        assert_eq!(shown(&again), ["0 running", "100 stopped", "130 running"]);
        assert_eq!(again.notes[2].reason, "started");
        assert!(again.notes.iter().zip(again.notes.iter().skip(1)).all(|(a, b)| a.seq < b.seq));
        // Whoever has the first two lacks one; whoever claims more than there is lacks all.
        assert_eq!(again.notes_after(again.notes[1].seq).len(), 1);
        assert_eq!((again.notes_after(again.last_seq()).len(), again.notes_after(u64::MAX).len()), (0, 3));
    }

    #[test]
    fn an_end_without_a_goodbye_is_dated_by_the_last_sign_of_life_and_says_what_died() {
        for (boot, reason) in
            [("b1", "the agent was killed or crashed, the host stayed up"), ("b2", "the host went down")]
        {
            let mut journal = LifeJournal::open(at(0), None, "b1");
            let saved = live(&mut journal, 0..150, true).unwrap();
            let again = LifeJournal::open(at(3000), Some(&saved), boot);
            assert_eq!(shown(&again), ["0 running", "120 ended", "3000 running"]);
            assert_eq!(again.notes[1].reason, reason);
        }
    }

    #[test]
    fn a_time_without_collectors_is_noted_from_its_beginning_and_a_short_one_is_not() {
        let mut journal = LifeJournal::open(at(0), None, "b1");
        live(&mut journal, 0..10, true);
        live(&mut journal, 10..35, false);
        live(&mut journal, 35..50, true);
        assert_eq!((shown(&journal).len(), journal.deadline()), (1, None));
        journal.observe(at(50), false);
        assert_eq!(journal.deadline(), Some(at(80)));
        live(&mut journal, 51..4000, false);
        assert_eq!(journal.deadline(), None);
        live(&mut journal, 4000..4001, true);
        assert_eq!(shown(&journal), ["0 running", "50 cut_off", "4000 running"]);
    }

    #[test]
    fn a_host_that_slept_is_noted_and_nobody_is_called_cut_off_for_it() {
        let mut journal = LifeJournal::open(at(0), None, "b1");
        live(&mut journal, 0..10, true);
        live(&mut journal, 1000..1020, false);
        live(&mut journal, 1020..1030, true);
        assert_eq!(shown(&journal), ["0 running", "9 suspended", "1000 running"]);
    }

    #[test]
    fn it_stays_small_and_in_order_whatever_the_clock_does() {
        let mut journal = LifeJournal::open(at(0), None, "b1");
        let mut saved = journal.take_unsaved(at(0)).unwrap();
        for life in 0..1000 {
            // Each life begins an hour before the one before.
            journal = LifeJournal::open(at(-3600 * life), Some(&saved), "b1");
            saved = journal.take_unsaved(at(-3600 * life)).unwrap();
        }
        assert_eq!(journal.notes.len(), MAX_LIFE_NOTES);
        assert!(saved.len() < MAX_LIFE_NOTES * 150, "{} bytes", saved.len());
        let pairs = journal.notes.iter().zip(journal.notes.iter().skip(1));
        assert!(pairs.clone().all(|(a, b)| a.seq < b.seq && a.at <= b.at), "{:?}", journal.notes);
        // A file that nobody can read is as good as none.
        assert_eq!(shown(&LifeJournal::open(at(5), Some(b"nonsense"), "b1")), ["5 running"]);
    }
}
