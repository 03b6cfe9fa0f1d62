//! The write-ahead log: numbered segments of checked records, written in groups.
//!
//! A segment is written by this process alone and only while nothing went wrong with it: after a failed write or sync,
//! and after every start, writing goes on in a new one. So only the end of the last segment can be torn.
//!
//! It knows records as bytes; what they mean, and that a segment stands alone, is the store's to keep.

use std::collections::VecDeque;
use std::io;

use watchfire_shared::time::Timestamp;

use crate::disk::{Disk, DiskFile, is_full};
use crate::error::SyncError;

pub(crate) mod record;

pub(crate) mod segment;

pub(crate) mod recovery;

/// The folder of the segments.
pub(crate) const FOLDER: &str = "wal";

/// What a closed segment holds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
    pub(crate) reach: Reach,
}

/// How far records go: the number of the last row, and the times of the earliest and the latest.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reach {
    pub(crate) last_order: u64,
    pub(crate) times: Option<(Timestamp, Timestamp)>,
}

impl Reach {
    pub(crate) fn add(&mut self, order: u64, at: Timestamp) {
        self.merge(Self { last_order: order, times: Some((at, at)) });
    }

    fn merge(&mut self, other: Self) {
        self.last_order = self.last_order.max(other.last_order);
        self.times = match (self.times, other.times) {
            (Some((from, to)), Some((other_from, other_to))) => Some((from.min(other_from), to.max(other_to))),
            (own, other) => own.or(other),
        };
    }
}

enum Health {
    Good,
    /// A write or sync failed for lack of space; the segment must be cut back and left before anything else.
    Full,
    Failed(String),
}

pub(crate) struct Wal<D> {
    pub(crate) disk: D,
    /// Oldest first.
    closed: VecDeque<Segment>,
    active: Segment,
    /// The active segment's file, made by its first sync.
    file: Option<Box<dyn DiskFile>>,
    /// Whole records that no sync has covered.
    pub(crate) pending: Vec<u8>,
    pending_reach: Reach,
    /// State records that have to precede `pending` because it moved to a new segment.
    preamble: Vec<u8>,
    health: Health,
}

impl<D: Disk> Wal<D> {
    /// A log that goes on after these segments.
    pub(crate) fn after(disk: D, closed: Vec<Segment>, next_number: u64) -> Self {
        Self {
            disk,
            closed: closed.into(),
            active: Segment { number: next_number, bytes: 0, reach: Reach::default() },
            file: None,
            pending: Vec::new(),
            pending_reach: Reach::default(),
            preamble: Vec::new(),
            health: Health::Good,
        }
    }

    /// The segment that the next record goes to.
    pub(crate) fn active_number(&self) -> u64 {
        self.active.number
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        match &self.health {
            Health::Failed(reason) => Some(reason),
            Health::Good | Health::Full => None,
        }
    }

    /// Notes that the record just put into `pending` holds a row.
    pub(crate) fn note_row(&mut self, order: u64, at: Timestamp) {
        self.pending_reach.add(order, at);
    }

    /// Length of all segments, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }

    /// Length of the segments after this one, bytes.
    pub(crate) fn bytes_after(&self, number: u64) -> u64 {
        let closed = self.closed.iter().filter(|segment| segment.number > number);
        closed.map(|segment| segment.bytes).sum::<u64>() + self.active.bytes
    }

    /// The latest time in the first segment that has rows: about when the log begins, since what comes late does not
    /// come alone.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.closed.iter().find_map(|segment| segment.reach.times).map(|(_, to)| to)
    }

    pub(crate) fn segments(&self) -> usize {
        self.closed.len() + usize::from(self.active.bytes > 0)
    }

    pub(crate) fn oldest(&self) -> Option<&Segment> {
        self.closed.front()
    }

    /// Removes the oldest closed segment's file.
    pub(crate) fn drop_oldest(&mut self) -> io::Result<()> {
        if let Some(segment) = self.closed.front() {
            // Not synced: should the name come back after a crash, the segment is dropped again.
            self.disk.remove(&segment::path(segment.number))?;
            self.closed.pop_front();
        }
        Ok(())
    }

    /// Lets the next record start a new segment. Only while nothing is pending, and not behind what a failed write has
    /// left.
    pub(crate) fn roll(&mut self) {
        debug_assert!(self.pending.is_empty(), "pending records belong to the active segment");
        if self.active.bytes > 0 && matches!(self.health, Health::Good) {
            self.closed.push_back(self.active);
            self.active = Segment { number: self.active.number + 1, bytes: 0, reach: Reach::default() };
            self.file = None;
        }
    }

    /// After a failed write: cuts the segment back to what is known to be durable and leaves it. Returns whether the
    /// pending records have moved to a new segment and need a [preamble](Self::set_preamble).
    pub(crate) fn recover(&mut self) -> Result<bool, SyncError> {
        match &self.health {
            Health::Good => return Ok(false),
            Health::Failed(reason) => return Err(SyncError::Failed(reason.clone())),
            Health::Full => {}
        }
        self.cut_back().map_err(|error| self.failed("cut back", &error))?;
        self.active.number += u64::from(self.active.bytes == 0);
        self.health = Health::Good;
        let pending = std::mem::take(&mut self.pending);
        self.roll();
        self.pending = pending;
        self.file = None;
        Ok(true)
    }

    fn cut_back(&self) -> io::Result<()> {
        if let (true, Some(file)) = (self.active.bytes > 0, &self.file) {
            file.set_length(self.active.bytes)?;
            return file.sync();
        }
        match self.disk.remove(&segment::path(self.active.number)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed.and_then(|()| self.disk.sync_folder(FOLDER)),
        }
    }

    pub(crate) fn set_preamble(&mut self, records: Vec<u8>) {
        self.preamble = records;
    }

    /// Makes all pending records durable with one write and one sync.
    ///
    /// On an error they stay pending.
    pub(crate) fn commit(&mut self, segment_bytes: u64, min_free_bytes: u64) -> Result<(), SyncError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let size = (self.preamble.len() + self.pending.len() + segment::HEADER_BYTES) as u64;
        let free = self.disk.free_bytes().map_err(|error| self.failed("measure", &error))?;
        if free < min_free_bytes.saturating_add(size) {
            // Nothing was written, so the segment is still good.
            return Err(SyncError::Full);
        }
        let written = self.write().map_err(|error| self.failed("write", &error))?;
        self.active.bytes += written;
        self.active.reach.merge(std::mem::take(&mut self.pending_reach));
        self.pending.clear();
        self.preamble = Vec::new();
        if self.active.bytes >= segment_bytes {
            self.roll();
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<u64> {
        if let Some(file) = &self.file {
            file.write_at(self.active.bytes, &self.pending)?;
            file.sync()?;
            return Ok(self.pending.len() as u64);
        }
        let file = self.file.insert(self.disk.create(&segment::path(self.active.number))?);
        let mut bytes = segment::header().to_vec();
        bytes.extend_from_slice(&self.preamble);
        bytes.extend_from_slice(&self.pending);
        file.write_at(0, &bytes)?;
        file.sync()?;
        self.disk.sync_folder(FOLDER)?;
        Ok(bytes.len() as u64)
    }

    fn failed(&mut self, action: &str, error: &io::Error) -> SyncError {
        if is_full(error) {
            self.health = Health::Full;
            return SyncError::Full;
        }
        let reason = format!("cannot {action} {}: {error}", segment::path(self.active.number));
        self.health = Health::Failed(reason.clone());
        SyncError::Failed(reason)
    }
}
