//! The ends of a block's file: a header that says what it is, a footer that says where everything is.

use crate::codec::Reader;
use crate::disk::DiskFile;

use super::index::{PAGE, PAGE_ENTRY_BYTES};
use super::{FORMAT_VERSION, Fault};
use watchfire_shared::frame::varint;

const MAGIC: [u8; 8] = *b"WATCHBLK";
const END_MAGIC: [u8; 8] = *b"WATCHEND";
/// Magic, version, two zero bytes, CRC-32 of those twelve bytes.
pub(super) const HEADER_BYTES: usize = 16;
/// Length and CRC-32 of the footer, magic.
const TRAILER_BYTES: usize = 16;
/// A footer, bytes: some numbers, and those of at most a few hundred replaced blocks.
const MAX_FOOTER_BYTES: usize = 1 << 20;

/// A stretch of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Section {
    pub(crate) offset: u64,
    pub(crate) length: usize,
    pub(crate) checksum: u32,
}

/// What a block says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) number: u64,
    /// Times of the first and the last row, milliseconds.
    pub(crate) first: i64,
    pub(crate) last: i64,
    /// The highest number of a row.
    pub(crate) last_order: u64,
    /// The rows of the log's segments up to this one are in blocks.
    pub(crate) wal_through: u64,
    pub(crate) samples: u64,
    pub(crate) series: u32,
    /// Blocks whose content is in this one.
    pub(crate) replaces: Vec<u64>,
    pub(crate) symbols: Section,
    pub(crate) names: Section,
    pub(crate) postings: Section,
    pub(crate) series_pages: Section,
    pub(crate) page_list: Section,
    pub(crate) groups: Section,
}

impl Footer {
    /// Where the groups end and the index begins.
    pub(super) fn index_offset(&self) -> u64 {
        self.symbols.offset
    }

    /// The sections of the index with their names, in the order of the file.
    pub(super) fn sections(&self) -> [(&'static str, Section); 6] {
        [
            ("symbols", self.symbols),
            ("names", self.names),
            ("postings", self.postings),
            ("series", self.series_pages),
            ("pages", self.page_list),
            ("groups", self.groups),
        ]
    }

    fn sections_mut(&mut self) -> [&mut Section; 6] {
        [
            &mut self.symbols,
            &mut self.names,
            &mut self.postings,
            &mut self.series_pages,
            &mut self.page_list,
            &mut self.groups,
        ]
    }
}

pub(super) fn header() -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..10].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    let checksum = crc32fast::hash(&header[..12]);
    header[12..].copy_from_slice(&checksum.to_le_bytes());
    header
}

/// The footer and the trailer behind it.
pub(super) fn encode(footer: &Footer) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, footer.number);
    out.extend_from_slice(&footer.first.to_le_bytes());
    out.extend_from_slice(&footer.last.to_le_bytes());
    for number in [footer.last_order, footer.wal_through, footer.samples, u64::from(footer.series)] {
        varint::put(&mut out, number);
    }
    varint::put(&mut out, footer.replaces.len() as u64);
    footer.replaces.iter().for_each(|number| varint::put(&mut out, *number));
    for (_, section) in footer.sections() {
        varint::put(&mut out, section.offset);
        varint::put(&mut out, section.length as u64);
        out.extend_from_slice(&section.checksum.to_le_bytes());
    }
    let checksum = crc32fast::hash(&out);
    let length = u32::try_from(out.len()).expect("a footer is bounded far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(&END_MAGIC);
    out
}

/// Reads and checks header and footer of a file of `bytes` bytes.
pub(super) fn read(file: &dyn DiskFile, bytes: u64) -> Result<Footer, Fault> {
    let damaged = |at, what| Fault::Damaged { at, what };
    if bytes < (HEADER_BYTES + TRAILER_BYTES) as u64 {
        return Err(damaged(bytes, "it ends early"));
    }
    let mut own = [0; HEADER_BYTES];
    file.read_at(0, &mut own)?;
    if own[..8] != MAGIC || own[12..] != crc32fast::hash(&own[..12]).to_le_bytes() {
        return Err(damaged(0, "its header is wrong"));
    }
    let found = u16::from_le_bytes([own[8], own[9]]);
    if found > FORMAT_VERSION {
        return Err(Fault::Newer { found });
    }
    let trailer_at = bytes - TRAILER_BYTES as u64;
    let mut trailer = [0; TRAILER_BYTES];
    file.read_at(trailer_at, &mut trailer)?;
    let [l0, l1, l2, l3, c0, c1, c2, c3, ref magic @ ..] = trailer;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    if *magic != END_MAGIC || length > MAX_FOOTER_BYTES || length as u64 + HEADER_BYTES as u64 > trailer_at {
        return Err(damaged(trailer_at, "its end is wrong"));
    }
    let at = trailer_at - length as u64;
    let mut content = vec![0; length];
    file.read_at(at, &mut content)?;
    if crc32fast::hash(&content) != u32::from_le_bytes([c0, c1, c2, c3]) {
        return Err(damaged(at, "its footer's checksum is wrong"));
    }
    decode(&content).filter(|footer| fits(footer, at)).ok_or(damaged(at, "its footer is malformed"))
}

fn decode(bytes: &[u8]) -> Option<Footer> {
    let mut reader = Reader::new(bytes);
    let mut footer = Footer {
        number: reader.varint()?,
        first: reader.i64()?,
        last: reader.i64()?,
        last_order: reader.varint()?,
        wal_through: reader.varint()?,
        samples: reader.varint()?,
        series: reader.varint32()?,
        ..Footer::default()
    };
    for _ in 0..reader.varint()? {
        footer.replaces.push(reader.varint()?);
    }
    for section in footer.sections_mut() {
        section.offset = reader.varint()?;
        section.length = usize::try_from(reader.varint()?).ok()?;
        section.checksum = reader.u32()?;
    }
    reader.is_empty().then_some(footer)
}

/// Whether the sections follow each other up to the footer.
fn fits(footer: &Footer, end: u64) -> bool {
    let mut at = footer.index_offset();
    let follow = footer.sections().iter().all(|(_, section)| {
        let follows = section.offset == at;
        at = at.saturating_add(section.length as u64);
        follows
    });
    // The number of series is what lists of them are made by, so it is not to be a mere claim.
    let pages = footer.page_list.length as u64 == u64::from(footer.series).div_ceil(PAGE as u64) * PAGE_ENTRY_BYTES;
    follow && pages && at == end && footer.index_offset() >= HEADER_BYTES as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_no_more_series_than_its_pages() {
        let empty = Section { offset: HEADER_BYTES as u64, ..Section::default() };
        let mut footer = Footer::default();
        footer.sections_mut().into_iter().for_each(|section| *section = empty);
        assert!(fits(&footer, HEADER_BYTES as u64));
        footer.series = u32::MAX;
        assert!(!fits(&footer, HEADER_BYTES as u64));
    }
}
