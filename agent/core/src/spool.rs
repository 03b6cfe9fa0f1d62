//! The spool: an append-only log of ticks that some collector lacks, in segments, with one cursor per collector.
//!
//! This is its policy: what is appended, when a segment is full, which one goes when the log is too large, and what each
//! collector still needs. The bytes are on a disk that whoever performs the [`SpoolEffect`]s keeps.
//!
//! Invariants: sequences rise from record to record and are never used twice within an epoch; ticks rise in time; a
//! segment is deleted only when no collector needs it or the log is above its cap, and then the oldest goes and what it
//! held is counted.

mod cursor;

pub(crate) mod reader;

mod record;

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use watchfire_shared::frame::body::Coding;
use watchfire_shared::frame::message::{Lane, Position};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use crate::lane::{LaneEncoder, Values};
pub(crate) use cursor::Cursor;
pub use record::SegmentScan;

/// A segment is closed at this size. Small enough that dropping one loses little, large enough that 64 MiB are 64 files.
const SEGMENT_BYTES: u64 = 1 << 20;
/// What may wait in memory while the disk takes nothing.
pub const MAX_SPOOL_RAM_BYTES: u64 = 2 << 20;
/// How long a collector that is not seen any more is kept in mind: as long as gossip remembers the dead.
const REMEMBER: Span = Span::from_seconds(24 * 3600);
/// Collectors kept in mind. An agent sends to three.
const MAX_CURSORS: usize = 16;
/// Records at the end of the log whose place in the live lane is kept in memory.
const RECENT: usize = 256;
/// Sequences skipped at each start. A machine that lost its power may have sent records that its disk then forgot; their
/// sequences must not be given to others. At ten ticks a second a start would have to lose a day of records.
const SKIP_AT_START: u64 = 1 << 20;
/// How long appended bytes may wait to be made durable.
const SYNC_EVERY: Span = Span::from_seconds(10);

/// What the disk of the spool has to do, in this order.
#[derive(Clone, PartialEq, Debug)]
pub enum SpoolEffect {
    /// Append to a segment; the first append makes it.
    Append {
        segment: u64,
        bytes: Vec<u8>,
    },
    /// Read up to `length` bytes at `offset`; the answer is an input with the same connection, segment and offset.
    Read {
        connection: u64,
        segment: u64,
        offset: u64,
        length: usize,
    },
    Delete {
        segment: u64,
    },
    /// Replace the state file.
    Save {
        bytes: Vec<u8>,
    },
    /// Make everything before durable.
    Sync,
}

/// A segment that was found at the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FoundSegment {
    pub segment: u64,
    pub scan: SegmentScan,
}

/// What was found on disk at the start.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Found {
    /// In any order.
    pub segments: Vec<FoundSegment>,
    /// The state file's bytes.
    pub state: Option<Vec<u8>>,
}

#[derive(Serialize, Deserialize, Default)]
struct State {
    epoch: u64,
    cursors: Vec<(NodeId, Cursor)>,
}

#[derive(Clone, Debug)]
struct Segment {
    first: u64,
    last: u64,
    bytes: u64,
    first_live: Position,
}

/// The log and its cursors.
#[derive(Debug)]
pub(crate) struct Spool {
    epoch: u64,
    next_seq: u64,
    segments: VecDeque<Segment>,
    encoder: LaneEncoder,
    /// Whether the last segment may be appended to: those of an earlier life are not.
    open: bool,
    recent: VecDeque<(u64, Position)>,
    cursors: BTreeMap<NodeId, Cursor>,
    cap: u64,
    /// The cap while the disk takes nothing.
    degraded_cap: Option<u64>,
    dropped: u64,
    sync_at: Option<Timestamp>,
    saved: Vec<u8>,
}

impl Spool {
    /// Takes up what was found. `epoch` must be higher than that of any earlier start.
    pub(crate) fn open(found: Found, cap: u64, epoch: u64, effects: &mut Vec<SpoolEffect>) -> Self {
        let state: State =
            found.state.as_deref().and_then(|bytes| rmp_serde::from_slice(bytes).ok()).unwrap_or_default();
        let newest = found.segments.iter().filter_map(|segment| segment.scan.epoch).max();
        let mut segments = Vec::new();
        let mut dropped = 0;
        for FoundSegment { segment, scan } in found.segments {
            match (scan.first_seq, scan.last_seq, scan.first_live) {
                (Some(first), Some(last), Some(first_live)) if scan.epoch == newest && first == segment => {
                    segments.push(Segment { first, last, bytes: scan.valid_bytes, first_live });
                }
                _ => {
                    dropped += scan.first_seq.zip(scan.last_seq).map_or(0, |(first, last)| last - first + 1);
                    effects.push(SpoolEffect::Delete { segment });
                }
            }
        }
        segments.sort_by_key(|segment| segment.first);
        let (epoch, next_seq) = match (segments.last(), newest) {
            (Some(last), Some(epoch)) => (epoch, last.last + SKIP_AT_START),
            _ => (epoch.max(state.epoch + 1), 1),
        };
        let same = state.epoch == epoch;
        let mut cursors: BTreeMap<NodeId, Cursor> = state.cursors.into_iter().collect();
        for cursor in cursors.values_mut().filter(|_| !same) {
            cursor.next = 1;
        }
        Self {
            epoch,
            next_seq,
            segments: segments.into(),
            encoder: LaneEncoder::new(Lane::Backfill, Coding::Short),
            open: false,
            recent: VecDeque::new(),
            cursors,
            cap,
            degraded_cap: None,
            dropped,
            sync_at: None,
            saved: Vec::new(),
        }
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn set_cap(&mut self, cap: u64) {
        self.cap = cap;
    }

    /// Bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
    }

    /// Frames that were dropped because the log was full, or could not be taken up.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    pub(crate) fn is_degraded(&self) -> bool {
        self.degraded_cap.is_some()
    }

    /// Sequences from a cursor to the end of the log.
    pub(crate) fn waiting(&self, collector: NodeId) -> Option<(u64, u64)> {
        let first = self.place(self.cursors.get(&collector).map_or(1, |cursor| cursor.next))?;
        Some((first, self.segments.back()?.last))
    }

    /// Appends a tick.
    pub(crate) fn append(&mut self, now: Timestamp, live: Position, tick: Values<'_>, effects: &mut Vec<SpoolEffect>) {
        let mut bytes = Vec::new();
        let full = self.segments.back().is_none_or(|last| last.bytes >= SEGMENT_BYTES);
        if full || !self.open {
            self.encoder.restart();
            self.open = true;
            record::put_header(&mut bytes, self.epoch);
            let first = self.next_seq;
            self.segments.push_back(Segment { first, last: first, bytes: 0, first_live: live });
        }
        let mut frames = Vec::new();
        self.encoder.encode(Values { seq: self.next_seq, ..tick }, &mut frames);
        let Some(data) = frames.pop() else { return };
        frames.iter().for_each(|dict| record::put_dict(&mut bytes, dict));
        record::put_data(&mut bytes, live, &data);
        let Some(segment) = self.segments.back_mut() else { return };
        segment.last = self.next_seq;
        segment.bytes += bytes.len() as u64;
        effects.push(SpoolEffect::Append { segment: segment.first, bytes });
        self.recent.push_back((self.next_seq, live));
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        self.next_seq += 1;
        self.sync_at.get_or_insert(now + SYNC_EVERY);
        self.keep_below_cap(effects);
    }

    fn keep_below_cap(&mut self, effects: &mut Vec<SpoolEffect>) {
        let cap = self.degraded_cap.unwrap_or(self.cap);
        let mut bytes = self.bytes();
        while bytes > cap && self.segments.len() > 1 {
            let Some(oldest) = self.segments.pop_front() else { return };
            bytes -= oldest.bytes;
            self.dropped += oldest.last - oldest.first + 1;
            effects.push(SpoolEffect::Delete { segment: oldest.first });
        }
    }

    /// The disk takes nothing more: only so much may wait in memory, beside what is on disk already.
    pub(crate) fn degrade(&mut self, effects: &mut Vec<SpoolEffect>) {
        if self.degraded_cap.is_none() {
            self.degraded_cap = Some((self.bytes() + MAX_SPOOL_RAM_BYTES).min(self.cap));
            self.keep_below_cap(effects);
        }
    }

    /// The disk took what waited in memory.
    pub(crate) fn recover(&mut self) {
        self.degraded_cap = None;
    }

    /// The cursor of a collector, made at the beginning of the log for a new one.
    pub(crate) fn cursor(&mut self, now: Timestamp, collector: NodeId) -> &mut Cursor {
        let first = self.segments.front().map_or(self.next_seq, |segment| segment.first);
        let cursor = self.cursors.entry(collector).or_insert_with(|| Cursor::new(first, now));
        cursor.seen = now;
        cursor
    }

    /// The cursor of a collector that has one.
    pub(crate) fn known(&mut self, collector: NodeId) -> Option<&mut Cursor> {
        self.cursors.get_mut(&collector)
    }

    /// Whether a collector that was sent to is kept in mind beside those in `present`.
    pub(crate) fn remembers_others(&self, present: &[NodeId]) -> bool {
        self.cursors.keys().any(|collector| !present.contains(collector))
    }

    /// The first record at or after `seq`.
    fn place(&self, seq: u64) -> Option<u64> {
        let segment = self.segments.iter().find(|segment| segment.last >= seq)?;
        Some(seq.max(segment.first))
    }

    /// The first record at or after `seq`, and its place in the live lane if that is still known without reading.
    pub(crate) fn record(&self, seq: u64) -> Option<(u64, Option<Position>)> {
        let first = self.place(seq)?;
        let live = self.recent.binary_search_by_key(&first, |(seq, _)| *seq).ok().map(|at| self.recent[at].1);
        Some((first, live))
    }

    /// Moves a cursor over records that its collector has from the live lane, as far as that is known without reading;
    /// returns the first one that it lacks.
    pub(crate) fn advance(&mut self, collector: NodeId) -> Option<u64> {
        loop {
            let found = self.record(self.cursors.get(&collector)?.next);
            let next_seq = self.next_seq;
            let cursor = self.cursors.get_mut(&collector)?;
            let Some((first, live)) = found else {
                cursor.next = next_seq;
                return None;
            };
            cursor.next = first;
            if !live.is_some_and(|live| cursor.has(live)) {
                return Some(first);
            }
            cursor.next = first + 1;
        }
    }

    /// Deletes what nobody needs: `targets` are the collectors that are sent to, `None` for one whose id is not known yet.
    pub(crate) fn trim(
        &mut self,
        now: Timestamp,
        targets: &[Option<NodeId>],
        oldest_live: Position,
        effects: &mut Vec<SpoolEffect>,
    ) {
        for collector in targets.iter().flatten() {
            self.cursor(now, *collector);
        }
        self.cursors.retain(|_, cursor| now.since(cursor.seen) < REMEMBER);
        while self.cursors.len() > MAX_CURSORS {
            let longest_ago =
                self.cursors.iter().min_by_key(|(_, cursor)| cursor.seen).map(|(collector, _)| *collector);
            longest_ago.and_then(|collector| self.cursors.remove(&collector));
        }
        if targets.is_empty() || targets.contains(&None) {
            return;
        }
        let needed = self.cursors.values().map(|cursor| cursor.next).min().unwrap_or(0);
        while let Some(oldest) = self.segments.front().filter(|segment| segment.last < needed) {
            effects.push(SpoolEffect::Delete { segment: oldest.first });
            self.segments.pop_front();
        }
        let oldest = self.segments.front().map_or(oldest_live, |segment| segment.first_live.min(oldest_live));
        for cursor in self.cursors.values_mut() {
            cursor.prune(oldest);
        }
    }

    /// When [`Spool::sync`] is due.
    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        self.sync_at
    }

    /// Makes the log durable, and the cursors with it.
    pub(crate) fn sync(&mut self, effects: &mut Vec<SpoolEffect>) {
        self.sync_at = None;
        effects.push(SpoolEffect::Sync);
        self.save(effects);
    }

    /// Writes the cursors down if they changed.
    pub(crate) fn save(&mut self, effects: &mut Vec<SpoolEffect>) {
        let cursors = self.cursors.iter().map(|(collector, cursor)| (*collector, cursor.clone())).collect();
        let bytes = rmp_serde::to_vec_named(&State { epoch: self.epoch, cursors })
            .expect("plain structs always encode into memory");
        if bytes != self.saved {
            self.saved.clone_from(&bytes);
            effects.push(SpoolEffect::Save { bytes });
        }
    }

    /// Whether there is anything to send again.
    pub(crate) fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// The segment that holds `seq` or, if none does, the next one: its name and how many bytes it has.
    fn segment_of(&self, seq: u64) -> Option<(u64, u64)> {
        self.segments.iter().find(|segment| segment.last >= seq).map(|segment| (segment.first, segment.bytes))
    }

    /// The segment after `segment`.
    fn segment_after(&self, segment: u64) -> Option<u64> {
        self.segments.iter().map(|segment| segment.first).find(|first| *first > segment)
    }

    fn bytes_of(&self, segment: u64) -> Option<u64> {
        self.segments.iter().find(|own| own.first == segment).map(|own| own.bytes)
    }
}

#[cfg(test)]
mod tests;
