//! What arrives from agents: dictionaries, frames, and their silence.

use watchfire_shared::frame::message::{Data, Dict, Position};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::memory::{self, push_row, push_stale, put_slot, set_layout, stream_of};
use super::retention::{AGENTS_WAIT, ALL_WAIT};
use super::{Store, prepare};
use crate::disk::Disk;
use crate::error::{AppendError, DictionaryError, Refusal, RefusedSlot};
use crate::head::layout::bytes_of;
use crate::source::Source;
use crate::wal::record::{self, DataRecord, DictionaryRecord, Record};

impl<D: Disk> Store<D> {
    /// Changes a source's dictionary. `labels` are the final labels of `dict.add`, one set per entry, in its order.
    ///
    /// Afterwards the source needs a keyframe. Series that are gone get a stale marker with the source's next row.
    ///
    /// # Errors
    /// [`DictionaryError::Refused`] names the series that a limit or a clash kept out; all others are in force. Every
    /// other error left the dictionary as it was.
    pub fn set_dictionary(&mut self, source: &Source, dict: &Dict, labels: &[Labels]) -> Result<(), DictionaryError> {
        if matches!(source, Source::Local(_)) {
            return Err(DictionaryError::Local);
        }
        if dict.add.len() != labels.len() {
            return Err(DictionaryError::LabelCount { entries: dict.add.len(), labels: labels.len() });
        }
        let last = self.memory.streams.get(source).map(|stream| stream.wire.dict_id);
        let whole_first = self.memory.streams.get(source).is_some_and(|stream| stream.wire.needs_dictionary);
        if !dict.base && (whole_first || last.and_then(|last| last.checked_add(1)) != Some(dict.dict_id)) {
            return Err(DictionaryError::OutOfOrder { last: last.unwrap_or_default(), found: dict.dict_id });
        }
        self.accepting(AGENTS_WAIT).map_err(|error| match error {
            AppendError::Failed(reason) => DictionaryError::Failed(reason),
            AppendError::Behind => DictionaryError::Behind,
            _ => DictionaryError::Full,
        })?;
        let add = dict.add.iter().zip(labels).map(|(entry, labels)| (entry.slot, labels.clone())).collect();
        let change = DictionaryRecord {
            source: source.clone(),
            dict_id: dict.dict_id,
            base: dict.base,
            add,
            remove: dict.remove.clone(),
        };
        let refused = self.change_dictionary(change);
        if refused.is_empty() { Ok(()) } else { Err(DictionaryError::Refused(refused)) }
    }

    /// Applies and logs a change less what is refused of it.
    pub(super) fn change_dictionary(&mut self, mut change: DictionaryRecord) -> Vec<RefusedSlot> {
        let head = &mut self.memory.head;
        let stream = stream_of(&mut self.memory.streams, head, &change.source);
        let mut slots = if change.base { Vec::new() } else { stream.wire.layout.to_slots() };
        change.remove.retain(|slot| slots.get_mut(*slot as usize).is_some_and(|slot| slot.take().is_some()));

        let mut series: Vec<_> = slots.iter().flatten().map(|(series, _)| *series).collect();
        series.sort_unstable();
        let mut count = series.len();
        let mut added = std::collections::BTreeSet::new();
        let mut label_bytes: usize = slots.iter().flatten().map(|(_, labels)| bytes_of(labels)).sum();
        // The collector's own series are bounded by what the whole store may have, and their slots are its own choice.
        let is_own = matches!(change.source, Source::Local(_));
        let max_slots = if is_own { usize::MAX } else { self.options.max_series_per_source };
        let is_essential = |labels: &Labels| is_own || (self.options.essential)(labels);
        change.add.sort_by_key(|(_, labels)| !is_essential(labels));
        let mut refused = Vec::new();
        change.add.retain(|(slot, labels)| {
            let known = head.find(labels);
            let (most, most_of_source) = self.options.series_limits(is_essential(labels));
            let refusal = if labels.is_empty() {
                Some(Refusal::NoLabels)
            } else if *slot as usize >= max_slots {
                Some(Refusal::SlotRange)
            } else if slots.get(*slot as usize).is_some_and(Option::is_some) {
                Some(Refusal::SlotTaken)
            } else if known.is_some_and(|id| series.binary_search(&id).is_ok() || added.contains(&id)) {
                Some(Refusal::SameLabels)
            } else if !is_own && count >= most_of_source {
                Some(Refusal::SourceQuota)
            } else if label_bytes + bytes_of(labels) > self.options.max_dictionary_bytes_per_source {
                Some(Refusal::DictionaryBytes)
            } else if known.is_none() && head.series() >= most {
                Some(Refusal::TotalQuota)
            } else {
                None
            };
            if let Some(reason) = refusal {
                refused.push(RefusedSlot { slot: *slot, labels: labels.clone(), reason });
                return false;
            }
            let entry = head.series_of(stream.id, labels);
            added.insert(entry.0);
            count += 1;
            label_bytes += bytes_of(labels);
            put_slot(&mut slots, *slot, entry);
            true
        });
        let is_nothing = change.add.is_empty() && change.remove.is_empty() && !change.base;
        if is_nothing && matches!(change.source, Source::Local(_)) {
            return refused;
        }
        prepare(&mut self.wal, &mut self.touched, stream);
        set_layout(head, stream, slots);
        stream.wire.dict_id = change.dict_id;
        stream.wire.needs_keyframe = true;
        stream.wire.needs_dictionary = false;
        record::put(&mut self.wal.pending, &Record::Dictionary(change));
        refused
    }

    /// Takes one frame of a source: into the head, where it is visible at once, and into the log's buffer.
    ///
    /// `at` is the time to store it under, which need not be the frame's own.
    ///
    /// # Errors
    /// Nothing of the frame was taken. Unless it was a [`AppendError::Duplicate`], [`AppendError::Full`],
    /// [`AppendError::Behind`] or [`AppendError::Failed`], the source needs a keyframe next, since its later frames build on
    /// this one.
    pub fn append(
        &mut self,
        source: &Source,
        position: Position,
        at: Timestamp,
        data: &Data,
    ) -> Result<(), AppendError> {
        self.accepting(AGENTS_WAIT)?;
        let max_slots = self.options.max_series_per_source;
        let stream = self.memory.streams.get_mut(source).ok_or(AppendError::NeedsDictionary)?;
        let slots = data.n as usize;
        let checked = stream.wire.check_position(position, data.keyframe).and_then(|()| {
            if stream.wire.needs_dictionary {
                return Err(AppendError::NeedsDictionary);
            }
            if data.dict_id != stream.wire.dict_id {
                return Err(AppendError::OtherDictionary { expected: stream.wire.dict_id, found: data.dict_id });
            }
            if slots > max_slots {
                return Err(AppendError::SlotCount { expected: max_slots, found: slots });
            }
            stream.wire.check(at, slots, data.keyframe)
        });
        if let Err(error) = checked {
            stream.wire.needs_keyframe |= !matches!(error, AppendError::Duplicate { .. });
            return Err(error);
        }
        prepare(&mut self.wal, &mut self.touched, stream);
        let (keyframe, coding, body) = (data.keyframe, data.coding, &data.body);
        let record = DataRecord { source: source.clone(), position, at, keyframe, coding, slots, body };
        stream.wire.decode(&record)?;
        record::put(&mut self.wal.pending, &Record::Data(record));
        let (order, _) = push_row(&mut self.memory.head, stream, at);
        self.wal.note_row(order, at);
        self.oldest_pending.get_or_insert(at);
        Ok(())
    }

    /// Gives every series of a silent source a stale marker, one millisecond after its last row; nothing if it has one
    /// already. Returns the marker's time. The source's next frame goes on as if nothing had been.
    ///
    /// # Errors
    /// [`AppendError::Full`], [`AppendError::Behind`] and [`AppendError::Failed`]; nothing was changed.
    pub fn mark_stale(&mut self, source: &Source) -> Result<Option<Timestamp>, AppendError> {
        self.accepting(ALL_WAIT)?;
        let Some(stream) = self.memory.streams.get_mut(source) else { return Ok(None) };
        let Some(at) = memory::stale_at(stream) else { return Ok(None) };
        prepare(&mut self.wal, &mut self.touched, stream);
        record::put(&mut self.wal.pending, &Record::Stale { source: source.clone(), at });
        let (order, _) = push_stale(&mut self.memory.head, stream, at);
        self.wal.note_row(order, at);
        self.oldest_pending.get_or_insert(at);
        Ok(Some(at))
    }
}
