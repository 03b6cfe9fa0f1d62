//! Groups: rows of one source, with one column of times, and a column of values for every series.

use std::ops;

use watchfire_shared::frame::varint::{self, unzigzag, zigzag};

use super::Range;
use crate::codec::Reader;
use crate::source::Source;
use crate::wal::record::{put_source, read_source};

/// Rows of one group: enough for `pco`, few enough that reading an hour of a day decodes little more.
pub(super) const MAX_ROWS: usize = 4096;

/// Where a group is and what it spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) source: Source,
    /// Where its columns begin; its detail follows them.
    pub(crate) offset: u64,
    pub(crate) columns_length: u64,
    pub(crate) detail_length: usize,
    pub(crate) detail_checksum: u32,
    /// Times of the first and the last row, milliseconds.
    pub(crate) first: i64,
    pub(crate) last: i64,
}

/// Consecutive values of one series, none or all of them stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// Number in the block.
    pub(crate) series: u32,
    /// Its first row, and how many rows.
    pub(crate) first: u32,
    pub(crate) count: u32,
    /// Where its bytes begin, from the group's offset on.
    pub(crate) offset: u64,
    pub(crate) length: usize,
    pub(crate) checksum: u32,
}

impl Column {
    pub(super) fn overlaps(&self, rows: &ops::Range<usize>) -> bool {
        (self.first as usize) < rows.end && (self.first + self.count) as usize > rows.start
    }
}

/// Times and numbers of the rows, and the columns sorted by series, then by row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Detail {
    pub(crate) times: Vec<i64>,
    pub(crate) orders: Vec<u64>,
    pub(crate) columns: Vec<Column>,
}

impl Detail {
    /// The rows within the range.
    pub(super) fn rows(&self, range: Range) -> ops::Range<usize> {
        self.times.partition_point(|at| *at < range.from)..self.times.partition_point(|at| *at <= range.to)
    }

    /// The columns of the wanted series, with the place that came with each.
    pub(super) fn columns_of<'a>(&'a self, wanted: &'a [(u32, usize)]) -> impl Iterator<Item = (&'a Column, usize)> {
        wanted.iter().flat_map(|(series, at)| {
            let first = self.columns.partition_point(|column| column.series < *series);
            self.columns[first..].iter().take_while(|column| column.series == *series).map(|column| (column, *at))
        })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, self.times.len() as u64);
        let (mut last, mut step) = (0i64, 0i64);
        for at in &self.times {
            let difference = at.wrapping_sub(last);
            varint::put(&mut out, zigzag(difference.wrapping_sub(step)));
            (last, step) = (*at, difference);
        }
        let mut last = 0;
        for order in &self.orders {
            varint::put(&mut out, order - last);
            last = *order;
        }
        varint::put(&mut out, self.columns.len() as u64);
        let mut last = 0;
        for column in &self.columns {
            let whole = column.first == 0 && column.count as usize == self.times.len();
            varint::put(&mut out, u64::from(column.series - last) << 1 | u64::from(!whole));
            if !whole {
                varint::put(&mut out, u64::from(column.first));
                varint::put(&mut out, u64::from(column.count));
            }
            varint::put(&mut out, column.length as u64);
            out.extend_from_slice(&column.checksum.to_le_bytes());
            last = column.series;
        }
        out
    }

    /// Reads and checks what [`encode`](Self::encode) gave: times and orders rise, rows and bytes are those of the group.
    pub(super) fn decode(bytes: &[u8], group: &Group) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let rows = reader.varint32().filter(|rows| (1..=MAX_ROWS as u32).contains(rows))?;
        let mut detail = Self::default();
        let (mut last, mut step) = (0i64, 0i64);
        for _ in 0..rows {
            step = step.wrapping_add(unzigzag(reader.varint()?));
            last = last.wrapping_add(step);
            detail.times.push(last);
        }
        let mut last = 0u64;
        for _ in 0..rows {
            last = last.checked_add(reader.varint()?)?;
            detail.orders.push(last);
        }
        detail.decode_columns(&mut reader, rows, group)?;
        let rises = detail.times.is_sorted_by(|a, b| a < b);
        let spans = detail.times.first() == Some(&group.first) && detail.times.last() == Some(&group.last);
        (reader.is_empty() && rises && spans).then_some(detail)
    }

    fn decode_columns(&mut self, reader: &mut Reader<'_>, rows: u32, group: &Group) -> Option<()> {
        let (mut offset, mut series) = (0u64, 0u32);
        for _ in 0..reader.varint()? {
            let head = reader.varint()?;
            series = series.checked_add(u32::try_from(head >> 1).ok()?)?;
            let (first, count) = if head & 1 == 0 { (0, rows) } else { (reader.varint32()?, reader.varint32()?) };
            let length = usize::try_from(reader.varint()?).ok()?;
            let checksum = reader.u32()?;
            if count == 0 || first.checked_add(count)? > rows {
                return None;
            }
            self.columns.push(Column { series, first, count, offset, length, checksum });
            offset = offset.checked_add(length as u64)?;
        }
        (offset == group.columns_length).then_some(())
    }
}

pub(super) fn encode_list(groups: &[Group]) -> Vec<u8> {
    let mut out = Vec::new();
    varint::put(&mut out, groups.len() as u64);
    for group in groups {
        put_source(&mut out, &group.source);
        varint::put(&mut out, group.columns_length);
        varint::put(&mut out, group.detail_length as u64);
        out.extend_from_slice(&group.detail_checksum.to_le_bytes());
        out.extend_from_slice(&group.first.to_le_bytes());
        varint::put(&mut out, group.last.wrapping_sub(group.first) as u64);
    }
    out
}

/// The groups fill the file from its header to `end`.
pub(super) fn decode_list(bytes: &[u8], end: u64) -> Option<Vec<Group>> {
    let mut reader = Reader::new(bytes);
    let mut groups = Vec::new();
    let mut offset = super::footer::HEADER_BYTES as u64;
    for _ in 0..reader.varint()? {
        let source = read_source(&mut reader)?;
        let columns_length = reader.varint()?;
        let detail_length = usize::try_from(reader.varint()?).ok()?;
        let detail_checksum = reader.u32()?;
        let first = reader.i64()?;
        let last = first.wrapping_add(reader.varint()? as i64);
        groups.push(Group { source, offset, columns_length, detail_length, detail_checksum, first, last });
        offset = offset.checked_add(columns_length)?.checked_add(detail_length as u64)?;
    }
    (reader.is_empty() && offset == end).then_some(groups)
}
