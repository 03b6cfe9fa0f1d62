//! The collector's own series: samples by their labels, turned into the frames of a stream like any other.

use std::collections::BTreeSet;
use std::sync::Arc;

use watchfire_shared::frame::body::Coding;
use watchfire_shared::frame::message::Position;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::memory::push_row;
use super::retention::ALL_WAIT;
use super::stream::{Recent, Stream};
use super::{Store, prepare};
use crate::disk::Disk;
use crate::error::{AppendError, RefusedSlot};
use crate::source::Source;
use crate::wal::record::{self, DataRecord, DictionaryRecord, Record};

impl<D: Disk> Store<D> {
    /// Appends one tick of the local source `name`. A series that the tick before had and this one has not gets a stale
    /// marker at `at`. A tick without series after one without series leaves no trace.
    ///
    /// # Errors
    /// [`AppendError::Refused`] names the series that a limit kept out; all others were appended. After any other error
    /// ([`AppendError::NotAfter`], [`AppendError::SameLabels`], [`AppendError::Full`], [`AppendError::Behind`],
    /// [`AppendError::Failed`]) nothing was changed.
    pub fn append_local(&mut self, name: &str, at: Timestamp, samples: &[(Labels, f64)]) -> Result<(), AppendError> {
        self.accepting(ALL_WAIT)?;
        let source = Source::Local(name.to_owned());
        let stream = self.memory.streams.get(&source);
        if let Some(last) = stream.and_then(|stream| stream.wire.last_at).filter(|last| at <= *last) {
            return Err(AppendError::NotAfter { at, last });
        }
        if let Some(slots) = stream.and_then(|stream| same_series(stream, samples)) {
            self.append_values(&source, at, samples, &slots);
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        if let Some((labels, _)) = samples.iter().find(|(labels, _)| !seen.insert(labels)) {
            return Err(AppendError::SameLabels(labels.clone()));
        }
        if samples.is_empty() && stream.is_none_or(|stream| stream.wire.shown.len() == 0) {
            return Ok(());
        }
        let refused = self.fit_dictionary(&source, &seen);
        let slots = self.slots_of(&source, samples);
        self.append_values(&source, at, samples, &slots);
        if refused.is_empty() { Ok(()) } else { Err(AppendError::Refused(refused)) }
    }

    /// Makes the source's dictionary hold these series and no others.
    fn fit_dictionary(&mut self, source: &Source, wanted: &BTreeSet<&Labels>) -> Vec<RefusedSlot> {
        let (head, stream) = (&self.memory.head, self.memory.streams.get(source));
        let layout = stream.map(|stream| &stream.wire.layout);
        let remove: Vec<u32> = layout
            .iter()
            .flat_map(|layout| layout.entries())
            .filter(|(_, labels)| !wanted.contains(labels))
            .map(|(slot, _)| slot)
            .collect();
        let has = |labels: &Labels| {
            head.find(labels).is_some_and(|series| layout.is_some_and(|layout| layout.slot_of(series).is_some()))
        };
        let new: Vec<Labels> = wanted.iter().filter(|labels| !has(labels)).map(|labels| (*labels).clone()).collect();
        if remove.is_empty() && new.is_empty() && stream.is_some() {
            return Vec::new();
        }
        let freed: BTreeSet<u32> = remove.iter().copied().collect();
        let is_free =
            |slot: &u32| freed.contains(slot) || layout.is_none_or(|layout| layout.labels_at(*slot).is_none());
        let change = DictionaryRecord {
            source: source.clone(),
            dict_id: stream.map_or(0, |stream| stream.wire.dict_id.wrapping_add(1)),
            base: stream.is_none(),
            add: (0..).filter(is_free).zip(new).collect(),
            remove,
        };
        self.change_dictionary(change)
    }

    /// The slot of each sample's series; `None` of those that were refused. They are remembered, if there is one for each.
    fn slots_of(&mut self, source: &Source, samples: &[(Labels, f64)]) -> Vec<Option<u32>> {
        let head = &self.memory.head;
        let Some(stream) = self.memory.streams.get_mut(source) else { return Vec::new() };
        let layout = &stream.wire.layout;
        let slot = |labels| head.find(labels).and_then(|series| layout.slot_of(series));
        let slots: Vec<Option<u32>> = samples.iter().map(|(labels, _)| slot(labels)).collect();
        let recent = samples.iter().zip(&slots).map(|((labels, _), slot)| Some((labels.clone(), (*slot)?)));
        let recent: Option<Vec<(Labels, u32)>> = recent.collect();
        stream.recent = Recent { layout: Arc::clone(layout), slots: recent.unwrap_or_default() };
        slots
    }

    fn append_values(&mut self, source: &Source, at: Timestamp, samples: &[(Labels, f64)], known: &[Option<u32>]) {
        let head = &mut self.memory.head;
        let Some(stream) = self.memory.streams.get_mut(source) else { return };
        let slots = stream.wire.layout.slots();
        let mut values = vec![0.0; slots];
        for ((_, value), slot) in samples.iter().zip(known) {
            if let Some(slot) = slot {
                values[*slot as usize] = *value;
            }
        }
        prepare(&mut self.wal, &mut self.touched, stream);
        let keyframe = std::mem::take(&mut stream.wire.needs_keyframe);
        let mut body = Vec::new();
        stream.wire.values.resize(slots);
        stream.wire.values.encode(&values, keyframe, &mut body);
        let position = Position { epoch: 0, seq: stream.wire.last.map_or(1, |last| last.seq + 1) };
        stream.wire.last = Some(position);
        stream.wire.last_at = Some(at);
        let record =
            DataRecord { source: source.clone(), position, at, keyframe, coding: Coding::Short, slots, body: &body };
        record::put(&mut self.wal.pending, &Record::Data(record));
        let (order, _) = push_row(head, stream, at);
        self.wal.note_row(order, at);
        self.oldest_pending.get_or_insert(at);
    }
}

/// The slots of the samples' series, if those are the ones of the tick before in the same order.
fn same_series(stream: &Stream, samples: &[(Labels, f64)]) -> Option<Vec<Option<u32>>> {
    let Recent { layout, slots } = &stream.recent;
    let same = Arc::ptr_eq(layout, &stream.wire.layout)
        && !samples.is_empty()
        && slots.len() == samples.len()
        && slots.iter().zip(samples).all(|((own, _), (labels, _))| own == labels);
    same.then(|| slots.iter().map(|(_, slot)| Some(*slot)).collect())
}
