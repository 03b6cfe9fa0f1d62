//! Deaths that are told and not believed at once.
//!
//! A few that were cut off from many hold the many for dead or are about to. When the network heals they come back, and a
//! death is final for foca: what they still say of it would spread among those who know better. So a death is passed over
//! that comes from a member which was dead here itself just now, or while the network mends, or that was judged in an
//! incarnation which the member has left since. Of whoever has not spoken two seconds later, it is taken as a suspicion.

use std::collections::BTreeMap;

use foca::{Codec, State};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use super::Gossip;
use crate::codec::{Parsed, WireCodec};
use crate::identity::Identity;
use crate::packet::Packet;
use crate::schedule::Alarm;

/// The time in which whoever is said to be dead, and lives, is heard of: a network mends in it.
const SPEAKS_WITHIN: Span = Span::from_seconds(2);

/// Deaths that were passed over, at most one for each member that is listed.
pub(super) type PassedOver = BTreeMap<NodeId, Hearsay>;

#[derive(Debug)]
pub(super) struct Hearsay {
    identity: Identity,
    /// The incarnation in which it lived here when its death was told.
    incarnation: u16,
    by: NodeId,
    due: Timestamp,
}

impl Gossip {
    /// The packet without the deaths that are not believed at once; nothing if it can be taken as it is.
    pub(super) fn without_hearsay(&mut self, now: Timestamp, parsed: &Parsed) -> Option<Vec<u8>> {
        let is_death = |member: &&foca::Member<_>| member.state() == State::Down;
        if !parsed.updates.iter().any(|member| is_death(&member)) {
            return None;
        }
        let (teller, own) = (parsed.header.src, self.own().id);
        let all = self.detector.mends(now) || self.has_just_returned(now, parsed);
        let doubtful = |member: &&foca::Member<Identity>| {
            // Of itself, everybody knows.
            is_death(member) && *member.id() != teller && member.id().id != own && self.lives(member, all)
        };
        let doubted: Vec<Identity> = parsed.updates.iter().filter(doubtful).map(|member| *member.id()).collect();
        if doubted.is_empty() {
            return None;
        }
        let kept =
            parsed.updates.iter().filter(|member| member.state() != State::Down || !doubted.contains(member.id()));
        let mut body = Vec::new();
        WireCodec.encode_header(&parsed.header, &mut body).expect("it was read from a packet");
        let count = u16::try_from(parsed.updates.len() - doubted.len()).expect("there were no more in the packet");
        body.extend_from_slice(&count.to_be_bytes());
        for member in kept {
            WireCodec.encode_member(member, &mut body).expect("it was read from a packet");
        }
        self.stats.hearsay_passed_over += doubted.len() as u64;
        doubted.into_iter().for_each(|identity| self.pass_over(now, identity, teller.id));
        Some(body)
    }

    fn pass_over(&mut self, now: Timestamp, identity: Identity, by: NodeId) {
        let Some(incarnation) = self.view.get(identity.id).map(|entry| entry.incarnation) else { return };
        let due = now + SPEAKS_WITHIN;
        let told = Hearsay { identity, incarnation, by, due };
        let known = self.passed_over.entry(identity.id).or_insert(told);
        if known.identity != identity {
            *known = Hearsay { identity, incarnation, by, due };
        }
        self.schedule.set_by(Alarm::Hearsay, due);
    }

    /// Whoever was said to be dead and has not objected since is a suspect, and is told so.
    pub(super) fn look_at_hearsay(&mut self, now: Timestamp) {
        let due = self.passed_over.extract_if(.., |_, told| told.due <= now);
        let due: Vec<Hearsay> = due.map(|(_, told)| told).collect();
        for Hearsay { identity, incarnation, by, .. } in due {
            let known = self.view.get(identity.id).filter(|entry| entry.identity == identity && entry.is_active());
            if known.is_some_and(|entry| entry.incarnation == incarnation) {
                self.accuse(now, &identity, by);
            }
        }
        if let Some(next) = self.passed_over.values().map(|told| told.due).min() {
            self.schedule.set_by(Alarm::Hearsay, next);
        }
    }

    /// Another holds a member for dead that lives here: it is suspected as if that one had said so, and told.
    pub(super) fn accuse(&mut self, now: Timestamp, identity: &Identity, by: NodeId) {
        if self.leaving.is_some() {
            return;
        }
        if let Some(incarnation) = self.detector.accused(now, identity, by) {
            self.named.name(identity.id);
            self.poll_at_once = true;
            self.heed(now);
            self.send(identity.addr, &Packet::Suspected { identity: *identity, incarnation });
        }
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
