use proptest::prelude::*;
use watchfire_shared::sample::stale_nan;

use super::*;

fn odd_value() -> impl Strategy<Value = f64> {
    prop_oneof![
        any::<u64>().prop_map(f64::from_bits),
        any::<i32>().prop_map(f64::from),
        prop::sample::select(vec![
            0.0,
            -0.0,
            f64::NAN,
            stale_nan(),
            f64::INFINITY,
            f64::NEG_INFINITY,
            9_007_199_254_740_992.0,
            9_007_199_254_740_993.0,
            -9.0e15,
            5e-324,
            f64::MAX,
            0.1,
            1e-9,
        ]),
    ]
}

fn decimals_with(exponent: usize, shift: u32) -> impl Strategy<Value = Vec<f64>> {
    prop::collection::vec(any::<i32>(), 1..200)
        .prop_map(move |values| values.into_iter().map(|m| (i64::from(m) << shift) as f64 / POWERS[exponent]).collect())
}

fn check(values: &[f64]) {
    check_with(encode, values);
    check_with(cold::encode, values);
}

fn check_with(encode: impl Fn(&[f64], &mut Vec<u8>), values: &[f64]) {
    let mut chunk = Vec::new();
    encode(values, &mut chunk);
    let mut back = Vec::new();
    assert_eq!(decode(&chunk, values.len(), &mut back), Some(()), "{values:?}");
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&back), bits(values));
    chunk.push(0);
    assert_eq!(decode(&chunk, values.len(), &mut Vec::new()), None, "a byte too many is refused");
}

proptest! {
    #[test]
    fn every_float_comes_back_bit_for_bit(values in prop::collection::vec(odd_value(), 1..150)) {
        check(&values);
    }

    #[test]
    fn decimals_come_back_bit_for_bit(values in (0usize..10, 0u32..20).prop_flat_map(|(e, s)| decimals_with(e, s))) {
        check(&values);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, count in 1usize..200) {
        let _ = decode(&bytes, count, &mut Vec::new());
    }

    #[test]
    fn no_damage_makes_the_decoder_panic(
        values in prop::collection::vec(odd_value(), 2..80),
        at: prop::sample::Index,
        mask in 1u8..,
    ) {
        let mut chunk = Vec::new();
        encode(&values, &mut chunk);
        let place = at.index(chunk.len());
        chunk[place] ^= mask;
        let _ = decode(&chunk, values.len(), &mut Vec::new());
        chunk.clear();
        cold::encode(&values, &mut chunk);
        let place = at.index(chunk.len());
        chunk[place] ^= mask;
        let _ = decode(&chunk, values.len(), &mut Vec::new());
    }
}

#[test]
fn chunks_are_as_small_as_promised() {
    let size = |values: Vec<f64>| {
        let mut chunk = Vec::new();
        encode(&values, &mut chunk);
        check(&values);
        (chunk[0], chunk.len())
    };
    assert_eq!(size(vec![42.5; 60]), (0, 9), "a constant is one value");
    // Tag, exponent, shift, the first value (two bytes of zigzag varint), least difference, width 0.
    assert_eq!(
        size((0..60).map(|i| 1000.0 + f64::from(i) * 3.0).collect()),
        (2, 7),
        "a straight line has one difference"
    );
    assert_eq!(size((0..60).map(|i| f64::from(i * i)).collect()).0, 3, "a parabola takes differences of order 2");
    let pages = size((0..60).map(|i| f64::from((i * 7) % 16) * 4096.0).collect());
    assert!(pages.1 < 50, "multiples of a page lose their zero bits: {pages:?}");
    assert_eq!(size(vec![1.0, stale_nan()]).0, 9);
}

#[test]
fn cold_chunks_are_as_small_as_promised() {
    let size = |values: Vec<f64>| {
        let mut chunk = Vec::new();
        cold::encode(&values, &mut chunk);
        check(&values);
        (chunk[0], chunk.len())
    };
    assert_eq!(size(vec![0.0; 4096]), (TAG_INTEGER, 2), "a constant integer is its digits");
    assert_eq!(size(vec![-0.0; 60]).0, TAG_CONSTANT);
    let noise = |i: u64| (i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) % 16;
    let mut total = 0;
    let counter = (0..720u64).map(|i| {
        total += 100 + noise(i) * noise(i + 1);
        total as f64 / 100.0
    });
    let (tag, bytes) = size(counter.collect());
    assert!(tag == TAG_COLD_DECIMALS && bytes < 720, "{tag}: {bytes}");
    let (tag, _) = size((0..720u64).map(|i| (noise(i) as f64).sqrt() / 3.0).collect());
    assert_eq!(tag, TAG_COLD_FLOATS);
}
