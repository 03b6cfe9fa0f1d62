//! Packets as they were once written are read for ever: `testdata/packets.txt` holds one of every kind of each protocol.
//!
//! A kind is never changed; when one is added, its line is added to the file.

use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::envelope::Envelope;
use crate::harness::Net;
use crate::packet::{Packet, every_packet};
use crate::{GossipKey, Input, Profile};
use watchfire_shared::time::Span;

const PACKETS: &str = include_str!("../../testdata/packets.txt");

fn envelopes() -> [(&'static str, Envelope); 2] {
    let sealed = Envelope::new("watchfire", &[GossipKey::new([7; 32])], &mut StdRng::seed_from_u64(7));
    [("plain", Envelope::plain("watchfire")), ("sealed", sealed)]
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

/// What the file has to hold: the form, what the packet is called, its bytes.
fn written() -> String {
    let mut lines = String::new();
    for (form, mut envelope) in envelopes() {
        for packet in every_packet() {
            let name = format!("{packet:?}").split(['(', ' ', '{']).next().unwrap().to_owned();
            lines += &format!("{form} {name} {}\n", hex(&envelope.seal(&packet)));
        }
    }
    lines
}

#[test]
fn packets_are_written_and_read_as_they_always_were() {
    let now = written();
    for (line, expected) in now.lines().zip(PACKETS.lines()) {
        assert_eq!(line, expected);
    }
    assert_eq!(now.lines().count(), PACKETS.lines().count(), "new kinds have to be added:\n{now}");
    for (form, _) in envelopes() {
        // The reader is another node: it has a sequence of its own.
        let keys = if form == "sealed" { vec![GossipKey::new([7; 32])] } else { Vec::new() };
        let mut reader = Envelope::new("watchfire", &keys, &mut StdRng::seed_from_u64(1));
        let lines = PACKETS.lines().filter_map(|line| line.strip_prefix(form)).map(str::trim);
        let read: Vec<Packet> =
            lines.map(|line| reader.open(&unhex(line.split_once(' ').unwrap().1)).unwrap()).collect();
        assert_eq!(read, every_packet());
    }
}

#[test]
fn members_of_the_first_protocol_and_of_this_one_form_one_cluster() {
    let mut net = Net::new(3, Profile::Lan);
    net.first_protocol = vec![0, 2, 4];
    net.add_all(8);
    (0..8).for_each(|at| net.start(at));
    assert!(net.run_until(Span::from_seconds(10), Net::is_complete).is_some());
    let start = net.now;
    net.run_for(Span::from_seconds(60));
    assert_eq!(net.downs(start), []);
    assert!(net.is_complete());
    for (at, gossip) in net.running() {
        let unknown = gossip.stats().dropped_unknown_kind;
        assert_eq!(unknown, 0, "node {at} was sent what it does not know");
        // Those of the first protocol tell nobody where they stand, and are measured all the same.
        assert!(gossip.members().iter().filter(|member| member.rtt_ms.is_some()).count() >= 6);
    }
    let mut changed = Net::metadata("node-002");
    changed.version = "0.0.9".to_owned();
    net.input(2, Input::SetMetadata(changed));
    let told = |net: &Net| net.running().all(|(_, gossip)| gossip.members().iter().any(|m| m.version == "0.0.9"));
    assert!(net.run_until(Span::from_seconds(2), told).is_some());
}
