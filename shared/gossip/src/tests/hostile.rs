//! Datagrams from whoever can reach the port: none changes a view, grows memory or stops the machine.

use foca::{Codec, Header, Member, Message, State};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_shared::limits::MAX_DATAGRAM_BYTES;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Span;

use crate::codec::WireCodec;
use crate::envelope::Envelope;
use crate::harness::Net;
use crate::identity::Identity;
use crate::packet::{Hello, MetaItem, Packet, PageEntry, Standing};
use crate::{Effect, Gossip, Input, Profile, Stats};

fn dropped(stats: &Stats) -> u64 {
    let named = stats.named();
    named.iter().filter(|(name, _)| name.starts_with("dropped_")).map(|(_, count)| count).sum()
}

/// Packets that are well formed and lie: about strangers, about answers to nothing, about other lives.
fn forged(rng: &mut StdRng, net: &Net) -> Packet {
    let stranger = Identity::new(NodeId(rng.random_range(1..=u64::MAX)), 1, net.nodes[1].addr);
    let other_life = Identity::new(net.nodes[1].id, rng.random_range(2..1000), net.nodes[1].addr);
    let hello = Hello {
        nonce: rng.random(),
        to: Some(net.nodes[0].id),
        floor: rng.random_range(2_000_000..u32::MAX),
        identity: stranger,
    };
    let entry = PageEntry { identity: stranger, incarnation: 0, standing: Standing::Active, stamp: 1, age_seconds: 0 };
    match rng.random_range(0..8) {
        0 => Packet::Welcome(hello),
        1 => Packet::Pull { nonce: rng.random(), from: stranger, digest: 0, after: 0 },
        2 => Packet::Page { nonce: rng.random(), next: 0, entries: vec![entry; 20] },
        3 => Packet::MetaRequest { from: stranger, wanted: vec![(net.nodes[0].id, 0); 50] },
        4 => {
            let item = MetaItem { id: stranger.id, stamp: 9, bytes: vec![0x80; 30] };
            Packet::Meta { news: true, items: vec![item] }
        }
        5 => {
            let item = MetaItem { id: net.nodes[1].id, stamp: u64::MAX, bytes: vec![0xdd; 60] };
            Packet::Meta { news: true, items: vec![item] }
        }
        6 => Packet::Leave(vec![stranger, other_life]),
        _ => Packet::Foca((0..rng.random_range(0..200)).map(|_| rng.random()).collect()),
    }
}

fn hostile(rng: &mut StdRng, net: &Net, genuine: &[Vec<u8>]) -> Vec<u8> {
    let mut envelope = Envelope::plain("watchfire");
    let mut sample = genuine[rng.random_range(0..genuine.len())].clone();
    match rng.random_range(0..6) {
        0 => (0..rng.random_range(0..2000)).map(|_| rng.random()).collect(),
        1 => {
            sample.truncate(rng.random_range(0..sample.len()));
            sample
        }
        2 => {
            let at = rng.random_range(0..sample.len());
            sample[at] ^= 1 << rng.random_range(0..8);
            sample
        }
        3 => {
            let packet = forged(rng, net);
            Envelope::plain("somebody-else").seal(&packet)
        }
        4 => {
            sample.resize(MAX_DATAGRAM_BYTES + rng.random_range(1..100), 0);
            sample
        }
        _ => envelope.seal(&forged(rng, net)),
    }
}

#[test]
fn ten_thousand_hostile_datagrams_change_nothing_and_are_counted() {
    let mut net = Net::settled(1, Profile::Lan, 5);
    net.run_for(Span::from_seconds(45));
    let mut rng = StdRng::seed_from_u64(2);
    let mut envelope = Envelope::plain("watchfire");
    let genuine: Vec<Vec<u8>> = (0..50).map(|_| envelope.seal(&forged(&mut rng, &net))).collect();
    let datagrams: Vec<Vec<u8>> = (0..10_000).map(|_| hostile(&mut rng, &net, &genuine)).collect();
    let (now, from) = (net.now, net.nodes[1].addr);
    let gossip: &mut Gossip = net.nodes[0].gossip.as_mut().unwrap();
    let (members, index, generation) = (gossip.members(), gossip.index(), gossip.generation());
    let before = dropped(gossip.stats());
    let mut effects = Vec::new();
    for bytes in datagrams {
        gossip.handle(now, Input::Datagram { from, bytes }, &mut effects);
    }
    assert_eq!(gossip.members(), members);
    assert_eq!((gossip.index(), gossip.generation()), (index, generation));
    assert!(effects.iter().all(|effect| !matches!(effect, Effect::Changed(_) | Effect::SaveGeneration(_))));
    assert!(effects.len() < 10, "{} effects", effects.len());
    let counted = dropped(gossip.stats()) - before;
    assert!(counted >= 10_000, "{counted} of 10000 counted");
    let reasons = gossip.stats().named();
    for reason in [
        "dropped_oversized",
        "dropped_malformed",
        "dropped_version",
        "dropped_other_cluster",
        "dropped_checksum",
        "dropped_unexpected",
    ] {
        assert!(reasons.iter().any(|(name, count)| *name == reason && *count > 0), "{reason}: {reasons:?}");
    }
    net.run_for(Span::from_seconds(60));
    assert!(net.is_complete());
}

#[test]
fn a_flood_of_joins_is_answered_at_a_bounded_rate() {
    let mut net = Net::settled(3, Profile::Lan, 2);
    let mut envelope = Envelope::plain("watchfire");
    let (now, from) = (net.now, net.nodes[1].addr);
    let gossip = net.nodes[0].gossip.as_mut().unwrap();
    let mut effects = Vec::new();
    for nonce in 0..5000 {
        let identity = Identity::new(NodeId(u64::from(nonce) + 1), 1, from);
        let bytes = envelope.seal(&Packet::Join(Hello { nonce, to: None, floor: 0, identity }));
        gossip.handle(now, Input::Datagram { from, bytes }, &mut effects);
    }
    let answers = effects.iter().filter(|effect| matches!(effect, Effect::Send { .. })).count();
    assert!((100..=200).contains(&answers), "{answers}");
    assert!(gossip.stats().dropped_rate_limited >= 4800);
    assert_eq!(gossip.members().len(), 2);
}

#[test]
fn strangers_without_number_stop_at_the_bound_and_the_dead_make_room() {
    let mut net = Net::settled(4, Profile::Lan, 2);
    let mut envelope = Envelope::plain("watchfire");
    let from = net.nodes[1].addr;
    let src = Identity::new(net.nodes[1].id, 1, from);
    let dst = Identity::new(net.nodes[0].id, 1, net.nodes[0].addr);
    let gossip = net.nodes[0].gossip.as_mut().unwrap();
    const BOUND: usize = 1000;
    gossip.set_member_limit(BOUND);
    let mut effects = Vec::new();
    let mut next = 1;
    let mut flood = |gossip: &mut Gossip, count: u64, state: State, now| {
        for _ in 0..count / 50 {
            let ids = next..next + 50;
            next += 50;
            let members = ids.map(|id| Member::new(Identity::new(NodeId(id), 1, from), 0, state));
            let bytes = envelope.seal(&Packet::Foca(gossip_packet(src, dst, members)));
            effects.clear();
            gossip.handle(now, Input::Datagram { from, bytes }, &mut effects);
        }
    };
    let bound = BOUND as u64;
    flood(gossip, bound / 2, State::Down, net.now);
    flood(gossip, bound / 2 + 200, State::Alive, net.now + Span::from_seconds(1));
    assert_eq!(gossip.stats().dropped_members_full, 0, "the dead made room for the living");
    flood(gossip, bound, State::Alive, net.now + Span::from_seconds(2));
    assert!(gossip.stats().dropped_members_full > 0);
    let mut listed = Vec::new();
    gossip.handle(net.now + Span::from_seconds(10), Input::Wake, &mut listed);
    assert!((BOUND - 50..=BOUND).contains(&gossip.members().len()), "{}", gossip.members().len());
}

/// A gossip packet of foca's as it is on the wire.
fn gossip_packet(src: Identity, dst: Identity, members: impl Iterator<Item = Member<Identity>>) -> Vec<u8> {
    let mut body = Vec::new();
    let header = Header { src, src_incarnation: 0, dst, message: Message::Gossip };
    WireCodec.encode_header(&header, &mut body).unwrap();
    let count_at = body.len();
    body.extend([0, 0]);
    let mut count = 0u16;
    for member in members {
        WireCodec.encode_member(&member, &mut body).unwrap();
        count += 1;
    }
    body[count_at..count_at + 2].copy_from_slice(&count.to_be_bytes());
    body
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| {
        let mut net = Net::cluster(seed, Profile::Local, 12);
        net.loss = |_| 0.05;
        net.run_for(Span::from_seconds(10));
        net.kill(3);
        net.run_for(Span::from_seconds(10));
        net.start(3);
        net.input(5, Input::Leave);
        net.run_for(Span::from_seconds(10));
        (net.trace, net.sent)
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
