//! What is sent next: rows behind the cursors, the oldest first, cut into batches.
//!
//! A batch holds whole rows. What agents' spools brought late has batches of its own, as has what is sent again, so that
//! an engine that refuses samples out of order refuses nothing else with them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;

use watchfire_shared::frame::message::Lane;
use watchfire_shared::time::Timestamp;
use watchfire_store::{CopiedBlocks, Feed, RowSize, Source};

use super::before;
use super::config::Remote;
use super::cursors::Cursors;

/// Batches of one plan. A plan holds on to the rows that it was made of, so it is worked off within seconds.
const MAX_BATCHES: usize = 20;
/// Rows of one source that are taken at a time, so that sources stay side by side: engines refuse what is an hour older
/// than their newest. Reading so many rows from a block costs little more than reading one.
const MAX_ROWS: usize = 30;

/// Rows of one source, one after the other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    pub source: Source,
    /// The rows are later than this.
    pub after: Timestamp,
    /// At least one.
    pub rows: Vec<RowSize>,
}

impl Run {
    /// The time of the last row.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.rows.last().map_or(self.after, |row| row.at)
    }

    fn samples(&self) -> usize {
        self.rows.iter().map(|row| row.samples).sum()
    }
}

/// Which series of a batch's rows are sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Part {
    #[default]
    All,
    /// Those that have no other one's labels; the others follow.
    Single,
    /// Those that relabelling made one with others, maybe of other rows that the engine has.
    Joined,
}

/// What one request is made of.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Batch {
    pub runs: Vec<Run>,
    /// The engine may have it already.
    pub again: bool,
    pub part: Part,
}

impl Batch {
    /// How many samples it has, those included that the remote's selectors leave out.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.runs.iter().map(Run::samples).sum()
    }

    /// Its series by whether others have become one with them, those first that none has.
    pub(super) fn parts(&self) -> [Self; 2] {
        [Part::Single, Part::Joined].map(|part| Self { part, ..self.clone() })
    }

    /// Two halves of it by its rows; `None` if there is only one row.
    pub(super) fn halves(&self) -> Option<[Self; 2]> {
        let rows: usize = self.runs.iter().map(|run| run.rows.len()).sum();
        let mut left = rows / 2;
        if left == 0 {
            return None;
        }
        let mut halves = [Vec::new(), Vec::new()];
        for run in &self.runs {
            let (first, second) = run.rows.split_at(left.min(run.rows.len()));
            left -= first.len();
            let mut after = run.after;
            for (half, rows) in halves.iter_mut().zip([first, second]) {
                if let Some(last) = rows.last() {
                    half.push(Run { source: run.source.clone(), after, rows: rows.to_vec() });
                    after = last.at;
                }
            }
        }
        Some(halves.map(|runs| Self { runs, ..*self }))
    }
}

/// What is to be sent now.
pub struct Plan {
    /// What the batches are read from.
    pub feed: Feed,
    pub batches: VecDeque<Batch>,
    /// Whether there is more than that.
    pub more: bool,
    /// Samples that were too old to be sent, by the remote's `max_backlog`.
    pub expired: u64,
    /// Where the sources go on because of that.
    pub(super) skipped: Vec<(Source, Timestamp)>,
    /// Samples behind the cursors, about.
    pub pending: u64,
    /// The time of the oldest row that is not late.
    pub oldest: Option<Timestamp>,
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan").field("batches", &self.batches).field("pending", &self.pending).finish_non_exhaustive()
    }
}

fn is_late(source: &Source) -> bool {
    matches!(source, Source::Agent(_, Lane::Backfill))
}

/// Finds out what is to be sent. Reads files, where rows are in blocks.
#[must_use]
pub fn plan(mut feed: Feed, cursors: &Cursors, remote: &Remote, now: Timestamp, copied: &mut CopiedBlocks) -> Plan {
    copied.note_returns(cursors.returns());
    feed.look_into_blocks(|source| cursors.sent(source), copied);
    let mut plan = Plan {
        batches: VecDeque::new(),
        more: false,
        expired: 0,
        skipped: Vec::new(),
        pending: feed.waiting_in_blocks(|source| cursors.sent(source)),
        oldest: None,
        feed,
    };
    let from = before(now, remote.max_backlog);
    let mut sources = Sources::default();
    for source in plan.feed.sources() {
        let mark = cursors.mark(source);
        if plan.feed.newest(source).is_none_or(|newest| newest <= mark.sent) {
            continue;
        }
        plan.pending += plan.feed.waiting_in_memory(source, mark.sent);
        let (after, expired) = skip_old(&plan.feed, source, mark.sent, from);
        plan.expired += expired;
        if after > mark.sent {
            plan.skipped.push((source.clone(), after));
        }
        sources.add(&plan.feed, source, after, mark.tried);
    }
    plan.pending = plan.pending.saturating_sub(plan.expired);
    plan.oldest = sources.live.peek().map(|next| next.0.at);
    let (live, late) = (std::mem::take(&mut sources.live), std::mem::take(&mut sources.late));
    for heap in [live, late] {
        plan.more |= fill(&plan.feed, heap, remote.batch_samples, &mut plan.batches);
    }
    plan
}

/// Where a source goes on without the rows that are older than `from`, and how many samples these have.
fn skip_old(feed: &Feed, source: &Source, mut after: Timestamp, from: Timestamp) -> (Timestamp, u64) {
    let mut expired = 0;
    while after < from {
        let rows = feed.next_rows(source, after, usize::MAX);
        let old: Vec<&RowSize> = rows.iter().take_while(|row| row.at < from).collect();
        let Some(last) = old.last() else { break };
        expired += old.iter().map(|row| row.samples as u64).sum::<u64>();
        after = last.at;
    }
    (after, expired)
}

/// A source with the time of its next row; the earliest is taken first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Next {
    at: Timestamp,
    source: Source,
    after: Timestamp,
    tried: Timestamp,
}

#[derive(Default)]
struct Sources {
    live: BinaryHeap<Reverse<Next>>,
    late: BinaryHeap<Reverse<Next>>,
}

impl Sources {
    fn add(&mut self, feed: &Feed, source: &Source, after: Timestamp, tried: Timestamp) {
        let Some(first) = feed.next_rows(source, after, 1).first().map(|row| row.at) else { return };
        let heap = if is_late(source) { &mut self.late } else { &mut self.live };
        heap.push(Reverse(Next { at: first, source: source.clone(), after, tried }));
    }
}

/// Cuts the rows of the sources into batches, as many as a plan may have; returns whether there are more.
///
/// The rows of a source stay in their order from batch to batch, since its cursor passes all that is before it.
fn fill(feed: &Feed, mut heap: BinaryHeap<Reverse<Next>>, size: usize, batches: &mut VecDeque<Batch>) -> bool {
    let mut open = Batch::default();
    while let Some(Reverse(next)) = heap.pop() {
        if batches.len() >= MAX_BATCHES {
            return true;
        }
        let again = next.at <= next.tried;
        let (is_fresh, mut left) = (open.runs.is_empty(), size.saturating_sub(open.samples()));
        let fits = |row: &RowSize, first: bool| {
            let fits = row.samples <= left || (first && is_fresh);
            left = left.saturating_sub(row.samples);
            fits && (row.at <= next.tried) == again
        };
        let rows = match is_fresh || open.again == again {
            true => take_rows(feed.next_rows(&next.source, next.after, MAX_ROWS), fits),
            false => Vec::new(),
        };
        let Some(last) = rows.last().map(|row| row.at) else {
            // It does not go into this batch, so it is the first of the next.
            if !is_fresh {
                batches.push_back(std::mem::replace(&mut open, Batch { again, ..Batch::default() }));
                heap.push(Reverse(next));
            }
            continue;
        };
        open.again = again;
        open.runs.push(Run { source: next.source.clone(), after: next.after, rows });
        if let Some(following) = feed.next_rows(&next.source, last, 1).first() {
            heap.push(Reverse(Next { at: following.at, after: last, ..next }));
        }
    }
    batches.extend(Some(open).filter(|batch| !batch.runs.is_empty()));
    false
}

fn take_rows(rows: Vec<RowSize>, mut fits: impl FnMut(&RowSize, bool) -> bool) -> Vec<RowSize> {
    let mut taken = Vec::new();
    for row in rows {
        if !fits(&row, taken.is_empty()) {
            break;
        }
        taken.push(row);
    }
    taken
}
