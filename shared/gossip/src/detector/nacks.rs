//! What a helper owes: whoever asks it to probe a member hears in time that nothing came back.

use std::collections::BTreeMap;

use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;

use crate::identity::Identity;

/// Requests that are remembered at once: a node that helps more than this many at a time owes the rest nothing.
const MOST: usize = 256;

/// A nack that is due: to whom, about whom, of which probe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Owed {
    pub(crate) to: Identity,
    pub(crate) target: NodeId,
    pub(crate) number: u8,
}

/// Requests whose target did not answer yet, by who asked and the number of its probe.
#[derive(Default, Debug)]
pub(crate) struct Nacks {
    owed: BTreeMap<(NodeId, u8), (Timestamp, Owed)>,
}

impl Nacks {
    pub(crate) fn asked(&mut self, due: Timestamp, owed: Owed) {
        if self.owed.len() < MOST {
            self.owed.insert((owed.to.id, owed.number), (due, owed));
        }
    }

    /// The target answered: whoever asked is told so instead.
    pub(crate) fn answered(&mut self, asker: NodeId, number: u8, target: NodeId) {
        if self.owed.get(&(asker, number)).is_some_and(|(_, owed)| owed.target == target) {
            self.owed.remove(&(asker, number));
        }
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.owed.values().map(|(at, _)| *at).min()
    }

    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Owed> {
        let key = self.owed.iter().find(|(_, (at, _))| *at <= now).map(|(key, _)| *key)?;
        self.owed.remove(&key).map(|(_, owed)| owed)
    }

    pub(crate) fn clear(&mut self) {
        self.owed.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nack_is_owed_until_the_target_answers_and_their_number_is_bounded() {
        let to = Identity::new(NodeId(1), 1, "10.0.0.1:1".parse().unwrap());
        let owed = |number| Owed { to, target: NodeId(2), number };
        let at = Timestamp::from_millis;
        let mut nacks = Nacks::default();
        nacks.asked(at(10), owed(1));
        nacks.asked(at(20), owed(2));
        nacks.answered(NodeId(1), 1, NodeId(3));
        nacks.answered(NodeId(1), 2, NodeId(2));
        assert_eq!((nacks.next(), nacks.pop(at(9))), (Some(at(10)), None));
        assert_eq!((nacks.pop(at(10)), nacks.pop(at(99)), nacks.next()), (Some(owed(1)), None, None));
        for asker in 1..1000 {
            let to = Identity { id: NodeId(asker), ..to };
            nacks.asked(at(10), Owed { to, target: NodeId(2), number: 0 });
        }
        assert_eq!(std::iter::from_fn(|| nacks.pop(at(10))).count(), MOST);
    }
}
