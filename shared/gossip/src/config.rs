//! What a machine is started with, what it refuses at the door, and how foca is tuned for it.

use std::net::SocketAddr;
use std::num::{NonZeroU8, NonZeroUsize};
use std::time::Duration;

use foca::PeriodicParams;
use serde::{Deserialize, Serialize};
use watchfire_shared::limits::MAX_DATAGRAM_BYTES;
use watchfire_shared::member::{Metadata, NodeId};
use watchfire_shared::time::Span;

use crate::announced::{MetadataError, check_metadata};
use crate::detector::Patience;
use crate::envelope::ENVELOPE_BYTES;
use crate::identity::is_reachable;
use crate::keyring::GossipKey;
use crate::view::Forgotten;

/// How long a member that is down or left stays listed, and its identity stays refused. Serf reaps after the same time.
pub(crate) const FORGET_AFTER: Span = Span::from_seconds(24 * 3600);
/// How fast and how careful failure detection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// One machine or one rack: probe every 0.5 s, answer within 0.2 s.
    Local,
    /// One data centre: probe every 1 s, answer within 0.5 s.
    #[default]
    Lan,
    /// One data centre, speed before calm: probe every 0.55 s, answer within 0.22 s.
    Fast,
    /// Between sites: probe every 5 s, answer within 3 s.
    Wan,
}

impl Profile {
    /// Every profile, in the order in which they are documented.
    pub const ALL: [Self; 4] = [Self::Local, Self::Lan, Self::Fast, Self::Wan];

    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Lan => "lan",
            Self::Fast => "fast",
            Self::Wan => "wan",
        }
    }

    /// The figures behind the name.
    #[must_use]
    pub const fn pace(self) -> Pace {
        // Found by sweeping the simulator (TUNING.md): the longest suspicions with which deaths are found in time.
        let (longest, confirmations, fanout) = (6.0, 3, 3);
        match self {
            Self::Local => {
                Pace { probe_ms: 500, answer_ms: 200, suspicion: 4.0, longest, confirmations, gossip_ms: 100, fanout }
            }
            Self::Lan => {
                Pace { probe_ms: 1000, answer_ms: 500, suspicion: 2.8, longest, confirmations, gossip_ms: 200, fanout }
            }
            Self::Fast => {
                Pace { probe_ms: 550, answer_ms: 220, suspicion: 4.0, longest, confirmations, gossip_ms: 200, fanout }
            }
            Self::Wan => Pace {
                probe_ms: 5000,
                answer_ms: 3000,
                suspicion: 6.0,
                longest,
                confirmations,
                gossip_ms: 500,
                fanout: 4,
            },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Pace {
    /// The time from one probe to the next, milliseconds; a probe that has no answer by its end has failed.
    pub probe_ms: u64,
    /// The time until helpers are asked, milliseconds; shorter than `probe_ms`.
    pub answer_ms: u64,
    /// Lifeguard's alpha: a confirmed suspicion lasts `alpha * max(1, log10 n)` probe periods.
    pub suspicion: f64,
    /// Lifeguard's beta: an unconfirmed one lasts this many times as long.
    pub longest: f64,
    /// Lifeguard's K: confirmations that make a suspicion a confirmed one.
    pub confirmations: usize,
    /// The time from one round of news to the next, milliseconds.
    pub gossip_ms: u64,
    /// The members that are told in each round.
    pub fanout: usize,
}

impl Pace {
    pub(crate) const fn probe_interval(&self) -> Span {
        Span::from_millis(self.probe_ms as i64)
    }

    pub(crate) const fn gossip_interval(&self) -> Span {
        Span::from_millis(self.gossip_ms as i64)
    }

    /// Silence after which a node doubts itself rather than everybody else: three probes, three seconds at least.
    pub(crate) fn isolated_after(&self) -> Span {
        Span::from_millis(3 * self.probe_ms as i64).max(Span::from_seconds(3))
    }

    /// How long a confirmed suspicion lasts in a cluster of `members`.
    pub(crate) fn suspicion_time(&self, members: usize) -> Span {
        let scale = libm::log10(members as f64).max(1.0);
        Span::from_millis((self.suspicion * scale * self.probe_ms as f64) as i64)
    }

    /// How long suspicions last in a cluster of `members`; where there are too few to confirm one, none has to be.
    pub(crate) fn patience(&self, members: usize) -> Patience {
        let shortest = self.suspicion_time(members);
        let longest = Span::from_millis((shortest.as_millis() as f64 * self.longest) as i64);
        let confirmations = if members < self.confirmations + 2 { 0 } else { self.confirmations };
        Patience { shortest, longest, confirmations }
    }

    /// How long a helper waits before it says that it reached nobody: so that it is heard before the asker's probe ends.
    pub(crate) fn nack_after(&self) -> Span {
        let left = self.answer_ms.min(self.probe_ms - self.answer_ms);
        Span::from_millis(left as i64 * 4 / 5)
    }

    /// How often a piece of news is sent: memberlist's `4 * ceil(log10(n + 1))`.
    pub(crate) fn transmissions(members: usize) -> NonZeroU8 {
        let count = 4.0 * libm::log10((members + 1) as f64).ceil();
        NonZeroU8::new(count.clamp(1.0, 255.0) as u8).unwrap_or(NonZeroU8::MIN)
    }

    /// foca's configuration for a cluster of `members`.
    ///
    /// Announcing to random members and to down ones is off: anti-entropy and contacts do both, for ever and with news.
    pub(crate) fn foca(&self, members: usize) -> foca::Config {
        let count = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        foca::Config {
            probe_period: Duration::from_millis(self.probe_ms),
            probe_rtt: Duration::from_millis(self.answer_ms),
            num_indirect_probes: count(3),
            max_transmissions: Self::transmissions(members),
            suspect_to_down_after: self.suspicion_time(members).to_std(),
            remove_down_after: Some(FORGET_AFTER.to_std()),
            max_packet_size: count(MAX_DATAGRAM_BYTES - ENVELOPE_BYTES),
            notify_down_members: true,
            periodic_announce: None,
            periodic_announce_to_down_members: None,
            periodic_gossip: Some(PeriodicParams {
                frequency: Duration::from_millis(self.gossip_ms),
                num_members: count(self.fanout),
            }),
        }
    }
}

/// Another node as it is kept on disk, to be tried after a restart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Peer {
    pub id: NodeId,
    pub generation: u32,
    pub addr: SocketAddr,
    pub name: String,
}

/// What a machine is started with.
#[derive(Clone, Debug)]
pub struct GossipConfig {
    /// Packets of clusters with another name are dropped.
    pub cluster: String,
    /// Made once at random and kept in the data directory; not zero.
    pub id: NodeId,
    /// The stored generation plus one; the first is 1.
    pub generation: u32,
    /// The address at which others reach this node.
    pub advertise: SocketAddr,
    pub profile: Profile,
    /// Addresses to join by, resolved; tried for ever while no living member answers there.
    pub seeds: Vec<SocketAddr>,
    /// The peers that were stored last; tried like seeds.
    pub known: Vec<Peer>,
    /// The members that were forgotten when they were stored last; those of longer than a day ago are passed over.
    pub forgotten: Vec<Forgotten>,
    /// What this node says of itself.
    pub metadata: Metadata,
    /// Keys of the cluster, the one to seal with first; without keys gossip is plain text.
    pub keys: Vec<GossipKey>,
    /// The latest change of keys that the key file took part in; 0 for none.
    pub key_order: u64,
}

/// Why a machine cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("the node id is zero; expected a random one")]
    NodeIdZero,
    #[error("others cannot reach the advertised address {0}; expected one host's address and a port other than 0")]
    Advertise(SocketAddr),
    #[error(transparent)]
    Metadata(#[from] MetadataError),
}

impl GossipConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if self.id.0 == 0 {
            return Err(ConfigError::NodeIdZero);
        }
        if !is_reachable(self.advertise) {
            return Err(ConfigError::Advertise(self.advertise));
        }
        check_metadata(&self.metadata)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retransmissions_follow_memberlist() {
        let counts = [10, 50, 100, 1000].map(|members| Pace::transmissions(members).get());
        assert_eq!(counts, [8, 8, 12, 16]);
    }
}
