//! The records of the log, as bytes.
//!
//! A record says `u32 length | u32 CRC-32 | u8 type | payload`; `FORMAT.md` has the payloads. Decoding checks every
//! length, so bytes with a right checksum and wrong content are refused, never believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Lane, Position};
use watchfire_shared::frame::varint;
use watchfire_shared::labels::{Labels, Text};
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;

use crate::codec::{Reader, put_sized};
use crate::deletion::{self, Deletion};
use crate::source::Source;
use crate::store::partial::Present;

/// Bytes before the payload, the type included.
pub(crate) const RECORD_HEADER_BYTES: usize = 9;
/// A record, bytes. The largest is a state record: 16 MiB of names and values, and 18 bytes for each of 10,000 slots;
/// local sources may have more.
pub(crate) const MAX_RECORD_BYTES: usize = 64 << 20;

const TYPE_STATE: u8 = 1;
const TYPE_DICTIONARY: u8 = 2;
const TYPE_DATA: u8 = 3;
const TYPE_STALE: u8 = 4;
const TYPE_PARTIAL: u8 = 5;
const TYPE_DELETE: u8 = 6;
const TYPE_STANDING: u8 = 7;

const FLAG_POSITION: u8 = 1;
const FLAG_TIME: u8 = 2;
const FLAG_NEEDS_KEYFRAME: u8 = 4;
const FLAG_NEEDS_DICTIONARY: u8 = 8;
const FLAG_SHOWS_DICTIONARY: u8 = 16;
const FLAG_SHOWS_OTHERS: u8 = 32;
const FLAG_SHORT_BODY: u8 = 64;

const FLAG_KEYFRAME: u8 = 1;
const FLAG_SHORT_ROW: u8 = 2;

/// Everything that decoding a source's next record takes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StateRecord {
    pub(crate) source: Source,
    pub(crate) dict_id: u32,
    pub(crate) needs_keyframe: bool,
    pub(crate) needs_dictionary: bool,
    pub(crate) last: Option<Position>,
    pub(crate) last_at: Option<Timestamp>,
    pub(crate) values: ValueState,
    pub(crate) slots: Vec<(u32, Labels)>,
    pub(crate) shown: Shown,
}

/// Which series the source's last row had: those become stale.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shown {
    Nothing,
    /// Those of the dictionary.
    Dictionary,
    /// Those of the dictionary before it, with their slots.
    Other(Vec<(u32, Labels)>),
}

/// A change of a source's dictionary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DictionaryRecord {
    pub(crate) source: Source,
    pub(crate) dict_id: u32,
    pub(crate) base: bool,
    pub(crate) add: Vec<(u32, Labels)>,
    pub(crate) remove: Vec<u32>,
}

/// One tick.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct DataRecord<'a> {
    pub(crate) source: Source,
    pub(crate) position: Position,
    pub(crate) at: Timestamp,
    pub(crate) keyframe: bool,
    pub(crate) coding: Coding,
    pub(crate) slots: usize,
    pub(crate) body: &'a [u8],
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Record<'a> {
    State(StateRecord),
    Dictionary(DictionaryRecord),
    Data(DataRecord<'a>),
    /// One tick at which only some slots have a value.
    Partial {
        data: DataRecord<'a>,
        present: Present,
    },
    /// Every series of the source is stale at this time.
    Stale {
        source: Source,
        at: Timestamp,
    },
    /// What these deletions select is deleted of all that came before.
    Delete(Vec<Arc<Deletion>>),
    /// These deletions stand, and no others.
    Standing(Vec<Arc<Deletion>>),
}

impl Record<'_> {
    /// Time and number of samples, if it is a row.
    pub(crate) fn row(&self) -> Option<(Timestamp, usize)> {
        match self {
            Self::Data(data) => Some((data.at, data.slots)),
            Self::Partial { data, present } => Some((data.at, present.count())),
            Self::Stale { at, .. } => Some((*at, 0)),
            _ => None,
        }
    }
}

/// Appends one whole record.
pub(crate) fn put(out: &mut Vec<u8>, record: &Record<'_>) {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEADER_BYTES - 1]);
    match record {
        Record::State(state) => put_state(out, state),
        Record::Dictionary(dictionary) => put_dictionary(out, dictionary),
        Record::Data(data) => {
            out.push(TYPE_DATA);
            put_data(out, data);
        }
        Record::Partial { data, present } => {
            out.push(TYPE_PARTIAL);
            put_sized(out, present.bytes());
            put_data(out, data);
        }
        Record::Stale { source, at } => {
            out.push(TYPE_STALE);
            put_source(out, source);
            out.extend_from_slice(&at.as_millis().to_le_bytes());
        }
        Record::Delete(deletions) => {
            out.push(TYPE_DELETE);
            deletion::put(out, deletions);
        }
        Record::Standing(deletions) => {
            out.push(TYPE_STANDING);
            deletion::put(out, deletions);
        }
    }
    let length = u32::try_from(out.len() - start - 8).expect("records are bounded far below 4 GiB");
    let checksum = crc32fast::hash(&out[start + 8..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads a record's type and payload; `None` if they are not one well-formed record of a known type.
pub(crate) fn decode(bytes: &[u8]) -> Option<Record<'_>> {
    let mut reader = Reader::new(bytes);
    let record = match reader.u8()? {
        TYPE_STATE => Record::State(read_state(&mut reader)?),
        TYPE_DICTIONARY => Record::Dictionary(read_dictionary(&mut reader)?),
        TYPE_DATA => Record::Data(read_data(&mut reader)?),
        TYPE_PARTIAL => {
            let present = Present::from_bytes(reader.sized()?);
            let data = read_data(&mut reader)?;
            // A bit beyond the slots would be of no series, and fewer bits than slots are no bitmap of them.
            (present.bytes().len() == data.slots.div_ceil(8)).then_some(Record::Partial { data, present })?
        }
        TYPE_STALE => Record::Stale { source: read_source(&mut reader)?, at: Timestamp::from_millis(reader.i64()?) },
        TYPE_DELETE => Record::Delete(deletion::read(&mut reader)?),
        TYPE_STANDING => Record::Standing(deletion::read(&mut reader)?),
        _ => return None,
    };
    reader.is_empty().then_some(record)
}

pub(crate) fn put_source(out: &mut Vec<u8>, source: &Source) {
    match source {
        Source::Agent(id, lane) => {
            out.push(match lane {
                Lane::Live => 0,
                Lane::Backfill => 1,
            });
            out.extend_from_slice(&id.0.to_le_bytes());
        }
        Source::Local(name) => {
            out.push(2);
            put_sized(out, name.as_bytes());
        }
    }
}

pub(crate) fn read_source(reader: &mut Reader<'_>) -> Option<Source> {
    match reader.u8()? {
        0 => Some(Source::Agent(NodeId(reader.u64()?), Lane::Live)),
        1 => Some(Source::Agent(NodeId(reader.u64()?), Lane::Backfill)),
        2 => Some(Source::Local(reader.text()?.to_owned())),
        _ => None,
    }
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    out.extend_from_slice(&position.epoch.to_le_bytes());
    varint::put(out, position.seq);
}

fn read_position(reader: &mut Reader<'_>) -> Option<Position> {
    Some(Position { epoch: reader.u64()?, seq: reader.varint()? })
}

fn put_state(out: &mut Vec<u8>, state: &StateRecord) {
    out.push(TYPE_STATE);
    put_source(out, &state.source);
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    out.push(
        flag(state.last.is_some(), FLAG_POSITION)
            | flag(state.last_at.is_some(), FLAG_TIME)
            | flag(state.needs_keyframe, FLAG_NEEDS_KEYFRAME)
            | flag(state.needs_dictionary, FLAG_NEEDS_DICTIONARY)
            | flag(state.shown == Shown::Dictionary, FLAG_SHOWS_DICTIONARY)
            | flag(matches!(state.shown, Shown::Other(_)), FLAG_SHOWS_OTHERS)
            | FLAG_SHORT_BODY,
    );
    varint::put(out, u64::from(state.dict_id));
    if let Some(position) = state.last {
        put_position(out, position);
    }
    if let Some(at) = state.last_at {
        out.extend_from_slice(&at.as_millis().to_le_bytes());
    }
    put_sized(out, state.values.exponents());
    // The values go as the keyframe of a fresh stream; its exponents need not be the ones that stuck to the old one.
    let mut fresh = ValueState::default();
    fresh.resize(state.values.len());
    let mut body = Vec::new();
    fresh.encode(state.values.values(), true, &mut body);
    put_sized(out, &body);
    put_slots(out, &state.slots);
    if let Shown::Other(slots) = &state.shown {
        put_slots(out, slots);
    }
}

fn read_state(reader: &mut Reader<'_>) -> Option<StateRecord> {
    let source = read_source(reader)?;
    let flags = reader.u8()?;
    let dict_id = reader.varint32()?;
    let last = if flags & FLAG_POSITION == 0 { None } else { Some(read_position(reader)?) };
    let last_at = if flags & FLAG_TIME == 0 { None } else { Some(Timestamp::from_millis(reader.i64()?)) };
    let exponents = reader.sized()?.to_vec();
    let mut fresh = ValueState::default();
    fresh.resize(exponents.len());
    fresh.decode(reader.sized()?, true, coding(flags, FLAG_SHORT_BODY)).ok()?;
    let values = ValueState::from_parts(fresh.values().to_vec(), exponents)?;
    let slots = read_slots(reader)?;
    let shown = if flags & FLAG_SHOWS_OTHERS != 0 {
        Shown::Other(read_slots(reader)?)
    } else if flags & FLAG_SHOWS_DICTIONARY != 0 {
        Shown::Dictionary
    } else {
        Shown::Nothing
    };
    Some(StateRecord {
        source,
        dict_id,
        needs_keyframe: flags & FLAG_NEEDS_KEYFRAME != 0,
        needs_dictionary: flags & FLAG_NEEDS_DICTIONARY != 0,
        last,
        last_at,
        values,
        slots,
        shown,
    })
}

fn put_dictionary(out: &mut Vec<u8>, dictionary: &DictionaryRecord) {
    out.push(TYPE_DICTIONARY);
    put_source(out, &dictionary.source);
    out.push(u8::from(dictionary.base));
    varint::put(out, u64::from(dictionary.dict_id));
    varint::put(out, dictionary.remove.len() as u64);
    dictionary.remove.iter().for_each(|slot| varint::put(out, u64::from(*slot)));
    put_slots(out, &dictionary.add);
}

fn read_dictionary(reader: &mut Reader<'_>) -> Option<DictionaryRecord> {
    let source = read_source(reader)?;
    let base = reader.u8()? != 0;
    let dict_id = reader.varint32()?;
    let mut remove = Vec::new();
    for _ in 0..reader.varint()? {
        remove.push(reader.varint32()?);
    }
    Some(DictionaryRecord { source, dict_id, base, remove, add: read_slots(reader)? })
}

/// Bodies of the first version are marked by nothing.
fn coding(flags: u8, short: u8) -> Coding {
    if flags & short == 0 { Coding::Flagged } else { Coding::Short }
}

fn put_data(out: &mut Vec<u8>, data: &DataRecord<'_>) {
    put_source(out, &data.source);
    put_position(out, data.position);
    out.extend_from_slice(&data.at.as_millis().to_le_bytes());
    let short = if data.coding == Coding::Short { FLAG_SHORT_ROW } else { 0 };
    out.push(if data.keyframe { FLAG_KEYFRAME } else { 0 } | short);
    varint::put(out, data.slots as u64);
    out.extend_from_slice(data.body);
}

fn read_data<'a>(reader: &mut Reader<'a>) -> Option<DataRecord<'a>> {
    let source = read_source(reader)?;
    let position = read_position(reader)?;
    let at = Timestamp::from_millis(reader.i64()?);
    let flags = reader.u8()?;
    let (keyframe, coding) = (flags & FLAG_KEYFRAME != 0, coding(flags, FLAG_SHORT_ROW));
    let slots = reader.varint32()? as usize;
    let body = reader.rest();
    // A body has a bit per slot, which bounds what a claimed number of slots can make the reader allocate.
    (slots.div_ceil(8) <= body.len()).then_some(DataRecord { source, position, at, keyframe, coding, slots, body })
}

/// Texts once, in the order of their first use, then per slot the numbers of its pairs.
fn put_slots(out: &mut Vec<u8>, slots: &[(u32, Labels)]) {
    let mut numbers: BTreeMap<&str, u64> = BTreeMap::new();
    let mut texts: Vec<&str> = Vec::new();
    for text in slots.iter().flat_map(|(_, labels)| labels.iter()).flat_map(|(name, value)| [name, value]) {
        numbers.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len() as u64 - 1
        });
    }
    varint::put(out, texts.len() as u64);
    texts.iter().for_each(|text| put_sized(out, text.as_bytes()));
    varint::put(out, slots.len() as u64);
    for (slot, labels) in slots {
        varint::put(out, u64::from(*slot));
        varint::put(out, labels.len() as u64);
        for (name, value) in labels.iter() {
            varint::put(out, numbers[name]);
            varint::put(out, numbers[value]);
        }
    }
}

fn read_slots(reader: &mut Reader<'_>) -> Option<Vec<(u32, Labels)>> {
    let mut texts: Vec<Text> = Vec::new();
    for _ in 0..reader.varint()? {
        texts.push(reader.text()?.into());
    }
    let text = |number: u64| texts.get(usize::try_from(number).ok()?).cloned();
    let mut slots = Vec::new();
    for _ in 0..reader.varint()? {
        let slot = reader.varint32()?;
        let mut pairs = Vec::new();
        for _ in 0..reader.varint()? {
            pairs.push((text(reader.varint()?)?, text(reader.varint()?)?));
        }
        slots.push((slot, Labels::new(pairs)));
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use watchfire_shared::matcher::{MatchOp, Matcher};

    use super::*;
    use crate::block::Range;

    fn source() -> impl Strategy<Value = Source> {
        prop_oneof![
            any::<u64>().prop_map(|id| Source::Agent(NodeId(id), Lane::Live)),
            any::<u64>().prop_map(|id| Source::Agent(NodeId(id), Lane::Backfill)),
            "[a-zé]{0,9}".prop_map(Source::Local),
        ]
    }

    fn slots() -> impl Strategy<Value = Vec<(u32, Labels)>> {
        let labels = prop::collection::btree_map("[a-c]{1,2}", "[x-zü]{1,3}", 0..4).prop_map(Labels::new);
        prop::collection::vec((any::<u32>(), labels), 0..6)
    }

    fn deletions() -> impl Strategy<Value = Vec<Arc<Deletion>>> {
        let op = prop::sample::select(vec![MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex]);
        let matcher =
            ("[a-zé]{0,5}", op, "[a-zü.|]{0,6}").prop_map(|(name, op, value)| Matcher::new(name, op, value).unwrap());
        let deletion = (prop::collection::vec(matcher, 0..4), any::<(i64, i64, u64)>()).prop_map(
            |(matchers, (from, to, before))| {
                Arc::new(Deletion { matchers, range: Range { from, to }, before: before >> 1 })
            },
        );
        prop::collection::vec(deletion, 0..4)
    }

    proptest! {
        #[test]
        fn records_round_trip(
            source in source(), slots in slots(), dict_id: u32, epoch: u64, seq: u64, at: i64,
            values in prop::collection::vec(any::<u64>(), 0..20), flags: (bool, bool, bool), body: Vec<u8>,
            deletions in deletions(),
        ) {
            let floats: Vec<f64> = values.iter().map(|bits| f64::from_bits(*bits | 1)).filter(|v| !v.is_nan()).collect();
            let exponents = floats.iter().map(|value| (value.to_bits() % 10) as u8).collect();
            let (position, at) = (Position { epoch, seq }, Timestamp::from_millis(at));
            let records = [
                Record::State(StateRecord {
                    source: source.clone(), dict_id, needs_keyframe: flags.0, needs_dictionary: flags.2,
                    last: flags.1.then_some(position), last_at: flags.2.then_some(at),
                    values: ValueState::from_parts(floats, exponents).unwrap(), slots: slots.clone(),
                    shown: [Shown::Nothing, Shown::Dictionary, Shown::Other(slots.clone())][dict_id as usize % 3].clone(),
                }),
                Record::Dictionary(DictionaryRecord {
                    source: source.clone(), dict_id, base: flags.0,
                    remove: slots.iter().map(|(slot, _)| *slot).collect(), add: slots,
                }),
                Record::Data(DataRecord {
                    source: source.clone(), position, at, keyframe: flags.0, coding: coding(dict_id as u8, 2), slots: body.len() * 8, body: &body,
                }),
                Record::Partial {
                    data: DataRecord {
                        source: source.clone(), position, at, keyframe: flags.0, coding: coding(dict_id as u8, 2), slots: body.len() * 8, body: &body,
                    },
                    present: Present::from_bytes(&body),
                },
                Record::Stale { source, at },
                Record::Delete(deletions.clone()),
                Record::Standing(deletions),
            ];
            for record in records {
                let mut bytes = Vec::new();
                put(&mut bytes, &record);
                prop_assert_eq!(decode(&bytes[8..]), Some(record));
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(kind in 0u8..9, bytes: Vec<u8>) {
            let mut record = vec![kind];
            record.extend(bytes);
            let _ = decode(&record);
        }
    }
}
