//! What an agent notes of its own life: it ran, it was stopped, its host slept, no collector heard it.
//!
//! A collector sees of a node only what reaches it. For the time in which it was away, or cut off, the agent's own
//! journal says what was; the collector asks for the part that it has not seen and fills its history with it.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Why an agent ended whose host did not: the host's boot is the same as before.
pub const AGENT_DIED: &str = "the agent was killed or crashed, the host stayed up";

/// What an agent was doing from a moment on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifeState {
    /// It runs, and a collector hears it or has not been missed for long.
    Running,
    /// It runs, and no collector hears it.
    CutOff,
    /// Neither it nor its host did anything: a machine that slept or was frozen.
    Suspended,
    /// It was stopped in good order.
    Stopped,
    /// It ended without having been stopped: killed, crashed, or its host lost its power. The time is its last sign of
    /// life.
    Ended,
    /// A state of a newer version.
    #[serde(other)]
    Unknown,
}

impl LifeState {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::CutOff => "cut_off",
            Self::Suspended => "suspended",
            Self::Stopped => "stopped",
            Self::Ended => "ended",
            Self::Unknown => "unknown",
        }
    }
}

/// One entry of the journal. It holds until the next one.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LifeNote {
    /// Strictly rises from note to note, also over a lost data directory: it is at least the time of writing in
    /// milliseconds since 1970.
    pub seq: u64,
    /// Since when, by the agent's clock. Never decreases from note to note.
    pub at: Timestamp,
    pub state: LifeState,
    /// Why, for people; may be empty.
    #[serde(default)]
    pub reason: String,
}

/// Part of the journal, oldest first.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Life {
    #[serde(default)]
    pub notes: Vec<LifeNote>,
}

/// A collector asks for the journal: what is there already, and what comes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LifeWanted {
    /// The last note that is durable at the collector; 0 if there is none.
    #[serde(default)]
    pub after: u64,
}
