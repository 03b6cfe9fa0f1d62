//! foca's packets in our fixed encoding, and a look into a packet before foca applies any of it.
//!
//! foca applies updates one by one and stops at the first bad byte; [`parse`] therefore checks the whole packet first,
//! so that a packet changes either what it says or nothing.

use bytes::{Buf, BufMut};
use foca::{Codec, Header, Member, Message, State};

use crate::identity::{Identity, Malformed, Reader, put_identity};

const PING: u8 = 1;
const ACK: u8 = 2;
const PING_REQ: u8 = 3;
const INDIRECT_PING: u8 = 4;
const INDIRECT_ACK: u8 = 5;
const FORWARDED_ACK: u8 = 6;
const ANNOUNCE: u8 = 7;
const FEED: u8 = 8;
const GOSSIP: u8 = 9;
const TURN_UNDEAD: u8 = 10;

/// The encoding that foca is given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WireCodec;

/// What keeps foca from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    #[error("the packet is full")]
    Full,
    #[error("custom broadcasts are not spoken")]
    Broadcast,
    #[error(transparent)]
    Malformed(#[from] Malformed),
}

/// A packet that decodes as a whole.
pub(crate) struct Parsed {
    pub(crate) header: Header<Identity>,
    pub(crate) updates: Vec<Member<Identity>>,
}

/// Decodes a packet of foca's completely.
pub(crate) fn parse(body: &[u8]) -> Result<Parsed, Malformed> {
    let mut reader = Reader::new(body);
    let header = read_header(&mut reader)?;
    let mut updates = Vec::new();
    if !matches!(header.message, Message::Announce | Message::TurnUndead) {
        for _ in 0..reader.u16_big_endian()? {
            updates.push(read_member(&mut reader)?);
        }
    }
    reader.finish()?;
    Ok(Parsed { header, updates })
}

/// A packet of foca's that carries no updates. Broadcasts are not spoken.
pub(crate) fn without_updates(header: &Header<Identity>) -> Result<Vec<u8>, CodecError> {
    let mut body = Vec::new();
    WireCodec.encode_header(header, &mut body)?;
    body.put_u16(0);
    Ok(body)
}

impl Codec<Identity> for WireCodec {
    type Error = CodecError;

    fn encode_header(&mut self, header: &Header<Identity>, buf: impl BufMut) -> Result<(), CodecError> {
        let mut out = Vec::with_capacity(96);
        put_identity(&mut out, &header.src);
        out.extend_from_slice(&header.src_incarnation.to_le_bytes());
        put_identity(&mut out, &header.dst);
        put_message(&mut out, &header.message)?;
        put_all(&out, buf)
    }

    fn decode_header(&mut self, buf: impl Buf) -> Result<Header<Identity>, CodecError> {
        take(buf, read_header)
    }

    fn encode_member(&mut self, member: &Member<Identity>, buf: impl BufMut) -> Result<(), CodecError> {
        let mut out = Vec::with_capacity(40);
        put_identity(&mut out, member.id());
        out.extend_from_slice(&member.incarnation().to_le_bytes());
        out.push(match member.state() {
            State::Alive => 0,
            State::Suspect => 1,
            State::Down => 2,
        });
        put_all(&out, buf)
    }

    fn decode_member(&mut self, buf: impl Buf) -> Result<Member<Identity>, CodecError> {
        take(buf, read_member)
    }
}

fn put_all(bytes: &[u8], mut buf: impl BufMut) -> Result<(), CodecError> {
    if buf.remaining_mut() < bytes.len() {
        return Err(CodecError::Full);
    }
    buf.put_slice(bytes);
    Ok(())
}

/// Reads one item from the front of a buffer, which foca promises to be contiguous.
fn take<T>(mut buf: impl Buf, read: fn(&mut Reader) -> Result<T, Malformed>) -> Result<T, CodecError> {
    let mut reader = Reader::new(buf.chunk());
    let item = read(&mut reader)?;
    let used = buf.chunk().len() - reader.remaining();
    buf.advance(used);
    Ok(item)
}

fn put_message(out: &mut Vec<u8>, message: &Message<Identity>) -> Result<(), CodecError> {
    let mut tagged = |tag: u8, identity: Option<&Identity>, number: Option<u8>| {
        out.push(tag);
        if let Some(identity) = identity {
            put_identity(out, identity);
        }
        out.extend(number);
    };
    match message {
        Message::Ping(number) => tagged(PING, None, Some(*number)),
        Message::Ack(number) => tagged(ACK, None, Some(*number)),
        Message::PingReq { target, probe_number } => tagged(PING_REQ, Some(target), Some(*probe_number)),
        Message::IndirectPing { origin, probe_number } => tagged(INDIRECT_PING, Some(origin), Some(*probe_number)),
        Message::IndirectAck { target, probe_number } => tagged(INDIRECT_ACK, Some(target), Some(*probe_number)),
        Message::ForwardedAck { origin, probe_number } => tagged(FORWARDED_ACK, Some(origin), Some(*probe_number)),
        Message::Announce => tagged(ANNOUNCE, None, None),
        Message::Feed => tagged(FEED, None, None),
        Message::Gossip => tagged(GOSSIP, None, None),
        Message::TurnUndead => tagged(TURN_UNDEAD, None, None),
        Message::Broadcast => return Err(CodecError::Broadcast),
    }
    Ok(())
}

fn read_header(reader: &mut Reader) -> Result<Header<Identity>, Malformed> {
    let src = reader.identity()?;
    let src_incarnation = reader.u16()?;
    let dst = reader.identity()?;
    let message = match reader.u8()? {
        PING => Message::Ping(reader.u8()?),
        ACK => Message::Ack(reader.u8()?),
        PING_REQ => Message::PingReq { target: reader.identity()?, probe_number: reader.u8()? },
        INDIRECT_PING => Message::IndirectPing { origin: reader.identity()?, probe_number: reader.u8()? },
        INDIRECT_ACK => Message::IndirectAck { target: reader.identity()?, probe_number: reader.u8()? },
        FORWARDED_ACK => Message::ForwardedAck { origin: reader.identity()?, probe_number: reader.u8()? },
        ANNOUNCE => Message::Announce,
        FEED => Message::Feed,
        GOSSIP => Message::Gossip,
        TURN_UNDEAD => Message::TurnUndead,
        _ => return Err(Malformed),
    };
    Ok(Header { src, src_incarnation, dst, message })
}

fn read_member(reader: &mut Reader) -> Result<Member<Identity>, Malformed> {
    let identity = reader.identity()?;
    let incarnation = reader.u16()?;
    let state = match reader.u8()? {
        0 => State::Alive,
        1 => State::Suspect,
        2 => State::Down,
        _ => return Err(Malformed),
    };
    Ok(Member::new(identity, incarnation, state))
}
