//! What stands around every packet, as a datagram or as a frame of a stream.
//!
//! Plain form: `version 1 (1) | kind (1) | cluster (4) | checksum (4) | body`, integers little-endian. `cluster` is the
//! FNV-1a hash of the cluster's name, the checksum is CRC-32 over kind, cluster and body. It keeps strangers and damage
//! out, not attackers. With keys there is only the sealed form of [`crate::keyring`], and plain packets are refused.

use rand::rngs::StdRng;
use watchfire_shared::limits::{MAX_DATAGRAM_BYTES, MAX_GOSSIP_FRAME_BYTES};

use crate::identity::{Malformed, Reader};
use crate::keyring::{GossipKey, Keyring, Lane, SEAL_BYTES, SEALED};
use crate::packet::{Packet, put_body, read_body};

const PLAIN: u8 = 1;
const PLAIN_BYTES: usize = 10;
/// The most that stands around a body: sealing and the body's kind. Both forms leave the same room.
pub(crate) const ENVELOPE_BYTES: usize = SEAL_BYTES + 1;

/// Why a packet is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Oversized,
    Malformed,
    Version,
    OtherCluster,
    Checksum,
    UnknownKind,
    /// It is not encrypted, and has to be.
    Plain,
    /// Encrypted with a key that is not held here, or at all while this node has none.
    UnknownKey,
    /// It was not made with the key that it names, or for another cluster.
    Forged,
    /// It came before.
    Replayed,
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The envelope of one cluster.
pub(crate) struct Envelope {
    cluster: [u8; 4],
    keyring: Option<Keyring>,
    /// Later kinds are not known: the envelope of an earlier version.
    #[cfg(test)]
    last_kind: u8,
}

impl Envelope {
    /// The envelope of a node; plain if there are no keys.
    pub(crate) fn new(cluster: &str, keys: &[GossipKey], rng: &mut StdRng) -> Self {
        let hash =
            cluster.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self {
            cluster: hash.to_le_bytes(),
            keyring: Keyring::new(cluster, keys, rng),
            #[cfg(test)]
            last_kind: u8::MAX,
        }
    }

    /// Takes other keys. Whether packets are encrypted at all is decided at the start.
    pub(crate) fn set_keys(&mut self, keys: &[GossipKey]) {
        if let Some(keyring) = &mut self.keyring {
            keyring.replace(keys);
        }
    }

    /// A datagram.
    pub(crate) fn seal(&mut self, packet: &Packet) -> Vec<u8> {
        let sealed = self.wrap(Lane::Datagram, packet);
        debug_assert!(sealed.len() <= MAX_DATAGRAM_BYTES, "a packet of {} bytes", sealed.len());
        sealed
    }

    /// A frame of a stream.
    pub(crate) fn seal_frame(&mut self, packet: &Packet) -> Vec<u8> {
        let sealed = self.wrap(Lane::Stream, packet);
        debug_assert!(sealed.len() <= MAX_GOSSIP_FRAME_BYTES, "a frame of {} bytes", sealed.len());
        sealed
    }

    /// # Errors
    /// The first thing that is wrong, from the outside in.
    pub(crate) fn open(&mut self, datagram: &[u8]) -> Result<Packet, Refusal> {
        if datagram.len() > MAX_DATAGRAM_BYTES { Err(Refusal::Oversized) } else { self.unwrap(datagram) }
    }

    /// # Errors
    /// As [`Envelope::open`].
    pub(crate) fn open_frame(&mut self, frame: &[u8]) -> Result<Packet, Refusal> {
        if frame.len() > MAX_GOSSIP_FRAME_BYTES { Err(Refusal::Oversized) } else { self.unwrap(frame) }
    }

    /// Opens a frame that is opened once more afterwards: nothing is remembered of it.
    ///
    /// # Errors
    /// As [`Envelope::open`].
    pub(crate) fn look_into_frame(&self, frame: &[u8]) -> Result<Packet, Refusal> {
        if frame.len() > MAX_GOSSIP_FRAME_BYTES {
            return Err(Refusal::Oversized);
        }
        match (frame.first(), &self.keyring) {
            (Some(&SEALED), Some(keyring)) => read_sealed(&keyring.look_into(frame)?),
            _ => self.open_unsealed(frame),
        }
    }

    #[cfg(test)]
    pub(crate) fn know_kinds_up_to(&mut self, last: u8) {
        self.last_kind = last;
    }

    fn wrap(&mut self, lane: Lane, packet: &Packet) -> Vec<u8> {
        if let Some(keyring) = &mut self.keyring {
            let mut plain = vec![0];
            plain[0] = put_body(&mut plain, packet);
            return keyring.seal(lane, plain);
        }
        let mut out = vec![0; PLAIN_BYTES];
        let kind = put_body(&mut out, packet);
        out[0] = PLAIN;
        out[1] = kind;
        out[2..6].copy_from_slice(&self.cluster);
        let sum = checksum(kind, &self.cluster, &out[PLAIN_BYTES..]);
        out[6..10].copy_from_slice(&sum.to_le_bytes());
        out
    }

    fn unwrap(&mut self, bytes: &[u8]) -> Result<Packet, Refusal> {
        #[cfg(test)]
        if self.keyring.is_none() && bytes.get(1).is_some_and(|kind| *kind > self.last_kind) {
            return Err(Refusal::UnknownKind);
        }
        match (bytes.first(), &mut self.keyring) {
            (Some(&SEALED), Some(keyring)) => read_sealed(&keyring.open(bytes)?),
            _ => self.open_unsealed(bytes),
        }
    }

    /// Everything but what is sealed and came to a node with keys.
    fn open_unsealed(&self, bytes: &[u8]) -> Result<Packet, Refusal> {
        match (bytes.first(), &self.keyring) {
            (None, _) => Err(Refusal::Malformed),
            (Some(&PLAIN), None) => self.open_plain(bytes),
            (Some(&PLAIN), Some(_)) => Err(Refusal::Plain),
            (Some(&SEALED), _) => Err(Refusal::UnknownKey),
            (Some(_), _) => Err(Refusal::Version),
        }
    }

    fn open_plain(&self, bytes: &[u8]) -> Result<Packet, Refusal> {
        let mut reader = Reader::new(bytes);
        let _version = reader.u8()?;
        let kind = reader.u8()?;
        let cluster = reader.bytes(4)?;
        let sum = reader.u32()?;
        if cluster != self.cluster {
            return Err(Refusal::OtherCluster);
        }
        let body = &bytes[PLAIN_BYTES..];
        if sum != checksum(kind, cluster, body) {
            return Err(Refusal::Checksum);
        }
        read_body(kind, body)
    }
}

fn read_sealed(plain: &[u8]) -> Result<Packet, Refusal> {
    let (kind, body) = plain.split_first().ok_or(Refusal::Malformed)?;
    read_body(*kind, body)
}

fn checksum(kind: u8, cluster: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(cluster);
    hasher.update(body);
    hasher.finalize()
}

#[cfg(test)]
impl Envelope {
    /// The plain envelope of a cluster.
    pub(crate) fn plain(cluster: &str) -> Self {
        use rand::SeedableRng;
        Self::new(cluster, &[], &mut StdRng::seed_from_u64(0))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::packet::every_packet;

    fn sealed(seed: u64, keys: &[u8]) -> Envelope {
        let keys: Vec<GossipKey> = keys.iter().map(|byte| GossipKey::new([*byte; 32])).collect();
        Envelope::new("watchfire", &keys, &mut StdRng::seed_from_u64(seed))
    }

    #[test]
    fn packets_round_trip_in_both_forms_and_the_fullest_fit_a_datagram() {
        for (mut sender, mut receiver) in
            [(Envelope::plain("watchfire"), Envelope::plain("watchfire")), (sealed(1, &[1]), sealed(2, &[2, 1]))]
        {
            for packet in every_packet() {
                let datagram = sender.seal(&packet);
                assert!(datagram.len() <= MAX_DATAGRAM_BYTES);
                assert_eq!(receiver.open(&datagram), Ok(packet.clone()));
                let frame = sender.seal_frame(&packet);
                assert_eq!(receiver.look_into_frame(&frame), Ok(packet.clone()));
                assert_eq!(receiver.open_frame(&frame), Ok(packet));
            }
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_by_reason() {
        let mut envelope = Envelope::plain("watchfire");
        for packet in every_packet() {
            let datagram = envelope.seal(&packet);
            let mut changed = |at: usize, to: u8| {
                let mut bytes = datagram.clone();
                bytes[at] ^= to;
                envelope.open(&bytes)
            };
            assert_eq!(Envelope::plain("other").open(&datagram), Err(Refusal::OtherCluster));
            assert_eq!(sealed(1, &[1]).open(&datagram), Err(Refusal::Plain));
            assert_eq!(changed(0, 0x80), Err(Refusal::Version));
            assert_eq!(changed(0, PLAIN ^ SEALED), Err(Refusal::UnknownKey));
            for at in (1..2).chain(PLAIN_BYTES..datagram.len()) {
                assert_eq!(changed(at, 1), Err(Refusal::Checksum));
            }
            for cut in 0..datagram.len() {
                let refused = envelope.open(&datagram[..cut]);
                assert!(matches!(refused, Err(Refusal::Malformed | Refusal::Checksum)), "{cut}: {refused:?}");
            }
        }
        assert_eq!(envelope.open(&[0; MAX_DATAGRAM_BYTES + 1]), Err(Refusal::Oversized));
        assert_eq!(envelope.open_frame(&[0; MAX_GOSSIP_FRAME_BYTES + 1]), Err(Refusal::Oversized));
    }
}
