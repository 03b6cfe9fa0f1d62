//! The collector's store: a write-ahead log, a head in memory over it, and a small transactional state beside them.
//!
//! ```text
//! frame -> Store::append -> head (visible at once)  -> Snapshot -> rules, queries
//!                               |  cut every two hours    ^
//!                               v                         |
//!                             blocks on disk -> merged -> dropped by age and size
//!                        -> log buffer -> Store::sync -> durable -> acknowledge
//! ```
//!
//! A [`Source`] is one stream with one timestamp column: a lane of an agent, or a stream of the collector's own. What
//! an agent sent is what the log keeps, byte for byte, so appending encodes nothing anew; `FORMAT.md` beside this crate
//! describes every byte.
//!
//! Invariants:
//! - Nothing counts as durable before a sync that covered it succeeded. After a failed one nothing does until a later
//!   one wrote everything again, into a new segment.
//! - Every segment of the log stands alone: a source's first record in it is preceded by the source's whole state.
//! - A row is in the log until it is in a block that is durable.
//! - No damage to files makes [`Store::open`] panic or refuse; it is cut or set aside, and reported by name.
//! - All bytes pass through the [`Disk`] trait. This crate reads no clock and starts no thread.
//! - A [`Snapshot`] never changes and never makes a writer wait.
//!
//! It does not know what an alert or a rule is, does not decide when to sync or when to acknowledge, and adds no labels.
//!
//! The head holds what no block has yet, some two hours, so memory follows the number of series and not the retention.
//! All work that takes long is done by [`Store::maintain`], a few tens of milliseconds at a time, in the owner's thread.

pub mod disk;

mod source;

mod options;

mod error;

mod codec;

mod dint;

mod deletion;

mod wal;

mod block;

mod index;

mod head;

mod snapshot;

mod store;

mod feed;

mod state;

mod verify;

pub use deletion::deletable;
pub use disk::{CrashKeeps, Disk, DiskFile, RealDisk, SimDisk};
pub use error::{
    AppendError, DeleteError, DictionaryError, Quarantined, Recovery, Refusal, RefusedSlot, StateError, StoreError,
    SyncError,
};
pub use feed::{CopiedBlocks, Feed, RowSize};
pub use options::Options;
pub use snapshot::{Newest, SelectedSeries, Snapshot, Visitor};
pub use source::Source;
pub use state::{State, StateChange, StateRecovery};
pub use store::partial::SlotState;
pub use store::{Event, Maintenance, Pending, Stats, Store};
pub use verify::{FileFault, Verification, cut_torn_tail, verify, verify_state};
