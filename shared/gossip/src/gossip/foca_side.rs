//! foca's side: what the detector is fed, what it asks for, and how foca's members become the view's.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use foca::{Message, OwnedNotification, State, Timer};
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, POLL_AFTER};
use crate::codec::parse;
use crate::config::Pace;
use crate::detector::{Outbox, Swim, Told};
use crate::identity::Identity;
use crate::note::{Note, Paths};
use crate::packet::Packet;
use crate::schedule::Alarm;
use crate::view::Entry;

/// Members that foca may hold differently than at the last poll. foca tells only of some changes, and to compare all
/// members after every packet is most of what a large cluster costs.
#[derive(Debug, Default)]
pub(super) struct Named {
    ids: BTreeSet<NodeId>,
    /// Any member may be concerned.
    all: bool,
}

impl Named {
    fn has(&self, id: NodeId) -> bool {
        self.all || self.ids.contains(&id)
    }

    pub(super) fn name(&mut self, id: NodeId) {
        self.ids.insert(id);
    }
}

impl Gossip {
    /// Calls foca and carries out what it asked for.
    pub(super) fn with_foca(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut Swim, &mut Outbox) -> Result<(), foca::Error>,
    ) {
        self.named.all = true;
        self.detector.call(now, call);
        self.heed(now);
    }

    /// Carries out what the detector asked for and takes note of what it saw.
    pub(super) fn heed(&mut self, now: Timestamp) {
        for told in self.detector.take_told() {
            match told {
                Told::Send { to, packet } => self.say(&to, packet),
                Told::Foca(notification) => self.notified(now, notification),
                Told::Suspected { identity, by, paths } => self.suspected(now, &identity, by, paths),
                Told::Unanswered { target, ping } => self.probe_unanswered(target, ping),
                Told::Reconnected => self.reconnected(now),
                Told::HeldBack => self.stats.downs_held_back += 1,
                Told::Refused => self.stats.foca_errors += 1,
                Told::Unexpected => self.stats.dropped_unexpected += 1,
            }
        }
    }

    fn notified(&mut self, now: Timestamp, notification: OwnedNotification<Identity>) {
        match notification {
            OwnedNotification::MemberUp(identity)
            | OwnedNotification::MemberDown(identity)
            | OwnedNotification::Rename(_, identity) => {
                self.named.ids.insert(identity.id);
                self.poll_at_once = true;
            }
            OwnedNotification::Active => self.spread_own_metadata(now),
            OwnedNotification::Idle => {
                self.poll_at_once = true;
                self.contacts.wake_all(now, &mut self.rng);
                self.arm_contacts();
                self.pulling.start_over();
            }
            OwnedNotification::Rejoin(identity) => self.renewed(identity),
            OwnedNotification::DataSent(header) => {
                let own = self.view.own();
                if own.incarnation != header.src_incarnation {
                    let id = own.identity.id;
                    self.view.change(id, |entry| entry.incarnation = header.src_incarnation);
                }
                self.time_sent(&header);
                self.path_sent(now, &header);
            }
            OwnedNotification::ProbeFailed(_, target) => {
                self.named.ids.insert(target.id);
                self.schedule.set_by(Alarm::Poll, now + POLL_AFTER);
            }
            OwnedNotification::DataReceived(header) => {
                self.time_received(&header);
                self.path_received(&header);
            }
            OwnedNotification::Defunct => {}
        }
    }

    /// By datagram, or on the stream on which this member waits.
    fn say(&mut self, to: &Identity, packet: Packet) {
        let packet = self.located(to.id, packet);
        match &mut self.reply {
            Some(reply) if reply.to == to.id => reply.packets.push(packet),
            _ => self.send(to.addr, &packet),
        }
    }

    /// The first half of a probe passed without an answer: it is tried once more, beside foca's helpers, for one datagram
    /// may have been lost, and over a stream, for all of them may be.
    fn probe_unanswered(&mut self, target: Identity, ping: Vec<u8>) {
        self.stats.probes_unanswered += 1;
        // An answer to either of two pings tells no time.
        self.timing.stop();
        let ping = Packet::Foca(ping);
        self.send(target.addr, &ping);
        self.probe_by_stream(target, &ping);
    }

    /// A member's own probes of another failed.
    fn suspected(&mut self, now: Timestamp, identity: &Identity, by: NodeId, paths: Paths) {
        let paths = paths.iter().collect();
        self.view.change(identity.id, |entry| entry.suspected(now, identity, by, paths));
        self.named.ids.insert(identity.id);
        self.poll_at_once = true;
        if by == self.own().id {
            self.ask(now, identity.id);
        }
    }

    /// This node is in a later life now.
    pub(super) fn renewed(&mut self, identity: Identity) {
        self.stats.renewals += 1;
        self.out.push(Effect::SaveGeneration(identity.generation));
        self.view.change(identity.id, |entry| {
            entry.identity = identity;
            entry.incarnation = 0;
        });
    }

    /// Raises the generation above `floor`, which a peer remembers as gone, and returns under it.
    ///
    /// A floor that is far above the own generation is a lie or damage; following it could use up all generations.
    pub(super) fn raise_above(&mut self, now: Timestamp, floor: u32) {
        const LARGEST_STEP: u32 = 1 << 20;
        const CROSSING: Span = Span::from_millis(500);
        let own = self.own();
        if floor < own.generation || floor - own.generation > LARGEST_STEP || floor == u32::MAX {
            return;
        }
        // Who heard of the new life before it answered a question of the old one names the new one as a floor.
        if floor == own.generation && now.since(self.risen) < CROSSING {
            return;
        }
        self.risen = now;
        let identity = own.in_generation(floor + 1);
        self.renewed(identity);
        self.detector.renewed();
        self.with_foca(now, |foca, outbox| foca.change_identity(identity, outbox));
        if floor > own.generation {
            self.restamp_metadata(now, identity.generation);
        }
    }

    pub(super) fn receive_foca(&mut self, now: Timestamp, body: &[u8], notes: &[Note]) {
        let Ok(parsed) = parse(body) else {
            self.stats.dropped_malformed += 1;
            return;
        };
        let own = self.own();
        let header = &parsed.header;
        if header.src.id == own.id {
            self.stats.dropped_from_ourselves += 1;
            return self.claimed(now, &header.src);
        }
        if let Some(twin) =
            parsed.updates.iter().find(|member| member.id().id == own.id && member.state() != State::Down)
        {
            self.claimed(now, twin.id());
        }
        let announced = header.dst.id == own.id && header.message == Message::Announce;
        if header.dst != own && !announced {
            self.stats.dropped_misaddressed += 1;
            return;
        }
        let named = parsed.updates.iter().map(|member| member.id().id).chain([header.src.id]);
        let unknown = named.filter(|id| *id != own.id && self.view.get(*id).is_none()).count();
        if unknown > 0 && !self.make_room(now, unknown) {
            return;
        }
        if parsed.updates.iter().any(|member| member.state() == State::Down) {
            // Whether a death is believed depends on what foca took just now.
            self.poll(now);
        }
        self.named.ids.extend(parsed.updates.iter().map(|member| member.id().id).chain([header.src.id]));
        // Of members that are unknown a note changes nothing.
        self.named.ids.extend(notes.iter().map(|note| note.target).filter(|id| self.view.get(*id).is_some()));
        self.detector.met(now, &header.src);
        match self.without_hearsay(now, &parsed) {
            Some(rest) => self.detector.receive(now, &parsed, &rest, notes),
            None => self.detector.receive(now, &parsed, body, notes),
        }
        self.heed(now);
        let is_known = |entry: &Entry| entry.same(&header.src, header.src_incarnation, State::Alive);
        if !parsed.updates.is_empty() || !self.view.get(header.src.id).is_some_and(is_known) {
            self.schedule.set_by(Alarm::Poll, now + POLL_AFTER);
        }
    }

    /// Tells a suspect that it is one, so that it can object.
    pub(super) fn tell_suspect(&mut self, target: &Identity) {
        let Some(entry) = self.view.get(target.id) else { return };
        if entry.identity == *target && entry.state == MemberState::Suspect {
            let incarnation = entry.incarnation;
            self.send(target.addr, &Packet::Suspected { identity: *target, incarnation });
        }
    }

    /// This node is told that it is suspected, in this life or an earlier one. It objects, once for each incarnation, and whoever
    /// told it hears so at once, before others bring the news.
    pub(super) fn receive_suspected(&mut self, now: Timestamp, from: SocketAddr, identity: Identity, incarnation: u16) {
        let own = self.view.own();
        let is_own = identity.id == own.identity.id && identity.generation <= own.identity.generation;
        if !is_own || self.leaving.is_some() {
            self.stats.dropped_unexpected += 1;
            return;
        }
        if !self.answers.take(now) {
            self.stats.dropped_rate_limited += 1;
            return;
        }
        if identity == own.identity {
            self.detector.object(now, incarnation);
            self.heed(now);
        }
        let teller = self.view.others().find(|entry| entry.identity.addr == from && entry.is_active());
        if let Some(teller) = teller.map(|entry| entry.identity) {
            self.detector.met(now, &teller);
            self.with_foca(now, |foca, outbox| foca.announce(teller, outbox));
        }
    }

    pub(super) fn receive_nack(&mut self, now: Timestamp, from: &Identity, target: NodeId, number: u8) {
        self.detector.nacked(now, from, target, number);
        self.heed(now);
    }

    pub(super) fn forget_in_foca(&mut self, now: Timestamp, identity: Identity) {
        self.with_foca(now, |foca, outbox| foca.handle_timer(Timer::RemoveDown(identity), outbox));
    }

    /// Takes over foca's members; the only way to see suspicion that others raised.
    pub(super) fn poll(&mut self, now: Timestamp) {
        self.poll_at_once = false;
        self.schedule.cancel(Alarm::Poll);
        let named = std::mem::take(&mut self.named);
        #[cfg(test)]
        self.assert_unchanged(&named);
        let own = self.own().id;
        let mut moves = Vec::new();
        let mut later_lives = Vec::new();
        let mut told = Vec::new();
        for member in self.detector.members().filter(|member| named.has(member.id().id) && member.id().id != own) {
            let identity = *member.id();
            let known = self.view.get(identity.id);
            // Where all are named, nearly all are as they were.
            if known.is_some_and(|entry| entry.same(&identity, member.incarnation(), member.state())) {
                continue;
            }
            let known = known.map(|entry| entry.identity.generation);
            if known.is_some_and(|generation| generation < identity.generation) {
                later_lives.push(identity.id);
            }
            let lives = self.view.get(identity.id).filter(|entry| entry.identity == identity).map(|entry| entry.state);
            if member.state() == State::Down && self.leaving.is_some() {
                // It may be one that leaves as well and told only those that stay.
                continue;
            }
            if member.state() == State::Down && lives == Some(MemberState::Alive) {
                // Others suspected it first; here both news came at once, and are told in their order.
                self.view.observe(now, identity, member.incarnation(), State::Suspect);
                self.view.flush(now, &mut told);
            }
            if let Some((before, after)) = self.view.observe(now, identity, member.incarnation(), member.state()) {
                moves.push((identity.id, before, after));
            }
        }
        self.tell(told);
        later_lives.into_iter().for_each(|id| self.refresh_metadata(now, id));
        for (id, before, after) in moves {
            self.moved(now, id, before, after);
        }
    }

    /// Members that nobody named are as they were.
    #[cfg(test)]
    fn assert_unchanged(&self, named: &Named) {
        let own = self.own().id;
        let others = self.detector.members().filter(|member| !named.has(member.id().id) && member.id().id != own);
        for member in others.filter(|member| member.state() != State::Down || self.leaving.is_none()) {
            let known = self.view.get(member.id().id);
            let old = known.is_some_and(|entry| entry.identity.generation > member.id().generation);
            let same = known.is_some_and(|entry| entry.same(member.id(), member.incarnation(), member.state()));
            assert!(old || same, "{member:?} changed, and nobody named it: {known:?}");
        }
    }

    /// How often news is passed on in a cluster of this size.
    pub(super) fn transmissions(&self) -> u8 {
        Pace::transmissions(self.view.active_count() + 1).get()
    }
}
