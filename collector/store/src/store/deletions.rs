//! Deleting what is kept before its time, and the standing deletions' own life.
//!
//! A deletion stands while a block may have something of it. Whether one has is found out by looking into it, once; what
//! stands longest and is written out by merges ends with them.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use super::Store;
use super::memory::Memory;
use crate::block::{Block, Range};
use crate::deletion::{self, Deletion, MAX_STANDING, Standing, deletable};
use crate::disk::Disk;
use crate::error::{AppendError, DeleteError, SyncError};
use crate::index::SourceId;
use crate::wal::record::{self, Record};

/// Series of a block times deletions that one call looks for in it: that many values of a label may be compared.
const SERIES_PER_CALL: usize = 1 << 18;

/// How many deletions one call looks for in the block: so many that it takes some tens of milliseconds.
pub(super) fn deletions_per_call(block: &Block) -> usize {
    (SERIES_PER_CALL / block.footer.series.max(1) as usize).max(1)
}

#[derive(Default)]
pub(super) struct Deletions {
    pub(super) standing: Standing,
    /// Of each the blocks that were looked into, and whether they have something of it.
    looked: Vec<BTreeMap<u64, bool>>,
    /// The segment of the log that has, or with the next sync will have, all of them.
    pub(super) segment: u64,
    /// What those count that the log has behind the last record of all that stand.
    logged: usize,
    /// Above the numbers of all blocks that any deletion was told to concern.
    pub(super) before: u64,
    /// Blocks below this number are to be written anew, if they have something of one.
    pub(super) clean_before: u64,
}

impl Deletions {
    /// Those that a block may have something of.
    pub(super) fn of(&self, block: &Block) -> Vec<Arc<Deletion>> {
        let may_have = |(deletion, looked): &(&Arc<Deletion>, &BTreeMap<u64, bool>)| {
            deletion.concerns(&block.footer) && looked.get(&block.footer.number) != Some(&false)
        };
        self.standing.iter().zip(&self.looked).filter(may_have).map(|(deletion, _)| Arc::clone(deletion)).collect()
    }

    /// Takes one more, which may make others needless.
    pub(super) fn add(&mut self, deletion: Arc<Deletion>) {
        self.before = self.before.max(deletion.before);
        self.retain(|other, _| !deletion.includes(other));
        Arc::make_mut(&mut self.standing).push(deletion);
        self.looked.push(BTreeMap::new());
    }

    /// Takes these and no others.
    pub(super) fn replace(&mut self, deletions: Vec<Arc<Deletion>>) {
        self.before = deletions.iter().map(|deletion| deletion.before).fold(self.before, u64::max);
        self.looked = vec![BTreeMap::new(); deletions.len()];
        self.standing = Arc::new(deletions);
    }

    fn retain(&mut self, keep: impl Fn(&Deletion, &BTreeMap<u64, bool>) -> bool) {
        let kept: Vec<bool> =
            self.standing.iter().zip(&self.looked).map(|(deletion, looked)| keep(deletion, looked)).collect();
        if kept.iter().all(|kept| *kept) {
            return;
        }
        let is_kept = |at: usize| kept[at];
        let standing = self.standing.iter().enumerate().filter(|(at, _)| is_kept(*at)).map(|(_, own)| Arc::clone(own));
        self.standing = Arc::new(standing.collect());
        let mut at = 0;
        self.looked.retain(|_| {
            at += 1;
            is_kept(at - 1)
        });
    }
}

impl Memory {
    /// Takes what these deletions select out of the head, and keeps them.
    pub(super) fn delete(&mut self, deletions: Vec<Arc<Deletion>>) {
        let range_of = |deletion: &Deletion| (deletion.range.from, deletion.range.to);
        for deletions in deletions.chunk_by(|a, b| range_of(a) == range_of(b)) {
            self.delete_from_head(deletions, range_of(&deletions[0]));
        }
        deletions.into_iter().for_each(|deletion| self.deletions.add(deletion));
    }

    /// All that they select in one pass, since it costs a copy of chunks.
    fn delete_from_head(&mut self, deletions: &[Arc<Deletion>], range: (i64, i64)) {
        let selected = deletions.iter().map(|deletion| self.head.index.select(&deletion.matchers));
        let selected = selected.fold(RoaringBitmap::new(), |all, own| all | own);
        let mut by_source: BTreeMap<SourceId, RoaringBitmap> = BTreeMap::new();
        for series in selected {
            let Some(entry) = self.head.index.get(series) else { continue };
            entry.sources.iter().for_each(|source| {
                by_source.entry(source).or_default().insert(series);
            });
        }
        for stream in self.streams.values() {
            if let Some(series) = by_source.get(&stream.id) {
                self.head.delete(stream.id, series, range, [&stream.wire.layout, &stream.wire.shown]);
            }
        }
    }
}

impl<D: Disk> Store<D> {
    /// Deletes what each of the selectors selects within the times, both ends included. What comes later stays, of
    /// whatever time it is. Snapshots that were taken before keep what they have.
    ///
    /// It is durable then, and with it everything that was pending. Costs a copy of what the head has of the sources of
    /// these series; what blocks have is hidden, and removed from disk by later merges.
    ///
    /// # Errors
    /// Nothing was deleted. After [`DeleteError::Unsynced`] it may be, should the log be opened again.
    pub fn delete(&mut self, selectors: &[Vec<Matcher>], from: Timestamp, to: Timestamp) -> Result<(), DeleteError> {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        if selectors.is_empty() || range.from > range.to {
            return Ok(());
        }
        let before = self.blocks.next_number();
        let selectors: Vec<Vec<Matcher>> = deletable(selectors.iter().cloned().map(Ok::<_, DeleteError>))?;
        let of = |matchers| Arc::new(Deletion { matchers, range, before });
        let new: Vec<Arc<Deletion>> = selectors.into_iter().map(of).collect();
        // What makes room does not wait for it.
        self.accepting(u64::MAX).map_err(|error| match error {
            AppendError::Failed(reason) => SyncError::Failed(reason),
            _ => SyncError::Full,
        })?;
        let ends = self.end_deletions();
        let standing = &self.memory.deletions.standing;
        let remaining = standing.iter().filter(|old| !new.iter().any(|new| new.includes(old)));
        let remaining: usize = remaining.map(|old| old.weight()).sum();
        if (!ends || self.is_concerned(&new[0])) && remaining + deletion::weight(&new) > MAX_STANDING {
            return Err(DeleteError::TooMany { standing: deletion::weight(standing), limit: MAX_STANDING });
        }
        self.log_standing();
        if self.memory.deletions.logged >= MAX_STANDING {
            self.put_standing();
        }
        let pending = self.wal.pending.len();
        record::put(&mut self.wal.pending, &Record::Delete(new.clone()));
        if let Err(error) = self.sync() {
            self.wal.pending.truncate(pending);
            // The segment may have a part of the record, or all of it, and must not be closed with that.
            self.recover()?;
            return Err(error.into());
        }
        self.memory.deletions.logged += deletion::weight(&new);
        self.memory.delete(new);
        self.end_deletions();
        Ok(())
    }

    /// Asks for the merges that remove from disk what has been deleted so far. They are made by
    /// [`maintain`](Self::maintain), between others; a restart forgets that they were asked for.
    pub fn clean_deleted(&mut self) {
        self.memory.deletions.clean_before = self.blocks.next_number();
    }

    /// Puts all standing deletions into a segment that has not got them yet.
    pub(super) fn log_standing(&mut self) {
        if self.memory.deletions.segment != self.wal.active_number() && !self.memory.deletions.standing.is_empty() {
            self.put_standing();
        }
        self.memory.deletions.segment = self.wal.active_number();
    }

    /// Tells the log which stand, and so which do not any more: a replay does not look into blocks, and would gather all
    /// that a segment has.
    fn put_standing(&mut self) {
        let deletions = &mut self.memory.deletions;
        record::put(&mut self.wal.pending, &Record::Standing(deletions.standing.to_vec()));
        deletions.logged = 0;
    }

    /// Whether a block, or one that is being made, may have something of the deletion.
    fn is_concerned(&self, deletion: &Deletion) -> bool {
        self.has_unlooked(deletion, &BTreeMap::new())
            || self.mover.cut_number().is_some_and(|own| own < deletion.before)
    }

    fn has_unlooked(&self, deletion: &Deletion, looked: &BTreeMap<u64, bool>) -> bool {
        let may_have = |block: &Arc<Block>| looked.get(&block.footer.number) != Some(&false);
        self.blocks.list().iter().any(|block| deletion.concerns(&block.footer) && may_have(block))
    }

    /// Forgets deletions of which no block has anything. Returns whether any can end now.
    pub(super) fn end_deletions(&mut self) -> bool {
        if self.memory.deletions.standing.is_empty() {
            return true;
        }
        // A block that may come back with a power failure has to find them.
        if self.blocks.settle(&self.wal.disk).is_err() {
            return false;
        }
        let mut deletions = std::mem::take(&mut self.memory.deletions);
        deletions.retain(|deletion, looked| {
            let is_made = self.mover.cut_number().is_some_and(|own| own < deletion.before);
            is_made || self.has_unlooked(deletion, looked)
        });
        self.memory.deletions = deletions;
        true
    }

    /// Looks into one block for what deletions select, for so many of them that it takes some tens of milliseconds.
    /// Returns whether there was a block to look into.
    pub(super) fn look_for_deleted(&mut self) -> bool {
        let Deletions { standing, looked, .. } = &mut self.memory.deletions;
        for block in self.blocks.list().iter() {
            let number = block.footer.number;
            let is_new = |at: &usize| standing[*at].concerns(&block.footer) && !looked[*at].contains_key(&number);
            let new: Vec<usize> = (0..standing.len()).filter(is_new).take(deletions_per_call(block)).collect();
            if new.is_empty() {
                continue;
            }
            let found = block.may_have(new.iter().map(|at| &standing[*at]));
            new.into_iter().zip(found).for_each(|(at, found)| {
                looked[at].insert(number, found);
            });
            return true;
        }
        false
    }

    /// Once all is clean, what is deleted later waits until somebody asks again.
    pub(super) fn end_cleaning(&mut self) {
        if self.to_clean().is_none() {
            self.memory.deletions.clean_before = 0;
        }
    }

    /// A block to be written anew without what was deleted of it, because somebody asked for it or because half of the
    /// deletions that there may be stand.
    pub(super) fn to_clean(&self) -> Option<Arc<Block>> {
        let deletions = &self.memory.deletions;
        let many = deletion::weight(&deletions.standing) > MAX_STANDING / 2;
        let clean_before = if many { u64::MAX } else { deletions.clean_before };
        let has = |number: u64| deletions.looked.iter().any(|looked| looked.get(&number) == Some(&true));
        let due = |block: &&Arc<Block>| block.footer.number < clean_before && has(block.footer.number);
        self.blocks.list().iter().find(due).cloned()
    }
}
