//! Which keys of encrypted gossip a member holds, without the keys.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The public name of a key: the beginning of its hash, shown as 8 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeyId(pub [u8; 4]);

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", u32::from_be_bytes(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for KeyId {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let parsed = u32::from_str_radix(text, 16).ok().filter(|_| digits);
        let expected = || format!("expected a key id of 8 hexadecimal digits, found {text:?}");
        parsed.map(|id| Self(id.to_be_bytes())).ok_or_else(expected)
    }
}

impl TryFrom<String> for KeyId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<KeyId> for String {
    fn from(id: KeyId) -> Self {
        id.to_string()
    }
}

/// What a member says of its keys. It says so only of what its key file holds.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct HeldKeys {
    /// The one that it encrypts with comes first; none if its gossip is plain text.
    #[serde(default)]
    pub ids: Vec<KeyId>,
    /// The latest change of keys that it took part in; later ones have higher numbers.
    #[serde(default)]
    pub order: u64,
    /// Why it could not follow the latest one; empty if it did.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub trouble: String,
}

impl HeldKeys {
    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    #[must_use]
    pub fn holds(&self, id: KeyId) -> bool {
        self.ids.contains(&id)
    }

    /// The key that it encrypts with.
    #[must_use]
    pub fn primary(&self) -> Option<KeyId> {
        self.ids.first().copied()
    }
}
