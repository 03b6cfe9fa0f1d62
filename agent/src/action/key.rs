//! The pinned key of the collector: whose orders are taken.

use std::path::Path;

use ring::signature::{ED25519, UnparsedPublicKey};
use watchfire_shared::order::{Order, SignedOrder, signed_text};
use watchfire_shell::files::read_optional;

/// An Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Key([u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl std::str::FromStr for Key {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let bad = || "expected the 64 hexadecimal digits of a collector's order.pub".to_owned();
        if text.len() != 64 || !text.is_ascii() {
            return Err(bad());
        }
        let mut key = [0; 32];
        for (byte, at) in key.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| bad())?;
        }
        Ok(Self(key))
    }
}

impl Key {
    /// Reads a key from a file.
    ///
    /// # Errors
    /// If there is none, or it holds no key.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let bytes = read_optional(path).map_err(|error| error.to_string())?;
        let bytes = bytes.ok_or_else(|| format!("the file of the collector's key, {name}, does not exist"))?;
        String::from_utf8_lossy(&bytes).parse().map_err(|reason| format!("{name}: {reason}"))
    }

    /// Verifies an order and reads it.
    ///
    /// # Errors
    /// If the signature is not of this key, or the bytes are no order.
    pub(crate) fn verify(self, signed: &SignedOrder) -> Result<Order, String> {
        UnparsedPublicKey::new(&ED25519, self.0)
            .verify(&signed_text(&signed.order), &signed.signature)
            .map_err(|_| "it is not signed with the pinned key".to_owned())?;
        Order::from_bytes(&signed.order).map_err(|error| error.to_string())
    }
}
