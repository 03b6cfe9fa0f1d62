//! One new block being made, a little at a time, from the head or from other blocks.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::deletions::deletions_per_call;
use super::memory::Memory;
use crate::block::{Block, Deleted, Fault, Group, Left, Part, Resolved, SourceMerge, Writer};
use crate::deletion::Deletion;
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
        /// Per input, what may be deleted of it; those that are still to be read for what they have.
        unread: VecDeque<Vec<Arc<Deletion>>>,
        /// What is known so far of the first of them.
        resolved: Resolved,
        /// Per input, the new numbers of its series; `None` of those of which nothing is left.
        numbers: Vec<Vec<Option<u32>>>,
        /// Per input, when nothing is left of a series with a new number.
        deleted: Vec<Arc<Deleted>>,
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
        deletions: Vec<Vec<Arc<Deletion>>>,
    ) -> io::Result<Self> {
        let feed = Feed::Blocks {
            inputs,
            unread: deletions.into(),
            resolved: Resolved::default(),
            numbers: Vec::new(),
            deleted: Vec::new(),
            sources: BTreeMap::new(),
        };
        Ok(Self { writer: Writer::new(disk, number)?, feed, work: None, window: i64::MIN..i64::MAX })
    }

    /// Finds out what is left of the next input after some of its deletions, and after the last of them reads what that
    /// is. Says no if every input was read.
    fn read_input(&mut self) -> bool {
        let Feed::Blocks { inputs, unread, resolved, numbers, deleted, sources } = &mut self.feed else { return false };
        let Some(deletions) = unread.front_mut() else { return false };
        let (input, block) = (numbers.len(), &inputs[numbers.len()]);
        let most = deletions_per_call(block).min(deletions.len());
        let left = match most {
            0 => block.labels_left(resolved).and_then(|labels| Ok((labels, block.groups()?))),
            _ => match block.resolve(deletions.drain(..most), resolved) {
                Ok(()) => return true,
                Err(fault) => Err(fault),
            },
        };
        unread.pop_front();
        *resolved = Resolved::default();
        match left {
            Ok((labels, groups)) => {
                let (own_numbers, own_deleted) = number_series(labels, &mut self.writer);
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
        true
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

    /// What is written so far, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.writer.bytes()
    }

    /// Whether nothing was found to write.
    pub(super) fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// Does about `values` values' worth of work, or reads what one of the blocks has. Returns whether everything is
    /// written.
    pub(super) fn work(&mut self, memory: &Memory, values: usize) -> io::Result<bool> {
        if self.read_input() {
            return Ok(false);
        }
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
                Feed::Blocks { inputs, numbers, deleted, sources, .. } => {
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
fn number_series(left: Vec<Option<Left>>, writer: &mut Writer) -> (Vec<Option<u32>>, Deleted) {
    let mut deleted = Deleted::new();
    let mut number = |(labels, ranges): Left| {
        let number = writer.series(&labels);
        if !ranges.is_empty() {
            deleted.insert(number, ranges);
        }
        number
    };
    (left.into_iter().map(|series| series.map(&mut number)).collect(), deleted)
}

fn block_parts(
    inputs: &[Arc<Block>],
    numbers: &[Vec<Option<u32>>],
    deleted: &[Arc<Deleted>],
    groups: &[(usize, Group)],
) -> Vec<Part> {
    let part = |(input, group): &(usize, Group)| {
        let block = &inputs[*input];
        let note = |fault: &Fault| block.note(fault);
        Part::of_group(block, group, &numbers[*input], &deleted[*input]).inspect_err(note).ok()
    };
    groups.iter().filter_map(part).collect()
}
