//! What goes over streams: whole views, large metadata, and probes where datagrams do not get through.

use watchfire_shared::member::{HeldKeys, MemberState, Metadata, NodeId};
use watchfire_shared::time::Span;

use crate::announced::encode_metadata;
use crate::envelope::Envelope;
use crate::harness::Net;
use crate::identity::Identity;
use crate::packet::{FRAME_ENTRIES, MetaItem, Packet, PageEntry, Standing, pack_metadata_frames};
use crate::{Input, Profile};

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn stat(net: &Net, at: usize, name: &str) -> u64 {
    let named = net.nodes[at].gossip.as_ref().unwrap().stats().named();
    named.into_iter().find(|(own, _)| *own == name).map(|(_, count)| count).unwrap()
}

/// Tells the first node, in the second one's name, of `count` more members with their metadata.
fn tell_of(net: &mut Net, count: usize) {
    let mut envelope = Envelope::plain("watchfire");
    let from = Identity::new(net.nodes[1].id, 1, net.nodes[1].addr);
    let member = |number: usize| {
        let [high, low] = (number as u16).to_be_bytes();
        Identity::new(NodeId(number as u64 + 1), 1, ([10, 9, high, low], 7950).into())
    };
    let entry = |number: usize| PageEntry {
        identity: member(number),
        incarnation: 0,
        standing: Standing::Active,
        stamp: 1,
        age_seconds: 0,
    };
    let metadata = |number: usize| {
        let bytes = encode_metadata(&Net::metadata(&format!("other-{number:04}")), &HeldKeys::default()).unwrap();
        MetaItem { id: member(number).id, stamp: 1, bytes }
    };
    let entries: Vec<PageEntry> = (0..count).map(entry).collect();
    let mut packets = vec![Packet::Sync { from }];
    packets.extend(entries.chunks(FRAME_ENTRIES).map(|page| Packet::Page {
        nonce: 0,
        next: 0,
        entries: page.to_vec(),
    }));
    let frames = pack_metadata_frames((0..count).map(metadata));
    packets.extend(frames.into_iter().map(|items| Packet::Meta { news: false, items }));
    let frames = packets.iter().map(|packet| envelope.seal_frame(packet)).collect();
    net.input(0, Input::Asked { stream: u64::MAX, frames });
}

#[test]
fn a_newcomer_knows_a_thousand_members_within_a_second() {
    let mut net = Net::settled(1, Profile::Lan, 2);
    tell_of(&mut net, 998);
    let newcomer = net.add("newcomer", &[0]);
    net.start(newcomer);
    let named = |net: &Net| net.members(newcomer).iter().filter(|m| m.name.starts_with("other-")).count() == 998;
    let took = net.run_until(seconds(3), |net| net.members(newcomer).len() == 1001 && named(net));
    assert!(took.is_some_and(|took| took <= seconds(1)), "{took:?}, {} members", net.members(newcomer).len());
    assert_eq!(stat(&net, newcomer, "exchanges"), 1);
    assert_eq!(stat(&net, newcomer, "exchanges_failed"), 0);
}

#[test]
fn where_no_stream_comes_about_a_newcomer_learns_by_datagrams() {
    let mut net = Net::new(2, Profile::Lan);
    net.streams_blocked = true;
    net.add_all(40);
    (0..40).for_each(|at| net.start(at));
    assert!(net.run_until(seconds(10), Net::is_complete).is_some());
    assert!((1..40).all(|at| stat(&net, at, "exchanges_failed") > 0), "streams were tried first");
}

#[test]
fn members_whose_datagrams_are_blocked_stay_alive_and_converge_by_streams() {
    let mut net = Net::settled(3, Profile::Lan, 5);
    net.run_for(seconds(5));
    let start = net.now;
    net.loss = |_| 1.0;
    let mut changed = Net::metadata("node-003");
    changed.version = "0.9.9".to_owned();
    net.input(3, Input::SetMetadata(changed));
    net.run_for(seconds(120));
    assert_eq!(net.downs(start), []);
    for at in 0..5 {
        assert!(net.members(at).iter().all(|member| member.state == MemberState::Alive), "{:?}", net.members(at));
        assert!(net.members(at).iter().any(|member| member.version == "0.9.9"), "node {at} was not told");
        assert!(stat(&net, at, "probes_by_stream") > 100);
    }
}

#[test]
fn healthy_members_are_not_probed_by_stream() {
    let mut net = Net::settled(4, Profile::Lan, 5);
    // The first node, which knew nobody, compares views as a newcomer too.
    net.run_for(seconds(5));
    let before: Vec<u64> = (0..5).map(|at| stat(&net, at, "exchanges")).collect();
    net.run_for(seconds(60));
    assert_eq!((0..5).map(|at| stat(&net, at, "exchanges")).collect::<Vec<_>>(), before);
}

#[test]
fn metadata_of_four_kibibytes_is_everywhere_within_a_second() {
    let mut net = Net::settled(5, Profile::Lan, 50);
    net.run_for(seconds(40));
    let labels = (0..40).map(|n| (format!("label{n:02}"), "v".repeat(85))).collect();
    let large = Metadata { labels, ..Net::metadata("node-007") };
    assert!(encode_metadata(&large, &HeldKeys::default()).unwrap().len() > 3800);
    net.input(7, Input::SetMetadata(large.clone()));
    let has = |net: &Net, at: usize| net.members(at).iter().any(|m| m.name == "node-007" && m.labels == large.labels);
    let took = net.run_until(seconds(10), |net| (0..50).all(|at| has(net, at)));
    assert!(took.is_some_and(|took| took <= seconds(1)), "{took:?}");
    // A newcomer gets it too, and nothing goes on afterwards.
    let newcomer = net.add("newcomer", &[0]);
    net.start(newcomer);
    assert!(net.run_until(seconds(2), |net| has(net, newcomer)).is_some());
    net.run_for(seconds(20));
    let before: u64 = (0..50).map(|at| stat(&net, at, "exchanges")).sum();
    net.run_for(seconds(60));
    assert_eq!((0..50).map(|at| stat(&net, at, "exchanges")).sum::<u64>(), before);
    assert!(net.is_complete());
}
