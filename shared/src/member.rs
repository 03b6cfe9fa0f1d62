//! Members of the cluster as gossip tells of them and as the API shows them.

mod condition;
mod evidence;
mod keys;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use condition::{Condition, ConditionName};
pub use evidence::{ProbePath, Suspecter, Suspicion, SuspicionEnd};
pub use keys::{HeldKeys, KeyId};

use crate::time::Timestamp;

/// A node's identity: made once at random, kept in its data directory, shown as 16 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for NodeId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u64::from_str_radix(text, 16).map(Self)
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u64(self.0) }
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if !deserializer.is_human_readable() {
            return u64::deserialize(deserializer).map(Self);
        }
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(|_| serde::de::Error::custom("expected 16 hexadecimal digits"))
    }
}

/// What a member is believed to be.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Answers probes, or is vouched for by members that do.
    Alive,
    /// Did not answer; has some time left to refute.
    Suspect,
    /// Confirmed silent or refusing.
    Down,
    /// Said goodbye; expected back.
    Left,
}

impl MemberState {
    /// Every state, in the order in which they are listed.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Suspect, Self::Down, Self::Left];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        }
    }
}

/// What a member does.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    #[default]
    Agent,
    Collector,
}

/// What was seen of a silent member's host, which tells a dead agent from a dead node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DownCause {
    /// The host answered that nobody listens: the agent is dead, the node is not.
    Refused,
    /// Nothing came back at all.
    Silent,
}

impl DownCause {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
        }
    }
}

/// What a node says of itself: everything about it that the probing protocol does not need.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Metadata {
    pub name: String,
    #[serde(default)]
    pub role: Role,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The version of the program.
    #[serde(default)]
    pub version: String,
    /// Addresses by service name; `ingest` is where a collector takes frames, `http` where the node answers queries.
    #[serde(default)]
    pub services: BTreeMap<String, SocketAddr>,
}

/// The service under which a collector announces where agents send their frames.
pub const SERVICE_INGEST: &str = "ingest";
/// The service under which a node announces its HTTP address.
pub const SERVICE_HTTP: &str = "http";

/// One member in one node's view.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Member {
    pub id: NodeId,
    pub name: String,
    /// Where it gossips.
    pub addr: SocketAddr,
    pub state: MemberState,
    /// When it entered this state, by the clock of the node that answers.
    pub since: Timestamp,
    /// How often it refuted a suspicion in this life.
    pub incarnation: u32,
    /// Which life of the node this is; raised at each start.
    pub generation: u32,
    pub role: Role,
    pub labels: BTreeMap<String, String>,
    pub version: String,
    pub services: BTreeMap<String, SocketAddr>,
    /// Round-trip time, milliseconds: the median of the last three answered probes, or an estimate by network coordinates
    /// while there was none.
    pub rtt_ms: Option<f64>,
    /// Names of the members that suspected it, while it is suspect or down.
    pub suspected_by: Vec<String>,
    /// What its host answered, once it was asked.
    pub cause: Option<DownCause>,
    /// What is wrong about it although it lives.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The last times that it was held for silent in this view, the latest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub suspicions: Vec<Suspicion>,
    /// The keys of encrypted gossip that it holds.
    #[serde(default, skip_serializing_if = "HeldKeys::is_empty")]
    pub keys: Box<HeldKeys>,
    /// The gossip pools in which it is, as far as the node that answers is in several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<String>,
    /// Its gossip is off: what is said here, it says of itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gossip_off: bool,
    /// Other living members of the same name, while it lives: one of them has to be called otherwise.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub namesakes: Vec<Namesake>,
}

/// Another member of the same name.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Namesake {
    pub id: NodeId,
    /// Where it gossips.
    pub addr: SocketAddr,
}

/// A member that entered a state.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MemberChange {
    pub at: Timestamp,
    /// The state before; `None` for a member that was not known.
    pub previous: Option<MemberState>,
    pub member: Member,
}

/// Whose view a list of members is, with its counts.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ViewSummary {
    pub node: String,
    pub alive: usize,
    pub suspect: usize,
    pub down: usize,
    pub left: usize,
    pub generated_at: Timestamp,
}

/// The answer of `GET /v1/members`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct MemberList {
    pub view: ViewSummary,
    pub index: String,
    pub next_cursor: Option<String>,
    pub items: Vec<Member>,
}

impl ViewSummary {
    /// Counts `members` as `node` sees them.
    #[must_use]
    pub fn of(node: &str, members: &[Member], generated_at: Timestamp) -> Self {
        let count = |state| members.iter().filter(|member| member.state == state).count();
        Self {
            node: node.to_owned(),
            alive: count(MemberState::Alive),
            suspect: count(MemberState::Suspect),
            down: count(MemberState::Down),
            left: count(MemberState::Left),
            generated_at,
        }
    }
}
