//! Batches and metadata as bodies of remote write 1.0: the protobuf message `prometheus.WriteRequest`, in snappy's block
//! format.
//!
//! Field numbers are those of Prometheus' `prompb/remote.proto` and `prompb/types.proto`; the protocol is
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>. Stale markers keep their bits.

use std::cmp::Ordering;
use std::sync::Arc;

use watchfire_shared::frame::varint::put;
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;
use watchfire_store::Feed;

use super::config::Remote;
use super::joined::{Clash, Doubles, Joined};
use super::memo::{Memo, Outcome};
use super::plan::{Batch, Part};
use crate::metadata::Metadata;
use crate::relabel;

/// Families in one body.
const MAX_FAMILIES: usize = 1000;

/// A body, and what is in it.
#[derive(Debug)]
pub struct Encoded {
    pub body: Vec<u8>,
    pub content: Content,
}

/// What became of the samples of a batch.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Content {
    /// They are in the request.
    pub samples: usize,
    /// The remote's selectors or rules leave them out.
    pub left_out: usize,
    /// Another one with the same labels and time has the same value.
    pub repeated: usize,
    /// Another one with the same labels and time has another value.
    pub duplicate: usize,
    /// Where the first of these is from.
    pub clash: Option<Clash>,
    /// Whether it has series that are one with others, of this request or not, and series that are not.
    pub is_mixed: bool,
}

/// Encodes for one engine.
#[derive(Debug)]
pub struct Encoder {
    remote: Arc<Remote>,
    memo: Memo,
    seed: u64,
}

impl Encoder {
    /// `seed` is of the tables that labels are looked for in.
    #[must_use]
    pub fn new(remote: Arc<Remote>, seed: u64) -> Self {
        Self { remote, memo: Memo::new(seed), seed }
    }

    /// Reads the batch's rows and encodes those series that the engine is to have.
    #[must_use]
    pub fn batch(&mut self, now: Timestamp, feed: &Feed, batch: &Batch) -> Encoded {
        let (mut out, mut name, mut left_out) = (Vec::new(), Vec::new(), 0);
        let mut joined = Joined::new(self.seed);
        let (mut has_joined, mut has_single) = (false, false);
        for run in &batch.runs {
            feed.read(&run.source, run.after, run.until(), &mut |labels, points| {
                name.clear();
                match self.put_labels(labels, &mut name) {
                    Some(Kind::Joined) if batch.part != Part::Single => has_joined = true,
                    Some(Kind::Single) if batch.part != Part::Joined => has_single = true,
                    Some(_) => return,
                    None => {
                        // The other part of the batch has counted it.
                        left_out += if batch.part == Part::Joined { 0 } else { points.len() };
                        return;
                    }
                }
                joined.add(&name, labels, points);
            });
        }
        let (samples, Doubles { repeated, duplicate, ends, first }) = joined.put(&mut out);
        self.memo.grow_old(now);
        let is_mixed = has_joined && has_single;
        let content = Content { samples, left_out: left_out + ends, repeated, duplicate, clash: first, is_mixed };
        Encoded { body: compress(&out), content }
    }

    /// Appends the labels as the engine is to have them; says nothing if it is not to have the series.
    fn put_labels(&mut self, labels: &Labels, out: &mut Vec<u8>) -> Option<Kind> {
        let Remote { matchers, labels: added, relabel, .. } = &*self.remote;
        if !is_wanted(matchers, labels) {
            return None;
        }
        if relabel.is_empty() {
            merged(labels, added).for_each(|(name, value)| put_label(name, value, out));
            return Some(Kind::Single);
        }
        let known = self.memo.outcome(labels, || {
            let all = with_added(labels, added);
            match relabel::apply(relabel, &all, labels) {
                // Nobody takes a series without a name.
                Some(changed) if changed.metric_name().is_empty() => (Outcome::Dropped, all),
                Some(changed) if changed == all => (Outcome::Unchanged, all),
                Some(changed) => (Outcome::Changed(changed.clone()), changed),
                None => (Outcome::Dropped, all),
            }
        });
        match &known.outcome {
            Outcome::Dropped => return None,
            Outcome::Unchanged => merged(labels, added).for_each(|(name, value)| put_label(name, value, out)),
            Outcome::Changed(changed) => changed.iter().for_each(|(name, value)| put_label(name, value, out)),
        }
        let sent_as = known.sent_as;
        Some(if self.memo.is_joined(sent_as) { Kind::Joined } else { Kind::Single })
    }
}

/// Whether a series is alone with the labels that it is sent with.
enum Kind {
    Single,
    Joined,
}

fn is_wanted(selectors: &[Vec<Matcher>], labels: &Labels) -> bool {
    let matches = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(labels));
    selectors.is_empty() || selectors.iter().any(matches)
}

fn with_added(labels: &Labels, added: &[(String, String)]) -> Labels {
    let mut builder = labels.to_builder_for(added.len());
    for (name, value) in added.iter().filter(|(name, _)| labels.get(name).is_none()) {
        builder.set(name.as_str(), value.as_str());
    }
    builder.build()
}

/// The same, without building it: the labels, and those of `added` whose names they do not have, in the order of their names.
fn merged<'a>(labels: &'a Labels, added: &'a [(String, String)]) -> impl Iterator<Item = (&'a str, &'a str)> {
    let (mut own, mut added) = (labels.iter().peekable(), added.iter().peekable());
    std::iter::from_fn(move || {
        while let Some((name, value)) = added.peek() {
            match own.peek().map(|(first, _)| first.cmp(&name.as_str())) {
                Some(Ordering::Less) => return own.next(),
                Some(Ordering::Equal) => drop(added.next()),
                _ => {
                    added.next();
                    return Some((name.as_str(), value.as_str()));
                }
            }
        }
        own.next()
    })
}

/// A sample: a double of 9 bytes with its key, a time of a varint with its key.
pub(super) fn put_point(at: i64, value: f64, out: &mut Vec<u8>) {
    out.extend_from_slice(&[2 << 3 | 2, (10 + varint_length(at as u64)) as u8, 1 << 3 | 1]);
    out.extend_from_slice(&value.to_bits().to_le_bytes());
    out.push(2 << 3);
    put(out, at as u64);
}

fn put_label(name: &str, value: &str, out: &mut Vec<u8>) {
    let length = |text: &str| 1 + varint_length(text.len() as u64) + text.len();
    out.push(1 << 3 | 2);
    put(out, (length(name) + length(value)) as u64);
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, value.as_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn varint_length(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

/// Kinds and texts of metric families, for engines that keep them.
#[must_use]
pub fn metadata(metadata: &Metadata) -> Vec<Encoded> {
    let families: Vec<_> = metadata.iter().collect();
    let bodies = families.chunks(MAX_FAMILIES).map(|families| {
        let (mut out, mut own) = (Vec::new(), Vec::new());
        for (name, family) in families {
            own.clear();
            own.extend_from_slice(&[1 << 3, kind(family.kind)]);
            put_bytes(&mut own, 2, name.as_bytes());
            put_bytes(&mut own, 4, family.help.as_bytes());
            put_bytes(&mut own, 5, family.unit.as_bytes());
            put_bytes(&mut out, 3, &own);
        }
        Encoded { body: compress(&out), content: Content::default() }
    });
    bodies.collect()
}

/// `MetricMetadata.MetricType`.
fn kind(name: &str) -> u8 {
    let kinds = ["unknown", "counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset"];
    kinds.iter().position(|kind| *kind == name).unwrap_or_default() as u8
}

fn compress(bytes: &[u8]) -> Vec<u8> {
    snap::raw::Encoder::new().compress_vec(bytes).expect("a bounded batch stays below snappy's 4 GiB")
}
