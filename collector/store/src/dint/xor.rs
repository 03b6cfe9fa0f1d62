//! Values that are no short decimals, each as what differs from the one before it (the value part of Gorilla).

use super::bits::{BitReader, BitWriter};

/// Leading zeros are kept in five bits.
const MAX_LEADING: u32 = 31;

pub(super) fn encode(values: &[f64], out: &mut Vec<u8>) {
    let mut bits = BitWriter::new(out);
    let mut before: Option<u64> = None;
    let mut window: Option<(u32, u32)> = None;
    for value in values {
        let value = value.to_bits();
        let Some(last) = before.replace(value) else {
            bits.put(value, 64);
            continue;
        };
        let xor = value ^ last;
        if xor == 0 {
            bits.put(0, 1);
            continue;
        }
        let (leading, trailing) = (xor.leading_zeros().min(MAX_LEADING), xor.trailing_zeros());
        match window {
            Some((lead, trail)) if leading >= lead && trailing >= trail => {
                bits.put(0b10, 2);
                bits.put(xor >> trail, 64 - lead - trail);
            }
            _ => {
                let length = 64 - leading - trailing;
                bits.put(0b11, 2);
                bits.put(u64::from(leading), 5);
                bits.put(u64::from(length - 1), 6);
                bits.put(xor >> trailing, length);
                window = Some((leading, trailing));
            }
        }
    }
    bits.finish();
}

pub(super) fn decode(bytes: &[u8], count: usize, out: &mut Vec<f64>) -> Option<()> {
    let mut bits = BitReader::new(bytes);
    let mut value = bits.get(64)?;
    let mut window: Option<(u32, u32)> = None;
    out.push(f64::from_bits(value));
    for _ in 1..count {
        if bits.get(1)? == 1 {
            if bits.get(1)? == 1 {
                let (leading, length) = (bits.get(5)? as u32, bits.get(6)? as u32 + 1);
                window = Some((leading, 64u32.checked_sub(leading + length)?));
            }
            let (leading, trailing) = window?;
            value ^= bits.get(64 - leading - trailing)? << trailing;
        }
        out.push(f64::from_bits(value));
    }
    bits.is_finished().then_some(())
}
