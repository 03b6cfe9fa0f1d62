//! What is dropped, and when.

use watchfire_shared::time::Timestamp;

use super::{Event, Maintenance, Store};
use crate::block;
use crate::disk::Disk;
use crate::error::StoreError;

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
        self.drop_segments(cutoff)?;
        self.drop_rows(cutoff);
        Ok(())
    }

    fn drop_blocks(&mut self, cutoff: Timestamp, events: &mut Vec<Event>) -> Result<(), StoreError> {
        while let Some(oldest) = self.blocks.list().iter().min_by_key(|block| block.footer.last) {
            let (number, expired) = (oldest.footer.number, oldest.footer.last < cutoff.as_millis());
            if !expired && self.blocks.bytes().saturating_add(self.wal.bytes()) <= self.options.max_bytes {
                break;
            }
            if self.is_merging(number) {
                self.discard_job();
            }
            self.blocks.remove(&self.wal.disk, number)?;
            self.counters.dropped_blocks += 1;
            events.push(Event::Dropped { path: block::path(number), expired });
        }
        Ok(())
    }

    /// What is in no block goes too when all of it is older than the retention, or when there are no blocks left to make
    /// room.
    fn drop_segments(&mut self, cutoff: Timestamp) -> Result<(), StoreError> {
        while let Some(oldest) = self.wal.oldest().copied() {
            let expired = oldest.reach.times.is_some_and(|(_, newest)| newest < cutoff);
            if !expired && self.wal.bytes() <= self.options.max_bytes {
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
