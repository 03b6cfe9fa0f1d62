use watchfire_shared::machine::Machine;
use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::envelope::Envelope;
use crate::harness::Net;
use crate::packet::Packet;
use crate::{Effect, Input, Profile};

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

#[test]
fn a_goodbye_is_seen_as_left_by_all_and_never_as_down() {
    for (seed, count, loss) in [(0, 2, false), (1, 3, false), (2, 20, false), (3, 50, false), (4, 20, true)] {
        let mut net = Net::settled(seed, Profile::Lan, count);
        net.run_for(seconds(3));
        if loss {
            net.loss = |_| 0.1;
        }
        let start = net.now;
        net.input(1, Input::Leave);
        assert_eq!(net.state(1, "node-001"), Some(MemberState::Left));
        let took = net.run_until(seconds(2), |net| net.nodes[1].left && net.all_see("node-001", MemberState::Left));
        assert!(took.is_some_and(|took| took <= Span::from_millis(800)), "{count} nodes: {took:?}");
        net.run_for(seconds(30));
        for at in (0..count).filter(|at| *at != 1) {
            assert_eq!(net.history(at, "node-001", start), [MemberState::Left], "node {at} of {count}");
        }
        assert!(net.downs(start).iter().all(|(_, about)| about != "node-001"));
    }
}

#[test]
fn goodbyes_that_are_said_together_are_no_deaths_to_anybody() {
    // How many leave, of how many, within how many milliseconds.
    let cases = [(3, 3, 0), (20, 20, 0), (10, 20, 0), (20, 20, 700), (15, 30, 700), (40, 60, 1000)];
    for (seed, (leaving, count, within)) in (20..).zip(cases) {
        let mut net = Net::settled(seed, Profile::Lan, count);
        net.run_for(seconds(3));
        let start = net.now;
        for at in 0..leaving {
            net.input(at, Input::Leave);
            net.run_for(Span::from_millis(within / leaving as i64));
        }
        net.run_for(seconds(12));
        assert_eq!(net.downs(start), [], "{leaving} of {count} leave within {within} ms");
        for at in 0..leaving {
            assert!(net.nodes[at].left && net.all_see(&net.nodes[at].name, MemberState::Left));
        }
    }
}

#[test]
fn a_member_that_left_returns_in_its_next_life() {
    let mut net = Net::settled(5, Profile::Local, 5);
    net.run_for(seconds(2));
    net.input(2, Input::Leave);
    net.run_for(seconds(20));
    assert!(net.all_see("node-002", MemberState::Left));
    let start = net.now;
    net.start(2);
    assert!(net.run_until(seconds(2), Net::is_complete).is_some());
    net.run_for(seconds(20));
    assert_eq!(net.history(0, "node-002", start), [MemberState::Alive]);
}

#[test]
fn a_quick_restart_after_a_goodbye_does_not_stay_left() {
    let mut net = Net::settled(6, Profile::Local, 5);
    net.run_for(seconds(2));
    let start = net.now;
    net.input(2, Input::Leave);
    net.run_for(Span::from_millis(700));
    net.start(2);
    net.run_for(seconds(15));
    assert!(net.is_complete(), "{:?}", net.members(0));
    assert_eq!(net.downs(start), []);
}

#[test]
fn a_note_that_arrives_after_the_death_turns_down_into_left() {
    let mut net = Net::settled(7, Profile::Local, 4);
    net.kill(3);
    assert!(net.run_until(seconds(8), |net| net.all_see("node-003", MemberState::Down)).is_some());
    let identity = crate::identity::Identity::new(net.nodes[3].id, 1, net.nodes[3].addr);
    let bytes = Envelope::plain("watchfire").seal(&Packet::Leave(vec![identity]));
    net.input(0, Input::Datagram { from: net.nodes[3].addr, bytes });
    assert_eq!(net.state(0, "node-003"), Some(MemberState::Left));
    assert!(net.run_until(seconds(2), |net| net.all_see("node-003", MemberState::Left)).is_some());
}

#[test]
fn a_lonely_node_leaves_at_once_and_is_silent_afterwards() {
    let mut net = Net::new(8, Profile::Lan);
    net.add("alone", &[]);
    net.start(0);
    let from = net.nodes[0].addr;
    let gossip = net.nodes[0].gossip.as_mut().unwrap();
    let mut effects = Vec::new();
    gossip.handle(net.now, Input::Leave, &mut effects);
    assert!(matches!(effects.as_slice(), [Effect::LeaveDone, Effect::Changed(_)]), "{effects:?}");
    assert_eq!(gossip.deadline(), None);
    effects.clear();
    gossip.handle(net.now, Input::Datagram { from, bytes: vec![1; 40] }, &mut effects);
    gossip.handle(net.now, Input::Wake, &mut effects);
    assert_eq!((effects, gossip.deadline()), (Vec::new(), None));
    assert_eq!(gossip.members()[0].state, MemberState::Left);
}
