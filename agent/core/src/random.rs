//! A small generator of randomness from a seed that was handed in: SplitMix64 (Steele, Lea, Flood: "Fast splittable
//! pseudorandom number generators", OOPSLA 2014). It spreads retries; nothing secret comes from it.

use watchfire_shared::time::Span;

#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    /// A span between two bounds, both included.
    pub(crate) fn between(&mut self, low: Span, high: Span) -> Span {
        let width = high.as_millis().saturating_sub(low.as_millis()).max(0) as u64 + 1;
        low + Span::from_millis((self.next() % width) as i64)
    }
}
