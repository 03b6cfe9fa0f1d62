//! Bits, most significant first, the last byte padded with zeros.

pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Fewer than eight bits wait here between two calls, so that 64 more always fit.
    waiting: u128,
    count: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, waiting: 0, count: 0 }
    }

    /// Appends the lowest `width` bits of `value`, which has no others; `width` is at most 64.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        self.waiting = self.waiting << width | u128::from(value);
        self.count += width;
        while self.count >= 8 {
            self.count -= 8;
            self.out.push((self.waiting >> self.count) as u8);
        }
        self.waiting &= (1 << self.count) - 1;
    }

    pub(super) fn finish(self) {
        if self.count > 0 {
            self.out.push((self.waiting << (8 - self.count)) as u8);
        }
    }
}

/// Gives `count` numbers of `width` bits each, at most 64, one after the other; `None` if the bytes end early.
pub(super) fn unpack(bytes: &[u8], count: usize, width: u32, mut take: impl FnMut(u64)) -> Option<()> {
    let mut rest = 0;
    // A number of at most 57 bits lies within the eight bytes that begin with its first bit's.
    if (1..=57).contains(&width) {
        let mask = u64::MAX >> (u64::BITS - width);
        while rest < count {
            let bit = rest * width as usize;
            let Some(word) = bytes.get(bit / 8..).and_then(<[u8]>::first_chunk::<8>) else { break };
            take(u64::from_be_bytes(*word) >> (u64::BITS - width - (bit % 8) as u32) & mask);
            rest += 1;
        }
    }
    let bit = rest * width as usize;
    let mut reader = BitReader::new(bytes.get(bit / 8..)?);
    reader.get((bit % 8) as u32)?;
    for _ in rest..count {
        take(reader.get(width)?);
    }
    Some(())
}

pub(super) struct BitReader<'a> {
    bytes: std::slice::Iter<'a, u8>,
    waiting: u128,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes: bytes.iter(), waiting: 0, count: 0 }
    }

    /// The next `width` bits, at most 64; `None` if the bytes end early.
    pub(super) fn get(&mut self, width: u32) -> Option<u64> {
        while self.count < width {
            self.waiting = self.waiting << 8 | u128::from(*self.bytes.next()?);
            self.count += 8;
        }
        self.count -= width;
        let value = (self.waiting >> self.count) as u64;
        self.waiting &= (1 << self.count) - 1;
        Some(value)
    }

    /// Whether nothing is left but padding of zeros.
    pub(super) fn is_finished(&self) -> bool {
        self.bytes.as_slice().is_empty() && self.waiting == 0
    }
}
