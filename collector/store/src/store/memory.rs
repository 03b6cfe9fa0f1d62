//! Streams and head together: what a record changes, when it arrives and when it is replayed.

use std::ops::Range;
use std::sync::Arc;

use watchfire_shared::frame::message::Lane;
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::stale_nan;
use watchfire_shared::time::{Span, Timestamp};

use super::Streams;
use super::deletions::Deletions;
use super::partial::{Present, push_present};
use super::stream::{Stream, Wire};
use crate::deletion::MAX_STANDING;
use crate::error::Recovery;
use crate::head::Head;
use crate::head::layout::Layout;
use crate::index::SeriesId;
use crate::source::Source;
use crate::wal::Reach;
use crate::wal::record::{self, DataRecord, DictionaryRecord, Record, Shown, StateRecord};
use crate::wal::recovery::Replay;

/// Slots that a replayed record may name. Higher ones were never written, and a claimed one must not take the memory.
const MAX_REPLAYED_SLOT: u32 = 1 << 24;

type Slots = Vec<Option<(SeriesId, Labels)>>;

#[derive(Default)]
pub(super) struct Memory {
    pub(super) head: Head,
    pub(super) streams: Streams,
    pub(super) deletions: Deletions,
    /// The rows of segments up to this one are in blocks.
    covered: u64,
}

/// The source's stream, made if it is new.
pub(super) fn stream_of<'a>(streams: &'a mut Streams, head: &mut Head, source: &Source) -> &'a mut Stream {
    let late = matches!(source, Source::Agent(_, Lane::Backfill));
    streams.entry(source.clone()).or_insert_with(|| Stream::new(source.clone(), head.add_source(late)))
}

/// Gives the stream another dictionary. Series that left it and never had data leave the index.
pub(super) fn set_layout(head: &mut Head, stream: &mut Stream, slots: Slots) {
    let layout = Arc::new(Layout::new(slots));
    let before = std::mem::replace(&mut stream.wire.layout, layout);
    // What the last row showed becomes stale with the next one, and has to have a name until then.
    for series in before.without(&stream.wire.layout) {
        if stream.wire.shown.slot_of(series).is_none() {
            head.forget_unused(stream.id, series);
        }
    }
}

/// Puts a series into a slot, which grows the list as far as needed.
pub(super) fn put_slot(slots: &mut Slots, slot: u32, series: (SeriesId, Labels)) {
    let slot = slot as usize;
    if slots.len() <= slot {
        slots.resize(slot + 1, None);
    }
    slots[slot] = Some(series);
}

/// Puts the stream's current values into the head as a row; returns the row's number and how many samples it has.
pub(super) fn push_row(head: &mut Head, stream: &mut Stream, at: Timestamp) -> (u64, usize) {
    let layout = &stream.wire.layout;
    let gone = if Arc::ptr_eq(layout, &stream.wire.shown) { Vec::new() } else { stream.wire.shown.without(layout) };
    let order = head.push(stream.id, at, layout, stream.wire.values.values(), &gone);
    stream.wire.shown = Arc::clone(layout);
    (order, layout.len() + gone.len())
}

/// Marks every series of the stream's last row as stale.
pub(super) fn push_stale(head: &mut Head, stream: &mut Stream, at: Timestamp) -> (u64, usize) {
    let shown = std::mem::take(&mut stream.wire.shown);
    let order = head.push(stream.id, at, &shown, &vec![stale_nan(); shown.slots()], &[]);
    stream.wire.last_at = Some(at);
    (order, shown.len())
}

/// When a stream's series become stale that is silent since its last row: right behind that row, so that no later row
/// of it is refused.
pub(super) fn stale_at(stream: &Stream) -> Option<Timestamp> {
    stream.wire.last_at.filter(|_| stream.wire.shown.len() > 0).map(|last| last + Span::from_millis(1))
}

/// What a replayed row is: its number, and how many samples it has.
type Replayed = (u64, usize);

impl Memory {
    /// For a log whose segments up to `covered` are in blocks, with rows up to number `last_order`.
    pub(super) fn after(covered: u64, last_order: u64) -> Self {
        let mut memory = Self { covered, ..Self::default() };
        memory.head.order = last_order;
        memory
    }

    fn replay_state(&mut self, state: StateRecord) -> Option<()> {
        let stream = stream_of(&mut self.streams, &mut self.head, &state.source);
        let others: &[(u32, Labels)] = if let Shown::Other(slots) = &state.shown { slots } else { &[] };
        if state.slots.iter().chain(others).any(|(slot, _)| *slot >= MAX_REPLAYED_SLOT)
            || (stream.wire.last, stream.wire.last_at) > (state.last, state.last_at)
        {
            return None;
        }
        let mut slots = Slots::new();
        for (slot, labels) in &state.slots {
            put_slot(&mut slots, *slot, self.head.series_of(stream.id, labels));
        }
        let mut others_slots = Slots::new();
        for (slot, labels) in others {
            put_slot(&mut others_slots, *slot, self.head.series_of(stream.id, labels));
        }
        set_layout(&mut self.head, stream, slots);
        let shown = match &state.shown {
            // Older records do not say it; then it is what the rows before have shown.
            Shown::Nothing => Arc::clone(&stream.wire.shown),
            Shown::Dictionary => Arc::clone(&stream.wire.layout),
            Shown::Other(_) => Arc::new(Layout::new(others_slots)),
        };
        stream.wire = Wire {
            dict_id: state.dict_id,
            layout: Arc::clone(&stream.wire.layout),
            values: state.values,
            needs_keyframe: state.needs_keyframe,
            needs_dictionary: state.needs_dictionary,
            last: state.last,
            last_at: state.last_at,
            shown,
        };
        Some(())
    }

    fn replay_dictionary(&mut self, dictionary: &DictionaryRecord) -> Option<()> {
        let stream = self.streams.get_mut(&dictionary.source)?;
        if dictionary.add.iter().any(|(slot, _)| *slot >= MAX_REPLAYED_SLOT) {
            return None;
        }
        let mut slots = if dictionary.base { Slots::new() } else { stream.wire.layout.to_slots() };
        for slot in &dictionary.remove {
            if let Some(slot) = slots.get_mut(*slot as usize) {
                *slot = None;
            }
        }
        for (slot, labels) in &dictionary.add {
            put_slot(&mut slots, *slot, self.head.series_of(stream.id, labels));
        }
        set_layout(&mut self.head, stream, slots);
        stream.wire.dict_id = dictionary.dict_id;
        stream.wire.needs_keyframe = true;
        stream.wire.needs_dictionary = false;
        Some(())
    }

    fn replay_data(&mut self, in_block: bool, data: &DataRecord<'_>) -> Option<Replayed> {
        let stream = self.streams.get_mut(&data.source)?;
        let checked = stream.wire.check(data.at, data.slots, data.keyframe);
        let decoded = checked.and_then(|()| stream.wire.decode(data));
        if decoded.is_err() {
            stream.wire.needs_keyframe = true;
            return None;
        }
        if in_block {
            stream.wire.shown = Arc::clone(&stream.wire.layout);
            return Some((0, 0));
        }
        Some(push_row(&mut self.head, stream, data.at))
    }

    fn replay_partial(&mut self, in_block: bool, data: &DataRecord<'_>, present: &Present) -> Option<Replayed> {
        let stream = self.streams.get_mut(&data.source)?;
        let checked = stream.wire.check(data.at, data.slots, data.keyframe);
        let decoded = checked.and_then(|()| stream.wire.decode(data));
        if decoded.is_err() {
            stream.wire.needs_keyframe = true;
            return None;
        }
        if in_block {
            stream.wire.shown = Arc::clone(&stream.wire.layout);
            return Some((0, 0));
        }
        let order = push_present(&mut self.head, stream, data.at, present);
        Some((order, present.count()))
    }

    fn replay_stale(&mut self, in_block: bool, source: &Source, at: Timestamp) -> Option<Replayed> {
        let stream = self.streams.get_mut(source)?;
        stream.wire.last_at.filter(|last| at > *last)?;
        if in_block {
            stream.wire.shown = Arc::default();
            stream.wire.last_at = Some(at);
            return Some((0, 0));
        }
        Some(push_stale(&mut self.head, stream, at))
    }
}

impl Replay for Memory {
    fn replay(&mut self, segment: u64, bytes: &[u8], records: &[Range<usize>], recovery: &mut Recovery) -> Reach {
        let in_block = segment <= self.covered;
        let mut reach = Reach::default();
        // Deletions that follow each other, which are done together.
        let mut deletions = Vec::new();
        for record in records {
            let record = record::decode(&bytes[record.clone()]);
            if !matches!(record, Some(Record::Delete(_))) || deletions.len() >= MAX_STANDING {
                self.delete(std::mem::take(&mut deletions));
            }
            let row = match record {
                Some(Record::State(state)) => self.replay_state(state).map(|()| None),
                Some(Record::Dictionary(dictionary)) => self.replay_dictionary(&dictionary).map(|()| None),
                Some(Record::Data(data)) => self.replay_data(in_block, &data).map(|row| Some((row, data.at))),
                Some(Record::Partial { data, present }) => {
                    self.replay_partial(in_block, &data, &present).map(|row| Some((row, data.at)))
                }
                Some(Record::Stale { source, at }) => {
                    self.replay_stale(in_block, &source, at).map(|row| Some((row, at)))
                }
                Some(Record::Delete(own)) => {
                    deletions.extend(own);
                    Some(None)
                }
                Some(Record::Standing(deletions)) => {
                    self.deletions.replace(deletions);
                    Some(None)
                }
                None => None,
            };
            match row {
                Some(Some(((order, samples), at))) => {
                    reach.add(order, at);
                    recovery.samples += samples as u64;
                }
                Some(None) => {}
                None => recovery.refused_records += 1,
            }
        }
        self.delete(deletions);
        reach
    }
}
