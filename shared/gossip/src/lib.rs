//! Membership: who is in the cluster, told by peers (SWIM, over an unmodified `foca`) and decided as a pure machine.
//!
//! [`Gossip`] takes datagrams, the results of what it asked for and the time, and answers with effects: datagrams to
//! send, changes of members, what to keep on disk. Around foca it adds what foca lacks: joining by address for ever,
//! renewal above what peers remember, anti-entropy, metadata, leaving as a state of its own, Lifeguard (local health,
//! suspicion that confirmations shorten, the buddy system), evidence about a silent member and its host, and the
//! isolation guard.
//!
//! It deliberately does not: open sockets, resolve names, send datagrams of more than [`MAX_DATAGRAM_BYTES`], or trust a
//! packet that does not decode as a whole.
//!
//! Invariants:
//! - equal inputs and an equal seed give equal effects;
//! - an identity that was declared down never comes back alive; a returning node raises its generation;
//! - no packet, however formed, grows memory beyond the bounds of this crate or stops the machine;
//! - one listed item per node id, and the view of the own node is part of it.
//!
//! [`MAX_DATAGRAM_BYTES`]: watchfire_shared::limits::MAX_DATAGRAM_BYTES

mod announced;
mod bucket;
mod codec;
mod conditions;
mod config;
mod contacts;
mod detector;
mod envelope;
mod gossip;
mod identity;
mod keyring;
mod note;
mod packet;
mod place;
mod pools;
mod rotation;
mod schedule;
mod stats;
mod view;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod tests;

pub use announced::{MetadataError, check_metadata};
pub use config::{ConfigError, GossipConfig, Pace, Peer, Profile};
pub use gossip::{Admission, Contact, Effect, Gossip, HostAnswer, Input, Stranger};
pub use keyring::{GossipKey, KeyError, MAX_GOSSIP_KEYS};
pub use pools::{Merged, Pools};
pub use rotation::{KeyOp, KeyRefusal};
pub use stats::Stats;
pub use view::{Forgotten, NameConflict, Removal, RemovalReason};
