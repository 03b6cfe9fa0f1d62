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
    /// The last part of its name.
    number: usize,
    name: String,
    last_at: Option<Timestamp>,
    /// A bit for each slot that it has a series in.
    slots: [u64; SERIES_PER_GROUP / 64],
}

/// What the store kept out of a row: the slots of its samples, and why it did the first.
#[derive(Default, Debug)]
pub(super) struct KeptOut {
    pub(super) slots: Vec<u32>,
    pub(super) first: String,
}

impl Group {
    /// Adds a lane with the least number that is free, since the store may have forgotten one in between; returns its
    /// place.
    fn add_lane(&mut self, group: u32) -> usize {
        let is_free = |number: &usize| self.lanes.iter().all(|lane| lane.number != *number);
        let number = (0..=self.lanes.len()).find(is_free).expect("there are fewer lanes than these numbers");
        self.lanes.push(Lane::new(group, number, None, std::iter::empty()));
        self.lanes.len() - 1
    }

    /// The labels of a series, from any lane that the store knows it in.
    fn labels_of<D: Disk>(&self, store: &Store<D>, slot: u32) -> Option<Labels> {
        self.lanes.iter().find_map(|lane| store.labels_of(&lane.name, slot))
    }

    /// Appends a row to a lane, which gets the series of it that it has not.
    fn append<D: Disk>(
        &mut self,
        lane: usize,
        store: &mut Store<D>,
        at: Timestamp,
        row: &[(u32, f64)],
    ) -> Result<KeptOut, AppendError> {
        self.lanes[lane].check(store);
        if row.iter().all(|(slot, _)| self.lanes[lane].has(*slot)) {
            match self.lanes[lane].append(store, at, row) {
                Err(AppendError::NeedsDictionary | AppendError::SlotCount { .. }) => {
                    self.lanes[lane].slots = Default::default();
                }
                done => return done.map(|()| KeptOut::default()),
            }
        }
        let refused = self.add_missing(lane, store, row)?;
        let row: Vec<(u32, f64)> = row.iter().filter(|(slot, _)| self.lanes[lane].has(*slot)).copied().collect();
        if !row.is_empty() {
            self.lanes[lane].append(store, at, &row)?;
        }
        Ok(refused)
    }

    /// Makes the store know the lane's series of a row; returns what it refuses.
    fn add_missing<D: Disk>(
        &mut self,
        lane: usize,
        store: &mut Store<D>,
        row: &[(u32, f64)],
    ) -> Result<KeptOut, AppendError> {
        let (mut missing, mut refused) = (Vec::new(), KeptOut::default());
        for (slot, _) in row.iter().filter(|(slot, _)| !self.lanes[lane].has(*slot)) {
            match self.labels_of(store, *slot) {
                Some(labels) => missing.push((*slot, labels)),
                None => refused.add(*slot, || "the store has forgotten the series".to_owned()),
            }
        }
        let wanted: Vec<u32> = missing.iter().map(|(slot, _)| *slot).collect();
        let own = &mut self.lanes[lane];
        let slots = match missing.is_empty() {
            true => Vec::new(),
            false => store.add_series(&own.name, missing)?,
        };
        for slot in wanted {
            match slots.iter().find(|refused| refused.slot == slot) {
                None => own.take(slot),
                Some(RefusedSlot { labels, .. }) if store.labels_of(&own.name, slot).as_ref() == Some(labels) => {
                    own.take(slot);
                }
                Some(RefusedSlot { labels, reason, .. }) => refused.add(slot, || format!("{labels}: {reason}")),
            }
        }
        Ok(refused)
    }
}

impl KeptOut {
    fn add(&mut self, slot: u32, reason: impl FnOnce() -> String) {
        if self.slots.is_empty() {
            self.first = reason();
        }
        self.slots.push(slot);
    }
}

impl Lane {
    fn new(group: u32, number: usize, last_at: Option<Timestamp>, slots: impl Iterator<Item = u32>) -> Self {
        let mut lane = Self { number, name: name(group, number), last_at, slots: Default::default() };
        slots.for_each(|slot| lane.take(slot));
        lane
    }

    fn has(&self, slot: u32) -> bool {
        self.slots[slot as usize % SERIES_PER_GROUP / 64] >> (slot % 64) & 1 == 1
    }

    fn take(&mut self, slot: u32) {
        self.slots[slot as usize % SERIES_PER_GROUP / 64] |= 1 << (slot % 64);
    }

    /// Begins anew if the store has forgotten it, as it does with a source all rows of which are too old.
    fn check<D: Disk>(&mut self, store: &Store<D>) {
        if self.last_at.is_some() && store.last_at(&Source::Local(self.name.clone())).is_none() {
            (self.last_at, self.slots) = (None, Default::default());
        }
    }

    fn append<D: Disk>(&mut self, store: &mut Store<D>, at: Timestamp, row: &[(u32, f64)]) -> Result<(), AppendError> {
        store.append_partial(&self.name, at, row)?;
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
            let mut slots = Vec::new();
            for SlotState { slot, labels, newest: point } in store.slots(&name(group, lane)) {
                slots.push(slot);
                let place = Place { group, slot };
                let seen = newest.entry(place).or_insert_with(|| Seen::new(place));
                if let Some((at, value)) = point.filter(|(at, _)| at.as_millis() > seen.at) {
                    (seen.at, seen.bits) = (at.as_millis(), Some(value.to_bits()));
                }
                keys.entry(place).or_insert_with(|| decode::key_of(&labels));
            }
            groups.next = groups.next.max(group.saturating_add(1));
            let lanes = &mut groups.groups.entry(group).or_default().lanes;
            lanes.push(Lane::new(group, lane, store.last_at(source), slots.into_iter()));
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
            let new = std::mem::take(&mut own.new);
            let wanted: Vec<u32> = new.iter().map(|(slot, _)| *slot).collect();
            match store.add_series(&name(group, 0), new) {
                Ok(slots) => {
                    let is_refused = |wanted: &u32| slots.iter().any(|slot| slot.slot == *wanted);
                    let added = wanted.into_iter().filter(|slot| !is_refused(slot));
                    own.lanes.push(Lane::new(group, 0, None, added));
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

    /// Appends a row to the lane whose last row is the closest before it. Says what the store keeps out of it, and no if
    /// every lane is past it.
    pub(super) fn append<D: Disk>(
        &mut self,
        store: &mut Store<D>,
        group: u32,
        at: Timestamp,
        row: &[(u32, f64)],
    ) -> Result<Option<KeptOut>, AppendError> {
        let Some(own) = self.groups.get_mut(&group) else { return Ok(None) };
        let before = own.lanes.iter().enumerate().filter(|(_, lane)| lane.last_at.is_none_or(|last| last < at));
        let closest = before.max_by_key(|(_, lane)| lane.last_at).map(|(at, _)| at);
        if closest.is_none() && own.lanes.len() >= MAX_LANES {
            return Ok(None);
        }
        // A new lane is there before the store is told of it, which may take its series and have no room for its row.
        let lane = closest.unwrap_or_else(|| own.add_lane(group));
        own.append(lane, store, at, row).map(Some)
    }

    /// The value of a series at exactly this time, if memory holds one.
    pub(super) fn value_at<D: Disk>(&self, store: &Store<D>, place: Place, at: i64) -> Option<f64> {
        let lanes = self.groups.get(&place.group)?.lanes.iter();
        let mut own = lanes.filter(|lane| lane.has(place.slot));
        own.find_map(|lane| store.value_at(&lane.name, place.slot, Timestamp::from_millis(at)))
    }

    /// Whether the store has a series at this place.
    pub(super) fn knows<D: Disk>(&self, store: &Store<D>, place: Place) -> bool {
        self.labels_of(store, place).is_some()
    }

    /// The labels of the series at this place, as long as the store has it.
    pub(super) fn labels_of<D: Disk>(&self, store: &Store<D>, place: Place) -> Option<Labels> {
        self.groups.get(&place.group)?.labels_of(store, place.slot)
    }

    /// Gives up places. What the store cannot be told of now is not told: its series stay until their source ends.
    pub(super) fn remove<D: Disk>(&mut self, store: &mut Store<D>, places: &[Place]) {
        for places in places.chunk_by(|a, b| a.group == b.group) {
            let Some(own) = self.groups.get(&places[0].group) else { continue };
            let mut removed = true;
            for lane in &own.lanes {
                // A source that the store has forgotten would be made again.
                let slots = places.iter().map(|place| place.slot);
                let slots: Vec<u32> = slots.filter(|slot| store.labels_of(&lane.name, *slot).is_some()).collect();
                removed &= slots.is_empty() || store.remove_series(&lane.name, slots).is_ok();
            }
            if removed && own.lanes.iter().all(|lane| store.slots(&lane.name).is_empty()) {
                self.groups.remove(&places[0].group);
            }
        }
    }
}
