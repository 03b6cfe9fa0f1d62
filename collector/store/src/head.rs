//! The head: recent rows of every source, in memory.
//!
//! A source's rows are kept as they came, one allocation each, until there are a few ([`chunk::PART_ROWS`]); then they are
//! turned into columns and sealed, and four such parts are joined. Rows and chunks never change afterwards and are shared
//! by reference count, so a snapshot is a clone of three pointers, and the next row of a source copies at most that
//! source's list of tail rows.

use std::sync::Arc;

use roaring::RoaringBitmap;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

pub(crate) mod layout;

pub(crate) mod chunk;

pub(crate) mod timeline;

mod names;

use crate::index::{Index, SeriesId, SourceId};
use crate::store::partial::Present;
use layout::Layout;
use names::Names;
use timeline::{Row, Timeline};

#[derive(Default)]
pub(crate) struct Head {
    pub(crate) index: Index,
    pub(crate) timelines: Arc<Vec<Arc<Timeline>>>,
    names: Names,
    free_series: Vec<SeriesId>,
    free_sources: Vec<SourceId>,
    /// Whether rows are sealed in parts. A replay packs every row once, so that it is over sooner.
    in_parts: bool,
    /// The number of the last row; rows of all sources are numbered in the order in which they were written.
    pub(crate) order: u64,
}

impl Head {
    /// The number of series.
    pub(crate) fn series(&self) -> usize {
        self.index.len()
    }

    /// Adds a source; `late` says that its rows come long after their times.
    pub(crate) fn add_source(&mut self, late: bool) -> SourceId {
        let timelines = Arc::make_mut(&mut self.timelines);
        let timeline = Arc::new(Timeline::new(late));
        if let Some(id) = self.free_sources.pop() {
            timelines[id as usize] = timeline;
            return id;
        }
        timelines.push(timeline);
        (timelines.len() - 1) as SourceId
    }

    pub(crate) fn find(&self, labels: &Labels) -> Option<SeriesId> {
        self.names.find(&self.index, labels)
    }

    /// The series with these labels, made if there is none, as one that the source may get data of.
    pub(crate) fn series_of(&mut self, source: SourceId, labels: &Labels) -> (SeriesId, Labels) {
        let id = match self.find(labels) {
            Some(id) => id,
            None => {
                let next = self.names.len() as SeriesId;
                let id = self.free_series.pop().unwrap_or(next);
                self.index.insert(id, labels);
                self.names.insert(&self.index, id);
                id
            }
        };
        self.index.add_source(id, source);
        let labels = self.index.get(id).map_or_else(|| labels.clone(), |entry| entry.labels.clone());
        (id, labels)
    }

    fn timeline_mut(&mut self, source: SourceId) -> &mut Timeline {
        Arc::make_mut(&mut Arc::make_mut(&mut self.timelines)[source as usize])
    }

    /// The log was replayed: from now on rows are sealed in parts, and so is what waits.
    pub(crate) fn end_replay(&mut self) {
        self.in_parts = true;
        for source in 0..self.timelines.len() as SourceId {
            if self.timelines[source as usize].tail().len() >= chunk::PART_ROWS {
                self.timeline_mut(source).seal_parts();
            }
        }
    }

    /// Seals what the source has, so that no chunk has rows of before and after this.
    pub(crate) fn seal(&mut self, source: SourceId) {
        if self.timelines[source as usize].is_open() {
            self.timeline_mut(source).seal();
        }
    }

    /// Appends a row; `values` has one value per slot, `gone` is stale. Returns the row's number.
    pub(crate) fn push(
        &mut self,
        source: SourceId,
        at: Timestamp,
        layout: &Arc<Layout>,
        values: &[f64],
        gone: &[SeriesId],
    ) -> u64 {
        self.push_row(source, at, layout, values, (gone, None))
    }

    fn push_row(
        &mut self,
        source: SourceId,
        at: Timestamp,
        layout: &Arc<Layout>,
        values: &[f64],
        (gone, present): (&[SeriesId], Option<Present>),
    ) -> u64 {
        self.order += 1;
        let row = Row {
            at: at.as_millis(),
            order: self.order,
            layout: Arc::clone(layout),
            values: values.into(),
            gone: gone.into(),
            present,
        };
        let in_parts = self.in_parts;
        self.timeline_mut(source).push(row, in_parts);
        self.order
    }

    /// Appends a row of which only some slots have a value; `None` is all of them. Nothing of it is stale.
    pub(crate) fn push_present(
        &mut self,
        source: SourceId,
        at: Timestamp,
        layout: &Arc<Layout>,
        values: &[f64],
        present: Option<Present>,
    ) -> u64 {
        self.push_row(source, at, layout, values, (&[], present))
    }

    /// Drops what the source has from before `from`, or of rows up to number `up_to`. The series of
    /// `used`, its dictionary and what is to become stale with its next row, stay in the index.
    pub(crate) fn drop_old(&mut self, source: SourceId, from: Timestamp, up_to: u64, used: [&Layout; 2]) {
        let timeline = &self.timelines[source as usize];
        if !timeline.has_old(from.as_millis(), up_to) {
            return;
        }
        let timeline = self.timeline_mut(source);
        let mut candidates = timeline.tail_series();
        candidates.extend(timeline.drop_old(from.as_millis(), up_to));
        candidates.retain(|series| used.iter().all(|layout| layout.slot_of(*series).is_none()));
        candidates.into_iter().for_each(|series| self.forget_unused(source, series));
    }

    /// Takes the source's points of these series within the range away. The series of `used`, as with
    /// [`drop_old`](Self::drop_old), stay in the index.
    pub(crate) fn delete(&mut self, source: SourceId, series: &RoaringBitmap, range: (i64, i64), used: [&Layout; 2]) {
        if !self.timelines[source as usize].overlaps(range.0, range.1) {
            return;
        }
        self.timeline_mut(source).delete(series, range.0, range.1);
        for series in series {
            if used.iter().all(|layout| layout.slot_of(series).is_none()) {
                self.forget_unused(source, series);
            }
        }
    }

    /// A series that is in none of the source's layouts leaves the source if it is not in its rows either.
    pub(crate) fn forget_unused(&mut self, source: SourceId, series: SeriesId) {
        if !self.timelines[source as usize].has_any(series) {
            self.release(source, series);
        }
    }

    fn release(&mut self, source: SourceId, series: SeriesId) {
        if self.index.remove_source(series, source)
            && let Some(labels) = self.index.get(series).map(|entry| entry.labels.clone())
        {
            self.names.remove(&self.index, &labels);
            self.index.remove(series);
            self.free_series.push(series);
        }
    }

    /// Whether the source has no row.
    pub(crate) fn is_empty(&self, source: SourceId) -> bool {
        self.timelines[source as usize].is_empty()
    }

    /// Frees an empty source's number and the series of its layouts.
    pub(crate) fn remove_source(&mut self, source: SourceId, used: [&Layout; 2]) {
        for series in used.iter().flat_map(|layout| layout.series()) {
            self.release(source, series);
        }
        Arc::make_mut(&mut self.timelines)[source as usize] = Arc::default();
        self.free_sources.push(source);
    }
}
