//! The machine: what goes in, what comes out, and the order in which one input is worked through.
//!
//! An input is applied, then everything that has become due, then foca's members are compared with the view, then what
//! became visible is told. The parts, each a file: foca's side, joining, anti-entropy, metadata, leaving, evidence.

mod anti_entropy;
mod assume;
mod conditions;
mod contact;
mod evidence;
mod foca_side;
mod forget;
mod hearsay;
mod io;
mod join;
mod leave;
mod metadata;
mod refusal;
mod rotation;
mod rtt;
mod strangers;
mod stream;
#[cfg(test)]
mod test_side;
mod ties;
mod twin;

pub use contact::Contact;
pub use io::{Admission, Effect, HostAnswer, Input, Stranger};

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{Member, MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use crate::announced::encode_metadata;
use crate::bucket::Bucket;
use crate::config::{ConfigError, FORGET_AFTER, GossipConfig, Pace, Peer};
use crate::contacts::Contacts;
use crate::detector::Detector;
use crate::envelope::Envelope;
use crate::identity::Identity;
use crate::packet::Packet;
use crate::schedule::{Alarm, Schedule};
use crate::stats::Stats;
use crate::view::{Difference, Entry, Forgotten, Held, NameConflict, View};

/// foca notifies of up and down only; everything else shows within this time of the packet that brought it.
const POLL_AFTER: Span = Span::from_millis(100);
/// The peers go to disk at most this often for each [`SAVED_AT_ONCE`] members, and at least every half minute. To put them
/// together costs as much as there are members, and of a large cluster a few old addresses lead to all the others.
const SAVE_EVERY: Span = Span::from_seconds(1);
const SAVED_AT_ONCE: usize = 64;
const LONGEST_UNSAVED: i64 = 30;
/// Answers to others' questions per second and at once: a start of a thousand nodes at one seed takes five seconds.
const ANSWERS_PER_SECOND: i64 = 200;
/// Whole views told to others per second; twice as many at once. At a thousand members each has some 200 KiB.
const SYNCS_PER_SECOND: i64 = 32;

/// The membership of one node.
pub struct Gossip {
    envelope: Envelope,
    pace: Pace,
    role: Role,
    detector: Detector,
    rng: StdRng,
    schedule: Schedule,
    view: View,
    contacts: Contacts,
    answers: Bucket,
    stats: Stats,
    out: Vec<Effect>,
    poll_at_once: bool,
    /// Whom foca may hold differently since the last poll.
    named: foca_side::Named,
    reminded: NodeId,
    asks: evidence::Asks,
    passed_over: hearsay::PassedOver,
    refusals: refusal::Refusals,
    ties: ties::Ties,
    /// When this node last raised its generation because it was told to.
    risen: Timestamp,
    twins: twin::Twins,
    timing: rtt::Timing,
    conditions: conditions::Conditions,
    /// Chances that change nothing else: when reports go out, and to whom.
    report_rng: StdRng,
    exchanges: stream::Exchanges,
    reply: Option<stream::Reply>,
    syncs: Bucket,
    pulling: anti_entropy::Pulling,
    rumors: metadata::Rumors,
    wants: BTreeMap<NodeId, metadata::Want>,
    early: metadata::Early,
    rotation: rotation::Rotation,
    leaving: Option<leave::Leaving>,
    /// When a stranger was told of last.
    stranger: Option<Timestamp>,
    stopped: bool,
    saved: Vec<Peer>,
    saved_forgotten: Vec<Forgotten>,
    last_saved: Timestamp,
}

impl Gossip {
    /// Starts a membership at `now`; `seed` decides every random choice, the nonces of encryption among them: it has to
    /// come from the system's randomness.
    ///
    /// The generation to keep, the first tries of seeds and known peers, and this node's own [`Effect::Changed`], are in `effects` already.
    ///
    /// # Errors
    /// What in the configuration cannot work, by name; nothing was started then.
    pub fn new(
        config: GossipConfig,
        seed: u64,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Self, ConfigError> {
        let pace = config.profile.pace();
        Self::with_pace(config, pace, seed, now, effects)
    }

    /// As [`Gossip::new`], with figures that belong to no profile: for simulations that look for better ones.
    ///
    /// # Errors
    /// As [`Gossip::new`].
    pub fn with_pace(
        config: GossipConfig,
        pace: Pace,
        seed: u64,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) -> Result<Self, ConfigError> {
        config.check()?;
        let rotation = rotation::Rotation::new(&config.keys, config.key_order);
        let keys = rotation.held("");
        let bytes = encode_metadata(&config.metadata, &keys)?;
        let identity = Identity::new(config.id, config.generation, config.advertise);
        let mut rng = StdRng::seed_from_u64(seed ^ config.id.0.rotate_left(32));
        let detector_rng = StdRng::seed_from_u64(rng.random());
        let envelope = Envelope::new(&config.cluster, &config.keys, &mut StdRng::seed_from_u64(!seed));
        let stamp = metadata::first_stamp(config.generation);
        let held = Held::read(stamp, bytes).expect("the own metadata was just encoded");
        let GossipConfig { seeds, known, forgotten, .. } = config;
        let mut gossip = Self {
            envelope,
            pace,
            role: held.role,
            detector: Detector::new(now, identity, pace, detector_rng),
            rng,
            schedule: Schedule::default(),
            view: View::new(now, identity, held),
            contacts: Contacts::new(now),
            answers: Bucket::new(ANSWERS_PER_SECOND, ANSWERS_PER_SECOND, now),
            stats: Stats::default(),
            out: Vec::new(),
            poll_at_once: false,
            named: foca_side::Named::default(),
            reminded: NodeId(0),
            asks: evidence::Asks::new(now),
            passed_over: hearsay::PassedOver::new(),
            refusals: refusal::Refusals::default(),
            ties: ties::Ties::default(),
            risen: Timestamp::MIN,
            twins: twin::Twins::new(now),
            timing: rtt::Timing::default(),
            conditions: conditions::Conditions::default(),
            report_rng: StdRng::seed_from_u64(seed.rotate_left(17) ^ config.id.0),
            exchanges: stream::Exchanges::default(),
            reply: None,
            syncs: Bucket::new(SYNCS_PER_SECOND, 2 * SYNCS_PER_SECOND, now),
            pulling: anti_entropy::Pulling::default(),
            rumors: metadata::Rumors::default(),
            wants: BTreeMap::new(),
            early: metadata::Early::default(),
            rotation,
            leaving: None,
            stranger: None,
            stopped: false,
            saved: known.clone(),
            saved_forgotten: forgotten.clone(),
            last_saved: now - SAVE_EVERY,
        };
        gossip.recall(now, &forgotten);
        gossip.start(now, &seeds, &known);
        gossip.hand_over(effects);
        Ok(gossip)
    }

    fn start(&mut self, now: Timestamp, seeds: &[SocketAddr], known: &[Peer]) {
        let Identity { id: own, generation, .. } = self.own();
        // Kept before anybody hears of this life, so that the next one is above it whatever happens.
        self.out.push(Effect::SaveGeneration(generation));
        self.contacts.set_seeds(now, seeds);
        for peer in known.iter().filter(|peer| peer.id != own && peer.id.0 != 0 && self.view.get(peer.id).is_none()) {
            self.contacts.add_peer(now, peer);
        }
        self.try_contacts(now);
        self.schedule_pull(now);
        self.start_reporting(now);
        self.work(now);
    }

    /// Every listed member, the own node included, sorted by name.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.view.members()
    }

    /// Rises with each visible change.
    #[must_use]
    pub fn index(&self) -> u64 {
        self.view.index()
    }

    /// Living members that claim one name.
    #[must_use]
    pub fn conflicts(&self) -> Vec<NameConflict> {
        self.view.conflicts()
    }

    /// Members that somebody said will not come back, until a day after that or until they do.
    #[must_use]
    pub fn forgotten(&self) -> Vec<Forgotten> {
        self.view.dismissed()
    }

    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// How far this node trusts its own probes (Lifeguard's local health multiplier): 0 is well, 8 is worst.
    #[must_use]
    pub fn health(&self) -> u8 {
        self.detector.health()
    }

    /// The life that this node is in.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.detector.identity().generation
    }

    /// The id of this node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.own().id
    }

    /// Where others reach this node.
    #[must_use]
    pub fn advertised(&self) -> SocketAddr {
        self.own().addr
    }

    fn own(&self) -> Identity {
        *self.detector.identity()
    }

    fn apply(&mut self, now: Timestamp, input: Input) {
        match input {
            Input::Wake => {}
            Input::Datagram { from, bytes } => self.receive(now, from, &bytes),
            Input::Timed { from, bytes, micros } => {
                self.timing.arrived = Some(micros);
                self.receive(now, from, &bytes);
                self.timing.arrived = None;
            }
            Input::Seeds(seeds) => {
                self.contacts.set_seeds(now, &seeds);
                self.arm_contacts();
            }
            Input::SetMetadata(metadata) => self.set_own_metadata(now, &metadata),
            Input::HostAnswer { id, answer } => self.host_answered(now, id, answer),
            Input::TieEnded { tie, came_about } => self.tie_ended(now, tie, came_about),
            Input::Opening { stream, frame } => self.opening(stream, &frame),
            Input::Asked { stream, frames } => self.asked(now, stream, &frames),
            Input::Exchanged { exchange, outcome } => self.exchanged(now, exchange, outcome),
            Input::SetKeys { keys, order } => self.set_keys(now, &keys, order),
            Input::OrderKeys { ticket, op } => self.order_keys(now, ticket, op),
            Input::KeysSaved(result) => self.keys_saved(now, result),
            Input::KeepFailed => self.stats.keeps_failed += 1,
            Input::Forget(id) => self.forget_member(now, id),
            Input::Leave => self.leave(now),
        }
    }

    fn receive(&mut self, now: Timestamp, from: SocketAddr, bytes: &[u8]) {
        self.stats.received_datagrams += 1;
        self.stats.received_bytes += bytes.len() as u64;
        let packet = match self.envelope.open(bytes) {
            Ok(packet) => packet,
            Err(refusal) => return self.refuse_from(now, from, refusal),
        };
        match packet {
            Packet::Foca(body) => self.receive_foca(now, &body, &[]),
            Packet::Noted { body, notes } => self.receive_foca(now, &body, &notes),
            Packet::Nack { from, target, number } => self.receive_nack(now, &from, target, number),
            Packet::Join(hello) => self.receive_join(now, from, hello),
            Packet::Welcome(hello) => self.receive_welcome(now, from, hello),
            Packet::Pull { nonce, from: puller, digest, after } => {
                self.receive_pull(now, from, nonce, puller, digest, after);
            }
            Packet::Page { nonce, next, entries } => self.receive_page(now, nonce, next, &entries),
            Packet::MetaRequest { from: asker, wanted } => self.receive_meta_request(now, from, asker, &wanted),
            Packet::Meta { news, items } => self.receive_metadata(now, news, items),
            Packet::Leave(identities) => self.receive_leave(now, &identities),
            Packet::Suspected { identity, incarnation } => self.receive_suspected(now, from, identity, incarnation),
            Packet::Refused { from, identity } => self.receive_refused(now, from, identity),
            Packet::Newer { from, held } => self.receive_newer(now, from, &held),
            Packet::Located { place, body, notes } => self.receive_located(now, place, &body, &notes),
            Packet::Report { from, report } => self.receive_report(now, from, report),
            Packet::Twin(note) => self.receive_twin(now, from, note),
            Packet::Forget(identities) => self.receive_forget(now, &identities),
            Packet::Keys { order, op } => self.receive_keys(now, order, op),
            Packet::Sync { .. } | Packet::Places(_) | Packet::Tie { .. } => self.stats.dropped_unexpected += 1,
        }
    }

    fn send(&mut self, to: SocketAddr, packet: &Packet) {
        let bytes = self.envelope.seal(packet);
        self.stats.sent_datagrams += 1;
        self.stats.sent_bytes += bytes.len() as u64;
        self.out.push(Effect::Send { to, bytes });
    }

    fn ring(&mut self, now: Timestamp, alarm: Alarm) {
        match alarm {
            Alarm::Poll => self.poll_at_once = true,
            Alarm::Contacts => self.try_contacts(now),
            Alarm::Rumors => self.spread_rumors(now),
            Alarm::Pull => self.pull_from_random(now),
            Alarm::PullTimeout => self.pull_timed_out(now),
            Alarm::Fetch => self.fetch_metadata(now),
            Alarm::Ask => self.ask_hosts(now),
            Alarm::Remind => self.remind_suspects(now),
            Alarm::Hearsay => self.look_at_hearsay(now),
            Alarm::Yield => self.yield_to_elder(),
            Alarm::Tie => self.tie(now),
            Alarm::Judge => self.judge_refusals(now),
            Alarm::List => self.view.list_unnamed(now),
            Alarm::Settle => self.settle_left(now),
            Alarm::Keys => self.tell_keys(now),
            Alarm::SavePeers => self.save_peers(now),
            Alarm::Report => self.report(now),
            Alarm::Conditions => self.show_conditions(now),
            Alarm::Forget => self.forget_old(now),
            Alarm::Leave => self.leave_round(now),
        }
    }

    fn next_due(&self) -> Option<Timestamp> {
        self.detector.deadline().into_iter().chain(self.schedule.next()).min()
    }

    /// Works through what is due and what follows from it at once, so that the next deadline lies ahead.
    fn work(&mut self, now: Timestamp) {
        loop {
            while let Some(next) = self.next_due().filter(|next| *next <= now) {
                // Of one instant, the detector's come first.
                if self.detector.deadline() == Some(next) {
                    self.detector.wake(now);
                    self.heed(now);
                } else if let Some(alarm) = self.schedule.pop(now) {
                    self.ring(now, alarm);
                }
            }
            self.conclude(now);
            if self.next_due().is_none_or(|next| next > now) {
                return;
            }
        }
    }

    /// Compares foca's members with the view if that is due, and tells what became visible.
    fn conclude(&mut self, now: Timestamp) {
        if self.poll_at_once && !self.stopped {
            self.poll(now);
        }
        let mut differences = Vec::new();
        self.view.flush(now, &mut differences);
        if !differences.is_empty() {
            self.schedule.set_by(Alarm::SavePeers, now.max(self.last_saved + self.save_every()));
            self.tie_soon(now);
        }
        self.tell(differences);
        if let Some(at) = self.view.next_unnamed() {
            self.schedule.set(Alarm::List, at);
        }
        if self.stopped {
            self.schedule.clear();
            self.detector.stop();
        }
    }

    fn tell(&mut self, differences: Vec<Difference>) {
        for difference in differences {
            self.out.push(match difference {
                Difference::Changed(change) => Effect::Changed(change),
                Difference::Removed(removal) => Effect::Removed(removal),
                Difference::Conflict(conflict) => {
                    self.stats.name_conflicts += 1;
                    Effect::NameConflict(conflict)
                }
            });
        }
    }

    /// What a change of state sets in motion.
    fn moved(&mut self, now: Timestamp, id: NodeId, before: Option<MemberState>, after: MemberState) {
        if after != MemberState::Suspect {
            self.refusals.forget(id);
        }
        match (before, after) {
            (Some(MemberState::Suspect), MemberState::Alive) => self.path_refuted(now, id),
            (_, MemberState::Down | MemberState::Left) => self.path_ended(now, id),
            _ => {}
        }
        match (before, after) {
            (Some(MemberState::Suspect), MemberState::Alive) => self.objected(now, id),
            (Some(_), MemberState::Alive) => {
                self.asks.forget(id);
                self.refresh_metadata(now, id);
                self.pull_soon(now);
            }
            (None, MemberState::Alive | MemberState::Suspect) => self.refresh_metadata(now, id),
            // Its name tells whether it is a former life of somebody who lives.
            (None, MemberState::Down) if self.view.get(id).is_some_and(|entry| entry.metadata.is_none()) => {
                self.refresh_metadata(now, id);
                self.silent(now, id);
            }
            (_, MemberState::Suspect) => self.ask(now, id),
            (_, MemberState::Down) => self.silent(now, id),
            (_, MemberState::Left) => {
                self.asks.forget(id);
                self.try_silent(now, id);
                self.schedule.set_by(Alarm::Forget, now + FORGET_AFTER);
            }
        }
    }

    fn silent(&mut self, now: Timestamp, id: NodeId) {
        self.ask(now, id);
        self.try_silent(now, id);
        self.schedule.set_by(Alarm::Forget, now + FORGET_AFTER);
    }
}

fn peer(entry: &Entry) -> Peer {
    let Identity { id, generation, addr } = entry.identity;
    Peer { id, generation, addr, name: entry.name().to_string() }
}

impl Machine for Gossip {
    type Input = Input;
    type Effect = Effect;

    fn wake() -> Input {
        Input::Wake
    }

    fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        if self.stopped {
            return;
        }
        self.note_lag(now);
        self.apply(now, input);
        self.work(now);
        self.hand_over(effects);
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.next_due()
    }
}
