//! When the log is synced, and what a full or failed disk means.
//!
//! Frames are synced together: at once when much is pending, otherwise when the oldest has waited a little. A full disk
//! stops acknowledgements and nothing else; every second it is tried again. A failed log is never trusted again.

use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Disk, Store, SyncError};

use crate::fact::{Fact, Level};

/// What is pending before a sync does not wait any longer, bytes.
const ENOUGH_BYTES: u64 = 1 << 20;
/// How long a frame waits for others. Long against a sync's own time, short against what an agent would notice.
const FRAME_WAIT: Span = Span::from_millis(20);
/// How long a pushed request waits for others that are in the inbox already.
const WRITE_WAIT: Span = Span::from_millis(1);
/// How long our own samples wait; nobody waits for their acknowledgement.
const OWN_WAIT: Span = Span::from_seconds(1);
/// How often a full disk is tried again.
const FULL_RETRY: Span = Span::from_seconds(1);

/// State of the log.
#[derive(Default)]
pub(crate) struct Durability {
    /// When what is pending has to be synced.
    due: Option<Timestamp>,
    full: bool,
    /// Whether the log was told of it.
    told_full: bool,
    failed: Option<String>,
    failures: u64,
}

/// What a sync brought.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Synced {
    /// It was not time yet, or there was nothing to do.
    NotDue,
    /// Everything is durable.
    Done,
    /// The disk is full; nothing new is durable.
    Full,
    /// The log failed just now.
    Failed(String),
}

impl Durability {
    /// Samples of an agent were appended; it waits for the acknowledgement.
    pub(crate) fn frame_appended(&mut self, now: Timestamp) {
        self.wait(now + FRAME_WAIT);
    }

    /// Samples were pushed; who pushes sends nothing more until they are acknowledged.
    pub(crate) fn write_appended(&mut self, now: Timestamp) {
        self.wait(now + WRITE_WAIT);
    }

    /// Our own samples were appended.
    pub(crate) fn own_appended(&mut self, now: Timestamp) {
        self.wait(now + OWN_WAIT);
    }

    fn wait(&mut self, until: Timestamp) {
        if !self.full {
            self.due = Some(self.due.map_or(until, |due| due.min(until)));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.due.filter(|_| self.failed.is_none())
    }

    /// The store takes nothing until more of it is in blocks: it is looked at again soon.
    pub(crate) fn found_behind(&mut self, now: Timestamp) {
        self.wait(now + FULL_RETRY);
    }

    /// The store has no room even in memory: syncs are what will tell when there is some again.
    pub(crate) fn found_full(&mut self, now: Timestamp) {
        self.full = true;
        self.due.get_or_insert(now + FULL_RETRY);
    }

    /// Syncs if that is due.
    pub(crate) fn sync<D: Disk>(&mut self, now: Timestamp, store: &mut Store<D>, facts: &mut Vec<Fact>) -> Synced {
        if self.failed.is_some() || !self.is_due(now, store) {
            return Synced::NotDue;
        }
        match store.sync() {
            Ok(()) => self.succeeded(facts),
            Err(SyncError::Full) => {
                self.failures += 1;
                self.full = true;
                if !std::mem::replace(&mut self.told_full, true) {
                    let message = "the disk is full but for what is left for the collector's own state: nothing is acknowledged until \
                         there is space, agents keep their samples";
                    let kept_free = store.min_free_bytes();
                    facts.push(Fact::new(Level::Error, message).with("kept_free_bytes", kept_free));
                }
                self.due = Some(now + FULL_RETRY);
                Synced::Full
            }
            Err(SyncError::Failed(reason)) => {
                self.failures += 1;
                self.failed = Some(reason.clone());
                Synced::Failed(reason)
            }
        }
    }

    fn is_due<D: Disk>(&self, now: Timestamp, store: &Store<D>) -> bool {
        let Some(due) = self.due else { return false };
        due <= now || (!self.full && store.pending().bytes as u64 >= ENOUGH_BYTES)
    }

    fn succeeded(&mut self, facts: &mut Vec<Fact>) -> Synced {
        self.due = None;
        self.full = false;
        if std::mem::take(&mut self.told_full) {
            facts.push(Fact::new(Level::Info, "the disk has space again: samples are acknowledged"));
        }
        Synced::Done
    }
}
