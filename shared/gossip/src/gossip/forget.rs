//! Forgetting: members that are gone for a day; and those of which somebody says that they will not come back, which
//! everybody lists no more.
//!
//! Of the latter the entry stays as a tombstone, for as long as any entry of a silent member does and within the same
//! bound, so that old news of that life changes nothing; it is kept on disk too, or a restart of all who know of it would
//! bring the member back. Only a later life brings the member back, as somebody new. Who is told to forget a life that it
//! holds for alive takes it for down: if it lives after all, it returns under its next generation.

use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::Timestamp;

use super::Gossip;
use crate::config::FORGET_AFTER;
use crate::identity::Identity;
use crate::packet::{FORGET_SINCE, LEAVE_IDENTITIES, Packet};
use crate::schedule::Alarm;
use crate::view::{Entry, Forgotten};

impl Gossip {
    /// Somebody here says that a member will not come back. Nothing happens while it is alive or suspect.
    pub(super) fn forget_member(&mut self, now: Timestamp, id: NodeId) {
        let Some(entry) = self.view.get(id).filter(|entry| !entry.is_active() && !entry.dismissed) else { return };
        let identity = entry.identity;
        self.dismiss(now, identity);
        self.spread_dismissed(now, identity);
    }

    pub(super) fn receive_forget(&mut self, now: Timestamp, identities: &[Identity]) {
        for identity in identities {
            if self.is_news(now, identity) {
                self.dismiss(now, *identity);
                self.spread_dismissed(now, *identity);
            }
        }
    }

    /// Takes over what was forgotten in an earlier life of this node: who was away meanwhile still holds it for a member.
    pub(super) fn recall(&mut self, now: Timestamp, forgotten: &[Forgotten]) {
        let own = self.own().id;
        let is_recent = |gone: &&Forgotten| gone.id != own && gone.id.0 != 0 && gone.at + FORGET_AFTER > now;
        let recent: Vec<&Forgotten> = forgotten.iter().filter(is_recent).take(self.view.room()).collect();
        for gone in &recent {
            self.view.insert(now, Entry::dismissed(gone));
            self.schedule.set_by(Alarm::Forget, gone.at + FORGET_AFTER);
        }
        let dead = recent.iter().map(|gone| foca::Member::down(Identity::new(gone.id, gone.generation, gone.addr)));
        self.with_foca(now, |foca, outbox| foca.apply_many(dead, false, outbox));
    }

    fn is_news(&mut self, now: Timestamp, identity: &Identity) -> bool {
        if identity.id == self.own().id {
            // Said of a life that goes on: the next one is not meant.
            self.raise_above(now, identity.generation);
            return false;
        }
        match self.view.get(identity.id) {
            None => self.make_room(now, 1),
            Some(known) if known.identity.generation == identity.generation => !known.dismissed,
            Some(known) => known.identity.generation < identity.generation,
        }
    }

    fn dismiss(&mut self, now: Timestamp, identity: Identity) {
        if self.view.get(identity.id).is_none() {
            self.view.insert(now, Entry::new(now, identity, 0, MemberState::Down));
        }
        let down = foca::Member::down(identity);
        self.with_foca(now, |foca, outbox| foca.apply_many(std::iter::once(down), true, outbox));
        self.poll(now);
        self.view.change(identity.id, |entry| entry.dismiss(now));
        self.contacts.forget(identity.id);
        self.asks.forget(identity.id);
        self.refusals.forget(identity.id);
        self.wants.remove(&identity.id);
        self.schedule.set_by(Alarm::SavePeers, now);
        self.schedule.set_by(Alarm::Forget, now + FORGET_AFTER);
    }

    /// Tells a member whose view holds what was dismissed here.
    pub(super) fn correct(&mut self, id: NodeId, dismissed: &[Identity]) {
        let target = self.view.get(id).filter(|entry| entry.is_active()).map(|entry| entry.identity);
        for part in dismissed.chunks(LEAVE_IDENTITIES) {
            target.iter().for_each(|target| self.tell_dismissed(target, part.to_vec()));
        }
    }

    pub(super) fn tell_dismissed(&mut self, target: &Identity, dismissed: Vec<Identity>) {
        if self.view.get(target.id).is_some_and(|entry| entry.protocol() >= FORGET_SINCE) {
            self.send(target.addr, &Packet::Forget(dismissed));
        }
    }

    pub(super) fn forget_old(&mut self, now: Timestamp) {
        let old = self.view.gone_before(now - FORGET_AFTER);
        old.into_iter().for_each(|identity| self.forget(now, identity));
        if let Some(oldest) = self.view.gone_before(now).first().and_then(|identity| self.view.get(identity.id)) {
            self.schedule.set(Alarm::Forget, oldest.since + FORGET_AFTER);
        }
    }

    /// Drops a member here and in foca.
    fn forget(&mut self, now: Timestamp, identity: Identity) {
        let mut differences = Vec::new();
        self.view.forget(now, identity.id, &mut differences);
        self.path_ended(now, identity.id);
        self.contacts.forget(identity.id);
        self.asks.forget(identity.id);
        self.refusals.forget(identity.id);
        self.wants.remove(&identity.id);
        self.forget_in_foca(now, identity);
        self.tell(differences);
        self.schedule.set_by(Alarm::SavePeers, now.max(self.last_saved + self.save_every()));
    }

    /// Whether `count` unknown members may be added; those that are gone for longest give way.
    pub(super) fn make_room(&mut self, now: Timestamp, count: usize) -> bool {
        if count > self.view.room() {
            let missing = count - self.view.room();
            let gone = self.view.gone_before(now);
            gone.into_iter().take(missing).for_each(|identity| self.forget(now, identity));
        }
        let fits = count <= self.view.room();
        self.stats.dropped_members_full += u64::from(!fits);
        fits
    }
}
