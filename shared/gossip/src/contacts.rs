//! The addresses that are tried until a living member answers there: seeds, stored peers, and members that went silent.
//!
//! An address whose member lives is parked and looked at again now and then; no address is ever given up while it is a
//! seed or while this node is alone. Tries back off from half a second to ten within the first minute, then to thirty;
//! to three while this node is alone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use rand::RngExt;
use rand::rngs::StdRng;
use watchfire_shared::limits::MAX_MEMBERS;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use crate::bucket::Bucket;
use crate::config::{FORGET_AFTER, Peer};
use crate::identity::canonical;

/// Seeds that are kept; more names than this resolve to a mistake.
const MAX_SEEDS: usize = 256;
/// Tries per second and at once, over all addresses. Sixteen reach any living seed list and stay under 1 KiB/s.
const TRIES_PER_SECOND: i64 = 16;
const FIRST_DELAY_MS: f64 = 500.0;
const GROWTH: f64 = 1.6;
const LONGEST_DELAY_AT_FIRST_MS: f64 = 10_000.0;
const LONGEST_DELAY_MS: f64 = 30_000.0;
/// Whoever is alone is found by nobody else: of two that were cut apart, both try.
const LONGEST_DELAY_ALONE_MS: f64 = 3_000.0;
const AT_FIRST: Span = Span::from_seconds(60);
/// When a parked address is looked at again, rounded so that many are looked at in one wake.
const PARKED: Span = Span::from_seconds(20);
const PARKED_STEP: Span = Span::from_seconds(10);

#[derive(Debug)]
struct Contact {
    seed: bool,
    /// Who is said to be there.
    peer: Option<Peer>,
    /// Who answered there last.
    answered_by: Option<NodeId>,
    nonce: u32,
    /// What whoever answers to this nonce was already told to rise above.
    told: u32,
    attempts: i32,
    failing_since: Timestamp,
    next: Timestamp,
}

/// One address to try now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Try {
    pub(crate) addr: SocketAddr,
    pub(crate) nonce: u32,
    /// Who is thought to be there, to tell it what it has to rise above.
    pub(crate) expected: Option<NodeId>,
}

#[derive(Debug)]
pub(crate) struct Contacts {
    by_addr: BTreeMap<SocketAddr, Contact>,
    due: BTreeSet<(Timestamp, SocketAddr)>,
    by_nonce: BTreeMap<u32, SocketAddr>,
    budget: Bucket,
}

impl Contacts {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            by_addr: BTreeMap::new(),
            due: BTreeSet::new(),
            by_nonce: BTreeMap::new(),
            budget: Bucket::new(TRIES_PER_SECOND, TRIES_PER_SECOND, now),
        }
    }

    /// Makes `seeds` the seeds; an empty list changes nothing, since it is what a failed name lookup looks like.
    pub(crate) fn set_seeds(&mut self, now: Timestamp, seeds: &[SocketAddr]) {
        if seeds.is_empty() {
            return;
        }
        let seeds: BTreeSet<SocketAddr> = seeds.iter().take(MAX_SEEDS).copied().map(canonical).collect();
        let gone: Vec<SocketAddr> = self
            .by_addr
            .iter_mut()
            .filter(|(addr, contact)| contact.seed && !seeds.contains(addr))
            .filter_map(|(addr, contact)| {
                contact.seed = false;
                contact.peer.is_none().then_some(*addr)
            })
            .collect();
        gone.into_iter().for_each(|addr| self.remove(addr));
        for addr in seeds {
            self.insert(now, addr, None);
            if let Some(contact) = self.by_addr.get_mut(&addr) {
                contact.seed = true;
            }
        }
    }

    /// Adds a peer to be tried at once, or takes note of its newer life.
    pub(crate) fn add_peer(&mut self, now: Timestamp, peer: &Peer) {
        let addr = canonical(peer.addr);
        self.insert(now, addr, Some(peer.clone()));
    }

    fn insert(&mut self, now: Timestamp, addr: SocketAddr, peer: Option<Peer>) {
        if let Some(known) = self.by_addr.get_mut(&addr) {
            if peer.is_some() {
                known.peer = peer;
            }
            return;
        }
        if self.by_addr.len() >= MAX_MEMBERS + MAX_SEEDS {
            return;
        }
        let contact = Contact {
            seed: false,
            peer,
            answered_by: None,
            nonce: 0,
            told: 0,
            attempts: 0,
            failing_since: now,
            next: now,
        };
        self.by_addr.insert(addr, contact);
        self.due.insert((now, addr));
    }

    fn remove(&mut self, addr: SocketAddr) {
        if let Some(contact) = self.by_addr.remove(&addr) {
            self.due.remove(&(contact.next, addr));
            self.by_nonce.remove(&contact.nonce);
        }
    }

    /// The member at this address fell silent or returned under conditions: try it from the start of the back-off.
    pub(crate) fn wake(&mut self, now: Timestamp, after: Span, peer: &Peer) {
        self.add_peer(now + after, peer);
        let addr = canonical(peer.addr);
        if let Some(contact) = self.by_addr.get_mut(&addr) {
            self.due.remove(&(contact.next, addr));
            contact.attempts = 0;
            contact.failing_since = now;
            contact.next = now + after;
            self.due.insert((contact.next, addr));
        }
    }

    /// Everybody fell silent: all addresses start again, spread over the first second.
    pub(crate) fn wake_all(&mut self, now: Timestamp, rng: &mut StdRng) {
        self.due.clear();
        for (addr, contact) in &mut self.by_addr {
            contact.attempts = 0;
            contact.failing_since = now;
            contact.next = now + Span::from_millis(rng.random_range(0..1000));
            self.due.insert((contact.next, *addr));
        }
    }

    /// A member forgotten by the view is not tried any more, unless its address is a seed.
    pub(crate) fn forget(&mut self, id: NodeId) {
        let addrs: Vec<SocketAddr> = self
            .by_addr
            .iter_mut()
            .filter(|(_, contact)| contact.peer.as_ref().is_some_and(|peer| peer.id == id))
            .filter_map(|(addr, contact)| {
                contact.peer = None;
                (!contact.seed).then_some(*addr)
            })
            .collect();
        addrs.into_iter().for_each(|addr| self.remove(addr));
    }

    /// Notes who answered to the try `nonce`; `false` if nobody was asked with it.
    pub(crate) fn answered(&mut self, nonce: u32, by: NodeId) -> bool {
        let Some(contact) = self.by_nonce.get(&nonce).and_then(|addr| self.by_addr.get_mut(addr)) else { return false };
        contact.answered_by = Some(by);
        true
    }

    /// Whoever answered to `nonce` lives, but this node is not taken in yet: it is tried again soon unless that happens.
    pub(crate) fn try_again_soon(&mut self, now: Timestamp, nonce: u32) {
        let Some(addr) = self.by_nonce.get(&nonce).copied() else { return };
        if let Some(contact) = self.by_addr.get_mut(&addr) {
            self.due.remove(&(contact.next, addr));
            contact.attempts = 0;
            contact.next = contact.next.min(now + Span::from_millis(FIRST_DELAY_MS as i64));
            self.due.insert((contact.next, addr));
        }
    }

    /// Notes that the one who answers to `nonce` is told to rise above `floor`; `false` if it was told before.
    pub(crate) fn tell(&mut self, nonce: u32, floor: u32) -> bool {
        let Some(contact) = self.by_nonce.get(&nonce).and_then(|addr| self.by_addr.get_mut(addr)) else { return false };
        std::mem::replace(&mut contact.told, floor) < floor
    }

    /// When the next address is due.
    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes the addresses to try now. `lives` says whether a member is alive there; `alone` that nobody is.
    ///
    /// Returns the tries and when to ask again.
    pub(crate) fn take_due(
        &mut self,
        now: Timestamp,
        rng: &mut StdRng,
        alone: bool,
        lives: impl Fn(NodeId, SocketAddr) -> bool,
    ) -> (Vec<Try>, Option<Timestamp>) {
        let mut tries = Vec::new();
        while let Some((at, addr)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            let Some(contact) = self.by_addr.get_mut(&addr) else {
                self.due.remove(&(at, addr));
                continue;
            };
            let expected = contact.answered_by.or(contact.peer.as_ref().map(|peer| peer.id));
            if expected.is_some_and(|id| lives(id, addr)) {
                contact.attempts = 0;
                contact.failing_since = now;
                contact.next = (now + PARKED).floor(PARKED_STEP);
            } else if !contact.seed && !alone && now.since(contact.failing_since) > FORGET_AFTER {
                self.remove(addr);
                continue;
            } else if self.budget.take(now) {
                self.by_nonce.remove(&contact.nonce);
                contact.nonce = rng.random_range(1..=u32::MAX);
                self.by_nonce.insert(contact.nonce, addr);
                contact.told = 0;
                tries.push(Try { addr, nonce: contact.nonce, expected });
                contact.next = now + delay(rng, alone, contact.attempts, now.since(contact.failing_since));
                contact.attempts = contact.attempts.saturating_add(1);
            } else {
                return (tries, Some(self.budget.ready_at(now)));
            }
            let next = contact.next;
            self.due.remove(&(at, addr));
            self.due.insert((next, addr));
        }
        (tries, self.next())
    }

    /// Whether no address is tried at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_addr.is_empty()
    }

    /// Peers that are tried, whoever they turn out to be.
    pub(crate) fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.by_addr.values().filter_map(|contact| contact.peer.as_ref())
    }
}

fn delay(rng: &mut StdRng, alone: bool, attempts: i32, failing_for: Span) -> Span {
    let longest = match alone {
        true => LONGEST_DELAY_ALONE_MS,
        false if failing_for < AT_FIRST => LONGEST_DELAY_AT_FIRST_MS,
        false => LONGEST_DELAY_MS,
    };
    let delay = (FIRST_DELAY_MS * GROWTH.powi(attempts.min(20))).min(longest);
    Span::from_millis((delay * rng.random_range(0.75..1.0)) as i64)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn addr(n: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, n], 1))
    }

    /// Runs the contacts for `seconds` and returns when each try was made.
    fn tries(contacts: &mut Contacts, from: i64, seconds: i64, alive: &[u64]) -> Vec<(i64, SocketAddr)> {
        let mut rng = StdRng::seed_from_u64(1);
        let mut seen = Vec::new();
        let mut next = contacts.next();
        while let Some(now) = next.map(|next| next.max(at(from))).filter(|now| *now < at(from + seconds * 1000)) {
            let (tries, after) = contacts.take_due(now, &mut rng, false, |id, _| alive.contains(&id.0));
            seen.extend(tries.iter().map(|one| (now.as_millis(), one.addr)));
            next = after;
        }
        seen
    }

    #[test]
    fn a_silent_seed_is_tried_at_once_and_for_ever_with_back_off() {
        let mut contacts = Contacts::new(at(0));
        contacts.set_seeds(at(0), &[addr(1)]);
        let seen = tries(&mut contacts, 0, 3 * 24 * 3600, &[]);
        let gaps: Vec<i64> = seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
        assert_eq!(seen[0].0, 0);
        assert!((375..=500).contains(&gaps[0]), "{}", gaps[0]);
        let at_first = seen.iter().filter(|(at, _)| *at < 60_000).count();
        assert!((9..=16).contains(&at_first), "{at_first}");
        assert!(gaps.iter().all(|gap| *gap <= 30_000));
        assert!(gaps.last().is_some_and(|gap| *gap >= 22_500));
        contacts.set_seeds(at(0), &[]);
        assert!(contacts.next().is_some(), "a failed lookup takes no seed away");
    }

    #[test]
    fn many_addresses_are_tried_at_a_bounded_rate_and_living_ones_not_at_all() {
        let mut contacts = Contacts::new(at(0));
        for n in 1..=200 {
            let peer = Peer { id: NodeId(n.into()), generation: 1, addr: addr(n), name: String::new() };
            contacts.add_peer(at(0), &peer);
        }
        let seen = tries(&mut contacts, 0, 10, &[7]);
        assert!(seen.len() <= 16 + 10 * 16, "{}", seen.len());
        assert!(seen.iter().all(|(_, tried)| *tried != addr(7)));
        let distinct: BTreeSet<SocketAddr> = seen.iter().map(|(_, addr)| *addr).collect();
        assert!(distinct.len() > 60, "no address starves the others: {}", distinct.len());
    }

    #[test]
    fn peers_that_never_answer_are_given_up_after_a_day_and_seeds_are_not() {
        let mut contacts = Contacts::new(at(0));
        contacts.set_seeds(at(0), &[addr(1)]);
        contacts.add_peer(at(0), &Peer { id: NodeId(2), generation: 1, addr: addr(2), name: String::new() });
        let seen = tries(&mut contacts, 0, 26 * 3600, &[]);
        let last = |wanted| seen.iter().filter(|(_, tried)| *tried == wanted).map(|(at, _)| *at).max().unwrap();
        assert!(last(addr(2)) <= 24 * 3_600_000 && last(addr(1)) > 25 * 3_600_000);
        assert_eq!(contacts.peers().count(), 0);
    }
}
