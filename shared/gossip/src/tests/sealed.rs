//! Encrypted gossip: it works like the plain one, keys can be changed, and nobody without a key changes anything.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_shared::machine::Machine;
use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::envelope::Envelope;
use crate::harness::Net;
use crate::packet::every_packet;
use crate::{Effect, GossipKey, Input, Stranger};

fn key(byte: u8) -> GossipKey {
    GossipKey::new([byte; 32])
}

#[test]
fn an_encrypted_cluster_meets_learns_and_loses_members() {
    let mut net = Net::sealed(1, 10, &[key(1)]);
    net.run_for(Span::from_seconds(30));
    net.kill_host(4);
    assert!(net.run_until(Span::from_seconds(20), |net| net.all_see("node-004", MemberState::Down)).is_some());
    net.start(4);
    assert!(net.run_until(Span::from_seconds(10), Net::is_complete).is_some());
    for (_, gossip) in net.running() {
        let stats = gossip.stats();
        assert_eq!((stats.dropped_forged, stats.dropped_unknown_key, stats.dropped_replayed), (0, 0, 0));
    }
}

#[test]
fn a_wrong_key_or_none_is_told_with_its_address_and_not_again_and_again() {
    let mut net = Net::sealed(9, 3, &[key(1)]);
    for (keys, stranger) in [(vec![key(2)], Stranger::UnknownKey), (Vec::new(), Stranger::Plain)] {
        let other = net.add(&format!("other-{}", keys.len()), &[0]);
        net.nodes[other].stored_keys = Some(keys);
        net.told.clear();
        net.start(other);
        net.run_for(Span::from_seconds(120));
        let from = net.nodes[other].addr;
        let told = net.told.iter().filter(|(at, _)| *at == 0).map(|(_, told)| told.clone()).collect::<Vec<_>>();
        assert_eq!(told, [Effect::Stranger { from, stranger }]);
        net.kill(other);
        net.run_for(Span::from_seconds(300));
    }
}

#[test]
fn keys_are_rotated_node_by_node_without_a_down() {
    let mut net = Net::sealed(2, 6, &[key(1)]);
    let start = net.now;
    for keys in [[key(1), key(2)].as_slice(), &[key(2), key(1)], &[key(2)]] {
        for at in 0..6 {
            net.input(at, Input::SetKeys { keys: keys.to_vec(), order: 0 });
            net.run_for(Span::from_millis(700));
        }
    }
    net.run_for(Span::from_seconds(20));
    assert_eq!(net.downs(start), []);
    assert!(net.is_complete());
    assert!(net.running().all(|(_, gossip)| gossip.stats().dropped_unknown_key == 0));
}

#[test]
fn a_node_without_the_key_is_nobody() {
    let mut net = Net::sealed(3, 3, &[key(1)]);
    for keys in [vec![key(9)], Vec::new()] {
        net.keys = keys;
        let stranger = net.add("stranger", &[0]);
        net.start(stranger);
        net.run_for(Span::from_seconds(10));
        assert_eq!(net.members(stranger).len(), 1);
        assert_eq!(net.members(0).len(), 3);
    }
    let stats = *net.nodes[0].gossip.as_ref().unwrap().stats();
    assert!(stats.dropped_unknown_key > 0 && stats.dropped_plain > 0);
}

/// A datagram as an attacker without the key can make it.
fn hostile(rng: &mut StdRng, recorded: &[Vec<u8>], strangers: &mut [Envelope]) -> Vec<u8> {
    let mut sample = recorded[rng.random_range(0..recorded.len())].clone();
    match rng.random_range(0..5) {
        0 => sample.truncate(rng.random_range(0..sample.len())),
        1 => {
            let at = rng.random_range(0..sample.len());
            sample[at] ^= 1 << rng.random_range(0..8);
        }
        2 => {
            let packets = every_packet();
            let stranger = rng.random_range(0..strangers.len());
            sample = strangers[stranger].seal(&packets[rng.random_range(0..packets.len())]);
        }
        3 => sample = (0..rng.random_range(0..1500)).map(|_| rng.random()).collect(),
        // As it was recorded: it came before.
        _ => {}
    }
    sample
}

#[test]
fn ten_thousand_forged_replayed_truncated_and_foreign_packets_change_nothing() {
    let mut net = Net::sealed(4, 5, &[key(1)]);
    net.run_for(Span::from_seconds(45));
    net.recorded = Some((0, Vec::new()));
    net.run_for(Span::from_seconds(20));
    let recorded = net.recorded.take().unwrap().1;
    assert!(recorded.len() > 20);
    let mut rng = StdRng::seed_from_u64(5);
    let mut strangers = [
        Envelope::plain("watchfire"),
        Envelope::new("watchfire", &[key(2)], &mut rng),
        Envelope::new("other", &[key(1)], &mut rng),
    ];
    let (now, from) = (net.now, net.nodes[1].addr);
    let gossip = net.nodes[0].gossip.as_mut().unwrap();
    let before = (gossip.members(), gossip.index(), gossip.generation());
    let stats = *gossip.stats();
    let mut effects = Vec::new();
    for number in 0..10_000u64 {
        let bytes = hostile(&mut rng, &recorded, &mut strangers);
        let input = if number % 4 == 0 {
            Input::Asked { stream: number, frames: vec![bytes] }
        } else {
            Input::Datagram { from, bytes }
        };
        gossip.handle(now, input, &mut effects);
    }
    assert_eq!((gossip.members(), gossip.index(), gossip.generation()), before);
    // Of all strangers one is told of.
    let (told, effects): (Vec<Effect>, Vec<Effect>) =
        effects.into_iter().partition(|one| matches!(one, Effect::Stranger { .. }));
    assert_eq!(told.len(), 1);
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Send { .. })), "{effects:?}");
    assert!(effects.len() < 5, "{} effects", effects.len());
    let refused = |stats: &crate::Stats| {
        [
            stats.dropped_oversized,
            stats.dropped_malformed,
            stats.dropped_version,
            stats.dropped_plain,
            stats.dropped_unknown_key,
            stats.dropped_forged,
            stats.dropped_replayed,
        ]
    };
    let counted: Vec<u64> = refused(gossip.stats()).iter().zip(refused(&stats)).map(|(now, then)| now - then).collect();
    assert_eq!(counted.iter().sum::<u64>(), 10_000, "{counted:?}");
    assert!(counted.iter().all(|count| *count > 0), "{counted:?}");
    net.run_for(Span::from_seconds(60));
    assert!(net.is_complete());
}
