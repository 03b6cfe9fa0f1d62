//! Conditions of a member that have a name: it lives, and something about it is wrong all the same.

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// What may be wrong about a member.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConditionName {
    /// It answers over TCP and not over UDP: a firewall drops datagrams.
    UdpBlocked,
    /// It is heard, and does not hear who hears it.
    OneWayLink,
    /// It answers, but late, or only after it was suspected.
    Slow,
    /// Members disagree about whether it lives, or it does not know whom the others know.
    ViewDivergence,
}

impl ConditionName {
    pub const ALL: [Self; 4] = [Self::UdpBlocked, Self::OneWayLink, Self::Slow, Self::ViewDivergence];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::UdpBlocked => "udp_blocked",
            Self::OneWayLink => "one_way_link",
            Self::Slow => "slow",
            Self::ViewDivergence => "view_divergence",
        }
    }
}

/// A condition that holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Condition {
    pub name: ConditionName,
    /// When the answering node learnt of it, by that node's clock.
    pub since: Timestamp,
    /// Some of the members that see it, by name.
    pub seen_by: Vec<String>,
    /// What is seen, in words.
    pub detail: String,
}
