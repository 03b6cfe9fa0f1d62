//! Orders: what a collector asks one agent to do, once, and what the agent says became of it.
//!
//! An order is signed as the bytes in which it travels ([`Order::to_bytes`]), after a fixed prefix ([`signed_text`]), so
//! that what is verified is what is read and a signature serves nothing else. Signing and verifying (Ed25519, RFC 8032)
//! are done by the shells; this module knows no keys.
//!
//! Invariants: an order is for one node and one boot of it; `(epoch, seq)` of two orders of one collector differ, and
//! the later one is higher; an order of a newer version with fields that are not known here is refused as a whole, since
//! a field may be a restriction.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frame::FrameError;
use crate::labels::Fingerprint;
use crate::limits::MAX_ORDER_BYTES;
use crate::member::NodeId;
use crate::time::Timestamp;

/// What stands before the bytes of an order where they are signed.
const SIGNED_PREFIX: &[u8] = b"watchfire order v1\0";

/// The alphabet of Crockford's base 32, in which ULIDs are written.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// An order's identity: 128 bits that sort by time, written as a ULID.
///
/// The 80 bits which a ULID draws at random are made of the collector, its epoch and the sequence, which never repeat;
/// so an identity can be made where there is no randomness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderId(pub u128);

impl OrderId {
    /// The identity of the order with this place in the collector's sequence, made at `now`.
    #[must_use]
    pub fn new(now: Timestamp, collector: NodeId, epoch: u64, seq: u64) -> Self {
        let millis = u128::from(now.as_millis().max(0) as u64 & 0xffff_ffff_ffff);
        let collector = u128::from((collector.0 ^ (collector.0 >> 32)) as u32);
        Self(millis << 80 | collector << 48 | u128::from(epoch as u16) << 32 | u128::from(seq as u32))
    }
}

impl fmt::Display for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..26).rev().try_for_each(|digit| {
            let at = (self.0 >> (digit * 5)) & 31;
            write!(f, "{}", char::from(ALPHABET[at as usize]))
        })
    }
}

impl fmt::Debug for OrderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a ULID.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("expected the 26 digits of a ULID")]
pub struct OrderIdError;

impl std::str::FromStr for OrderId {
    type Err = OrderIdError;

    fn from_str(text: &str) -> Result<Self, OrderIdError> {
        if text.len() != 26 || !text.starts_with(|first: char| ('0'..='7').contains(&first)) {
            return Err(OrderIdError);
        }
        let digit = |byte: u8| ALPHABET.iter().position(|own| *own == byte).ok_or(OrderIdError);
        text.bytes().try_fold(0, |sum: u128, byte| Ok(sum << 5 | digit(byte)? as u128)).map(Self)
    }
}

impl Serialize for OrderId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for OrderId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// One order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    pub id: OrderId,
    /// The collector that gives the order and hears what became of it.
    pub issuer: NodeId,
    /// Rises with every start of the collector.
    pub epoch: u64,
    /// Rises with every order of the epoch, whoever it is for.
    pub seq: u64,
    pub target: NodeId,
    /// The boot of the target's machine, as the agent told it.
    pub boot: String,
    pub action: String,
    pub params: BTreeMap<String, String>,
    /// The digest of the action as the agent offered it: what runs is what was meant.
    pub digest: String,
    pub not_before: Timestamp,
    /// At most [`crate::limits::MAX_ORDER_LIFE`] after `not_before`.
    pub expires_at: Timestamp,
    /// The remediation that gives the order.
    pub remediation: String,
    /// The alert because of which it is given.
    pub alert: Fingerprint,
    /// Who approved it; `None` where no approval was asked for.
    pub approver: Option<String>,
}

impl Order {
    /// The bytes in which the order travels and is signed. Equal orders give equal bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).expect("plain structs always encode into memory")
    }

    /// Reads an order.
    ///
    /// # Errors
    /// If the bytes are not one order of this version, or too many.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FrameError> {
        let malformed = |reason: String| FrameError::Malformed { kind: "order", reason };
        if bytes.len() > MAX_ORDER_BYTES {
            return Err(malformed(format!("{} bytes are more than {MAX_ORDER_BYTES}", bytes.len())));
        }
        let mut rest = bytes;
        let order = Self::deserialize(&mut rmp_serde::Deserializer::new(&mut rest));
        let order = order.map_err(|error| malformed(error.to_string()))?;
        if rest.is_empty() { Ok(order) } else { Err(FrameError::TrailingBytes(rest.len())) }
    }
}

/// What is signed for an order with these bytes.
#[must_use]
pub fn signed_text(order: &[u8]) -> Vec<u8> {
    [SIGNED_PREFIX, order].concat()
}

/// An order with its signature, as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedOrder {
    /// See [`Order::from_bytes`].
    #[serde(with = "serde_bytes")]
    pub order: Vec<u8>,
    /// Ed25519 over [`signed_text`] of the order, 64 bytes.
    #[serde(with = "serde_bytes")]
    pub signature: Vec<u8>,
}

/// Where an order is in its life, as the agent tells it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// The agent has it on its disk; nothing has run yet.
    Accepted,
    Running,
    /// The action ended well; its verification runs.
    Verifying,
    /// The action ended well, and so did its verification if it has one.
    Succeeded,
    Failed,
    /// It took too long and was killed with everything that it had started.
    TimedOut,
    /// The agent ended while it ran, or before it could; it is not run again.
    Interrupted,
    /// The agent did not do it, and says why.
    Refused,
    /// A state of a newer version.
    #[serde(other)]
    Unknown,
}

impl OrderState {
    /// Whether nothing comes after it.
    #[must_use]
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::TimedOut | Self::Interrupted | Self::Refused)
    }

    /// The word that the API has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Running => "running",
            Self::Verifying => "verifying",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Interrupted => "interrupted",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
        }
    }
}

/// What became of an order: sent at each change of its state, the final one again until it was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderReport {
    pub id: OrderId,
    pub state: OrderState,
    /// When, by the agent's clock.
    pub at: Timestamp,
    /// Why, in words; empty where the state says it all.
    #[serde(default)]
    pub detail: String,
    /// The action's exit code, if it ended by itself.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// The end of what the action wrote.
    #[serde(default)]
    pub output: String,
    /// Whether it wrote more than that.
    #[serde(default)]
    pub output_truncated: bool,
    /// What the verification said; `None` if there is none, or it was not reached.
    #[serde(default)]
    pub verified: Option<bool>,
}

impl OrderReport {
    /// A report without any result of a process.
    #[must_use]
    pub fn new(id: OrderId, state: OrderState, at: Timestamp, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        Self { id, state, at, detail, exit_code: None, output: String::new(), output_truncated: false, verified: None }
    }
}

/// The collector has the final report of an order on its disk; the agent may forget it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OrderSeen {
    pub id: OrderId,
}

/// What an agent would do if it were ordered to. Sent after each greeting, and when it changed.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Actions {
    /// The boot of the machine; orders for another one are refused.
    pub boot: String,
    /// Why nothing would be done at all; empty if orders are taken.
    #[serde(default)]
    pub refuses: String,
    /// The highest place in the sequence of orders that was ever accepted or refused here.
    #[serde(default)]
    pub last: Option<(u64, u64)>,
    #[serde(default)]
    pub offered: Vec<OfferedAction>,
    /// Files of actions that could not be used, each with its mistake.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// One action of an agent.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OfferedAction {
    pub name: String,
    pub digest: String,
    /// `restart`, `diagnose` and so on.
    #[serde(default)]
    pub kind: String,
    /// Whether doing it twice does no more than doing it once.
    #[serde(default)]
    pub idempotent: bool,
    /// How long it and its verification may take at most, milliseconds.
    #[serde(default)]
    pub longest_ms: u64,
    /// The names of its parameters, all of which have to be given.
    #[serde(default)]
    pub params: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order() -> Order {
        Order {
            id: OrderId::new(Timestamp::from_millis(1_800_000_000_000), NodeId(7), 3, 4),
            issuer: NodeId(7),
            epoch: 3,
            seq: 4,
            target: NodeId(9),
            boot: "b".to_owned(),
            action: "restart".to_owned(),
            params: BTreeMap::from([("unit".to_owned(), "nginx.service".to_owned())]),
            digest: "d".to_owned(),
            not_before: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(2),
            remediation: "r".to_owned(),
            alert: Fingerprint(5),
            approver: None,
        }
    }

    #[test]
    fn identities_read_back_and_sort_by_time_then_place() {
        let id = |millis, epoch, seq| OrderId::new(Timestamp::from_millis(millis), NodeId(u64::MAX), epoch, seq);
        let ids = [id(1, 9, 9), id(2, 1, 1), id(2, 1, 2), id(2, 2, 0)];
        assert!(ids.is_sorted() && ids[0] != ids[1]);
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert_eq!(OrderId(0).to_string(), "0".repeat(26));
        for bad in ["", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0000000000000000000000000U", "../../../../../../../../../"] {
            assert_eq!(bad.parse::<OrderId>(), Err(OrderIdError), "{bad}");
        }
    }

    #[test]
    fn an_order_reads_back_and_an_unknown_restriction_is_not_ignored() {
        let order = order();
        assert_eq!(Order::from_bytes(&order.to_bytes()), Ok(order.clone()));
        // A map with one entry more: `only_if: nil`.
        let mut newer = order.to_bytes();
        newer[0] += 1;
        newer.extend(b"\xa7only_if\xc0");
        let newer = Order::from_bytes(&newer).unwrap_err().to_string();
        assert!(newer.contains("unknown field `only_if`"), "{newer}");
        assert!(Order::from_bytes(&[order.to_bytes(), vec![0]].concat()).is_err());
        assert!(Order::from_bytes(&vec![0; MAX_ORDER_BYTES + 1]).is_err());
    }
}
