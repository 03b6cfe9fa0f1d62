//! Rows of one source from several places, put together into groups of a new block.
//!
//! It takes sealed chunks of the head as well as groups of blocks, so cutting the head and merging blocks are one
//! thing. Rows that are in two places (a crash between two blocks of one cut leaves such) are kept once. A column that
//! cannot be read is left out and told.

use std::collections::BTreeMap;
use std::ops;
use std::sync::Arc;

use watchfire_shared::sample::is_stale;

use super::group::{Column, Detail, Group, MAX_ROWS};
use super::writer::Writer;
use super::{Block, Fault, Ranges};
use crate::deletion::is_in;
use crate::dint;
use crate::head::chunk::Chunk;
use crate::source::Source;

/// Values of one step, about: some tens of milliseconds of work, so that whoever waits for the store's owner hardly
/// notices.
const STEP_VALUES: usize = 1 << 18;
/// A row that is not taken.
const DROPPED: u32 = u32::MAX;

/// Some rows of the source in one place.
#[derive(Debug)]
pub(crate) struct Part {
    times: Vec<i64>,
    orders: Vec<u64>,
    /// Each with its series' number in the new block; where its bytes are, as its place counts.
    columns: Vec<Column>,
    place: Place,
    /// When nothing is left of a series.
    deleted: Arc<Deleted>,
}

/// By series, times of which nothing is left.
pub(crate) type Deleted = BTreeMap<u32, Ranges>;

#[derive(Debug)]
enum Place {
    Head(Arc<Chunk>),
    Block(Arc<Block>, Group),
}

impl Part {
    /// Of a sealed chunk; `number` gives a series' number in the new block.
    pub(crate) fn of_chunk(chunk: &Arc<Chunk>, mut number: impl FnMut(u32) -> Option<u32>) -> Self {
        let columns = chunk.columns().filter_map(|(series, first, count, bytes)| {
            let (offset, length) = (bytes.start as u64, bytes.len());
            Some(Column { series: number(series)?, first, count, offset, length, checksum: 0 })
        });
        let columns = columns.collect();
        Self {
            times: chunk.times().to_vec(),
            orders: chunk.orders().to_vec(),
            columns,
            place: Place::Head(chunk.clone()),
            deleted: Arc::default(),
        }
    }

    /// Of a block's group; `numbers` has the new number of each of the block's series that stays, and `deleted`, by these
    /// numbers, what does not stay of it. Rows of which nothing stays go.
    pub(crate) fn of_group(
        block: &Arc<Block>,
        group: &Group,
        numbers: &[Option<u32>],
        deleted: &Arc<Deleted>,
    ) -> Result<Self, Fault> {
        let mut detail = block.detail(group)?;
        detail.columns.retain_mut(|column| match numbers.get(column.series as usize) {
            Some(Some(number)) => {
                column.series = *number;
                true
            }
            Some(None) | None => false,
        });
        let place = Place::Block(block.clone(), group.clone());
        let (times, orders, columns) = (detail.times, detail.orders, detail.columns);
        Ok(Self { times, orders, columns, place, deleted: Arc::clone(deleted) })
    }

    /// Which rows have a point that stays.
    fn kept_rows(&self) -> Vec<bool> {
        let mut kept = vec![false; self.times.len()];
        for column in &self.columns {
            let rows = column.first as usize..(column.first + column.count) as usize;
            match self.deleted.get(&column.series) {
                // Nearly always one of the first columns has every row.
                None if rows.len() == kept.len() => return vec![true; rows.len()],
                None => kept[rows].fill(true),
                Some(ranges) => {
                    rows.filter(|row| !is_in(ranges, self.times[*row])).for_each(|row| kept[row] = true);
                }
            }
        }
        kept
    }

    fn values(&self, column: &Column, out: &mut Vec<f64>) -> Result<(), Fault> {
        match &self.place {
            Place::Head(chunk) => {
                let bytes = chunk.bytes(column.offset as usize..column.offset as usize + column.length);
                let decoded = dint::decode(bytes, column.count as usize, out);
                decoded.ok_or(Fault::Damaged { at: 0, what: "a chunk in memory is not what was encoded" })
            }
            Place::Block(block, group) => block.values(group, column, out).inspect_err(|fault| block.note(fault)),
        }
    }
}

/// The work on one source.
#[derive(Debug)]
pub(crate) struct SourceMerge {
    source: Source,
    parts: Vec<Part>,
    /// Per part, which row of the whole each of its rows is.
    rows: Vec<Vec<u32>>,
    times: Vec<i64>,
    orders: Vec<u64>,
    /// Part and place of each column, sorted by series, then by row.
    columns: Vec<(u32, u32)>,
    /// Rows that are written already.
    done: usize,
    rows_per_group: usize,
}

impl SourceMerge {
    /// The rows of the parts with a time in the window; `None` if there is none.
    pub(crate) fn new(source: Source, parts: Vec<Part>, window: &ops::Range<i64>) -> Option<Self> {
        let mut all: Vec<(i64, u64, u32, u32)> = Vec::new();
        for (part, number) in parts.iter().zip(0u32..) {
            let kept = matches!(part.place, Place::Block(..)).then(|| part.kept_rows());
            let is_kept = |row: u32| kept.as_ref().is_none_or(|kept| kept[row as usize]);
            let own = part.times.iter().zip(&part.orders).zip(0u32..);
            let wanted = own.filter(|((at, _), row)| window.contains(at) && is_kept(*row));
            all.extend(wanted.map(|((at, order), row)| (*at, *order, number, row)));
        }
        if all.is_empty() {
            return None;
        }
        all.sort_unstable();
        all.dedup_by_key(|(at, ..)| *at);
        let mut rows: Vec<Vec<u32>> = parts.iter().map(|part| vec![DROPPED; part.times.len()]).collect();
        for ((_, _, part, row), number) in all.iter().zip(0u32..) {
            rows[*part as usize][*row as usize] = number;
        }
        let mut columns: Vec<(u32, u32)> = Vec::new();
        for (part, number) in parts.iter().zip(0u32..) {
            columns.extend((0..part.columns.len() as u32).map(|at| (number, at)));
        }
        let key = |(part, at): &(u32, u32)| {
            let column = &parts[*part as usize].columns[*at as usize];
            (column.series, parts[*part as usize].times[column.first as usize])
        };
        columns.sort_unstable_by_key(key);
        let mut series = 0;
        let mut last = None;
        for column in &columns {
            let own = Some(key(column).0);
            series += usize::from(last != own);
            last = own;
        }
        Some(Self {
            source,
            rows,
            times: all.iter().map(|(at, ..)| *at).collect(),
            orders: all.iter().map(|(_, order, ..)| *order).collect(),
            parts,
            columns,
            done: 0,
            rows_per_group: (STEP_VALUES / series.max(1)).clamp(64, MAX_ROWS),
        })
    }

    pub(crate) fn is_done(&self) -> bool {
        self.done == self.times.len()
    }

    /// Writes the next group; returns how many values it has.
    pub(crate) fn step(&mut self, writer: &mut Writer) -> std::io::Result<usize> {
        // Two groups of nearly one size compress better than a full one and a rest.
        let left = self.times.len() - self.done;
        let groups = left.div_ceil(self.rows_per_group);
        let taken = self.done..self.done + left.div_ceil(groups.max(1));
        let mut group = GroupBuilder { rows: taken.clone(), ..GroupBuilder::default() };
        let mut points: Vec<(u32, f64)> = Vec::new();
        let series_of = |(part, at): &(u32, u32)| self.parts[*part as usize].columns[*at as usize].series;
        for columns in self.columns.chunk_by(|a, b| series_of(a) == series_of(b)) {
            points.clear();
            for column in columns {
                self.collect(*column, &taken, &mut points);
            }
            points.sort_by_key(|(row, _)| *row);
            group.add(series_of(&columns[0]), &points);
        }
        let detail = Detail {
            times: self.times[taken.clone()].to_vec(),
            orders: self.orders[taken.clone()].to_vec(),
            columns: group.columns,
        };
        writer.group(&self.source, &detail, &group.bytes)?;
        self.done = taken.end;
        Ok(group.values)
    }

    /// Appends the column's points that belong to the rows.
    fn collect(&self, (part, at): (u32, u32), taken: &ops::Range<usize>, points: &mut Vec<(u32, f64)>) {
        let (part, rows) = (&self.parts[part as usize], &self.rows[part as usize]);
        let column = &part.columns[at as usize];
        let own = &rows[column.first as usize..(column.first + column.count) as usize];
        let wanted = |row: &u32| taken.contains(&(*row as usize));
        if !own.iter().any(wanted) {
            return;
        }
        let mut values = Vec::with_capacity(own.len());
        let ranges = part.deleted.get(&column.series);
        let stays = |at: &i64| ranges.is_none_or(|ranges| !is_in(ranges, *at));
        let times = &part.times[column.first as usize..];
        // What cannot be read is noted at the block, which is then set aside.
        if part.values(column, &mut values).is_ok() {
            let own = own.iter().copied().zip(values).zip(times);
            points.extend(own.filter(|((row, _), at)| wanted(row) && stays(at)).map(|(point, _)| point));
        }
    }
}

#[derive(Default)]
struct GroupBuilder {
    rows: ops::Range<usize>,
    columns: Vec<Column>,
    bytes: Vec<u8>,
    values: usize,
}

impl GroupBuilder {
    /// Adds a series' points, in the order of rows; stale markers go to columns of their own.
    fn add(&mut self, series: u32, points: &[(u32, f64)]) {
        let belongs = |a: &(u32, f64), b: &(u32, f64)| a.0 + 1 == b.0 && is_stale(a.1) == is_stale(b.1);
        for run in points.chunk_by(belongs) {
            let values: Vec<f64> = run.iter().map(|(_, value)| *value).collect();
            let start = self.bytes.len();
            dint::cold::encode(&values, &mut self.bytes);
            self.columns.push(Column {
                series,
                first: run[0].0 - self.rows.start as u32,
                count: run.len() as u32,
                offset: start as u64,
                length: self.bytes.len() - start,
                checksum: crc32fast::hash(&self.bytes[start..]),
            });
            self.values += run.len();
        }
    }
}
