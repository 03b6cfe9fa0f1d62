//! What a disk holds: records of the log and blocks of history.

use watchfire_shared::time::Timestamp;
use watchfire_store::{Options, SimDisk, Store, verify};

const SEGMENT: &[u8; 8] = b"WATCHWAL";
const BLOCK: &[u8; 8] = b"WATCHBLK";
const END: &[u8; 8] = b"WATCHEND";
/// Magic, version, zeros and checksum, before a file's content.
const HEADER_BYTES: usize = 16;
/// Length, checksum and magic, behind a block's footer.
const TRAILER_BYTES: usize = 16;

fn header(magic: &[u8; 8]) -> Vec<u8> {
    let mut header = magic.to_vec();
    header.extend_from_slice(&[1, 0, 0, 0]);
    header.extend_from_slice(&crc32fast::hash(&header).to_le_bytes());
    header
}

/// Opens a store over a file, reads all of it, and looks at it once more: what was opened is whole.
fn open(path: &str, file: Vec<u8>) -> bool {
    let disk = SimDisk::new();
    disk.plant(path, file);
    let options = Options { min_free_bytes: 0, max_series: 10_000, ..Options::default() };
    let Ok((store, _)) = Store::open(disk.clone(), options) else { return false };
    let snapshot = store.snapshot();
    let series = snapshot.select(&[], Timestamp::MIN, Timestamp::MAX);
    for series in &series {
        assert_eq!(series.times.len(), series.values.len());
        assert!(series.times.is_sorted_by(|one, next| one < next), "times rise: {:?}", series.times);
    }
    assert!(snapshot.series(&[], Timestamp::MIN, Timestamp::MAX).len() >= series.len());
    let is_nameless = snapshot.label_names(&[], Timestamp::MIN, Timestamp::MAX).is_empty();
    assert!(snapshot.newest(&[]).len() <= series.len());
    drop(store);
    let again = verify(&disk).unwrap_or_else(|error| panic!("what was opened is read again: {error}"));
    // The names of samples that cannot be read are known still, and then the file is said to be damaged.
    let is_damaged = !again.faults.is_empty();
    assert!(is_nameless == series.is_empty() || (is_damaged && !is_nameless), "{again:?}");
    !series.is_empty()
}

/// Records with right checksums in one segment.
pub(super) fn wal(bytes: &[u8]) -> bool {
    let mut file = header(SEGMENT);
    for record in super::pieces(bytes).into_iter().filter(|record| !record.is_empty()) {
        file.extend_from_slice(&u32::try_from(record.len()).unwrap_or(u32::MAX).to_le_bytes());
        file.extend_from_slice(&crc32fast::hash(record).to_le_bytes());
        file.extend_from_slice(record);
    }
    open("wal/00000001.wal", file)
}

/// A block whose checksums of header, index and footer are right.
pub(super) fn block(bytes: &[u8]) -> bool {
    let mut file = header(BLOCK);
    file.extend_from_slice(bytes.get(HEADER_BYTES..).unwrap_or_default());
    // A block is called by the number in its footer.
    let number = mend(&mut file).unwrap_or(1);
    open(&format!("blocks/{number:08}.block"), file)
}

/// Makes the checksums right of whatever the file says is its footer and its index. The number in the footer, if it has one.
fn mend(file: &mut [u8]) -> Option<u64> {
    let trailer = file.len().checked_sub(TRAILER_BYTES).filter(|at| *at >= HEADER_BYTES)?;
    let length = u32::from_le_bytes(file.get(trailer..trailer + 4)?.try_into().ok()?) as usize;
    let footer = trailer.checked_sub(length).filter(|at| *at >= HEADER_BYTES)?;
    let number = mend_index(file, footer, trailer);
    let checksum = crc32fast::hash(&file[footer..trailer]);
    file[trailer + 4..trailer + 8].copy_from_slice(&checksum.to_le_bytes());
    file[trailer + 8..].copy_from_slice(END);
    number
}

/// The footer's fields as FORMAT.md has them, up to the checksum of each section.
fn mend_index(file: &mut [u8], footer: usize, end: usize) -> Option<u64> {
    let mut at = footer;
    let varint = |file: &[u8], at: &mut usize| {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *file.get(*at).filter(|_| *at < end)?;
            *at += 1;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    };
    let number = varint(file, &mut at)?;
    at += 16;
    for _ in 0..4 {
        varint(file, &mut at)?;
    }
    for _ in 0..varint(file, &mut at)?.min(1000) {
        varint(file, &mut at)?;
    }
    for _ in 0..6 {
        let (Some(from), Some(length)) = (varint(file, &mut at), varint(file, &mut at)) else { break };
        let place = |number: u64| usize::try_from(number).ok();
        let section =
            place(from).zip(place(length)).and_then(|(from, length)| file.get(from..from.checked_add(length)?));
        let Some(checksum) = section.map(crc32fast::hash).filter(|_| at + 4 <= end) else { break };
        file[at..at + 4].copy_from_slice(&checksum.to_le_bytes());
        at += 4;
    }
    Some(number)
}
