//! How history moves from the log and the head to blocks, and from small blocks to larger ones.
//!
//! A *mark* ends a segment of the log: what was appended before it is to go. A while later, so that the newest minutes
//! stay at hand in memory, the head's rows up to the mark are written as one block for each stretch of time they are
//! of; once the last of those is durable, the rows leave the head and the segments the log.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use watchfire_shared::time::{Span, Timestamp};

use super::blocks::failed;
use super::job::Job;
use super::{Event, Store, prepare};
use crate::block::{self, Block};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::options::Options;
use crate::wal::segment;

/// Values that one call handles, about: some tens of milliseconds.
const VALUES_PER_CALL: usize = 1 << 18;
/// How long after its mark a cut begins, as a part of the time between marks: rules look back that far without reading
/// the disk.
const DELAY_SHARE: i64 = 8;
/// After a failure nothing is tried for so long.
const RETRY: Span = Span::from_seconds(60);
/// After a sync that failed it is left to the log's owner for so long.
const SYNC_RETRY: Span = Span::from_seconds(1);
/// Blocks of one stretch of time are merged at this number even if they are unequal or the stretch is not over.
const MANY: usize = 16;
/// A stretch that is over is merged again once its smaller blocks have this part of the largest one's size.
const WORTH: u64 = 4;

/// Up to where the log and the head go to blocks.
#[derive(Clone, Copy, Debug)]
struct Mark {
    segment: u64,
    order: u64,
    at: Timestamp,
}

/// What is being moved.
#[derive(Default)]
pub(super) struct Mover {
    mark: Option<Mark>,
    /// When the last mark was made.
    marked_at: Option<Timestamp>,
    /// Stretches of time that the current cut has still to write.
    windows: VecDeque<Range<i64>>,
    cutting: bool,
    job: Option<Job>,
    not_before: Option<Timestamp>,
}

impl Mover {
    /// The number of the block that is being made of the head. One that is made of blocks has no more than they.
    pub(super) fn cut_number(&self) -> Option<u64> {
        self.job.as_ref().filter(|job| job.inputs().is_empty()).map(Job::number)
    }
}

impl<D: Disk> Store<D> {
    /// Does a part of what is to be done; returns whether there is more.
    pub(super) fn move_on(&mut self, now: Timestamp, events: &mut Vec<Event>) -> Result<bool, StoreError> {
        // Beside all else, and also while that fails: how many deletions there may be depends on it.
        let looked = self.look_for_deleted();
        if self.mover.not_before.is_some_and(|at| now < at) {
            return Ok(looked);
        }
        let moved = self.try_to_move(now, looked, events);
        if moved.is_err() {
            self.mover.not_before = Some(now + RETRY);
            self.discard_job();
        }
        moved
    }

    fn try_to_move(&mut self, now: Timestamp, looked: bool, events: &mut Vec<Event>) -> Result<bool, StoreError> {
        self.mark(now);
        if self.log_holds(2) && self.mover.mark.is_some() && self.mover.cut_number().is_none() {
            // A merge can be made again, and who waits for the cut does not wait for it.
            self.discard_job();
        }
        if self.mover.job.is_none() && !self.begin(now, looked)? {
            return Ok(false);
        }
        let Some(job) = &mut self.mover.job else { return Ok(true) };
        let path = block::path(job.number());
        let written = job.work(&self.memory, VALUES_PER_CALL).map_err(failed("write", &path))?;
        if written {
            self.end_job(events)?;
        }
        Ok(true)
    }

    /// Ends a segment and the rows before it, if it is time.
    fn mark(&mut self, now: Timestamp) {
        let span = self.options.cut_span();
        let window = |at: Timestamp| at.as_millis().div_euclid(span.as_millis());
        let since = *self.mover.marked_at.get_or_insert_with(|| self.wal.since().unwrap_or(now).min(now));
        let much = self.log_holds(1);
        if much && let Some(mark) = &mut self.mover.mark {
            mark.at = mark.at.min(now);
        }
        if self.mover.mark.is_some() || (window(since) >= window(now) && !much) {
            return;
        }
        // A segment ends between records that are durable, and with nothing that a failed write has left behind them.
        // Whether they are durable is for the log's owner to know.
        if self.sync().is_err() {
            self.mover.not_before = Some(now + SYNC_RETRY);
            return;
        }
        self.mover.marked_at = Some(now);
        self.wal.roll();
        let segment = self.wal.active_number() - 1;
        if segment <= self.covered {
            return;
        }
        for stream in self.memory.streams.values() {
            self.memory.head.seal(stream.id);
        }
        // Much data cannot wait for the minutes that are kept at hand.
        let delay = if much { Span::ZERO } else { Span::from_millis(span.as_millis() / DELAY_SHARE) };
        self.mover.mark = Some(Mark { segment, order: self.memory.head.order, at: now + delay });
    }

    /// Begins the next block, if there is one to make; of others not while it is still being found out what is deleted.
    fn begin(&mut self, now: Timestamp, looked: bool) -> Result<bool, StoreError> {
        if let Some(mark) = self.mover.mark.filter(|mark| mark.at <= now) {
            if !self.mover.cutting {
                self.mover.cutting = true;
                self.mover.windows = self.windows_up_to(mark.order);
            }
            let Some(window) = self.mover.windows.front().cloned() else {
                // There was no row at all; the log has only what is not worth a block.
                self.leave_log(mark)?;
                return Ok(true);
            };
            let number = self.blocks.take_number();
            let job = Job::cut(&self.wal.disk, number, &self.memory, mark.order, window);
            self.mover.job = Some(job.map_err(failed("make", &block::path(number)))?);
            return Ok(true);
        }
        self.end_deletions();
        if looked {
            return Ok(true);
        }
        self.end_cleaning();
        let inputs = self.to_merge(now);
        if inputs.is_empty() || !self.has_room_for(&inputs) {
            return Ok(false);
        }
        let number = self.blocks.take_number();
        let deletions = inputs.iter().map(|block| self.memory.deletions.of(block)).collect();
        let job = Job::merge(&self.wal.disk, number, inputs, deletions);
        self.mover.job = Some(job.map_err(failed("make", &block::path(number)))?);
        Ok(true)
    }

    /// The stretches of time that the head's rows up to this one are of.
    fn windows_up_to(&self, order: u64) -> VecDeque<Range<i64>> {
        let span = self.options.window_span().as_millis();
        let chunks = self.memory.head.timelines.iter().flat_map(|timeline| timeline.sealed());
        let old = chunks.filter(|chunk| chunk.last_order() <= order);
        let windows: BTreeSet<i64> = old.flat_map(|chunk| chunk.times()).map(|at| at.div_euclid(span)).collect();
        let range = |window: i64| window.saturating_mul(span)..window.saturating_add(1).saturating_mul(span);
        windows.into_iter().map(range).collect()
    }

    fn end_job(&mut self, events: &mut Vec<Event>) -> Result<(), StoreError> {
        let Some(job) = self.mover.job.take() else { return Ok(()) };
        let (inputs, path) = (job.inputs().to_vec(), block::path(job.number()));
        let unwritten = failed("write", &path);
        if inputs.is_empty() {
            let (Some(mark), last) = (self.mover.mark, self.mover.windows.len() == 1) else { return Ok(()) };
            let block = self.finish(job, if last { mark.segment } else { self.covered }).map_err(unwritten)?;
            events.push(Event::Cut { path, samples: block.footer.samples, bytes: block.bytes });
            self.counters.cuts += 1;
            self.blocks.add(block);
            self.mover.windows.pop_front();
            return if last { self.leave_log(mark) } else { Ok(()) };
        }
        let wal_through = inputs.iter().map(|block| block.footer.wal_through).max().unwrap_or_default();
        let merged = if job.is_empty() {
            self.discard(job);
            None
        } else {
            Some(self.finish(job, wal_through).map_err(unwritten)?)
        };
        let written = merged.as_ref().map_or(0, |block| block.footer.samples);
        let before: u64 = inputs.iter().map(|block| block.footer.samples).sum();
        // What was deleted is missing, too, but nobody misses it.
        let is_exact = inputs.len() == 1 && self.memory.deletions.of(&inputs[0]).is_empty();
        let lost = is_exact.then(|| before.saturating_sub(written));
        if let Some(block) = merged {
            let from = inputs.len();
            events.push(Event::Merged { path, blocks: from, samples: block.footer.samples, bytes: block.bytes });
            self.counters.merges += 1;
            self.blocks.add(block);
        }
        for input in inputs {
            self.retire_block(&input, lost, events)?;
        }
        Ok(())
    }

    fn finish(&mut self, job: Job, wal_through: u64) -> std::io::Result<Block> {
        let number = job.number();
        job.finish(&self.wal.disk, wal_through).inspect_err(|_| {
            let _ = self.wal.disk.remove(&block::new_path(number));
            self.blocks.remove_unknown(&self.wal.disk, number);
        })
    }

    /// Removes a block whose content is in another one, or sets it aside if not all of it could be read.
    fn retire_block(&mut self, block: &Block, lost: Option<u64>, events: &mut Vec<Event>) -> Result<(), StoreError> {
        let number = block.footer.number;
        match block.fault() {
            None => self.blocks.remove(&self.wal.disk, number),
            Some(reason) => {
                let mut kept = self.blocks.set_aside(&self.wal.disk, number, reason.to_owned())?;
                kept.lost_samples = lost;
                self.counters.quarantined += 1;
                Arc::make_mut(&mut self.damaged).push(kept.clone());
                events.push(Event::Quarantined(kept));
                Ok(())
            }
        }
    }

    /// All rows up to the mark are in blocks: they leave the head, and their segments the log.
    fn leave_log(&mut self, mark: Mark) -> Result<(), StoreError> {
        self.covered = self.covered.max(mark.segment);
        (self.mover.mark, self.mover.cutting) = (None, false);
        let head = &mut self.memory.head;
        for stream in self.memory.streams.values_mut() {
            head.drop_old(stream.id, Timestamp::MIN, mark.order, [&stream.wire.layout, &stream.wire.shown]);
            // Nothing came since, and nothing is shown that would have to be marked stale: its series need no memory.
            if head.is_empty(stream.id) && stream.segment <= mark.segment && stream.wire.shown.len() == 0 {
                stream.forget_dictionary(head);
            }
        }
        self.drop_covered()
    }

    /// Removes the segments whose rows are in blocks.
    pub(super) fn drop_covered(&mut self) -> Result<(), StoreError> {
        self.drop_through(self.covered)
    }

    /// Removes closed segments up to this one. Before that, what only they say of a source is written anew.
    pub(super) fn drop_through(&mut self, last: u64) -> Result<(), StoreError> {
        if self.wal.oldest().is_none_or(|oldest| oldest.number > last) || self.wal.failure().is_some() {
            return Ok(());
        }
        for stream in self.memory.streams.values_mut().filter(|stream| stream.segment <= last) {
            prepare(&mut self.wal, &mut self.touched, stream);
        }
        if self.memory.deletions.segment <= last {
            self.log_standing();
        }
        if self.sync().is_err() {
            // The log's owner is told by its own syncs; the segments stay until the sources' states are elsewhere.
            return Ok(());
        }
        while let Some(oldest) = self.wal.oldest().filter(|oldest| oldest.number <= last) {
            let path = segment::path(oldest.number);
            self.dropped_up_to = self.dropped_up_to.max(oldest.reach.last_order);
            self.wal.drop_oldest().map_err(failed("remove", &path))?;
        }
        Ok(())
    }

    /// Blocks that are better one; none if there are none.
    fn to_merge(&self, now: Timestamp) -> Vec<Arc<Block>> {
        // A damaged block is written anew, less what cannot be read.
        if let Some(damaged) = self.blocks.list().iter().find(|block| block.fault().is_some()) {
            return vec![Arc::clone(damaged)];
        }
        if let Some(block) = self.to_clean().map(|block| vec![block]).filter(|block| self.has_room_for(block)) {
            return block;
        }
        for (level, span) in self.options.levels().into_iter().enumerate() {
            let window = |at: i64| at.div_euclid(span.as_millis());
            let whole =
                self.blocks.list().iter().filter(|block| window(block.footer.first) == window(block.footer.last));
            let mut windows: BTreeMap<i64, Vec<Arc<Block>>> = BTreeMap::new();
            whole.for_each(|block| windows.entry(window(block.footer.first)).or_default().push(Arc::clone(block)));
            windows.values_mut().for_each(|blocks| self.options.keep_neighbours(blocks));
            let is_due = |(at, blocks): &(i64, Vec<Arc<Block>>)| {
                let over =
                    now.as_millis().saturating_sub(self.options.cut_span().as_millis()) >= (at + 1) * span.as_millis();
                let largest = blocks.iter().map(|block| block.bytes).max().unwrap_or_default();
                let others = blocks.iter().map(|block| block.bytes).sum::<u64>() - largest;
                let many = level == 0 && blocks.len() >= MANY;
                blocks.len() > 1 && (many || (over && others.saturating_mul(WORTH) >= largest))
            };
            if let Some((_, blocks)) = windows.into_iter().find(is_due) {
                return blocks;
            }
        }
        Vec::new()
    }

    /// Whether a copy of the blocks fits beside them.
    fn has_room_for(&self, inputs: &[Arc<Block>]) -> bool {
        let bytes: u64 = inputs.iter().map(|block| block.bytes).sum();
        let free = self.wal.disk.free_bytes().unwrap_or_default();
        free >= self.options.min_free_bytes.saturating_add(bytes)
    }

    pub(super) fn discard_job(&mut self) {
        if let Some(job) = self.mover.job.take() {
            self.discard(job);
        }
    }

    fn discard(&self, job: Job) {
        let path = block::new_path(job.number());
        drop(job);
        // What is left is removed by the next start.
        let _ = self.wal.disk.remove(&path);
    }

    /// Whether a cut that is due would begin now.
    pub(super) fn may_begin_cut(&self, now: Timestamp) -> bool {
        self.mover.mark.is_none_or(|mark| mark.at > now) && self.mover.not_before.is_none_or(|at| at <= now)
    }

    /// Bytes of the block that is being made.
    pub(super) fn job_bytes(&self) -> u64 {
        self.mover.job.as_ref().map_or(0, Job::bytes)
    }

    /// The blocks that a merge is reading.
    pub(super) fn is_merging(&self, number: u64) -> bool {
        self.mover.job.as_ref().is_some_and(|job| job.inputs().iter().any(|block| block.footer.number == number))
    }
}

impl Options {
    /// Time between two marks.
    fn cut_span(&self) -> Span {
        let share = Span::from_millis(self.retention.as_millis() / 8);
        self.block_span.min(share).max(Span::from_millis(1))
    }

    /// Leaves neighbours in time, as many as one merge may read. What lies between two blocks has to go with them: the
    /// oldest end is dropped first, and their common one is the later.
    fn keep_neighbours(&self, blocks: &mut Vec<Arc<Block>>) {
        blocks.sort_by_key(|block| (block.footer.first, block.footer.last));
        let sizes: Vec<u64> = blocks.iter().map(|block| block.bytes).collect();
        let run = longest_run(&sizes, self.merge_bytes());
        *blocks = blocks.drain(run).collect();
    }

    /// How long blocks are once merged, level by level. Each is a small part of the retention, since a block is dropped
    /// as a whole.
    fn levels(&self) -> Vec<Span> {
        let most = self.retention.as_millis() / 4;
        let cut = self.cut_span().as_millis();
        let first = [12, 4].into_iter().map(|times| cut.saturating_mul(times)).find(|span| *span <= most);
        let spans = std::iter::successors(first, |span| span.checked_mul(8).filter(|span| *span <= most));
        spans.map(Span::from_millis).collect()
    }

    /// The stretches of time that a cut is divided by, so that late rows do not make a block long.
    fn window_span(&self) -> Span {
        self.levels().first().copied().unwrap_or_else(|| self.cut_span())
    }
}

/// The longest run of sizes that are at most so much together; the first of several.
fn longest_run(sizes: &[u64], most: u64) -> Range<usize> {
    let (mut longest, mut begin, mut sum) = (0..0, 0, 0u64);
    for (at, size) in sizes.iter().enumerate() {
        sum = sum.saturating_add(*size);
        while sum > most {
            sum -= sizes[begin];
            begin += 1;
        }
        if at + 1 - begin > longest.len() {
            longest = begin..at + 1;
        }
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::longest_run;

    #[test]
    fn a_merge_reads_the_longest_run_that_fits() {
        assert_eq!(longest_run(&[1, 9, 1, 1, 1, 8, 2], 10), 2..5);
        assert_eq!(longest_run(&[11, 3, 12], 10), 1..2);
        assert_eq!(longest_run(&[4, 4, 4, 4], 8), 0..2);
        assert_eq!(longest_run(&[20, 30], 10), 0..0);
        assert_eq!(longest_run(&[], 10), 0..0);
    }
}
