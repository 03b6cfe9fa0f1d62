//! What a member says of deaths just after it was held for dead itself.
//!
//! A few that were cut off from many hold the many for dead or are about to. When the network heals they come back, and a
//! death is final for foca: what they still say of it would spread among those who know better. Nothing is lost by passing
//! it over, for who is really dead is probed by everybody else.

use foca::{Codec, State};
use watchfire_shared::time::Timestamp;

use super::Gossip;
use crate::codec::{Parsed, WireCodec};
use crate::identity::Identity;

impl Gossip {
    /// The packet without the deaths that are no news to be believed; nothing if it can be taken as it is.
    pub(super) fn without_hearsay(&mut self, now: Timestamp, parsed: &Parsed) -> Option<Vec<u8>> {
        let is_death = |member: &&foca::Member<_>| member.state() == State::Down;
        if !parsed.updates.iter().any(|member| is_death(&member)) {
            return None;
        }
        let all = self.detector.mends(now) || self.has_just_returned(now, parsed);
        let doubtful = |member: &&foca::Member<_>| is_death(member) && self.lives(member, all);
        let dead = parsed.updates.iter().filter(doubtful).count();
        if dead == 0 {
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

    /// Whether a member lives here of which another says that it died: in any incarnation, or in a later one than that in
    /// which it was judged.
    fn lives(&self, dead: &foca::Member<Identity>, in_any: bool) -> bool {
        let known = self.view.get(dead.id().id).filter(|entry| entry.identity == *dead.id() && entry.is_active());
        known.is_some_and(|entry| in_any || entry.incarnation > dead.incarnation())
    }

    fn has_just_returned(&self, now: Timestamp, parsed: &Parsed) -> bool {
        let span = self.pace.suspicion_time(self.view.active_count() + 1);
        let sender = self.view.get(parsed.header.src.id);
        sender.is_some_and(|entry| !entry.is_active() || entry.was_dead_until().is_some_and(|at| now.since(at) < span))
    }
}
