//! What is dropped, and when.

use std::sync::Arc;

use watchfire_shared::time::Timestamp;

use super::{Event, Maintenance, Store};
use crate::block::{self, Block};
use crate::disk::Disk;
use crate::error::StoreError;
use crate::options::Options;

/// Who pushes has to wait once the log holds so many times what makes a block. It comes with what is old, too, and can
/// send it again at any time, so it waits first.
const PUSHES_WAIT: u64 = 2;
/// Agents have to; they keep their samples.
pub(super) const AGENTS_WAIT: u64 = 3;
/// So has everybody: at half of what log and blocks may take.
pub(super) const ALL_WAIT: u64 = 4;

impl<D: Disk> Store<D> {
    /// Moves history to blocks, merges blocks, and drops what is older than the retention and what is beyond the size. A
    /// series without data leaves the index, and a source without data is forgotten with its position.
    ///
    /// To be called every now and then, best right after a sync, and again soon while it is busy: one call takes some
    /// tens of milliseconds at most. With nothing to do it looks at one number per source and block.
    ///
    /// # Errors
    /// If a file cannot be made or removed; a later call tries again, and nothing is lost or missing meanwhile.
    pub fn maintain(&mut self, now: Timestamp) -> Result<Maintenance, StoreError> {
        let mut done = Maintenance::default();
        let maintained = self.maintain_all(now, &mut done);
        self.counters.failures += u64::from(maintained.is_err());
        maintained.map(|()| done)
    }

    fn maintain_all(&mut self, now: Timestamp, done: &mut Maintenance) -> Result<(), StoreError> {
        let cutoff = now - self.options.retention;
        self.drop_blocks(cutoff, &mut done.events)?;
        self.drop_covered()?;
        done.busy = self.move_on(now, &mut done.events)?;
        self.drop_blocks(cutoff, &mut done.events)?;
        self.drop_segments(cutoff)?;
        self.drop_rows(cutoff);
        self.note_damage(now, &mut done.events);
        Ok(())
    }

    /// Tells of damage that readers have met, once for each block, and forgets what is older than the retention.
    fn note_damage(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        for block in self.blocks.list().iter() {
            if let Some(reason) = block.fault_to_tell() {
                let (from, to) =
                    (Timestamp::from_millis(block.footer.first), Timestamp::from_millis(block.footer.last));
                events.push(Event::Damaged {
                    path: block::path(block.footer.number),
                    reason: reason.to_owned(),
                    from,
                    to,
                });
            }
        }
        let cutoff = now - self.options.retention;
        if self.damaged.iter().any(|kept| kept.to < cutoff || kept.to > now) {
            let kept = Arc::make_mut(&mut self.damaged);
            // Nothing that was lost is of the future.
            kept.iter_mut().for_each(|kept| kept.to = kept.to.min(now.max(kept.from)));
            kept.retain(|kept| kept.to >= cutoff);
        }
    }

    /// Whether more has come than goes to blocks in time: who pushes is to wait, and to try again soon.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.log_holds(PUSHES_WAIT)
    }

    /// Whether even agents are to wait for that, which keep their samples.
    #[must_use]
    pub fn keeps_agents_waiting(&self) -> bool {
        self.log_holds(AGENTS_WAIT)
    }

    /// Whether [`maintain`](Self::maintain) is to be called at once, because of how much has come, or because
    /// a reader has met damage.
    #[must_use]
    pub fn wants_maintenance(&self, now: Timestamp) -> bool {
        let is_new = |block: &Arc<Block>| block.has_fault_to_tell();
        (self.log_holds(1) && self.may_begin_cut(now)) || self.blocks.list().iter().any(is_new)
    }

    /// Whether so many times what makes a block are in the log and in none.
    pub(super) fn log_holds(&self, cuts: u64) -> bool {
        let bytes = self.wal.bytes_after(self.covered).saturating_add(self.wal.pending.len() as u64);
        bytes >= self.options.cut_bytes().saturating_mul(cuts)
    }

    /// What blocks may take beside the log, bytes. Half is theirs in any case: a log that is longer, because the limit
    /// was higher before, is about to be blocks.
    fn block_room(&self) -> u64 {
        let most = self.options.max_bytes;
        most.saturating_sub(self.wal.bytes()).max(most / 2)
    }

    fn drop_blocks(&mut self, cutoff: Timestamp, events: &mut Vec<Event>) -> Result<(), StoreError> {
        while let Some(oldest) = self.blocks.list().iter().min_by_key(|block| block.footer.last) {
            let (number, expired) = (oldest.footer.number, oldest.footer.last < cutoff.as_millis());
            if !expired && self.blocks.bytes().saturating_add(self.job_bytes()) <= self.block_room() {
                break;
            }
            let footer = &oldest.footer;
            let (samples, bytes) = (footer.samples, oldest.bytes);
            let (from, to) = (Timestamp::from_millis(footer.first), Timestamp::from_millis(footer.last));
            if self.is_merging(number) {
                self.discard_job();
            }
            self.blocks.remove(&self.wal.disk, number)?;
            self.counters.dropped_blocks += 1;
            self.counters.dropped_for_size_samples += if expired { 0 } else { samples };
            events.push(Event::Dropped { path: block::path(number), expired, samples, bytes, from, to });
        }
        Ok(())
    }

    /// What is in no block goes too when all of it is older than the retention, and never for its size: it may be newer
    /// than what blocks have.
    fn drop_segments(&mut self, cutoff: Timestamp) -> Result<(), StoreError> {
        while let Some(oldest) = self.wal.oldest().copied() {
            let expired = oldest.reach.times.is_some_and(|(_, newest)| newest < cutoff);
            if !expired {
                break;
            }
            self.drop_through(oldest.number)?;
            if self.wal.oldest().is_some_and(|still| still.number == oldest.number) {
                break;
            }
        }
        Ok(())
    }

    fn drop_rows(&mut self, cutoff: Timestamp) {
        let head = &mut self.memory.head;
        let up_to = self.dropped_up_to;
        self.memory.streams.retain(|_, stream| {
            head.drop_old(stream.id, cutoff, up_to, [&stream.wire.layout, &stream.wire.shown]);
            let expired = stream.wire.last_at.is_some_and(|last| last < cutoff);
            let forgotten = expired && head.is_empty(stream.id) && stream.committed.is_none();
            if forgotten {
                head.remove_source(stream.id, [&stream.wire.layout, &stream.wire.shown]);
            }
            !forgotten
        });
    }
}

impl Options {
    /// Bytes of the log at which the head is cut early. Two such parts may be in the log and one on its way to a block
    /// before pushes wait, which leaves most of the room to blocks.
    pub(super) fn cut_bytes(&self) -> u64 {
        self.max_head_bytes.min(self.max_bytes / 8).max(1)
    }

    /// How long a segment of the log may be, bytes.
    pub(super) fn most_of_segment(&self) -> u64 {
        self.segment_bytes.min(self.cut_bytes())
    }

    /// How much a merge may read, bytes. A block is dropped as a whole, and its copy takes room while it is made.
    pub(super) fn merge_bytes(&self) -> u64 {
        self.max_bytes / 8
    }
}
