//! Refusal as evidence: a suspect whose host answers two members, each on its own, that nobody listens is a dead agent.
//!
//! Silence needs the whole suspicion time, for it may be the network's; a refusal cannot be. It is one of the datagram's
//! port: a firewall may refuse connections to a member that lives by datagrams, so that alone is no proof, unless this
//! node had a connection there until just now ([`super::ties`]). Who is refused tells some others, and who was refused
//! itself and hears of another's refusal asks once more, when a restart had its time, and then declares the suspect down.
//! A note alone declares nobody, so a forged one costs a connection and no more. The suspect is told each time, so that
//! one which only takes no connections can object.

use std::collections::{BTreeMap, BTreeSet};

use foca::{Member, State};
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::{Gossip, HostAnswer};
use crate::identity::Identity;
use crate::packet::Packet;
use crate::schedule::Alarm;

/// Members that a refusal is told to: with four, one in ten thousand deaths waits for the suspicion time although a tenth
/// of the datagrams is lost.
const TOLD: usize = 4;
/// A restart within a second never shows as down, although a stopped program's host refuses. A tenth more, for the probe that
/// was under way when it stopped.
const RESTART: Span = Span::from_millis(1100);
/// Witnesses kept for one suspect; more change nothing.
const WITNESSES: usize = 4;

/// Who else was refused by the hosts of which suspects. At most one entry for each member of the view.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<NodeId, BTreeSet<NodeId>>);

impl Refusals {
    pub(super) fn forget(&mut self, id: NodeId) {
        self.0.remove(&id);
    }
}

impl Gossip {
    /// This node itself was refused. The suspect hears of it first: where only connections are refused, it objects.
    pub(super) fn refused(&mut self, now: Timestamp, id: NodeId, passed_on: bool) {
        let Some(identity) = self.suspect(id) else { return };
        self.tell_suspect(&identity);
        let from = self.own();
        let told = if passed_on { TOLD } else { 0 };
        for target in self.random_members(TOLD + 1).into_iter().filter(|target| target.id != id).take(told) {
            self.send(target.addr, &Packet::Refused { from, identity });
        }
        self.judge_refusal(now, id);
    }

    /// Another member says that it was refused.
    pub(super) fn receive_refused(&mut self, now: Timestamp, from: Identity, identity: Identity) {
        if self.poll_at_once {
            self.poll(now);
        }
        let active = |identity: Identity| {
            self.view.get(identity.id).is_some_and(|entry| entry.identity == identity && entry.is_active())
        };
        if !active(from) || !active(identity) || from.id == identity.id || identity.id == self.own().id {
            self.stats.dropped_unexpected += 1;
            return;
        }
        let witnesses = self.refusals.0.entry(identity.id).or_default();
        if witnesses.len() < WITNESSES {
            witnesses.insert(from.id);
        }
        self.ask_as_witness(now, identity.id);
        if self.view.get(identity.id).is_some_and(|entry| entry.state == MemberState::Alive) {
            self.doubt(now, identity, false);
        }
        self.judge_refusal(now, identity.id);
    }

    /// The time for a restart has passed for some suspects.
    pub(super) fn judge_refusals(&mut self, now: Timestamp) {
        let suspects = self.view.others().filter(|entry| entry.state == MemberState::Suspect);
        let ids: Vec<NodeId> = suspects.map(|entry| entry.identity.id).collect();
        ids.into_iter().for_each(|id| self.judge_refusal(now, id));
    }

    fn judge_refusal(&mut self, now: Timestamp, id: NodeId) {
        let Some(identity) = self.suspect(id) else { return };
        let refused_here = self.view.get(id).is_some_and(|entry| entry.answer() == Some(HostAnswer::Refused));
        let elsewhere = self.refusals.0.get(&id).is_some_and(|witnesses| !witnesses.is_empty());
        // With nobody else to ask, the own eyes have to do.
        let alone = self.view.active_count() == 1;
        if !refused_here || !(elsewhere || alone) || self.detector.doubts(now) {
            return;
        }
        // Its subject may be in the middle of a restart.
        let since = self.view.get(id).map_or(now, |entry| entry.silent_since(self.pace.probe_interval()));
        let due = since + RESTART;
        if now < due {
            self.schedule.set_by(Alarm::Judge, due);
            return;
        }
        self.decide(now, identity);
    }

    /// The host of a suspect that everything speaks against was asked once more.
    pub(super) fn decided(&mut self, now: Timestamp, identity: &Identity, answer: HostAnswer) {
        // What it objected with counts, if it came within the last moment.
        self.poll(now);
        let id = identity.id;
        if self.suspect(id) != Some(*identity) {
            return;
        }
        if answer != HostAnswer::Refused {
            // A new life may have begun there, which speaks for itself.
            self.view.change(id, |entry| entry.answered(answer));
            return self.refusals.forget(id);
        }
        if self.detector.doubts(now) {
            return;
        }
        self.stats.downs_by_refusal += 1;
        let incarnation = self.view.get(id).map_or(0, |entry| entry.incarnation);
        let down = Member::new(*identity, incarnation, State::Down);
        self.with_foca(now, |foca, outbox| foca.apply_many(std::iter::once(down), true, outbox));
        self.poll_at_once = true;
        self.schedule.set_by(Alarm::Poll, now);
    }

    fn suspect(&self, id: NodeId) -> Option<Identity> {
        self.view.get(id).filter(|entry| entry.state == MemberState::Suspect).map(|entry| entry.identity)
    }
}
