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

mod blocks;

mod deletions;

mod job;

mod cut;

mod retention;

#[cfg(test)]
mod tests;

use crate::block::Block;
use crate::deletion::Standing;
use crate::disk::Disk;
use crate::error::{AppendError, Quarantined, Recovery, StoreError, SyncError};
use crate::head::timeline::Timeline;
use crate::index::{Index, SourceId};
use crate::options::Options;
use crate::snapshot::Snapshot;
use crate::source::Source;
use crate::wal::record::{self, Record};
use crate::wal::{Wal, recovery};
use blocks::Blocks;
use cut::Mover;
use memory::Memory;
use stream::Stream;

/// The collector's samples: a log on disk with what is in it at hand in memory, and blocks of what came before. One
/// thread owns it.
pub struct Store<D: Disk> {
    options: Options,
    wal: Wal<D>,
    memory: Memory,
    blocks: Blocks,
    mover: Mover,
    counters: Counters,
    /// The rows of the log's segments up to this one are in blocks.
    covered: u64,
    /// Sources with records that no sync has covered, each once.
    touched: Vec<Source>,
    oldest_pending: Option<Timestamp>,
    /// Rows up to this number were in segments that are gone.
    dropped_up_to: u64,
    /// What was set aside, now or before, and is younger than the retention.
    damaged: Arc<Vec<Quarantined>>,
}

/// What waits for a sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pending {
    pub bytes: usize,
    /// The time that came with the first of the pending appends.
    pub oldest: Option<Timestamp>,
}

/// How much there is, and what was done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Series that are in memory: those with samples since the last block, or in a dictionary that is in use.
    pub series: usize,
    pub sources: usize,
    pub segments: usize,
    pub wal_bytes: u64,
    pub pending_bytes: usize,
    pub blocks: usize,
    pub block_bytes: u64,
    /// Samples in blocks.
    pub block_samples: u64,
    /// Blocks that were cut from the head.
    pub cuts: u64,
    /// Blocks that were made of others.
    pub merges: u64,
    /// Blocks that were dropped for their age or size.
    pub dropped_blocks: u64,
    /// Samples of blocks that were dropped for the size of all, before their time.
    pub dropped_for_size_samples: u64,
    /// Damaged files that were set aside, those of the start included.
    pub quarantined: u64,
    /// Attempts to make or remove a file that failed, for lack of space or otherwise; each is made again.
    pub failures: u64,
    /// Deletions of which blocks still have something on disk.
    pub deletions: usize,
}

/// What maintenance did that somebody may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The head's older rows became a block.
    Cut { path: String, samples: u64, bytes: u64 },
    /// Blocks became one.
    Merged { path: String, blocks: usize, samples: u64, bytes: u64 },
    /// A block was dropped: it is older than the retention, or there was too much. Its samples were of `from` to `to`.
    Dropped { path: String, expired: bool, samples: u64, bytes: u64, from: Timestamp, to: Timestamp },
    /// A reader met damage in a block, which is written anew and then set aside.
    Damaged { path: String, reason: String, from: Timestamp, to: Timestamp },
    /// A damaged block was set aside.
    Quarantined(Quarantined),
}

/// What one call of [`Store::maintain`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Maintenance {
    pub events: Vec<Event>,
    /// Whether there is more to do: it is to be called again soon.
    pub busy: bool,
}

#[derive(Default)]
struct Counters {
    cuts: u64,
    merges: u64,
    dropped_blocks: u64,
    dropped_for_size_samples: u64,
    quarantined: u64,
    failures: u64,
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
        let mut recovery = Recovery::default();
        let mut damaged = blocks::set_aside_before(&disk)?;
        damaged.extend(recovery::set_aside_before(&disk)?);
        let mut blocks = Blocks::open(&disk, &mut recovery.quarantined)?;
        recovery.blocks = blocks.list().len();
        let covered = blocks.wal_through();
        let mut memory = Memory::after(covered, blocks.last_order());
        let (wal, recovery) = recovery::open(disk, &mut memory, recovery, covered)?;
        memory.streams.values_mut().for_each(Stream::settle);
        memory.head.end_replay();
        blocks.skip_to(memory.deletions.before);
        // A segment that could not be moved for lack of space was read again.
        damaged.retain(|old| recovery.quarantined.iter().all(|new| new.kept_as != old.kept_as));
        damaged.extend(recovery.quarantined.iter().cloned());
        let mut store = Self {
            options,
            wal,
            memory,
            blocks,
            mover: Mover::default(),
            counters: Counters { quarantined: recovery.quarantined.len() as u64, ..Counters::default() },
            covered,
            touched: Vec::new(),
            oldest_pending: None,
            dropped_up_to: 0,
            damaged: Arc::new(damaged),
        };
        store.end_deletions();
        Ok((store, recovery))
    }

    /// A view of everything appended so far, durable or not, that never changes. Costs a few reference counts.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let head = &self.memory.head;
        let (timelines, blocks) = (Arc::clone(&head.timelines), Arc::clone(self.blocks.list()));
        let damaged = Arc::clone(&self.damaged);
        Snapshot::new(head.index.clone(), timelines, blocks, Arc::clone(&self.memory.deletions.standing), damaged)
    }

    /// Files that were set aside, at this start or before, whose samples are within the retention.
    #[must_use]
    pub fn damaged(&self) -> &Arc<Vec<Quarantined>> {
        &self.damaged
    }

    /// What a [`Feed`](crate::Feed) is made of.
    pub(crate) fn feed_parts(&self) -> FeedParts {
        let sources = self.memory.streams.iter().map(|(source, stream)| (source.clone(), stream.id)).collect();
        let head = &self.memory.head;
        let (blocks, deletions) = (Arc::clone(self.blocks.list()), Arc::clone(&self.memory.deletions.standing));
        (head.index.clone(), Arc::clone(&head.timelines), blocks, sources, deletions)
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
        self.recover()?;
        if !self.wal.pending.is_empty() {
            self.log_standing();
        }
        self.wal.commit(self.options.most_of_segment(), self.options.min_free_bytes)?;
        for source in self.touched.drain(..) {
            if let Some(stream) = self.memory.streams.get_mut(&source) {
                stream.settle();
            }
        }
        self.oldest_pending = None;
        Ok(())
    }

    /// After a sync that failed for lack of space: cuts off what it had written, so that the next one may write again.
    fn recover(&mut self) -> Result<(), SyncError> {
        if self.wal.recover()? {
            self.move_pending();
        }
        Ok(())
    }

    /// The pending records are to go to a new segment, where their sources' states have to precede them.
    fn move_pending(&mut self) {
        let mut states = Vec::new();
        self.memory.deletions.segment = self.wal.active_number();
        if !self.memory.deletions.standing.is_empty() {
            record::put(&mut states, &Record::Standing(self.memory.deletions.standing.to_vec()));
        }
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

    /// Space on the disk that is left to the small state, bytes: with less than that it counts as full.
    #[must_use]
    pub fn min_free_bytes(&self) -> u64 {
        self.options.min_free_bytes
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
            blocks: self.blocks.list().len(),
            block_bytes: self.blocks.bytes(),
            block_samples: self.blocks.list().iter().map(|block| block.footer.samples).sum(),
            cuts: self.counters.cuts,
            merges: self.counters.merges,
            dropped_blocks: self.counters.dropped_blocks,
            dropped_for_size_samples: self.counters.dropped_for_size_samples,
            quarantined: self.counters.quarantined,
            failures: self.counters.failures,
            deletions: self.memory.deletions.standing.len(),
        }
    }

    /// Whether records can be taken at all, where the log may hold `cuts` times what makes a block.
    fn accepting(&self, cuts: u64) -> Result<(), AppendError> {
        if let Some(reason) = self.wal.failure() {
            return Err(AppendError::Failed(reason.to_owned()));
        }
        if self.wal.pending.len() >= self.options.max_pending_bytes {
            return Err(AppendError::Full);
        }
        if self.log_holds(cuts) { Err(AppendError::Behind) } else { Ok(()) }
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

type FeedParts = (Index, Arc<Vec<Arc<Timeline>>>, Arc<Vec<Arc<Block>>>, BTreeMap<Source, SourceId>, Standing);
