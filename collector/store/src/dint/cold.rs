//! Chunks for blocks on disk: longer columns, encoded once and read rarely, so that a better and slower code pays.
//!
//! Decimals go through `pco` as integers where that is shorter than packed differences, other floats as floats where it
//! is shorter than XOR. Both take some hundred values to pay for their tables.

use pco::ChunkConfig;
use pco::data_types::Number;
use pco::wrapped::{FileCompressor, FileDecompressor};
use watchfire_shared::frame::varint;

use super::{POWERS, TAG_COLD_DECIMALS, TAG_COLD_FLOATS};

/// Below this many values packed differences always win.
const LEAST_VALUES: usize = 48;
/// `pco`'s own default: the next levels cost twice the time for a hundredth of the size.
const LEVEL: usize = 8;

/// Appends one chunk. `values` has at least one value.
pub(crate) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let start = out.len();
    super::encode(values, out);
    match out.get(start) {
        Some(&(super::TAG_CONSTANT | super::TAG_INTEGER)) => {}
        _ if values.len() < LEAST_VALUES => {}
        Some(&super::TAG_XOR) => keep_shorter(start, out, |cold| {
            cold.push(TAG_COLD_FLOATS);
            compress(values, cold)
        }),
        _ => keep_shorter(start, out, |cold| {
            let (exponent, scaled) = super::decimals(values)?;
            cold.extend_from_slice(&[TAG_COLD_DECIMALS, exponent]);
            compress(&scaled, cold)
        }),
    }
}

fn keep_shorter(start: usize, out: &mut Vec<u8>, other: impl FnOnce(&mut Vec<u8>) -> Option<()>) {
    let mut cold = Vec::new();
    if other(&mut cold).is_some() && cold.len() < out.len() - start {
        out.truncate(start);
        out.append(&mut cold);
    }
}

fn compress<T: Number>(values: &[T], out: &mut Vec<u8>) -> Option<()> {
    let config = ChunkConfig::default().with_compression_level(LEVEL);
    let file = FileCompressor::default();
    file.write_header(&mut *out).ok()?;
    let mut chunk = file.chunk_compressor(values, &config).ok()?;
    chunk.write_meta(&mut *out).ok()?;
    // A reader expects one page, which is what so few values give.
    (chunk.n_per_page().len() == 1).then_some(())?;
    chunk.write_page(0, &mut *out).ok()?;
    Some(())
}

fn decompress<T: Number + Default>(bytes: &[u8], count: usize) -> Option<Vec<T>> {
    let (file, rest) = FileDecompressor::new(bytes).ok()?;
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).ok()?;
    let mut page = chunk.page_decompressor(rest, count).ok()?;
    let mut values = vec![T::default(); count];
    let progress = page.read(&mut values).ok()?;
    (progress.finished && page.into_src().is_empty()).then_some(values)
}

pub(super) fn decode_integer(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let mut at = 0;
    let value = varint::unzigzag(varint::get(bytes, &mut at)?) as f64;
    out.extend(std::iter::repeat_n(value, count));
    (at == bytes.len()).then_some(())
}

pub(super) fn decode_floats(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    out.append(&mut decompress::<f64>(bytes, count)?);
    Some(())
}

pub(super) fn decode_decimals(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let (exponent, rest) = bytes.split_first()?;
    let power = POWERS.get(usize::from(*exponent))?;
    out.extend(decompress::<i64>(rest, count)?.into_iter().map(|value| value as f64 / power));
    Some(())
}
