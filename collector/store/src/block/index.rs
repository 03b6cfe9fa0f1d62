//! The index over a block's series: texts, which series have which label, and each series' labels and groups.
//!
//! A query reads texts and names whole, then the postings that its matchers ask for and the pages of the series that
//! they select.

use std::collections::{BTreeMap, BTreeSet};

use roaring::RoaringBitmap;
use watchfire_shared::frame::varint;
use watchfire_shared::labels::{Labels, Text};
use watchfire_shared::matcher::{MatchOp, Matcher};

use super::{Block, Fault};
use crate::codec::Reader;

/// Series that are read together: a page is a few KiB.
pub(super) const PAGE: usize = 128;
/// What the list of pages has of each: length and checksum.
pub(super) const PAGE_ENTRY_BYTES: u64 = 8;

/// A series as it was found.
pub(super) struct Series {
    pub(super) number: u32,
    pub(super) labels: Labels,
    /// Numbers of the groups that have columns of it, rising.
    pub(super) groups: Vec<u32>,
}

/// The sections of an index, encoded.
#[derive(Default)]
pub(super) struct Encoded {
    pub(super) symbols: Vec<u8>,
    pub(super) names: Vec<u8>,
    pub(super) postings: Vec<u8>,
    pub(super) series_pages: Vec<u8>,
    pub(super) page_list: Vec<u8>,
}

/// Encodes the index over the series, which are numbered as they stand.
pub(super) fn encode(series: &[(Labels, Vec<u32>)]) -> Encoded {
    let texts: BTreeSet<&str> =
        series.iter().flat_map(|(labels, _)| labels.iter()).flat_map(<[&str; 2]>::from).collect();
    let mut out = Encoded::default();
    put_symbols(&texts, &mut out.symbols);
    let numbers: BTreeMap<&str, u32> = texts.into_iter().zip(0..).collect();
    let mut names: BTreeMap<u32, BTreeMap<u32, RoaringBitmap>> = BTreeMap::new();
    for ((labels, _), number) in series.iter().zip(0..) {
        for (name, value) in labels.iter() {
            names.entry(numbers[name]).or_default().entry(numbers[value]).or_default().insert(number);
        }
    }
    put_names(&names, &mut out);
    for page in series.chunks(PAGE) {
        let start = out.series_pages.len();
        page.iter().for_each(|(labels, groups)| put_series(labels, groups, &numbers, &mut out.series_pages));
        let page = &out.series_pages[start..];
        let length = u32::try_from(page.len()).expect("a page of bounded labels stays far below 4 GiB");
        out.page_list.extend_from_slice(&length.to_le_bytes());
        out.page_list.extend_from_slice(&crc32fast::hash(page).to_le_bytes());
    }
    out
}

fn put_symbols(texts: &BTreeSet<&str>, out: &mut Vec<u8>) {
    let mut end = 0u32;
    out.extend_from_slice(&(texts.len() as u32).to_le_bytes());
    for text in texts {
        end += text.len() as u32;
        out.extend_from_slice(&end.to_le_bytes());
    }
    texts.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
}

fn put_names(names: &BTreeMap<u32, BTreeMap<u32, RoaringBitmap>>, out: &mut Encoded) {
    varint::put(&mut out.names, names.len() as u64);
    for (name, values) in names {
        varint::put(&mut out.names, u64::from(*name));
        varint::put(&mut out.names, values.len() as u64);
        let mut last = 0;
        for (value, bitmap) in values {
            let start = out.postings.len();
            bitmap.serialize_into(&mut out.postings).expect("writing to memory does not fail");
            let posting = &out.postings[start..];
            varint::put(&mut out.names, u64::from(value - last));
            varint::put(&mut out.names, posting.len() as u64);
            out.names.extend_from_slice(&crc32fast::hash(posting).to_le_bytes());
            last = *value;
        }
    }
}

fn put_series(labels: &Labels, groups: &[u32], numbers: &BTreeMap<&str, u32>, out: &mut Vec<u8>) {
    varint::put(out, labels.len() as u64);
    for (name, value) in labels.iter() {
        varint::put(out, u64::from(numbers[name]));
        varint::put(out, u64::from(numbers[value]));
    }
    varint::put(out, groups.len() as u64);
    let mut last = 0;
    for group in groups {
        varint::put(out, u64::from(group - last));
        last = *group;
    }
}

/// The texts of a block, sorted.
struct Symbols {
    bytes: Vec<u8>,
    count: usize,
}

impl Symbols {
    fn new(bytes: Vec<u8>) -> Option<Self> {
        let count = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
        let symbols = Self { bytes, count };
        let whole = symbols.texts()? + symbols.end(count)?;
        (whole == symbols.bytes.len()).then_some(symbols)
    }

    /// Where the texts begin.
    fn texts(&self) -> Option<usize> {
        self.count.checked_mul(4)?.checked_add(4)
    }

    /// Where text `number - 1` ends.
    fn end(&self, number: usize) -> Option<usize> {
        if number == 0 {
            return Some(0);
        }
        let bytes = self.bytes.get(number * 4..number * 4 + 4)?;
        bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes) as usize)
    }

    fn get(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        if number >= self.count {
            return None;
        }
        let texts = self.texts()?;
        let bytes = self.bytes.get(texts + self.end(number)?..texts + self.end(number + 1)?)?;
        std::str::from_utf8(bytes).ok()
    }
}

/// A label's value: its text, and where the numbers of its series are.
struct Value {
    symbol: u32,
    offset: usize,
    length: usize,
    checksum: u32,
}

struct Name {
    symbol: u32,
    /// Sorted by symbol, thus by text.
    values: Vec<Value>,
}

/// What every query needs of an index.
pub(super) struct Index {
    symbols: Symbols,
    names: Vec<Name>,
    /// Length and checksum of each page of series.
    page_list: Vec<u8>,
}

impl Index {
    pub(super) fn read(block: &Block) -> Result<Self, Fault> {
        let footer = &block.footer;
        let section =
            |section: &super::footer::Section| block.read_checked(section.offset, section.length, section.checksum);
        let damaged = |at| Fault::Damaged { at, what: "its index is malformed" };
        let symbols = Symbols::new(section(&footer.symbols)?).ok_or(damaged(footer.symbols.offset))?;
        let names = decode_names(&section(&footer.names)?).ok_or(damaged(footer.names.offset))?;
        Ok(Self { symbols, names, page_list: section(&footer.page_list)? })
    }

    fn text(&self, block: &Block, symbol: u32) -> Result<&str, Fault> {
        let what = "it refers to a text that is not there";
        self.symbols.get(symbol).ok_or(Fault::Damaged { at: block.footer.symbols.offset, what })
    }

    /// The numbers of the series that satisfy every matcher.
    pub(super) fn select(&self, block: &Block, matchers: &[Matcher]) -> Result<RoaringBitmap, Fault> {
        let mut selected = RoaringBitmap::new();
        selected.insert_range(0..block.footer.series);
        // What names one value selects few series, so it goes first.
        let is_lookup = |matcher: &&Matcher| matcher.op == MatchOp::Equal && !matcher.value.is_empty();
        let lookups = matchers.iter().filter(is_lookup);
        for matcher in lookups.chain(matchers.iter().filter(|matcher| !is_lookup(matcher))) {
            if selected.is_empty() {
                break;
            }
            self.narrow(block, &mut selected, matcher)?;
        }
        Ok(selected)
    }

    fn narrow(&self, block: &Block, selected: &mut RoaringBitmap, matcher: &Matcher) -> Result<(), Fault> {
        // Series without the label satisfy a matcher of the empty text too: then the values that do not are taken away.
        let absent = matcher.matches("");
        let mut union = RoaringBitmap::new();
        let mut values = self.values_of(block, &matcher.name)?;
        if matcher.op == MatchOp::Equal && !absent {
            // They are sorted by text, and one at most has this one.
            let is_before = |value: &Value| self.symbols.get(value.symbol).is_some_and(|text| text < &*matcher.value);
            values = &values[values.partition_point(is_before)..];
            values = &values[..values.len().min(1)];
        }
        for value in values {
            if matcher.matches(self.text(block, value.symbol)?) != absent {
                union |= self.posting(block, value)?;
            }
        }
        if absent {
            *selected -= union;
        } else {
            *selected &= union;
        }
        Ok(())
    }

    fn values_of(&self, block: &Block, name: &str) -> Result<&[Value], Fault> {
        for own in &self.names {
            if self.text(block, own.symbol)? == name {
                return Ok(&own.values);
            }
        }
        Ok(&[])
    }

    fn posting(&self, block: &Block, value: &Value) -> Result<RoaringBitmap, Fault> {
        let at = block.footer.postings.offset + value.offset as u64;
        let bytes = block.read_checked(at, value.length, value.checksum)?;
        RoaringBitmap::deserialize_from(&*bytes).map_err(|_| Fault::Damaged { at, what: "a posting is malformed" })
    }

    /// Reads every posting.
    pub(super) fn check_postings(&self, block: &Block) -> Result<(), Fault> {
        self.names.iter().flat_map(|name| &name.values).try_for_each(|value| self.posting(block, value).map(drop))
    }

    /// The series of these numbers, in their order.
    pub(super) fn series(&self, block: &Block, numbers: &RoaringBitmap) -> Result<Vec<Series>, Fault> {
        let section = block.footer.series_pages;
        let damaged = |at| Fault::Damaged { at, what: "its list of series is malformed" };
        let mut known: BTreeMap<u32, Text> = BTreeMap::new();
        let mut found = Vec::new();
        let mut at = section.offset;
        for (page, first) in self.page_list.chunks_exact(PAGE_ENTRY_BYTES as usize).zip((0u32..).step_by(PAGE)) {
            let length = u32::from_le_bytes([page[0], page[1], page[2], page[3]]) as usize;
            let checksum = u32::from_le_bytes([page[4], page[5], page[6], page[7]]);
            let wanted = numbers.range(first..first.saturating_add(PAGE as u32)).count();
            if wanted > 0 {
                let bytes = block.read_checked(at, length, checksum)?;
                self.decode_page(&bytes, first, numbers, &mut known, &mut found).ok_or(damaged(at))?;
            }
            at += length as u64;
        }
        if found.len() as u64 == numbers.len() { Ok(found) } else { Err(damaged(section.offset)) }
    }

    fn decode_page(
        &self,
        bytes: &[u8],
        first: u32,
        numbers: &RoaringBitmap,
        known: &mut BTreeMap<u32, Text>,
        found: &mut Vec<Series>,
    ) -> Option<()> {
        let mut reader = Reader::new(bytes);
        let mut number = first;
        while !reader.is_empty() {
            let mut symbols = Vec::new();
            for _ in 0..reader.varint()? {
                symbols.push((reader.varint32()?, reader.varint32()?));
            }
            let mut groups = Vec::new();
            let mut last = 0u32;
            for _ in 0..reader.varint()? {
                last = last.checked_add(reader.varint32()?)?;
                groups.push(last);
            }
            if numbers.contains(number) {
                let mut text = |symbol: u32| -> Option<Text> {
                    if let Some(text) = known.get(&symbol) {
                        return Some(text.clone());
                    }
                    let text: Text = self.symbols.get(symbol)?.into();
                    known.insert(symbol, text.clone());
                    Some(text)
                };
                let pairs = symbols.into_iter().map(|(name, value)| Some((text(name)?, text(value)?)));
                let labels = Labels::new(pairs.collect::<Option<Vec<_>>>()?);
                found.push(Series { number, labels, groups });
            }
            number = number.checked_add(1)?;
        }
        Some(())
    }
}

fn decode_names(bytes: &[u8]) -> Option<Vec<Name>> {
    let mut reader = Reader::new(bytes);
    let mut names = Vec::new();
    let mut offset = 0usize;
    for _ in 0..reader.varint()? {
        let symbol = reader.varint32()?;
        let mut values = Vec::new();
        let mut last = 0u32;
        for _ in 0..reader.varint()? {
            last = last.checked_add(reader.varint32()?)?;
            let length = usize::try_from(reader.varint()?).ok()?;
            values.push(Value { symbol: last, offset, length, checksum: reader.u32()? });
            offset = offset.checked_add(length)?;
        }
        names.push(Name { symbol, values });
    }
    reader.is_empty().then_some(names)
}
