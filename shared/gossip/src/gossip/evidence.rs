//! Evidence about silence: is it them, or is it me?
//!
//! A node that hears nobody doubts itself and declares nobody dead, until packets return and a suspicion time has
//! passed, or until a silent member's host answers, which shows that the network carries. Doubt has an end: who hears
//! nothing for two minutes is alone and says so. With one other member there is nobody to compare with, so no doubt.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use watchfire_shared::member::{MemberState, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, HostAnswer};
use crate::bucket::Bucket;
use crate::config::Pace;
use crate::schedule::Alarm;

/// How long the guard holds at most: longer than a switch takes to restart.
const LONGEST_DOUBT: Span = Span::from_seconds(120);
/// Connections to silent hosts per second and at once.
const ASKS_PER_SECOND: i64 = 16;
/// A host that did not settle the question is asked again this often, at growing distances.
const MOST_ASKS: u32 = 4;
const FIRST_ASK_AGAIN_MS: i64 = 5000;
/// Up to this size every member asks; in larger clusters those whose own probe failed, and collectors.
const EVERYBODY_ASKS_UP_TO: usize = 64;

/// Suspects that are told at once when an isolation ends: 64 packets of 50 bytes.
const REMINDED_AT_ONCE: usize = 64;
const REMIND_EVERY: Span = Span::from_millis(100);

/// The isolation guard (rule A).
#[derive(Debug)]
pub(super) struct Guard {
    last_heard: Timestamp,
    host_answered: Option<Timestamp>,
    holds_until: Timestamp,
}

impl Guard {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { last_heard: now, host_answered: None, holds_until: now }
    }

    /// A packet of foca's came. Returns whether it ended an isolation.
    fn heard(&mut self, now: Timestamp, pace: &Pace, others: usize) -> bool {
        let was_isolated = now.since(self.last_heard) > pace.isolated_after();
        if was_isolated {
            self.holds_until = now + Span::from_std(pace.suspicion_time(others + 1));
        }
        self.last_heard = now;
        was_isolated
    }

    /// Whether a declaration of death should be held back.
    pub(super) fn doubts(&self, now: Timestamp, pace: &Pace, others: usize) -> bool {
        let silence = now.since(self.last_heard);
        if others < 2 {
            return false;
        }
        if silence <= pace.isolated_after() {
            return now < self.holds_until;
        }
        let network_carries = self.host_answered.is_some_and(|at| at > self.last_heard);
        !network_carries && silence <= pace.isolated_after() + LONGEST_DOUBT
    }
}

/// Hosts of silent members that are to be asked, by when.
#[derive(Debug)]
pub(super) struct Asks {
    due: BTreeMap<NodeId, Timestamp>,
    budget: Bucket,
}

impl Asks {
    pub(super) fn new(now: Timestamp) -> Self {
        Self { due: BTreeMap::new(), budget: Bucket::new(ASKS_PER_SECOND, ASKS_PER_SECOND, now) }
    }

    pub(super) fn forget(&mut self, id: NodeId) {
        self.due.remove(&id);
    }
}

impl Gossip {
    /// A packet of foca's came: this node is not cut off, or not any more.
    pub(super) fn heard(&mut self, now: Timestamp) {
        if self.guard.heard(now, &self.pace, self.view.active_count()) {
            self.reminded = NodeId(0);
            self.schedule.set(Alarm::Remind, now);
        }
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
        }
    }

    /// A member fell silent: its host is asked unless that is under way or done.
    pub(super) fn ask(&mut self, now: Timestamp, id: NodeId) {
        let asks = self.view.get(id).is_some_and(|entry| {
            entry.answer.is_none()
                && (entry.suspected_here
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

    pub(super) fn ask_hosts(&mut self, now: Timestamp) {
        let due: Vec<NodeId> = self.asks.due.iter().filter(|(_, at)| **at <= now).map(|(id, _)| *id).collect();
        for id in due {
            let Some((addr, asked)) = self.unsettled(id).filter(|(_, asked)| *asked < MOST_ASKS) else {
                self.asks.forget(id);
                continue;
            };
            if !self.asks.budget.take(now) {
                self.schedule.set(Alarm::Ask, self.asks.budget.ready_at(now));
                return;
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

    /// The address of a silent member whose host did not say whether it lives, and how often it was asked.
    fn unsettled(&self, id: NodeId) -> Option<(SocketAddr, u32)> {
        let entry = self.view.get(id)?;
        let silent = matches!(entry.state, MemberState::Suspect | MemberState::Down);
        let settled = matches!(entry.answer, Some(HostAnswer::Refused | HostAnswer::Silent));
        (silent && !settled).then_some((entry.identity.addr, entry.asked))
    }

    pub(super) fn host_answered(&mut self, now: Timestamp, id: NodeId, answer: HostAnswer) {
        if answer != HostAnswer::Silent && self.view.get(id).is_some() {
            self.guard.host_answered = Some(now);
        }
        // An answer about a member that has returned meanwhile says nothing any more.
        if self.unsettled(id).is_none() {
            return;
        }
        self.view.change(id, |entry| entry.answer = Some(answer));
        if answer != HostAnswer::Accepted {
            self.asks.forget(id);
        }
        if answer == HostAnswer::Refused {
            self.refused(now, id);
        }
    }
}
