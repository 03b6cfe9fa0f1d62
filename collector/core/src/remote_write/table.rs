//! Which pushed series is where: a hash table by the hash of a series' labels, since every sample asks it.
//!
//! Keys are 128 bits of a hash that spreads well, so they are compared instead of the labels, and their low bits are the
//! place in the table. Nothing iterates it but the sweep, whose result is sorted.

use std::collections::BTreeSet;

use super::groups::Place;

/// A series' place, and its newest sample.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Seen {
    pub(super) place: Place,
    /// Milliseconds; the least there is before the first sample.
    pub(super) at: i64,
    /// Bits of the value.
    pub(super) bits: u64,
}

impl Seen {
    pub(super) fn new(place: Place) -> Self {
        Self { place, at: i64::MIN, bits: 0 }
    }
}

/// Open addressing with linear probing; a power of two of slots, at most three quarters of them taken.
#[derive(Default)]
pub(super) struct Table {
    slots: Vec<Option<(u128, Seen)>>,
    taken: usize,
}

const FEWEST_SLOTS: usize = 64;

impl Table {
    fn probe(&self, key: u128) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len().wrapping_sub(1);
        let first = key as usize;
        (0..self.slots.len()).map(move |step| first.wrapping_add(step) & mask)
    }

    pub(super) fn get(&self, key: u128) -> Option<Seen> {
        for at in self.probe(key) {
            match &self.slots[at] {
                Some((own, seen)) if *own == key => return Some(*seen),
                Some(_) => {}
                None => return None,
            }
        }
        None
    }

    pub(super) fn set(&mut self, key: u128, seen: Seen) {
        if (self.taken + 1) * 4 > self.slots.len() * 3 {
            self.rebuild(|_| true);
        }
        for at in self.probe(key) {
            match &mut self.slots[at] {
                Some((own, old)) if *own == key => {
                    *old = seen;
                    return;
                }
                Some(_) => {}
                slot @ None => {
                    *slot = Some((key, seen));
                    self.taken += 1;
                    return;
                }
            }
        }
    }

    /// Makes entries what they were; of one that is named twice, what it was first.
    pub(super) fn restore(&mut self, entries: Vec<(u128, Option<Seen>)>) {
        let mut gone = BTreeSet::new();
        for (key, seen) in entries.into_iter().rev() {
            match seen {
                Some(seen) => self.set(key, seen),
                None => drop(gone.insert(key)),
            }
        }
        if !gone.is_empty() {
            self.rebuild(|(key, _)| !gone.contains(key));
        }
    }

    /// Removes entries; returns their places, sorted, each once.
    pub(super) fn remove(&mut self, is_gone: impl Fn(&Seen) -> bool) -> Vec<Place> {
        let entries = self.slots.iter().flatten().map(|(_, seen)| seen);
        let mut gone: Vec<Place> = entries.filter(|seen| is_gone(seen)).map(|seen| seen.place).collect();
        if !gone.is_empty() {
            self.rebuild(|(_, seen)| !is_gone(seen));
        }
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    /// Puts what is kept into a table of the right size.
    fn rebuild(&mut self, keep: impl Fn(&(u128, Seen)) -> bool) {
        let kept: Vec<(u128, Seen)> = self.slots.drain(..).flatten().filter(|entry| keep(entry)).collect();
        self.slots = vec![None; ((kept.len() + 1) * 2).next_power_of_two().max(FEWEST_SLOTS)];
        self.taken = 0;
        kept.into_iter().for_each(|(key, seen)| self.set(key, seen));
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
                // Keys that share their low bits are neighbours in the table.
                let key = key << 3;
                if is_removal {
                    table.restore(vec![(key, None)]);
                    model.remove(&key);
                } else {
                    let seen = Seen { at: number as i64, ..Seen::new(Place { group: 0, slot: number as u32 }) };
                    table.set(key, seen);
                    model.insert(key, seen);
                }
            }
            for key in 0..1600 {
                prop_assert_eq!(table.get(key), model.get(&key).copied());
            }
        }
    }
}
