//! Evidence about a silent member's host: who is asked, by whom, how often, and what an answer means.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use watchfire_shared::member::{MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, HostAnswer};
use crate::bucket::Bucket;
use crate::schedule::Alarm;

/// Connections to silent hosts per second and at once.
const ASKS_PER_SECOND: i64 = 16;
/// A host that did not settle the question is asked again this often, at growing distances.
const MOST_ASKS: u32 = 4;
const FIRST_ASK_AGAIN_MS: i64 = 5000;
/// How often a host is asked on a hint, and how long after it accepted.
const DOUBTED_ASKS: u8 = 2;
const DOUBT_AGAIN: Span = Span::from_millis(100);
/// Up to this size every member asks; in larger clusters those whose own probe failed, and collectors.
const EVERYBODY_ASKS_UP_TO: usize = 128;

/// Suspects that are told at once when an isolation ends: 64 packets of 50 bytes.
const REMINDED_AT_ONCE: usize = 64;
/// The time until those that are suspect still are told once more.
const REMIND_AGAIN: Span = Span::from_seconds(5);
const REMIND_EVERY: Span = Span::from_millis(100);

/// Hosts of silent members that are to be asked, by when.
#[derive(Debug)]
pub(super) struct Asks {
    due: BTreeMap<NodeId, Timestamp>,
    /// Members that are held for alive and are asked about all the same, with how often they may still be.
    doubted: BTreeMap<NodeId, u8>,
    budget: Bucket,
}

impl Asks {
    pub(super) fn new(now: Timestamp) -> Self {
        Self {
            due: BTreeMap::new(),
            doubted: BTreeMap::new(),
            budget: Bucket::new(ASKS_PER_SECOND, ASKS_PER_SECOND, now),
        }
    }

    pub(super) fn forget(&mut self, id: NodeId) {
        self.due.remove(&id);
        self.doubted.remove(&id);
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

    /// Something hints that a member has ended which is held for alive: its host is asked.
    pub(super) fn doubt(&mut self, now: Timestamp, id: NodeId) {
        if self.leaving.is_none() && !self.asks.doubted.contains_key(&id) {
            self.asks.doubted.insert(id, DOUBTED_ASKS);
            self.asks.due.insert(id, now);
            self.schedule.set_by(Alarm::Ask, now);
        }
    }

    /// A member's host was asked on a hint. It may take one more connection while its program ends, so one that accepts is asked
    /// once more.
    fn doubt_answered(&mut self, now: Timestamp, id: NodeId, answer: HostAnswer) {
        let Some(entry) = self.view.get(id).filter(|entry| entry.state == MemberState::Alive) else { return };
        let (identity, incarnation) = (entry.identity, entry.incarnation);
        let left = self.asks.doubted.get(&id).copied().unwrap_or_default();
        if answer == HostAnswer::Accepted && left > 0 {
            self.asks.due.insert(id, now + DOUBT_AGAIN);
            return self.schedule.set_by(Alarm::Ask, now + DOUBT_AGAIN);
        }
        self.asks.forget(id);
        if answer == HostAnswer::Refused {
            self.detector.refused(now, &identity, incarnation);
            self.heed(now);
            self.poll(now);
        }
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
            if let Some(left) = self.asks.doubted.get_mut(&id) {
                // What its answer says decides what follows.
                *left = left.saturating_sub(1);
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
        if answer != HostAnswer::Silent && self.view.get(id).is_some() {
            self.detector.host_answered(now);
        }
        self.doubt_answered(now, id, answer);
        // An answer about a member that has returned meanwhile, or was alive all the time, says nothing any more.
        if self.view.get(id).is_none_or(|entry| entry.state == MemberState::Alive) || self.unsettled(id).is_none() {
            return;
        }
        self.view.change(id, |entry| entry.answered(answer));
        if answer != HostAnswer::Accepted {
            self.asks.forget(id);
        }
        match answer {
            HostAnswer::Refused => self.refused(now, id),
            HostAnswer::Silent => self.unreachable(now, id),
            HostAnswer::Accepted => {}
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
