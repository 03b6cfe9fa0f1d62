//! Which series has these labels: a hash table of series' numbers. Their labels are in the index, and only there.

use watchfire_shared::labels::Labels;

use crate::index::{Index, SeriesId};

/// Marks a free slot; as many series there are never.
const FREE: SeriesId = SeriesId::MAX;
const FEWEST_SLOTS: usize = 64;

/// Open addressing with linear probing; a power of two of slots, at most three quarters of them taken.
#[derive(Default)]
pub(super) struct Names {
    slots: Vec<SeriesId>,
    taken: usize,
}

/// The bits of FNV are uneven; a multiplication by Knuth's constant spreads them.
fn hash(labels: &Labels) -> usize {
    (labels.fingerprint().0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20) as usize
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.taken
    }

    fn mask(&self) -> usize {
        self.slots.len().wrapping_sub(1)
    }

    /// Where the series with these labels is, or the slot that it would take.
    fn probe(&self, index: &Index, labels: &Labels) -> usize {
        let mut at = hash(labels) & self.mask();
        while self.slots[at] != FREE && index.get(self.slots[at]).is_none_or(|entry| entry.labels != *labels) {
            at = (at + 1) & self.mask();
        }
        at
    }

    /// The number of the series with these labels.
    pub(super) fn find(&self, index: &Index, labels: &Labels) -> Option<SeriesId> {
        if self.slots.is_empty() {
            return None;
        }
        Some(self.slots[self.probe(index, labels)]).filter(|id| *id != FREE)
    }

    /// Adds a series that the index has and this has not.
    pub(super) fn insert(&mut self, index: &Index, id: SeriesId) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            let slots = (self.slots.len() * 2).max(FEWEST_SLOTS);
            let before = std::mem::replace(&mut self.slots, vec![FREE; slots]);
            before.into_iter().filter(|id| *id != FREE).for_each(|id| self.put(index, id));
        }
        self.put(index, id);
        self.taken += 1;
    }

    fn put(&mut self, index: &Index, id: SeriesId) {
        let Some(entry) = index.get(id) else { return };
        let mut at = hash(&entry.labels) & self.mask();
        while self.slots[at] != FREE {
            at = (at + 1) & self.mask();
        }
        self.slots[at] = id;
    }

    /// Removes a series that the index still has.
    pub(super) fn remove(&mut self, index: &Index, labels: &Labels) {
        if self.slots.is_empty() {
            return;
        }
        let mut free = self.probe(index, labels);
        if self.slots[free] == FREE {
            return;
        }
        self.slots[free] = FREE;
        self.taken -= 1;
        // Those behind it that would no more be found move up.
        let mut at = free;
        loop {
            at = (at + 1) & self.mask();
            let id = self.slots[at];
            if id == FREE {
                return;
            }
            let Some(entry) = index.get(id) else { continue };
            let home = hash(&entry.labels) & self.mask();
            let is_behind = at.wrapping_sub(home) & self.mask() >= at.wrapping_sub(free) & self.mask();
            if is_behind {
                self.slots[free] = id;
                self.slots[at] = FREE;
                free = at;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(changes in prop::collection::vec(0u32..200, 0..800)) {
            let (mut names, mut index, mut model) = (Names::default(), Index::default(), BTreeMap::new());
            let labels = |number: u32| Labels::new([("__name__", format!("m{number}"))]);
            for number in changes {
                // What is there goes, what is not comes.
                if model.remove(&number).is_some() {
                    names.remove(&index, &labels(number));
                    index.remove(number);
                } else {
                    index.insert(number, &labels(number));
                    names.insert(&index, number);
                    model.insert(number, ());
                }
                prop_assert_eq!(names.len(), model.len());
            }
            for number in 0..200 {
                let found = model.contains_key(&number).then_some(number);
                prop_assert_eq!(names.find(&index, &labels(number)), found);
            }
        }
    }
}
