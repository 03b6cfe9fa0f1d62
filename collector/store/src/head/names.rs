//! Which series has these labels: a hash table of series' numbers. Their labels are in the index, and only there.

use std::hash::{BuildHasher, RandomState};

use hashbrown::HashTable;
use watchfire_shared::labels::Labels;

use crate::index::{Index, SeriesId};

/// Nothing iterates it, so its order is nobody's, and a seed of this process' own changes nothing but that nobody can send
/// names that all fall into one place.
#[derive(Default)]
pub(super) struct Names {
    table: HashTable<SeriesId>,
    seed: RandomState,
}

impl Names {
    pub(super) fn len(&self) -> usize {
        self.table.len()
    }

    /// The number of the series with these labels.
    pub(super) fn find(&self, index: &Index, labels: &Labels) -> Option<SeriesId> {
        self.table.find(self.seed.hash_one(labels), has(index, labels)).copied()
    }

    /// Adds a series that the index has and this has not.
    pub(super) fn insert(&mut self, index: &Index, id: SeriesId) {
        let seed = &self.seed;
        let hash_of = |id: &SeriesId| index.get(*id).map_or(0, |entry| seed.hash_one(&entry.labels));
        self.table.insert_unique(hash_of(&id), id, hash_of);
    }

    /// Removes a series that the index still has.
    pub(super) fn remove(&mut self, index: &Index, labels: &Labels) {
        if let Ok(found) = self.table.find_entry(self.seed.hash_one(labels), has(index, labels)) {
            found.remove();
        }
    }
}

fn has(index: &Index, labels: &Labels) -> impl Fn(&SeriesId) -> bool {
    move |id| index.get(*id).is_some_and(|entry| entry.labels == *labels)
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
