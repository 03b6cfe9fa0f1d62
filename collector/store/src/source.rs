//! Sources: streams with one timestamp column each.

use std::fmt;

use watchfire_shared::frame::message::Lane;
use watchfire_shared::member::NodeId;

/// One stream with one timestamp column, one dictionary and one sequence.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Source {
    /// A lane of an agent.
    Agent(NodeId, Lane),
    /// A stream of the collector's own, by name: a rule group, the members, the collector itself.
    Local(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agent(id, Lane::Live) => write!(f, "agent {id} live"),
            Self::Agent(id, Lane::Backfill) => write!(f, "agent {id} backfill"),
            Self::Local(name) => write!(f, "local {name:?}"),
        }
    }
}
