//! Which series each slot of a source's frames holds.

use std::sync::Arc;

use watchfire_shared::labels::Labels;

use crate::index::SeriesId;

/// A dictionary at one time; a change makes a new one, so rows can share it.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    /// By slot; `None` where no series is, or a refused one.
    slots: Box<[Option<(SeriesId, Labels)>]>,
    /// Sorted; chunks of its rows share the list.
    series: Arc<[SeriesId]>,
    /// The slot of each of [`series`](Self::series); `None` if their places are their slots, as they are where a source
    /// numbers its series as they come.
    places: Option<Box<[u32]>>,
}

impl Layout {
    /// From the series by slot. Trailing empty slots are cut.
    pub(crate) fn new(mut slots: Vec<Option<(SeriesId, Labels)>>) -> Self {
        slots.truncate(slots.iter().rposition(Option::is_some).map_or(0, |last| last + 1));
        let taken = slots.iter().zip(0u32..).filter_map(|(taken, slot)| taken.as_ref().map(|(id, _)| (*id, slot)));
        let mut by_series: Vec<(SeriesId, u32)> = taken.collect();
        by_series.sort_unstable();
        let series = by_series.iter().map(|(series, _)| *series).collect();
        let in_place = by_series.iter().zip(0u32..).all(|((_, slot), place)| *slot == place);
        let places = (!in_place).then(|| by_series.iter().map(|(_, slot)| *slot).collect());
        Self { slots: slots.into(), series, places }
    }

    /// One more than the highest slot that holds a series.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// How many series there are.
    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    pub(crate) fn to_slots(&self) -> Vec<Option<(SeriesId, Labels)>> {
        self.slots.to_vec()
    }

    pub(crate) fn slot_of(&self, series: SeriesId) -> Option<u32> {
        // Series that came together have numbers in a row, most often without a gap.
        let guess = series.wrapping_sub(*self.series.first()?) as usize;
        let place = match self.series.get(guess) {
            Some(own) if *own == series => guess,
            _ => self.series.binary_search(&series).ok()?,
        };
        Some(self.slot_at(place))
    }

    /// The slot of the series at this place of the list.
    fn slot_at(&self, place: usize) -> u32 {
        self.places.as_ref().map_or(place as u32, |places| places[place])
    }

    /// The labels of the series in a slot; `None` if there is none.
    pub(crate) fn labels_at(&self, slot: u32) -> Option<&Labels> {
        self.slots.get(slot as usize)?.as_ref().map(|(_, labels)| labels)
    }

    /// The series in a slot.
    pub(crate) fn series_at(&self, slot: u32) -> Option<SeriesId> {
        self.slots.get(slot as usize)?.as_ref().map(|(series, _)| *series)
    }

    /// Series in the order of their ids, as chunks keep them.
    pub(crate) fn shared_series(&self) -> Arc<[SeriesId]> {
        Arc::clone(&self.series)
    }

    /// Series in the order of their ids.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.series.iter().copied()
    }

    /// Series and slots in the order of the series.
    pub(crate) fn by_series(&self) -> impl Iterator<Item = (SeriesId, u32)> {
        self.series.iter().enumerate().map(|(place, series)| (*series, self.slot_at(place)))
    }

    /// Slots that hold a series, with its labels.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (u32, &Labels)> {
        self.slots.iter().zip(0u32..).filter_map(|(taken, slot)| taken.as_ref().map(|(_, labels)| (slot, labels)))
    }

    /// Slots that hold a series, with copies of its labels.
    pub(crate) fn to_entries(&self) -> Vec<(u32, Labels)> {
        self.entries().map(|(slot, labels)| (slot, labels.clone())).collect()
    }

    /// Series of this one that the other does not have.
    pub(crate) fn without(&self, other: &Self) -> Vec<SeriesId> {
        self.series().filter(|series| other.slot_of(*series).is_none()).collect()
    }
}

/// Bytes of the names and values.
pub(crate) fn bytes_of(labels: &Labels) -> usize {
    labels.iter().map(|(name, value)| name.len() + value.len()).sum()
}
