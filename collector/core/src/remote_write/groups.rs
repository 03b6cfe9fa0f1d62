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
/// was split, and more only while it splits again.
const MAX_LANES: usize = 16;
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
            for SlotState { slot, labels, newest: point } in store.slots(&name) {
                let place = Place { group, slot };
                let seen = newest.entry(place).or_insert_with(|| Seen::new(place));
                if let Some((at, value)) = point.filter(|(at, _)| at.as_millis() > seen.at) {
                    (seen.at, seen.bits) = (at.as_millis(), value.to_bits());
                }
                keys.entry(place).or_insert_with(|| decode::key_of(&labels));
            }
            groups.next = groups.next.max(group.saturating_add(1));
            let lanes = &mut groups.groups.entry(group).or_default().lanes;
            lanes.push(Lane { name, last_at: store.last_at(source) });
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
            match store.add_series(&name, std::mem::take(&mut own.new)) {
                Ok(slots) => {
                    own.lanes.push(Lane { name, last_at: None });
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
        let before = own.lanes.iter_mut().filter(|lane| lane.last_at.is_none_or(|last| last < at));
        if let Some(lane) = before.max_by_key(|lane| lane.last_at) {
            store.append_partial(&lane.name, at, row)?;
            lane.last_at = Some(at);
            return Ok(true);
        }
        if own.lanes.len() >= MAX_LANES {
            return Ok(false);
        }
        let lane = name(group, own.lanes.len());
        let series = store.slots(&name(group, 0)).into_iter().map(|state| (state.slot, state.labels));
        let refused = store.add_series(&lane, series.collect())?;
        own.lanes.push(Lane { name: lane.clone(), last_at: Some(at) });
        let row: Vec<(u32, f64)> =
            row.iter().filter(|(slot, _)| !refused.iter().any(|refused| refused.slot == *slot)).copied().collect();
        store.append_partial(&lane, at, &row)?;
        Ok(true)
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
