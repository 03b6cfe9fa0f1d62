//! Encryption of gossip: keys, nonces that never repeat, and what was seen before.
//!
//! Sealed form: `version 2 (1) | key id (4) | nonce (12) | ciphertext | tag (16)`, by ChaCha20-Poly1305 (RFC 8439) over
//! `kind | body`, with version, key id and the cluster's name as associated data. The first key seals; any of them opens.
//!
//! A nonce is a random salt (8), drawn anew for each life of the program, and a counter (4), so that no two packets of one
//! key share one: with a million lives of nodes, the chance that two share a salt is one in thirty million. A receiver
//! takes each counter of a salt once, and none that is older than the newest [`WINDOW`] of it.
//!
//! It does not know time: a packet that was recorded before this node started is new to it. What such a packet says is
//! bounded by the generations and incarnations inside it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand::rngs::StdRng;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::digest;
use watchfire_shared::limits::MAX_MEMBERS;
use watchfire_shared::member::KeyId;

use crate::envelope::Refusal;

/// The version byte of a sealed packet.
pub(crate) const SEALED: u8 = 2;
pub(crate) const KEY_BYTES: usize = 32;
const HEADER_BYTES: usize = 5;
const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;
/// What sealing adds to `kind | body`.
pub(crate) const SEAL_BYTES: usize = HEADER_BYTES + NONCE_BYTES + TAG_BYTES;
/// Keys at a time: one in use, one coming, one going, and room for a rotation that was not finished.
pub const MAX_GOSSIP_KEYS: usize = 8;
/// Counters of one salt in which packets may overtake each other. A node sends 200 answers a second at most.
const WINDOW: u32 = 256;
/// Salts that are remembered: two for each member and as many of their earlier lives.
const MAX_SALTS: usize = 4 * MAX_MEMBERS;

/// A secret that all members of a cluster share.
#[derive(Clone, PartialEq, Eq)]
pub struct GossipKey([u8; KEY_BYTES]);

/// A text is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a gossip key of 64 hexadecimal digits")]
pub struct KeyError;

impl GossipKey {
    /// A key of these bytes, which have to come from the system's randomness.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    #[must_use]
    pub fn id(&self) -> KeyId {
        let mut hashed = digest::Context::new(&digest::SHA256);
        hashed.update(b"watchfire gossip key");
        hashed.update(&self.0);
        let hash = hashed.finish();
        let [a, b, c, d, ..] = hash.as_ref() else { return KeyId([0; 4]) };
        KeyId([*a, *b, *c, *d])
    }

    /// The bytes of the secret, as they travel inside sealed packets.
    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The secret as it stands in a key file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex(&self.0)
    }

    fn cipher(&self) -> LessSafeKey {
        let key = UnboundKey::new(&CHACHA20_POLY1305, &self.0).expect("a key of 32 bytes fits the algorithm");
        LessSafeKey::new(key)
    }
}

/// The secret itself never gets into a log.
impl fmt::Debug for GossipKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "GossipKey({})", self.id())
    }
}

impl FromStr for GossipKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        unhex(text).map(Self).ok_or(KeyError)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; N];
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
    }
    Some(bytes)
}

/// Which of two sequences of nonces a packet belongs to: frames of streams arrive later than datagrams sent after them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    Datagram,
    Stream,
}

/// Seals and opens the packets of one life of one node.
pub(crate) struct Keyring {
    cluster: Vec<u8>,
    /// The first one seals.
    keys: Vec<(KeyId, LessSafeKey)>,
    lanes: [Sequence; 2],
    seen: BTreeMap<[u8; 8], Window>,
    /// Counts what was opened, to find the salt that was not heard of for longest.
    opened: u64,
}

impl Keyring {
    /// `None` without keys. The salts come from `rng`, whose seed has to be of the system's randomness.
    pub(crate) fn new(cluster: &str, keys: &[GossipKey], rng: &mut StdRng) -> Option<Self> {
        let lanes = [Sequence::new(rng), Sequence::new(rng)];
        let mut ring =
            Self { cluster: cluster.as_bytes().to_vec(), keys: Vec::new(), lanes, seen: BTreeMap::new(), opened: 0 };
        ring.replace(keys);
        (!ring.keys.is_empty()).then_some(ring)
    }

    /// Takes other keys; the sequences and what was seen go on. No keys change nothing: a node never falls back to plain
    /// text while it runs.
    pub(crate) fn replace(&mut self, keys: &[GossipKey]) {
        if !keys.is_empty() {
            self.keys = keys.iter().take(MAX_GOSSIP_KEYS).map(|key| (key.id(), key.cipher())).collect();
        }
    }

    pub(crate) fn seal(&mut self, lane: Lane, mut plain: Vec<u8>) -> Vec<u8> {
        let (id, key) = self.keys.first().expect("a keyring holds one key at least");
        let nonce = self.lanes[lane as usize].next();
        let mut out = Vec::with_capacity(plain.len() + SEAL_BYTES);
        out.push(SEALED);
        out.extend_from_slice(&id.0);
        let associated = Aad::from([&out, self.cluster.as_slice()].concat());
        out.extend_from_slice(&nonce);
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), associated, &mut plain)
            .expect("a packet is far shorter than the algorithm's limit");
        out.extend_from_slice(&plain);
        out
    }

    /// # Errors
    /// What is wrong with it; nothing was remembered of it then.
    pub(crate) fn open(&mut self, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (nonce, plain) = self.decrypt(sealed)?;
        if self.is_new(nonce) { Ok(plain) } else { Err(Refusal::Replayed) }
    }

    /// Opens what is opened once more afterwards: nothing is remembered of it.
    ///
    /// # Errors
    /// As [`Keyring::open`].
    pub(crate) fn look_into(&self, sealed: &[u8]) -> Result<Vec<u8>, Refusal> {
        let (nonce, plain) = self.decrypt(sealed)?;
        let [salt @ .., a, b, c, d] = nonce;
        let counter = u32::from_le_bytes([a, b, c, d]);
        let is_new = self.seen.get(&salt).is_none_or(|window| window.lacks(counter.into()));
        if is_new { Ok(plain) } else { Err(Refusal::Replayed) }
    }

    fn decrypt(&self, sealed: &[u8]) -> Result<([u8; NONCE_BYTES], Vec<u8>), Refusal> {
        let (header, rest) = sealed.split_at_checked(HEADER_BYTES).ok_or(Refusal::Malformed)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(Refusal::Malformed)?;
        let (_, key) = self.keys.iter().find(|(id, _)| id.0 == header[1..]).ok_or(Refusal::UnknownKey)?;
        let associated = Aad::from([header, self.cluster.as_slice()].concat());
        let mut plain = ciphertext.to_vec();
        let length = key
            .open_in_place(Nonce::assume_unique_for_key(*nonce), associated, &mut plain)
            .map_err(|_| Refusal::Forged)?
            .len();
        plain.truncate(length);
        Ok((*nonce, plain))
    }

    fn is_new(&mut self, nonce: [u8; NONCE_BYTES]) -> bool {
        let [salt @ .., a, b, c, d] = nonce;
        let counter = u32::from_le_bytes([a, b, c, d]);
        self.opened += 1;
        if self.seen.len() >= MAX_SALTS && !self.seen.contains_key(&salt) {
            let oldest = self.seen.iter().min_by_key(|(_, window)| window.used).map(|(salt, _)| *salt);
            oldest.and_then(|oldest| self.seen.remove(&oldest));
        }
        let window = self.seen.entry(salt).or_default();
        window.used = self.opened;
        window.take(counter)
    }
}

/// Nonces in order.
#[derive(Debug)]
struct Sequence {
    salt: [u8; 8],
    next: u64,
}

impl Sequence {
    fn new(rng: &mut StdRng) -> Self {
        Self { salt: rng.random(), next: 0 }
    }

    /// Counters beyond 32 bits go on in the salt, so that a life of any length has one nonce for each packet.
    fn next(&mut self) -> [u8; NONCE_BYTES] {
        let [a, b, c, d, high @ ..] = self.next.to_le_bytes();
        self.next += 1;
        let mut nonce = [0; NONCE_BYTES];
        nonce[..8].copy_from_slice(&self.salt);
        for (byte, high) in nonce[..4].iter_mut().zip(high) {
            *byte ^= high;
        }
        nonce[8..].copy_from_slice(&[a, b, c, d]);
        nonce
    }
}

/// The counters of one salt that were seen: the newest, and a bit for each of those before it.
#[derive(Debug, Default)]
struct Window {
    /// One above the newest; 0 before the first.
    end: u64,
    bits: [u64; WINDOW as usize / 64],
    used: u64,
}

impl Window {
    /// Takes a counter; `false` if it was taken before or is too old to tell.
    fn take(&mut self, counter: u32) -> bool {
        let counter = u64::from(counter);
        let size = u64::from(WINDOW);
        if counter + size < self.end {
            return false;
        }
        // Counters that are skipped leave the window together with their bits.
        for skipped in self.end..=counter.min(self.end + size) {
            self.set(skipped, false);
        }
        if counter >= self.end + size {
            self.bits = Default::default();
        }
        let fresh = !self.is_set(counter);
        self.set(counter, true);
        self.end = self.end.max(counter + 1);
        fresh
    }

    /// Whether [`Window::take`] would take a counter.
    fn lacks(&self, counter: u64) -> bool {
        counter >= self.end || (counter + u64::from(WINDOW) >= self.end && !self.is_set(counter))
    }

    fn is_set(&self, counter: u64) -> bool {
        let at = counter % u64::from(WINDOW);
        self.bits[(at / 64) as usize] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, counter: u64, to: bool) {
        let at = counter % u64::from(WINDOW);
        let bit = 1 << (at % 64);
        let word = &mut self.bits[(at / 64) as usize];
        *word = if to { *word | bit } else { *word & !bit };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    fn key(byte: u8) -> GossipKey {
        GossipKey::new([byte; KEY_BYTES])
    }

    fn ring(seed: u64, cluster: &str, keys: &[GossipKey]) -> Keyring {
        Keyring::new(cluster, keys, &mut StdRng::seed_from_u64(seed)).unwrap()
    }

    #[test]
    fn the_first_key_seals_any_opens_and_nothing_opens_twice() {
        let (mut one, mut other) = (ring(1, "a", &[key(1), key(2)]), ring(2, "a", &[key(3), key(1)]));
        let sealed = one.seal(Lane::Datagram, b"hello".to_vec());
        assert_eq!(sealed.len(), 5 + SEAL_BYTES);
        assert_eq!(other.look_into(&sealed), Ok(b"hello".to_vec()));
        assert_eq!(other.look_into(&sealed), Ok(b"hello".to_vec()), "a look takes nothing");
        assert_eq!(other.open(&sealed), Ok(b"hello".to_vec()));
        assert_eq!(other.open(&sealed), Err(Refusal::Replayed));
        assert_eq!(other.look_into(&sealed), Err(Refusal::Replayed));
        let answer = other.seal(Lane::Stream, Vec::new());
        assert_eq!(one.open(&answer), Err(Refusal::UnknownKey));
        one.replace(&[key(1), key(3)]);
        assert_eq!(one.open(&answer), Ok(Vec::new()));
        one.replace(&[]);
        assert_eq!(one.seal(Lane::Datagram, Vec::new())[1..5], key(1).id().0, "no keys are no order to speak plainly");
    }

    #[test]
    fn whatever_is_changed_or_of_another_cluster_does_not_open() {
        let mut sender = ring(1, "a", &[key(1)]);
        let mut receiver = ring(2, "a", &[key(1)]);
        let sealed = sender.seal(Lane::Datagram, b"hello".to_vec());
        assert_eq!(ring(3, "b", &[key(1)]).open(&sealed), Err(Refusal::Forged));
        for at in 1..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            let expected = if at < HEADER_BYTES { Refusal::UnknownKey } else { Refusal::Forged };
            assert_eq!(receiver.open(&changed), Err(expected), "byte {at}");
            assert!(receiver.open(&sealed[..at]).is_err());
        }
        assert!(receiver.seen.is_empty(), "nothing is remembered of what does not open");
        assert!(receiver.open(&sealed).is_ok());
    }

    #[test]
    fn packets_may_overtake_each_other_within_the_window() {
        let mut window = Window::default();
        for (counter, taken) in [(0, true), (0, false), (5, true), (3, true), (3, false), (260, true), (3, false)] {
            assert_eq!(window.lacks(counter.into()), taken, "{counter}");
            assert_eq!(window.take(counter), taken, "{counter}");
        }
        assert!(window.take(200) && !window.take(200) && !window.take(260) && window.take(261));
        assert!(window.take(100_000) && window.take(99_800) && !window.take(99_000) && window.take(99_999));
        assert!(window.take(u32::MAX) && !window.take(u32::MAX) && !window.take(100_000));
    }

    #[test]
    fn nonces_differ_between_lanes_lives_and_beyond_the_counter() {
        let mut rings = [ring(1, "a", &[key(1)]), ring(2, "a", &[key(1)])];
        let mut seen = BTreeSet::new();
        for ring in &mut rings {
            for lane in 0..2 {
                seen.extend((0..100).map(|_| ring.lanes[lane].next()));
                ring.lanes[lane].next = 1 << 32;
                seen.extend((0..100).map(|_| ring.lanes[lane].next()));
            }
        }
        assert_eq!(seen.len(), 800);
    }

    #[test]
    fn keys_are_read_and_shown_without_their_secret() {
        let text = "00ff".repeat(16);
        let key: GossipKey = text.parse().unwrap();
        assert_eq!(key.to_hex(), text);
        assert!(!format!("{key:?}").contains("00ff00ff"));
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        for bad in ["", "00", &"0g".repeat(32), &"é".repeat(32)] {
            assert_eq!(bad.parse::<GossipKey>(), Err(KeyError));
        }
    }
}
