//! Who suspects whom, and how long that may last: Lifeguard's dynamic suspicion.
//!
//! A suspicion begins with a long time that shrinks with each member that confirms it by its own probe (LHA-Suspicion,
//! arXiv 1707.00788 and memberlist's `suspicion.go`). Every node that hears of one runs its own timer. The table holds
//! one entry for each member at most, with as many suspecters as shorten the time; older lives and incarnations give way.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use crate::identity::Identity;
use crate::note::{Note, Paths};

/// Suspecters that are kept even where fewer shorten the time.
const AT_LEAST: usize = 4;

/// How long a suspicion lasts in a cluster of some size.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Patience {
    /// Once it is confirmed often enough.
    pub(crate) shortest: Span,
    /// While nobody confirms it.
    pub(crate) longest: Span,
    /// Confirmations beside the first suspicion that bring it to the shortest; 0 if there is nobody to give them.
    pub(crate) confirmations: usize,
}

impl Patience {
    /// How long a suspicion lasts that `confirmed` members confirm.
    fn after(&self, confirmed: usize) -> Span {
        if confirmed >= self.confirmations {
            return self.shortest;
        }
        let share = libm::log(confirmed as f64 + 1.0) / libm::log(self.confirmations as f64 + 1.0);
        let (shortest, longest) = (self.shortest.as_millis() as f64, self.longest.as_millis() as f64);
        Span::from_millis((longest - (longest - shortest) * share).ceil() as i64).max(self.shortest)
    }
}

#[derive(Debug)]
struct Suspicion {
    identity: Identity,
    incarnation: u16,
    start: Timestamp,
    by: BTreeSet<NodeId>,
    due: Timestamp,
    /// It was held up until then, which happens once.
    held: Option<Timestamp>,
}

/// A suspicion that ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Expired {
    pub(crate) identity: Identity,
    pub(crate) incarnation: u16,
}

#[derive(Default, Debug)]
pub(crate) struct Suspicions {
    table: BTreeMap<NodeId, Suspicion>,
    due: BTreeSet<(Timestamp, NodeId)>,
    /// Notes to pass on, with how often they still are; those told longest ago stand first.
    notes: VecDeque<(Note, u8)>,
}

impl Suspicions {
    /// `from` suspects `identity` on its own. Returns whether that was news; it is passed on `times` times then.
    pub(crate) fn suspect(
        &mut self,
        now: Timestamp,
        identity: Identity,
        note: Note,
        times: u8,
        patience: &Patience,
    ) -> bool {
        let stale = self.table.get(&identity.id).is_some_and(|known| {
            (known.identity.generation, known.incarnation) < (identity.generation, note.incarnation)
        });
        if stale {
            self.clear_one(identity.id);
        }
        let known = self.table.entry(identity.id).or_insert(Suspicion {
            identity,
            incarnation: note.incarnation,
            start: now,
            by: BTreeSet::new(),
            due: now,
            held: None,
        });
        let same = known.identity == identity && known.incarnation == note.incarnation;
        if !same || known.by.len() > patience.confirmations.max(AT_LEAST - 1) || !known.by.insert(note.from) {
            return false;
        }
        self.due.remove(&(known.due, identity.id));
        known.due = (known.start + patience.after(known.by.len() - 1)).max(known.held.unwrap_or(now)).max(now);
        self.due.insert((known.due, identity.id));
        self.notes.push_back((note, times));
        true
    }

    /// No suspicion of now runs out before `until`.
    pub(crate) fn hold(&mut self, until: Timestamp) {
        for (id, known) in self.table.iter_mut().filter(|(_, known)| known.held.is_none()) {
            known.held = Some(until);
            if known.due < until {
                self.due.remove(&(known.due, *id));
                known.due = until;
                self.due.insert((until, *id));
            }
        }
    }

    /// How many members are suspected.
    pub(crate) fn count(&self) -> usize {
        self.table.len()
    }

    /// The incarnation in which a member is suspected.
    pub(crate) fn incarnation_of(&self, identity: &Identity) -> Option<u16> {
        self.table.get(&identity.id).filter(|known| known.identity == *identity).map(|known| known.incarnation)
    }

    /// A member was seen alive in this life and incarnation: suspicions of earlier ones are over.
    pub(crate) fn seen(&mut self, identity: &Identity, incarnation: u16) {
        let over = self
            .table
            .get(&identity.id)
            .is_some_and(|known| (known.identity.generation, known.incarnation) < (identity.generation, incarnation));
        if over {
            self.clear_one(identity.id);
        }
    }

    pub(crate) fn clear_one(&mut self, id: NodeId) {
        if let Some(known) = self.table.remove(&id) {
            self.due.remove(&(known.due, id));
            self.notes.retain(|(note, _)| note.target != id);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes a suspicion whose time is up.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Expired> {
        let expired = self.expired(now)?;
        self.clear_one(expired.identity.id);
        Some(expired)
    }

    /// A suspicion whose time is up.
    fn expired(&self, now: Timestamp) -> Option<Expired> {
        let (_, id) = self.due.first().filter(|(at, _)| *at <= now)?;
        let known = self.table.get(id)?;
        Some(Expired { identity: known.identity, incarnation: known.incarnation })
    }

    /// Gives a suspicion whose time is up more of it. Returns whether there was any.
    pub(crate) fn put_off(&mut self, now: Timestamp, until: Timestamp) -> bool {
        let Some(Expired { identity, .. }) = self.expired(now) else { return false };
        if let Some(known) = self.table.get_mut(&identity.id) {
            self.due.remove(&(known.due, identity.id));
            known.due = until;
            self.due.insert((until, identity.id));
        }
        true
    }

    /// Up to `room` notes to send along, each counted as told once more.
    pub(crate) fn take_notes(&mut self, room: usize) -> Vec<Note> {
        let count = room.min(self.notes.len());
        let taken: Vec<(Note, u8)> = self.notes.drain(..count).collect();
        self.notes.extend(taken.iter().filter(|(_, left)| *left > 1).map(|(note, left)| (*note, left - 1)));
        taken.into_iter().map(|(note, _)| note).collect()
    }

    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.table.len(), self.notes.len())
    }
}

/// The note of `from` about a suspect.
pub(crate) fn note(identity: &Identity, incarnation: u16, from: NodeId, paths: Paths) -> Note {
    Note { target: identity.id, generation: identity.generation, incarnation, from, paths }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience =
        Patience { shortest: Span::from_seconds(4), longest: Span::from_seconds(24), confirmations: 3 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn suspect(generation: u32) -> Identity {
        Identity::new(NodeId(7), generation, "10.0.0.7:1".parse().unwrap())
    }

    fn hear(table: &mut Suspicions, now: i64, incarnation: u16, from: u64) -> bool {
        let identity = suspect(1);
        let note = note(&identity, incarnation, NodeId(from), Paths::default());
        table.suspect(at(now), identity, note, 2, &PATIENCE)
    }

    #[test]
    fn confirmations_shorten_the_time_from_the_longest_to_the_shortest_and_never_into_the_past() {
        let mut table = Suspicions::default();
        assert!(hear(&mut table, 0, 0, 1));
        assert_eq!(table.next(), Some(at(24_000)));
        assert!(!hear(&mut table, 100, 0, 1), "the same member again is no confirmation");
        assert!(hear(&mut table, 200, 0, 2));
        assert_eq!(table.next(), Some(at(14_000)));
        assert!(hear(&mut table, 300, 0, 3));
        assert_eq!(table.next(), Some(at(8151)));
        assert!(hear(&mut table, 5000, 0, 4));
        assert_eq!(table.next(), Some(at(5000)), "its time is up already");
        assert!(!hear(&mut table, 5000, 0, 5), "more than enough");
        assert_eq!(table.pop(at(4999)), None);
        assert_eq!(table.pop(at(5000)), Some(Expired { identity: suspect(1), incarnation: 0 }));
        assert_eq!((table.pop(at(99_000)), table.next()), (None, None));
    }

    #[test]
    fn a_suspicion_is_held_up_once_and_confirmations_do_not_end_that() {
        let mut table = Suspicions::default();
        (1..=4).for_each(|from| assert!(hear(&mut table, 0, 0, from)));
        assert_eq!(table.next(), Some(at(4000)));
        table.hold(at(3000));
        assert_eq!(table.next(), Some(at(4000)), "it would not run out before");
        let mut table = Suspicions::default();
        (1..=3).for_each(|from| assert!(hear(&mut table, 0, 0, from)));
        table.hold(at(9000));
        assert!(hear(&mut table, 5000, 0, 4));
        assert_eq!(table.next(), Some(at(9000)));
        table.hold(at(20_000));
        assert_eq!((table.next(), table.count()), (Some(at(9000)), 1));
    }

    #[test]
    fn with_nobody_to_confirm_the_shortest_time_holds() {
        let alone = Patience { confirmations: 0, ..PATIENCE };
        let mut table = Suspicions::default();
        let of = note(&suspect(1), 0, NodeId(1), Paths::default());
        assert!(table.suspect(at(0), suspect(1), of, 2, &alone));
        assert_eq!(table.next(), Some(at(4000)));
    }

    #[test]
    fn a_later_incarnation_or_life_replaces_and_an_earlier_one_is_ignored() {
        let mut table = Suspicions::default();
        assert!(hear(&mut table, 0, 1, 1));
        assert!(!hear(&mut table, 10, 0, 2));
        assert!(hear(&mut table, 1000, 2, 1));
        assert_eq!((table.next(), table.sizes()), (Some(at(25_000)), (1, 1)));
        table.seen(&suspect(1), 2);
        assert_eq!(table.sizes(), (1, 1), "it is suspected in just this incarnation");
        table.seen(&suspect(1), 3);
        assert_eq!((table.next(), table.sizes()), (None, (0, 0)));
        assert!(hear(&mut table, 0, 9, 1));
        table.seen(&suspect(2), 0);
        assert_eq!((table.next(), table.sizes()), (None, (0, 0)));
    }

    #[test]
    fn notes_are_told_in_turn_a_limited_number_of_times() {
        let mut table = Suspicions::default();
        (1..=3).for_each(|from| assert!(hear(&mut table, 0, 0, from)));
        let mut froms = |room| table.take_notes(room).iter().map(|note| note.from.0).collect::<Vec<_>>();
        assert_eq!(
            [froms(2), froms(2), froms(0), froms(9), froms(9)],
            [vec![1, 2], vec![3, 1], vec![], vec![2, 3], vec![]]
        );
        assert_eq!(table.sizes(), (1, 0));
    }
}
