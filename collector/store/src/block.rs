//! Blocks: history on disk, one file each, written once and never changed.
//!
//! A block holds *groups* (some thousand rows of one source with one column of times, each series' values encoded on
//! their own) and an index over its series. Opening reads its ends only; a query reads the index, the details of the
//! groups that it needs, and the columns of the series that it selects. Nothing is mapped into memory and nothing but
//! the footer stays there, so history costs memory only while it is read, and a fault of the disk is an error instead
//! of a signal.
//!
//! Invariants:
//! - A file of this name is whole and durable: it is written under another one, synced, and renamed.
//! - Every byte that is used was checked against a checksum first.
//! - A block that is removed lives on for whoever still reads it.

use std::collections::BTreeMap;
use std::io;
use std::ops;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;

mod footer;

mod group;

mod index;

mod writer;

mod left;

mod merge;

mod rows;

mod verify;

use crate::deletion::{self, Deletion};
use crate::dint;
use crate::disk::{Disk, DiskFile};
use crate::head::timeline::Point;
pub(crate) use footer::Footer;
pub(crate) use group::Group;
use group::{Column, Detail};
use index::Index;
use left::Lists;
pub(crate) use left::{Left, Ranges, Resolved};
pub(crate) use merge::{Deleted, Part, SourceMerge};
pub(crate) use rows::{GroupRows, sizes};
pub(crate) use writer::{Writer, new_path};

/// The folder of the blocks.
pub(crate) const FOLDER: &str = "blocks";
/// The version of the format that this program writes, and the newest that it reads.
pub(crate) const FORMAT_VERSION: u16 = 1;
/// A file's name while it is written.
pub(crate) const NEW_SUFFIX: &str = ".new";

pub(crate) fn path(number: u64) -> String {
    format!("{FOLDER}/{number:08}.block")
}

/// The number in a block's file name; `None` for other files.
pub(crate) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".block")?;
    let is_number = digits.len() >= 8 && digits.bytes().all(|byte| byte.is_ascii_digit());
    // None of ours has the last number there is, which no other could follow.
    is_number.then(|| digits.parse().ok())?.filter(|number| *number < u64::MAX)
}

/// Why a part of a block cannot be read.
#[derive(Debug)]
pub(crate) enum Fault {
    Io(io::Error),
    /// The content at this offset contradicts its checksum or the format.
    Damaged {
        at: u64,
        what: &'static str,
    },
    Newer {
        found: u16,
    },
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => write!(f, "it cannot be read: {error}"),
            Self::Damaged { at, what } => write!(f, "damaged at byte {at}: {what}"),
            Self::Newer { found } => write!(f, "it has format version {found}"),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// An open block.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) footer: Footer,
    /// Length of the file.
    pub(crate) bytes: u64,
    file: Box<dyn DiskFile>,
    /// What a reader found wrong first.
    fault: OnceLock<String>,
    /// Whether the store's owner was told of it.
    told: AtomicBool,
}

/// Which points a reader wants: both ends of the times are included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Range {
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Range {
    pub(crate) fn overlaps(self, first: i64, last: i64) -> bool {
        first <= self.to && last >= self.from
    }

    /// Whether all of the other one, which may be empty, is in it.
    pub(crate) fn includes(self, first: i64, last: i64) -> bool {
        self.from <= first && self.to >= last
    }
}

/// What a block's file says of itself, whatever its name.
pub(crate) fn footer_of(disk: &impl Disk, path: &str) -> Result<Footer, Fault> {
    let file = disk.open(path)?;
    let bytes = file.length()?;
    footer::read(&*file, bytes)
}

impl Block {
    /// Reads the ends of a file and checks them.
    pub(crate) fn open(disk: &impl Disk, number: u64) -> Result<Self, Fault> {
        let file = disk.open(&path(number))?;
        let bytes = file.length()?;
        let footer = footer::read(&*file, bytes)?;
        if footer.number != number {
            return Err(Fault::Damaged { at: bytes, what: "it has the number of another block" });
        }
        Ok(Self { footer, bytes, file, fault: OnceLock::new(), told: AtomicBool::new(false) })
    }

    pub(crate) fn overlaps(&self, range: Range) -> bool {
        range.overlaps(self.footer.first, self.footer.last)
    }

    /// What is wrong with the block, once a reader has met it.
    pub(crate) fn fault(&self) -> Option<&str> {
        self.fault.get().map(String::as_str)
    }

    /// Whether something is wrong that nobody was told of.
    pub(crate) fn has_fault_to_tell(&self) -> bool {
        self.fault.get().is_some() && !self.told.load(Ordering::Relaxed)
    }

    /// What is wrong, once.
    pub(crate) fn fault_to_tell(&self) -> Option<&str> {
        self.fault().filter(|_| !self.told.swap(true, Ordering::Relaxed))
    }

    /// Notes that a part cannot be read; what of it was read before stands.
    pub(crate) fn note(&self, fault: &Fault) {
        // Only the first one is told: the block is set aside because of it.
        let _ = self.fault.set(fault.to_string());
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, Fault> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.bytes);
        end.ok_or(Fault::Damaged { at: offset, what: "it ends early" })?;
        let mut bytes = vec![0; length];
        self.file.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }

    fn read_checked(&self, offset: u64, length: usize, checksum: u32) -> Result<Vec<u8>, Fault> {
        let bytes = self.read(offset, length)?;
        if crc32fast::hash(&bytes) != checksum {
            return Err(Fault::Damaged { at: offset, what: "its checksum is wrong" });
        }
        Ok(bytes)
    }

    /// The groups, in the order of the file.
    pub(crate) fn groups(&self) -> Result<Vec<Group>, Fault> {
        let section = &self.footer.groups;
        let bytes = self.read_checked(section.offset, section.length, section.checksum)?;
        let damaged = Fault::Damaged { at: section.offset, what: "its list of groups is malformed" };
        group::decode_list(&bytes, self.footer.index_offset()).ok_or(damaged)
    }

    /// Times, orders and columns of a group.
    pub(crate) fn detail(&self, group: &Group) -> Result<Detail, Fault> {
        let at = group.offset + group.columns_length;
        let bytes = self.read_checked(at, group.detail_length, group.detail_checksum)?;
        Detail::decode(&bytes, group).ok_or(Fault::Damaged { at, what: "a group's columns are malformed" })
    }

    /// Appends the values of a column.
    fn values(&self, group: &Group, column: &Column, out: &mut Vec<f64>) -> Result<(), Fault> {
        let at = group.offset + column.offset;
        let bytes = self.read_checked(at, column.length, column.checksum)?;
        dint::decode(&bytes, column.count as usize, out).ok_or(Fault::Damaged { at, what: "a column is malformed" })
    }

    /// Finds the series that satisfy the matchers in the groups within the range. `number` gives each a number of the
    /// caller's choice. What the deletions select will not be read. What is damaged is left out and [noted](Self::note).
    pub(crate) fn find(
        &self,
        matchers: &[Matcher],
        range: Range,
        deletions: &[&Deletion],
        mut number: impl FnMut(Labels) -> usize,
    ) -> Found {
        let selected = self.selected(matchers, range, deletions).unwrap_or_else(|fault| {
            self.note(&fault);
            Selected::default()
        });
        let mut deleted = BTreeMap::new();
        let mut number = |(labels, ranges): Left| {
            let number = number(labels);
            if !ranges.is_empty() {
                deleted.insert(number, ranges);
            }
            number
        };
        let numbers: Vec<usize> = selected.series.into_iter().map(&mut number).collect();
        let mut groups = selected.groups;
        groups.iter_mut().flat_map(|(_, wanted)| wanted).for_each(|(_, at)| *at = numbers[*at]);
        Found { series: numbers.len(), groups, deleted }
    }

    /// How many points those series have within the range, about.
    pub(crate) fn points_of(&self, found: &Found, range: Range) -> f64 {
        let (first, last) = (self.footer.first, self.footer.last);
        let within = last.min(range.to).saturating_sub(first.max(range.from)) as f64;
        let share = (within / last.saturating_sub(first).max(1) as f64).clamp(0.0, 1.0);
        self.footer.samples as f64 * share * found.series as f64 / f64::from(self.footer.series.max(1))
    }

    /// Appends the points within the range of the series with these numbers, each to its own list, in the order of time
    /// for each source. What is damaged is left out and [noted](Self::note). `room` is how many there may be, and becomes
    /// how many more; with more than that it says no and ends early.
    pub(crate) fn read_found(
        &self,
        found: &Found,
        numbers: ops::Range<usize>,
        range: Range,
        points: &mut [Vec<Point>],
        room: &mut usize,
    ) -> bool {
        for (group, wanted) in &found.groups {
            let own = wanted.iter().filter(|(_, number)| numbers.contains(number));
            let own: Vec<(u32, usize)> = own.map(|(series, number)| (*series, number - numbers.start)).collect();
            if own.is_empty() {
                continue;
            }
            let deleted = |at: usize| found.deleted.get(&(at + numbers.start)).map(|ranges| &**ranges);
            match self.read_group(group, &own, range, deleted, points, room) {
                Ok(true) => {}
                Ok(false) => return false,
                Err(fault) => self.note(&fault),
            }
        }
        true
    }

    /// The labels of the series that satisfy the matchers and have a point within the range that is not deleted.
    pub(crate) fn labels_in(
        &self,
        matchers: &[Matcher],
        range: Range,
        deletions: &[&Deletion],
        take: &mut impl FnMut(Labels),
    ) {
        let whole = range.from <= self.footer.first && range.to >= self.footer.last;
        let selected = match self.selected(matchers, range, deletions) {
            Ok(selected) => selected,
            Err(fault) => return self.note(&fault),
        };
        let deleted = |at: usize| &selected.series[at].1;
        // Of a series without a group nothing is left. The others are known to have a point, unless it may be deleted.
        let mut found = vec![false; selected.series.len()];
        if whole {
            let wanted = selected.groups.iter().flat_map(|(_, wanted)| wanted);
            wanted.for_each(|(_, at)| found[*at] |= deleted(*at).is_empty());
        }
        for (group, wanted) in &selected.groups {
            if wanted.iter().all(|(_, at)| found[*at]) {
                continue;
            }
            match self.detail(group) {
                Ok(detail) => {
                    let rows = detail.rows(range);
                    for (column, at) in detail.columns_of(wanted).filter(|(column, _)| column.overlaps(&rows)) {
                        let mut own =
                            rows.start.max(column.first as usize)..rows.end.min((column.first + column.count) as usize);
                        found[at] = found[at] || own.any(|row| !deletion::is_in(deleted(at), detail.times[row]));
                    }
                }
                Err(fault) => self.note(&fault),
            }
        }
        let found = selected.series.into_iter().zip(found).filter(|(_, found)| *found);
        found.for_each(|((labels, _), _)| take(labels));
    }

    /// Of each of the deletions, whether it may have a point of a series that it selects: without such a series it has
    /// none.
    pub(crate) fn may_have<'a>(&self, deletions: impl Iterator<Item = &'a Arc<Deletion>>) -> Vec<bool> {
        let index = Index::read(self);
        let has = |deletion: &'a Arc<Deletion>| {
            let selected = index.as_ref().ok()?.select(self, &deletion.matchers).inspect_err(|fault| self.note(fault));
            Some(!selected.ok()?.is_empty())
        };
        let found = deletions.map(|deletion| has(deletion).unwrap_or(true)).collect();
        index.err().iter().for_each(|fault| self.note(fault));
        found
    }

    /// Less the series, and the groups of series, that the deletions leave nothing of within the range.
    fn selected(&self, matchers: &[Matcher], range: Range, deletions: &[&Deletion]) -> Result<Selected, Fault> {
        let index = Index::read(self)?;
        let ids = index.select(self, matchers)?;
        if ids.is_empty() {
            return Ok(Selected::default());
        }
        let groups = self.groups()?;
        let mut selected = Selected::default();
        let mut wanted: BTreeMap<u32, Vec<(u32, usize)>> = BTreeMap::new();
        let mut lists = Lists::default();
        let is_in_one = |ranges: &[Range], first: i64, last: i64| {
            ranges.iter().any(|own| own.includes(first.max(range.from), last.min(range.to)))
        };
        for series in index.series(self, &ids)? {
            let ranges = lists.of(deletion::ranges_of(deletions, &series.labels));
            if is_in_one(&ranges, self.footer.first, self.footer.last) {
                continue;
            }
            for group in series.groups {
                wanted.entry(group).or_default().push((series.number, selected.series.len()));
            }
            selected.series.push((series.labels, ranges));
        }
        for (number, mut wanted) in wanted {
            let group = groups.get(number as usize);
            let what = "a series refers to a group that is not there";
            let group = group.ok_or(Fault::Damaged { at: self.footer.groups.offset, what })?;
            if !range.overlaps(group.first, group.last) {
                continue;
            }
            if !deletions.is_empty() {
                wanted.retain(|(_, at)| !is_in_one(&selected.series[*at].1, group.first, group.last));
            }
            if !wanted.is_empty() {
                selected.groups.push((group.clone(), wanted));
            }
        }
        Ok(selected)
    }

    fn read_group<'a>(
        &self,
        group: &Group,
        wanted: &[(u32, usize)],
        range: Range,
        deleted: impl Fn(usize) -> Option<&'a [Range]>,
        points: &mut [Vec<Point>],
        room: &mut usize,
    ) -> Result<bool, Fault> {
        let detail = self.detail(group)?;
        let rows = detail.rows(range);
        let mut values = Vec::new();
        for (column, at) in detail.columns_of(wanted).filter(|(column, _)| column.overlaps(&rows)) {
            values.clear();
            if let Err(fault) = self.values(group, column, &mut values) {
                self.note(&fault);
                continue;
            }
            let first = column.first as usize;
            let from = rows.start.max(first);
            let to = rows.end.min(first + values.len());
            let Some(left) = room.checked_sub(to.saturating_sub(from)) else { return Ok(false) };
            *room = left;
            let own = (from..to).map(|row| (detail.times[row], detail.orders[row], values[row - first]));
            match deleted(at) {
                None => points[at].extend(own),
                Some(ranges) => points[at].extend(own.filter(|(time, ..)| !deletion::is_in(ranges, *time))),
            }
        }
        Ok(true)
    }
}

/// Where a block has the series that a query wants.
pub(crate) struct Found {
    series: usize,
    /// Each group with the series wanted of it, rising: number in the block, and the query's own number.
    groups: Vec<(Group, Vec<(u32, usize)>)>,
    /// By the query's own number, times of which nothing is left.
    deleted: BTreeMap<usize, Ranges>,
}

/// Which series of a block a query wants, and where their values are.
#[derive(Default)]
struct Selected {
    series: Vec<Left>,
    /// Each group with the series wanted of it, rising: number, and place in `series`.
    groups: Vec<(Group, Vec<(u32, usize)>)>,
}
