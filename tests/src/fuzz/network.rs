//! What comes over the wire: gossip's datagrams and streams, the frames of agents, remote write.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use watchfire_collector_core::remote_write;
use watchfire_gossip::{Effect, Gossip, GossipConfig, GossipKey, Input, Profile};
use watchfire_shared::frame::FrameReader;
use watchfire_shared::frame::body::ValueState;
use watchfire_shared::frame::message::Message;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{Metadata, NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

fn machine(keys: Vec<GossipKey>) -> Gossip {
    let addr = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let metadata = Metadata {
        name: "node".to_owned(),
        role: Role::Agent,
        labels: BTreeMap::new(),
        version: "0.1.0".to_owned(),
        services: BTreeMap::new(),
    };
    let config = GossipConfig {
        cluster: "watchfire".to_owned(),
        id: NodeId(1),
        generation: 1,
        advertise: addr(7950),
        profile: Profile::Lan,
        seeds: vec![addr(7951)],
        known: Vec::new(),
        forgotten: Vec::new(),
        metadata,
        keys,
        key_order: 0,
    };
    Gossip::new(config, 1, Timestamp::EPOCH, &mut Vec::new()).expect("the configuration is right")
}

/// The hash of the cluster's name.
const CLUSTER: [u8; 4] = [0xfc, 0x5b, 0x21, 0xd0];

/// A packet in its plain form, of a kind and a body.
fn plain(piece: &[u8]) -> Vec<u8> {
    let Some((kind, body)) = piece.split_first() else { return Vec::new() };
    let checksum = crc32fast::hash(&[&[*kind], &CLUSTER[..], body].concat());
    [&[1, *kind], &CLUSTER[..], &checksum.to_le_bytes(), body].concat()
}

/// Packets one after the other, as datagrams that a checksum goes with or does not, each also said over a stream, to a node without keys and to one with a key.
pub(super) fn gossip(bytes: &[u8]) -> bool {
    let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 7951));
    let mut accepted = false;
    for keys in [Vec::new(), vec![GossipKey::new([7; 32])]] {
        let (mut machine, mut now) = (machine(keys), Timestamp::EPOCH);
        let mut effects = Vec::new();
        for (stream, piece) in (1..).zip(super::pieces(bytes)) {
            for bytes in [piece.to_vec(), plain(piece)] {
                machine.handle(now, Input::Datagram { from, bytes: bytes.clone() }, &mut effects);
                machine.handle(now, Input::Opening { stream, frame: bytes.clone() }, &mut effects);
                machine.handle(now, Input::Asked { stream, frames: vec![bytes] }, &mut effects);
            }
            now += Span::from_millis(100);
            machine.handle(now, Input::Wake, &mut effects);
            let told = effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count();
            assert!(told < 1000, "a datagram is answered with {told}");
            effects.clear();
        }
        // What is read and then judged to be of no use counts as read.
        let unread =
            ["malformed", "version", "other_cluster", "checksum", "unknown_kind", "plain", "unknown_key", "forged"];
        let is_unread = |name: &str| unread.iter().any(|reason| name.strip_prefix("dropped_") == Some(reason));
        let dropped: u64 =
            machine.stats().named().iter().filter(|(name, _)| is_unread(name)).map(|(_, count)| count).sum();
        accepted |= 4 * super::pieces(bytes).len() as u64 > dropped;
    }
    accepted
}

/// A stream of frames, in one piece and byte by byte; what is understood is written as it was read.
pub(super) fn frames(bytes: &[u8]) -> bool {
    let whole = read_frames(bytes, bytes.len().max(1));
    assert_eq!(whole, read_frames(bytes, 7), "frames do not depend on how the stream was cut");
    let (mut state, mut accepted) = (ValueState::default(), false);
    for frame in whole {
        let Ok(Some(message)) = Message::decode(&frame) else { continue };
        accepted = true;
        let again = message.encode();
        let read = Message::decode(&again).ok().flatten().map(|message| message.encode());
        assert_eq!(read, Some(again), "{message:?}");
        if let Message::Data(data) = &message {
            state.resize(usize::try_from(data.n).unwrap_or(usize::MAX).min(20_000));
            let _ = state.decode(&data.body, data.keyframe, data.coding);
        }
    }
    accepted
}

fn read_frames(bytes: &[u8], step: usize) -> Vec<Vec<u8>> {
    let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
    for chunk in bytes.chunks(step) {
        reader.push(chunk);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame.to_vec()),
                Ok(None) => break,
                Err(_) => return frames,
            }
        }
    }
    frames
}

/// A body as it is, and as what it decompresses to.
pub(super) fn remote_write(bytes: &[u8]) -> bool {
    let raw = remote_write::decode(bytes).is_ok();
    let body = snap::raw::Encoder::new().compress_vec(bytes);
    raw | body.is_ok_and(|body| remote_write::decode(&body).is_ok())
}
