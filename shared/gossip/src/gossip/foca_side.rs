//! foca's side: what it is fed, what it asks for, and how its members become the view's.

use std::time::Duration;

use foca::{Foca, Member, Message, NoCustomBroadcast, Notification, OwnedNotification, Runtime, State, Timer};
use rand::rngs::StdRng;
use watchfire_shared::member::MemberState;
use watchfire_shared::time::Timestamp;

use super::probe::Probe;
use super::{Effect, Gossip, POLL_AFTER};
use crate::codec::{WireCodec, parse};
use crate::config::Pace;
use crate::identity::Identity;
use crate::packet::Packet;
use crate::schedule::Alarm;
use crate::view::Entry;

/// What foca asked for during one call.
#[derive(Default)]
pub(super) struct Outbox {
    sends: Vec<(Identity, Vec<u8>)>,
    timers: Vec<(Timer<Identity>, Duration)>,
    notifications: Vec<OwnedNotification<Identity>>,
}

impl Runtime<Identity> for Outbox {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.notifications.push(notification.to_owned());
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((event, after));
    }
}

type Swim = Foca<Identity, WireCodec, StdRng, NoCustomBroadcast>;

impl Gossip {
    /// Calls foca and carries out what it asked for.
    pub(super) fn with_foca(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut Swim, &mut Outbox) -> Result<(), foca::Error>,
    ) {
        self.call_foca(now, call);
        // A new identity is disconnected until foca next looks at its members, which a packet to it would bring about.
        if std::mem::take(&mut self.reconnect) && self.leaving.is_none() {
            self.call_foca(now, |foca, outbox| foca.apply_many(std::iter::empty(), false, outbox));
        }
    }

    fn call_foca(&mut self, now: Timestamp, call: impl FnOnce(&mut Swim, &mut Outbox) -> Result<(), foca::Error>) {
        let mut outbox = Outbox::default();
        if call(&mut self.foca, &mut outbox).is_err() {
            self.stats.foca_errors += 1;
        }
        for notification in outbox.notifications {
            self.notified(now, notification);
        }
        for (to, body) in outbox.sends {
            self.send(to.addr, &Packet::Foca(body));
        }
        let has_news = self.foca.updates_backlog() > 0;
        for (timer, after) in outbox.timers {
            if matches!(timer, Timer::PeriodicGossip(_)) && !has_news {
                self.schedule.rest(now, after, timer);
            } else {
                self.schedule.submit(now, after, timer);
            }
        }
        if has_news {
            self.schedule.resume(now);
        }
    }

    fn notified(&mut self, now: Timestamp, notification: OwnedNotification<Identity>) {
        match notification {
            OwnedNotification::MemberUp(_) | OwnedNotification::MemberDown(_) | OwnedNotification::Rename(..) => {
                self.poll_at_once = true;
            }
            OwnedNotification::Active => self.spread_own_metadata(now),
            OwnedNotification::Idle => {
                self.poll_at_once = true;
                self.contacts.wake_all(now, &mut self.rng);
                self.arm_contacts();
                self.pulling.start_over();
            }
            OwnedNotification::Rejoin(identity) => {
                self.reconnect = true;
                self.renewed(identity);
            }
            OwnedNotification::DataSent(header) => {
                let own = self.view.own();
                if own.incarnation != header.src_incarnation {
                    let id = own.identity.id;
                    self.view.change(id, |entry| entry.incarnation = header.src_incarnation);
                }
                if let Message::Ping(number) = header.message {
                    self.probe = Probe::sent(number, header.dst);
                    self.tell_suspect(&header.dst);
                }
            }
            OwnedNotification::DataReceived(header) => {
                if let Message::Ack(number) = header.message
                    && self.probe.answered(number, &header.src)
                {
                    self.schedule.join_stages(&header.src);
                }
            }
            OwnedNotification::ProbeFailed(_, identity) => {
                self.view.change(identity.id, |entry| entry.suspected_here = true);
                self.schedule.set_by(Alarm::Poll, now + POLL_AFTER);
            }
            OwnedNotification::Defunct => {}
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
        let own = self.own();
        if floor < own.generation || floor - own.generation > LARGEST_STEP || floor == u32::MAX {
            return;
        }
        let identity = own.in_generation(floor + 1);
        self.renewed(identity);
        self.reconnect = true;
        self.with_foca(now, |foca, outbox| foca.change_identity(identity, outbox));
        if floor > own.generation {
            self.restamp_metadata(now, identity.generation);
        }
    }

    pub(super) fn receive_foca(&mut self, now: Timestamp, body: &[u8]) {
        let Ok(parsed) = parse(body) else {
            self.stats.dropped_malformed += 1;
            return;
        };
        let own = self.own();
        if parsed.header.src.id == own.id {
            self.stats.dropped_from_ourselves += 1;
            return;
        }
        let announced = parsed.header.dst.id == own.id && parsed.header.message == Message::Announce;
        if parsed.header.dst != own && !announced {
            self.stats.dropped_misaddressed += 1;
            return;
        }
        let named = parsed.updates.iter().map(|member| member.id().id).chain([parsed.header.src.id]);
        let unknown = named.filter(|id| *id != own.id && self.view.get(*id).is_none()).count();
        if unknown > 0 && !self.make_room(now, unknown) {
            return;
        }
        self.heard(now);
        self.with_foca(now, |foca, outbox| foca.handle_data(body, outbox));
        let header = &parsed.header;
        let is_known = |entry: &Entry| entry.same(&header.src, header.src_incarnation, State::Alive);
        if !parsed.updates.is_empty() || !self.view.get(header.src.id).is_some_and(is_known) {
            self.schedule.set_by(Alarm::Poll, now + POLL_AFTER);
        }
    }

    /// Tells a suspect that is being probed that it is one (Lifeguard's buddy system).
    ///
    /// foca gossips a suspicion for a while only; a member that was out of reach for longer would never hear of it, and
    /// stay suspect here for ever although it answers.
    pub(super) fn tell_suspect(&mut self, target: &Identity) {
        let Some(entry) = self.view.get(target.id) else { return };
        if entry.identity == *target && entry.state == MemberState::Suspect {
            let incarnation = entry.incarnation;
            self.send(target.addr, &Packet::Suspected { identity: *target, incarnation });
        }
    }

    pub(super) fn receive_suspected(&mut self, now: Timestamp, identity: Identity, incarnation: u16) {
        let own = self.view.own();
        if identity != own.identity || incarnation < own.incarnation || self.leaving.is_some() {
            self.stats.dropped_unexpected += 1;
            return;
        }
        if !self.answers.take(now) {
            self.stats.dropped_rate_limited += 1;
            return;
        }
        let suspected = Member::new(identity, incarnation, State::Suspect);
        self.with_foca(now, |foca, outbox| foca.apply_many(std::iter::once(suspected), true, outbox));
    }

    pub(super) fn foca_timer(&mut self, now: Timestamp, timer: Timer<Identity>) {
        if matches!(timer, Timer::ChangeSuspectToDown { .. })
            && self.guard.doubts(now, &self.pace, self.view.active_count())
        {
            self.stats.downs_held_back += 1;
            return;
        }
        // What a failed probe changes is notified; what a suspicion's end or a reaping changes may not be.
        if matches!(timer, Timer::ChangeSuspectToDown { .. } | Timer::RemoveDown(_)) {
            self.schedule.set_by(Alarm::Poll, now + POLL_AFTER);
        }
        self.with_foca(now, |foca, outbox| foca.handle_timer(timer, outbox));
    }

    pub(super) fn forget_in_foca(&mut self, now: Timestamp, identity: Identity) {
        self.with_foca(now, |foca, outbox| foca.handle_timer(Timer::RemoveDown(identity), outbox));
    }

    /// Takes over foca's members; the only way to see suspicion that others raised.
    pub(super) fn poll(&mut self, now: Timestamp) {
        self.poll_at_once = false;
        self.schedule.cancel(Alarm::Poll);
        let own = self.own().id;
        let mut moves = Vec::new();
        let mut later_lives = Vec::new();
        let mut told = Vec::new();
        for member in self.foca.iter_membership_state().filter(|member| member.id().id != own) {
            let identity = *member.id();
            let known = self.view.get(identity.id).map(|entry| entry.identity.generation);
            if known.is_some_and(|generation| generation < identity.generation) {
                later_lives.push(identity.id);
            }
            let lives = self.view.get(identity.id).filter(|entry| entry.identity == identity).map(|entry| entry.state);
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
        self.resize();
    }

    /// foca's limits follow the size that the cluster really has.
    fn resize(&mut self) {
        let size = self.view.active_count() + 1;
        if size != self.sized_for {
            self.sized_for = size;
            if self.foca.set_config(self.pace.foca(size)).is_err() {
                self.stats.foca_errors += 1;
            }
        }
    }

    /// How often news is passed on in a cluster of this size.
    pub(super) fn transmissions(&self) -> u8 {
        Pace::transmissions(self.view.active_count() + 1).get()
    }
}
