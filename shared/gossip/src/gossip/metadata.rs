//! Metadata: pushed when it changes, pulled where it is lacking.
//!
//! A push is passed on like foca's own updates, a bounded number of times by each node that did not know it. A pull goes
//! to whoever was heard to have it, then by turns to its owner and to anybody, with back-off, until it is there. Of metadata
//! that is too large for a datagram, only its stamp is pushed, and the pull goes over a stream.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::RngExt;
use watchfire_shared::member::{HeldKeys, Metadata, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::{ANSWERS_PER_SECOND, Gossip};
use crate::announced::encode_metadata;
use crate::identity::Identity;
use crate::packet::{
    LEAVE_IDENTITIES, META_QUESTIONS, MetaItem, NEWER_NOTES, Packet, pack_metadata, pack_metadata_frames,
};
use crate::schedule::Alarm;
use crate::view::Held;

/// Pulls in one round; the rest follows in the next.
const QUESTIONS_PER_ROUND: usize = 4 * META_QUESTIONS;
/// The shortest time between two rounds, so that many members' metadata is asked for together.
const ROUND: Span = Span::from_millis(50);
/// How often a member is asked whether it has something newer, when nobody said so.
const REFRESHES: u32 = 2;
/// Both news spread equally fast; what has been ahead for longer belongs to nobody.
const EARLY_FOR: Span = Span::from_seconds(3);
/// A datagram each at most: a third of a megabyte. More newcomers in that time are asked.
const MOST_EARLY: usize = 256;
const FIRST_RETRY_MS: i64 = 500;
const LONGEST_RETRY_MS: i64 = 30_000;

/// News that is being passed on, with how often it still is.
#[derive(Default, Debug)]
pub(super) struct Rumors {
    metadata: BTreeMap<NodeId, u8>,
    left: BTreeMap<Identity, u8>,
    dismissed: BTreeMap<Identity, u8>,
}

/// Pushed metadata of members that are not known yet: a newcomer's metadata may come before the news of the newcomer.
#[derive(Default, Debug)]
pub(super) struct Early(BTreeMap<NodeId, (Timestamp, MetaItem)>);

impl Early {
    /// Returns whether there is room for it.
    fn keep(&mut self, now: Timestamp, item: MetaItem) -> bool {
        self.0.retain(|_, (since, _)| now.since(*since) < EARLY_FOR);
        let known = self.0.get(&item.id).map(|(_, known)| known.stamp);
        if known.is_none() && self.0.len() == MOST_EARLY {
            return false;
        }
        if known.is_none_or(|stamp| stamp < item.stamp) {
            self.0.insert(item.id, (now, item));
        }
        true
    }
}

impl Rumors {
    fn is_empty(&self) -> bool {
        self.metadata.is_empty() && self.left.is_empty() && self.dismissed.is_empty()
    }
}

/// Metadata that is lacking.
#[derive(Debug)]
pub(super) struct Want {
    /// How new it has to be; 0 for newer than what is held, if there is anything newer.
    stamp: u64,
    /// Who is known to have it.
    via: Option<NodeId>,
    /// It is too large for a datagram.
    by_stream: bool,
    attempts: u32,
    next: Timestamp,
}

/// The stamp of a life's first metadata: later lives stamp higher.
pub(super) fn first_stamp(generation: u32) -> u64 {
    (u64::from(generation) << 32) + 1
}

impl Gossip {
    pub(super) fn set_own_metadata(&mut self, now: Timestamp, metadata: &Metadata) {
        let keys = self.view.own().keys().clone();
        let Ok(bytes) = encode_metadata(metadata, &keys) else {
            self.stats.metadata_refused += 1;
            return;
        };
        let own = self.view.own();
        if own.metadata.as_ref().is_some_and(|held| held.value() == *metadata) {
            return;
        }
        let stamp = own.stamp() + 1;
        self.role = metadata.role;
        self.announce(now, stamp, bytes);
    }

    /// What this node says of itself from now on.
    fn announce(&mut self, now: Timestamp, stamp: u64, bytes: Vec<u8>) {
        let id = self.own().id;
        let held = Held::read(stamp, bytes).expect("the own metadata was just encoded");
        self.view.set_metadata(id, held);
        self.spread_own_metadata(now);
    }

    /// What this node says of its keys from now on.
    pub(super) fn announce_keys(&mut self, now: Timestamp, keys: &HeldKeys) {
        let own = self.view.own();
        let Some(held) = own.metadata.as_ref().filter(|held| held.keys != *keys) else { return };
        let bytes = encode_metadata(&held.value(), keys).expect("the own metadata was encoded before");
        let stamp = held.stamp + 1;
        self.announce(now, stamp, bytes);
    }

    /// Peers remember a later life of this node than it does: its metadata has to be newer than that life's.
    pub(super) fn restamp_metadata(&mut self, now: Timestamp, generation: u32) {
        self.stamp_own(now, first_stamp(generation));
    }

    /// Somebody else spoke in this node's name: what it says of itself has to be newer.
    ///
    /// A stamp that is far above the own one is a lie; following it could use up all stamps.
    pub(super) fn outstamp(&mut self, now: Timestamp, stamp: u64) {
        const LARGEST_STEP: u64 = 1 << 52;
        // Two that outstamp each other never end at equal stamps, which nobody could tell apart.
        const STEP: u64 = 1 << 10;
        let own = self.view.own().stamp();
        if stamp >= own && stamp - own < LARGEST_STEP {
            let step = self.rng.random_range(1..=STEP);
            self.stamp_own(now, stamp + step);
        }
    }

    fn stamp_own(&mut self, now: Timestamp, stamp: u64) {
        if self.twins.yields() {
            return;
        }
        if let Some(held) = &self.view.own().metadata {
            let bytes = held.bytes().to_vec();
            self.announce(now, stamp, bytes);
        }
    }

    pub(super) fn spread_own_metadata(&mut self, now: Timestamp) {
        let id = self.own().id;
        self.spread_metadata(now, id);
    }

    fn spread_metadata(&mut self, now: Timestamp, id: NodeId) {
        let times = self.transmissions();
        self.rumors.metadata.insert(id, times);
        self.schedule.set_by(Alarm::Rumors, now);
    }

    pub(super) fn spread_left(&mut self, now: Timestamp, identity: Identity) {
        let times = self.transmissions();
        self.rumors.left.insert(identity, times);
        self.schedule.set_by(Alarm::Rumors, now);
    }

    pub(super) fn spread_dismissed(&mut self, now: Timestamp, identity: Identity) {
        let times = self.transmissions();
        self.rumors.dismissed.insert(identity, times);
        self.schedule.set_by(Alarm::Rumors, now);
    }

    /// Sends one datagram of each kind of news to a few random members.
    pub(super) fn spread_rumors(&mut self, now: Timestamp) {
        let targets = self.random_members(self.pace.fanout);
        let sent = u8::try_from(targets.len()).unwrap_or(u8::MAX);
        let left: Vec<Identity> = self.rumors.left.keys().take(LEAVE_IDENTITIES).copied().collect();
        let dismissed: Vec<Identity> = self.rumors.dismissed.keys().take(LEAVE_IDENTITIES).copied().collect();
        let (items, notes) = self.next_news();
        let from = self.own();
        for target in &targets {
            if !left.is_empty() {
                self.send(target.addr, &Packet::Leave(left.clone()));
            }
            if !dismissed.is_empty() {
                self.tell_dismissed(target, dismissed.clone());
            }
            if !items.is_empty() {
                self.send(target.addr, &Packet::Meta { news: true, items: items.clone() });
            }
            if !notes.is_empty() {
                self.send(target.addr, &Packet::Newer { from, held: notes.clone() });
            }
        }
        if sent == 0 {
            self.rumors = Rumors::default();
        }
        spend(&mut self.rumors.left, left.into_iter(), sent);
        spend(&mut self.rumors.dismissed, dismissed.into_iter(), sent);
        let told = items.iter().map(|item| item.id).chain(notes.iter().map(|(id, _)| *id));
        spend(&mut self.rumors.metadata, told, sent);
        if !self.rumors.is_empty() {
            self.schedule.set(Alarm::Rumors, now + self.pace.gossip_interval());
        }
    }

    /// A datagram of metadata and one of notes about larger metadata, the least told first.
    fn next_news(&mut self) -> (Vec<MetaItem>, Vec<(NodeId, u64)>) {
        let mut ids: Vec<(u8, NodeId)> = self.rumors.metadata.iter().map(|(id, times)| (*times, *id)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        let items: Vec<MetaItem> = ids.iter().filter_map(|(_, id)| self.meta_item(*id, 0)).take(64).collect();
        if items.is_empty() {
            self.rumors.metadata.clear();
        }
        let (large, small): (Vec<_>, Vec<_>) = items.into_iter().partition(MetaItem::needs_stream);
        let notes = large.into_iter().map(|item| (item.id, item.stamp)).take(NEWER_NOTES).collect();
        (pack_metadata(small).into_iter().next().unwrap_or_default(), notes)
    }

    pub(super) fn meta_item(&self, id: NodeId, newer_than: u64) -> Option<MetaItem> {
        let held = self.view.get(id)?.metadata.as_ref()?;
        (held.stamp > newer_than).then(|| MetaItem { id, stamp: held.stamp, bytes: held.bytes().to_vec() })
    }

    /// Up to `count` different members that are alive or suspect.
    pub(super) fn random_members(&mut self, count: usize) -> Vec<Identity> {
        let active = self.view.active_count();
        let chosen = rand::seq::index::sample(&mut self.rng, active, count.min(active));
        let mut chosen = chosen.into_vec();
        chosen.sort_unstable();
        let mut wanted = chosen.into_iter().peekable();
        let members = self.view.active().enumerate();
        members.filter(|(at, _)| wanted.next_if_eq(at).is_some()).map(|(_, entry)| entry.identity).collect()
    }

    pub(super) fn receive_metadata(&mut self, now: Timestamp, news: bool, items: Vec<MetaItem>) {
        let own = self.own().id;
        // foca may know the member already: the view is behind it by one poll.
        if self.schedule.is_set(Alarm::Poll) && items.iter().any(|item| self.view.get(item.id).is_none()) {
            self.poll(now);
        }
        for MetaItem { id, stamp, bytes } in items {
            if id == own {
                if self.view.own().metadata.as_ref().is_some_and(|held| *held.bytes() != *bytes) {
                    self.outstamp(now, stamp);
                }
                continue;
            }
            let Some(known) = self.view.get(id) else {
                let kept = news && self.early.keep(now, MetaItem { id, stamp, bytes });
                self.stats.dropped_unexpected += u64::from(!kept);
                continue;
            };
            if stamp <= known.stamp() {
                continue;
            }
            let Some(held) = Held::read(stamp, bytes) else {
                self.stats.dropped_malformed += 1;
                continue;
            };
            // What was fetched because of a note, or turned out to be newer by comparing views, is news to others too.
            let noted = self.wants.get(&id).is_some_and(|want| want.by_stream && want.via.is_some());
            let missed = known.stamp() > 0;
            self.view.set_metadata(id, held);
            if self.wants.get(&id).is_some_and(|want| want.stamp <= stamp) {
                self.wants.remove(&id);
            }
            if news || noted || missed {
                self.spread_metadata(now, id);
            }
        }
    }

    /// A member is new or in a new life; its push is awaited a little before it is asked.
    pub(super) fn refresh_metadata(&mut self, now: Timestamp, id: NodeId) {
        if let Some((_, item)) = self.early.0.remove(&id) {
            self.receive_metadata(now, true, vec![item]);
        }
        // Everybody may ask at once, and the member answers so many in a second.
        let askers = i64::try_from(self.view.active_count()).unwrap_or(0);
        let spread = 300 + 1000 * askers / ANSWERS_PER_SECOND;
        let delay = Span::from_millis(self.rng.random_range(200..200 + spread));
        self.want(now + delay, id, 0, None, false);
    }

    /// `via` has metadata of this stamp; it is asked for at once if that is newer.
    pub(super) fn want_metadata(&mut self, now: Timestamp, id: NodeId, stamp: u64, via: NodeId) {
        if self.view.get(id).is_some_and(|entry| entry.stamp() < stamp) {
            self.want(now + ROUND, id, stamp, Some(via), false);
        }
    }

    /// A member holds metadata that is too large for a datagram; what is newer here is fetched from it at once.
    pub(super) fn receive_newer(&mut self, now: Timestamp, from: Identity, held: &[(NodeId, u64)]) {
        if !self.view.is_active(from.id) {
            self.stats.dropped_unexpected += 1;
            return;
        }
        let own = self.own().id;
        for (id, stamp) in held.iter().filter(|(id, _)| *id != own) {
            if self.view.get(*id).is_some_and(|entry| entry.stamp() < *stamp) {
                self.want(now, *id, *stamp, Some(from.id), true);
            }
        }
    }

    fn want(&mut self, next: Timestamp, id: NodeId, stamp: u64, via: Option<NodeId>, by_stream: bool) {
        let new = Want { stamp, via, by_stream, attempts: 0, next };
        let want = self.wants.entry(id).or_insert(new);
        if by_stream && !want.by_stream {
            want.by_stream = true;
            want.attempts = 0;
        }
        want.stamp = want.stamp.max(stamp);
        want.via = via.or(want.via);
        want.next = want.next.min(next);
        self.schedule.set_by(Alarm::Fetch, next);
    }

    /// Asks for the metadata whose time has come, all questions to one member in one datagram.
    pub(super) fn fetch_metadata(&mut self, now: Timestamp) {
        let due = self.wants.iter().filter(|(_, want)| want.next <= now).map(|(id, _)| *id);
        let due: Vec<NodeId> = due.take(QUESTIONS_PER_ROUND).collect();
        let mut questions: BTreeMap<(SocketAddr, bool), Vec<(NodeId, u64)>> = BTreeMap::new();
        for id in due {
            let by_stream = self.wants.get(&id).is_some_and(|want| want.by_stream);
            if let Some((target, held)) = self.next_question(now, id) {
                questions.entry((target.addr, by_stream)).or_default().push((id, held));
            } else {
                self.wants.remove(&id);
            }
        }
        let from = self.own();
        for ((to, by_stream), asked) in questions {
            for wanted in asked.chunks(META_QUESTIONS) {
                let request = Packet::MetaRequest { from, wanted: wanted.to_vec() };
                if by_stream {
                    self.begin_fetch(to, &request);
                } else {
                    self.send(to, &request);
                }
            }
        }
        if let Some(next) = self.wants.values().map(|want| want.next).min() {
            self.schedule.set(Alarm::Fetch, next.max(now + ROUND));
        }
    }

    /// Whom to ask for a member's metadata, and what is held of it; `None` if nothing is lacking any more.
    fn next_question(&mut self, now: Timestamp, id: NodeId) -> Option<(Identity, u64)> {
        let entry = self.view.get(id)?;
        let held = entry.stamp();
        let owner = Some(entry.identity).filter(|_| entry.is_active());
        let want = self.wants.get(&id)?;
        let satisfied = if want.stamp == 0 { want.attempts >= REFRESHES } else { held >= want.stamp };
        if held > 0 && satisfied {
            return None;
        }
        let attempts = want.attempts;
        let via = want.via.filter(|via| attempts == 0 && self.view.is_active(*via));
        let via = via.and_then(|via| self.view.get(via)).map(|entry| entry.identity);
        let random = self.random_active();
        let turn = if attempts % 2 == 0 { owner.or(random) } else { random.or(owner) };
        let delay = (FIRST_RETRY_MS << attempts.min(8)).min(LONGEST_RETRY_MS);
        let delay = Span::from_millis(self.rng.random_range(delay * 3 / 4..=delay));
        let want = self.wants.get_mut(&id)?;
        want.attempts = attempts.saturating_add(1);
        want.next = now + delay;
        via.or(turn).map(|target| (target, held))
    }

    pub(super) fn receive_meta_request(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        asker: Identity,
        wanted: &[(NodeId, u64)],
    ) {
        if !self.view.is_active(asker.id) {
            self.stats.dropped_unexpected += 1;
            return;
        }
        let items = wanted.iter().filter_map(|(id, held)| self.meta_item(*id, *held));
        let (large, small): (Vec<_>, Vec<_>) = items.partition(MetaItem::needs_stream);
        let held: Vec<(NodeId, u64)> = large.iter().map(|item| (item.id, item.stamp)).take(NEWER_NOTES).collect();
        let notes = Some(Packet::Newer { from: self.own(), held }).filter(|_| !large.is_empty());
        let items = pack_metadata(small).into_iter().map(|items| Packet::Meta { news: false, items });
        for packet in items.chain(notes) {
            if !self.answers.take(now) {
                self.stats.dropped_rate_limited += 1;
                return;
            }
            self.send(from, &packet);
        }
    }

    /// The same over a stream, where everything fits.
    pub(super) fn answer_meta_request(&mut self, asker: Identity, wanted: &[(NodeId, u64)]) -> Vec<Packet> {
        if !self.view.is_active(asker.id) {
            self.stats.dropped_unexpected += 1;
            return Vec::new();
        }
        let items: Vec<MetaItem> = wanted.iter().filter_map(|(id, held)| self.meta_item(*id, *held)).collect();
        pack_metadata_frames(items).into_iter().map(|items| Packet::Meta { news: false, items }).collect()
    }
}

fn spend<K: Ord>(rumors: &mut BTreeMap<K, u8>, told: impl Iterator<Item = K>, times: u8) {
    for key in told {
        if let Some(left) = rumors.get_mut(&key) {
            *left = left.saturating_sub(times);
            if *left == 0 {
                rumors.remove(&key);
            }
        }
    }
}
