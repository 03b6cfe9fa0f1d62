//! A view of the store that never changes, for readers on any thread.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use crate::block::{Block, Range};
use crate::head::timeline::{Point, Timeline};
use crate::index::{Entry, Index, SeriesId};

/// What the store held when it was taken. A clone is a few reference counts; taking one makes no writer wait, it only
/// makes the writer copy what it changes next, and blocks that it drops live on.
///
/// Reading a range that the head does not hold reads files, in the caller's thread. A part of a block that is damaged is
/// left out, and the store sets the block aside.
#[derive(Clone)]
pub struct Snapshot {
    index: Index,
    timelines: Arc<Vec<Arc<Timeline>>>,
    blocks: Arc<Vec<Arc<Block>>>,
    /// What came by a backfill lane of late is left out.
    live: bool,
}

/// One series with its points in the order of time; as many times as values.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedSeries {
    pub labels: Labels,
    /// Milliseconds since 1970, strictly rising; series of one source share the list where they can.
    pub times: Arc<[i64]>,
    pub values: Vec<f64>,
}

/// Is given a series' labels, times and values, as [`SelectedSeries`] has them.
pub type Visitor<'a> = &'a mut dyn FnMut(&Labels, &Arc<[i64]>, &[f64]) -> ControlFlow<()>;

/// The newest point of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    pub labels: Labels,
    pub at: Timestamp,
    /// May be the stale marker.
    pub value: f64,
}

impl Snapshot {
    pub(crate) fn new(index: Index, timelines: Arc<Vec<Arc<Timeline>>>, blocks: Arc<Vec<Arc<Block>>>) -> Self {
        Self { index, timelines, blocks, live: false }
    }

    /// The same without what agents' spools have brought of late: as rules have to see it, for it is no news. What has
    /// gone to blocks is hours old, and is history to them as to everybody.
    #[must_use]
    pub fn live(self) -> Self {
        Self { live: true, ..self }
    }

    fn blocks_in(&self, range: Range) -> impl Iterator<Item = &Block> {
        self.blocks.iter().filter(move |block| block.overlaps(range)).map(|block| &**block)
    }

    fn entries<'a>(&'a self, matchers: &[Matcher]) -> impl Iterator<Item = (SeriesId, &'a Entry)> + use<'a> {
        self.index.select(matchers).into_iter().filter_map(|id| self.index.get(id).map(|entry| (id, entry)))
    }

    fn timelines_of<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Timeline> {
        let timelines = entry.sources.iter().filter_map(|source| self.timelines.get(source as usize));
        timelines.map(|timeline| &**timeline).filter(|timeline| !(self.live && timeline.is_late()))
    }

    /// The series that satisfy every matcher and have a point within the range, both ends included, with those points.
    ///
    /// Stale markers are points. Where sources overlap, their points are merged by time, and of two at one time the one
    /// that was written first stays. The order of the series is not defined.
    #[must_use]
    pub fn select(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<SelectedSeries> {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        let mut older: BTreeMap<Labels, Vec<Point>> = BTreeMap::new();
        for block in self.blocks_in(range) {
            block.select(matchers, range, &mut |labels, mut points| {
                older.entry(labels).or_default().append(&mut points)
            });
        }
        let mut selected = Selected::default();
        for (id, entry) in self.entries(matchers) {
            let old = older.remove(&entry.labels);
            let mut timelines = self.timelines_of(entry);
            let (first, second) = (timelines.next(), timelines.next());
            match (old, first, second) {
                (None, Some(timeline), None) => selected.read(entry, id, timeline, range),
                (old, ..) => {
                    let mut points = old.unwrap_or_default();
                    self.read(id, entry, range, &mut points);
                    selected.add(entry.labels.clone(), points);
                }
            }
        }
        older.into_iter().for_each(|(labels, points)| selected.add(labels, points));
        selected.series
    }

    /// Gives what [`select`](Self::select) returns to `take`, a series at a time and in the same order, until it breaks.
    pub fn visit(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp, take: Visitor<'_>) {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        if self.blocks_in(range).next().is_some() {
            let mut series = self.select(matchers, from, to).into_iter();
            let _ = series.try_for_each(|series| take(&series.labels, &series.times, &series.values));
            return;
        }
        let mut selected = Selected::default();
        for (id, entry) in self.entries(matchers) {
            let mut timelines = self.timelines_of(entry);
            let (first, second) = (timelines.next(), timelines.next());
            match (first, second) {
                (None, _) => continue,
                (Some(timeline), None) => selected.fill(id, timeline, range),
                (Some(_), Some(_)) => {
                    let mut points = Vec::new();
                    self.read(id, entry, range, &mut points);
                    selected.fill_merged(points);
                }
            }
            if !selected.values.is_empty() && take(&entry.labels, &selected.times, &selected.values).is_break() {
                return;
            }
        }
    }

    fn read(&self, id: SeriesId, entry: &Entry, range: Range, points: &mut Vec<Point>) {
        for timeline in self.timelines_of(entry) {
            timeline.read(id, range.from, range.to, &mut |point| points.push(point));
        }
    }

    /// The newest point within the range, both ends included, of every series that satisfies every matcher: what
    /// [`select`](Self::select) has last of each. The order is not defined.
    #[must_use]
    pub fn latest(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<Newest> {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        if self.blocks_in(range).next().is_some() {
            let last = |series: SelectedSeries| {
                let (at, value) = (*series.times.last()?, *series.values.last()?);
                Some(Newest { labels: series.labels, at: Timestamp::from_millis(at), value })
            };
            return self.select(matchers, from, to).into_iter().filter_map(last).collect();
        }
        let newest = |(id, entry): (SeriesId, &Entry)| {
            let points = self.timelines_of(entry).filter_map(|timeline| timeline.latest(id, range.from, range.to));
            let (at, _, value) = points.max_by_key(rank)?;
            Some(Newest { labels: entry.labels.clone(), at: Timestamp::from_millis(at), value })
        };
        self.entries(matchers).filter_map(newest).collect()
    }

    /// The labels of the series that satisfy every matcher and have a point within the range, both ends included,
    /// sorted.
    #[must_use]
    pub fn series(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<Labels> {
        self.labels_in(matchers, from, to).into_iter().collect()
    }

    fn labels_in(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> BTreeSet<Labels> {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        let has = |(id, entry): &(SeriesId, &Entry)| {
            self.timelines_of(entry).any(|timeline| timeline.has(*id, range.from, range.to))
        };
        let mut found: BTreeSet<Labels> =
            self.entries(matchers).filter(has).map(|(_, entry)| entry.labels.clone()).collect();
        for block in self.blocks_in(range) {
            block.labels_in(matchers, range, &mut |labels| {
                found.insert(labels);
            });
        }
        found
    }

    /// The label names of those series, sorted.
    #[must_use]
    pub fn label_names(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<String> {
        let found = self.labels_in(matchers, from, to);
        let names = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| name));
        names.collect::<BTreeSet<&str>>().into_iter().map(str::to_owned).collect()
    }

    /// The values that the label has in those series, sorted.
    #[must_use]
    pub fn label_values(&self, name: &str, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<String> {
        let found = self.labels_in(matchers, from, to);
        let values = found.iter().filter_map(|labels| labels.get(name));
        values.collect::<BTreeSet<&str>>().into_iter().map(str::to_owned).collect()
    }

    /// The newest point of every series that satisfies every matcher. The order is not defined.
    #[must_use]
    pub fn newest(&self, matchers: &[Matcher]) -> Vec<Newest> {
        let mut newest: BTreeMap<Labels, Point> = BTreeMap::new();
        let mut keep = |labels: Labels, point: Point| {
            newest
                .entry(labels)
                .and_modify(|own| *own = [*own, point].into_iter().max_by_key(rank).unwrap_or(point))
                .or_insert(point);
        };
        for (id, entry) in self.entries(matchers) {
            let points = self.timelines_of(entry).filter_map(|timeline| timeline.newest(id));
            points.for_each(|point| keep(entry.labels.clone(), point));
        }
        for block in self.blocks.iter() {
            let all = Range { from: i64::MIN, to: i64::MAX };
            block.select(matchers, all, &mut |labels, points| {
                points.into_iter().for_each(|point| keep(labels.clone(), point));
            });
        }
        let newest = newest.into_iter();
        newest.map(|(labels, (at, _, value))| Newest { labels, at: Timestamp::from_millis(at), value }).collect()
    }

    /// The number of series in memory.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.index.len()
    }
}

/// The order in which points of one series count: of two at one time the one that was written first does.
fn rank(point: &Point) -> (i64, std::cmp::Reverse<u64>) {
    (point.0, std::cmp::Reverse(point.1))
}

/// Series as they are selected; those of one source share their times.
#[derive(Default)]
struct Selected {
    series: Vec<SelectedSeries>,
    /// Of the last series, as its values are.
    times: Arc<[i64]>,
    values: Vec<f64>,
    scratch: Vec<i64>,
}

impl Selected {
    /// Reads the points of a series that one source alone has: there is nothing to merge or to sort.
    fn fill(&mut self, id: SeriesId, timeline: &Timeline, range: Range) {
        self.scratch.clear();
        self.values.clear();
        timeline.append_to(id, range.from, range.to, &mut self.scratch, &mut self.values);
        if *self.times != *self.scratch {
            self.times = self.scratch.as_slice().into();
        }
    }

    /// Takes the points of a series in any order.
    fn fill_merged(&mut self, mut points: Vec<Point>) {
        if !points.is_sorted_by(|a, b| a.0 < b.0) {
            points.sort_unstable_by_key(|(at, order, _)| (*at, *order));
            points.dedup_by_key(|(at, _, _)| *at);
        }
        if !self.times.iter().copied().eq(points.iter().map(|point| point.0)) {
            self.times = points.iter().map(|point| point.0).collect();
        }
        self.values.clear();
        self.values.extend(points.into_iter().map(|point| point.2));
    }

    /// Adds a series that one source alone has, unless it has no point.
    fn read(&mut self, entry: &Entry, id: SeriesId, timeline: &Timeline, range: Range) {
        self.fill(id, timeline, range);
        self.keep(entry.labels.clone());
    }

    /// Adds a series unless it has no point.
    fn add(&mut self, labels: Labels, points: Vec<Point>) {
        self.fill_merged(points);
        self.keep(labels);
    }

    fn keep(&mut self, labels: Labels) {
        if !self.values.is_empty() {
            self.series.push(SelectedSeries { labels, times: Arc::clone(&self.times), values: self.values.clone() });
        }
    }
}
