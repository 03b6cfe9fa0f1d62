//! Why a member is or was held for silent: who suspected it, on which paths it was tried, and how that ended.

use serde::{Deserialize, Serialize};

use super::NodeId;
use crate::time::Timestamp;

/// A way on which a probe may reach a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProbePath {
    /// A datagram of its own.
    Udp,
    /// Datagrams through other members.
    Indirect,
    /// A TCP connection.
    Tcp,
}

impl ProbePath {
    /// Every path, in the order in which they are tried.
    pub const ALL: [Self; 3] = [Self::Udp, Self::Indirect, Self::Tcp];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Indirect => "indirect",
            Self::Tcp => "tcp",
        }
    }
}

/// How a suspicion ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SuspicionEnd {
    /// The member objected: it was alive.
    Refuted,
    /// It stayed silent until the time of suspicion was up, here or at another member.
    Confirmed,
    /// Its host answered that nobody listens.
    Refused,
    /// It said goodbye.
    Left,
    /// It was back in a new life before it was confirmed.
    Restarted,
}

impl SuspicionEnd {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refuted => "refuted",
            Self::Confirmed => "confirmed",
            Self::Refused => "refused",
            Self::Left => "left",
            Self::Restarted => "restarted",
        }
    }
}

/// A member whose own probes of a suspect failed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Suspecter {
    pub id: NodeId,
    /// Its name, or its id where the name is not known.
    pub name: String,
    /// When the answering node learnt of it, by that node's clock.
    pub at: Timestamp,
    /// The paths on which it tried in vain.
    pub paths: Vec<ProbePath>,
}

/// One time that a member was held for silent.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Suspicion {
    pub since: Timestamp,
    /// Who suspected it, in the order in which that became known; those who only passed the news on are not named.
    pub by: Vec<Suspecter>,
    /// When it ended; `None` while it lasts.
    pub until: Option<Timestamp>,
    pub end: Option<SuspicionEnd>,
}
