//! Anti-entropy: a node compares views with a member now and then, and takes over what it lacks.
//!
//! A newcomer does so at once and then at growing distances. Digests are compared by datagram; if they differ by more than
//! a datagram's worth, both tell each other everything over a stream, and a newcomer begins with that. Where no stream comes
//! about, the view is asked for page by page. Who is alive elsewhere is alive here, unless it is held for dead; who is dead
//! elsewhere and alive here is suspected, so that it can object.

use std::net::SocketAddr;

use foca::{Member, State};
use rand::RngExt;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use super::Gossip;
use crate::config::FORGET_AFTER;
use crate::identity::Identity;
use crate::packet::{Hello, PAGE_ENTRIES, Packet, PageEntry, Standing};
use crate::schedule::Alarm;
use crate::view::Entry;

/// The time between two comparisons in a cluster that has come to rest, as memberlist's push/pull.
const PERIOD_MS: i64 = 30_000;
/// The time to the first comparison after joining; it doubles until [`PERIOD_MS`].
const FIRST_MS: i64 = 1000;
/// How long an answer may take.
const TIMEOUT: Span = Span::from_millis(1000);
/// How long an exchange over a stream may take; the shell gives up earlier.
const STREAM_TIMEOUT: Span = Span::from_seconds(10);
/// A member that everybody else is about to forget is not taken over again, or it would never be forgotten.
const TOO_OLD: Span = Span::from_seconds(23 * 3600);

#[derive(Default, Debug)]
pub(super) struct Pulling {
    current: Option<Pull>,
    /// Comparisons since this node joined.
    done: u32,
}

#[derive(Debug)]
struct Pull {
    nonce: u32,
    target: Identity,
    after: u64,
    /// It goes over a stream.
    streams: bool,
    /// No stream came about.
    stream_failed: bool,
    /// No datagram came back.
    datagrams_failed: bool,
}

impl Pulling {
    /// Whether views were compared since this node joined.
    pub(super) fn has_compared(&self) -> bool {
        self.done > 0
    }

    /// The node joins anew: it compares often at first.
    pub(super) fn start_over(&mut self) {
        self.done = 0;
    }

    /// The node has compared so often already.
    pub(super) fn rest(&mut self, done: u32) {
        self.done = done;
    }
}

impl Gossip {
    /// Sets the time of the next comparison: soon after a join, rarely later, more rarely in large clusters.
    pub(super) fn schedule_pull(&mut self, now: Timestamp) {
        let members = self.view.active_count() + 1;
        let scale = libm::log2(members as f64) - 5.0;
        let period = PERIOD_MS * (1 + scale.ceil().max(0.0) as i64);
        let delay = (FIRST_MS << self.pulling.done.min(8)).min(period);
        let jittered = self.rng.random_range(delay * 3 / 4..=delay * 5 / 4);
        self.schedule.set(Alarm::Pull, now + Span::from_millis(jittered));
    }

    /// Members that were held for dead are back, so views differ: compare soon.
    pub(super) fn pull_soon(&mut self, now: Timestamp) {
        let delay = Span::from_millis(self.rng.random_range(200..1000));
        self.schedule.set_by(Alarm::Pull, now + delay);
    }

    pub(super) fn pull_from_random(&mut self, now: Timestamp) {
        self.schedule_pull(now);
        if let Some(target) = self.random_active() {
            self.pull_from(now, target);
        }
    }

    /// One other member that is alive or suspect.
    pub(super) fn random_active(&mut self) -> Option<Identity> {
        let count = self.view.active_count();
        let chosen = if count == 0 { None } else { Some(self.rng.random_range(0..count)) };
        chosen.and_then(|chosen| self.view.active().nth(chosen)).map(|entry| entry.identity)
    }

    pub(super) fn pull_from(&mut self, now: Timestamp, target: Identity) {
        if self.pulling.current.is_some() {
            return;
        }
        let nonce = self.rng.random();
        let fresh = Pull { nonce, target, after: 0, streams: false, stream_failed: false, datagrams_failed: false };
        self.pulling.current = Some(fresh);
        if self.pulling.done > 0 || !self.sync(now) {
            self.pull_page(now);
        }
    }

    /// Goes on over a stream with the current pull. Returns whether that was begun.
    fn sync(&mut self, now: Timestamp) -> bool {
        let open = self.pulling.current.as_ref().filter(|pull| !pull.streams && !pull.stream_failed);
        let Some(target) = open.map(|pull| pull.target) else { return false };
        let begun = self.begin_sync(now, target);
        if let Some(pull) = self.pulling.current.as_mut().filter(|_| begun) {
            pull.streams = true;
            self.schedule.set(Alarm::PullTimeout, now + STREAM_TIMEOUT);
        }
        begun
    }

    /// The stream of the current pull has ended; what it brought is taken over already. Pages are asked for otherwise.
    pub(super) fn synced(&mut self, now: Timestamp, succeeded: bool) {
        let Some(pull) = self.pulling.current.as_mut().filter(|pull| pull.streams) else { return };
        if succeeded {
            return self.pull_done(now);
        }
        pull.streams = false;
        pull.stream_failed = true;
        if pull.datagrams_failed { self.pull_failed(now) } else { self.pull_page(now) }
    }

    fn pull_done(&mut self, now: Timestamp) {
        self.pulling.current = None;
        self.pulling.done = self.pulling.done.saturating_add(1);
        self.schedule.cancel(Alarm::PullTimeout);
        self.schedule_pull(now);
    }

    fn pull_page(&mut self, now: Timestamp) {
        let Some(Pull { nonce, target, after, .. }) = self.pulling.current else { return };
        let digest = if after == 0 { self.view.digest() } else { 0 };
        self.send(target.addr, &Packet::Pull { nonce, from: self.own(), digest, after });
        self.schedule.set(Alarm::PullTimeout, now + TIMEOUT);
    }

    /// Nobody answered: a stream may come about where datagrams do not.
    pub(super) fn pull_timed_out(&mut self, now: Timestamp) {
        if let Some(pull) = &mut self.pulling.current {
            pull.datagrams_failed = true;
        }
        if !self.sync(now) {
            self.pull_failed(now);
        }
    }

    /// Another member is asked soon.
    fn pull_failed(&mut self, now: Timestamp) {
        self.pulling.current = None;
        self.schedule.cancel(Alarm::PullTimeout);
        self.pull_soon(now);
    }

    pub(super) fn receive_pull(
        &mut self,
        now: Timestamp,
        from: SocketAddr,
        nonce: u32,
        puller: Identity,
        digest: u64,
        after: u64,
    ) {
        // The view may be behind foca by one poll, and the puller may have announced itself just now.
        if self.poll_at_once {
            self.poll(now);
        }
        if !self.view.is_active(puller.id) {
            self.stats.dropped_unexpected += 1;
            return;
        }
        if !self.answers.take(now) {
            self.stats.dropped_rate_limited += 1;
            return;
        }
        let (entries, next) = if after == 0 && digest == self.view.digest() {
            (Vec::new(), 0)
        } else {
            self.view.page(now, after, PAGE_ENTRIES)
        };
        self.send(from, &Packet::Page { nonce, next, entries });
    }

    pub(super) fn receive_page(&mut self, now: Timestamp, nonce: u32, next: u64, entries: &[PageEntry]) {
        let Some(pull) = self.pulling.current.as_mut().filter(|pull| pull.nonce == nonce && !pull.streams) else {
            self.stats.dropped_unexpected += 1;
            return;
        };
        let via = pull.target.id;
        // Pages go upwards, so that an answer that lies cannot make them go on for ever.
        let more = next > pull.after;
        pull.after = next;
        self.import(now, entries, via);
        if !more {
            self.pull_done(now);
        } else if !self.sync(now) {
            self.pull_page(now);
        }
    }

    /// Takes over what a member knows and this node does not.
    pub(super) fn import(&mut self, now: Timestamp, entries: &[PageEntry], via: NodeId) {
        let own = self.own().id;
        let mut news = Vec::new();
        let mut old = Vec::new();
        let mut dismissed = Vec::new();
        for entry in entries {
            let known = self.view.get(entry.identity.id);
            if known.is_some_and(|known| known.dismissed && known.identity.generation >= entry.identity.generation) {
                dismissed.push(entry.identity);
                continue;
            }
            if entry.identity.id == own {
                if entry.stamp > self.view.own().stamp() {
                    self.outstamp(now, entry.stamp);
                }
                if entry.standing == Standing::Active {
                    self.claimed(now, &entry.identity);
                } else {
                    self.raise_above(now, entry.identity.generation);
                }
            } else if let Some(member) = self.import_one(now, entry, via) {
                if member.state() == State::Down { old.push(member) } else { news.push(member) }
            }
        }
        self.correct(via, &dismissed);
        // What a newcomer learns is news to nobody else.
        let spread = self.pulling.done > 0;
        self.with_foca(now, |foca, outbox| foca.apply_many(old.into_iter(), false, outbox));
        self.with_foca(now, |foca, outbox| foca.apply_many(news.into_iter(), spread, outbox));
        self.poll(now);
        let is_wanted = |entry: &&PageEntry| {
            entry.identity.id != own && self.view.get(entry.identity.id).is_some_and(|known| !known.dismissed)
        };
        let wanted: Vec<PageEntry> = entries.iter().filter(is_wanted).copied().collect();
        for entry in wanted {
            self.want_metadata(now, entry.identity.id, entry.stamp, via);
        }
    }

    /// What foca has to be told because of one entry, if anything.
    fn import_one(&mut self, now: Timestamp, entry: &PageEntry, via: NodeId) -> Option<Member<Identity>> {
        let PageEntry { identity, incarnation, standing, .. } = *entry;
        let Some(known) = self.view.get(identity.id) else {
            return self.import_unknown(now, entry);
        };
        if identity.generation > known.identity.generation {
            if standing == Standing::Left {
                self.view.change(identity.id, |known| known.left_generation = Some(identity.generation));
            }
            let state = if standing == Standing::Active { State::Alive } else { State::Down };
            return Some(Member::new(identity, incarnation, state));
        }
        if identity != known.identity {
            return None;
        }
        let (alive_here, known_incarnation) = (known.is_active(), known.incarnation);
        match standing {
            Standing::Active if alive_here => Some(Member::new(identity, incarnation, State::Alive)),
            Standing::Active => {
                let after = Span::from_millis(self.rng.random_range(0..200));
                self.try_again(now, after, identity.id);
                None
            }
            Standing::Down if alive_here => {
                if incarnation < known_incarnation {
                    // It objected already, which changes nothing for who holds it for dead: only a new life does.
                    let (nonce, to, floor) = (self.rng.random(), Some(identity.id), identity.generation);
                    let hello = Hello { nonce, to, floor, identity: self.own() };
                    self.send(identity.addr, &Packet::Join(hello));
                }
                self.accuse(now, &identity, via);
                None
            }
            Standing::Down => None,
            Standing::Left => {
                self.mark_left(now, identity);
                None
            }
        }
    }

    fn import_unknown(&mut self, now: Timestamp, entry: &PageEntry) -> Option<Member<Identity>> {
        let PageEntry { identity, incarnation, standing, age_seconds, .. } = *entry;
        let age = Span::from_seconds(age_seconds.into());
        if (standing != Standing::Active && age > TOO_OLD) || !self.make_room(now, 1) {
            return None;
        }
        if standing == Standing::Active {
            return Some(Member::new(identity, incarnation, State::Alive));
        }
        let mut known = Entry::new(now, identity, incarnation, entry.state());
        known.since = now - age;
        self.view.insert(now, known);
        self.try_silent(now, identity.id);
        self.ask(now, identity.id);
        self.schedule.set_by(Alarm::Forget, now - age + FORGET_AFTER);
        Some(Member::new(identity, incarnation, State::Down))
    }
}
