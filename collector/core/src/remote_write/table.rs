//! Which pushed series is where: a hash table by the hash of a series' labels, since every sample asks it.
//!
//! Keys are 128 bits of a hash that spreads well, so they are compared instead of the labels, and their low bits are the
//! hash of the table. Nothing iterates it but what treats every
//! entry by itself, and the sweep, whose result is sorted.

use hashbrown::HashTable;

use super::groups::Place;

/// A series' place, and its newest sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Seen {
    pub(super) place: Place,
    /// Milliseconds; the least there is before the first sample.
    pub(super) at: i64,
    /// Bits of the value; `None` if it is not there any more.
    pub(super) bits: Option<u64>,
}

impl Seen {
    pub(super) fn new(place: Place) -> Self {
        Self { place, at: i64::MIN, bits: None }
    }
}

#[derive(Default)]
pub(super) struct Table(HashTable<(u128, Seen)>);

fn hash(key: u128) -> u64 {
    key as u64
}

impl Table {
    pub(super) fn get(&self, key: u128) -> Option<Seen> {
        self.0.find(hash(key), |(own, _)| *own == key).map(|(_, seen)| *seen)
    }

    pub(super) fn set(&mut self, key: u128, seen: Seen) {
        match self.0.find_mut(hash(key), |(own, _)| *own == key) {
            Some((_, old)) => *old = seen,
            None => drop(self.0.insert_unique(hash(key), (key, seen), |(key, _)| hash(*key))),
        }
    }

    fn forget(&mut self, key: u128) {
        if let Ok(found) = self.0.find_entry(hash(key), |(own, _)| *own == key) {
            found.remove();
        }
    }

    /// Makes entries what they were; of one that is named twice, what it was first.
    pub(super) fn restore(&mut self, entries: impl DoubleEndedIterator<Item = (u128, Option<Seen>)>) {
        for (key, seen) in entries.rev() {
            match seen {
                Some(seen) => self.set(key, seen),
                None => self.forget(key),
            }
        }
    }

    /// Notes of which series the newest sample is there no more.
    pub(super) fn lose_newest(&mut self, is_lost: impl Fn(&Seen) -> bool) {
        for (_, seen) in self.0.iter_mut().filter(|(_, seen)| is_lost(seen)) {
            seen.bits = None;
        }
    }

    /// Removes entries; returns their places, sorted, each once.
    pub(super) fn remove(&mut self, is_gone: impl Fn(&Seen) -> bool) -> Vec<Place> {
        let gone = self.0.extract_if(|(_, seen)| is_gone(seen));
        let mut gone: Vec<Place> = gone.map(|(_, seen)| seen.place).collect();
        gone.sort_unstable();
        gone.dedup();
        // What was many once is not paid for for ever.
        if self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to_fit(|(key, _)| hash(*key));
        }
        gone
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(changes in prop::collection::vec((0u128..200, any::<bool>()), 0..600)) {
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for (number, (key, is_removal)) in changes.into_iter().enumerate() {
                // Keys may share the hash of the table.
                let key = key << 62;
                if is_removal {
                    table.restore([(key, None)].into_iter());
                    model.remove(&key);
                } else {
                    let seen = Seen { at: number as i64, ..Seen::new(Place { group: 0, slot: number as u32 }) };
                    table.set(key, seen);
                    model.insert(key, seen);
                }
            }
            for key in (0..200).map(|key| key << 62) {
                prop_assert_eq!(table.get(key), model.get(&key).copied());
            }
        }
    }
}
