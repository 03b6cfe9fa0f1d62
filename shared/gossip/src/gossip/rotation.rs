//! Changes of keys at run time: made here first, then told to every member until all have made them.
//!
//! The shell writes the new keys to the key file before they count, so that no member says of itself that it holds a key
//! which it would not have after a restart. Members say in their metadata which keys they hold; by that the member that
//! was asked for a change sees who lacks it, and tells those again. A member that makes a change passes it on, so that it
//! gets to those that the first one does not reach.
//!
//! Changes have rising numbers, and what is not later than the last one is passed over: a recorded change that is sent
//! again changes nothing.

use watchfire_shared::limits::MAX_TROUBLE_BYTES;
use watchfire_shared::member::HeldKeys;
use watchfire_shared::time::{Span, Timestamp};

use super::{Effect, Gossip};
use crate::identity::Identity;
use crate::keyring::{GossipKey, MAX_GOSSIP_KEYS};
use crate::packet::{KEYS_SINCE, Packet};
use crate::rotation::{KeyOp, KeyRefusal};
use crate::schedule::Alarm;
use crate::view::Entry;

/// How long members that did not make a change are told of it: what was restarted or cut off is back by then.
const TELL_FOR: Span = Span::from_seconds(900);
/// Changes that are told at a time: as many as there are keys.
const MAX_LEADING: usize = MAX_GOSSIP_KEYS;
/// One that missed the first telling makes the change well within a second.
const FIRST_WAIT: Span = Span::from_millis(300);
const LONGEST_WAIT: Span = Span::from_seconds(15);
/// A change whose number is this far above the last one is a lie; following it could use up all numbers.
const LARGEST_STEP: u64 = 1 << 32;

/// The keys of this node and the change that is under way.
#[derive(Default, Debug)]
pub(super) struct Rotation {
    /// What the key file holds, the one that seals first; none if gossip is plain.
    keys: Vec<GossipKey>,
    order: u64,
    saving: Option<Saving>,
    /// The oldest first; one that a later one undoes is dropped.
    leading: Vec<Leading>,
    wait: Span,
}

/// A change that the shell writes down.
#[derive(Debug)]
struct Saving {
    keys: Vec<GossipKey>,
    order: u64,
    op: KeyOp,
    /// Who asked for it here; `None` if it came from another member.
    ticket: Option<u64>,
}

/// A change that this node was asked for, and tells the others of.
#[derive(Debug)]
struct Leading {
    op: KeyOp,
    until: Timestamp,
}

impl Rotation {
    pub(super) fn new(keys: &[GossipKey], order: u64) -> Self {
        Self { keys: keys.to_vec(), order, ..Self::default() }
    }

    /// What is said of the keys to other members.
    pub(super) fn held(&self, trouble: &str) -> HeldKeys {
        let mut trouble: String = trouble.replace(char::is_control, " ");
        let cut = trouble.floor_char_boundary(MAX_TROUBLE_BYTES);
        trouble.truncate(cut);
        let ids: Vec<_> = self.keys.iter().map(GossipKey::id).collect();
        let order = if ids.is_empty() { 0 } else { self.order };
        HeldKeys { ids, order, trouble }
    }
}

impl Gossip {
    /// Somebody here asks for a change; [`Effect::KeysAnswered`] says whether it is made.
    pub(super) fn order_keys(&mut self, now: Timestamp, ticket: u64, op: KeyOp) {
        if let Err(refusal) = self.may_change_keys(&op) {
            return self.out.push(Effect::KeysAnswered { ticket, answer: Err(refusal) });
        }
        let order = self.latest_order() + 1;
        self.change_keys(now, order, op, Some(ticket));
    }

    fn may_change_keys(&self, op: &KeyOp) -> Result<(), KeyRefusal> {
        if self.rotation.saving.is_some() {
            return Err(KeyRefusal::Busy);
        }
        // A silent member whose name somebody else took will not come back under it.
        let others = self.view.others().filter(|entry| entry.is_listed());
        op.check(&self.rotation.keys, others.map(|entry| (entry.name().to_string(), entry.keys())))
    }

    fn latest_order(&self) -> u64 {
        let others = self.view.others().map(|entry| entry.keys().order);
        let sane = others.filter(|order| order.saturating_sub(self.rotation.order) < LARGEST_STEP);
        sane.fold(self.rotation.order, u64::max)
    }

    fn change_keys(&mut self, now: Timestamp, order: u64, op: KeyOp, ticket: Option<u64>) {
        match op.made(&self.rotation.keys) {
            Some(keys) => {
                self.out.push(Effect::SaveKeys { keys: keys.clone(), order });
                self.rotation.saving = Some(Saving { keys, order, op, ticket });
            }
            None => self.keys_changed(now, order, op, ticket),
        }
    }

    /// The shell wrote the keys down, or could not.
    pub(super) fn keys_saved(&mut self, now: Timestamp, result: Result<(), String>) {
        let Some(saving) = self.rotation.saving.take() else { return };
        let Saving { keys, order, op, ticket } = saving;
        if let Err(reason) = result {
            let refusal = KeyRefusal::File(reason);
            return match ticket {
                Some(ticket) => self.out.push(Effect::KeysAnswered { ticket, answer: Err(refusal) }),
                None => self.announce_keys(now, &self.rotation.held(&refusal.to_string())),
            };
        }
        self.envelope.set_keys(&keys);
        self.rotation.keys = keys;
        self.keys_changed(now, order, op, ticket);
    }

    fn keys_changed(&mut self, now: Timestamp, order: u64, op: KeyOp, ticket: Option<u64>) {
        self.rotation.order = order;
        self.announce_keys(now, &self.rotation.held(""));
        self.rotation.leading.retain(|earlier| !op.supersedes(&earlier.op));
        let Some(ticket) = ticket else { return self.pass_on_keys(&op) };
        if self.rotation.leading.len() == MAX_LEADING {
            self.rotation.leading.remove(0);
        }
        self.rotation.leading.push(Leading { op, until: now + TELL_FOR });
        self.rotation.wait = FIRST_WAIT;
        self.schedule.set(Alarm::Keys, now);
        self.out.push(Effect::KeysAnswered { ticket, answer: Ok(()) });
    }

    fn pass_on_keys(&mut self, op: &KeyOp) {
        let packet = Packet::Keys { order: self.rotation.order, op: op.clone() };
        for target in self.random_members(2 * self.pace.fanout) {
            if self.view.get(target.id).is_some_and(|entry| is_told(entry, op)) {
                self.send(target.addr, &packet);
            }
        }
    }

    /// Tells those that did not make a change which this node leads, and sets the time to tell them again.
    pub(super) fn tell_keys(&mut self, now: Timestamp) {
        let Self { rotation, view, .. } = self;
        let is_open = |leading: &Leading| {
            let mut everybody = view.others().filter(|entry| entry.is_listed());
            now < leading.until && everybody.any(|entry| !leading.op.is_made(entry.keys()))
        };
        rotation.leading.retain(is_open);
        if rotation.leading.is_empty() || self.leaving.is_some() {
            return;
        }
        // One at a time: what follows builds upon what was before.
        let next = |entry: &Entry| {
            let op = rotation.leading.iter().map(|leading| &leading.op).find(|op| is_told(entry, op));
            op.map(|op| (entry.identity, entry.keys().order, op.clone()))
        };
        let targets: Vec<(Identity, u64, KeyOp)> = view.active().filter_map(next).collect();
        let wait = rotation.wait;
        rotation.wait = (wait + wait).min(LONGEST_WAIT);
        // Who took part in a later change would pass this one over.
        if targets.iter().any(|(_, order, _)| *order >= self.rotation.order) {
            self.rotation.order = self.latest_order() + 1;
            self.announce_keys(now, &self.rotation.held(""));
        }
        let order = self.rotation.order;
        for (target, _, op) in targets {
            self.send(target.addr, &Packet::Keys { order, op });
        }
        self.schedule.set(Alarm::Keys, now + wait);
    }

    pub(super) fn receive_keys(&mut self, now: Timestamp, order: u64, op: KeyOp) {
        let own = self.rotation.order;
        if self.rotation.keys.is_empty() || order.saturating_sub(own) > LARGEST_STEP {
            self.stats.dropped_unexpected += 1;
            return;
        }
        // What is being written is asked for again.
        if order <= own || self.rotation.saving.is_some() {
            return;
        }
        if let Err(refusal) = self.may_change_keys(&op) {
            // It is told again, and this member's view may be behind the one of who tells it.
            return self.announce_keys(now, &self.rotation.held(&refusal.to_string()));
        }
        self.change_keys(now, order, op, None);
    }

    /// The key file was read again: it is the truth.
    pub(super) fn set_keys(&mut self, now: Timestamp, keys: &[GossipKey], order: u64) {
        if self.rotation.keys.is_empty() || keys.is_empty() {
            return;
        }
        self.envelope.set_keys(keys);
        self.rotation.keys = keys.to_vec();
        self.rotation.order = self.rotation.order.max(order);
        self.announce_keys(now, &self.rotation.held(""));
    }
}

/// Whether a member is to be told of a change: it knows what that is and did not make it.
fn is_told(entry: &Entry, op: &KeyOp) -> bool {
    entry.protocol() >= KEYS_SINCE && !op.is_made(entry.keys())
}
