//! Groups of series that come together, each a source of the store with as many lanes as its parts need.

use std::collections::BTreeMap;

use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;
use watchfire_store::{AppendError, Disk, RefusedSlot, SlotState, Source, Store};

use super::decode;
use super::table::{Seen, Table};

/// Series of one group. Rows are as wide as their group where only some series have a sample, so it is not large; and a
/// row has costs of its own, so it is not small.
const SERIES_PER_GROUP: usize = 256;
/// Lanes of one group: so many flows of samples may be at different times. Prometheus' shards are two of them after one
/// was split, and more only while it splits again; what comes out of order is one each time that it goes back. A lane can
/// be used again once it is behind the window.
const MAX_LANES: usize = 64;
/// What the names of the sources begin with.
const PREFIX: &str = "write/";

/// Where a series is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) group: u32,
    pub(super) slot: u32,
}

#[derive(Default)]
struct Group {
    lanes: Vec<Lane>,
    /// Series that the store does not know of yet.
    new: Vec<(u32, Labels)>,
}

struct Lane {
    name: String,
    last_at: Option<Timestamp>,
    /// A bit for each slot that it has a series in.
    slots: [u64; SERIES_PER_GROUP / 64],
}

impl Lane {
    fn new(name: String, last_at: Option<Timestamp>, slots: impl Iterator<Item = u32>) -> Self {
        let mut lane = Self { name, last_at, slots: Default::default() };
        slots.for_each(|slot| lane.slots[slot as usize % SERIES_PER_GROUP / 64] |= 1 << (slot % 64));
        lane
    }

    fn has(&self, slot: u32) -> bool {
        self.slots[slot as usize % SERIES_PER_GROUP / 64] >> (slot % 64) & 1 == 1
    }

    /// Appends a row, the series of which the lane gets if it has not all of them; those that the store refuses are left
    /// out.
    fn append<D: Disk>(
        &mut self,
        store: &mut Store<D>,
        first: &str,
        at: Timestamp,
        row: &[(u32, f64)],
    ) -> Result<(), AppendError> {
        if row.iter().all(|(slot, _)| self.has(*slot)) {
            store.append_partial(&self.name, at, row)?;
        } else {
            let missing = row.iter().map(|(slot, _)| *slot).filter(|slot| !self.has(*slot));
            let missing = missing.filter_map(|slot| Some((slot, store.labels_of(first, slot)?)));
            let missing: Vec<(u32, Labels)> = missing.collect();
            let wanted: Vec<u32> = missing.iter().map(|(slot, _)| *slot).collect();
            let refused = store.add_series(&self.name, missing)?;
            let is_refused = |slot: &u32| refused.iter().any(|refused| refused.slot == *slot);
            let added = wanted.into_iter().filter(|slot| !is_refused(slot));
            let added = Self::new(String::new(), None, added);
            self.slots.iter_mut().zip(added.slots).for_each(|(own, added)| *own |= added);
            let row: Vec<(u32, f64)> = row.iter().filter(|(slot, _)| self.has(*slot)).copied().collect();
            store.append_partial(&self.name, at, &row)?;
        }
        self.last_at = Some(at);
        Ok(())
    }
}

#[derive(Default)]
pub(super) struct Groups {
    groups: BTreeMap<u32, Group>,
    next: u32,
    /// The group that the request at hand fills with new series, by the time of their samples.
    open: BTreeMap<i64, (u32, usize)>,
    /// Groups with series that the store does not know of.
    begun: Vec<u32>,
    new_series: usize,
}

fn name(group: u32, lane: usize) -> String {
    format!("{PREFIX}{group}/{lane}")
}

fn parse(source: &Source) -> Option<(u32, usize)> {
    let Source::Local(name) = source else { return None };
    let (group, lane) = name.strip_prefix(PREFIX)?.split_once('/')?;
    Some((group.parse().ok()?, lane.parse().ok()?))
}

impl Groups {
    /// Takes up the groups that the store has, and puts their series into the table.
    pub(super) fn restore<D: Disk>(store: &Store<D>, table: &mut Table) -> Self {
        let mut groups = Self::default();
        let mut newest: BTreeMap<Place, Seen> = BTreeMap::new();
        let mut keys: BTreeMap<Place, u128> = BTreeMap::new();
        for source in store.sources() {
            let Some((group, lane)) = parse(source) else { continue };
            let name = name(group, lane);
            let mut slots = Vec::new();
            for SlotState { slot, labels, newest: point } in store.slots(&name) {
                slots.push(slot);
                let place = Place { group, slot };
                let seen = newest.entry(place).or_insert_with(|| Seen::new(place));
                if let Some((at, value)) = point.filter(|(at, _)| at.as_millis() > seen.at) {
                    (seen.at, seen.bits) = (at.as_millis(), value.to_bits());
                }
                keys.entry(place).or_insert_with(|| decode::key_of(&labels));
            }
            groups.next = groups.next.max(group.saturating_add(1));
            let lanes = &mut groups.groups.entry(group).or_default().lanes;
            lanes.push(Lane::new(name, store.last_at(source), slots.into_iter()));
        }
        for (place, key) in keys {
            table.set(key, newest[&place]);
        }
        groups
    }

    /// The place of a series that has none: in the group of those that came with it.
    pub(super) fn place(&mut self, at: i64, labels: Labels) -> Place {
        let open = self.open.entry(at).or_insert((u32::MAX, SERIES_PER_GROUP));
        if open.1 == SERIES_PER_GROUP {
            *open = (self.next, 0);
            self.begun.push(self.next);
            self.next += 1;
        }
        let place = Place { group: open.0, slot: open.1 as u32 };
        open.1 += 1;
        self.new_series += 1;
        self.groups.entry(place.group).or_default().new.push((place.slot, labels));
        place
    }

    /// How many series were placed that the store does not know of.
    pub(super) fn new_series(&self) -> usize {
        self.new_series
    }

    /// Makes the store know of the series that were placed; returns those that it refuses.
    pub(super) fn add_new<D: Disk>(&mut self, store: &mut Store<D>) -> Result<Vec<(Place, RefusedSlot)>, AppendError> {
        let mut refused = Vec::new();
        for group in std::mem::take(&mut self.begun) {
            let Some(own) = self.groups.get_mut(&group) else { continue };
            let name = name(group, 0);
            let new = std::mem::take(&mut own.new);
            let wanted: Vec<u32> = new.iter().map(|(slot, _)| *slot).collect();
            match store.add_series(&name, new) {
                Ok(slots) => {
                    let is_refused = |wanted: &u32| slots.iter().any(|slot| slot.slot == *wanted);
                    let added = wanted.into_iter().filter(|slot| !is_refused(slot));
                    own.lanes.push(Lane::new(name, None, added));
                    refused.extend(slots.into_iter().map(|slot| (Place { group, slot: slot.slot }, slot)));
                }
                Err(error) => {
                    self.groups.remove(&group);
                    return Err(error);
                }
            }
        }
        self.open.clear();
        self.new_series = 0;
        Ok(refused)
    }

    /// Takes back what was placed and the store does not know of.
    pub(super) fn forget_new(&mut self) {
        self.open.clear();
        self.begun.clear();
        self.new_series = 0;
        self.groups.retain(|_, own| !own.lanes.is_empty());
    }

    /// Appends a row to the lane whose last row is the closest before it. Says no if every lane is past it.
    pub(super) fn append<D: Disk>(
        &mut self,
        store: &mut Store<D>,
        group: u32,
        at: Timestamp,
        row: &[(u32, f64)],
    ) -> Result<bool, AppendError> {
        let Some(own) = self.groups.get_mut(&group) else { return Ok(false) };
        let first = name(group, 0);
        let before = own.lanes.iter_mut().filter(|lane| lane.last_at.is_none_or(|last| last < at));
        if let Some(lane) = before.max_by_key(|lane| lane.last_at) {
            return lane.append(store, &first, at, row).map(|()| true);
        }
        if own.lanes.len() >= MAX_LANES {
            return Ok(false);
        }
        let mut lane = Lane::new(name(group, own.lanes.len()), None, std::iter::empty());
        lane.append(store, &first, at, row)?;
        own.lanes.push(lane);
        Ok(true)
    }

    /// The value of a series at exactly this time, if memory holds one.
    pub(super) fn value_at<D: Disk>(&self, store: &Store<D>, place: Place, at: i64) -> Option<f64> {
        let lanes = self.groups.get(&place.group)?.lanes.iter();
        let mut own = lanes.filter(|lane| lane.has(place.slot));
        own.find_map(|lane| store.value_at(&lane.name, place.slot, Timestamp::from_millis(at)))
    }

    /// Gives up places. What the store cannot be told of now is not told: its series stay until their source ends.
    pub(super) fn remove<D: Disk>(&mut self, store: &mut Store<D>, places: &[Place]) {
        for places in places.chunk_by(|a, b| a.group == b.group) {
            let Some(own) = self.groups.get(&places[0].group) else { continue };
            let slots: Vec<u32> = places.iter().map(|place| place.slot).collect();
            let removed = own.lanes.iter().all(|lane| store.remove_series(&lane.name, slots.clone()).is_ok());
            if removed && own.lanes.iter().all(|lane| store.slots(&lane.name).is_empty()) {
                self.groups.remove(&places[0].group);
            }
        }
    }
}
