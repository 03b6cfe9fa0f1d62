//! Joining by address: who are you, and above which generation do I have to rise for you to take me in?
//!
//! A join is answered by a welcome, and the welcomed announces itself to foca there. Both carry a floor: the generation
//! that the receiver has to exceed because the sender remembers it as gone, or remembers a later life of it. So two
//! halves of a healed partition, each of which holds the other for dead, take each other back in one exchange.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::RngExt;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, LONGEST_UNSAVED, SAVE_EVERY, SAVED_AT_ONCE, peer};
use crate::config::Peer;
use crate::identity::Identity;
use crate::packet::{Hello, Packet};
use crate::schedule::Alarm;

impl Gossip {
    pub(super) fn arm_contacts(&mut self) {
        if let Some(at) = self.contacts.next() {
            self.schedule.set_by(Alarm::Contacts, at);
        }
    }

    /// Sends a join to each address that is due and where nobody is known to live.
    pub(super) fn try_contacts(&mut self, now: Timestamp) {
        if self.leaving.is_some() {
            return;
        }
        let own = self.own();
        let alone = self.view.active_count() == 0;
        let view = &self.view;
        let (tries, next) =
            self.contacts.take_due(now, &mut self.rng, alone, |id, _| id == own.id || view.is_active(id));
        for one in tries {
            let floor = one.expected.map_or(0, |id| self.floor_of(id));
            self.contacts.tell(one.nonce, floor);
            self.stats.joins_sent += 1;
            self.send(one.addr, &Packet::Join(Hello { nonce: one.nonce, to: one.expected, floor, identity: own }));
        }
        if let Some(next) = next {
            self.schedule.set(Alarm::Contacts, next);
        }
    }

    /// How long a change of members may wait until it is kept. Whoever knows far more than it has kept waits no longer than in
    /// a small cluster: a newcomer that dies early would find nobody.
    pub(super) fn save_every(&self) -> Span {
        let active = self.view.active_count();
        if self.saved.len() < active / 2 {
            return SAVE_EVERY;
        }
        SAVE_EVERY * i64::try_from(active / SAVED_AT_ONCE).unwrap_or(LONGEST_UNSAVED).clamp(1, LONGEST_UNSAVED)
    }

    /// Keeps whom this node looks for in its next life.
    pub(super) fn save_peers(&mut self, now: Timestamp) {
        // Also if nothing is to be kept: to look costs as much as there are members, and a storm brings many changes.
        self.last_saved = now;
        let mut peers: BTreeMap<NodeId, Peer> = self.contacts.peers().map(|peer| (peer.id, peer.clone())).collect();
        peers
            .extend(self.view.others().filter(|entry| entry.is_listed()).map(|entry| (entry.identity.id, peer(entry))));
        peers.remove(&self.own().id);
        let peers: Vec<Peer> = peers.into_values().collect();
        if peers != self.saved {
            self.saved.clone_from(&peers);
            self.out.push(Effect::SavePeers(peers));
        }
        let forgotten = self.view.dismissed();
        if forgotten != self.saved_forgotten {
            self.saved_forgotten.clone_from(&forgotten);
            self.out.push(Effect::SaveForgotten(forgotten));
        }
    }

    /// A member that is down or left is tried from now on, beginning within the second.
    pub(super) fn try_silent(&mut self, now: Timestamp, id: NodeId) {
        let after = Span::from_millis(self.rng.random_range(500..1000));
        self.try_again(now, after, id);
    }

    pub(super) fn try_again(&mut self, now: Timestamp, after: Span, id: NodeId) {
        if let Some(peer) = self.view.get(id).map(peer) {
            self.contacts.wake(now, after, &peer);
            self.arm_contacts();
        }
    }

    /// What a node has to rise above, whoever it says it is.
    fn floor_of(&self, id: NodeId) -> u32 {
        let gone = self.view.get(id).filter(|entry| !entry.is_active());
        gone.map_or(0, |entry| entry.identity.generation)
    }

    /// What the node that gave this identity has to rise above; 0 if it can be taken in as it is.
    fn floor_for(&self, identity: &Identity) -> u32 {
        let Some(known) = self.view.get(identity.id) else { return 0 };
        let generation = known.identity.generation;
        let refused = generation > identity.generation || (generation == identity.generation && !known.is_active());
        if refused { generation } else { 0 }
    }

    pub(super) fn receive_join(&mut self, now: Timestamp, from: SocketAddr, hello: Hello) {
        if self.is_own(now, &hello) || self.leaving.is_some() {
            return;
        }
        self.raise_for(now, &hello);
        if !self.answers.take(now) {
            self.stats.dropped_rate_limited += 1;
            return;
        }
        self.tell_of_twin(&hello.identity);
        let floor = self.floor_for(&hello.identity);
        let to = Some(hello.identity.id);
        self.send(from, &Packet::Welcome(Hello { nonce: hello.nonce, to, floor, identity: self.own() }));
    }

    pub(super) fn receive_welcome(&mut self, now: Timestamp, from: SocketAddr, hello: Hello) {
        if self.is_own(now, &hello) || self.leaving.is_some() {
            return;
        }
        if !self.contacts.answered(hello.nonce, hello.identity.id) {
            self.stats.dropped_unexpected += 1;
            return;
        }
        self.raise_for(now, &hello);
        let floor = self.floor_for(&hello.identity);
        if floor > 0 {
            if self.contacts.tell(hello.nonce, floor) {
                let to = Some(hello.identity.id);
                self.send(from, &Packet::Join(Hello { nonce: hello.nonce, to, floor, identity: self.own() }));
            }
            return;
        }
        if self.view.get(hello.identity.id).is_none() && !self.make_room(now, 1) {
            return;
        }
        self.with_foca(now, |foca, outbox| foca.announce(hello.identity, outbox));
        self.contacts.try_again_soon(now, hello.nonce);
        self.arm_contacts();
        self.pull_from(now, hello.identity);
    }

    /// Rises above the floor that a hello names, if it means this node and not one that was at this address before.
    fn raise_for(&mut self, now: Timestamp, hello: &Hello) {
        if hello.to == Some(self.own().id) {
            self.raise_above(now, hello.floor);
        }
    }

    /// A hello from this node itself: one of its join addresses is its own, or its id was cloned.
    fn is_own(&mut self, now: Timestamp, hello: &Hello) -> bool {
        let own = self.own();
        if hello.identity.id == own.id {
            let echo = hello.identity.addr == own.addr && self.contacts.answered(hello.nonce, own.id);
            self.stats.dropped_from_ourselves += u64::from(!echo);
            self.claimed(now, &hello.identity);
        }
        hello.identity.id == own.id
    }
}
