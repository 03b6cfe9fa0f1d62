//! Batches and metadata as bodies of remote write 1.0: the protobuf message `prometheus.WriteRequest`, in snappy's block
//! format.
//!
//! Field numbers are those of Prometheus' `prompb/remote.proto` and `prompb/types.proto`; the protocol is
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>. Stale markers keep their bits.

use watchfire_shared::frame::varint::put;
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_store::Feed;

use super::config::Remote;
use super::plan::Batch;
use crate::metadata::Metadata;

/// Families in one body.
const MAX_FAMILIES: usize = 1000;

/// A body, and what is in it.
#[derive(Debug, PartialEq)]
pub struct Encoded {
    pub body: Vec<u8>,
    pub samples: usize,
}

/// Reads the batch's rows and encodes those series that the remote is to have.
#[must_use]
pub fn batch(feed: &Feed, batch: &Batch, remote: &Remote) -> Encoded {
    let mut out = Vec::new();
    let mut samples = 0;
    let mut series = Vec::new();
    for run in &batch.runs {
        feed.read(&run.source, run.after, run.until(), &mut |labels, points| {
            if is_wanted(&remote.matchers, labels) {
                samples += points.len();
                put_series(labels, &remote.labels, points, &mut series);
                put_bytes(&mut out, 1, &series);
            }
        });
    }
    Encoded { body: compress(&out), samples }
}

fn is_wanted(selectors: &[Vec<Matcher>], labels: &Labels) -> bool {
    let matches = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(labels));
    selectors.is_empty() || selectors.iter().any(matches)
}

fn put_series(labels: &Labels, added: &[(String, String)], points: &[(i64, f64)], out: &mut Vec<u8>) {
    out.clear();
    if added.iter().all(|(name, _)| labels.get(name).is_some()) {
        labels.iter().for_each(|(name, value)| put_label(name, value, out));
    } else {
        let mut builder = labels.to_builder();
        for (name, value) in added.iter().filter(|(name, _)| labels.get(name).is_none()) {
            builder.set(name.as_str(), value.as_str());
        }
        builder.build().iter().for_each(|(name, value)| put_label(name, value, out));
    }
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
        Encoded { body: compress(&out), samples: 0 }
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
