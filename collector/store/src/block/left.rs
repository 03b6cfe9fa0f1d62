//! What deletions leave of a block's series.
//!
//! Times of which nothing is left are the same for most series that have any, so each list of them is there once: two
//! hundred deletions of an hour each, of everything, cost a query or a merge no more memory than one does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use roaring::RoaringBitmap;
use watchfire_shared::labels::Labels;

use super::index::Index;
use super::{Block, Fault, Range};
use crate::deletion::Deletion;

/// Times of which nothing is left.
pub(crate) type Ranges = Arc<[Range]>;
/// A series, and when nothing is left of it.
pub(crate) type Left = (Labels, Ranges);

/// Each list of times once.
#[derive(Default)]
pub(super) struct Lists(BTreeSet<Ranges>);

impl Lists {
    pub(super) fn of(&mut self, ranges: Vec<Range>) -> Ranges {
        if let Some(known) = self.0.get(ranges.as_slice()) {
            return Arc::clone(known);
        }
        let new: Ranges = ranges.into();
        self.0.insert(Arc::clone(&new));
        new
    }
}

/// What is known of some deletions' part in a block; it grows deletion by deletion.
#[derive(Default)]
pub(crate) struct Resolved {
    /// Series of which nothing is left.
    gone: RoaringBitmap,
    /// Of each series the last of its list of times; 0 is none. Empty while no series has one.
    last: Vec<u32>,
    /// Times, each with what comes before it in its lists; number 1 is the first.
    times: Vec<(u32, Range)>,
    /// Those for which a posting cannot be read: labels are compared instead.
    unknown: Vec<Arc<Deletion>>,
}

impl Resolved {
    /// Adds times to the lists of these series: lists that were the same are so again.
    fn add(&mut self, series: &RoaringBitmap, range: Range) {
        let mut longer: BTreeMap<u32, u32> = BTreeMap::new();
        for series in series {
            let Some(last) = self.last.get_mut(series as usize) else { continue };
            *last = *longer.entry(*last).or_insert_with(|| {
                self.times.push((*last, range));
                self.times.len() as u32
            });
        }
    }

    /// The times of the list that ends with these.
    fn times(&self, last: u32) -> Vec<Range> {
        let (mut at, mut times) = (last, Vec::new());
        while let Some((before, range)) = at.checked_sub(1).map(|at| self.times[at as usize]) {
            times.push(range);
            at = before;
        }
        times
    }
}

impl Block {
    /// Finds out which series the deletions select.
    pub(crate) fn resolve(
        &self,
        deletions: impl Iterator<Item = Arc<Deletion>>,
        resolved: &mut Resolved,
    ) -> Result<(), Fault> {
        let index = Index::read(self)?;
        for deletion in deletions {
            match index.select(self, &deletion.matchers) {
                Ok(selected) if deletion.range.includes(self.footer.first, self.footer.last) => {
                    resolved.gone |= selected;
                }
                Ok(selected) => {
                    resolved.last.resize(self.footer.series as usize, 0);
                    resolved.add(&(selected - &resolved.gone), deletion.range);
                }
                Err(fault) => {
                    self.note(&fault);
                    resolved.unknown.push(deletion);
                }
            }
        }
        Ok(())
    }

    /// The labels of every series, by number, with when nothing is left of it; `None` of those without a point that is
    /// left. A posting that could not be read was noted, and labels are compared instead.
    pub(crate) fn labels_left(&self, resolved: &Resolved) -> Result<Vec<Option<Left>>, Fault> {
        let mut left = vec![None; self.footer.series as usize];
        let mut all = RoaringBitmap::new();
        all.insert_range(0..self.footer.series);
        let (mut lists, mut known) = (Lists::default(), BTreeMap::new());
        let series = Index::read(self)?.series(self, &(all - &resolved.gone))?;
        for series in series.into_iter().filter(|series| !series.groups.is_empty()) {
            let last = resolved.last.get(series.number as usize).copied().unwrap_or_default();
            let selected = resolved.unknown.iter().filter(|deletion| deletion.selects(&series.labels));
            let more: Vec<Range> = selected.map(|deletion| deletion.range).collect();
            let ranges = match more.is_empty() {
                true => known.entry(last).or_insert_with(|| lists.of(resolved.times(last))).clone(),
                false => lists.of([resolved.times(last), more].concat()),
            };
            if !ranges.iter().any(|range| range.includes(self.footer.first, self.footer.last)) {
                left[series.number as usize] = Some((series.labels, ranges));
            }
        }
        Ok(left)
    }
}
