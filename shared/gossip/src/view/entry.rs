//! One member of the view.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use foca::State;
use watchfire_shared::member::{
    Condition, ConditionName, DownCause, HeldKeys, Member, MemberState, Metadata, NodeId, ProbePath, Role, SuspicionEnd,
};
use watchfire_shared::time::{Span, Timestamp};

use super::Forgotten;
use super::doubts::Doubts;
use crate::announced::{Spoken, decode_metadata};
use crate::gossip::HostAnswer;
use crate::identity::Identity;
use crate::packet::{PageEntry, Standing};
use crate::place::{PackedPlace, Place, RoundTrips};

/// Metadata as it is passed on, and how new it is: higher stamps are newer.
///
/// A view holds thousands of these, so it is read where it is shown, and only what decisions need is kept beside it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Held {
    pub(crate) stamp: u64,
    bytes: Box<[u8]>,
    name: Arc<str>,
    pub(crate) role: Role,
    /// The latest protocol that the node speaks.
    pub(crate) protocol: u16,
    /// The keys that the node says it holds.
    pub(crate) keys: HeldKeys,
}

impl Held {
    /// Takes what came from another node; nothing if it is malformed.
    pub(crate) fn read(stamp: u64, bytes: Vec<u8>) -> Option<Self> {
        let (Metadata { name, role, .. }, Spoken { protocol, keys }) = decode_metadata(&bytes)?;
        Some(Self { stamp, bytes: bytes.into(), name: name.into(), role, protocol, keys })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the node says of itself.
    pub(crate) fn value(&self) -> Metadata {
        decode_metadata(&self.bytes).expect("the bytes were read when they came").0
    }
}

/// How a member was listed last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Listed {
    pub(crate) name: Arc<str>,
    pub(crate) state: MemberState,
    /// Two looks that differ have different ones.
    look: u64,
}

impl Listed {
    pub(super) fn of(member: &Member, name: Arc<str>) -> Self {
        // Every field by name, so that none is forgotten. What is left out changes all the time, or no view knows it.
        let Member {
            id,
            name: called,
            addr,
            state,
            since,
            incarnation,
            generation,
            role,
            labels,
            version,
            services,
            rtt_ms: _,
            suspected_by,
            cause,
            conditions,
            suspicions,
            keys,
            pools: _,
            gossip_off: _,
            namesakes,
        } = member;
        let mut hasher = DefaultHasher::new();
        (id, called, addr, state, since, incarnation, generation, role).hash(&mut hasher);
        (labels, version, services, keys).hash(&mut hasher);
        (suspected_by, cause, conditions, suspicions, namesakes).hash(&mut hasher);
        Self { name, state: *state, look: hasher.finish() }
    }
}

/// A condition as it is shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Shown {
    pub(crate) name: ConditionName,
    pub(crate) since: Timestamp,
    pub(crate) by: Vec<NodeId>,
    pub(crate) detail: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) conditions: Vec<Shown>,
    pub(crate) identity: Identity,
    pub(crate) incarnation: u16,
    pub(crate) state: MemberState,
    pub(crate) since: Timestamp,
    pub(crate) first_seen: Timestamp,
    pub(crate) metadata: Option<Box<Held>>,
    /// What it was called in an earlier life of the own node.
    called: Option<Arc<str>>,
    /// It lacked metadata for so long that it is listed without.
    pub(crate) waited: bool,
    /// This node ever saw it alive.
    pub(crate) seen_alive: bool,
    /// Another id lives under its name.
    pub(crate) replaced: bool,
    /// Somebody said that it will not come back: kept so that old news does not bring it back, and listed no more.
    pub(crate) dismissed: bool,
    /// The life that said goodbye.
    pub(crate) left_generation: Option<u32>,
    doubts: Doubts,
    /// What its host answered since it fell silent.
    answer: Option<HostAnswer>,
    /// How often its host was asked since it fell silent.
    pub(crate) asked: u32,
    /// How it was listed last.
    pub(crate) listed: Option<Listed>,
    pub(crate) round_trips: RoundTrips,
    /// Where it said that it stands.
    pub(crate) place: Option<PackedPlace>,
}

/// foca's states as they are listed.
pub(crate) fn visible(state: State) -> MemberState {
    match state {
        State::Alive => MemberState::Alive,
        State::Suspect => MemberState::Suspect,
        State::Down => MemberState::Down,
    }
}

impl Entry {
    pub(crate) fn new(now: Timestamp, identity: Identity, incarnation: u16, state: MemberState) -> Self {
        Self {
            conditions: Vec::new(),
            identity,
            incarnation,
            state,
            since: now,
            first_seen: now,
            metadata: None,
            called: None,
            waited: false,
            seen_alive: matches!(state, MemberState::Alive | MemberState::Suspect),
            replaced: false,
            dismissed: false,
            left_generation: (state == MemberState::Left).then_some(identity.generation),
            doubts: Doubts::default(),
            answer: None,
            asked: 0,
            listed: None,
            round_trips: RoundTrips::default(),
            place: None,
        }
    }

    /// A member that was dismissed in an earlier life of the own node.
    pub(crate) fn dismissed(gone: &Forgotten) -> Self {
        let identity = Identity::new(gone.id, gone.generation, gone.addr);
        let called = Some(gone.name.as_str().into());
        Self { called, dismissed: true, ..Self::new(gone.at, identity, 0, MemberState::Down) }
    }

    /// Milliseconds to it and back from a node that stands at `own`, in hundredths: measured, or else estimated.
    pub(crate) fn rtt_ms(&self, own: &Place) -> Option<f64> {
        let measured = self.round_trips.median().map(|micros| f64::from(micros) / 1e3);
        let estimated = || self.place.map(|place| Place::from(place).distance(own) * 1e3);
        measured.or_else(estimated).map(|millis| (millis * 100.0).round() / 100.0)
    }

    pub(crate) fn is_active(&self) -> bool {
        matches!(self.state, MemberState::Alive | MemberState::Suspect)
    }

    /// Whether it says that it is a collector.
    pub(crate) fn is_collector(&self) -> bool {
        self.metadata.as_ref().is_some_and(|held| held.role == Role::Collector)
    }

    pub(crate) fn stamp(&self) -> u64 {
        self.metadata.as_ref().map_or(0, |held| held.stamp)
    }

    /// The latest protocol that it is known to speak: the first while it has not said so.
    pub(crate) fn protocol(&self) -> u16 {
        self.metadata.as_ref().map_or(1, |held| held.protocol)
    }

    /// The keys that it says it holds: none while it has not said so.
    pub(crate) fn keys(&self) -> &HeldKeys {
        const NONE: &HeldKeys = &HeldKeys { ids: Vec::new(), order: 0, trouble: String::new() };
        self.metadata.as_ref().map_or(NONE, |held| &held.keys)
    }

    /// The name that it goes by: its own, as far as that is known, or its id.
    pub(crate) fn name(&self) -> Arc<str> {
        let held = self.metadata.as_ref().map(|held| held.name.clone());
        held.or_else(|| self.called.clone()).unwrap_or_else(|| self.identity.id.to_string().into())
    }

    /// What foca's state means for a member that may have said goodbye.
    fn state_for(&self, generation: u32, state: State) -> MemberState {
        if self.left_generation == Some(generation) { MemberState::Left } else { visible(state) }
    }

    /// Whether an observation brings nothing new.
    pub(crate) fn same(&self, identity: &Identity, incarnation: u16, state: State) -> bool {
        self.identity == *identity
            && self.incarnation == incarnation
            && self.state == self.state_for(identity.generation, state)
    }

    /// Takes an observation. Returns the states before and after if the state changed.
    pub(crate) fn observe(
        &mut self,
        now: Timestamp,
        identity: Identity,
        incarnation: u16,
        state: State,
    ) -> Option<(Option<MemberState>, MemberState)> {
        if identity.generation < self.identity.generation {
            return None;
        }
        if identity.generation > self.identity.generation {
            self.doubts.close(now, SuspicionEnd::Restarted);
        }
        if identity.generation > self.identity.generation && state != State::Down {
            self.dismissed = false;
        }
        self.identity = identity;
        self.incarnation = incarnation;
        self.enter(now, self.state_for(identity.generation, state))
    }

    /// Takes note that nobody expects this life back.
    pub(crate) fn dismiss(&mut self, now: Timestamp) {
        if self.is_active() {
            self.enter(now, MemberState::Down);
        }
        self.dismissed = true;
        // Kept for as long as others may still speak of it.
        self.since = now;
    }

    /// Whether it counts among the members, and is told to others.
    pub(crate) fn is_listed(&self) -> bool {
        !self.replaced && !self.dismissed
    }

    /// Marks this life as one that said goodbye. Returns the states before and after if the state changed.
    pub(crate) fn leave(&mut self, now: Timestamp) -> Option<(Option<MemberState>, MemberState)> {
        self.left_generation = Some(self.identity.generation);
        self.enter(now, MemberState::Left)
    }

    fn enter(&mut self, now: Timestamp, state: MemberState) -> Option<(Option<MemberState>, MemberState)> {
        if state == self.state {
            return None;
        }
        let previous = std::mem::replace(&mut self.state, state);
        self.since = now;
        match state {
            MemberState::Alive => {
                self.seen_alive = true;
                self.answer = None;
                self.asked = 0;
                self.doubts.close(now, SuspicionEnd::Refuted);
            }
            MemberState::Suspect => drop(self.doubts.open(now)),
            MemberState::Down => self.doubts.close(now, self.end_of_silence()),
            MemberState::Left => self.doubts.close(now, SuspicionEnd::Left),
        }
        Some((Some(previous), state))
    }

    fn end_of_silence(&self) -> SuspicionEnd {
        match self.answer {
            Some(HostAnswer::Refused) => SuspicionEnd::Refused,
            _ => SuspicionEnd::Confirmed,
        }
    }

    /// `by` suspects this life of the member and tried these paths to it.
    pub(crate) fn suspected(&mut self, now: Timestamp, identity: &Identity, by: NodeId, paths: Vec<ProbePath>) {
        if self.identity == *identity && self.is_active() {
            self.doubts.suspected(now, by, paths);
        }
    }

    /// Whether the last suspicion was refuted, and somebody beside `id` had it.
    pub(crate) fn was_suspected_by_others_than(&self, id: NodeId) -> bool {
        let last = self.doubts.last().filter(|last| last.end == Some(SuspicionEnd::Refuted));
        last.is_some_and(|last| last.by.iter().any(|suspecter| suspecter.id != id))
    }

    /// Whether `id` itself suspects the member, or did before it was confirmed down.
    pub(crate) fn is_suspected_by(&self, id: NodeId) -> bool {
        self.is_silent() && self.doubts.last().is_some_and(|last| last.by.iter().any(|suspecter| suspecter.id == id))
    }

    /// When it came back after it was confirmed dead, if that is how it began to live.
    pub(crate) fn was_dead_until(&self) -> Option<Timestamp> {
        let last = self.doubts.last().filter(|last| self.is_active() && last.until.is_some());
        let died = last.is_some_and(|last| matches!(last.end, Some(SuspicionEnd::Confirmed | SuspicionEnd::Refused)));
        died.then_some(self.since)
    }

    /// Since when a suspect is known to be silent, at the latest: a probe was sent one `probe` before it counts as failed, and
    /// a connection is tried when it is refused.
    pub(crate) fn silent_since(&self, probe: Span) -> Timestamp {
        let by = self.doubts.last().into_iter().flat_map(|last| &last.by);
        let since = by.map(
            |suspecter| {
                if suspecter.paths.contains(&ProbePath::Udp) { suspecter.at - probe } else { suspecter.at }
            },
        );
        since.min().unwrap_or(self.since)
    }

    fn is_silent(&self) -> bool {
        matches!(self.state, MemberState::Suspect | MemberState::Down)
    }

    /// What its host answered since it fell silent.
    pub(crate) fn answer(&self) -> Option<HostAnswer> {
        self.answer
    }

    pub(crate) fn answered(&mut self, answer: HostAnswer) {
        self.answer = Some(answer);
        if answer == HostAnswer::Refused && self.state == MemberState::Down {
            self.doubts.refused();
        }
    }

    /// What the host's answer says of a member that is down. A host that accepts runs something; that is no cause.
    fn cause(&self) -> Option<DownCause> {
        match self.answer {
            Some(HostAnswer::Refused | HostAnswer::RefusedStreams) if self.state == MemberState::Down => {
                Some(DownCause::Refused)
            }
            Some(HostAnswer::Silent) if self.state == MemberState::Down => Some(DownCause::Silent),
            _ => None,
        }
    }

    /// How the member is listed; `name` names other members.
    pub(crate) fn member(&self, name: impl Fn(NodeId) -> Arc<str>) -> Member {
        let metadata = self.metadata.as_ref().map(|held| held.value()).unwrap_or_default();
        let name = |id| if id == self.identity.id { self.name() } else { name(id) };
        let name = |id| name(id).to_string();
        let suspicions = self.doubts.named(name);
        let conditions = self.conditions.iter().map(|shown| Condition {
            name: shown.name,
            since: shown.since,
            seen_by: shown.by.iter().map(|id| name(*id)).collect(),
            detail: shown.detail.clone(),
        });
        let last = suspicions.last().filter(|_| self.is_silent());
        let suspected_by = last.map(|last| last.by.iter().map(|suspecter| suspecter.name.clone()).collect());
        Member {
            id: self.identity.id,
            name: self.name().to_string(),
            addr: self.identity.addr,
            state: self.state,
            since: self.since,
            incarnation: self.incarnation.into(),
            generation: self.identity.generation,
            role: metadata.role,
            labels: metadata.labels,
            version: metadata.version,
            services: metadata.services,
            rtt_ms: None,
            suspected_by: suspected_by.unwrap_or_default(),
            cause: self.cause(),
            conditions: conditions.collect(),
            suspicions,
            keys: Box::new(self.keys().clone()),
            pools: Vec::new(),
            gossip_off: false,
            namesakes: Vec::new(),
        }
    }

    fn standing(&self) -> Standing {
        match self.state {
            MemberState::Alive | MemberState::Suspect => Standing::Active,
            MemberState::Down => Standing::Down,
            MemberState::Left => Standing::Left,
        }
    }

    pub(crate) fn page(&self, now: Timestamp) -> PageEntry {
        let age = now.since(self.since).as_millis() / 1000;
        PageEntry {
            identity: self.identity,
            incarnation: self.incarnation,
            standing: self.standing(),
            stamp: self.stamp(),
            age_seconds: if self.is_active() { 0 } else { u32::try_from(age).unwrap_or(0) },
        }
    }

    /// A hash over what views have to agree on; suspicion and incarnation come and go too fast for that.
    pub(crate) fn digest(&self) -> u64 {
        let standing = self.standing() as u64;
        [u64::from(self.identity.generation), standing, self.stamp()]
            .into_iter()
            .fold(mix(self.identity.id.0), |hash, field| mix(hash ^ field))
    }
}

/// A member's part in a number that two views share which hold the same members for alive.
pub(crate) fn active_digest(id: NodeId) -> u64 {
    mix(id.0)
}

/// The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators").
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
