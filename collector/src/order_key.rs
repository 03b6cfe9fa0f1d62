//! The key that orders are signed with: made once, kept in the data directory, readable by the collector's user only.
//!
//! ```text
//! DATA_DIR/order.key    the private key, PKCS #8
//! DATA_DIR/order.pub    the public key, 64 hexadecimal digits: what agents pin
//! ```
//!
//! A key that is there and cannot be read is an error: a new one in its place would be refused by every agent.

use std::fmt;
use std::sync::Arc;

use anyhow::Context as _;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use watchfire_shared::order::{Order, SignedOrder, signed_text};
use watchfire_shell::files::{DataDir, read_optional, write_atomic};

const PRIVATE: &str = "order.key";
const PUBLIC: &str = "order.pub";

/// The key. Clones are the same one.
#[derive(Clone)]
pub(crate) struct OrderKey(Arc<Ed25519KeyPair>);

impl fmt::Debug for OrderKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrderKey({})", self.public())
    }
}

impl OrderKey {
    /// Reads the key, or makes one where there is none.
    ///
    /// # Errors
    /// If the file cannot be read or written, or holds no key.
    pub(crate) fn open(data: &DataDir) -> anyhow::Result<Self> {
        let path = data.join(PRIVATE);
        let bytes = match read_optional(&path)? {
            Some(bytes) => bytes,
            None => {
                let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new());
                let made = made.map_err(|_| anyhow::anyhow!("the system gives no randomness for a key"))?;
                write_atomic(&path, made.as_ref())?;
                made.as_ref().to_vec()
            }
        };
        let pair = Ed25519KeyPair::from_pkcs8(&bytes);
        let pair = pair.map_err(|error| anyhow::anyhow!("{error}"));
        let key = Self(Arc::new(pair.with_context(|| format!("{} holds no key for orders", path.display()))?));
        let public = format!("{}\n", key.public());
        if read_optional(&data.join(PUBLIC))?.as_deref() != Some(public.as_bytes()) {
            write_atomic(&data.join(PUBLIC), public.as_bytes())?;
        }
        Ok(key)
    }

    /// The public key, 64 hexadecimal digits.
    #[must_use]
    pub(crate) fn public(&self) -> String {
        self.0.public_key().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// Signs an order, in the bytes in which it travels.
    #[must_use]
    pub(crate) fn sign(&self, order: &Order) -> SignedOrder {
        let order = order.to_bytes();
        let signature = self.0.sign(&signed_text(&order)).as_ref().to_vec();
        SignedOrder { order, signature }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();
        let data = DataDir::open(&folder.path().join("data")).unwrap();
        let first = OrderKey::open(&data).unwrap();
        let again = OrderKey::open(&data).unwrap();
        assert_eq!(first.public(), again.public());
        let mode = std::fs::metadata(data.join(PRIVATE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_to_string(data.join(PUBLIC)).unwrap().trim(), first.public());
        std::fs::write(data.join(PRIVATE), b"rubbish").unwrap();
        let error = format!("{:#}", OrderKey::open(&data).unwrap_err());
        assert!(error.contains("order.key holds no key for orders"), "{error}");
        assert_eq!(std::fs::read(data.join(PRIVATE)).unwrap(), b"rubbish", "and it is left as it is");
    }
}
