//! Packets that are not for this cluster, or not to be believed: each is counted, and a wrong key or cluster is told of.

use std::net::SocketAddr;

use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, Stranger};
use crate::envelope::Refusal;

/// Whoever has the wrong key knocks for ever; so often it is told of.
const TELL_EVERY: Span = Span::from_seconds(300);

impl Gossip {
    /// Refuses what came from an address.
    pub(super) fn refuse_from(&mut self, now: Timestamp, from: SocketAddr, refusal: Refusal) {
        let stranger = match refusal {
            Refusal::OtherCluster => Some(Stranger::OtherCluster),
            Refusal::UnknownKey => Some(Stranger::UnknownKey),
            Refusal::Plain => Some(Stranger::Plain),
            _ => None,
        };
        let is_due = self.stranger.is_none_or(|last| now.since(last) >= TELL_EVERY);
        if let Some(stranger) = stranger.filter(|_| is_due) {
            self.stranger = Some(now);
            self.out.push(Effect::Stranger { from, stranger });
        }
        self.refuse(refusal);
    }

    pub(super) fn refuse(&mut self, refusal: Refusal) {
        let counter = match refusal {
            Refusal::Oversized => &mut self.stats.dropped_oversized,
            Refusal::Malformed => &mut self.stats.dropped_malformed,
            Refusal::Version => &mut self.stats.dropped_version,
            Refusal::OtherCluster => &mut self.stats.dropped_other_cluster,
            Refusal::Checksum => &mut self.stats.dropped_checksum,
            Refusal::UnknownKind => &mut self.stats.dropped_unknown_kind,
            Refusal::Plain => &mut self.stats.dropped_plain,
            Refusal::UnknownKey => &mut self.stats.dropped_unknown_key,
            Refusal::Forged => &mut self.stats.dropped_forged,
            Refusal::Replayed => &mut self.stats.dropped_replayed,
        };
        *counter += 1;
    }
}
