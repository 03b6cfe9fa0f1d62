//! The store: its sources, its log and its head, kept in step.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::frame::message::Position;
use watchfire_shared::time::Timestamp;

mod stream;

mod memory;

mod append;

mod local;

pub(crate) mod partial;

mod retention;

#[cfg(test)]
mod tests;

use crate::disk::Disk;
use crate::error::{AppendError, Recovery, StoreError, SyncError};
use crate::options::Options;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::wal::record::{self, Record};
use crate::wal::{Wal, recovery};
use memory::Memory;
use stream::Stream;

/// The collector's samples: a log on disk and everything in it at hand in memory. One thread owns it.
pub struct Store<D: Disk> {
    options: Options,
    wal: Wal<D>,
    memory: Memory,
    /// Sources with records that no sync has covered, each once.
    touched: Vec<Source>,
    oldest_pending: Option<Timestamp>,
    /// Rows up to this number were in segments that are gone.
    dropped_up_to: u64,
}

/// What waits for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub bytes: usize,
    /// The time that came with the first of the pending appends.
    pub oldest: Option<Timestamp>,
}

/// How much there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stats {
    pub series: usize,
    pub sources: usize,
    pub segments: usize,
    pub wal_bytes: u64,
    pub pending_bytes: usize,
}

impl<D: Disk> Store<D> {
    /// Reads the log and goes on behind it.
    ///
    /// A torn tail is cut, damage elsewhere set aside; [`Recovery`] names both. Replaying holds one segment's bytes
    /// beside what the store holds anyway.
    ///
    /// # Errors
    /// If the disk cannot be used, or a file was written by a newer version. Nothing was lost by the attempt.
    pub fn open(disk: D, options: Options) -> Result<(Self, Recovery), StoreError> {
        let mut memory = Memory::default();
        let (wal, recovery) = recovery::open(disk, &mut memory)?;
        memory.streams.values_mut().for_each(Stream::settle);
        let store = Self { options, wal, memory, touched: Vec::new(), oldest_pending: None, dropped_up_to: 0 };
        Ok((store, recovery))
    }

    /// A view of everything appended so far, durable or not, that never changes. Costs three reference counts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.memory.head.index.clone(), Arc::clone(&self.memory.head.timelines))
    }

    /// What waits for [`sync`](Self::sync).
    #[must_use]
    pub fn pending(&self) -> Pending {
        Pending { bytes: self.wal.pending.len(), oldest: self.oldest_pending }
    }

    /// Makes everything appended so far durable, with one write and one sync of the disk. Afterwards, and not before,
    /// it may be acknowledged up to [`durable`](Self::durable).
    ///
    /// # Errors
    /// In either case nothing that is pending counts as durable. After [`SyncError::Full`] it stays pending, and calling
    /// this again is the way to try again: what had been written in part is cut off, and all of it goes to a new
    /// segment. [`SyncError::Failed`] is final, since a disk that failed to sync says nothing reliable any more.
    pub fn sync(&mut self) -> Result<(), SyncError> {
        if self.wal.recover()? {
            self.move_pending();
        }
        self.wal.commit(self.options.segment_bytes, self.options.min_free_bytes)?;
        for source in self.touched.drain(..) {
            if let Some(stream) = self.memory.streams.get_mut(&source) {
                stream.settle();
            }
        }
        self.oldest_pending = None;
        Ok(())
    }

    /// The pending records are to go to a new segment, where their sources' states have to precede them.
    fn move_pending(&mut self) {
        let mut states = Vec::new();
        for source in &self.touched {
            let Some(stream) = self.memory.streams.get_mut(source) else { continue };
            stream.segment = self.wal.active_number();
            if let Some(committed) = &stream.committed {
                record::put(&mut states, &Record::State(committed.to_record(source)));
            }
        }
        self.wal.set_preamble(states);
    }

    /// The last position of the source that is durable.
    #[must_use]
    pub fn durable(&self, source: &Source) -> Option<Position> {
        self.memory.streams.get(source).and_then(|stream| stream.durable)
    }

    /// The last position of the source that was appended.
    #[must_use]
    pub fn last(&self, source: &Source) -> Option<Position> {
        self.memory.streams.get(source).and_then(|stream| stream.wire.last)
    }

    /// The time of the source's last row; the next one has to be later.
    #[must_use]
    pub fn last_at(&self, source: &Source) -> Option<Timestamp> {
        self.memory.streams.get(source).and_then(|stream| stream.wire.last_at)
    }

    /// Every source that the store knows of, sorted.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.memory.streams.keys()
    }

    /// How much there is.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            series: self.memory.head.series(),
            sources: self.memory.streams.len(),
            segments: self.wal.segments(),
            wal_bytes: self.wal.bytes(),
            pending_bytes: self.wal.pending.len(),
        }
    }

    /// Whether records can be taken at all.
    fn accepting(&self) -> Result<(), AppendError> {
        if let Some(reason) = self.wal.failure() {
            return Err(AppendError::Failed(reason.to_owned()));
        }
        if self.wal.pending.len() >= self.options.max_pending_bytes { Err(AppendError::Full) } else { Ok(()) }
    }
}

/// Before a source's next record: keeps what its state was at the last sync, and writes the state to a segment that
/// does not have it.
fn prepare<D: Disk>(wal: &mut Wal<D>, touched: &mut Vec<Source>, stream: &mut Stream) {
    if stream.committed.is_none() {
        stream.committed = Some(stream.wire.clone());
        touched.push(stream.source.clone());
    }
    if stream.segment != wal.active_number() {
        stream.segment = wal.active_number();
        record::put(&mut wal.pending, &Record::State(stream.wire.to_record(&stream.source)));
    }
}

type Streams = BTreeMap<Source, Stream>;
