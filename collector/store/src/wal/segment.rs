//! One segment as a file: its name, its header, and where its good records end.

use std::ops::Range;

use super::FOLDER;
use super::record::{MAX_RECORD_BYTES, RECORD_HEADER_BYTES};

const MAGIC: [u8; 8] = *b"WATCHWAL";
/// The version of the format that this program writes, and the newest that it reads.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// Magic, version, two zero bytes, CRC-32 of those twelve bytes.
pub(crate) const HEADER_BYTES: usize = 16;

/// A record that is searched for behind a damage, bytes; live frames have under 2 KiB. The bound keeps the search of
/// a whole segment far below a second.
const MAX_SEARCHED_RECORD_BYTES: usize = 64 << 10;

pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:08}.wal")
}

/// The number in a segment's file name; `None` for other files.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    (digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

pub(crate) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The format version that an intact header names; `None` if it is damaged or too short.
pub(crate) fn version_of(bytes: &[u8]) -> Option<u16> {
    let header = bytes.first_chunk::<HEADER_BYTES>()?;
    let sound = header[..8] == MAGIC && header[12..] == crc32fast::hash(&header[..12]).to_le_bytes();
    sound.then(|| u16::from_le_bytes([header[8], header[9]]))
}

/// What follows the last good record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Nothing, or the zeros of a file that was made longer in advance.
    Clean,
    /// Bytes without any later record: an unfinished write.
    Torn,
    /// Bytes with a good record behind them: something damaged what had been written.
    Damaged,
}

/// Where the records are, each as its type and payload, and what follows them.
pub(crate) struct Scan {
    pub(crate) records: Vec<Range<usize>>,
    /// Length of the header and the good records, bytes.
    pub(crate) good: usize,
    pub(crate) end: End,
}

/// Finds the records of a segment up to its first fault.
pub(crate) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan { records: Vec::new(), good: 0, end: End::Clean };
    if version_of(bytes).is_none() {
        scan.end = if has_record_after(bytes, 0) { End::Damaged } else { End::Torn };
        return scan;
    }
    scan.good = HEADER_BYTES;
    while let Some(record) = record_at(bytes, scan.good, MAX_RECORD_BYTES) {
        scan.good = record.end;
        scan.records.push(record);
    }
    if bytes[scan.good..].iter().any(|byte| *byte != 0) {
        scan.end = if has_record_after(bytes, scan.good) { End::Damaged } else { End::Torn };
    }
    scan
}

/// The type and payload of the record at `at`, if there is a whole one with a right checksum.
fn record_at(bytes: &[u8], at: usize, limit: usize) -> Option<Range<usize>> {
    let rest = bytes.get(at..)?;
    let length = u32::from_le_bytes(*rest.first_chunk()?) as usize;
    if length == 0 || length > limit || rest.len() < RECORD_HEADER_BYTES - 1 + length {
        return None;
    }
    let checksum = u32::from_le_bytes(*rest[4..].first_chunk()?);
    let from = at + RECORD_HEADER_BYTES - 1;
    let record = from..from + length;
    (crc32fast::hash(&bytes[record.clone()]) == checksum).then_some(record)
}

/// The records behind a damage at `at`, as far as there are whole ones.
pub(crate) fn records_after(bytes: &[u8], at: usize) -> Vec<Range<usize>> {
    let mut records = Vec::new();
    let mut at = at;
    while at < bytes.len() {
        // One that follows another may be long; one that is searched for may not.
        let limit = if records.last().is_some_and(|last: &Range<usize>| last.end == at) {
            MAX_RECORD_BYTES
        } else {
            MAX_SEARCHED_RECORD_BYTES
        };
        match record_at(bytes, at, limit) {
            Some(record) => {
                at = record.end;
                records.push(record);
            }
            None => at += 1,
        }
    }
    records
}

fn has_record_after(bytes: &[u8], at: usize) -> bool {
    (at + 1..bytes.len()).any(|at| record_at(bytes, at, MAX_SEARCHED_RECORD_BYTES).is_some())
}
