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
use super::memo::{Memo, Outcome};
use super::plan::Batch;
use crate::metadata::Metadata;
use crate::relabel;

/// Families in one body.
const MAX_FAMILIES: usize = 1000;

/// A body, and what is in it.
#[derive(Debug, PartialEq)]
pub struct Encoded {
    pub body: Vec<u8>,
    pub samples: usize,
    /// Samples of the batch that are not in it.
    pub left_out: usize,
}

/// Encodes for one engine.
#[derive(Debug)]
pub struct Encoder {
    remote: Arc<Remote>,
    memo: Memo,
}

impl Encoder {
    /// `seed` is of the table that remembers what became of a series' labels.
    #[must_use]
    pub fn new(remote: Arc<Remote>, seed: u64) -> Self {
        Self { remote, memo: Memo::new(seed) }
    }

    /// Reads the batch's rows and encodes those series that the engine is to have.
    #[must_use]
    pub fn batch(&mut self, now: Timestamp, feed: &Feed, batch: &Batch) -> Encoded {
        let mut out = Vec::new();
        let (mut samples, mut left_out) = (0, 0);
        let mut series = Vec::new();
        for run in &batch.runs {
            feed.read(&run.source, run.after, run.until(), &mut |labels, points| {
                series.clear();
                if self.put_labels(labels, &mut series) {
                    samples += points.len();
                    put_points(points, &mut series);
                    put_bytes(&mut out, 1, &series);
                } else {
                    left_out += points.len();
                }
            });
        }
        self.memo.grow_old(now);
        Encoded { body: compress(&out), samples, left_out }
    }

    /// Appends the labels as the engine is to have them; returns whether it is to have the series.
    fn put_labels(&mut self, labels: &Labels, out: &mut Vec<u8>) -> bool {
        let Remote { matchers, labels: added, relabel, .. } = &*self.remote;
        if !is_wanted(matchers, labels) {
            return false;
        }
        if relabel.is_empty() {
            merged(labels, added).for_each(|(name, value)| put_label(name, value, out));
            return true;
        }
        let outcome = self.memo.outcome(labels, || {
            let all = with_added(labels, added);
            match relabel::apply(relabel, &all, labels) {
                // Nobody takes a series without a name.
                Some(changed) if changed.metric_name().is_empty() => Outcome::Dropped,
                Some(changed) if changed == all => Outcome::Unchanged,
                Some(changed) => Outcome::Changed(changed),
                None => Outcome::Dropped,
            }
        });
        match outcome {
            Outcome::Dropped => return false,
            Outcome::Unchanged => merged(labels, added).for_each(|(name, value)| put_label(name, value, out)),
            Outcome::Changed(changed) => changed.iter().for_each(|(name, value)| put_label(name, value, out)),
        }
        true
    }
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

fn put_points(points: &[(i64, f64)], out: &mut Vec<u8>) {
    for (at, value) in points {
        // A sample: a double of 9 bytes with its key, a time of a varint with its key.
        let mut time = Vec::with_capacity(10);
        put(&mut time, *at as u64);
        out.extend_from_slice(&[2 << 3 | 2, 10 + time.len() as u8, 1 << 3 | 1]);
        out.extend_from_slice(&value.to_bits().to_le_bytes());
        out.push(2 << 3);
        out.extend_from_slice(&time);
    }
}

fn put_label(name: &str, value: &str, out: &mut Vec<u8>) {
    let length = |text: &str| 1 + varint_length(text.len() as u64) + text.len();
    out.push(1 << 3 | 2);
    put(out, (length(name) + length(value)) as u64);
    put_bytes(out, 1, name.as_bytes());
    put_bytes(out, 2, value.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
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
        Encoded { body: compress(&out), samples: 0, left_out: 0 }
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
