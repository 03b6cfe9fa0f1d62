//! What the store's owner may choose.

use watchfire_shared::labels::Labels;
use watchfire_shared::limits::MAX_SERIES_PER_AGENT;
use watchfire_shared::time::Span;

/// Bounds of the store. Every one of them holds at all times, whatever arrives.
#[derive(Clone, Debug)]
pub struct Options {
    /// A segment of the log that has reached this length, bytes, is followed by a new one.
    pub segment_bytes: u64,
    /// How long samples are kept, by their own time. A block is dropped once all of it is older.
    pub retention: Span,
    /// How much log and blocks may take together, bytes; the oldest blocks go first. More than that may be there after a
    /// start with a lower limit, until the log has gone to blocks.
    pub max_bytes: u64,
    /// How much of the log makes a block, bytes, whatever the time. At an eighth of [`max_bytes`](Self::max_bytes) it does
    /// in any case. It bounds the memory, since a sample takes about as much in the head as in the log: with twice as
    /// much [pushes have to wait](crate::Store::is_behind), with three times as much agents, with four times as much
    /// everybody, until the block is made.
    pub max_head_bytes: u64,
    /// How much time a block has, and with it the head. At most an eighth of the retention.
    pub block_span: Span,
    /// Series in total. One costs about 1 KiB of memory. A twentieth is for the collector's own series and those that are
    /// [`essential`](Self::essential).
    pub max_series: usize,
    /// Series of one agent's dictionary, and slots of its frames. A twentieth is for those that are
    /// [`essential`](Self::essential).
    pub max_series_per_source: usize,
    /// Whether an agent's series is admitted even where others have taken all that is left to them.
    pub essential: fn(&Labels) -> bool,
    /// Bytes of all names and values in one source's dictionary. Ten thousand series of 1.6 KiB fit; without it a
    /// hostile agent could make each state record hundreds of megabytes.
    pub max_dictionary_bytes_per_source: usize,
    /// Records that wait for a sync, bytes. Reached only while the disk is full; then appends are refused.
    pub max_pending_bytes: usize,
    /// Space that is left free on the disk, bytes, so that the small state can still be written when the log cannot.
    pub min_free_bytes: u64,
}

/// Which part of a limit is kept free for what is essential.
const KEPT_FREE: usize = 20;

impl Options {
    /// Series that there may be in total, and in one agent's dictionary.
    pub(crate) fn series_limits(&self, essential: bool) -> (usize, usize) {
        let limit = |most: usize| if essential { most } else { most - most / KEPT_FREE };
        (limit(self.max_series), limit(self.max_series_per_source))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            retention: Span::from_seconds(15 * 86_400),
            max_bytes: 1 << 30,
            max_head_bytes: 256 << 20,
            block_span: Span::from_seconds(2 * 3600),
            max_series: 1_000_000,
            max_series_per_source: MAX_SERIES_PER_AGENT,
            essential: |_| false,
            max_dictionary_bytes_per_source: 16 << 20,
            max_pending_bytes: 64 << 20,
            min_free_bytes: 32 << 20,
        }
    }
}
