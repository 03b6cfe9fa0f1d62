//! Turns ticks into the frames of one lane of one stream: dictionary parts where series changed, then the values.
//!
//! Invariants: a keyframe is the first Data of a stream, follows every dictionary change and every gap in the sequence,
//! and comes at least every [`KEYFRAME_EVERY`] frames.

use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Data, Dict, Lane, Message, SeriesEntry};
use watchfire_shared::limits::{KEYFRAME_EVERY, MAX_DICT_ENTRIES_PER_FRAME, MAX_FRAME_BYTES};
use watchfire_shared::time::Timestamp;

use crate::dictionary::Dictionary;

/// Bytes of label text in one dictionary part; the rest of a frame is left to names of fields.
const MAX_PART_BYTES: usize = MAX_FRAME_BYTES / 4;

/// The sender's side of a lane.
#[derive(Debug)]
pub(crate) struct LaneEncoder {
    lane: Lane,
    coding: Coding,
    dict_id: u32,
    known: Dictionary,
    state: ValueState,
    last_seq: Option<u64>,
    since_keyframe: u64,
}

/// One tick as a lane sends it.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a> {
    pub(crate) seq: u64,
    pub(crate) at: Timestamp,
    pub(crate) dictionary: &'a Dictionary,
    /// One per slot of the dictionary.
    pub(crate) values: &'a [f64],
}

impl LaneEncoder {
    pub(crate) fn new(lane: Lane, coding: Coding) -> Self {
        Self {
            lane,
            coding,
            dict_id: 0,
            known: Dictionary::default(),
            state: ValueState::default(),
            last_seq: None,
            since_keyframe: 0,
        }
    }

    /// Begins the stream anew: the next frame is preceded by a whole dictionary.
    pub(crate) fn restart(&mut self) {
        let dict_id = self.dict_id;
        *self = Self { dict_id, ..Self::new(self.lane, self.coding) };
    }

    /// Whether a tick of this sequence continues the stream without a gap.
    pub(crate) fn follows(&self, seq: u64) -> bool {
        self.last_seq.is_some_and(|last| last + 1 == seq)
    }

    /// Appends the frames of one tick; the last one is its Data.
    pub(crate) fn encode(&mut self, tick: Values<'_>, frames: &mut Vec<Vec<u8>>) {
        let new_dictionary = self.dictionary(tick.dictionary, frames);
        let keyframe = new_dictionary || !self.follows(tick.seq) || self.since_keyframe + 1 >= KEYFRAME_EVERY;
        self.last_seq = Some(tick.seq);
        self.since_keyframe = if keyframe { 0 } else { self.since_keyframe + 1 };
        self.state.resize(tick.values.len());
        let mut body = Vec::with_capacity(tick.values.len());
        self.state.encode_as(self.coding, tick.values, keyframe, &mut body);
        let data = Data {
            lane: self.lane,
            seq: tick.seq,
            dict_id: self.dict_id,
            ts_ms: tick.at.as_millis(),
            n: tick.values.len() as u32,
            keyframe,
            body,
            coding: self.coding,
        };
        frames.push(Message::Data(data).encode());
    }

    fn dictionary(&mut self, dictionary: &Dictionary, frames: &mut Vec<Vec<u8>>) -> bool {
        let base = self.last_seq.is_none();
        if !base && self.known.same(dictionary) {
            return false;
        }
        let (remove, add) = self.known.difference(dictionary);
        self.known = dictionary.clone();
        if !base && remove.is_empty() && add.is_empty() {
            return false;
        }
        let mut part = Dict { lane: self.lane, dict_id: 0, base, add: Vec::new(), remove };
        let mut bytes = 0;
        for entry in add {
            let own = entry_bytes(&entry);
            if part.add.len() >= MAX_DICT_ENTRIES_PER_FRAME || (bytes + own > MAX_PART_BYTES && !part.add.is_empty()) {
                bytes = 0;
                self.part(&mut part, frames);
            }
            bytes += own;
            part.add.push(entry);
        }
        self.part(&mut part, frames);
        true
    }

    fn part(&mut self, part: &mut Dict, frames: &mut Vec<Vec<u8>>) {
        self.dict_id += 1;
        let next = Dict { lane: self.lane, dict_id: 0, base: false, add: Vec::new(), remove: Vec::new() };
        let full = Dict { dict_id: self.dict_id, ..std::mem::replace(part, next) };
        frames.push(Message::Dict(full).encode());
    }
}

fn entry_bytes(entry: &SeriesEntry) -> usize {
    entry.labels.iter().map(|(name, value)| name.len() + value.len() + 10).sum()
}

#[cfg(test)]
mod tests {
    use watchfire_shared::labels::Labels;
    use watchfire_shared::sample::MetricKind;

    use super::*;

    fn entry(slot: u32, name: &str) -> SeriesEntry {
        SeriesEntry { slot, labels: Labels::new([("__name__", name)]), kind: MetricKind::Gauge }
    }

    fn send(encoder: &mut LaneEncoder, dictionary: &Dictionary, seq: u64) -> Vec<Message> {
        let mut frames = Vec::new();
        let values = vec![1.0; dictionary.len()];
        encoder.encode(Values { seq, at: Timestamp::EPOCH, dictionary, values: &values }, &mut frames);
        frames.iter().map(|frame| Message::decode(frame).unwrap().unwrap()).collect()
    }

    fn shape(messages: &[Message]) -> String {
        let part = |message: &Message| match message {
            Message::Dict(dict) => {
                format!(
                    "dict{}{}+{}-{}",
                    dict.dict_id,
                    if dict.base { "!" } else { "" },
                    dict.add.len(),
                    dict.remove.len()
                )
            }
            Message::Data(data) => format!("data{}{}@{}", data.seq, if data.keyframe { "!" } else { "" }, data.dict_id),
            other => format!("{other:?}"),
        };
        messages.iter().map(part).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn keyframes_come_first_after_dictionaries_after_gaps_and_regularly() {
        let mut encoder = LaneEncoder::new(Lane::Live, Coding::Short);
        let mut dictionary = Dictionary::default();
        dictionary.change(&[], &[entry(0, "a"), entry(1, "b")]);
        let mut step = |dictionary: &Dictionary, seq| shape(&send(&mut encoder, dictionary, seq));
        assert_eq!(step(&dictionary, 5), "dict1!+2-0 data5!@1");
        assert_eq!(step(&dictionary, 6), "data6@1");
        assert_eq!(step(&dictionary, 9), "data9!@1");
        dictionary.change(&[0], &[entry(0, "c"), entry(2, "d")]);
        assert_eq!(step(&dictionary, 10), "dict2+2-1 data10!@2");
        let keyframes: Vec<u64> = (11..135).filter(|seq| step(&dictionary, *seq).contains('!')).collect();
        assert_eq!(keyframes, [10 + KEYFRAME_EVERY, 10 + 2 * KEYFRAME_EVERY]);
        encoder.restart();
        assert_eq!(shape(&send(&mut encoder, &dictionary, 135)), "dict3!+3-0 data135!@3");
    }

    #[test]
    fn a_large_dictionary_goes_in_parts_that_fit_frames() {
        let mut dictionary = Dictionary::default();
        let long = "x".repeat(1000);
        let entries: Vec<SeriesEntry> = (0..2000).map(|slot| entry(slot, &format!("{long}{slot}"))).collect();
        dictionary.change(&[], &entries);
        let mut encoder = LaneEncoder::new(Lane::Backfill, Coding::Short);
        let mut frames = Vec::new();
        encoder.encode(
            Values { seq: 1, at: Timestamp::EPOCH, dictionary: &dictionary, values: &[0.0; 2000] },
            &mut frames,
        );
        assert!(frames.iter().all(|frame| frame.len() < MAX_FRAME_BYTES / 2));
        let mut told = Dictionary::default();
        for frame in &frames {
            if let Some(Message::Dict(part)) = Message::decode(frame).unwrap() {
                told.take(&part);
            }
        }
        assert_eq!(told.difference(&dictionary), (Vec::new(), Vec::new()));
    }
}
