//! The collector's own series: `up`, the membership, and what the collector counts of itself.
//!
//! [`fleet`] keeps what is known of every node, from gossip and from its own frames, and decides `up`; [`freshness`]
//! decides whether a restarted collector may judge yet; [`write`] turns both into samples. Samples are written at every
//! self interval, and at once for a node whose membership or `up` changed, so that rules can be evaluated at once.
//!
//! Nothing here stores or evaluates; the engine appends what is written here like any other samples.

pub(crate) mod fleet;

pub(crate) mod freshness;

pub(crate) mod node;

pub(crate) mod write;

use watchfire_shared::labels::Labels;

/// Samples of one time: series and value.
pub(crate) type Samples = Vec<(Labels, f64)>;
