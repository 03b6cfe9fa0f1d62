//! The packets inside the envelope of a datagram or of a frame of a stream: what they say, and how much of it fits.

mod body;

use watchfire_shared::limits::{MAX_DATAGRAM_BYTES, MAX_GOSSIP_FRAME_BYTES};
use watchfire_shared::member::NodeId;

pub(crate) use body::{put_body, read_body};

use crate::conditions::Report;
use crate::envelope::ENVELOPE_BYTES;
use crate::identity::Identity;
use crate::note::{NOTE_BYTES, Note};
use crate::place::{PLACE_BYTES, Place};
use crate::rotation::KeyOp;

/// The latest protocol that is spoken here. Kinds of packets up to 14 are the first one, 15 to 17 the second, 18 and
/// 19 the third; the fourth brought reports, and the fifth ties: its speakers let others hold one to them.
///
/// A packet never changes: what is new gets a kind of its own and the next number here, and goes to members that announce
/// it. Receivers pass over kinds that they do not know.
pub(crate) const PROTOCOL: u16 = 5;
/// The first protocol whose speakers take [`Packet::Located`] and [`Packet::Places`].
pub(crate) const PLACES_SINCE: u16 = 2;
/// The first protocol whose speakers take [`Packet::Keys`].
pub(crate) const KEYS_SINCE: u16 = 3;
/// The first protocol whose speakers take [`Packet::Forget`].
pub(crate) const FORGET_SINCE: u16 = 3;
/// The first protocol whose speakers take [`Packet::Report`].
pub(crate) const REPORTS_SINCE: u16 = 4;
/// The first protocol whose speakers keep a stream open that begins with [`Packet::Tie`].
pub(crate) const TIES_SINCE: u16 = 5;
/// Room for a body.
const BODY_BYTES: usize = MAX_DATAGRAM_BYTES - ENVELOPE_BYTES;
/// An IPv6 identity, the largest.
const IDENTITY_BYTES: usize = 31;
const PAGE_ENTRY_BYTES: usize = IDENTITY_BYTES + 2 + 1 + 8 + 4;

/// Entries that a page always has room for.
pub(crate) const PAGE_ENTRIES: usize = (BODY_BYTES - 14) / PAGE_ENTRY_BYTES;
/// Entries that a page in a frame of a stream always has room for.
pub(crate) const FRAME_ENTRIES: usize = (MAX_GOSSIP_FRAME_BYTES - ENVELOPE_BYTES - 14) / PAGE_ENTRY_BYTES;
/// Places that a packet in a frame of a stream always has room for.
pub(crate) const FRAME_PLACES: usize = (MAX_GOSSIP_FRAME_BYTES - ENVELOPE_BYTES) / (PLACE_BYTES + 8);
/// Notes of newer metadata that a packet always has room for.
pub(crate) const NEWER_NOTES: usize = (BODY_BYTES - IDENTITY_BYTES - 2) / 16;
/// Identities that a leave packet always has room for.
pub(crate) const LEAVE_IDENTITIES: usize = (BODY_BYTES - 2) / IDENTITY_BYTES;
/// Questions for metadata that a packet always has room for.
pub(crate) const META_QUESTIONS: usize = (BODY_BYTES - IDENTITY_BYTES - 2) / 16;
/// Bytes of a metadata item besides the metadata itself.
const META_ITEM_OVERHEAD: usize = 18;

/// How many notes may ride with a packet of foca's that has `body` bytes, beside the sender's place.
pub(crate) const fn note_room(body: usize) -> usize {
    BODY_BYTES.saturating_sub(body + 2 + PLACE_BYTES) / NOTE_BYTES
}

/// Whether the sender's place may ride with a packet of foca's that has `body` bytes.
pub(crate) const fn has_room_for_place(body: usize) -> bool {
    body + 2 + PLACE_BYTES <= BODY_BYTES
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

/// A node that found its own id claimed at another address, to whoever is there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct TwinNote {
    /// Made by the one who asks, returned by the one who answers.
    pub(crate) nonce: u32,
    pub(crate) answers: bool,
    /// For how long the sender has been running.
    pub(crate) age_millis: u64,
    pub(crate) identity: Identity,
}

#[derive(Clone, PartialEq, Debug)]
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
    /// Begins an exchange of whole views over a stream; pages and metadata follow.
    Sync {
        from: Identity,
    },
    /// The sender holds metadata of these stamps that is too large for a datagram: it is to be fetched over a stream.
    Newer {
        from: Identity,
        held: Vec<(NodeId, u64)>,
    },
    /// A packet of foca's, who suspects whom, and where the sender stands.
    Located {
        place: Place,
        body: Vec<u8>,
        notes: Vec<Note>,
    },
    /// Where members stand, as far as the sender knows.
    Places(Vec<(NodeId, Place)>),
    Twin(TwinNote),
    /// What the sender sees of others.
    Report {
        from: Identity,
        report: Report,
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
    /// A change of keys that whoever gets this is to make as well; travels sealed only.
    Keys {
        order: u64,
        op: KeyOp,
    },
    /// These lives will not come back, somebody said.
    Forget(Vec<Identity>),
    /// Begins a stream that says no more: `from` holds a tie to `to`.
    Tie {
        from: Identity,
        to: NodeId,
    },
}

impl Packet {
    /// The members that a page names; none for other packets.
    pub(crate) fn named(&self) -> Vec<NodeId> {
        match self {
            Self::Page { entries, .. } => entries.iter().map(|entry| entry.identity.id).collect(),
            _ => Vec::new(),
        }
    }
}

impl MetaItem {
    /// Whether it is too large for any datagram.
    pub(crate) fn needs_stream(&self) -> bool {
        self.bytes.len() + META_ITEM_OVERHEAD > BODY_BYTES - 1
    }
}

/// Packs items into datagrams' worth of packets, in order; an item that is too large for any is left out.
pub(crate) fn pack_metadata(items: impl IntoIterator<Item = MetaItem>) -> Vec<Vec<MetaItem>> {
    pack(items.into_iter().filter(|item| !item.needs_stream()), BODY_BYTES - 1)
}

/// Packs items into packets for the frames of a stream, in order.
pub(crate) fn pack_metadata_frames(items: impl IntoIterator<Item = MetaItem>) -> Vec<Vec<MetaItem>> {
    pack(items, MAX_GOSSIP_FRAME_BYTES - ENVELOPE_BYTES - 1)
}

fn pack(items: impl IntoIterator<Item = MetaItem>, whole: usize) -> Vec<Vec<MetaItem>> {
    let mut packets: Vec<Vec<MetaItem>> = Vec::new();
    let mut room = 0;
    for item in items {
        let size = item.bytes.len() + META_ITEM_OVERHEAD;
        match packets.last_mut() {
            Some(last) if size <= room => last.push(item),
            _ => {
                packets.push(vec![item]);
                room = whole;
            }
        }
        room -= size;
    }
    packets
}

/// One packet of every kind, each as full as it may be.
#[cfg(test)]
pub(crate) fn every_packet() -> Vec<Packet> {
    use crate::conditions::{MOST_GONE, MOST_OBSERVED, Names};
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
        Packet::Located { place: Place::default(), body: vec![7; 90], notes: vec![note; note_room(90)] },
        Packet::Places(vec![(NodeId(1), Place::default()); 40]),
        Packet::Twin(TwinNote { nonce: 1, answers: true, age_millis: 2, identity }),
        Packet::Sync { from: identity },
        Packet::Newer { from: identity, held: vec![(NodeId(1), 2); NEWER_NOTES] },
        Packet::Keys { order: 5, op: KeyOp::Install(crate::GossipKey::new([6; 32])) },
        Packet::Forget(vec![identity; LEAVE_IDENTITIES]),
        Packet::Keys { order: 6, op: KeyOp::Use(watchfire_shared::member::KeyId([1, 2, 3, 4])) },
        Packet::Report {
            from: identity,
            report: Report {
                digest: 1,
                active: 2,
                cut: true,
                gone: vec![(NodeId(1), 2); MOST_GONE],
                observed: vec![(NodeId(1), Names(3)); MOST_OBSERVED],
            },
        },
        Packet::Tie { from: identity, to: NodeId(5) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_packed_into_as_few_datagrams_as_its_order_allows() {
        let item = |size: usize| MetaItem { id: NodeId(1), stamp: 1, bytes: vec![0; size] };
        let sizes = |packets: Vec<Vec<MetaItem>>| packets.iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(sizes(pack_metadata([200, 200, 1200, 100, 5000, 100].map(item))), [2, 2, 1]);
        assert!(pack_metadata([]).is_empty());
    }
}
