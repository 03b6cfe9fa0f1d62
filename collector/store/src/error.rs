//! What can go wrong at the store's border, and what each error did to the state.

use std::io;

use watchfire_shared::frame::body::BodyError;
use watchfire_shared::frame::message::Position;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

/// Why the store cannot be opened. Nothing was changed that a later attempt would miss.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {action} {path}: {error}")]
    Io { action: &'static str, path: String, error: io::Error },
    #[error("{path} has format version {found}; this program reads up to version {known}: use a newer collector")]
    NewerFormat { path: String, found: u16, known: u16 },
}

/// What opening the store found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segments that were read.
    pub segments: usize,
    /// Records that were replayed.
    pub records: u64,
    /// Samples that were replayed, stale markers included; those that are in blocks are not.
    pub samples: u64,
    /// Bytes cut from the end of the last segment, which a crash had left unfinished.
    pub torn_bytes: u64,
    /// Intact records that contradict the ones before them and were skipped.
    pub refused_records: u64,
    /// Blocks that were opened.
    pub blocks: usize,
    /// Blocks that were damaged, and segments that were elsewhere than at the log's end.
    pub quarantined: Vec<Quarantined>,
}

/// A damaged file that was set aside. What could be read of it was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// The file's path before.
    pub path: String,
    /// Where it is kept for inspection.
    pub kept_as: String,
    /// What is wrong with it.
    pub reason: String,
    /// Bytes from the damage to the end, which were not read; of a block all of it.
    pub lost_bytes: u64,
    /// Earliest and latest time of what may be missing; the limits of time where nobody knows.
    pub from: Timestamp,
    pub to: Timestamp,
    /// How many samples are missing, if that is known.
    pub lost_samples: Option<u64>,
}

impl Quarantined {
    /// One of which nobody knows what it held.
    pub(crate) fn unknown(path: String, kept_as: String, reason: String, lost_bytes: u64) -> Self {
        let (from, to) = (Timestamp::MIN, Timestamp::MAX);
        Self { path, kept_as, reason, lost_bytes, from, to, lost_samples: None }
    }

    /// The times that it is about, as a person reads them.
    #[must_use]
    pub fn times(&self) -> String {
        times_of(self.from, self.to)
    }
}

pub(crate) fn times_of(from: Timestamp, to: Timestamp) -> String {
    match (from == Timestamp::MIN, to == Timestamp::MAX) {
        (true, true) => "of times that nobody knows".to_owned(),
        (true, false) => format!("up to {to}"),
        (false, true) => format!("from {from} on"),
        (false, false) => format!("from {from} to {to}"),
    }
}

/// Why a series of a dictionary was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the source has as many series as one may have")]
    SourceQuota,
    #[error("the source's names and values take as many bytes as they may")]
    DictionaryBytes,
    #[error("the store has as many series as it may have")]
    TotalQuota,
    #[error("the slot's number is above the limit")]
    SlotRange,
    #[error("the slot is taken")]
    SlotTaken,
    #[error("another slot of this source has the same labels")]
    SameLabels,
    #[error("it has no labels")]
    NoLabels,
}

/// One series of a dictionary that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedSlot {
    pub slot: u32,
    pub labels: Labels,
    pub reason: Refusal,
}

/// What is wrong with a dictionary.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DictionaryError {
    /// The other entries are in force; frames may carry the refused slots, whose values are ignored.
    #[error("{} series were refused, the first one, slot {} ({}), because {}", .0.len(),
        .0.first().map_or(0, |refused| refused.slot), .0.first().map(|refused| refused.labels.to_string()).unwrap_or_default(),
        .0.first().map(|refused| refused.reason.to_string()).unwrap_or_default())]
    Refused(Vec<RefusedSlot>),
    /// Nothing was changed.
    #[error("dictionary part {found} does not follow part {last}")]
    OutOfOrder { last: u32, found: u32 },
    /// Nothing was changed.
    #[error("{entries} entries came with {labels} label sets")]
    LabelCount { entries: usize, labels: usize },
    /// Nothing was changed.
    #[error("a local source keeps its own dictionary")]
    Local,
    /// Nothing was changed.
    #[error("the disk is full and the log's buffer too")]
    Full,
    /// Nothing was changed. It is to be tried again soon.
    #[error("more came than goes to blocks in time")]
    Behind,
    /// Nothing was changed.
    #[error("the log failed earlier: {0}")]
    Failed(String),
}

/// Why samples were not appended. Unless a variant says otherwise, nothing was changed but that, where a frame was
/// lost, the source now needs a keyframe.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AppendError {
    /// The frame is already here (durable or pending); no keyframe is needed.
    #[error("position {position:?} was appended before; the last one is {last:?}")]
    Duplicate { position: Position, last: Position },
    /// No frame is accepted before a keyframe.
    #[error("the source needs a keyframe")]
    NeedsKeyframe,
    #[error("the source has no dictionary")]
    NeedsDictionary,
    #[error("the frame was encoded after dictionary part {found}, the source is at part {expected}")]
    OtherDictionary { expected: u32, found: u32 },
    #[error("the frame has {found} slots, expected {expected}")]
    SlotCount { expected: usize, found: usize },
    #[error("time {at} is not after {last}")]
    NotAfter { at: Timestamp, last: Timestamp },
    #[error("malformed values: {0}")]
    Malformed(#[from] BodyError),
    /// Only of local sources; nothing was changed.
    #[error("two samples have the labels {0}")]
    SameLabels(Labels),
    /// Only of local sources; all other samples were appended.
    #[error("{} series were refused, the first one, {}, because {}", .0.len(),
        .0.first().map(|refused| refused.labels.to_string()).unwrap_or_default(),
        .0.first().map(|refused| refused.reason.to_string()).unwrap_or_default())]
    Refused(Vec<RefusedSlot>),
    #[error("the disk is full and the log's buffer too")]
    Full,
    /// It is to be tried again soon; nothing is lost meanwhile.
    #[error("more came than goes to blocks in time")]
    Behind,
    #[error("the log failed earlier: {0}")]
    Failed(String),
}

impl AppendError {
    /// Whether the same can be appended later, once there is room.
    #[must_use]
    pub fn is_for_now(&self) -> bool {
        matches!(self, Self::Full | Self::Behind)
    }
}

/// Why nothing was deleted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// Until merges have written out what was deleted, or [`Store::clean_deleted`](crate::Store::clean_deleted) was
    /// asked for it.
    #[error(
        "{standing} deletions, or regular expressions of them, wait until what they select is removed from disk; there \
         may be {limit}"
    )]
    TooMany { standing: usize, limit: usize },
    /// Of one call, whatever stands.
    #[error("one call may delete with {limit} selectors, one of several regular expressions counted as so many")]
    TooManyAtOnce { limit: usize },
    #[error("the selector takes {bytes} bytes; one that deletes may take {limit}")]
    TooLarge { bytes: usize, limit: usize },
    #[error("the selector has {found} {what}; one that deletes may have {limit}")]
    TooManyMatchers { found: usize, limit: usize, what: &'static str },
    /// It takes more memory than one that stays may take.
    #[error(transparent)]
    Costly(#[from] watchfire_shared::matcher::RegexError),
    #[error(transparent)]
    Unsynced(#[from] SyncError),
}

/// Why what is pending is not durable. Nothing of it may be acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SyncError {
    /// What is pending stays so, and the next sync tries again: it succeeds once there is space.
    #[error("the disk is full")]
    Full,
    /// The store accepts and acknowledges nothing any more; reads go on. It has to be opened again.
    #[error("the log failed: {0}")]
    Failed(String),
}

/// What is wrong with the small state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Nothing was changed; the next commit tries again.
    #[error("the disk is full")]
    Full,
    /// Nothing was changed; the next commit tries again.
    #[error("the state file cannot be used: {0}")]
    Failed(String),
    #[error(
        "the state file has format version {found}; this program reads up to version {known}: use a newer collector"
    )]
    NewerFormat { found: u32, known: u32 },
}
