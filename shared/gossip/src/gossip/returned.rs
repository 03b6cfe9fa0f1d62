//! What a member says of deaths just after it was held for dead itself.
//!
//! A few that were cut off from many hold the many for dead or are about to. When the network heals they come back, and a
//! death is final for foca: what they still say of it would spread among those who know better. Nothing is lost by passing
//! it over, for who is really dead is probed by everybody else.

use foca::{Codec, State};
use watchfire_shared::time::Timestamp;

use super::Gossip;
use crate::codec::{Parsed, WireCodec};

impl Gossip {
    /// The packet without the deaths of members that live here, if its sender was dead here until a suspicion time ago;
    /// nothing if it can be taken as it is.
    pub(super) fn without_hearsay(&mut self, now: Timestamp, parsed: &Parsed) -> Option<Vec<u8>> {
        let doubtful = |member: &&foca::Member<_>| member.state() == State::Down && self.lives(member.id());
        let dead = parsed.updates.iter().filter(doubtful).count();
        if dead == 0 || !self.has_just_returned(now, parsed) {
            return None;
        }
        let kept = parsed.updates.iter().filter(|member| !doubtful(member));
        let mut body = Vec::new();
        WireCodec.encode_header(&parsed.header, &mut body).expect("it was read from a packet");
        let count = u16::try_from(parsed.updates.len() - dead).expect("there were no more in the packet");
        body.extend_from_slice(&count.to_be_bytes());
        for member in kept {
            WireCodec.encode_member(member, &mut body).expect("it was read from a packet");
        }
        self.stats.hearsay_passed_over += dead as u64;
        Some(body)
    }

    fn lives(&self, identity: &crate::identity::Identity) -> bool {
        self.view.get(identity.id).is_some_and(|entry| entry.identity == *identity && entry.is_active())
    }

    fn has_just_returned(&self, now: Timestamp, parsed: &Parsed) -> bool {
        let span = self.pace.suspicion_time(self.view.active_count() + 1);
        let sender = self.view.get(parsed.header.src.id);
        sender.is_some_and(|entry| !entry.is_active() || entry.was_dead_until().is_some_and(|at| now.since(at) < span))
    }
}
