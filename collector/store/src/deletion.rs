//! What was deleted before its time: matchers, a range of times, and the blocks that it concerns.
//!
//! A deletion acts in two ways. What the head holds of it goes at once, and again at the record's place when the log is
//! replayed. Blocks never change, so the deletion *stands* and hides what they hold, until merges have written it out.
//! Which blocks it concerns is told by their numbers, which rise:
//! - A block below [`before`](Deletion::before) was begun before the deletion, and has only rows that are older.
//! - A block from there on was made of a head or of blocks less what was deleted, and may have rows that came later.
//!
//! So what comes after a deletion is never hidden by it, whatever series and times it is of, and nothing has to be told of
//! single rows.

use std::sync::Arc;

use watchfire_shared::frame::varint;
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::{MatchOp, Matcher, RegexError};

use crate::block::{Footer, Range};
use crate::codec::{Reader, put_sized};
use crate::error::DeleteError;

/// Deletions that may stand, and that one call may make; one of several expressions counts as so many. Each query that
/// reads files compares the series that it finds there with each of them, and each segment of the log begins with all of
/// them: a megabyte, if every one is as long as it may be.
pub(crate) const MAX_STANDING: usize = 256;
/// Names, values and operators of one deletion's matchers, bytes; selectors that people write have a hundred.
pub(crate) const MAX_MATCHER_BYTES: usize = 4096;
/// Matchers of one deletion; selectors that people write have two or three.
pub(crate) const MAX_MATCHERS: usize = 32;
/// Matchers of one deletion that are regular expressions.
pub(crate) const MAX_EXPRESSIONS: usize = 8;
/// What an expression of a deletion may be compiled to, bytes: with [`MAX_STANDING`] of them, both ways that they are
/// compiled for, 64 MiB are the most that stands. `\w` takes a sixth of it, 4000 plain letters most of it.
const MAX_COMPILED_BYTES: usize = 128 << 10;
/// The same when it is read: what was taken has to be readable even if a later version compiles to more.
const MAX_READ_BYTES: usize = 4 * MAX_COMPILED_BYTES;
/// What the deletions of one record may count when it is read: a record with more was never written.
const MAX_READ: usize = MAX_STANDING * MAX_EXPRESSIONS;

/// The highest number that a block can have: one a microsecond for two thousand centuries.
const MAX_BLOCK_NUMBER: u64 = u64::MAX >> 1;

/// In the order of their codes on disk.
const OPERATORS: [MatchOp; 4] = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];

#[derive(Clone, Debug)]
pub(crate) struct Deletion {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) range: Range,
    /// Blocks with a number below this are concerned.
    pub(crate) before: u64,
}

/// The standing deletions. A clone is one reference count.
pub(crate) type Standing = Arc<Vec<Arc<Deletion>>>;

impl PartialEq for Deletion {
    fn eq(&self, other: &Self) -> bool {
        let (own, others) = (self.range, other.range);
        (own.from, own.to, self.before) == (others.from, others.to, other.before) && self.same_series(other)
    }
}

impl Deletion {
    /// What it counts of those that may stand.
    pub(crate) fn weight(&self) -> usize {
        expressions(&self.matchers).max(1)
    }

    fn same_series(&self, other: &Self) -> bool {
        let same = |(a, b): (&Matcher, &Matcher)| (&a.name, a.op, &a.value) == (&b.name, b.op, &b.value);
        self.matchers.len() == other.matchers.len() && self.matchers.iter().zip(&other.matchers).all(same)
    }

    /// Whether the other one deletes nothing more.
    pub(crate) fn includes(&self, other: &Self) -> bool {
        let (own, others) = (self.range, other.range);
        own.from <= others.from && own.to >= others.to && self.before >= other.before && self.same_series(other)
    }

    pub(crate) fn selects(&self, labels: &Labels) -> bool {
        self.matchers.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// Whether the block may have something of it.
    pub(crate) fn concerns(&self, block: &Footer) -> bool {
        block.number < self.before && self.range.overlaps(block.first, block.last)
    }
}

/// The selectors of one call, compiled to no more than what may stand. Takes no further one once there is one too many.
///
/// # Errors
/// If one of them has more of something than a selector that deletes may have, or all together more than one call may
/// delete; and any that comes with them.
pub fn deletable<E: From<DeleteError>>(
    selectors: impl IntoIterator<Item = Result<Vec<Matcher>, E>>,
) -> Result<Vec<Vec<Matcher>>, E> {
    let (mut taken, mut found) = (Vec::new(), 0);
    for selector in selectors {
        let selector = small(&selector?)?;
        found += expressions(&selector).max(1);
        if found > MAX_STANDING {
            return Err(DeleteError::TooManyAtOnce { limit: MAX_STANDING }.into());
        }
        taken.push(selector);
    }
    Ok(taken)
}

fn small(matchers: &[Matcher]) -> Result<Vec<Matcher>, DeleteError> {
    let bytes: usize = matchers.iter().map(|matcher| matcher.name.len() + matcher.value.len() + 1).sum();
    if bytes > MAX_MATCHER_BYTES {
        return Err(DeleteError::TooLarge { bytes, limit: MAX_MATCHER_BYTES });
    }
    for (found, limit, what) in
        [(matchers.len(), MAX_MATCHERS, "matchers"), (expressions(matchers), MAX_EXPRESSIONS, "regular expressions")]
    {
        if found > limit {
            return Err(DeleteError::TooManyMatchers { found, limit, what });
        }
    }
    let small = |own: &Matcher| Matcher::within(&own.name, own.op, &own.value, MAX_COMPILED_BYTES);
    Ok(matchers.iter().map(small).collect::<Result<_, RegexError>>()?)
}

fn expressions(matchers: &[Matcher]) -> usize {
    matchers.iter().filter(|matcher| matches!(matcher.op, MatchOp::Regex | MatchOp::NotRegex)).count()
}

/// What all of them count together.
pub(crate) fn weight(deletions: &[Arc<Deletion>]) -> usize {
    deletions.iter().map(|deletion| deletion.weight()).sum()
}

/// The deletions that concern a block within a range.
pub(crate) fn of_block<'a>(standing: &'a Standing, block: &Footer, range: Range) -> Vec<&'a Deletion> {
    let within = |deletion: &&Deletion| deletion.range.overlaps(range.from, range.to) && deletion.concerns(block);
    standing.iter().map(|deletion| &**deletion).filter(within).collect()
}

/// The ranges in which nothing is left of a series.
pub(crate) fn ranges_of(deletions: &[&Deletion], labels: &Labels) -> Vec<Range> {
    deletions.iter().filter(|deletion| deletion.selects(labels)).map(|deletion| deletion.range).collect()
}

/// Whether the time is in one of the ranges.
pub(crate) fn is_in(ranges: &[Range], at: i64) -> bool {
    ranges.iter().any(|range| range.from <= at && at <= range.to)
}

/// Appends how many there are, and each.
pub(crate) fn put(out: &mut Vec<u8>, deletions: &[Arc<Deletion>]) {
    varint::put(out, deletions.len() as u64);
    for deletion in deletions {
        varint::put(out, deletion.before);
        out.extend_from_slice(&deletion.range.from.to_le_bytes());
        out.extend_from_slice(&deletion.range.to.to_le_bytes());
        varint::put(out, deletion.matchers.len() as u64);
        for matcher in &deletion.matchers {
            let code = OPERATORS.iter().position(|op| *op == matcher.op);
            out.push(code.expect("every operator is listed") as u8);
            put_sized(out, matcher.name.as_bytes());
            put_sized(out, matcher.value.as_bytes());
        }
    }
}

/// Reads what [`put`] wrote. What claims to be more than that is nothing that was written, and takes no memory.
pub(crate) fn read(reader: &mut Reader<'_>) -> Option<Vec<Arc<Deletion>>> {
    let (mut deletions, mut found) = (Vec::new(), 0);
    for _ in 0..reader.varint()? {
        // Numbers count what was written; one from which nobody can count on was not.
        let before = reader.varint().filter(|before| *before <= MAX_BLOCK_NUMBER)?;
        let range = Range { from: reader.i64()?, to: reader.i64()? };
        let mut matchers = Vec::new();
        for _ in 0..reader.varint().filter(|count| *count <= MAX_MATCHERS as u64)? {
            let op = *OPERATORS.get(usize::from(reader.u8()?))?;
            let (name, value) = (reader.text()?, reader.text()?);
            matchers.push(Matcher::within(name, op, value, MAX_READ_BYTES).ok()?);
        }
        let deletion = Deletion { matchers, range, before };
        found += deletion.weight();
        if found > MAX_READ {
            return None;
        }
        deletions.push(Arc::new(deletion));
    }
    Some(deletions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_back(deletions: &[Arc<Deletion>]) -> Option<usize> {
        let mut bytes = Vec::new();
        put(&mut bytes, deletions);
        read(&mut Reader::new(&bytes)).map(|read| read.len())
    }

    #[test]
    fn what_was_never_written_takes_no_memory() {
        let of = |matchers: Vec<Matcher>| Arc::new(Deletion { matchers, range: Range { from: 1, to: 2 }, before: 3 });
        let equal = Matcher::equal("a", "b");
        assert_eq!(read_back(&vec![of(vec![equal.clone(); MAX_MATCHERS]); MAX_STANDING]), Some(MAX_STANDING));
        assert_eq!(read_back(&[of(vec![equal; MAX_MATCHERS + 1])]), None);
        assert_eq!(read_back(&vec![of(Vec::new()); MAX_READ + 1]), None);
        let expression = Matcher::new("a", MatchOp::Regex, "b+").unwrap();
        assert_eq!(read_back(&vec![of(vec![expression; MAX_MATCHERS]); MAX_READ / MAX_MATCHERS + 1]), None);
    }
}
