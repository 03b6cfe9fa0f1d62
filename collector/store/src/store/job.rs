//! One new block being made, a little at a time, from the head or from other blocks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use watchfire_shared::labels::Labels;

use super::memory::Memory;
use crate::block::{Block, Fault, Group, Part, Range as Times, Ranges, SourceMerge, Writer};
use crate::deletion::{self, Standing};
use crate::disk::Disk;
use crate::head::chunk::Chunk;
use crate::source::Source;

/// A block that is being made. Dropping it leaves a file that the next start, or [`discard`](Self::discard), removes.
pub(super) struct Job {
    writer: Writer,
    feed: Feed,
    work: Option<SourceMerge>,
    /// Only rows with times in it are taken.
    window: Range<i64>,
}

/// Where the rows come from.
enum Feed {
    /// Sealed chunks of the head up to the row of this number.
    Head { sources: VecDeque<Source>, up_to: u64 },
    Blocks {
        inputs: Vec<Arc<Block>>,
        /// Per input, the new numbers of its series; `None` of those of which nothing is left.
        numbers: Vec<Vec<Option<u32>>>,
        /// Per input, when nothing is left of a series with a new number.
        deleted: Vec<Arc<Ranges>>,
        /// Per source, its groups and the inputs they are in.
        sources: BTreeMap<Source, Vec<(usize, Group)>>,
    },
}

impl Job {
    /// Cuts what the head has up to a row.
    pub(super) fn cut(
        disk: &impl Disk,
        number: u64,
        memory: &Memory,
        up_to: u64,
        window: Range<i64>,
    ) -> io::Result<Self> {
        let sources = memory.streams.keys().cloned().collect();
        let feed = Feed::Head { sources, up_to };
        Ok(Self { writer: Writer::new(disk, number)?, feed, work: None, window })
    }

    /// Merges blocks, less what was deleted of them. What cannot be read of them is left out and noted at the block.
    pub(super) fn merge(
        disk: &impl Disk,
        number: u64,
        inputs: Vec<Arc<Block>>,
        standing: &Standing,
    ) -> io::Result<Self> {
        let mut writer = Writer::new(disk, number)?;
        let (mut numbers, mut sources) = (Vec::new(), BTreeMap::<Source, Vec<(usize, Group)>>::new());
        let mut deleted = Vec::new();
        for (input, block) in inputs.iter().enumerate() {
            match block.labels().and_then(|labels| Ok((labels, block.groups()?))) {
                Ok((labels, groups)) => {
                    let (own_numbers, own_deleted) = number_series(block, labels, standing, &mut writer);
                    numbers.push(own_numbers);
                    deleted.push(Arc::new(own_deleted));
                    for group in groups {
                        sources.entry(group.source.clone()).or_default().push((input, group));
                    }
                }
                Err(fault) => {
                    block.note(&fault);
                    numbers.push(Vec::new());
                    deleted.push(Arc::default());
                }
            }
        }
        let feed = Feed::Blocks { inputs, numbers, deleted, sources };
        Ok(Self { writer, feed, work: None, window: i64::MIN..i64::MAX })
    }

    /// The blocks that it merges.
    pub(super) fn inputs(&self) -> &[Arc<Block>] {
        match &self.feed {
            Feed::Head { .. } => &[],
            Feed::Blocks { inputs, .. } => inputs,
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.writer.number()
    }

    /// Whether nothing was found to write.
    pub(super) fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// Does about `values` values' worth of work. Returns whether everything is written.
    pub(super) fn work(&mut self, memory: &Memory, values: usize) -> io::Result<bool> {
        let mut done = 0;
        while done < values {
            if let Some(work) = &mut self.work {
                done += work.step(&mut self.writer)?;
                if work.is_done() {
                    self.work = None;
                }
            } else if !self.next_source(memory) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Turns to the next source that has rows; `false` if there is none.
    fn next_source(&mut self, memory: &Memory) -> bool {
        while self.work.is_none() {
            let (source, parts) = match &mut self.feed {
                Feed::Head { sources, up_to } => {
                    let Some(source) = sources.pop_front() else { return false };
                    let parts = head_parts(memory, &source, *up_to, &self.window, &mut self.writer);
                    (source, parts)
                }
                Feed::Blocks { inputs, numbers, deleted, sources } => {
                    let Some((source, groups)) = sources.pop_first() else { return false };
                    (source, block_parts(inputs, numbers, deleted, &groups))
                }
            };
            self.work = SourceMerge::new(source, parts, &self.window);
        }
        true
    }

    /// Makes the block durable and gives it its name.
    pub(super) fn finish(self, disk: &impl Disk, wal_through: u64) -> io::Result<Block> {
        let replaces = self.inputs().iter().map(|block| block.footer.number).collect();
        self.writer.finish(disk, wal_through, replaces)
    }
}

fn head_parts(memory: &Memory, source: &Source, up_to: u64, window: &Range<i64>, writer: &mut Writer) -> Vec<Part> {
    let head = &memory.head;
    let Some(stream) = memory.streams.get(source) else { return Vec::new() };
    let wanted = |chunk: &&Arc<Chunk>| {
        chunk.last_order() <= up_to && chunk.first_at() < window.end && chunk.last_at() >= window.start
    };
    let chunks = head.timelines[stream.id as usize].sealed().iter().filter(wanted);
    let mut numbers: BTreeMap<u32, Option<u32>> = BTreeMap::new();
    let mut number = |series| {
        *numbers.entry(series).or_insert_with(|| head.index.get(series).map(|entry| writer.series(&entry.labels)))
    };
    chunks.map(|chunk| Part::of_chunk(chunk, &mut number)).collect()
}

/// The new number of each of a block's series, and when nothing is left of them.
fn number_series(
    block: &Block,
    labels: Vec<Option<Labels>>,
    standing: &Standing,
    writer: &mut Writer,
) -> (Vec<Option<u32>>, Ranges) {
    let whole = Times { from: block.footer.first, to: block.footer.last };
    let deletions = deletion::of_block(standing, &block.footer, whole);
    let mut deleted = Ranges::new();
    let mut number = |labels: Option<Labels>| {
        let labels = labels?;
        let ranges = deletion::ranges_of(&deletions, &labels);
        if ranges.iter().any(|range| range.from <= whole.from && range.to >= whole.to) {
            return None;
        }
        let number = writer.series(&labels);
        if !ranges.is_empty() {
            deleted.insert(number, ranges);
        }
        Some(number)
    };
    (labels.into_iter().map(&mut number).collect(), deleted)
}

fn block_parts(
    inputs: &[Arc<Block>],
    numbers: &[Vec<Option<u32>>],
    deleted: &[Arc<Ranges>],
    groups: &[(usize, Group)],
) -> Vec<Part> {
    let part = |(input, group): &(usize, Group)| {
        let block = &inputs[*input];
        let note = |fault: &Fault| block.note(fault);
        Part::of_group(block, group, &numbers[*input], &deleted[*input]).inspect_err(note).ok()
    };
    groups.iter().filter_map(part).collect()
}
