//! Ties: connections that say nothing and tell by their end that a program has ended.
//!
//! A host that goes on closes the connections of a program that died at once, while a probe finds out when its turn
//! comes. So every member holds a connection to the two that follow it by id, and is held by the two before it. The end of
//! a tie says nothing of a member by itself: its host is asked, and if that refuses, what follows is a refusal as any
//! other, with a second member's and the time for a restart. A silent host ends no tie; that is left to probes.

use std::collections::BTreeMap;

use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip, HostAnswer};
use crate::identity::Identity;
use crate::packet::{Packet, TIES_SINCE};
use crate::schedule::Alarm;

/// Ties of a member to others: with two, the death of one of those that watch does not hide another's.
const TIES: usize = 2;
/// Who comes and goes within this time costs no connection.
const SETTLE: Span = Span::from_seconds(1);
/// For so long after the end of a tie a host that takes no connections says that the program ended with it: the time for a
/// restart, and to ask twice.
const TELLS: Span = Span::from_seconds(5);
/// A member whose tie ended although it lives is not tied to again for this long: something on the way ends connections.
const REST: Span = Span::from_seconds(60);

#[derive(Debug, Default)]
pub(super) struct Ties {
    /// Whom this node holds a connection to, by the tie's number.
    held: BTreeMap<u64, Identity>,
    last: u64,
    /// Lives that are left alone for a while. At most one for each member, and gone after [`REST`].
    resting: BTreeMap<NodeId, Resting>,
}

#[derive(Debug)]
struct Resting {
    identity: Identity,
    until: Timestamp,
    /// Whether it took this node's connection before.
    came_about: bool,
}

impl Gossip {
    /// Members came, went or told more of themselves.
    pub(super) fn tie_soon(&mut self, now: Timestamp) {
        self.schedule.set_by(Alarm::Tie, now + SETTLE);
    }

    /// Holds ties to the members that follow this node by id, and to no others.
    pub(super) fn tie(&mut self, now: Timestamp) {
        self.ties.resting.retain(|_, own| own.until > now);
        let resting = &self.ties.resting;
        let takes = |identity: &Identity| resting.get(&identity.id).is_none_or(|own| own.identity != *identity);
        let following = self.view.following().filter(|entry| entry.is_active() && entry.protocol() >= TIES_SINCE);
        let wanted: Vec<Identity> = following.map(|entry| entry.identity).filter(takes).take(TIES).collect();
        if let Some(next) = resting.values().map(|own| own.until).min() {
            self.schedule.set_by(Alarm::Tie, next);
        }
        let out = &mut self.out;
        self.ties.held.retain(|tie, identity| {
            let stays = wanted.contains(identity);
            if !stays {
                out.push(Effect::Untie { tie: *tie });
            }
            stays
        });
        for identity in wanted {
            if !self.ties.held.values().any(|held| *held == identity) {
                self.ties.last += 1;
                self.ties.held.insert(self.ties.last, identity);
                let frame = self.envelope.seal_frame(&Packet::Tie { from: self.own(), to: identity.id });
                self.out.push(Effect::Tie { tie: self.ties.last, to: identity.addr, frame });
            }
        }
    }

    /// A tie ended. One that did not come about is no hint: something on the way may let no connection through.
    pub(super) fn tie_ended(&mut self, now: Timestamp, tie: u64, came_about: bool) {
        let Some(identity) = self.ties.held.remove(&tie) else { return };
        self.ties.resting.insert(identity.id, Resting { identity, until: now + REST, came_about });
        self.tie_soon(now);
        let lives = |entry: &&crate::view::Entry| entry.identity == identity && entry.state == MemberState::Alive;
        if came_about && self.view.get(identity.id).as_ref().is_some_and(lives) {
            self.doubt(now, identity, true);
        }
    }

    /// What an answer of a host is worth. One that takes no connections is no proof of anything, since a firewall may refuse
    /// them; unless this node had a connection to the same life until just now.
    pub(super) fn weighed(&self, now: Timestamp, id: NodeId, answer: HostAnswer) -> HostAnswer {
        let has_just_ended = |own: &&Resting| own.came_about && now < own.until - REST + TELLS;
        let ended = self.ties.resting.get(&id).filter(has_just_ended).map(|own| own.identity);
        let is_present = ended.is_some() && self.view.get(id).map(|entry| entry.identity) == ended;
        if answer == HostAnswer::RefusedStreams && is_present { HostAnswer::Refused } else { answer }
    }
}
