//! Opening the log: which segments there are, what of them is good, and setting aside what is not.

use std::io;
use std::ops::Range;

use watchfire_shared::time::Timestamp;

use crate::disk::{Disk, is_full, read_all};
use crate::error::{Quarantined, Recovery, StoreError};

use super::record;
use super::segment::{self, End, FORMAT_VERSION};
use super::{FOLDER, Reach, Segment, Wal};

/// A copy of a damaged segment's good part, until it has taken the segment's place.
const SALVAGE_SUFFIX: &str = ".salvage";
const QUARANTINE_SUFFIX: &str = ".damaged";

/// Takes the good records of each segment, in order.
pub(crate) trait Replay {
    /// Takes the records of one segment, by its number, each its type and payload, and says how far they reach.
    fn replay(&mut self, segment: u64, bytes: &[u8], records: &[Range<usize>], recovery: &mut Recovery) -> Reach;
}

/// Reads all segments and leaves only good ones behind. Segments up to `covered` were there once.
///
/// # Errors
/// If the disk cannot be used, or a segment has a newer format; nothing was changed then that a later attempt would
/// miss.
pub(crate) fn open<D: Disk>(
    disk: D,
    replay: &mut impl Replay,
    mut recovery: Recovery,
    covered: u64,
) -> Result<(Wal<D>, Recovery), StoreError> {
    disk.create_folder(FOLDER).map_err(failed("make", FOLDER))?;
    finish_salvages(&disk)?;
    let numbers = numbers(&disk)?;
    refuse_newer(&disk, &numbers)?;

    let mut closed = Vec::new();
    for number in &numbers {
        let path = segment::path(*number);
        let bytes = read_all(&disk, &path).map_err(failed("read", &path))?;
        let scan = segment::scan(&bytes);
        let reach = replay.replay(*number, &bytes, &scan.records, &mut recovery);
        recovery.segments += 1;
        recovery.records += scan.records.len() as u64;

        let last = numbers.last() == Some(number);
        let lost = (bytes.len() - scan.good) as u64;
        // A segment is followed by another only once it is whole, so what is torn elsewhere than at the end is damage.
        match (scan.end, last) {
            (End::Clean, _) => {}
            (End::Torn, true) => {
                cut(&disk, &path, scan.good).map_err(failed("cut", &path))?;
                recovery.torn_bytes += lost;
            }
            (End::Torn | End::Damaged, _) => {
                let good = &bytes[..scan.good];
                let kept_as = quarantine(&disk, &path, good).map_err(failed("set aside", &path))?;
                let reason = format!("damaged at byte {}", scan.good);
                let mut kept = Quarantined::unknown(path, kept_as, reason, lost);
                note_lost(&mut kept, &bytes, &scan);
                recovery.quarantined.push(kept);
            }
        }
        if !scan.records.is_empty() {
            closed.push(Segment { number: *number, bytes: scan.good as u64, reach });
        }
    }
    // A number is not used twice, since blocks name the segments that they have the rows of.
    let next = numbers.last().copied().unwrap_or_default().max(covered) + 1;
    Ok((Wal::after(disk, closed, next), recovery))
}

/// Damaged segments that an earlier start has set aside.
pub(crate) fn set_aside_before(disk: &impl Disk) -> Result<Vec<Quarantined>, StoreError> {
    let names = disk.list(FOLDER).map_err(failed("list", FOLDER))?;
    let mut found = Vec::new();
    for name in &names {
        let Some((segment, _)) = name.split_once(QUARANTINE_SUFFIX) else { continue };
        let kept_as = format!("{FOLDER}/{name}");
        let bytes = read_all(disk, &kept_as).map_err(failed("read", &kept_as))?;
        let scan = segment::scan(&bytes);
        let reason = format!("damaged at byte {}; set aside by an earlier start", scan.good);
        let lost = (bytes.len() - scan.good) as u64;
        let mut kept = Quarantined::unknown(format!("{FOLDER}/{segment}"), kept_as, reason, lost);
        note_lost(&mut kept, &bytes, &scan);
        found.push(kept);
    }
    Ok(found)
}

/// Notes what the records behind a damage were about: they are sound, but nobody knows what they build on.
fn note_lost(kept: &mut Quarantined, bytes: &[u8], scan: &segment::Scan) {
    let time = |range: &Range<usize>| record::decode(&bytes[range.clone()]).and_then(|record| record.row());
    let before = scan.records.iter().rev().find_map(time);
    let behind: Vec<_> = segment::records_after(bytes, scan.good).iter().filter_map(time).collect();
    let times = || before.iter().chain(&behind).map(|(at, _)| *at);
    // What was lost came after what is there; if nothing can be read of it, nobody knows how much later it ends.
    kept.from = times().min().filter(|_| before.is_some()).unwrap_or(Timestamp::MIN);
    kept.to = times().max().filter(|_| !behind.is_empty()).unwrap_or(Timestamp::MAX);
    kept.lost_samples = (!behind.is_empty()).then(|| behind.iter().map(|(_, samples)| *samples as u64).sum());
}

fn failed(action: &'static str, path: &str) -> impl Fn(io::Error) -> StoreError {
    move |error| StoreError::Io { action, path: path.to_owned(), error }
}

fn numbers(disk: &impl Disk) -> Result<Vec<u64>, StoreError> {
    let names = disk.list(FOLDER).map_err(failed("list", FOLDER))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn refuse_newer(disk: &impl Disk, numbers: &[u64]) -> Result<(), StoreError> {
    for number in numbers {
        let path = segment::path(*number);
        let mut header = [0; segment::HEADER_BYTES];
        match disk.open(&path).and_then(|file| file.read_at(0, &mut header)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => continue,
            read => read.map_err(failed("read", &path))?,
        }
        if let Some(found) = segment::version_of(&header).filter(|version| *version > FORMAT_VERSION) {
            return Err(StoreError::NewerFormat { path, found, known: FORMAT_VERSION });
        }
    }
    Ok(())
}

/// Cuts an unfinished record off the last segment; returns how many bytes went.
pub(crate) fn cut_tail(disk: &impl Disk) -> io::Result<u64> {
    let numbers = disk.list(FOLDER)?.iter().filter_map(|name| segment::number_of(name)).max();
    let Some(path) = numbers.map(segment::path) else { return Ok(0) };
    let bytes = read_all(disk, &path)?;
    let scan = segment::scan(&bytes);
    if scan.end != End::Torn {
        return Ok(0);
    }
    cut(disk, &path, scan.good)?;
    Ok((bytes.len() - scan.good) as u64)
}

/// Cuts the file to its good part, or removes it if that holds no record.
fn cut(disk: &impl Disk, path: &str, good: usize) -> io::Result<()> {
    if good <= segment::HEADER_BYTES {
        disk.remove(path)?;
        return disk.sync_folder(FOLDER);
    }
    let file = disk.open(path)?;
    file.set_length(good as u64)?;
    file.sync()
}

/// Renames the file and puts its good part in its place; returns the new name.
///
/// The part is whole on disk before the names change, and [`finish_salvages`] ends what a crash between them leaves.
fn quarantine(disk: &impl Disk, path: &str, good: &[u8]) -> io::Result<String> {
    let names = disk.list(FOLDER)?;
    let free = |path: &String| !names.iter().any(|name| path.strip_prefix(FOLDER) == Some(&format!("/{name}")));
    let numbered = (2..).map(|number| format!("{path}{QUARANTINE_SUFFIX}.{number}"));
    let kept_as = std::iter::once(format!("{path}{QUARANTINE_SUFFIX}")).chain(numbered).find(free);
    let kept_as = kept_as.expect("an endless sequence has a name that is free");

    let salvage = format!("{path}{SALVAGE_SUFFIX}");
    let has_records = good.len() > segment::HEADER_BYTES;
    if has_records {
        match write_durably(disk, &salvage, good) {
            Err(error) if is_full(&error) => {
                // It can stay where it is: its good part is read again at every start.
                disk.remove(&salvage)?;
                return Ok(path.to_owned());
            }
            written => written?,
        }
    }
    disk.rename(path, &kept_as)?;
    if has_records {
        disk.rename(&salvage, path)?;
    }
    disk.sync_folder(FOLDER)?;
    Ok(kept_as)
}

fn write_durably(disk: &impl Disk, path: &str, bytes: &[u8]) -> io::Result<()> {
    let file = disk.create(path)?;
    file.write_at(0, bytes)?;
    file.sync()?;
    disk.sync_folder(FOLDER)
}

fn finish_salvages(disk: &impl Disk) -> Result<(), StoreError> {
    let names = disk.list(FOLDER).map_err(failed("list", FOLDER))?;
    for name in &names {
        let Some(segment) = name.strip_suffix(SALVAGE_SUFFIX) else { continue };
        let (salvage, path) = (format!("{FOLDER}/{name}"), format!("{FOLDER}/{segment}"));
        if names.iter().any(|name| name == segment) {
            // The damaged original is still in place and will be read again.
            disk.remove(&salvage).map_err(failed("remove", &salvage))?;
        } else {
            disk.rename(&salvage, &path).map_err(failed("rename", &salvage))?;
        }
    }
    disk.sync_folder(FOLDER).map_err(failed("sync", FOLDER))
}
