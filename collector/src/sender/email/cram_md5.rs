//! CRAM-MD5 (RFC 2195): the answer to a server's challenge, which shows that the client knows a secret without sending it.
//!
//! MD5 (RFC 1321) is written down here since nothing else needs it, and nothing else should.

use crate::sender::client::base64;

/// The answer to a challenge, both in base64.
///
/// # Errors
/// If the challenge is no base64.
pub(super) fn answer(username: &str, secret: &str, challenge: &str) -> Result<String, String> {
    let challenge = unbase64(challenge.trim()).ok_or("the server's challenge is no base64")?;
    let digest = hmac(secret.as_bytes(), &challenge);
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(base64(format!("{username} {digest}").as_bytes()))
}

/// RFC 4648, with padding.
fn unbase64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(u32::from(byte - b'A')),
        b'a'..=b'z' => Some(u32::from(byte - b'a') + 26),
        b'0'..=b'9' => Some(u32::from(byte - b'0') + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    for chunk in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut number = 0;
        for byte in chunk {
            number = number << 6 | digit(*byte)?;
        }
        let bytes = (number << (6 * (4 - chunk.len()))).to_be_bytes();
        out.extend_from_slice(&bytes[1..chunk.len()]);
    }
    Some(out)
}

/// HMAC (RFC 2104) over MD5.
fn hmac(key: &[u8], text: &[u8]) -> [u8; 16] {
    let mut block = [0; 64];
    if key.len() > block.len() {
        block[..16].copy_from_slice(&md5(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |pad: u8| block.map(|byte| byte ^ pad);
    let inner = md5(&[&padded(0x36), text].concat());
    md5(&[&padded(0x5c)[..], &inner].concat())
}

/// How far each step of a round turns.
const TURNS: [[u32; 4]; 4] = [[7, 12, 17, 22], [5, 9, 14, 20], [4, 11, 16, 23], [6, 10, 15, 21]];

fn md5(text: &[u8]) -> [u8; 16] {
    let mut padded = text.to_vec();
    padded.push(0x80);
    padded.resize(padded.len().next_multiple_of(64), 0);
    if text.len() % 64 > 55 {
        padded.resize(padded.len() + 64, 0);
    }
    let end = padded.len() - 8;
    padded[end..].copy_from_slice(&(text.len() as u64 * 8).to_le_bytes());
    let mut state: [u32; 4] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476];
    for block in padded.chunks_exact(64) {
        mix(&mut state, block);
    }
    let mut out = [0; 16];
    for (bytes, word) in out.chunks_exact_mut(4).zip(state) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    out
}

fn mix(state: &mut [u32; 4], block: &[u8]) {
    let word = |at: usize| u32::from_le_bytes([block[4 * at], block[4 * at + 1], block[4 * at + 2], block[4 * at + 3]]);
    let [mut a, mut b, mut c, mut d] = *state;
    for step in 0..64_usize {
        let (mixed, at) = match step / 16 {
            0 => ((b & c) | (!b & d), step),
            1 => ((d & b) | (!d & c), 5 * step + 1),
            2 => (b ^ c ^ d, 3 * step + 5),
            _ => (c ^ (b | !d), 7 * step),
        };
        // The RFC's table T.
        let constant = (((step + 1) as f64).sin().abs() * 4_294_967_296.0) as u32;
        let sum = a.wrapping_add(mixed).wrapping_add(constant).wrapping_add(word(at % 16));
        (a, d, c) = (d, c, b);
        b = b.wrapping_add(sum.rotate_left(TURNS[step / 16][step % 4]));
    }
    for (own, mixed) in state.iter_mut().zip([a, b, c, d]) {
        *own = own.wrapping_add(mixed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn md5_gives_the_digests_of_rfc_1321() {
        let cases = [
            ("", "d41d8cd98f00b204e9800998ecf8427e"),
            ("abc", "900150983cd24fb0d6963f7d28e17f72"),
            ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789", "d174ab98d277d9f5a5611c2c9f419d9f"),
            (
                "12345678901234567890123456789012345678901234567890123456789012345678901234567890",
                "57edf4a22be3c955ac49da2e2107b67a",
            ),
        ];
        for (text, expected) in cases {
            let digest: String = md5(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, expected, "{text}");
        }
    }

    #[test]
    fn the_challenge_of_rfc_2195_is_answered_as_there() {
        let challenge = base64(b"<1896.697170952@postoffice.reston.mci.net>");
        let expected = base64(b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(answer("tim", "tanstaaftanstaaf", &challenge), Ok(expected));
        assert!(answer("tim", "x", "no base64!").is_err());
    }
}
