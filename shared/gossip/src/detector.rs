//! Failure detection: an unmodified foca with Lifeguard (arXiv 1707.00788) and the isolation guard around it.
//!
//! foca's requests pass through here. The steps of a probe take longer the worse the own health is; a failed probe
//! starts an entry in a table of suspicions instead of foca's fixed timer; notes of suspicion ride in the spare room of
//! foca's packets; a suspect hears first of all that it is one (the buddy system); helpers say when they reached nobody, and
//! the member that was heard from last is one of them.
//!
//! It keeps no view, knows no names and sends nothing by itself: whoever owns it takes what is told and acts.
//!
//! Invariants:
//! - the table and the notes are emptied when this node changes its life or loses everybody;
//! - nobody is declared down but by foca's own rules, or when a table entry runs out while foca holds that very suspicion.

mod guard;
mod health;
mod nacks;
mod suspicion;
mod timers;
mod witness;

use std::collections::BTreeSet;
use std::time::Duration;

use foca::{Foca, Header, Member, Message, NoCustomBroadcast, Notification, OwnedNotification, Runtime, State, Timer};
use rand::rngs::StdRng;
use watchfire_shared::member::{NodeId, ProbePath};
use watchfire_shared::time::{Span, Timestamp};

use crate::codec::{Parsed, WireCodec};
use crate::config::Pace;
use crate::identity::Identity;
use crate::note::{Note, Paths};
use crate::packet::{Packet, note_room};
use guard::Guard;
use health::Health;
use nacks::{Nacks, Owed};
pub(crate) use suspicion::Patience;
use suspicion::{Suspicions, note};
use timers::Timers;
use witness::Lately;

pub(crate) type Swim = Foca<Identity, WireCodec, StdRng, NoCustomBroadcast>;

/// What foca asked for during one call.
#[derive(Default)]
pub(crate) struct Outbox {
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

/// What the owner is told, in order.
#[derive(Debug)]
pub(crate) enum Told {
    Send {
        to: Identity,
        packet: Packet,
    },
    Foca(OwnedNotification<Identity>),
    /// `by` suspects a member on its own and tried these paths to it.
    Suspected {
        identity: Identity,
        by: NodeId,
        paths: Paths,
    },
    /// The first half of a probe passed without an answer; `ping` may be tried on another path.
    Unanswered {
        target: Identity,
        ping: Vec<u8>,
    },
    /// A packet ended an isolation, or came from one of several that were out of reach.
    Reconnected,
    /// The isolation guard held a declaration of death back.
    HeldBack,
    /// foca refused a packet or a timer.
    Refused,
    /// Dropped: answers nothing that was asked, or speaks of or for a member that is not known.
    Unexpected,
}

pub(crate) struct Detector {
    foca: Swim,
    pace: Pace,
    timers: Timers,
    health: Health,
    nacks: Nacks,
    suspicions: Suspicions,
    guard: Guard,
    /// How often this node refuted in its present life.
    incarnation: u16,
    /// The last ping sent, for another path.
    ping: Vec<u8>,
    /// The target of that ping, if it is a suspect, and in which incarnation.
    suspect: Option<(Identity, u16)>,
    /// The cluster size that foca is configured for.
    sized_for: usize,
    reconnect: bool,
    leaving: bool,
    lately: Lately,
    told: Vec<Told>,
}

impl Detector {
    pub(crate) fn new(now: Timestamp, identity: Identity, pace: Pace, rng: StdRng) -> Self {
        Self {
            foca: Foca::new(identity, pace.foca(1), rng, WireCodec),
            pace,
            timers: Timers::default(),
            health: Health::default(),
            nacks: Nacks::default(),
            suspicions: Suspicions::default(),
            guard: Guard::new(now),
            incarnation: 0,
            ping: Vec::new(),
            suspect: None,
            sized_for: 1,
            reconnect: false,
            leaving: false,
            lately: Lately::default(),
            told: Vec::new(),
        }
    }

    pub(crate) fn identity(&self) -> &Identity {
        self.foca.identity()
    }

    /// Everybody that foca knows, the dead included.
    pub(crate) fn members(&self) -> impl ExactSizeIterator<Item = &Member<Identity>> {
        self.foca.iter_membership_state()
    }

    /// Lifeguard's local health multiplier: 0 is well, 8 is worst.
    pub(crate) fn health(&self) -> u8 {
        self.health.multiplier()
    }

    /// The member that is being probed and has not answered.
    pub(crate) fn unanswered(&self) -> Option<&Identity> {
        self.health.unanswered()
    }

    /// Takes what there is to tell since the last time.
    pub(crate) fn take_told(&mut self) -> Vec<Told> {
        std::mem::take(&mut self.told)
    }

    /// From now on this node does not come back under a new life.
    pub(crate) fn leave(&mut self) {
        self.leaving = true;
    }

    pub(crate) fn deadline(&self) -> Option<Timestamp> {
        [self.timers.next(), self.suspicions.next(), self.nacks.next()].into_iter().flatten().min()
    }

    /// Works through one thing that is due. Returns whether there was any.
    pub(crate) fn wake(&mut self, now: Timestamp) -> bool {
        if let Some(timer) = self.timers.pop(now) {
            self.fire(now, timer);
        } else if let Some(owed) = self.nacks.pop(now) {
            let packet = Packet::Nack { from: *self.identity(), target: owed.target, number: owed.number };
            self.told.push(Told::Send { to: owed.to, packet });
        } else if self.doubts(now) && self.suspicions.put_off(now, now + self.pace.suspicion_time(self.sized_for)) {
            self.told.push(Told::HeldBack);
        } else if let Some(expired) = self.suspicions.pop(now) {
            self.expire(now, expired.identity, expired.incarnation);
        } else {
            return false;
        }
        true
    }

    /// This node says no more.
    pub(crate) fn stop(&mut self) {
        self.timers.clear();
        self.nacks.clear();
        self.suspicions.clear();
    }

    fn fire(&mut self, now: Timestamp, timer: Timer<Identity>) {
        let helpers_are_asked = matches!(timer, Timer::SendIndirectProbe { .. });
        self.call(now, |foca, outbox| foca.handle_timer(timer, outbox));
        if let Some(target) = self.health.unanswered().filter(|_| helpers_are_asked).copied() {
            self.told.push(Told::Unanswered { target, ping: self.ping.clone() });
            self.ask_witness(&target);
        }
    }

    /// The time of a suspicion is up: the member is down if foca still holds just that suspicion.
    fn expire(&mut self, now: Timestamp, identity: Identity, incarnation: u16) {
        let suspected = Member::new(identity, incarnation, State::Suspect);
        if !self.members().any(|member| *member == suspected) {
            return;
        }
        let down = Member::new(identity, incarnation, State::Down);
        self.call(now, |foca, outbox| foca.apply_many(std::iter::once(down), true, outbox));
    }

    /// A packet of foca's with the notes that came along, decoded as a whole by the caller.
    pub(crate) fn receive(&mut self, now: Timestamp, parsed: &Parsed, body: &[u8], notes: &[Note]) {
        self.heard(now);
        let seen = std::iter::once((&parsed.header.src, parsed.header.src_incarnation));
        let alive = parsed.updates.iter().filter(|member| member.state() == State::Alive);
        for (identity, incarnation) in seen.chain(alive.map(|member| (member.id(), member.incarnation()))) {
            self.suspicions.seen(identity, incarnation);
        }
        self.lately.heard(&parsed.header.src);
        self.take_testimony(now, &parsed.header);
        self.call(now, |foca, outbox| foca.handle_data(body, outbox));
        if !notes.is_empty() {
            self.take_notes(now, &parsed.header.src, notes);
        }
    }

    /// Takes the notes that an active member sent about active members; the own one is an occasion to object.
    fn take_notes(&mut self, now: Timestamp, sender: &Identity, notes: &[Note]) {
        let own = *self.identity();
        let named: BTreeSet<NodeId> = notes.iter().map(|note| note.target).collect();
        let mut known = Vec::new();
        let mut sender_is_active = false;
        for member in self.foca.iter_members() {
            sender_is_active |= member.id() == sender;
            if named.contains(&member.id().id) {
                known.push(member.clone());
            }
        }
        // The sender puts the one about the receiver first; more of them would only be a way to make it talk.
        let about_own = notes.first().filter(|note| note.target == own.id && note.generation == own.generation);
        if let Some(note) = about_own {
            self.object(now, note.incarnation);
        }
        for note in notes.iter().filter(|note| note.target != own.id) {
            let target = known.iter().find(|member| {
                let id = member.id();
                id.id == note.target && id.generation == note.generation && member.incarnation() <= note.incarnation
            });
            if let Some(target) = target.filter(|_| sender_is_active && note.from != own.id) {
                let identity = *target.id();
                let suspected = Member::new(identity, note.incarnation, State::Suspect);
                self.call(now, |foca, outbox| foca.apply_many(std::iter::once(suspected), true, outbox));
                self.suspect(now, identity, *note);
            }
        }
    }

    /// Objects to a suspicion of this node in its present life, unless it did so already.
    pub(crate) fn object(&mut self, now: Timestamp, incarnation: u16) {
        if incarnation >= self.incarnation && !self.leaving {
            let suspected = Member::new(*self.identity(), incarnation, State::Suspect);
            self.call(now, |foca, outbox| foca.apply_many(std::iter::once(suspected), true, outbox));
        }
    }

    /// A helper says that it did not reach the target of the current probe.
    pub(crate) fn nacked(&mut self, now: Timestamp, from: &Identity, target: NodeId, number: u8) {
        if self.health.nacked(from.id, target, number) {
            self.heard(now);
        } else {
            self.told.push(Told::Unexpected);
        }
    }

    /// This node could not connect to a member that is suspected. While it hears nobody, that says nothing of the member.
    pub(crate) fn unreachable(&mut self, now: Timestamp, identity: &Identity) {
        let suspected = self.suspicions.incarnation_of(identity).filter(|_| !self.leaving && !self.doubts(now));
        if let Some(incarnation) = suspected {
            let own = note(identity, incarnation, self.identity().id, Paths::from(&BTreeSet::from([ProbePath::Tcp])));
            self.suspect(now, *identity, own);
        }
    }

    /// The host of a member that is held for alive refused this node a connection: it is suspected without a probe.
    pub(crate) fn refused(&mut self, now: Timestamp, identity: &Identity, incarnation: u16) {
        if self.leaving || self.doubts(now) {
            return;
        }
        let suspected = Member::new(*identity, incarnation, State::Suspect);
        self.call(now, |foca, outbox| foca.apply_many(std::iter::once(suspected), true, outbox));
        let own = note(identity, incarnation, self.identity().id, Paths::from(&BTreeSet::from([ProbePath::Tcp])));
        self.suspect(now, *identity, own);
    }

    /// Another holds a member for dead that lives here: it is suspected in its present incarnation, which is returned.
    pub(crate) fn accused(&mut self, now: Timestamp, identity: &Identity, by: NodeId) -> Option<u16> {
        let incarnation = self.foca.iter_members().find(|member| member.id() == identity)?.incarnation();
        let suspected = Member::new(*identity, incarnation, State::Suspect);
        self.call(now, |foca, outbox| foca.apply_many(std::iter::once(suspected), true, outbox));
        self.suspect(now, *identity, note(identity, incarnation, by, Paths::default()));
        Some(incarnation)
    }

    fn suspect(&mut self, now: Timestamp, identity: Identity, note: Note) {
        let others = self.foca.num_members();
        let times = Pace::transmissions(others + 1).get();
        if self.suspicions.suspect(now, identity, note, times, &self.pace.patience(others + 1)) {
            self.told.push(Told::Suspected { identity, by: note.from, paths: note.paths });
        }
    }

    /// Calls foca and carries out what it asked for.
    pub(crate) fn call(
        &mut self,
        now: Timestamp,
        call: impl FnOnce(&mut Swim, &mut Outbox) -> Result<(), foca::Error>,
    ) {
        self.call_once(now, call);
        // A new identity is disconnected until foca next looks at its members, which a packet to it would bring about.
        if std::mem::take(&mut self.reconnect) && !self.leaving {
            self.call_once(now, |foca, outbox| foca.apply_many(std::iter::empty(), false, outbox));
        }
        self.resize();
    }

    fn call_once(&mut self, now: Timestamp, call: impl FnOnce(&mut Swim, &mut Outbox) -> Result<(), foca::Error>) {
        let mut outbox = Outbox::default();
        if call(&mut self.foca, &mut outbox).is_err() {
            self.told.push(Told::Refused);
        }
        let mut failed = Paths::default();
        for notification in outbox.notifications {
            self.notified(now, &notification, &mut failed);
            self.told.push(Told::Foca(notification));
        }
        for (to, body) in outbox.sends {
            self.send(to, body);
        }
        let has_news = self.foca.updates_backlog() > 0;
        for (timer, after) in outbox.timers {
            let after = Span::from_std(after);
            if matches!(timer, Timer::PeriodicGossip(_)) && !has_news {
                self.timers.rest(now, after, timer);
            } else {
                self.submit(now, timer, after, failed);
            }
        }
        if has_news {
            self.timers.resume(now);
        }
    }

    fn notified(&mut self, now: Timestamp, notification: &OwnedNotification<Identity>, failed: &mut Paths) {
        match notification {
            OwnedNotification::DataSent(header) => self.sent(header),
            OwnedNotification::DataReceived(header) => self.received(now, header),
            OwnedNotification::ProbeFailed(_, target) => {
                let still_there = self.foca.iter_members().any(|member| member.id() == target);
                *failed = Paths::from(&self.health.probe_failed(still_there));
            }
            OwnedNotification::MemberDown(identity) | OwnedNotification::Rename(identity, _) => {
                self.suspicions.clear_one(identity.id);
            }
            OwnedNotification::Rejoin(_) => self.renewed(),
            OwnedNotification::Idle | OwnedNotification::Defunct => self.start_over(),
            OwnedNotification::MemberUp(_) | OwnedNotification::Active => {}
        }
    }

    fn sent(&mut self, header: &Header<Identity>) {
        if header.src_incarnation > self.incarnation {
            self.incarnation = header.src_incarnation;
            self.health.refuted();
        }
        match &header.message {
            Message::Ping(number) => {
                self.ping.clear();
                let target = self.foca.iter_members().find(|member| *member.id() == header.dst);
                let suspect = target.filter(|member| member.state() == State::Suspect);
                self.suspect = suspect.map(|member| (header.dst, member.incarnation()));
                self.health.probe_started(header.dst, *number);
            }
            Message::PingReq { .. } => self.health.helper_asked(header.dst.id),
            _ => {}
        }
    }

    fn received(&mut self, now: Timestamp, header: &Header<Identity>) {
        match &header.message {
            Message::Ack(number) => self.answered(&header.src, *number),
            Message::ForwardedAck { origin, probe_number } => self.answered(origin, *probe_number),
            Message::PingReq { target, probe_number } => {
                let owed = Owed { to: header.src, target: target.id, number: *probe_number };
                self.nacks.asked(now + self.pace.nack_after(), owed);
            }
            Message::IndirectAck { target: asker, probe_number } => {
                self.nacks.answered(asker.id, *probe_number, header.src.id);
            }
            _ => {}
        }
    }

    fn answered(&mut self, by: &Identity, number: u8) {
        if self.health.unanswered() == Some(by) && self.health.answered(number) {
            self.timers.join_stages(by);
        }
    }

    /// This node took up a new life.
    pub(crate) fn renewed(&mut self) {
        self.incarnation = 0;
        self.reconnect = true;
        self.start_over();
    }

    fn start_over(&mut self) {
        self.suspicions.clear();
        self.health.start_over();
    }

    /// Sends a packet of foca's with as many notes as there is room for; a suspect gets the one about itself first.
    fn send(&mut self, to: Identity, body: Vec<u8>) {
        if self.ping.is_empty() && self.health.unanswered() == Some(&to) {
            self.ping.clone_from(&body);
        }
        let mut room = note_room(body.len());
        let mut notes = Vec::new();
        // foca gossips a suspicion for a while only; a member that was out of reach for longer would never hear of it, and
        // stay suspect here for ever although it answers. So the one that is being probed hears of it as well.
        let probed = self.suspect.filter(|(suspect, _)| *suspect == to).map(|(_, incarnation)| incarnation);
        if let Some(incarnation) = self.suspicions.incarnation_of(&to).or(probed).filter(|_| room > 0) {
            notes.push(note(&to, incarnation, self.identity().id, Paths::default()));
            room -= 1;
        }
        // A suspect may be dead, and notes are told a limited number of times.
        if self.suspicions.incarnation_of(&to).is_none() {
            notes.extend(self.suspicions.take_notes(room));
        }
        let packet = if notes.is_empty() { Packet::Foca(body) } else { Packet::Noted { body, notes } };
        self.told.push(Told::Send { to, packet });
    }

    /// Sets foca's timers, except that Lifeguard's table takes the place of a fixed time of suspicion, and that the
    /// owner decides how long the dead are remembered.
    fn submit(&mut self, now: Timestamp, timer: Timer<Identity>, after: Span, failed: Paths) {
        let after = match &timer {
            Timer::ProbeRandomMember(_) | Timer::SendIndirectProbe { .. } => self.health.stretch(after),
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                let suspected = Member::new(*member_id, *incarnation, State::Suspect);
                // The member may have objected while it was being probed.
                if self.members().any(|member| *member == suspected) {
                    let own = note(member_id, *incarnation, self.identity().id, failed);
                    self.suspect(now, *member_id, own);
                }
                return;
            }
            Timer::RemoveDown(_) => return,
            _ => after,
        };
        self.timers.submit(now, after, timer);
    }

    /// foca's limits follow the size that the cluster really has.
    fn resize(&mut self) {
        let size = self.foca.num_members() + 1;
        if size != self.sized_for {
            self.sized_for = size;
            if self.foca.set_config(self.pace.foca(size)).is_err() {
                self.told.push(Told::Refused);
            }
        }
    }
}
