//! How the spool's files are written: records with a checksum, one after the other.
//!
//! ```text
//! record  = u32 length of the payload | u32 CRC-32 of the payload | payload        (little-endian)
//! payload = 0 "WFSP" version:u8 epoch:u64          the first record of every segment
//!         | 1 frame                                a Dict of the backfill lane
//!         | 2 epoch:u64 seq:u64 frame              a Data of the backfill lane, and where its tick stood in the live lane
//! ```
//!
//! A segment begins with its header, a whole dictionary and a keyframe, so each can be read without the ones before it.

use watchfire_shared::frame::message::{Data, Dict, Message, Position};
use watchfire_shared::limits::MAX_FRAME_BYTES;

const MAGIC: &[u8; 4] = b"WFSP";
const VERSION: u8 = 1;
const PREFIX_BYTES: usize = 8;
/// A payload is a frame and at most 17 bytes.
const MAX_PAYLOAD_BYTES: usize = MAX_FRAME_BYTES + 32;

/// One record.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Record {
    Header { epoch: u64 },
    Dict(Dict),
    Data { live: Position, data: Data },
}

/// Why reading stops.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stop {
    /// The bytes end within a record, which needs this many in all.
    Short(usize),
    /// What stands here is no record.
    Damaged,
}

pub(crate) fn put_header(out: &mut Vec<u8>, epoch: u64) {
    put(out, &[&[0], MAGIC, &[VERSION], &epoch.to_le_bytes()]);
}

/// `frame` is an encoded Dict.
pub(crate) fn put_dict(out: &mut Vec<u8>, frame: &[u8]) {
    put(out, &[&[1], frame]);
}

/// `frame` is an encoded Data.
pub(crate) fn put_data(out: &mut Vec<u8>, live: Position, frame: &[u8]) {
    put(out, &[&[2], &live.epoch.to_le_bytes(), &live.seq.to_le_bytes(), frame]);
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    let start = out.len();
    out.resize(start + PREFIX_BYTES, 0);
    for part in parts {
        out.extend_from_slice(part);
    }
    let length = (out.len() - start - PREFIX_BYTES) as u32;
    let checksum = crc32fast::hash(&out[start + PREFIX_BYTES..]);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
    out[start + 4..start + PREFIX_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// Reads the record at the beginning of `bytes`; returns it with its length.
pub(crate) fn read(bytes: &[u8]) -> Result<(Record, usize), Stop> {
    let Some(prefix) = bytes.first_chunk::<PREFIX_BYTES>() else { return Err(Stop::Short(PREFIX_BYTES)) };
    let length = u32::from_le_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
    let checksum = u32::from_le_bytes([prefix[4], prefix[5], prefix[6], prefix[7]]);
    if length == 0 || length > MAX_PAYLOAD_BYTES {
        return Err(Stop::Damaged);
    }
    let end = PREFIX_BYTES + length;
    let payload = bytes.get(PREFIX_BYTES..end).ok_or(Stop::Short(end))?;
    if crc32fast::hash(payload) != checksum {
        return Err(Stop::Damaged);
    }
    decode(payload).map(|record| (record, end)).ok_or(Stop::Damaged)
}

fn decode(payload: &[u8]) -> Option<Record> {
    let (kind, rest) = payload.split_first()?;
    match kind {
        0 => {
            let epoch = rest.strip_prefix(MAGIC)?.strip_prefix(&[VERSION])?;
            Some(Record::Header { epoch: u64::from_le_bytes(epoch.try_into().ok()?) })
        }
        1 => match Message::decode(rest).ok()?? {
            Message::Dict(dict) => Some(Record::Dict(dict)),
            _ => None,
        },
        2 => {
            let (epoch, rest) = rest.split_first_chunk::<8>()?;
            let (seq, frame) = rest.split_first_chunk::<8>()?;
            let live = Position { epoch: u64::from_le_bytes(*epoch), seq: u64::from_le_bytes(*seq) };
            match Message::decode(frame).ok()?? {
                Message::Data(data) => Some(Record::Data { live, data }),
                _ => None,
            }
        }
        _ => None,
    }
}

/// What a segment holds, found by reading all of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct SegmentScan {
    /// The epoch of its header; `None` if not even that could be read.
    pub epoch: Option<u64>,
    /// How many bytes from the start are whole records. The rest is a torn tail, to be cut off.
    pub valid_bytes: u64,
    pub first_seq: Option<u64>,
    pub last_seq: Option<u64>,
    /// Where its first tick stood in the live lane.
    pub first_live: Option<Position>,
}

impl SegmentScan {
    /// Reads the bytes of one segment as far as they are whole.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        let mut scan = Self::default();
        let mut at = 0;
        while let Ok((record, length)) = read(&bytes[at..]) {
            match record {
                Record::Header { epoch } if at == 0 => scan.epoch = Some(epoch),
                _ if scan.epoch.is_none() => break,
                Record::Header { .. } => break,
                Record::Dict(_) => {}
                Record::Data { live, data } => {
                    scan.first_seq.get_or_insert(data.seq);
                    scan.first_live.get_or_insert(live);
                    scan.last_seq = Some(data.seq);
                }
            }
            at += length;
        }
        scan.valid_bytes = at as u64;
        scan
    }
}
