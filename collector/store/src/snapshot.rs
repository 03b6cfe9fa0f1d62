//! A view of the store that never changes, for readers on any thread.

mod steps;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use crate::block::{self, Block, Found, Range};
use crate::deletion::{self, Standing};
use crate::error::{Quarantined, times_of};
use crate::head::timeline::{Point, Timeline};
use crate::index::{Entry, Index, SeriesId};
use steps::Steps;

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
    /// What of the blocks is not seen.
    deletions: Standing,
    /// What was set aside.
    damaged: Arc<Vec<Quarantined>>,
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

const IS_DAMAGED: &str = "is damaged and what could not be read is missing here";

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
    pub(crate) fn new(
        index: Index,
        timelines: Arc<Vec<Arc<Timeline>>>,
        blocks: Arc<Vec<Arc<Block>>>,
        deletions: Standing,
        damaged: Arc<Vec<Quarantined>>,
    ) -> Self {
        Self { index, timelines, blocks, deletions, damaged, live: false }
    }

    /// What may be missing of the samples of this range, both ends included, because files are damaged: a sentence for
    /// each. To be asked after the range was read, since that is how a damage is found.
    #[must_use]
    pub fn missing(&self, from: Timestamp, to: Timestamp) -> Vec<String> {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        let found = self.blocks_in(range).filter_map(|block| {
            let (first, last) = (Timestamp::from_millis(block.footer.first), Timestamp::from_millis(block.footer.last));
            let (path, times) = (block::path(block.footer.number), times_of(first, last));
            block.fault().map(|fault| format!("{path}, samples {times}, {IS_DAMAGED}: {fault}"))
        });
        let kept = self.damaged.iter().filter(|kept| range.overlaps(kept.from.as_millis(), kept.to.as_millis()));
        let kept = kept.map(|kept| format!("{}, samples {}, {IS_DAMAGED}: {}", kept.path, kept.times(), kept.reason));
        found.chain(kept).collect()
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
        let mut selected = Vec::new();
        self.visit(matchers, from, to, &mut |labels, times, values| {
            let (labels, times, values) = (labels.clone(), Arc::clone(times), values.to_vec());
            selected.push(SelectedSeries { labels, times, values });
            ControlFlow::Continue(())
        });
        selected
    }

    /// Gives what [`select`](Self::select) returns to `take`, a series at a time and in the same order, until it breaks.
    /// Of what is in files, a few million points are in memory at a time.
    pub fn visit(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp, take: Visitor<'_>) {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        let mut selected = Selected::default();
        let older = self.older(matchers, range);
        if self.visit_older(&older, range, &mut selected, &mut *take).is_break() {
            return;
        }
        for (id, entry) in self.entries(matchers).filter(|(_, entry)| !older.numbers.contains_key(&entry.labels)) {
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

    /// The series that blocks have within the range. Reads their indexes.
    fn older(&self, matchers: &[Matcher], range: Range) -> Older<'_> {
        let mut older = Older::default();
        let (numbers, labels) = (&mut older.numbers, &mut older.labels);
        for block in self.blocks_in(range) {
            let deletions = deletion::of_block(&self.deletions, &block.footer, range);
            let found = block.find(matchers, range, &deletions, |own| {
                *numbers.entry(own).or_insert_with_key(|own| {
                    labels.push((own.clone(), None));
                    labels.len() - 1
                })
            });
            older.points += block.points_of(&found, range);
            older.blocks.push((block, found));
        }
        if !older.numbers.is_empty() {
            for (id, entry) in self.entries(matchers) {
                if let Some(number) = older.numbers.get(&entry.labels) {
                    older.labels[*number].1 = Some(id);
                }
            }
        }
        older
    }

    /// Gives the series that blocks have, with what memory has of them, some at a time.
    fn visit_older(
        &self,
        older: &Older<'_>,
        range: Range,
        selected: &mut Selected,
        take: Visitor<'_>,
    ) -> ControlFlow<()> {
        let (series, mut first) = (older.labels.len(), 0);
        let mut steps = Steps::new(series, older.points);
        while first < series {
            let (step, most) = steps.next(series - first);
            let (numbers, mut room) = (first..first + step, most);
            let mut points: Vec<Vec<Point>> = vec![Vec::new(); step];
            let mut read = |(block, found): &(&Block, Found)| {
                block.read_found(found, numbers.clone(), range, &mut points, &mut room)
            };
            if !older.blocks.iter().all(&mut read) {
                steps.was_too_large(step);
                continue;
            }
            steps.took(step, most - room);
            first += step;
            for ((labels, id), mut points) in older.labels[numbers].iter().zip(points) {
                if let Some(id) = id
                    && let Some(entry) = self.index.get(*id)
                {
                    self.read(*id, entry, range, &mut points);
                }
                selected.fill_merged(points);
                if !selected.values.is_empty() {
                    take(labels, &selected.times, &selected.values)?;
                }
            }
        }
        ControlFlow::Continue(())
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
            let mut latest = Vec::new();
            self.visit(matchers, from, to, &mut |labels, times, values| {
                if let (Some(at), Some(value)) = (times.last(), values.last()) {
                    latest.push(Newest { labels: labels.clone(), at: Timestamp::from_millis(*at), value: *value });
                }
                ControlFlow::Continue(())
            });
            return latest;
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
            let deletions = deletion::of_block(&self.deletions, &block.footer, range);
            block.labels_in(matchers, range, &deletions, &mut |labels| {
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
        self.latest(matchers, Timestamp::MIN, Timestamp::MAX)
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

/// The series that blocks have of what is selected.
#[derive(Default)]
struct Older<'a> {
    numbers: BTreeMap<Labels, usize>,
    /// By number, with the series' number in memory. Numbers of one source follow each other, as the blocks have them.
    labels: Vec<(Labels, Option<SeriesId>)>,
    blocks: Vec<(&'a Block, Found)>,
    /// How many points they have, about.
    points: f64,
}

/// A series as it is selected; those of one source share their times.
#[derive(Default)]
struct Selected {
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
}
