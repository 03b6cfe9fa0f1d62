//! The envelope of every datagram and the packets inside it.
//!
//! Envelope: `version (1) | kind (1) | cluster (4) | checksum (4) | body`, integers little-endian. `cluster` is the
//! FNV-1a hash of the cluster's name, the checksum is CRC-32 over kind, cluster and body. It keeps strangers and damage
//! out, not attackers: that is the work of encryption around it.

use watchfire_shared::limits::MAX_DATAGRAM_BYTES;
use watchfire_shared::member::NodeId;

use crate::identity::{Identity, Malformed, Reader, put_identity};
use crate::note::{NOTE_BYTES, Note, put_note, read_note};

const VERSION: u8 = 1;
/// Bytes before the body.
pub(crate) const ENVELOPE_BYTES: usize = 10;
/// Room for a body.
const BODY_BYTES: usize = MAX_DATAGRAM_BYTES - ENVELOPE_BYTES;
/// An IPv6 identity, the largest.
const IDENTITY_BYTES: usize = 31;
const PAGE_ENTRY_BYTES: usize = IDENTITY_BYTES + 2 + 1 + 8 + 4;

/// Entries that a page always has room for.
pub(crate) const PAGE_ENTRIES: usize = (BODY_BYTES - 14) / PAGE_ENTRY_BYTES;
/// Identities that a leave packet always has room for.
pub(crate) const LEAVE_IDENTITIES: usize = (BODY_BYTES - 2) / IDENTITY_BYTES;
/// Questions for metadata that a packet always has room for.
pub(crate) const META_QUESTIONS: usize = (BODY_BYTES - IDENTITY_BYTES - 2) / 16;
/// Bytes of a metadata item besides the metadata itself.
const META_ITEM_OVERHEAD: usize = 18;

const FOCA: u8 = 1;
const JOIN: u8 = 2;
const WELCOME: u8 = 3;
const PULL: u8 = 4;
const PAGE: u8 = 5;
const META_REQUEST: u8 = 6;
const META: u8 = 7;
const LEAVE: u8 = 8;
const SUSPECTED: u8 = 9;
const REFUSED: u8 = 10;
const NOTED: u8 = 11;
const NACK: u8 = 12;

/// How many notes may ride with a packet of foca's that has `body` bytes.
pub(crate) const fn note_room(body: usize) -> usize {
    BODY_BYTES.saturating_sub(body + 2) / NOTE_BYTES
}

/// Whom one node introduces itself to the other as.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Hello {
    /// Made by the one who joins, returned by the one who welcomes.
    pub(crate) nonce: u32,
    /// Who is thought to be there; `None` if nobody in particular.
    pub(crate) to: Option<NodeId>,
    /// The generation that `to` has to rise above to be taken in by the sender; 0 if its own will do.
    pub(crate) floor: u32,
    pub(crate) identity: Identity,
}

/// What one view says of a member.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Active,
    Down,
    Left,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct PageEntry {
    pub(crate) identity: Identity,
    pub(crate) incarnation: u16,
    pub(crate) standing: Standing,
    /// The stamp of the newest metadata that the sender holds; 0 for none.
    pub(crate) stamp: u64,
    /// Seconds since the member is down or left.
    pub(crate) age_seconds: u32,
}

/// Metadata as it travels: whose, how new, and its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MetaItem {
    pub(crate) id: NodeId,
    pub(crate) stamp: u64,
    pub(crate) bytes: Vec<u8>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Packet {
    /// A packet of foca's, decoded by [`crate::codec`].
    Foca(Vec<u8>),
    /// To an address whose node may not be known: who are you?
    Join(Hello),
    Welcome(Hello),
    /// Asks for the members after `after`, unless the whole view's digest is the same.
    Pull {
        nonce: u32,
        from: Identity,
        digest: u64,
        after: u64,
    },
    /// `next` is where to go on from; 0 at the end.
    Page {
        nonce: u32,
        next: u64,
        entries: Vec<PageEntry>,
    },
    /// Asks for metadata newer than the stamps given.
    MetaRequest {
        from: Identity,
        wanted: Vec<(NodeId, u64)>,
    },
    /// `news` is passed on by whoever did not know it; an answer is not.
    Meta {
        news: bool,
        items: Vec<MetaItem>,
    },
    /// These said goodbye.
    Leave(Vec<Identity>),
    /// To a member that the sender suspects, so that it can object: whom, in which incarnation.
    Suspected {
        identity: Identity,
        incarnation: u16,
    },
    /// The host of a suspect refused the sender a connection.
    Refused {
        from: Identity,
        identity: Identity,
    },
    /// A packet of foca's, and who suspects whom.
    Noted {
        body: Vec<u8>,
        notes: Vec<Note>,
    },
    /// The sender was asked to probe `target` and nothing came back; `number` is the asker's own of that probe.
    Nack {
        from: Identity,
        target: NodeId,
        number: u8,
    },
}

/// Why a datagram is dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refusal {
    Oversized,
    Malformed,
    Version,
    OtherCluster,
    Checksum,
    UnknownKind,
}

impl From<Malformed> for Refusal {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// The envelope of one cluster.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope {
    cluster: [u8; 4],
}

impl Envelope {
    pub(crate) fn new(cluster: &str) -> Self {
        let hash =
            cluster.bytes().fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self { cluster: hash.to_le_bytes() }
    }

    pub(crate) fn seal(&self, packet: &Packet) -> Vec<u8> {
        let mut out = vec![0; ENVELOPE_BYTES];
        let kind = put_body(&mut out, packet);
        debug_assert!(out.len() <= MAX_DATAGRAM_BYTES, "a {kind} packet has {} bytes", out.len());
        out[0] = VERSION;
        out[1] = kind;
        out[2..6].copy_from_slice(&self.cluster);
        let sum = checksum(kind, &self.cluster, &out[ENVELOPE_BYTES..]);
        out[6..10].copy_from_slice(&sum.to_le_bytes());
        out
    }

    /// # Errors
    /// The first thing that is wrong, from the outside in.
    pub(crate) fn open(&self, datagram: &[u8]) -> Result<Packet, Refusal> {
        if datagram.len() > MAX_DATAGRAM_BYTES {
            return Err(Refusal::Oversized);
        }
        let mut reader = Reader::new(datagram);
        let version = reader.u8()?;
        let kind = reader.u8()?;
        let cluster = reader.bytes(4)?;
        let sum = reader.u32()?;
        if version != VERSION {
            return Err(Refusal::Version);
        }
        if cluster != self.cluster {
            return Err(Refusal::OtherCluster);
        }
        let body = &datagram[ENVELOPE_BYTES..];
        if sum != checksum(kind, cluster, body) {
            return Err(Refusal::Checksum);
        }
        read_body(kind, body)
    }
}

fn checksum(kind: u8, cluster: &[u8], body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(cluster);
    hasher.update(body);
    hasher.finalize()
}

/// Packs items into datagrams' worth of packets, in order; an item that is too large for any is left out.
pub(crate) fn pack_metadata(items: impl IntoIterator<Item = MetaItem>) -> Vec<Vec<MetaItem>> {
    let mut packets: Vec<Vec<MetaItem>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = item.bytes.len() + META_ITEM_OVERHEAD;
        if size > BODY_BYTES - 1 {
            continue;
        }
        match packets.last_mut() {
            Some(last) if size <= room => last.push(item),
            _ => {
                packets.push(vec![item]);
                room = BODY_BYTES - 1;
            }
        }
        room -= size;
    }
    packets
}

fn put_body(out: &mut Vec<u8>, packet: &Packet) -> u8 {
    match packet {
        Packet::Foca(body) => {
            out.extend_from_slice(body);
            FOCA
        }
        Packet::Join(hello) => {
            put_hello(out, hello);
            JOIN
        }
        Packet::Welcome(hello) => {
            put_hello(out, hello);
            WELCOME
        }
        Packet::Pull { nonce, from, digest, after } => {
            out.extend_from_slice(&nonce.to_le_bytes());
            put_identity(out, from);
            out.extend_from_slice(&digest.to_le_bytes());
            out.extend_from_slice(&after.to_le_bytes());
            PULL
        }
        Packet::Page { nonce, next, entries } => {
            out.extend_from_slice(&nonce.to_le_bytes());
            out.extend_from_slice(&next.to_le_bytes());
            entries.iter().for_each(|entry| put_page_entry(out, entry));
            PAGE
        }
        Packet::MetaRequest { from, wanted } => {
            put_identity(out, from);
            for (id, stamp) in wanted {
                out.extend_from_slice(&id.0.to_le_bytes());
                out.extend_from_slice(&stamp.to_le_bytes());
            }
            META_REQUEST
        }
        Packet::Meta { news, items } => {
            out.push(u8::from(*news));
            for item in items {
                out.extend_from_slice(&item.id.0.to_le_bytes());
                out.extend_from_slice(&item.stamp.to_le_bytes());
                out.extend_from_slice(&(item.bytes.len() as u16).to_le_bytes());
                out.extend_from_slice(&item.bytes);
            }
            META
        }
        Packet::Leave(identities) => {
            identities.iter().for_each(|identity| put_identity(out, identity));
            LEAVE
        }
        Packet::Suspected { identity, incarnation } => {
            put_identity(out, identity);
            out.extend_from_slice(&incarnation.to_le_bytes());
            SUSPECTED
        }
        Packet::Refused { from, identity } => {
            put_identity(out, from);
            put_identity(out, identity);
            REFUSED
        }
        Packet::Noted { body, notes } => {
            out.extend_from_slice(&(body.len() as u16).to_le_bytes());
            out.extend_from_slice(body);
            notes.iter().for_each(|note| put_note(out, note));
            NOTED
        }
        Packet::Nack { from, target, number } => {
            put_identity(out, from);
            out.extend_from_slice(&target.0.to_le_bytes());
            out.push(*number);
            NACK
        }
    }
}

fn put_hello(out: &mut Vec<u8>, hello: &Hello) {
    out.extend_from_slice(&hello.nonce.to_le_bytes());
    out.extend_from_slice(&hello.to.map_or(0, |id| id.0).to_le_bytes());
    out.extend_from_slice(&hello.floor.to_le_bytes());
    put_identity(out, &hello.identity);
}

fn put_page_entry(out: &mut Vec<u8>, entry: &PageEntry) {
    put_identity(out, &entry.identity);
    out.extend_from_slice(&entry.incarnation.to_le_bytes());
    out.push(match entry.standing {
        Standing::Active => 0,
        Standing::Down => 1,
        Standing::Left => 2,
    });
    out.extend_from_slice(&entry.stamp.to_le_bytes());
    out.extend_from_slice(&entry.age_seconds.to_le_bytes());
}

fn read_body(kind: u8, body: &[u8]) -> Result<Packet, Refusal> {
    let mut reader = Reader::new(body);
    let packet = match kind {
        FOCA => return Ok(Packet::Foca(body.to_vec())),
        JOIN => Packet::Join(read_hello(&mut reader)?),
        WELCOME => Packet::Welcome(read_hello(&mut reader)?),
        PULL => {
            Packet::Pull { nonce: reader.u32()?, from: reader.identity()?, digest: reader.u64()?, after: reader.u64()? }
        }
        PAGE => {
            Packet::Page { nonce: reader.u32()?, next: reader.u64()?, entries: read_all(&mut reader, read_page_entry)? }
        }
        META_REQUEST => Packet::MetaRequest {
            from: reader.identity()?,
            wanted: read_all(&mut reader, |reader| Ok((reader.node_id()?, reader.u64()?)))?,
        },
        META => Packet::Meta { news: reader.u8()? == 1, items: read_all(&mut reader, read_meta_item)? },
        LEAVE => Packet::Leave(read_all(&mut reader, |reader| reader.identity())?),
        SUSPECTED => Packet::Suspected { identity: reader.identity()?, incarnation: reader.u16()? },
        REFUSED => Packet::Refused { from: reader.identity()?, identity: reader.identity()? },
        NOTED => {
            let length = reader.u16()?;
            Packet::Noted { body: reader.bytes(length.into())?.to_vec(), notes: read_all(&mut reader, read_note)? }
        }
        NACK => Packet::Nack { from: reader.identity()?, target: reader.node_id()?, number: reader.u8()? },
        _ => return Err(Refusal::UnknownKind),
    };
    reader.finish()?;
    Ok(packet)
}

/// Reads items until the body ends; their number is bounded by the datagram.
fn read_all<T>(reader: &mut Reader, read: impl Fn(&mut Reader) -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let mut items = Vec::new();
    while reader.remaining() > 0 {
        items.push(read(reader)?);
    }
    Ok(items)
}

fn read_hello(reader: &mut Reader) -> Result<Hello, Malformed> {
    Ok(Hello {
        nonce: reader.u32()?,
        to: Some(reader.u64()?).filter(|id| *id != 0).map(NodeId),
        floor: reader.u32()?,
        identity: reader.identity()?,
    })
}

fn read_page_entry(reader: &mut Reader) -> Result<PageEntry, Malformed> {
    Ok(PageEntry {
        identity: reader.identity()?,
        incarnation: reader.u16()?,
        standing: match reader.u8()? {
            0 => Standing::Active,
            1 => Standing::Down,
            2 => Standing::Left,
            _ => return Err(Malformed),
        },
        stamp: reader.u64()?,
        age_seconds: reader.u32()?,
    })
}

fn read_meta_item(reader: &mut Reader) -> Result<MetaItem, Malformed> {
    let id = reader.node_id()?;
    let stamp = reader.u64()?;
    let length = reader.u16()?;
    Ok(MetaItem { id, stamp, bytes: reader.bytes(length.into())?.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every_packet() -> Vec<Packet> {
        let identity = Identity::new(NodeId(7), 3, "[2001:db8::1]:7950".parse().unwrap());
        let hello = Hello { nonce: 1, to: Some(NodeId(9)), floor: 2, identity };
        let entry = PageEntry { identity, incarnation: 4, standing: Standing::Left, stamp: 5, age_seconds: 6 };
        let note = Note {
            target: NodeId(1),
            generation: 2,
            incarnation: 3,
            from: NodeId(4),
            paths: crate::note::Paths::default(),
        };
        vec![
            Packet::Foca(vec![1, 2, 3]),
            Packet::Join(hello),
            Packet::Welcome(hello),
            Packet::Pull { nonce: 1, from: identity, digest: 2, after: 3 },
            Packet::Page { nonce: 1, next: 2, entries: vec![entry; PAGE_ENTRIES] },
            Packet::MetaRequest { from: identity, wanted: vec![(NodeId(1), 2); META_QUESTIONS] },
            Packet::Meta { news: true, items: vec![MetaItem { id: NodeId(1), stamp: 2, bytes: vec![9; 1200] }] },
            Packet::Leave(vec![identity; LEAVE_IDENTITIES]),
            Packet::Suspected { identity, incarnation: 4 },
            Packet::Refused { from: identity, identity },
            Packet::Noted { body: vec![7; 90], notes: vec![note; note_room(90)] },
            Packet::Nack { from: identity, target: NodeId(5), number: 6 },
        ]
    }

    #[test]
    fn packets_round_trip_and_the_fullest_fit_a_datagram() {
        let envelope = Envelope::new("watchfire");
        for packet in every_packet() {
            let sealed = envelope.seal(&packet);
            assert!(sealed.len() <= MAX_DATAGRAM_BYTES);
            assert_eq!(envelope.open(&sealed), Ok(packet));
        }
    }

    #[test]
    fn what_is_not_ours_is_refused_by_reason() {
        let envelope = Envelope::new("watchfire");
        for packet in every_packet() {
            let sealed = envelope.seal(&packet);
            let changed = |at: usize| {
                let mut bytes = sealed.clone();
                bytes[at] ^= 1;
                envelope.open(&bytes)
            };
            assert_eq!(Envelope::new("other").open(&sealed), Err(Refusal::OtherCluster));
            assert_eq!(changed(0), Err(Refusal::Version));
            for at in (1..2).chain(ENVELOPE_BYTES..sealed.len()) {
                assert_eq!(changed(at), Err(Refusal::Checksum));
            }
            for cut in 0..sealed.len() {
                let refused = envelope.open(&sealed[..cut]);
                assert!(matches!(refused, Err(Refusal::Malformed | Refusal::Checksum)), "{cut}: {refused:?}");
            }
        }
        assert_eq!(envelope.open(&[0; MAX_DATAGRAM_BYTES + 1]), Err(Refusal::Oversized));
        assert_eq!(read_body(200, &[]), Err(Refusal::UnknownKind));
        assert_eq!(read_body(JOIN, &[0; 200]), Err(Refusal::Malformed));
    }

    #[test]
    fn metadata_is_packed_into_as_few_datagrams_as_its_order_allows() {
        let item = |size: usize| MetaItem { id: NodeId(1), stamp: 1, bytes: vec![0; size] };
        let sizes = |packets: Vec<Vec<MetaItem>>| packets.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(pack_metadata([200, 200, 1200, 100, 5000, 100].map(item))), [2, 2, 1]);
        assert!(pack_metadata([]).is_empty());
    }
}
