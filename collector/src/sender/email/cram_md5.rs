//! CRAM-MD5 (RFC 2195): the answer to a server's challenge, which shows that the client knows a secret without sending it.

use watchfire_collector_core::md5::md5;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_challenge_of_rfc_2195_is_answered_as_there() {
        let challenge = base64(b"<1896.697170952@postoffice.reston.mci.net>");
        let expected = base64(b"tim b913a602c7eda7a495b4e6e7334d3890");
        assert_eq!(answer("tim", "tanstaaftanstaaf", &challenge), Ok(expected));
        assert!(answer("tim", "x", "no base64!").is_err());
    }
}
