//! The bytes of a packet: its kind, which stands in the envelope, and its body. Integers are little-endian.
//!
//! A body that does not decode to its last byte is refused whole. Kinds are never given out twice; one that is not known
//! here is of a later version, and is dropped and counted.

use watchfire_shared::member::{KeyId, NodeId};

use super::{Hello, MetaItem, Packet, PageEntry, Standing, TwinNote};
use crate::conditions::{Names, Report};
use crate::envelope::Refusal;
use crate::identity::{Identity, Malformed, Reader, put_identity};
use crate::keyring::GossipKey;
use crate::note::{Note, put_note, read_note};
use crate::place::Place;
use crate::rotation::KeyOp;

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
const SYNC: u8 = 13;
const NEWER: u8 = 14;
const LOCATED: u8 = 15;
const PLACES: u8 = 16;
const TWIN: u8 = 17;
const KEYS: u8 = 18;
const FORGET: u8 = 19;
const REPORT: u8 = 20;
const TIE: u8 = 21;

pub(crate) fn put_body(out: &mut Vec<u8>, packet: &Packet) -> u8 {
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
            put_stamps(out, wanted);
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
        Packet::Forget(identities) => {
            identities.iter().for_each(|identity| put_identity(out, identity));
            FORGET
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
        Packet::Sync { from } => {
            put_identity(out, from);
            SYNC
        }
        Packet::Newer { from, held } => {
            put_identity(out, from);
            put_stamps(out, held);
            NEWER
        }
        Packet::Located { place, body, notes } => {
            place.put(out);
            put_noted(out, body, notes);
            LOCATED
        }
        Packet::Places(places) => {
            for (id, place) in places {
                out.extend_from_slice(&id.0.to_le_bytes());
                place.put(out);
            }
            PLACES
        }
        Packet::Report { from, report } => {
            put_report(out, from, report);
            REPORT
        }
        Packet::Twin(note) => {
            out.extend_from_slice(&note.nonce.to_le_bytes());
            out.push(u8::from(note.answers));
            out.extend_from_slice(&note.age_millis.to_le_bytes());
            put_identity(out, &note.identity);
            TWIN
        }
        Packet::Noted { body, notes } => {
            put_noted(out, body, notes);
            NOTED
        }
        Packet::Nack { from, target, number } => {
            put_identity(out, from);
            out.extend_from_slice(&target.0.to_le_bytes());
            out.push(*number);
            NACK
        }
        Packet::Keys { order, op } => {
            out.extend_from_slice(&order.to_le_bytes());
            put_key_op(out, op);
            KEYS
        }
        Packet::Tie { from, to } => {
            put_identity(out, from);
            out.extend_from_slice(&to.0.to_le_bytes());
            TIE
        }
    }
}

fn put_key_op(out: &mut Vec<u8>, op: &KeyOp) {
    let (word, bytes): (u8, &[u8]) = match op {
        KeyOp::Install(key) => (1, key.bytes()),
        KeyOp::Use(id) => (2, &id.0),
        KeyOp::Remove(id) => (3, &id.0),
    };
    out.push(word);
    out.extend_from_slice(bytes);
}

fn put_noted(out: &mut Vec<u8>, body: &[u8], notes: &[Note]) {
    out.extend_from_slice(&(body.len() as u16).to_le_bytes());
    out.extend_from_slice(body);
    notes.iter().for_each(|note| put_note(out, note));
}

fn put_report(out: &mut Vec<u8>, from: &Identity, report: &Report) {
    put_identity(out, from);
    out.extend_from_slice(&report.digest.to_le_bytes());
    out.extend_from_slice(&report.active.to_le_bytes());
    out.push(u8::from(report.cut));
    out.extend_from_slice(&(report.gone.len() as u16).to_le_bytes());
    for (id, generation) in &report.gone {
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(&generation.to_le_bytes());
    }
    for (id, names) in &report.observed {
        out.extend_from_slice(&id.0.to_le_bytes());
        out.push(names.0);
    }
}

fn put_stamps(out: &mut Vec<u8>, stamps: &[(NodeId, u64)]) {
    for (id, stamp) in stamps {
        out.extend_from_slice(&id.0.to_le_bytes());
        out.extend_from_slice(&stamp.to_le_bytes());
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

pub(crate) fn read_body(kind: u8, body: &[u8]) -> Result<Packet, Refusal> {
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
        META_REQUEST => Packet::MetaRequest { from: reader.identity()?, wanted: read_all(&mut reader, read_stamp)? },
        META => Packet::Meta { news: reader.u8()? == 1, items: read_all(&mut reader, read_meta_item)? },
        LEAVE => Packet::Leave(read_all(&mut reader, |reader| reader.identity())?),
        FORGET => Packet::Forget(read_all(&mut reader, |reader| reader.identity())?),
        SUSPECTED => Packet::Suspected { identity: reader.identity()?, incarnation: reader.u16()? },
        REFUSED => Packet::Refused { from: reader.identity()?, identity: reader.identity()? },
        NOTED => {
            let (body, notes) = read_noted(&mut reader)?;
            Packet::Noted { body, notes }
        }
        NACK => Packet::Nack { from: reader.identity()?, target: reader.node_id()?, number: reader.u8()? },
        LOCATED => {
            let place = Place::read(&mut reader)?;
            let (body, notes) = read_noted(&mut reader)?;
            Packet::Located { place, body, notes }
        }
        PLACES => Packet::Places(read_all(&mut reader, |reader| Ok((reader.node_id()?, Place::read(reader)?)))?),
        REPORT => Packet::Report { from: reader.identity()?, report: read_report(&mut reader)? },
        TWIN => Packet::Twin(TwinNote {
            nonce: reader.u32()?,
            answers: reader.u8()? == 1,
            age_millis: reader.u64()?,
            identity: reader.identity()?,
        }),
        SYNC => Packet::Sync { from: reader.identity()? },
        TIE => Packet::Tie { from: reader.identity()?, to: reader.node_id()? },
        KEYS => Packet::Keys { order: reader.u64()?, op: read_key_op(&mut reader)? },
        NEWER => Packet::Newer { from: reader.identity()?, held: read_all(&mut reader, read_stamp)? },
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

fn read_key_op(reader: &mut Reader) -> Result<KeyOp, Malformed> {
    match reader.u8()? {
        1 => Ok(KeyOp::Install(GossipKey::new(reader.array()?))),
        2 => Ok(KeyOp::Use(KeyId(reader.array()?))),
        3 => Ok(KeyOp::Remove(KeyId(reader.array()?))),
        _ => Err(Malformed),
    }
}

fn read_noted(reader: &mut Reader) -> Result<(Vec<u8>, Vec<Note>), Malformed> {
    let length = reader.u16()?;
    let body = reader.bytes(length.into())?.to_vec();
    Ok((body, read_all(reader, read_note)?))
}

fn read_report(reader: &mut Reader) -> Result<Report, Malformed> {
    let (digest, active, cut) = (reader.u64()?, reader.u32()?, reader.u8()? == 1);
    let count = reader.u16()?;
    // No more than the body holds, whatever the count says.
    let gone = (0..count).map(|_| Ok((reader.node_id()?, reader.u32()?))).collect::<Result<_, Malformed>>()?;
    let observed = read_all(reader, |reader| Ok((reader.node_id()?, Names(reader.u8()?))))?;
    Ok(Report { digest, active, cut, gone, observed })
}

fn read_stamp(reader: &mut Reader) -> Result<(NodeId, u64), Malformed> {
    Ok((reader.node_id()?, reader.u64()?))
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
    use crate::packet::every_packet;

    #[test]
    fn unknown_kinds_and_bodies_of_the_wrong_length_are_refused() {
        assert_eq!(read_body(200, &[]), Err(Refusal::UnknownKind));
        assert_eq!(read_body(JOIN, &[0; 200]), Err(Refusal::Malformed));
        for packet in every_packet().into_iter().filter(|packet| !matches!(packet, Packet::Foca(_))) {
            let mut body = Vec::new();
            let kind = put_body(&mut body, &packet);
            assert_eq!(read_body(kind, &body), Ok(packet));
            body.push(0);
            assert_eq!(read_body(kind, &body), Err(Refusal::Malformed), "kind {kind}");
        }
    }
}
