//! Writing a block, group by group: what is held in memory is the index and a buffer, not the data.

use std::collections::BTreeMap;
use std::io;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

use watchfire_shared::labels::Labels;

use super::footer::{self, Footer, Section};
use super::group::{self, Detail, Group};
use super::{Block, FOLDER, NEW_SUFFIX, index, path};
use crate::disk::{Disk, DiskFile};
use crate::source::Source;

/// Written at once, bytes.
const BUFFER_BYTES: usize = 1 << 20;
/// Synced at once, bytes: a sync of much more would hold up the log's own syncs.
const SYNC_BYTES: u64 = 16 << 20;

/// A block that is not whole yet, under another name.
#[derive(Debug)]
pub(crate) struct Writer {
    file: Box<dyn DiskFile>,
    footer: Footer,
    buffer: Vec<u8>,
    /// Where the buffer goes.
    at: u64,
    unsynced: u64,
    numbers: BTreeMap<Labels, u32>,
    /// Each series with the numbers of its groups.
    series: Vec<(Labels, Vec<u32>)>,
    groups: Vec<Group>,
}

impl Writer {
    /// Begins the block with this number.
    pub(crate) fn new(disk: &impl Disk, number: u64) -> io::Result<Self> {
        disk.create_folder(FOLDER)?;
        let file = disk.create(&new_path(number))?;
        let footer = Footer { number, first: i64::MAX, last: i64::MIN, ..Footer::default() };
        Ok(Self {
            file,
            footer,
            buffer: footer::header().to_vec(),
            at: 0,
            unsynced: 0,
            numbers: BTreeMap::new(),
            series: Vec::new(),
            groups: Vec::new(),
        })
    }

    pub(crate) fn number(&self) -> u64 {
        self.footer.number
    }

    /// The series' number in this block.
    pub(crate) fn series(&mut self, labels: &Labels) -> u32 {
        if let Some(number) = self.numbers.get(labels) {
            return *number;
        }
        let number = self.series.len() as u32;
        self.numbers.insert(labels.clone(), number);
        self.series.push((labels.clone(), Vec::new()));
        number
    }

    /// What is written so far, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.at + self.buffer.len() as u64
    }

    /// Whether there is no row.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Appends a group. `columns` are the bytes of the detail's columns, one after the other.
    pub(super) fn group(&mut self, source: &Source, detail: &Detail, columns: &[u8]) -> io::Result<()> {
        let (Some(first), Some(last)) = (detail.times.first(), detail.times.last()) else { return Ok(()) };
        let number = self.groups.len() as u32;
        for column in &detail.columns {
            let groups = &mut self.series[column.series as usize].1;
            if groups.last() != Some(&number) {
                groups.push(number);
            }
            self.footer.samples += u64::from(column.count);
        }
        let encoded = detail.encode();
        self.groups.push(Group {
            source: source.clone(),
            offset: self.at + self.buffer.len() as u64,
            columns_length: columns.len() as u64,
            detail_length: encoded.len(),
            detail_checksum: crc32fast::hash(&encoded),
            first: *first,
            last: *last,
        });
        self.footer.first = self.footer.first.min(*first);
        self.footer.last = self.footer.last.max(*last);
        self.footer.last_order = self.footer.last_order.max(detail.orders.last().copied().unwrap_or_default());
        self.put(columns)?;
        self.put(&encoded)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(self.at, &self.buffer)?;
        self.at += self.buffer.len() as u64;
        self.unsynced += self.buffer.len() as u64;
        self.buffer.clear();
        if self.unsynced >= SYNC_BYTES {
            self.file.sync()?;
            self.unsynced = 0;
        }
        Ok(())
    }

    fn section(&mut self, bytes: &[u8]) -> io::Result<Section> {
        let offset = self.at + self.buffer.len() as u64;
        self.put(bytes)?;
        Ok(Section { offset, length: bytes.len(), checksum: crc32fast::hash(bytes) })
    }

    /// Writes the index, makes the file durable and gives it its name. Afterwards the rows of the log's segments up to
    /// `wal_through` are in blocks, and the `replaces` blocks are of no use.
    ///
    /// On an error there may be a file of the new name, not durable, or of the name it had while it was written.
    pub(crate) fn finish(mut self, disk: &impl Disk, wal_through: u64, replaces: Vec<u64>) -> io::Result<Block> {
        let encoded = index::encode(&self.series);
        self.footer.symbols = self.section(&encoded.symbols)?;
        self.footer.names = self.section(&encoded.names)?;
        self.footer.postings = self.section(&encoded.postings)?;
        self.footer.series_pages = self.section(&encoded.series_pages)?;
        self.footer.page_list = self.section(&encoded.page_list)?;
        self.footer.groups = self.section(&group::encode_list(&self.groups))?;
        self.footer.series = self.series.len() as u32;
        self.footer.wal_through = wal_through;
        self.footer.replaces = replaces;
        self.put(&footer::encode(&self.footer))?;
        self.flush()?;
        self.file.sync()?;
        disk.rename(&new_path(self.footer.number), &path(self.footer.number))?;
        disk.sync_folder(FOLDER)?;
        Ok(Block {
            footer: self.footer,
            bytes: self.at,
            file: self.file,
            fault: OnceLock::new(),
            told: AtomicBool::new(false),
        })
    }
}

/// The name of a block while it is written.
pub(crate) fn new_path(number: u64) -> String {
    format!("{}{NEW_SUFFIX}", path(number))
}
