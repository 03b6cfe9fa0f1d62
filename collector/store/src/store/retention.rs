//! What is dropped, and when.

use std::sync::Arc;

use watchfire_shared::time::{Span, Timestamp};

use super::Store;
use crate::disk::Disk;
use crate::error::StoreError;
use crate::wal::segment;

/// A segment is left for a new one once it spans this part of the retention, so that data on a quiet system goes at
/// most so much too late.
const SEGMENT_SHARE_OF_RETENTION: i64 = 16;

impl<D: Disk> Store<D> {
    /// Drops what is older than the retention and what is beyond the log's size: whole segments, and what the head has
    /// of them. A series without data leaves the index, and a source without data is forgotten with its position.
    ///
    /// To be called every now and then, best right after a sync. With nothing to do it looks at one number per source.
    /// Returns how many segments were dropped.
    ///
    /// # Errors
    /// If a file cannot be removed; the next call tries again.
    pub fn maintain(&mut self, now: Timestamp) -> Result<usize, StoreError> {
        let cutoff = now - self.options.retention;
        let share = Span::from_millis(self.options.retention.as_millis() / SEGMENT_SHARE_OF_RETENTION);
        if self.wal.pending.is_empty() && self.wal.active_since().is_some_and(|since| since < now - share) {
            self.wal.roll();
        }
        let dropped = self.drop_segments(cutoff)?;
        self.drop_rows(cutoff);
        Ok(dropped)
    }

    fn drop_segments(&mut self, cutoff: Timestamp) -> Result<usize, StoreError> {
        let mut dropped = 0;
        while let Some(oldest) = self.wal.oldest() {
            let expired = oldest.reach.times.is_none_or(|(_, newest)| newest < cutoff);
            if !expired && self.wal.bytes() <= self.options.max_wal_bytes {
                break;
            }
            let (path, last_order) = (segment::path(oldest.number), oldest.reach.last_order);
            self.wal.drop_oldest().map_err(|error| StoreError::Io { action: "remove", path, error })?;
            self.dropped_up_to = self.dropped_up_to.max(last_order);
            dropped += 1;
        }
        Ok(dropped)
    }

    fn drop_rows(&mut self, cutoff: Timestamp) {
        let head = &mut self.memory.head;
        let up_to = self.dropped_up_to;
        self.memory.streams.retain(|_, stream| {
            head.drop_old(stream.id, cutoff, up_to, &stream.wire.layout);
            if !head.is_empty(stream.id) {
                return true;
            }
            stream.shown = Arc::default();
            let expired = stream.wire.last_at.is_some_and(|last| last < cutoff);
            if expired && stream.committed.is_none() {
                head.remove_source(stream.id, &stream.wire.layout);
                return false;
            }
            true
        });
    }
}
