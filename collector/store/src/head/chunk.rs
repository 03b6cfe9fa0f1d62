//! Sealed rows: the same ticks by series instead of by time, each series' values encoded on their own.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use roaring::RoaringBitmap;
use watchfire_shared::sample::is_stale;

use super::timeline::{Point, Row};
use crate::dint;
use crate::index::SeriesId;

/// Rows of one chunk. At ten seconds' interval ten minutes; fewer compress worse.
pub(crate) const ROWS: usize = 60;
/// Rows of one series after the other are sealed at this number, and again with those that follow: a value in a row takes
/// eight bytes, in a part of a chunk about two. Fewer would mean to encode more often.
pub(crate) const PART_ROWS: usize = 15;

/// Consecutive values of one series, none or all of them stale, encoded together.
#[derive(Clone, Copy, Debug)]
struct Column {
    series: SeriesId,
    /// Where its bytes begin.
    offset: u32,
    /// Its first row, and how many rows.
    first: u16,
    count: u16,
}

/// Columns, sorted by series, then by row.
#[derive(Debug)]
enum Columns {
    /// One for each series, of all rows; only where their bytes begin is their own. Nearly every chunk is such a one.
    Whole {
        series: Arc<[SeriesId]>,
        offsets: Box<[u32]>,
    },
    Mixed(Box<[Column]>),
}

#[derive(Debug)]
pub(crate) struct Chunk {
    times: Box<[i64]>,
    orders: Box<[u64]>,
    columns: Columns,
    bytes: Box<[u8]>,
}

impl Columns {
    /// Of rows that share a layout, which has these series.
    fn of(columns: Vec<Column>, rows: usize, series: Arc<[SeriesId]>) -> Self {
        let is_whole =
            |(column, series): (&Column, &SeriesId)| usize::from(column.count) == rows && column.series == *series;
        if columns.len() != series.len() || !columns.iter().zip(series.iter()).all(is_whole) {
            return Self::Mixed(columns.into());
        }
        Self::Whole { series, offsets: columns.iter().map(|column| column.offset).collect() }
    }

    fn len(&self) -> usize {
        match self {
            Self::Whole { series, .. } => series.len(),
            Self::Mixed(columns) => columns.len(),
        }
    }

    fn get(&self, at: usize, rows: usize) -> Option<Column> {
        match self {
            Self::Whole { series, offsets } => {
                let (series, offset) = (*series.get(at)?, *offsets.get(at)?);
                Some(Column { series, offset, first: 0, count: rows as u16 })
            }
            Self::Mixed(columns) => columns.get(at).copied(),
        }
    }

    /// The place of the series' first column, or where it would be.
    fn find(&self, wanted: SeriesId) -> usize {
        match self {
            Self::Whole { series, .. } => {
                // Series that came together have numbers in a row, most often without a gap.
                let guess = wanted.wrapping_sub(series.first().copied().unwrap_or_default()) as usize;
                match series.get(guess) {
                    Some(found) if *found == wanted => guess,
                    _ => series.partition_point(|series| *series < wanted),
                }
            }
            Self::Mixed(columns) => columns.partition_point(|column| column.series < wanted),
        }
    }
}

/// What tests count of the work that a thread does.
#[cfg(test)]
pub(crate) mod work {
    use std::cell::Cell;

    thread_local! {
        pub(crate) static REBUILT: Cell<usize> = const { Cell::new(0) };
        pub(crate) static DECODED: Cell<usize> = const { Cell::new(0) };
    }
}

#[derive(Default)]
struct Builder {
    columns: Vec<Column>,
    bytes: Vec<u8>,
    values: Vec<f64>,
}

impl Builder {
    /// Adds a series' values of consecutive rows. Stale markers go to columns of their own, since one of them would
    /// keep the values beside it from being decimals.
    fn add(&mut self, series: SeriesId, mut first: usize, values: &[f64]) {
        for run in values.chunk_by(|a, b| is_stale(*a) == is_stale(*b)) {
            let offset = u32::try_from(self.bytes.len()).expect("a chunk of bounded slots stays below 4 GiB");
            self.columns.push(Column { series, offset, first: first as u16, count: run.len() as u16 });
            dint::encode(run, &mut self.bytes);
            first += run.len();
        }
    }

    /// All rows have one layout.
    fn add_uniform(&mut self, rows: &[Arc<Row>]) {
        let mut values = std::mem::take(&mut self.values);
        for (series, slot) in rows[0].layout.by_series() {
            values.clear();
            values.extend(rows.iter().filter_map(|row| row.values.get(slot as usize)));
            self.add(series, 0, &values);
        }
        self.values = values;
    }

    /// Parts of which every one has one column of each of these series.
    fn add_whole(&mut self, parts: &[Arc<Chunk>], series: &[SeriesId]) {
        let mut columns: Vec<_> = parts.iter().map(|part| (part, part.columns_from(0))).collect();
        let mut values = std::mem::take(&mut self.values);
        for series in series {
            values.clear();
            for (part, columns) in &mut columns {
                let Some((column, bytes)) = columns.next() else { continue };
                part.decode(column, &part.bytes[bytes], &mut values);
            }
            self.add(*series, 0, &values);
        }
        self.values = values;
    }

    fn add_parts(&mut self, parts: &[Arc<Chunk>]) {
        // By series and row, the values of consecutive rows.
        let mut runs: BTreeMap<(SeriesId, usize), Vec<f64>> = BTreeMap::new();
        let mut before = 0;
        for part in parts {
            for (column, bytes) in part.columns_from(0) {
                let values = runs.entry((column.series, before + usize::from(column.first))).or_default();
                part.decode(column, &part.bytes[bytes], values);
            }
            before += part.times.len();
        }
        let mut runs = runs.into_iter().peekable();
        while let Some(((series, first), mut values)) = runs.next() {
            while let Some((_, following)) =
                runs.next_if(|((other, at), _)| (*other, *at) == (series, first + values.len()))
            {
                values.extend(following);
            }
            self.add(series, first, &values);
        }
    }

    fn add_mixed(&mut self, rows: &[Arc<Row>]) {
        let mut points: BTreeMap<SeriesId, Vec<(usize, f64)>> = BTreeMap::new();
        for (i, row) in rows.iter().enumerate() {
            for series in row.layout.series().chain(row.gone.iter().copied()) {
                if let Some(value) = row.value(series) {
                    points.entry(series).or_default().push((i, value));
                }
            }
        }
        for (series, points) in points {
            for run in points.chunk_by(|(a, _), (b, _)| a + 1 == *b) {
                let values: Vec<f64> = run.iter().map(|(_, value)| *value).collect();
                self.add(series, run[0].0, &values);
            }
        }
    }
}

/// Whether each has a value of the same series.
pub(crate) fn are_alike(rows: &[Arc<Row>]) -> bool {
    let is_whole = |row: &Arc<Row>| row.gone.is_empty() && row.present.is_none();
    rows.iter().all(|row| is_whole(row) && Arc::ptr_eq(&row.layout, &rows[0].layout))
}

impl Chunk {
    /// From rows in the order of time, at least one and at most [`ROWS`].
    pub(crate) fn seal(rows: &[Arc<Row>]) -> Self {
        let mut builder = Builder::default();
        let uniform = are_alike(rows);
        if uniform {
            builder.add_uniform(rows);
        } else {
            builder.add_mixed(rows);
        }
        let columns = match uniform {
            true => Columns::of(builder.columns, rows.len(), rows[0].layout.shared_series()),
            false => Columns::Mixed(builder.columns.into()),
        };
        Self {
            times: rows.iter().map(|row| row.at).collect(),
            orders: rows.iter().map(|row| row.order).collect(),
            columns,
            bytes: builder.bytes.into(),
        }
    }

    /// One chunk of several that follow each other, at least one.
    pub(crate) fn join(parts: &[Arc<Self>]) -> Self {
        let mut builder = Builder::default();
        let series = match &parts[0].columns {
            Columns::Whole { series, .. } => Some(series),
            Columns::Mixed(_) => None,
        };
        let is_whole =
            |part: &Arc<Self>, own| matches!(&part.columns, Columns::Whole { series, .. } if Arc::ptr_eq(series, own));
        let series = series.filter(|series| parts.iter().all(|part| is_whole(part, series)));
        let rows = parts.iter().map(|part| part.times.len()).sum();
        let columns = if let Some(series) = series {
            builder.add_whole(parts, series);
            Columns::of(builder.columns, rows, Arc::clone(series))
        } else {
            builder.add_parts(parts);
            Columns::Mixed(builder.columns.into())
        };
        Self {
            times: parts.iter().flat_map(|part| part.times.iter().copied()).collect(),
            orders: parts.iter().flat_map(|part| part.orders.iter().copied()).collect(),
            columns,
            bytes: builder.bytes.into(),
        }
    }

    /// Appends the column's values.
    fn decode(&self, column: Column, bytes: &[u8], values: &mut Vec<f64>) {
        #[cfg(test)]
        work::DECODED.set(work::DECODED.get() + 1);
        dint::decode(bytes, usize::from(column.count), values).expect("a chunk in memory is what was encoded");
    }

    pub(crate) fn first_at(&self) -> i64 {
        self.times.first().copied().unwrap_or(i64::MAX)
    }

    pub(crate) fn last_at(&self) -> i64 {
        self.times.last().copied().unwrap_or(i64::MIN)
    }

    pub(crate) fn last_order(&self) -> u64 {
        self.orders.last().copied().unwrap_or_default()
    }

    pub(crate) fn is_old(&self, from: i64, up_to: u64) -> bool {
        self.last_at() < from || self.last_order() <= up_to
    }

    /// Times of the rows, milliseconds.
    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    /// Numbers of the rows.
    pub(crate) fn orders(&self) -> &[u64] {
        &self.orders
    }

    /// Each column: series, first row, how many rows, and where its bytes are.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (SeriesId, u32, u32, Range<usize>)> {
        self.columns_from(0).map(|(column, bytes)| (column.series, column.first.into(), column.count.into(), bytes))
    }

    /// The columns from a place on, each with where its bytes are.
    fn columns_from(&self, first: usize) -> impl Iterator<Item = (Column, Range<usize>)> {
        let column = |at| self.columns.get(at, self.times.len());
        (first..self.columns.len()).filter_map(move |at| {
            let own = column(at)?;
            let end = column(at + 1).map_or(self.bytes.len(), |next| next.offset as usize);
            Some((own, own.offset as usize..end))
        })
    }

    /// Bytes of a column, from where [`columns`](Self::columns) says.
    pub(crate) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Every series, some of them more than once.
    pub(crate) fn series(&self) -> impl Iterator<Item = SeriesId> {
        self.columns_from(0).map(|(column, _)| column.series)
    }

    /// The series' columns, with their bytes.
    fn columns_of(&self, series: SeriesId) -> impl Iterator<Item = (Column, &[u8])> {
        let columns = self.columns_from(self.columns.find(series));
        let own = columns.take_while(move |(column, _)| column.series == series);
        own.map(|(column, bytes)| (column, &self.bytes[bytes]))
    }

    /// The same less the points of these series within the range; `None` if it has none of them.
    pub(crate) fn without(&self, series: &RoaringBitmap, from: i64, to: i64) -> Option<Self> {
        let rows = self.rows(from, to);
        let is_hit = |column: &Column| {
            let (first, end) = (usize::from(column.first), usize::from(column.first + column.count));
            first < rows.end && end > rows.start && series.contains(column.series)
        };
        if rows.is_empty() || !self.columns_from(0).any(|(column, _)| is_hit(&column)) {
            return None;
        }
        #[cfg(test)]
        work::REBUILT.set(work::REBUILT.get() + 1);
        let mut builder = Builder::default();
        let mut values = Vec::new();
        for (column, bytes) in self.columns_from(0) {
            let bytes = &self.bytes[bytes];
            if !is_hit(&column) {
                builder.columns.push(Column { offset: builder.bytes.len() as u32, ..column });
                builder.bytes.extend_from_slice(bytes);
                continue;
            }
            let (first, end) = (usize::from(column.first), usize::from(column.first + column.count));
            let (before, after) = (rows.start.max(first), rows.end.min(end));
            if (before, after) == (first, end) {
                continue;
            }
            values.clear();
            self.decode(column, bytes, &mut values);
            builder.add(column.series, first, &values[..before - first]);
            builder.add(column.series, after, &values[after - first..]);
        }
        let whole: Arc<[SeriesId]> = builder.columns.iter().map(|column| column.series).collect();
        Some(Self {
            times: self.times.clone(),
            orders: self.orders.clone(),
            columns: Columns::of(builder.columns, self.times.len(), whole),
            bytes: builder.bytes.into(),
        })
    }

    /// The rows within the range.
    fn rows(&self, from: i64, to: i64) -> Range<usize> {
        self.times.partition_point(|at| *at < from)..self.times.partition_point(|at| *at <= to)
    }

    pub(crate) fn has_any(&self, series: SeriesId) -> bool {
        self.columns_of(series).next().is_some()
    }

    pub(crate) fn has(&self, series: SeriesId, from: i64, to: i64) -> bool {
        let rows = self.rows(from, to);
        self.columns_of(series).any(|(column, _)| {
            let (first, end) = (usize::from(column.first), usize::from(column.first + column.count));
            first < rows.end && end > rows.start
        })
    }

    /// Appends the points of the series within the range, times and values apart.
    pub(crate) fn append_to(&self, series: SeriesId, from: i64, to: i64, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let rows = self.rows(from, to);
        for (column, bytes) in self.columns_of(series) {
            let (first, count) = (usize::from(column.first), usize::from(column.count));
            let wanted = first.max(rows.start)..(first + count).min(rows.end);
            if wanted.is_empty() {
                continue;
            }
            let before = values.len();
            self.decode(column, bytes, values);
            values.truncate(before + wanted.end - first);
            values.drain(before..before + wanted.start - first);
            times.extend_from_slice(&self.times[wanted]);
        }
    }

    /// The newest point of the series within the range.
    pub(crate) fn latest(&self, series: SeriesId, from: i64, to: i64) -> Option<Point> {
        let rows = self.rows(from, to);
        let within = |column: &Column| {
            let (first, end) = (usize::from(column.first), usize::from(column.first + column.count));
            let last = end.min(rows.end).checked_sub(1)?;
            (last >= first.max(rows.start)).then_some(last)
        };
        let newest =
            self.columns_of(series).filter_map(|(column, bytes)| Some((within(&column)?, column, bytes))).last();
        let (row, column, bytes) = newest?;
        let mut values = Vec::with_capacity(usize::from(column.count));
        self.decode(column, bytes, &mut values);
        Some((self.times[row], self.orders[row], values[row - usize::from(column.first)]))
    }

    pub(crate) fn read(&self, series: SeriesId, from: i64, to: i64, take: &mut impl FnMut(Point)) {
        let rows = self.rows(from, to);
        let mut values = Vec::new();
        for (column, bytes) in self.columns_of(series) {
            values.clear();
            self.decode(column, bytes, &mut values);
            for (row, value) in (usize::from(column.first)..).zip(&values).filter(|(row, _)| rows.contains(row)) {
                take((self.times[row], self.orders[row], *value));
            }
        }
    }
}
