//! Rows in which only some series of a source have a value: what others push, whose series come together most of the
//! time but not always.
//!
//! A local source is used either whole, by [`Store::append_local`], or in parts, by what is here. A series that a row in
//! parts leaves out has no sample then and is not stale; who pushes says himself when a series ends.

use std::sync::Arc;

use watchfire_shared::frame::body::Coding;
use watchfire_shared::frame::message::Position;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::retention::ALL_WAIT;
use super::stream::Stream;
use super::{Store, prepare};
use crate::disk::Disk;
use crate::error::{AppendError, RefusedSlot};
use crate::head::Head;
use crate::source::Source;
use crate::wal::record::{self, DataRecord, DictionaryRecord, Record};

/// One series of a source, and the newest sample of it that memory holds.
#[derive(Clone, Debug, PartialEq)]
pub struct SlotState {
    pub slot: u32,
    pub labels: Labels,
    pub newest: Option<(Timestamp, f64)>,
}

/// A bit for each slot that has a value, as many bytes as they take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Present(Box<[u8]>);

impl Present {
    fn of(slots: usize, values: &[(u32, f64)]) -> Self {
        let mut bits = vec![0; slots.div_ceil(8)];
        values.iter().for_each(|(slot, _)| bits[*slot as usize / 8] |= 1 << (slot % 8));
        Self(bits.into())
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn count(&self) -> usize {
        self.0.iter().map(|bits| bits.count_ones() as usize).sum()
    }

    pub(crate) fn has(&self, slot: u32) -> bool {
        self.0.get(slot as usize / 8).is_some_and(|bits| bits >> (slot % 8) & 1 == 1)
    }
}

impl<D: Disk> Store<D> {
    /// How many more series there may be.
    #[must_use]
    pub fn room_for_series(&self) -> usize {
        self.options.series_limits(false).0.saturating_sub(self.memory.head.series())
    }

    /// Adds series to the local source `name`, which is made if there is none. Their slots are the caller's choice; each
    /// has to be free. Returns those that a limit or a clash kept out.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`AppendError::Behind`] and [`AppendError::Failed`]; nothing was changed.
    pub fn add_series(&mut self, name: &str, add: Vec<(u32, Labels)>) -> Result<Vec<RefusedSlot>, AppendError> {
        self.change_series(name, add, Vec::new())
    }

    /// Removes series from the local source `name`. What they had stays; nothing tells that they ended.
    ///
    /// # Errors
    /// As [`add_series`](Self::add_series).
    pub fn remove_series(&mut self, name: &str, slots: Vec<u32>) -> Result<(), AppendError> {
        self.change_series(name, Vec::new(), slots).map(drop)
    }

    fn change_series(
        &mut self,
        name: &str,
        add: Vec<(u32, Labels)>,
        remove: Vec<u32>,
    ) -> Result<Vec<RefusedSlot>, AppendError> {
        self.accepting(ALL_WAIT)?;
        let source = Source::Local(name.to_owned());
        let stream = self.memory.streams.get(&source);
        let dict_id = stream.map_or(0, |stream| stream.wire.dict_id.wrapping_add(1));
        let base = stream.is_none();
        let refused = self.change_dictionary(DictionaryRecord { source: source.clone(), dict_id, base, add, remove });
        if let Some(stream) = self.memory.streams.get_mut(&source) {
            stream.wire.shown = Arc::clone(&stream.wire.layout);
        }
        Ok(refused)
    }

    /// Appends one row of the local source `name` that has these values, each in its slot, no slot twice.
    ///
    /// # Errors
    /// [`AppendError::NeedsDictionary`], [`AppendError::NotAfter`], [`AppendError::SlotCount`] for a slot without a
    /// series, [`AppendError::Full`], [`AppendError::Behind`], [`AppendError::Failed`]; nothing was changed.
    pub fn append_partial(&mut self, name: &str, at: Timestamp, values: &[(u32, f64)]) -> Result<(), AppendError> {
        self.accepting(ALL_WAIT)?;
        let source = Source::Local(name.to_owned());
        let stream = self.memory.streams.get_mut(&source).ok_or(AppendError::NeedsDictionary)?;
        if let Some(last) = stream.wire.last_at.filter(|last| at <= *last) {
            return Err(AppendError::NotAfter { at, last });
        }
        let layout = Arc::clone(&stream.wire.layout);
        let slots = layout.slots();
        if let Some((slot, _)) = values.iter().find(|(slot, _)| layout.labels_at(*slot).is_none()) {
            return Err(AppendError::SlotCount { expected: slots, found: *slot as usize + 1 });
        }
        prepare(&mut self.wal, &mut self.touched, stream);
        // A slot that is left out keeps its value in the stream, and so takes no bytes.
        let mut row = stream.wire.values.values().to_vec();
        row.resize(slots, 0.0);
        values.iter().for_each(|(slot, value)| row[*slot as usize] = *value);
        let keyframe = std::mem::take(&mut stream.wire.needs_keyframe);
        stream.wire.values.resize(slots);
        let mut body = Vec::with_capacity(slots / 8 + values.len() * 3 + 8);
        stream.wire.values.encode(&row, keyframe, &mut body);
        let position = Position { epoch: 0, seq: stream.wire.last.map_or(1, |last| last.seq + 1) };
        stream.wire.last = Some(position);
        stream.wire.last_at = Some(at);
        let data = DataRecord { source, position, at, keyframe, coding: Coding::Short, slots, body: &body };
        let present = Present::of(slots, values);
        let order = push_present(&mut self.memory.head, stream, at, &present);
        record::put(&mut self.wal.pending, &Record::Partial { data, present });
        self.wal.note_row(order, at);
        self.oldest_pending.get_or_insert(at);
        Ok(())
    }

    /// The labels of the series in a slot of the local source `name`.
    #[must_use]
    pub fn labels_of(&self, name: &str, slot: u32) -> Option<Labels> {
        let stream = self.memory.streams.get(&Source::Local(name.to_owned()))?;
        stream.wire.layout.labels_at(slot).cloned()
    }

    /// The value that the series in this slot of the local source `name` has at exactly this time, if memory holds it.
    #[must_use]
    pub fn value_at(&self, name: &str, slot: u32, at: Timestamp) -> Option<f64> {
        let stream = self.memory.streams.get(&Source::Local(name.to_owned()))?;
        let series = stream.wire.layout.series_at(slot)?;
        let timeline = self.memory.head.timelines.get(stream.id as usize)?;
        timeline.latest(series, at.as_millis(), at.as_millis()).map(|(_, _, value)| value)
    }

    /// The series of the local source `name`, by slot.
    #[must_use]
    pub fn slots(&self, name: &str) -> Vec<SlotState> {
        let Some(stream) = self.memory.streams.get(&Source::Local(name.to_owned())) else { return Vec::new() };
        let timeline = self.memory.head.timelines.get(stream.id as usize);
        let entries = stream.wire.layout.entries();
        let state = |(slot, labels): (u32, &Labels)| {
            let series = stream.wire.layout.series_at(slot)?;
            let newest = timeline.and_then(|timeline| timeline.newest(series));
            let newest = newest.map(|(at, _, value)| (Timestamp::from_millis(at), value));
            Some(SlotState { slot, labels: labels.clone(), newest })
        };
        entries.filter_map(state).collect()
    }
}

/// Puts the stream's values into the head as a row in which only the present slots have one.
pub(super) fn push_present(head: &mut Head, stream: &mut Stream, at: Timestamp, present: &Present) -> u64 {
    let layout = &stream.wire.layout;
    let some = (present.count() < layout.len()).then(|| present.clone());
    let order = head.push_present(stream.id, at, layout, stream.wire.values.values(), some);
    let shown = std::mem::replace(&mut stream.wire.shown, Arc::clone(layout));
    if !Arc::ptr_eq(&shown, &stream.wire.layout) {
        for series in shown.without(&stream.wire.layout) {
            head.forget_unused(stream.id, series);
        }
    }
    order
}
