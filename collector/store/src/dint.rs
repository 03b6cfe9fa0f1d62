//! Chunks of values: a constant, exact decimals as packed differences, or XOR of neighbours.
//!
//! Host metrics are integers or short decimals. Scaled to integers without loss, differenced and packed in groups with
//! one width, they take less than half of what XOR of floats takes. Every float comes back bit for bit, whatever it is.
//! The number of values is kept by whoever keeps the chunk. `FORMAT.md` has the bytes.
//!
//! Sources: frame of reference (Goldstein et al., "Compressing Relations and Indexes", 1998); XOR of floats (Pelkonen
//! et al., "Gorilla", VLDB 2015).

mod bits;

mod xor;

pub(crate) mod cold;

#[cfg(test)]
mod tests;

use watchfire_shared::frame::varint;
use watchfire_shared::round::round;

use bits::BitWriter;

const TAG_CONSTANT: u8 = 0;
/// A constant that is an integer.
const TAG_INTEGER: u8 = 1;
/// The tag of differences of order 1; order 2 is the next.
const TAG_ORDER_1: u8 = 2;
/// In blocks only, as the decimals below.
const TAG_COLD_FLOATS: u8 = 8;
const TAG_XOR: u8 = 9;
const TAG_COLD_DECIMALS: u8 = 10;

const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Scaled values stay below 2^53, where every integer is a float.
const MAX_SCALED: f64 = 9.0e15;
/// Differences that share one minimum and one width.
const GROUP: usize = 64;
/// Zero bits that may be stripped; page-sized gauges have 12, more than 40 cannot be common to values below 2^53 that
/// differ at all usefully.
const MAX_SHIFT: u32 = 40;

/// Appends one chunk. `values` has at least one value.
pub(crate) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let Some(first) = values.first() else { return };
    if values.iter().all(|value| value.to_bits() == first.to_bits()) {
        encode_constant(*first, out);
        return;
    }
    match decimals(values) {
        Some((exponent, scaled)) => encode_decimals(exponent, scaled, out),
        None => {
            out.push(TAG_XOR);
            xor::encode(values, out);
        }
    }
}

/// Most constants are small integers: a byte or two instead of eight.
fn encode_constant(value: f64, out: &mut Vec<u8>) {
    match decimals(&[value]) {
        Some((0, scaled)) => {
            out.push(TAG_INTEGER);
            varint::put(out, varint::zigzag(scaled[0]));
        }
        _ => {
            out.push(TAG_CONSTANT);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends the `count` values of one chunk; `None` if the bytes are not exactly that, and `out` is then of no use.
pub(crate) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let (tag, rest) = bytes.split_first()?;
    match *tag {
        TAG_CONSTANT => {
            let value = f64::from_le_bytes(rest.try_into().ok()?);
            out.extend(std::iter::repeat_n(value, count));
            Some(())
        }
        tag if tag == TAG_ORDER_1 || tag == TAG_ORDER_1 + 1 => {
            decode_decimals(usize::from(tag - TAG_ORDER_1) + 1, rest, count, out)
        }
        TAG_XOR => xor::decode(rest, count, out),
        TAG_INTEGER => cold::decode_integer(rest, count, out),
        TAG_COLD_FLOATS => cold::decode_floats(rest, count, out),
        TAG_COLD_DECIMALS => cold::decode_decimals(rest, count, out),
        _ => None,
    }
}

/// The smallest exponent at which every value is an integer that divides back to its very bits, and those integers.
fn decimals(values: &[f64]) -> Option<(u8, Vec<i64>)> {
    // NaN and -0.0 are no integers, yet would come back as 0; infinities fail the comparison below.
    if values.iter().any(|value| value.is_nan() || (*value == 0.0 && value.is_sign_negative())) {
        return None;
    }
    let mut scaled = Vec::with_capacity(values.len());
    let mut exponent = 0;
    'exponents: while let Some(power) = POWERS.get(exponent) {
        scaled.clear();
        for value in values {
            let integer = round(value * power);
            if integer.abs() > MAX_SCALED || (integer / power).to_bits() != value.to_bits() {
                exponent += 1;
                continue 'exponents;
            }
            scaled.push(integer as i64);
        }
        return Some((exponent as u8, scaled));
    }
    None
}

fn encode_decimals(exponent: u8, mut values: Vec<i64>, out: &mut Vec<u8>) {
    let common = values.iter().fold(0, |bits, value| bits | value);
    let shift = common.trailing_zeros().min(MAX_SHIFT);
    values.iter_mut().for_each(|value| *value >>= shift);
    difference(&mut values, 1);
    let mut second = values.clone();
    difference(&mut second, 2);
    let (differences, order) = if packed_len(&second, 2) < packed_len(&values, 1) { (second, 2) } else { (values, 1) };
    out.extend_from_slice(&[TAG_ORDER_1 + order - 1, exponent, shift as u8]);
    pack(&differences, usize::from(order), out);
}

/// Takes differences from the place `order` on, in place.
fn difference(values: &mut [i64], order: usize) {
    for i in (order..values.len()).rev() {
        values[i] = values[i].wrapping_sub(values[i - 1]);
    }
}

/// A group's minimum, and the bits that the distance of each to it takes.
fn frame_of(group: &[i64]) -> (i64, u32) {
    let least = group.iter().copied().min().unwrap_or_default();
    let most = group.iter().copied().max().unwrap_or_default();
    (least, u64::BITS - (most.wrapping_sub(least) as u64).leading_zeros())
}

/// How many bytes [`pack`] appends.
fn packed_len(values: &[i64], order: usize) -> usize {
    let (head, differences) = values.split_at(order.min(values.len()));
    let whole = head.iter().map(|value| varint::len(varint::zigzag(*value)));
    let groups = differences.chunks(GROUP).map(|group| {
        let (least, width) = frame_of(group);
        varint::len(varint::zigzag(least)) + 1 + (group.len() * width as usize).div_ceil(8)
    });
    whole.sum::<usize>() + groups.sum::<usize>()
}

fn pack(values: &[i64], order: usize, out: &mut Vec<u8>) {
    let (head, differences) = values.split_at(order.min(values.len()));
    head.iter().for_each(|value| varint::put(out, varint::zigzag(*value)));
    for group in differences.chunks(GROUP) {
        let (least, width) = frame_of(group);
        varint::put(out, varint::zigzag(least));
        out.push(width as u8);
        let mut bits = BitWriter::new(out);
        group.iter().for_each(|value| bits.put(value.wrapping_sub(least) as u64, width));
        bits.finish();
    }
}

fn decode_decimals(order: usize, bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let ([exponent, shift], _) = bytes.split_first_chunk::<2>()?;
    let power = POWERS.get(usize::from(*exponent))?;
    if u32::from(*shift) > MAX_SHIFT || count < order {
        return None;
    }
    let mut at = 2;
    let mut values = Vec::with_capacity(count);
    for _ in 0..order {
        values.push(varint::unzigzag(varint::get(bytes, &mut at)?));
    }
    while values.len() < count {
        let size = (count - values.len()).min(GROUP);
        let least = varint::unzigzag(varint::get(bytes, &mut at)?);
        let width = u32::from(*bytes.get(at)?);
        let end = at + 1 + (size * width as usize).div_ceil(8);
        if width > u64::BITS {
            return None;
        }
        bits::unpack(bytes.get(at + 1..end)?, size, width, |value| values.push(least.wrapping_add(value as i64)))?;
        at = end;
    }
    for from in (1..=order).rev() {
        let mut sum = values[from - 1];
        for value in &mut values[from..] {
            sum = sum.wrapping_add(*value);
            *value = sum;
        }
    }
    out.reserve(count);
    if *exponent == 0 {
        out.extend(values.into_iter().map(|value| (value << shift) as f64));
    } else {
        out.extend(values.into_iter().map(|value| (value << shift) as f64 / power));
    }
    (at == bytes.len()).then_some(())
}
