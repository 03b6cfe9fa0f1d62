//! Which series there are, and which of them matchers select.
//!
//! All parts hang on reference counts: a clone costs nothing, and a change copies only the nodes that a clone still
//! shares. So a snapshot is a clone, and series that come or go make a writer copy what they touch, not the index.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;
use watchfire_shared::labels::{Labels, Text};
use watchfire_shared::matcher::{MatchOp, Matcher};

/// A series' number in memory; reused once nothing refers to the series any more, and never on disk.
pub(crate) type SeriesId = u32;
/// A source's number in memory.
pub(crate) type SourceId = u32;

/// Series in one page: small enough to copy while a snapshot holds it, large enough to keep the list of pages short.
const PAGE: usize = 256;

type Values = BTreeMap<Text, Arc<RoaringBitmap>>;

/// One series.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) labels: Labels,
    /// The sources that have or may get data of it.
    pub(crate) sources: Sources,
}

/// The sources of one series, without an allocation where there are one or two: an agent has two lanes.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    few: [SourceId; 2],
    more: Option<Arc<Vec<SourceId>>>,
}

/// The number of no source.
const NOBODY: SourceId = SourceId::MAX;

impl Sources {
    fn new() -> Self {
        Self { few: [NOBODY; 2], more: None }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = SourceId> {
        let more = self.more.iter().flat_map(|more| more.iter());
        self.few.iter().chain(more).copied().filter(|source| *source != NOBODY)
    }

    fn contains(&self, source: SourceId) -> bool {
        self.iter().any(|own| own == source)
    }

    fn add(&mut self, source: SourceId) {
        match self.few.iter_mut().find(|place| **place == NOBODY) {
            Some(place) => *place = source,
            None => Arc::make_mut(self.more.get_or_insert_default()).push(source),
        }
    }

    fn remove(&mut self, source: SourceId) {
        self.few.iter_mut().filter(|own| **own == source).for_each(|own| *own = NOBODY);
        if let Some(more) = &mut self.more {
            Arc::make_mut(more).retain(|own| *own != source);
        }
        self.more = self.more.take().filter(|more| !more.is_empty());
    }

    fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }
}

#[derive(Clone, Default)]
pub(crate) struct Index {
    postings: Arc<BTreeMap<Text, Arc<Values>>>,
    pages: Arc<Vec<Arc<Vec<Option<Entry>>>>>,
    all: Arc<RoaringBitmap>,
}

impl Index {
    pub(crate) fn len(&self) -> usize {
        usize::try_from(self.all.len()).unwrap_or(usize::MAX)
    }

    pub(crate) fn get(&self, id: SeriesId) -> Option<&Entry> {
        self.pages.get(id as usize / PAGE)?.get(id as usize % PAGE)?.as_ref()
    }

    fn slot(&mut self, id: SeriesId) -> &mut Option<Entry> {
        let pages = Arc::make_mut(&mut self.pages);
        let (page, at) = (id as usize / PAGE, id as usize % PAGE);
        if pages.len() <= page {
            pages.resize_with(page + 1, || Arc::new(vec![None; PAGE]));
        }
        &mut Arc::make_mut(&mut pages[page])[at]
    }

    /// Adds a series under a free number, the texts of its labels shared with the other series.
    pub(crate) fn insert(&mut self, id: SeriesId, labels: &Labels) {
        let postings = Arc::make_mut(&mut self.postings);
        let mut pairs = Vec::with_capacity(labels.len());
        for (name, value) in labels.pairs() {
            let name = postings.get_key_value(name).map_or(name, |(known, _)| known).clone();
            let values = Arc::make_mut(postings.entry(name.clone()).or_default());
            let value = values.get_key_value(value).map_or(value, |(known, _)| known).clone();
            Arc::make_mut(values.entry(value.clone()).or_default()).insert(id);
            pairs.push((name, value));
        }
        let labels = Labels::new(pairs);
        Arc::make_mut(&mut self.all).insert(id);
        *self.slot(id) = Some(Entry { labels, sources: Sources::new() });
    }

    /// Removes a series and returns its labels.
    pub(crate) fn remove(&mut self, id: SeriesId) -> Option<Labels> {
        let entry = self.slot(id).take()?;
        Arc::make_mut(&mut self.all).remove(id);
        let postings = Arc::make_mut(&mut self.postings);
        for (name, value) in entry.labels.pairs() {
            let Some(values) = postings.get_mut(name) else { continue };
            let values = Arc::make_mut(values);
            if let Some(bitmap) = values.get_mut(value) {
                let bitmap = Arc::make_mut(bitmap);
                bitmap.remove(id);
                if bitmap.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                postings.remove(name);
            }
        }
        Some(entry.labels)
    }

    /// Notes that the source may have data of the series.
    pub(crate) fn add_source(&mut self, id: SeriesId, source: SourceId) {
        if self.get(id).is_some_and(|entry| !entry.sources.contains(source))
            && let Some(entry) = self.slot(id)
        {
            entry.sources.add(source);
        }
    }

    /// Notes that the source has no data of the series; returns whether no source has.
    pub(crate) fn remove_source(&mut self, id: SeriesId, source: SourceId) -> bool {
        match self.slot(id) {
            Some(entry) => {
                entry.sources.remove(source);
                entry.sources.is_empty()
            }
            None => false,
        }
    }

    /// The series that satisfy every matcher.
    pub(crate) fn select(&self, matchers: &[Matcher]) -> RoaringBitmap {
        let is_lookup = |matcher: &&Matcher| matcher.op == MatchOp::Equal && !matcher.value.is_empty();
        let mut selected: Option<RoaringBitmap> = None;
        for matcher in matchers.iter().filter(is_lookup) {
            let Some(bitmap) = self.posting(&matcher.name, &matcher.value) else { return RoaringBitmap::new() };
            match &mut selected {
                Some(selected) => *selected &= bitmap,
                None => selected = Some(bitmap.clone()),
            }
        }
        let mut selected = selected.unwrap_or_else(|| (*self.all).clone());
        for matcher in matchers.iter().filter(|matcher| !is_lookup(matcher)) {
            if selected.is_empty() {
                break;
            }
            self.narrow(&mut selected, matcher);
        }
        selected
    }

    fn posting(&self, name: &str, value: &str) -> Option<&RoaringBitmap> {
        self.postings.get(name)?.get(value).map(|bitmap| &**bitmap)
    }

    fn narrow(&self, selected: &mut RoaringBitmap, matcher: &Matcher) {
        let values = self.postings.get(matcher.name.as_str());
        let values = values.iter().flat_map(|values| values.iter());
        if matcher.matches("") {
            // Series without the label satisfy it too, so only the values that do not are taken away.
            for (_, bitmap) in values.filter(|(value, _)| !matcher.matches(value)) {
                *selected -= &**bitmap;
            }
        } else {
            let mut union = RoaringBitmap::new();
            for (_, bitmap) in values.filter(|(value, _)| matcher.matches(value)) {
                union |= &**bitmap;
            }
            *selected &= union;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> Index {
        let mut index = Index::default();
        for (id, pairs) in
            [[("__name__", "a"), ("x", "1")], [("__name__", "a"), ("x", "2")], [("__name__", "b"), ("y", "1")]]
                .into_iter()
                .enumerate()
        {
            index.insert(id as SeriesId, &Labels::new(pairs));
        }
        index
    }

    fn check(index: &Index, matchers: &[(&str, MatchOp, &str)], expected: &[u32]) {
        let matchers: Vec<Matcher> =
            matchers.iter().map(|(name, op, value)| Matcher::new(*name, *op, *value).unwrap()).collect();
        let selected: Vec<u32> = index.select(&matchers).iter().collect();
        assert_eq!(selected, expected, "{matchers:?}");
        let naive = (0..9).filter(|id| {
            index.get(*id).is_some_and(|entry| matchers.iter().all(|matcher| matcher.matches_labels(&entry.labels)))
        });
        assert_eq!(selected, naive.collect::<Vec<u32>>(), "{matchers:?} one by one");
    }

    #[test]
    fn matchers_select_as_they_match_one_by_one() {
        use MatchOp::*;
        let index = index();
        check(&index, &[], &[0, 1, 2]);
        check(&index, &[("__name__", Equal, "a")], &[0, 1]);
        check(&index, &[("__name__", Equal, "a"), ("x", NotEqual, "1")], &[1]);
        check(&index, &[("x", Equal, "")], &[2]);
        check(&index, &[("x", NotEqual, "")], &[0, 1]);
        check(&index, &[("x", Regex, "1|")], &[0, 2]);
        check(&index, &[("x", NotRegex, "1|")], &[1]);
        check(&index, &[("x", Regex, ".+"), ("__name__", Regex, "a|b")], &[0, 1]);
        check(&index, &[("none", Equal, "1")], &[]);
        check(&index, &[("none", NotEqual, "1")], &[0, 1, 2]);
    }

    #[test]
    fn a_series_has_any_number_of_sources() {
        let mut index = index();
        for source in 0..5 {
            index.add_source(0, source);
            index.add_source(0, source);
        }
        let sources = |index: &Index| index.get(0).unwrap().sources.iter().collect::<Vec<_>>();
        assert_eq!(sources(&index), [0, 1, 2, 3, 4]);
        assert!(!index.remove_source(0, 1) && !index.remove_source(0, 3));
        index.add_source(0, 7);
        assert_eq!(sources(&index), [0, 7, 2, 4]);
        assert!([0, 2, 4].into_iter().all(|source| !index.remove_source(0, source)));
        assert!(index.remove_source(0, 7));
    }

    #[test]
    fn a_removed_series_leaves_nothing_behind_and_clones_do_not_notice() {
        let mut index = index();
        let before = index.clone();
        assert_eq!(index.remove(2), Some(Labels::new([("__name__", "b"), ("y", "1")])));
        assert_eq!(index.remove(2), None);
        check(&index, &[("y", MatchOp::Equal, "1")], &[]);
        check(&before, &[("y", MatchOp::Equal, "1")], &[2]);
        assert_eq!((index.len(), before.len()), (2, 3));
        assert!(!index.postings.contains_key("y"));
    }
}
