//! The store by its sources and rows, for whoever copies it elsewhere and keeps a cursor for each source.
//!
//! A source's rows rise strictly in time, whether they are in memory or in blocks, so a time says how far a copy of it has
//! come. Nothing is queued for a copier: it reads what lies behind its cursors when it wants to, however old that is.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use watchfire_shared::labels::Labels;
use watchfire_shared::sample::stale_nan;
use watchfire_shared::time::Timestamp;

use crate::block::{Block, Group, GroupRows, Range, sizes};
use crate::deletion::{self, Standing};
use crate::disk::Disk;
use crate::head::chunk::Chunk;
use crate::head::timeline::{Row, Timeline};
use crate::index::{Index, SourceId};
use crate::source::Source;
use crate::store::Store;

/// Every source with its rows, as of one moment; a clone is a few reference counts.
#[derive(Clone)]
pub struct Feed {
    index: Index,
    timelines: Arc<Vec<Arc<Timeline>>>,
    blocks: Arc<Vec<Arc<Block>>>,
    /// What of the blocks is not copied any more.
    deletions: Standing,
    sources: Arc<BTreeMap<Source, SourceId>>,
    /// By source, the groups that were looked for, in the order of time.
    groups: Arc<BTreeMap<Source, Vec<Found>>>,
}

/// A group with rows behind a cursor.
struct Found {
    block: Arc<Block>,
    group: Group,
    /// How many samples it has, about.
    samples: f64,
}

/// One row of a source that is to be copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSize {
    pub at: Timestamp,
    /// How many samples it has, stale markers included; more than can be read, where some were deleted.
    pub samples: usize,
}

/// Blocks of which a copier has everything. Blocks never change, so what is in it stays in it unless cursors go back.
#[derive(Clone, Debug, Default)]
pub struct CopiedBlocks {
    numbers: BTreeSet<u64>,
    /// How many times the cursors had gone back by which these were noted.
    returns: u64,
}

impl CopiedBlocks {
    /// Is to be told before each look how many times the cursors have gone back: what was noted by others is forgotten.
    pub fn note_returns(&mut self, returns: u64) {
        if std::mem::replace(&mut self.returns, returns) != returns {
            self.numbers.clear();
        }
    }
}

/// Where rows of one source are, the place that holds the next ones.
enum Place<'a> {
    Block(&'a Block, &'a Group),
    Chunk(&'a Chunk),
    Tail(&'a [Arc<Row>]),
}

impl<D: Disk> Store<D> {
    /// Every source with its rows as of now. Costs a list of the sources.
    #[must_use]
    pub fn feed(&self) -> Feed {
        let (index, timelines, blocks, sources, deletions) = self.feed_parts();
        Feed { index, timelines, blocks, deletions, sources: Arc::new(sources), groups: Arc::default() }
    }
}

impl Feed {
    /// The sources that the store knows of, and those of blocks that were looked into.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.sources.keys().chain(self.groups.keys().filter(|source| !self.sources.contains_key(source)))
    }

    /// Looks into the blocks for rows behind the cursors, and notes those blocks that have none. Reads files.
    ///
    /// Without it the rows that blocks hold are not seen. A block that cannot be read is passed over; the store sets it
    /// aside.
    pub fn look_into_blocks(&mut self, cursor: impl Fn(&Source) -> Timestamp, copied: &mut CopiedBlocks) {
        let mut found: BTreeMap<Source, Vec<Found>> = BTreeMap::new();
        copied.numbers.retain(|number| self.blocks.iter().any(|block| block.footer.number == *number));
        for block in self.blocks.iter() {
            if copied.numbers.contains(&block.footer.number) {
                continue;
            }
            let groups = block.groups().unwrap_or_else(|fault| {
                block.note(&fault);
                Vec::new()
            });
            let bytes: u64 = groups.iter().map(|group| group.columns_length).sum();
            let behind = groups.into_iter().filter(|group| group.last > cursor(&group.source).as_millis());
            let behind: Vec<Group> = behind.collect();
            if behind.is_empty() {
                copied.numbers.insert(block.footer.number);
            }
            for group in behind {
                let samples = block.footer.samples as f64 * group.columns_length as f64 / bytes.max(1) as f64;
                let own = Found { block: Arc::clone(block), group, samples };
                found.entry(own.group.source.clone()).or_default().push(own);
            }
        }
        found.values_mut().for_each(|groups| groups.sort_by_key(|own| (own.group.first, own.block.footer.number)));
        self.groups = Arc::new(found);
    }

    fn timeline(&self, source: &Source) -> Option<&Timeline> {
        self.timelines.get(*self.sources.get(source)? as usize).map(|timeline| &**timeline)
    }

    /// The time of the source's newest row; `None` if it has none.
    #[must_use]
    pub fn newest(&self, source: &Source) -> Option<Timestamp> {
        let groups = self.groups.get(source).into_iter().flatten().map(|own| own.group.last).max();
        let head = self.timeline(source).and_then(|timeline| {
            timeline.tail().last().map(|row| row.at).or(timeline.sealed().last().map(|chunk| chunk.last_at()))
        });
        groups.max(head).map(Timestamp::from_millis)
    }

    /// How many samples the source has in memory later than `after`, about: of a chunk that is in part later, that part.
    #[must_use]
    pub fn waiting_in_memory(&self, source: &Source, after: Timestamp) -> u64 {
        let Some(timeline) = self.timeline(source) else { return 0 };
        let after = after.as_millis();
        let tail = timeline.tail().iter().rev().take_while(|row| row.at > after).map(|row| row.samples());
        let chunks = timeline.sealed().iter().rev().take_while(|chunk| chunk.last_at() > after);
        let sealed = chunks.map(|chunk| {
            let later = chunk.times().len() - chunk.times().partition_point(|at| *at <= after);
            chunk.columns().map(|(_, _, count, _)| count as usize).sum::<usize>() * later / chunk.times().len().max(1)
        });
        tail.chain(sealed).sum::<usize>() as u64
    }

    /// How many samples blocks hold behind the cursors, about.
    #[must_use]
    pub fn waiting_in_blocks(&self, cursor: impl Fn(&Source) -> Timestamp) -> u64 {
        let mut waiting = 0.0;
        for (source, groups) in self.groups.iter() {
            for Found { group, samples, .. } in groups {
                let span = (group.last - group.first).max(1) as f64;
                let later = group.last.saturating_sub(cursor(source).as_millis().max(group.first)) as f64;
                waiting += samples * (later / span).clamp(0.0, 1.0);
            }
        }
        waiting as u64
    }

    /// The next rows of the source that are later than `after`, at most `most` of them and all from one place; none if
    /// there are none. Reads a file where they are in a block.
    #[must_use]
    pub fn next_rows(&self, source: &Source, after: Timestamp, most: usize) -> Vec<RowSize> {
        let mut after = after.as_millis();
        while let Some(place) = self.place(source, after) {
            let range = Range { from: after.saturating_add(1), to: i64::MAX };
            let sizes = match &place {
                Place::Tail(rows) => {
                    rows.iter().filter(|row| row.at > after).map(|row| (row.at, row.samples())).collect()
                }
                Place::Chunk(chunk) => chunk_sizes(chunk, range),
                Place::Block(block, group) => match GroupRows::read(block, group) {
                    Ok(rows) => rows.sizes(range),
                    Err(fault) => {
                        block.note(&fault);
                        Vec::new()
                    }
                },
            };
            if !sizes.is_empty() {
                let sizes = sizes.into_iter().take(most);
                return sizes.map(|(at, samples)| RowSize { at: Timestamp::from_millis(at), samples }).collect();
            }
            // Nothing of the place can be read.
            after = place.last();
        }
        Vec::new()
    }

    /// Gives every series of the source that has points later than `after` and not later than `until`, with these points
    /// in the order of time. A series may come several times, its later points later.
    pub fn read(
        &self,
        source: &Source,
        after: Timestamp,
        until: Timestamp,
        take: &mut impl FnMut(&Labels, &[(i64, f64)]),
    ) {
        let (mut after, until) = (after.as_millis(), until.as_millis());
        while after < until
            && let Some(place) = self.place(source, after)
        {
            let range = Range { from: after.saturating_add(1), to: until };
            match &place {
                Place::Tail(rows) => self.read_tail(rows, range, take),
                Place::Chunk(chunk) => self.read_chunk(chunk, range, take),
                Place::Block(block, group) => {
                    let deletions = deletion::of_block(&self.deletions, &block.footer, range);
                    let read = GroupRows::read(block, group);
                    let read = read.and_then(|rows| rows.points(block, range, &deletions, take));
                    if let Err(fault) = read {
                        block.note(&fault);
                    }
                }
            }
            after = place.last();
        }
    }

    /// The place with the earliest rows later than `after`; of two, that of the older file.
    fn place<'a>(&'a self, source: &Source, after: i64) -> Option<Place<'a>> {
        let groups = self.groups.get(source).into_iter().flatten();
        let groups = groups.map(|own| Place::Block(&own.block, &own.group));
        let timeline = self.timeline(source);
        let sealed = timeline.map(Timeline::sealed).unwrap_or_default();
        let chunk =
            sealed.get(sealed.partition_point(|chunk| chunk.last_at() <= after)).map(|chunk| Place::Chunk(chunk));
        let tail = timeline.map(Timeline::tail).filter(|rows| !rows.is_empty()).map(Place::Tail);
        let later = groups.chain(chunk).chain(tail).filter(|place| place.last() > after);
        later.min_by_key(|place| place.first().max(after.saturating_add(1)))
    }

    fn read_tail(&self, rows: &[Arc<Row>], range: Range, take: &mut impl FnMut(&Labels, &[(i64, f64)])) {
        let rows: Vec<&Arc<Row>> = rows.iter().filter(|row| range.from <= row.at && row.at <= range.to).collect();
        let mut points = Vec::new();
        for rows in rows.chunk_by(|a, b| Arc::ptr_eq(&a.layout, &b.layout)) {
            // What ends with a row ends before the others of its layout begin.
            for (series, row) in rows.iter().flat_map(|row| row.gone.iter().map(move |series| (series, row))) {
                if let Some(entry) = self.index.get(*series) {
                    take(&entry.labels, &[(row.at, stale_nan())]);
                }
            }
            for (slot, labels) in rows[0].layout.entries() {
                points.clear();
                points.extend(rows.iter().filter_map(|row| row.at_slot(slot).map(|value| (row.at, value))));
                if !points.is_empty() {
                    take(labels, &points);
                }
            }
        }
    }

    fn read_chunk(&self, chunk: &Chunk, range: Range, take: &mut impl FnMut(&Labels, &[(i64, f64)])) {
        let times = chunk.times();
        let rows = times.partition_point(|at| *at < range.from)..times.partition_point(|at| *at <= range.to);
        let (mut values, mut points) = (Vec::new(), Vec::new());
        for (series, first, count, bytes) in chunk.columns() {
            let (first, count) = (first as usize, count as usize);
            let own = rows.start.max(first)..rows.end.min(first + count);
            let Some(entry) = self.index.get(series).filter(|_| !own.is_empty()) else { continue };
            values.clear();
            points.clear();
            crate::dint::decode(chunk.bytes(bytes), count, &mut values).expect("a chunk in memory is what was encoded");
            points.extend(own.map(|row| (times[row], values[row - first])));
            take(&entry.labels, &points);
        }
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed").field("sources", &self.sources.len()).finish_non_exhaustive()
    }
}

impl Place<'_> {
    fn first(&self) -> i64 {
        match self {
            Self::Block(_, group) => group.first,
            Self::Chunk(chunk) => chunk.first_at(),
            Self::Tail(rows) => rows.first().map_or(i64::MAX, |row| row.at),
        }
    }

    fn last(&self) -> i64 {
        match self {
            Self::Block(_, group) => group.last,
            Self::Chunk(chunk) => chunk.last_at(),
            Self::Tail(rows) => rows.last().map_or(i64::MIN, |row| row.at),
        }
    }
}

fn chunk_sizes(chunk: &Chunk, range: Range) -> Vec<(i64, usize)> {
    let columns = chunk.columns().map(|(_, first, count, _)| (first as usize, count as usize));
    let sizes = chunk.times().iter().copied().zip(sizes(chunk.times().len(), columns));
    sizes.filter(|(at, _)| range.from <= *at && *at <= range.to).collect()
}
