//! The values of one tick: a bitmap of what changed, then each changed value as a decimal difference.
//!
//! Host metrics are integers or short decimals. A value `x` is written as `m = x * 10^e` where that is exact, less the
//! same for the value before it; the exponent `e` stays with the series until it has to change. Everything else goes as
//! its eight bytes, so every float comes back bit for bit.
//!
//! ```text
//! body    = bitmap of ceil(n / 8) bytes (series i is bit i mod 8 of byte i / 8), then one V per set bit, in order
//! V > 0   = V - 1 is zigzag(m - l), with l the value before at the same exponent
//! V = 0   = a byte follows: 255, then eight bytes of the float, little-endian;
//!           or the exponent from here on, 0..=9, at most once per value, then the value's V
//! ```
//!
//! Protocol 1.0 has in place of these V a coding of its own:
//!
//! ```text
//! V even  = V / 2 is zigzag(m - l)
//! V = 1   = eight bytes of the float follow
//! V odd   = the exponent becomes (V - 3) / 2, at most once per value; the value's V follows
//! ```
//!
//! Both sides keep value and exponent per series. A keyframe sets every bit and starts from 0 and exponent 0 on both.

use super::varint;
use crate::round::round;

const POWERS: [f64; 10] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Scaled integers stay below this, so that differences of two are exact in 53 bits.
const MAX_SCALED: f64 = 4e15;

/// Behind a V of 0: the float itself follows.
const RAW: u8 = 255;

/// How the values of a body are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Coding {
    /// Protocol 1.0: with a bit of each V to tell differences from the rest.
    Flagged,
    #[default]
    Short,
}

/// What stands in a body for one value.
enum Word {
    Difference(i64),
    Raw,
    Exponent(u8),
}

/// Why a body is refused. The decoder's state is undefined afterwards: the stream needs a keyframe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body ends early")]
    Truncated,
    #[error("the body has bytes to spare")]
    TrailingBytes,
    #[error("an exponent is above 9 or changes twice")]
    BadExponent,
    #[error("a difference refers to a value that has none")]
    BadDifference,
    #[error("a keyframe leaves a series out")]
    IncompleteKeyframe,
}

/// What both sides remember of a stream: the last value and exponent of each series.
#[derive(Clone, Default, Debug, PartialEq)]
pub struct ValueState {
    last: Vec<f64>,
    exponent: Vec<u8>,
}

impl ValueState {
    /// Grows or shrinks to `n` series; new ones start from 0 and exponent 0.
    pub fn resize(&mut self, n: usize) {
        self.last.resize(n, 0.0);
        self.exponent.resize(n, 0);
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.last.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// The last value of each series.
    #[must_use]
    pub fn values(&self) -> &[f64] {
        &self.last
    }

    /// The sticky exponent of each series, 0..=9.
    #[must_use]
    pub fn exponents(&self) -> &[u8] {
        &self.exponent
    }

    /// A state as [`values`](Self::values) and [`exponents`](Self::exponents) showed it, to resume a stream from a file.
    ///
    /// `None` if their lengths differ or an exponent is above 9.
    #[must_use]
    pub fn from_parts(values: Vec<f64>, exponents: Vec<u8>) -> Option<Self> {
        let sound = values.len() == exponents.len() && exponents.iter().all(|e| usize::from(*e) < POWERS.len());
        sound.then_some(Self { last: values, exponent: exponents })
    }

    fn reset(&mut self) {
        self.last.fill(0.0);
        self.exponent.fill(0);
    }

    /// Appends the body for `values` (one per series) to `out`.
    ///
    /// The state must have been [resized](Self::resize) to the number of values.
    pub fn encode(&mut self, values: &[f64], keyframe: bool, out: &mut Vec<u8>) {
        self.encode_as(Coding::Short, values, keyframe, out);
    }

    /// The same, in the coding that the reader knows.
    pub fn encode_as(&mut self, coding: Coding, values: &[f64], keyframe: bool, out: &mut Vec<u8>) {
        assert_eq!(values.len(), self.len(), "one value per series of the state");
        if keyframe {
            self.reset();
        }
        let bitmap = out.len();
        out.resize(bitmap + values.len().div_ceil(8), 0);
        for (i, value) in values.iter().enumerate() {
            if keyframe || value.to_bits() != self.last[i].to_bits() {
                out[bitmap + i / 8] |= 1 << (i % 8);
                self.encode_value(i, *value, coding, out);
            }
        }
    }

    fn encode_value(&mut self, i: usize, value: f64, coding: Coding, out: &mut Vec<u8>) {
        let (last, current) = (self.last[i], self.exponent[i]);
        self.last[i] = value;
        let exponent = match scaled(value, current) {
            Some(_) if usable_base(last, current) => Some(current),
            _ => (0..POWERS.len() as u8).find(|e| scaled(value, *e).is_some()).filter(|e| usable_base(last, *e)),
        };
        let Some(exponent) = exponent else {
            put_word(out, Word::Raw, coding);
            out.extend_from_slice(&value.to_le_bytes());
            return;
        };
        if exponent != current {
            put_word(out, Word::Exponent(exponent), coding);
            self.exponent[i] = exponent;
        }
        let scaled = scaled(value, exponent).unwrap_or_default();
        put_word(out, Word::Difference(scaled - base(last, exponent)), coding);
    }

    /// Reads one body of as many series as the state has.
    ///
    /// # Errors
    /// If the body is not exactly one body; the state must then be given a keyframe before it is used again.
    pub fn decode(&mut self, body: &[u8], keyframe: bool, coding: Coding) -> Result<(), BodyError> {
        if keyframe {
            self.reset();
        }
        let n = self.len();
        let (bitmap, values) = body.split_at_checked(n.div_ceil(8)).ok_or(BodyError::Truncated)?;
        if !n.is_multiple_of(8) && bitmap.last().is_some_and(|byte| byte >> (n % 8) != 0) {
            return Err(BodyError::TrailingBytes);
        }
        let mut at = 0;
        for i in 0..n {
            if bitmap[i / 8] >> (i % 8) & 1 == 1 {
                self.last[i] = self.decode_value(i, values, &mut at, coding)?;
            } else if keyframe {
                return Err(BodyError::IncompleteKeyframe);
            }
        }
        if at == values.len() { Ok(()) } else { Err(BodyError::TrailingBytes) }
    }

    fn decode_value(&mut self, i: usize, bytes: &[u8], at: &mut usize, coding: Coding) -> Result<f64, BodyError> {
        let mut word = word(bytes, at, coding)?;
        if let Word::Exponent(exponent) = word {
            self.exponent[i] =
                Some(exponent).filter(|e| usize::from(*e) < POWERS.len()).ok_or(BodyError::BadExponent)?;
            word = self::word(bytes, at, coding)?;
        }
        let difference = match word {
            Word::Raw => {
                let raw = bytes.get(*at..*at + 8).and_then(|raw| raw.first_chunk::<8>()).ok_or(BodyError::Truncated)?;
                *at += 8;
                return Ok(f64::from_le_bytes(*raw));
            }
            Word::Exponent(_) => return Err(BodyError::BadExponent),
            Word::Difference(difference) => difference,
        };
        let exponent = self.exponent[i];
        if !usable_base(self.last[i], exponent) {
            return Err(BodyError::BadDifference);
        }
        let scaled = base(self.last[i], exponent).wrapping_add(difference);
        Ok(scaled as f64 / POWERS[usize::from(exponent)])
    }
}

#[inline]
fn put_word(out: &mut Vec<u8>, word: Word, coding: Coding) {
    match (coding, word) {
        (Coding::Short, Word::Difference(difference)) => varint::put(out, varint::zigzag(difference) + 1),
        (Coding::Short, Word::Raw) => out.extend([0, RAW]),
        (Coding::Short, Word::Exponent(exponent)) => out.extend([0, exponent]),
        (Coding::Flagged, Word::Difference(difference)) => varint::put(out, varint::zigzag(difference) << 1),
        (Coding::Flagged, Word::Raw) => out.push(1),
        (Coding::Flagged, Word::Exponent(exponent)) => varint::put(out, u64::from(exponent) * 2 + 3),
    }
}

#[inline]
fn word(bytes: &[u8], at: &mut usize, coding: Coding) -> Result<Word, BodyError> {
    let word = varint::get(bytes, at).ok_or(BodyError::Truncated)?;
    Ok(match coding {
        Coding::Short if word > 0 => Word::Difference(varint::unzigzag(word - 1)),
        Coding::Short => {
            let kind = *bytes.get(*at).ok_or(BodyError::Truncated)?;
            *at += 1;
            if kind == RAW { Word::Raw } else { Word::Exponent(kind) }
        }
        Coding::Flagged if word.is_multiple_of(2) => Word::Difference(varint::unzigzag(word >> 1)),
        Coding::Flagged if word == 1 => Word::Raw,
        Coding::Flagged => Word::Exponent(u8::try_from((word - 3) / 2).map_err(|_| BodyError::BadExponent)?),
    })
}

/// `value * 10^exponent` if that is an integer below the limit which divides back to the very same bits.
fn scaled(value: f64, exponent: u8) -> Option<i64> {
    let power = POWERS[usize::from(exponent)];
    let scaled = round(value * power);
    // The comparison by bits also refuses NaN and -0.0, which would come back as something else.
    (scaled.abs() < MAX_SCALED && (scaled as i64 as f64 / power).to_bits() == value.to_bits()).then_some(scaled as i64)
}

/// Whether differences may refer to `last` at this exponent.
fn usable_base(last: f64, exponent: u8) -> bool {
    (last * POWERS[usize::from(exponent)]).abs() < MAX_SCALED
}

fn base(last: f64, exponent: u8) -> i64 {
    round(last * POWERS[usize::from(exponent)]) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = f64> {
        prop_oneof![
            any::<u64>().prop_map(f64::from_bits),
            any::<i32>().prop_map(f64::from),
            (any::<i32>(), 0usize..10).prop_map(|(m, e)| f64::from(m) / POWERS[e]),
            prop::sample::select(vec![
                0.0,
                -0.0,
                1.0,
                4e15,
                9e15,
                f64::INFINITY,
                f64::NAN,
                crate::sample::stale_nan(),
                5e-324
            ]),
        ]
    }

    proptest! {
        #[test]
        fn every_float_comes_back_bit_for_bit(ticks in prop::collection::vec(prop::collection::vec(value(), 9), 1..20)) {
            let (mut sender, mut receiver) = (ValueState::default(), ValueState::default());
            sender.resize(9);
            receiver.resize(9);
            for (i, values) in ticks.iter().enumerate() {
                let mut body = Vec::new();
                // A stream may go on in the other coding.
                let coding = if i % 3 == 0 { Coding::Flagged } else { Coding::Short };
                sender.encode_as(coding, values, i % 7 == 0, &mut body);
                prop_assert_eq!(receiver.decode(&body, i % 7 == 0, coding), Ok(()));
                let bits = |values: &[f64]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                prop_assert_eq!(bits(receiver.values()), bits(values));
            }
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, n in 0usize..40, keyframe: bool) {
            for coding in [Coding::Flagged, Coding::Short] {
                let mut state = ValueState::default();
                state.resize(n);
                let _ = state.decode(&bytes, keyframe, coding);
            }
        }
    }

    #[test]
    fn a_stream_resumes_from_the_parts_of_its_state() {
        let (mut sender, mut body) = (ValueState::default(), Vec::new());
        sender.resize(2);
        sender.encode(&[0.25, 7.0], true, &mut body);
        let mut resumed = ValueState::from_parts(sender.values().to_vec(), sender.exponents().to_vec()).unwrap();
        let mut next = Vec::new();
        sender.encode(&[1.0, 9.0], false, &mut next);
        assert_eq!(resumed.decode(&next, false, Coding::Short), Ok(()));
        assert_eq!(resumed, sender);
        assert_eq!(ValueState::from_parts(vec![1.0], vec![10]), None);
        assert_eq!(ValueState::from_parts(vec![1.0], vec![]), None);
    }

    #[test]
    fn an_unchanged_tick_costs_its_bitmap_and_a_small_step_one_byte() {
        let mut state = ValueState::default();
        state.resize(16);
        let mut values = vec![1234.56; 16];
        state.encode(&values, true, &mut Vec::new());
        values[3] += 0.63;
        let mut body = Vec::new();
        state.encode(&values, false, &mut body);
        assert_eq!(body.len(), 3);
    }

    #[test]
    fn a_body_of_the_earlier_coding_is_read() {
        let mut state = ValueState::default();
        state.resize(3);
        // 0.25 with two decimals, -1, and a float as it is; then a step of 0.01 and a NaN.
        let mut keyframe = vec![0b111, 7, 100, 2, 1];
        keyframe.extend(5e-324_f64.to_le_bytes());
        assert_eq!(state.decode(&keyframe, true, Coding::Flagged), Ok(()));
        assert_eq!(state.values(), [0.25, -1.0, 5e-324]);
        let mut step = vec![0b011, 4, 1];
        step.extend(f64::NAN.to_le_bytes());
        assert_eq!(state.decode(&step, false, Coding::Flagged), Ok(()));
        assert_eq!((state.values()[0], state.values()[1].to_bits()), (0.26, f64::NAN.to_bits()));
    }

    #[test]
    fn a_body_must_be_used_up_exactly() {
        let mut state = ValueState::default();
        state.resize(3);
        let mut refused = |body: &[u8], keyframe, coding| state.decode(body, keyframe, coding).unwrap_err();
        for coding in [Coding::Flagged, Coding::Short] {
            assert_eq!(refused(&[0b1000], false, coding), BodyError::TrailingBytes);
            assert_eq!(refused(&[0, 0], false, coding), BodyError::TrailingBytes);
            assert_eq!(refused(&[1], false, coding), BodyError::Truncated);
        }
        for (coding, ten, twice) in [(Coding::Flagged, [0x17, 0], [3, 3]), (Coding::Short, [0, 10], [0, 0])] {
            assert_eq!(refused(&[1, ten[0], ten[1], 2], false, coding), BodyError::BadExponent);
            let twice = [1, twice[0], twice[1], twice[0], twice[1], 2];
            assert_eq!(refused(&twice, false, coding), BodyError::BadExponent);
        }
        assert_eq!(refused(&[0b11, 2, 2], true, Coding::Short), BodyError::IncompleteKeyframe);
    }
}
