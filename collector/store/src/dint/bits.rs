//! Bits, most significant first, the last byte padded with zeros.

pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Fewer than 64 bits wait here between two calls, so that 64 more always fit.
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
        if self.count >= u64::BITS {
            self.count -= u64::BITS;
            self.out.extend_from_slice(&((self.waiting >> self.count) as u64).to_be_bytes());
            self.waiting &= (1 << self.count) - 1;
        }
    }

    pub(super) fn finish(self) {
        if self.count > 0 {
            let rest = (self.waiting << (u64::BITS - self.count)) as u64;
            self.out.extend_from_slice(&rest.to_be_bytes()[..self.count.div_ceil(8) as usize]);
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
    bytes: &'a [u8],
    /// Bits that were read and not taken: fewer than 64 between two calls.
    waiting: u128,
    count: u32,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, waiting: 0, count: 0 }
    }

    /// The next `width` bits, at most 64; `None` if the bytes end early.
    pub(super) fn get(&mut self, width: u32) -> Option<u64> {
        if self.count < width {
            self.refill(width)?;
        }
        self.count -= width;
        let value = (self.waiting >> self.count) as u64;
        self.waiting &= (1 << self.count) - 1;
        Some(value)
    }

    /// Reads eight bytes, or as many as are left.
    fn refill(&mut self, width: u32) -> Option<()> {
        if let Some((word, rest)) = self.bytes.split_first_chunk() {
            self.waiting = self.waiting << u64::BITS | u128::from(u64::from_be_bytes(*word));
            self.count += u64::BITS;
            self.bytes = rest;
            return Some(());
        }
        while self.count < width {
            let (byte, rest) = self.bytes.split_first()?;
            self.waiting = self.waiting << 8 | u128::from(*byte);
            self.count += 8;
            self.bytes = rest;
        }
        Some(())
    }

    /// Whether nothing is left but padding of zeros, less than a byte.
    pub(super) fn is_finished(&self) -> bool {
        self.bytes.is_empty() && self.count < 8 && self.waiting == 0
    }
}
