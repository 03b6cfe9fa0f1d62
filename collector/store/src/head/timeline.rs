//! One source's rows in the order of time: sealed chunks, then the rows that are not sealed yet.

use std::collections::BTreeSet;
use std::sync::Arc;

use roaring::RoaringBitmap;
use watchfire_shared::sample::stale_nan;

use super::chunk::{self, Chunk};
use super::layout::Layout;
use crate::index::SeriesId;
use crate::store::partial::Present;

/// One tick of one source.
#[derive(Debug)]
pub(crate) struct Row {
    /// Milliseconds since 1970.
    pub(crate) at: i64,
    pub(crate) order: u64,
    pub(crate) layout: Arc<Layout>,
    /// One value per slot.
    pub(crate) values: Box<[f64]>,
    /// Series that the row before had and the layout has not: stale from now on.
    pub(crate) gone: Box<[SeriesId]>,
    /// The slots that have a value; `None` is all of them.
    pub(crate) present: Option<Present>,
}

impl Row {
    pub(crate) fn value(&self, series: SeriesId) -> Option<f64> {
        self.value_at(self.layout.slot_of(series), series)
    }

    /// The value of a series that has this slot in the row's layout.
    fn value_at(&self, slot: Option<u32>, series: SeriesId) -> Option<f64> {
        match slot {
            Some(slot) => self.at_slot(slot),
            None => self.gone.contains(&series).then(stale_nan),
        }
    }

    /// The value in a slot, which holds a series; `None` if the row has none for it.
    pub(crate) fn at_slot(&self, slot: u32) -> Option<f64> {
        let absent = self.present.as_ref().is_some_and(|present| !present.has(slot));
        self.values.get(slot as usize).copied().filter(|_| !absent)
    }

    /// How many points it has.
    pub(crate) fn samples(&self) -> usize {
        self.present.as_ref().map_or(self.layout.len(), Present::count) + self.gone.len()
    }
}

/// A point as a reader gets it: time in milliseconds, number of the row, value.
pub(crate) type Point = (i64, u64, f64);

/// Times rise strictly. A clone shares everything but the list of tail rows.
#[derive(Clone, Default, Debug)]
pub(crate) struct Timeline {
    sealed: Arc<Vec<Arc<Chunk>>>,
    tail: Vec<Arc<Row>>,
    /// How many of the last chunks are parts of one that is to come.
    parts: u8,
    /// Its rows come long after their times: what an agent's spool held.
    late: bool,
}

impl Timeline {
    pub(crate) fn new(late: bool) -> Self {
        Self { late, ..Self::default() }
    }

    pub(crate) fn is_late(&self) -> bool {
        self.late
    }

    /// Appends a row that is later than all others. Rows are sealed `in_parts`, or not before there are enough of them.
    pub(crate) fn push(&mut self, row: Row, in_parts: bool) {
        self.tail.push(Arc::new(row));
        if in_parts && self.tail.len() == chunk::PART_ROWS {
            self.seal_parts();
            if usize::from(self.parts) * chunk::PART_ROWS >= chunk::ROWS {
                self.join();
            }
        } else if self.tail.len() == chunk::ROWS {
            // What has to stay in rows for so long is no part of anything.
            self.join();
            self.seal_tail();
        }
    }

    /// Seals the first rows that wait, as many as make whole parts.
    pub(crate) fn seal_parts(&mut self) {
        while self.tail.len() >= chunk::PART_ROWS && chunk::are_alike(&self.tail[..chunk::PART_ROWS]) {
            self.seal_first(chunk::PART_ROWS);
            self.parts += 1;
        }
    }

    fn seal_first(&mut self, rows: usize) {
        let chunk = Arc::new(Chunk::seal(&self.tail[..rows]));
        Arc::make_mut(&mut self.sealed).push(chunk);
        self.tail.drain(..rows);
    }

    fn seal_tail(&mut self) {
        self.seal_first(self.tail.len());
    }

    /// Makes one chunk of the parts.
    fn join(&mut self) {
        let parts = usize::from(std::mem::take(&mut self.parts));
        if parts > 1 {
            let sealed = Arc::make_mut(&mut self.sealed);
            let joined = Chunk::join(&sealed[sealed.len() - parts..]);
            sealed.truncate(sealed.len() - parts);
            sealed.push(Arc::new(joined));
        }
    }

    /// Seals all there is. No chunk will have rows of before and after this.
    pub(crate) fn seal(&mut self) {
        self.join();
        if !self.tail.is_empty() {
            self.seal_tail();
        }
    }

    /// Whether [`seal`](Self::seal) would change anything.
    pub(crate) fn is_open(&self) -> bool {
        self.parts > 0 || !self.tail.is_empty()
    }

    /// The rows that are not sealed yet.
    pub(crate) fn tail(&self) -> &[Arc<Row>] {
        &self.tail
    }

    /// The sealed chunks, oldest first.
    pub(crate) fn sealed(&self) -> &[Arc<Chunk>] {
        &self.sealed
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sealed.is_empty() && self.tail.is_empty()
    }

    pub(crate) fn has_old(&self, from: i64, up_to: u64) -> bool {
        let old_tail = |row: &Arc<Row>| row.at < from || row.order <= up_to;
        match self.sealed.first() {
            Some(chunk) => chunk.is_old(from, up_to),
            None => self.tail.last().is_some_and(old_tail),
        }
    }

    /// Drops chunks of which every row is old, and the tail if every row of it is. Returns the series of the chunks.
    pub(crate) fn drop_old(&mut self, from: i64, up_to: u64) -> BTreeSet<SeriesId> {
        let old = self.sealed.iter().take_while(|chunk| chunk.is_old(from, up_to)).count();
        let mut series = BTreeSet::new();
        if old > 0 {
            let sealed = Arc::make_mut(&mut self.sealed);
            sealed.drain(..old).for_each(|chunk| series.extend(chunk.series()));
            sealed.shrink_to_fit();
            self.parts = self.parts.min(u8::try_from(sealed.len()).unwrap_or(u8::MAX));
        }
        if self.sealed.is_empty() && self.has_old(from, up_to) {
            self.tail.clear();
        }
        series
    }

    pub(crate) fn tail_series(&self) -> BTreeSet<SeriesId> {
        let mut series = BTreeSet::new();
        let mut last: Option<&Arc<Layout>> = None;
        for row in &self.tail {
            if !last.is_some_and(|last| Arc::ptr_eq(last, &row.layout)) {
                series.extend(row.layout.series());
                last = Some(&row.layout);
            }
            series.extend(row.gone.iter());
        }
        series
    }

    /// Whether it has a row within the range, about.
    pub(crate) fn overlaps(&self, from: i64, to: i64) -> bool {
        self.tail.iter().any(|row| from <= row.at && row.at <= to)
            || self.sealed.iter().any(|chunk| chunk.first_at() <= to && chunk.last_at() >= from)
    }

    /// Takes the points of these series within the range away. Rows stay, if without a point.
    pub(crate) fn delete(&mut self, series: &RoaringBitmap, from: i64, to: i64) {
        // Rows are shared, and a chunk is easily written anew; a small one more does no harm.
        if self.tail.iter().any(|row| from <= row.at && row.at <= to) {
            self.seal();
        }
        for chunk in Arc::make_mut(&mut self.sealed).iter_mut() {
            if let Some(left) = chunk.without(series, from, to) {
                *chunk = Arc::new(left);
            }
        }
    }

    /// Whether any row has the series.
    pub(crate) fn has_any(&self, series: SeriesId) -> bool {
        self.tail.iter().any(|row| row.value(series).is_some()) || self.sealed.iter().any(|chunk| chunk.has_any(series))
    }

    /// Gives every point of the series within the range, both ends included, in the order of time.
    pub(crate) fn read(&self, series: SeriesId, from: i64, to: i64, take: &mut impl FnMut(Point)) {
        let first = self.sealed.partition_point(|chunk| chunk.last_at() < from);
        for chunk in self.sealed[first..].iter().take_while(|chunk| chunk.first_at() <= to) {
            chunk.read(series, from, to, take);
        }
        for row in self.tail.iter().filter(|row| row.at >= from && row.at <= to) {
            if let Some(value) = row.value(series) {
                take((row.at, row.order, value));
            }
        }
    }

    /// Appends every point of the series within the range, both ends included, times and values apart, in the order of
    /// time.
    pub(crate) fn append_to(&self, series: SeriesId, from: i64, to: i64, times: &mut Vec<i64>, values: &mut Vec<f64>) {
        let first = self.sealed.partition_point(|chunk| chunk.last_at() < from);
        for chunk in self.sealed[first..].iter().take_while(|chunk| chunk.first_at() <= to) {
            chunk.append_to(series, from, to, times, values);
        }
        // Rows that follow each other most often have one dictionary, which then is searched once.
        let mut known: Option<(&Arc<Layout>, Option<u32>)> = None;
        for row in self.tail.iter().filter(|row| row.at >= from && row.at <= to) {
            let slot = match known {
                Some((layout, slot)) if Arc::ptr_eq(layout, &row.layout) => slot,
                _ => row.layout.slot_of(series),
            };
            known = Some((&row.layout, slot));
            if let Some(value) = row.value_at(slot, series) {
                times.push(row.at);
                values.push(value);
            }
        }
    }

    /// The newest point of the series within the range, both ends included.
    pub(crate) fn latest(&self, series: SeriesId, from: i64, to: i64) -> Option<Point> {
        // Whoever looks for late samples does not go through all that is later.
        let is_late = self.tail.last().is_some_and(|row| row.at > to);
        let rows = if is_late { self.tail.partition_point(|row| row.at <= to) } else { self.tail.len() };
        let tail = &self.tail[..rows];
        let rows = tail.iter().rev().take_while(|row| row.at >= from);
        let mut points = rows.filter_map(|row| row.value(series).map(|value| (row.at, row.order, value)));
        let is_late = self.sealed.last().is_some_and(|chunk| chunk.first_at() > to);
        let chunks =
            if is_late { self.sealed.partition_point(|chunk| chunk.first_at() <= to) } else { self.sealed.len() };
        let sealed = &self.sealed[..chunks];
        let mut chunks = sealed.iter().rev().take_while(|chunk| chunk.last_at() >= from);
        points.next().or_else(|| chunks.find_map(|chunk| chunk.latest(series, from, to)))
    }

    /// Whether the series has a point within the range, both ends included.
    pub(crate) fn has(&self, series: SeriesId, from: i64, to: i64) -> bool {
        let in_tail = |row: &Arc<Row>| row.at >= from && row.at <= to && row.value(series).is_some();
        if self.tail.iter().rev().any(in_tail) {
            return true;
        }
        let first = self.sealed.partition_point(|chunk| chunk.last_at() < from);
        let mut chunks = self.sealed[first..].iter().take_while(|chunk| chunk.first_at() <= to);
        chunks.any(|chunk| chunk.has(series, from, to))
    }

    /// The newest point of the series.
    pub(crate) fn newest(&self, series: SeriesId) -> Option<Point> {
        let in_tail = self.tail.iter().rev().find_map(|row| row.value(series).map(|value| (row.at, row.order, value)));
        in_tail.or_else(|| {
            self.sealed.iter().rev().find_map(|chunk| {
                let mut newest = None;
                chunk.read(series, i64::MIN, i64::MAX, &mut |point| newest = Some(point));
                newest
            })
        })
    }
}
