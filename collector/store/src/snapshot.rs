//! A view of the store that never changes, for readers on any thread.

use std::collections::BTreeSet;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use crate::head::timeline::{Point, Timeline};
use crate::index::{Entry, Index, SeriesId};

/// What the store held when it was taken. A clone is three reference counts; taking one makes no writer wait, it only
/// makes the writer copy what it changes next.
#[derive(Clone)]
pub struct Snapshot {
    index: Index,
    timelines: Arc<Vec<Arc<Timeline>>>,
}

/// One series with its points in the order of time; as many times as values.
#[derive(Clone, Debug, PartialEq)]
pub struct SelectedSeries {
    pub labels: Labels,
    /// Milliseconds since 1970, strictly rising; series of one source share the list where they can.
    pub times: Arc<[i64]>,
    pub values: Vec<f64>,
}

/// The newest point of one series.
#[derive(Clone, Debug, PartialEq)]
pub struct Newest {
    pub labels: Labels,
    pub at: Timestamp,
    /// May be the stale marker.
    pub value: f64,
}

impl Snapshot {
    pub(crate) fn new(index: Index, timelines: Arc<Vec<Arc<Timeline>>>) -> Self {
        Self { index, timelines }
    }

    fn entries<'a>(&'a self, matchers: &[Matcher]) -> impl Iterator<Item = (SeriesId, &'a Entry)> + use<'a> {
        self.index.select(matchers).into_iter().filter_map(|id| self.index.get(id).map(|entry| (id, entry)))
    }

    fn timelines_of<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = &'a Timeline> {
        entry.sources.iter().filter_map(|source| self.timelines.get(*source as usize).map(|timeline| &**timeline))
    }

    /// The series that satisfy every matcher and have a point within the range, both ends included, with those points.
    ///
    /// Stale markers are points. Where sources overlap, their points are merged by time, and of two at one time the one
    /// that was written first stays. The order of the series is not defined.
    #[must_use]
    pub fn select(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<SelectedSeries> {
        let mut selected = Vec::new();
        let mut shared_times: Arc<[i64]> = Arc::default();
        for (id, entry) in self.entries(matchers) {
            let points = self.points(id, entry, from.as_millis(), to.as_millis());
            if points.is_empty() {
                continue;
            }
            if !shared_times.iter().copied().eq(points.iter().map(|point| point.0)) {
                shared_times = points.iter().map(|point| point.0).collect();
            }
            selected.push(SelectedSeries {
                labels: entry.labels.clone(),
                times: Arc::clone(&shared_times),
                values: points.into_iter().map(|point| point.2).collect(),
            });
        }
        selected
    }

    fn points(&self, id: SeriesId, entry: &Entry, from: i64, to: i64) -> Vec<Point> {
        let mut points: Vec<Point> = Vec::new();
        for timeline in self.timelines_of(entry) {
            timeline.read(id, from, to, &mut |point| points.push(point));
        }
        if entry.sources.len() > 1 {
            points.sort_unstable_by_key(|(at, order, _)| (*at, *order));
            points.dedup_by_key(|(at, _, _)| *at);
        }
        points
    }

    /// The labels of the series that satisfy every matcher and have a point within the range, both ends included,
    /// sorted.
    #[must_use]
    pub fn series(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<Labels> {
        let mut series: Vec<Labels> = self.labels_in(matchers, from, to).cloned().collect();
        series.sort_unstable();
        series
    }

    fn labels_in<'a>(
        &'a self,
        matchers: &[Matcher],
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = &'a Labels> + use<'a> {
        let (from, to) = (from.as_millis(), to.as_millis());
        let in_range = move |id, entry| self.timelines_of(entry).any(|timeline| timeline.has(id, from, to));
        self.entries(matchers).filter(move |(id, entry)| in_range(*id, entry)).map(|(_, entry)| &entry.labels)
    }

    /// The label names of those series, sorted.
    #[must_use]
    pub fn label_names(&self, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<String> {
        let names = self.labels_in(matchers, from, to).flat_map(|labels| labels.iter().map(|(name, _)| name));
        names.collect::<BTreeSet<&str>>().into_iter().map(str::to_owned).collect()
    }

    /// The values that the label has in those series, sorted.
    #[must_use]
    pub fn label_values(&self, name: &str, matchers: &[Matcher], from: Timestamp, to: Timestamp) -> Vec<String> {
        let values = self.labels_in(matchers, from, to).filter_map(|labels| labels.get(name));
        values.collect::<BTreeSet<&str>>().into_iter().map(str::to_owned).collect()
    }

    /// The newest point of every series that satisfies every matcher. The order is not defined.
    #[must_use]
    pub fn newest(&self, matchers: &[Matcher]) -> Vec<Newest> {
        let newest_of = |(id, entry): (SeriesId, &Entry)| {
            let points = self.timelines_of(entry).filter_map(|timeline| timeline.newest(id));
            // Of two at one time the one that was written first counts, as in `select`.
            let (at, _, value) = points.max_by_key(|(at, order, _)| (*at, std::cmp::Reverse(*order)))?;
            Some(Newest { labels: entry.labels.clone(), at: Timestamp::from_millis(at), value })
        };
        self.entries(matchers).filter_map(newest_of).collect()
    }

    /// The number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.index.len()
    }
}
