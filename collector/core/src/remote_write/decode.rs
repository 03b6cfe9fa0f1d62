//! A body of remote write 1.0 to series and samples: snappy, then the protobuf message `prometheus.WriteRequest`, read
//! where it lies.
//!
//! The wire types and field numbers are those of Prometheus' `prompb/remote.proto` and `prompb/types.proto`. Unknown
//! fields are skipped, as protobuf asks for. Nothing is allocated by a length that was only claimed.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::LazyLock;

use watchfire_shared::frame::varint;
use watchfire_shared::labels::Labels;
use xxhash_rust::xxh3::xxh3_128_with_seed;

use super::BadLabels;

/// A request once decompressed, bytes. Prometheus' own have under one MiB, vmagent's up to eight.
const MAX_BYTES: usize = 16 << 20;
/// Series or samples of one request. Prometheus' default is 2,000; a request of the largest size with the shortest series
/// would have a million.
const MAX_SAMPLES: usize = 500_000;

/// Why a body is no request. Nothing of it was taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DecodeError {
    #[error("the body is not compressed with snappy: {0}")]
    Snappy(String),
    #[error("the request has {0} bytes once decompressed, more than {MAX_BYTES}")]
    TooLarge(usize),
    #[error("the request has more than {MAX_SAMPLES} samples")]
    TooMany,
    #[error("the body is no WriteRequest: {0}")]
    Malformed(&'static str),
}

const ENDS_EARLY: DecodeError = DecodeError::Malformed("it ends early");

/// A request, checked as far as its form goes.
pub struct WriteRequest {
    bytes: Vec<u8>,
    parts: Vec<Part>,
    samples: Vec<(i64, f64)>,
    families: Vec<FamilyRange>,
    /// Native histograms in it, which are not kept.
    pub(super) histograms: u64,
    pub(super) exemplars: u64,
}

impl fmt::Debug for WriteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteRequest")
            .field("series", &self.parts.len())
            .field("samples", &self.samples.len())
            .finish_non_exhaustive()
    }
}

struct Part {
    key: u128,
    labels: Range<u32>,
    samples: Range<u32>,
}

struct FamilyRange {
    kind: u64,
    name: Range<u32>,
    help: Range<u32>,
    unit: Range<u32>,
}

/// One series of a request.
pub(super) struct Series<'a> {
    /// The hash of its labels as they were sent.
    pub(super) key: u128,
    pub(super) samples: &'a [(i64, f64)],
    raw: &'a [u8],
}

/// What a request says of a metric family.
pub(super) struct FamilyWords<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'static str,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
}

/// Decompresses and reads a body.
///
/// # Errors
/// If it is no such message, or larger than a request may be.
pub fn decode(body: &[u8]) -> Result<WriteRequest, DecodeError> {
    let length = snap::raw::decompress_len(body).map_err(|error| DecodeError::Snappy(error.to_string()))?;
    if length > MAX_BYTES {
        return Err(DecodeError::TooLarge(length));
    }
    let bytes = snap::raw::Decoder::new().decompress_vec(body);
    read(bytes.map_err(|error| DecodeError::Snappy(error.to_string()))?)
}

fn read(bytes: Vec<u8>) -> Result<WriteRequest, DecodeError> {
    let mut request = WriteRequest {
        parts: Vec::new(),
        samples: Vec::new(),
        families: Vec::new(),
        histograms: 0,
        exemplars: 0,
        bytes: Vec::new(),
    };
    let mut fields = Fields::of(&bytes, 0..bytes.len());
    while let Some(field) = fields.next()? {
        match (field.number, field.content) {
            (1, Content::Bytes(range)) => request.read_series(&bytes, range)?,
            (3, Content::Bytes(range)) => request.read_family(&bytes, range)?,
            _ => {}
        }
        if request.parts.len().max(request.samples.len()).max(request.families.len()) > MAX_SAMPLES {
            return Err(DecodeError::TooMany);
        }
    }
    request.bytes = bytes;
    Ok(request)
}

fn narrow(range: &Range<usize>) -> Range<u32> {
    // A request has at most 16 MiB.
    range.start as u32..range.end as u32
}

fn wide(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl WriteRequest {
    fn read_series(&mut self, bytes: &[u8], range: Range<usize>) -> Result<(), DecodeError> {
        let first = self.samples.len();
        let mut labels: Option<Range<usize>> = None;
        let mut fields = Fields::of(bytes, range);
        let mut begin = fields.at;
        while let Some(field) = fields.next()? {
            match (field.number, field.content) {
                (1, Content::Bytes(_)) => match &mut labels {
                    None => labels = Some(begin..fields.at),
                    Some(labels) if labels.end == begin => labels.end = fields.at,
                    Some(_) => return Err(DecodeError::Malformed("the labels of a series are not together")),
                },
                (2, Content::Bytes(range)) => self.samples.push(sample(bytes, range)?),
                (3, Content::Bytes(_)) => self.exemplars += 1,
                (4, Content::Bytes(_)) => self.histograms += 1,
                _ => {}
            }
            begin = fields.at;
        }
        let labels = labels.unwrap_or(0..0);
        let key = hash(&bytes[labels.clone()]);
        let samples = first as u32..self.samples.len() as u32;
        self.parts.push(Part { key, labels: narrow(&labels), samples });
        Ok(())
    }

    fn read_family(&mut self, bytes: &[u8], range: Range<usize>) -> Result<(), DecodeError> {
        let mut family = FamilyRange { kind: 0, name: 0..0, help: 0..0, unit: 0..0 };
        let mut fields = Fields::of(bytes, range);
        while let Some(field) = fields.next()? {
            match (field.number, field.content) {
                (1, Content::Varint(kind)) => family.kind = kind,
                (2, Content::Bytes(range)) => family.name = narrow(&range),
                (4, Content::Bytes(range)) => family.help = narrow(&range),
                (5, Content::Bytes(range)) => family.unit = narrow(&range),
                _ => {}
            }
        }
        self.families.push(family);
        Ok(())
    }

    /// Its size once decompressed.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn series(&self) -> impl Iterator<Item = Series<'_>> {
        self.parts.iter().map(|part| Series {
            key: part.key,
            samples: &self.samples[wide(&part.samples)],
            raw: &self.bytes[wide(&part.labels)],
        })
    }

    /// What it says of families; what is no text says nothing.
    pub(super) fn families(&self) -> impl Iterator<Item = FamilyWords<'_>> {
        let text = |range: &Range<u32>| std::str::from_utf8(&self.bytes[wide(range)]).unwrap_or_default();
        self.families.iter().map(move |family| FamilyWords {
            name: text(&family.name),
            kind: match family.kind {
                1 => "counter",
                2 => "gauge",
                3 => "histogram",
                4 => "gaugehistogram",
                5 => "summary",
                6 => "info",
                7 => "stateset",
                _ => "unknown",
            },
            help: text(&family.help),
            unit: text(&family.unit),
        })
    }
}

impl Series<'_> {
    /// Its labels, sorted.
    pub(super) fn labels(&self) -> Result<Labels, BadLabels> {
        let bad = |reason: &str| BadLabels(format!("labels cannot be read: {reason}"));
        let malformed = |error: DecodeError| bad(&error.to_string());
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut fields = Fields::of(self.raw, 0..self.raw.len());
        while let Some(field) = fields.next().map_err(malformed)? {
            let Content::Bytes(range) = field.content else { continue };
            let mut pair = ("", "");
            let mut inner = Fields::of(self.raw, range);
            while let Some(field) = inner.next().map_err(malformed)? {
                let Content::Bytes(range) = field.content else { continue };
                let text = std::str::from_utf8(&self.raw[range]).map_err(|_| bad("they are not UTF-8"))?;
                match field.number {
                    1 => pair.0 = text,
                    2 => pair.1 = text,
                    _ => {}
                }
            }
            pairs.push(pair);
        }
        pairs.sort_unstable();
        if let Some(pair) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(bad(&format!("the name {} occurs twice", crate::ingest::shown(pair[0].0))));
        }
        Ok(Labels::new(pairs))
    }
}

/// The hash of labels as Prometheus sends them: sorted, each name and value once.
pub(super) fn key_of(labels: &Labels) -> u128 {
    let mut bytes = Vec::new();
    for (name, value) in labels.iter() {
        let mut label = Vec::new();
        put(&mut label, 0x0a, name.as_bytes());
        put(&mut label, 0x12, value.as_bytes());
        put(&mut bytes, 0x0a, &label);
    }
    hash(&bytes)
}

/// Keys stand for labels, so nobody outside must be able to find two texts with one key. Nothing else hangs on the seed.
fn hash(bytes: &[u8]) -> u128 {
    static SEED: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(0));
    xxh3_128_with_seed(bytes, *SEED)
}

fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    varint::put(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn sample(bytes: &[u8], range: Range<usize>) -> Result<(i64, f64), DecodeError> {
    let (mut at, mut value) = (0, 0.0);
    let mut fields = Fields::of(bytes, range);
    while let Some(field) = fields.next()? {
        match (field.number, field.content) {
            (1, Content::Fixed64(bits)) => value = f64::from_bits(bits),
            (2, Content::Varint(millis)) => at = millis.cast_signed(),
            _ => {}
        }
    }
    Ok((at, value))
}

/// The fields of a message, in their order.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

struct Field {
    number: u64,
    content: Content,
}

enum Content {
    Varint(u64),
    Fixed64(u64),
    Bytes(Range<usize>),
    /// Four bytes, which no field here is.
    Fixed32,
}

impl<'a> Fields<'a> {
    /// The range lies within the bytes.
    fn of(bytes: &'a [u8], range: Range<usize>) -> Self {
        Self { bytes, at: range.start, end: range.end }
    }

    fn varint(&mut self) -> Result<u64, DecodeError> {
        varint::get(&self.bytes[..self.end], &mut self.at).ok_or(ENDS_EARLY)
    }

    fn take(&mut self, count: usize) -> Result<Range<usize>, DecodeError> {
        let end = self.at.checked_add(count).filter(|end| *end <= self.end).ok_or(ENDS_EARLY)?;
        let start = std::mem::replace(&mut self.at, end);
        Ok(start..end)
    }

    fn next(&mut self) -> Result<Option<Field>, DecodeError> {
        if self.at == self.end {
            return Ok(None);
        }
        let tag = self.varint()?;
        let content = match tag & 7 {
            0 => Content::Varint(self.varint()?),
            1 => {
                let range = self.take(8)?;
                let bits = self.bytes[range].first_chunk().map(|bits| u64::from_le_bytes(*bits));
                Content::Fixed64(bits.ok_or(ENDS_EARLY)?)
            }
            2 => {
                let count = usize::try_from(self.varint()?).map_err(|_| ENDS_EARLY)?;
                Content::Bytes(self.take(count)?)
            }
            5 => {
                self.take(4)?;
                Content::Fixed32
            }
            _ => return Err(DecodeError::Malformed("a field has a type that protobuf no longer has")),
        };
        Ok(Some(Field { number: tag >> 3, content }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bomb_is_refused_before_it_is_decompressed() {
        let mut bomb = Vec::new();
        varint::put(&mut bomb, 1 << 31);
        bomb.extend_from_slice(&[0; 8]);
        assert_eq!(decode(&bomb).unwrap_err(), DecodeError::TooLarge(1 << 31));
        let many = snap::raw::Encoder::new().compress_vec(&[0x0a, 0].repeat(MAX_SAMPLES + 1)).unwrap();
        assert_eq!(decode(&many).unwrap_err(), DecodeError::TooMany);
        assert!(matches!(decode(b"no snappy"), Err(DecodeError::Snappy(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>) {
            if let Ok(request) = read(bytes.clone()) {
                for series in request.series() {
                    let _ = series.labels();
                }
                assert!(request.families().count() <= bytes.len());
            }
            let _ = decode(&bytes);
        }
    }
}
