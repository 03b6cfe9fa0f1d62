//! Evidence about a silent member's host: who is asked, by whom, how often, and what an answer means.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use watchfire_shared::member::{MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, HostAnswer};
use crate::bucket::Bucket;
use crate::identity::Identity;
use crate::schedule::Alarm;

/// Connections to silent hosts per second and at once.
const ASKS_PER_SECOND: i64 = 16;
/// A host that did not settle the question is asked again this often, at growing distances.
const MOST_ASKS: u32 = 4;
const FIRST_ASK_AGAIN_MS: i64 = 5000;
/// How often a host is asked on a hint, and how long after it accepted.
const DOUBTED_ASKS: u8 = 2;
const DOUBT_AGAIN: Span = Span::from_millis(100);
/// Up to this size every member asks; in larger clusters those whose own probe failed, those that a first refusal was told
/// to, and collectors.
const EVERYBODY_ASKS_UP_TO: usize = 128;
/// Deciding connections per second, and at once: the deaths of one second that are told without waiting.
const DECISIONS_PER_SECOND: i64 = 128;
/// Who was accused without a probe and objected is not accused so for this long: its host refuses though it lives.
const TRUSTED: Span = Span::from_seconds(60);

/// Suspects that are told at once when an isolation ends: 64 packets of 50 bytes.
const REMINDED_AT_ONCE: usize = 64;
/// The time until those that are suspect still are told once more.
const REMIND_AGAIN: Span = Span::from_seconds(5);
const REMIND_EVERY: Span = Span::from_millis(100);

/// Hosts of silent members that are to be asked, by when.
#[derive(Debug)]
pub(super) struct Asks {
    due: BTreeMap<NodeId, Timestamp>,
    /// Members that are held for alive and are asked about all the same.
    doubted: BTreeMap<NodeId, Doubted>,
    /// Lives that were accused because they were doubted.
    accused: BTreeMap<NodeId, Identity>,
    /// Those of them that objected, and until when no hint counts. At most one for each member.
    trusted: BTreeMap<NodeId, (Identity, Timestamp)>,
    /// Lives whose host is asked for the last time before they are told to be dead.
    deciding: BTreeMap<NodeId, Identity>,
    budget: Bucket,
    decisions: Bucket,
}

#[derive(Clone, Copy, Debug)]
struct Doubted {
    identity: Identity,
    /// How often it may still be asked about.
    asks: u8,
    /// Whether others are to hear of a refusal.
    passed_on: bool,
}

impl Asks {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            due: BTreeMap::new(),
            doubted: BTreeMap::new(),
            accused: BTreeMap::new(),
            trusted: BTreeMap::new(),
            deciding: BTreeMap::new(),
            budget: Bucket::new(ASKS_PER_SECOND, ASKS_PER_SECOND, now),
            decisions: Bucket::new(DECISIONS_PER_SECOND, DECISIONS_PER_SECOND, now),
        }
    }

    pub(super) fn forget(&mut self, id: NodeId) {
        self.due.remove(&id);
        self.doubted.remove(&id);
        self.accused.remove(&id);
        self.deciding.remove(&id);
    }
}

impl Gossip {
    /// This node is not cut off any more.
    pub(super) fn reconnected(&mut self, now: Timestamp) {
        self.reminded = NodeId(0);
        self.schedule.set(Alarm::Remind, now);
    }

    /// Lets members object that were suspected only because this node was cut off, a batch at a time.
    pub(super) fn remind_suspects(&mut self, now: Timestamp) {
        let suspects = self.view.others().filter(|entry| entry.state == MemberState::Suspect);
        let later = suspects.map(|entry| entry.identity).filter(|identity| identity.id > self.reminded);
        let batch: Vec<_> = later.take(REMINDED_AT_ONCE).collect();
        for target in &batch {
            self.tell_suspect(target);
        }
        if let Some(last) = batch.last().filter(|_| batch.len() == REMINDED_AT_ONCE) {
            self.reminded = last.id;
            self.schedule.set(Alarm::Remind, now + REMIND_EVERY);
        } else if !batch.is_empty() || self.reminded != NodeId(0) {
            // Whose objection was lost, or who was suspected by others that return later, is told once more.
            self.reminded = NodeId(0);
            self.schedule.set(Alarm::Remind, now + REMIND_AGAIN);
        }
    }

    /// A member fell silent: its host is asked unless that is under way or done.
    pub(super) fn ask(&mut self, now: Timestamp, id: NodeId) {
        self.asks.doubted.remove(&id);
        let own = self.own().id;
        let asks = self.view.get(id).is_some_and(|entry| {
            entry.answer().is_none()
                && (entry.is_suspected_by(own)
                    || self.role == Role::Collector
                    || self.view.active_count() <= EVERYBODY_ASKS_UP_TO)
        });
        if asks && self.leaving.is_none() {
            self.asks.due.entry(id).or_insert(now);
            self.schedule.set_by(Alarm::Ask, now);
        }
    }

    /// Another member was refused by a suspect's host: this one asks too, whatever the size of the cluster.
    pub(super) fn ask_as_witness(&mut self, now: Timestamp, id: NodeId) {
        if self.unsettled(id).is_some() && self.leaving.is_none() {
            self.asks.due.entry(id).or_insert(now);
            self.schedule.set_by(Alarm::Ask, now);
        }
    }

    /// Something hints that a member has ended which is held for alive: its host is asked. In a large cluster only the first that
    /// are refused tell others.
    pub(super) fn doubt(&mut self, now: Timestamp, identity: Identity, is_first: bool) {
        let id = identity.id;
        self.asks.trusted.retain(|_, (_, until)| *until > now);
        let is_trusted = self.asks.trusted.get(&id).is_some_and(|(life, _)| *life == identity);
        if self.leaving.is_none() && !is_trusted && !self.asks.doubted.contains_key(&id) {
            let passed_on = is_first || self.view.active_count() <= EVERYBODY_ASKS_UP_TO;
            self.asks.doubted.insert(id, Doubted { identity, asks: DOUBTED_ASKS, passed_on });
            self.asks.due.insert(id, now);
            self.schedule.set_by(Alarm::Ask, now);
        }
    }

    /// A member's host was asked on a hint. It may take one more connection while its program ends, so one that does not refuse
    /// is asked once more. Tells whether others are to hear of a refusal.
    fn doubt_answered(&mut self, now: Timestamp, id: NodeId, answer: HostAnswer) -> bool {
        let Some(doubted) = self.asks.doubted.get(&id).copied() else { return true };
        let entry = self.view.get(id).filter(|entry| entry.identity == doubted.identity);
        let Some(incarnation) = entry.filter(|entry| entry.state == MemberState::Alive).map(|entry| entry.incarnation)
        else {
            // Another life began meanwhile, of which the answer says nothing.
            self.asks.forget(id);
            return true;
        };
        if matches!(answer, HostAnswer::Accepted | HostAnswer::RefusedStreams) && doubted.asks > 0 {
            self.asks.due.insert(id, now + DOUBT_AGAIN);
            self.schedule.set_by(Alarm::Ask, now + DOUBT_AGAIN);
            return true;
        }
        self.asks.forget(id);
        if answer == HostAnswer::Refused {
            self.asks.accused.insert(id, doubted.identity);
            self.detector.refused(now, &doubted.identity, incarnation);
            self.heed(now);
            self.poll(now);
        }
        doubted.passed_on
    }

    /// A suspect lives.
    pub(super) fn objected(&mut self, now: Timestamp, id: NodeId) {
        if let Some(identity) = self.asks.accused.remove(&id) {
            self.asks.trusted.insert(id, (identity, now + TRUSTED));
        }
        self.asks.forget(id);
    }

    /// Everything speaks for a suspect's death. The time for a restart has passed since its host refused, so that is asked once
    /// more, and the suspect is told, before it is said to all.
    pub(super) fn decide(&mut self, now: Timestamp, identity: Identity) {
        if self.asks.deciding.get(&identity.id) == Some(&identity) {
            return;
        }
        if !self.asks.decisions.take(now) {
            return self.schedule.set_by(Alarm::Judge, self.asks.decisions.ready_at(now));
        }
        self.asks.deciding.insert(identity.id, identity);
        self.out.push(Effect::AskHost { id: identity.id, addr: identity.addr });
        self.tell_suspect(&identity);
    }

    pub(super) fn ask_hosts(&mut self, now: Timestamp) {
        let due: Vec<NodeId> = self.asks.due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            let doubted = self.asks.doubted.contains_key(&id);
            let Some((addr, asked)) = self.unsettled(id).filter(|(_, asked)| doubted || *asked < MOST_ASKS) else {
                self.asks.forget(id);
                continue;
            };
            if !self.asks.budget.take(now) {
                self.schedule.set(Alarm::Ask, self.asks.budget.ready_at(now));
                return;
            }
            if let Some(doubted) = self.asks.doubted.get_mut(&id) {
                // What its answer says decides what follows.
                doubted.asks = doubted.asks.saturating_sub(1);
                self.asks.due.remove(&id);
                self.out.push(Effect::AskHost { id, addr });
                continue;
            }
            self.view.change(id, |entry| entry.asked += 1);
            let again = Span::from_millis(FIRST_ASK_AGAIN_MS * 3i64.pow(asked));
            self.asks.due.insert(id, now + again);
            self.out.push(Effect::AskHost { id, addr });
        }
        if let Some(next) = self.asks.due.values().min() {
            self.schedule.set(Alarm::Ask, *next);
        }
    }

    /// The address of a silent or doubted member whose host did not say whether it lives, and how often it was asked.
    fn unsettled(&self, id: NodeId) -> Option<(SocketAddr, u32)> {
        let entry = self.view.get(id)?;
        let silent = match entry.state {
            MemberState::Suspect | MemberState::Down => true,
            MemberState::Alive => self.asks.doubted.contains_key(&id),
            MemberState::Left => false,
        };
        let settled = matches!(entry.answer(), Some(HostAnswer::Refused | HostAnswer::Silent));
        (silent && !settled).then_some((entry.identity.addr, entry.asked))
    }

    pub(super) fn host_answered(&mut self, now: Timestamp, id: NodeId, answer: HostAnswer) {
        let answer = self.weighed(now, id, answer);
        if answer != HostAnswer::Silent && self.view.get(id).is_some() {
            self.detector.host_answered(now);
        }
        if let Some(identity) = self.asks.deciding.remove(&id) {
            return self.decided(now, &identity, answer);
        }
        let passed_on = self.doubt_answered(now, id, answer);
        // An answer about a member that has returned meanwhile, or was alive all the time, says nothing any more.
        if self.view.get(id).is_none_or(|entry| entry.state == MemberState::Alive) || self.unsettled(id).is_none() {
            return;
        }
        self.view.change(id, |entry| entry.answered(answer));
        if matches!(answer, HostAnswer::Refused | HostAnswer::Silent) {
            self.asks.forget(id);
        }
        match answer {
            HostAnswer::Refused => self.refused(now, id, passed_on),
            HostAnswer::Silent => self.unreachable(now, id),
            HostAnswer::Accepted | HostAnswer::RefusedStreams => {}
        }
    }

    /// A suspect's host did not take a connection either: that is a try of this node's own, and confirms the suspicion. Where
    /// everybody asks, it takes a second until it is confirmed, instead of the turns of three more probes.
    fn unreachable(&mut self, now: Timestamp, id: NodeId) {
        let suspect = self.view.get(id).filter(|entry| entry.state == MemberState::Suspect);
        if let Some(identity) = suspect.map(|entry| entry.identity) {
            self.detector.unreachable(now, &identity);
            self.heed(now);
        }
    }
}
