//! Lifeguard around foca: who suspects is known, confirmations hurry, the own trouble is not others' fault.

use std::collections::BTreeSet;

use watchfire_shared::member::{MemberState, ProbePath, Suspicion, SuspicionEnd};
use watchfire_shared::time::Span;

use crate::Profile;
use crate::envelope::Envelope;
use crate::harness::Net;
use crate::identity::Identity;
use crate::note::{Note, Paths};
use crate::packet::Packet;

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn suspicions(net: &Net, at: usize, name: &str) -> Vec<Suspicion> {
    net.members(at).into_iter().find(|member| member.name == name).expect("it is listed").suspicions
}

#[test]
fn who_suspected_a_silent_member_on_which_path_and_how_it_ended_is_known_everywhere() {
    let mut net = Net::settled(41, Profile::Lan, 10);
    net.run_for(seconds(5));
    net.kill_host(4);
    assert!(net.run_until(seconds(12), |net| net.all_see("node-004", MemberState::Down)).is_some());
    for at in (0..10).filter(|at| *at != 4) {
        let told = suspicions(&net, at, "node-004");
        let [one] = told.as_slice() else { panic!("node {at}: {told:?}") };
        assert_eq!((one.end, one.until.is_some()), (Some(SuspicionEnd::Confirmed), true));
        assert!(one.by.len() >= 2, "node {at} heard of several: {one:?}");
        let names: BTreeSet<&str> = one.by.iter().map(|suspecter| suspecter.name.as_str()).collect();
        assert!(names.len() == one.by.len() && !names.contains("node-004"));
        // By a probe of its own, or by a connection that it tried once it had heard of the suspicion.
        let probed = |paths: &[ProbePath]| paths == [ProbePath::Udp, ProbePath::Indirect];
        let tried = |paths: &[ProbePath]| probed(paths) || paths == [ProbePath::Tcp];
        assert!(one.by.iter().all(|suspecter| tried(&suspecter.paths) && suspecter.at >= one.since), "{one:?}");
        assert!(one.by.iter().any(|suspecter| probed(&suspecter.paths)), "{one:?}");
        let listed = net.members(at).into_iter().find(|member| member.name == "node-004").unwrap();
        assert_eq!(listed.suspected_by, one.by.iter().map(|by| by.name.clone()).collect::<Vec<_>>());
    }
    net.start(4);
    assert!(net.run_until(seconds(3), Net::is_complete).is_some());
    let back = net.members(0).into_iter().find(|member| member.name == "node-004").unwrap();
    assert_eq!((back.suspected_by.len(), back.suspicions.len()), (0, 1), "what was stays on record");
}

#[test]
fn a_member_that_objects_in_time_is_on_record_as_refuted_and_was_never_down() {
    let mut net = Net::settled(42, Profile::Lan, 10);
    net.run_for(seconds(5));
    let start = net.now;
    net.pause(4, Span::from_millis(3500));
    net.run_for(seconds(12));
    assert!(net.is_complete());
    assert_eq!(net.downs(start), []);
    let seen: Vec<Suspicion> = (0..10).filter(|at| *at != 4).flat_map(|at| suspicions(&net, at, "node-004")).collect();
    assert!(!seen.is_empty() && seen.iter().all(|one| one.end == Some(SuspicionEnd::Refuted)), "{seen:?}");
}

#[test]
fn a_node_whose_own_packets_are_stuck_doubts_itself_and_recovers() {
    let mut net = Net::settled(43, Profile::Lan, 20);
    net.run_for(seconds(5));
    let start = net.now;
    net.groups = Some((0..20).map(|at| u8::from(at == 7)).collect());
    net.run_for(seconds(20));
    let health = |net: &Net, at: usize| net.nodes[at].gossip.as_ref().unwrap().health();
    assert_eq!(health(&net, 7), 8);
    assert!((0..20).filter(|at| *at != 7).all(|at| health(&net, at) <= 2), "the others are well");
    net.groups = None;
    net.run_for(seconds(60));
    assert!((0..20).all(|at| health(&net, at) == 0));
    assert!(net.is_complete());
    assert!(net.downs(start).iter().all(|(_, about)| about == "node-007"));
}

#[test]
fn many_deaths_slow_nobody_down() {
    let mut net = Net::settled(44, Profile::Lan, 40);
    net.run_for(seconds(5));
    let start = net.now;
    (0..12).for_each(|at| net.kill_host(at));
    let all_down = |net: &Net| (0..12).all(|at| net.all_see(&format!("node-{at:03}"), MemberState::Down));
    let took = net.run_until(seconds(30), all_down);
    println!("12 of 40 at once, all known to all: {took:?}");
    assert!(took.is_some());
    assert!(net.downs(start).iter().all(|(_, about)| about.as_str() < "node-012"));
}

#[test]
fn four_survivors_of_thirty_know_of_all_deaths() {
    let mut net = Net::settled(47, Profile::Lan, 30);
    net.run_for(seconds(5));
    (4..30).for_each(|at| net.kill_host(at));
    let all_down = |net: &Net| (4..30).all(|at| net.all_see(&format!("node-{at:03}"), MemberState::Down));
    let took = net.run_until(seconds(60), all_down);
    println!("26 of 30 at once, all known to four: {took:?}");
    assert!(took.is_some());
    assert!((0..4).all(|at| net.nodes[at].gossip.as_ref().unwrap().health() <= 2), "the survivors are well");
}

/// Sends notes about node 3 to node 0, as if node 2 had sent them along with an answer.
fn forge(net: &mut Net, incarnation: u16, froms: impl Iterator<Item = usize>) {
    let identity = |net: &Net, at: usize| {
        let node = &net.nodes[at];
        Identity::new(node.id, node.stored_generation, node.addr)
    };
    let (target, own, sender) = (identity(net, 3), identity(net, 0), identity(net, 2));
    let from = |at: usize| net.nodes[at].id;
    let note = |at| Note {
        target: target.id,
        generation: target.generation,
        incarnation,
        from: from(at),
        paths: Paths::default(),
    };
    let notes: Vec<Note> = froms.map(note).collect();
    let header = foca::Header { src: sender, src_incarnation: 0, dst: own, message: foca::Message::Gossip };
    let body = crate::codec::without_updates(&header).unwrap();
    let bytes = Envelope::plain("watchfire").seal(&Packet::Noted { body, notes });
    let from = sender.addr;
    net.input(0, crate::Input::Datagram { from, bytes });
}

#[test]
fn notes_alone_suspect_but_a_living_member_objects_before_it_is_down() {
    let mut net = Net::settled(45, Profile::Lan, 10);
    let start = net.now;
    forge(&mut net, 0, [1, 2, 4, 5, 6].into_iter());
    assert_eq!(net.state(0, "node-003"), Some(MemberState::Suspect));
    let by = suspicions(&net, 0, "node-003")[0].by.len();
    assert_eq!(by, 4, "no more are kept than shorten the time");
    assert!(net.run_until(seconds(3), |net| net.state(0, "node-003") == Some(MemberState::Alive)).is_some());
    net.run_for(seconds(30));
    assert_eq!(net.downs(start), []);
    assert_eq!(suspicions(&net, 0, "node-003")[0].end, Some(SuspicionEnd::Refuted));
    forge(&mut net, 0, [1, 2, 4, 5, 6].into_iter());
    assert_eq!(net.state(0, "node-003"), Some(MemberState::Alive), "notes of an earlier incarnation are over");
}

#[test]
fn notes_of_a_member_that_is_held_down_and_about_one_that_is_count_nothing() {
    let mut net = Net::settled(46, Profile::Local, 6);
    net.kill_host(2);
    assert!(net.run_until(seconds(12), |net| net.state(0, "node-002") == Some(MemberState::Down)).is_some());
    forge(&mut net, 0, [1, 2, 4].into_iter());
    assert_eq!(net.state(0, "node-003"), Some(MemberState::Alive));
    assert!(suspicions(&net, 0, "node-003").is_empty());
}

#[test]
fn a_restart_within_a_second_is_never_down() {
    for seed in 50..56 {
        let mut net = Net::settled(seed, Profile::Lan, 10);
        net.run_for(seconds(4));
        let start = net.now;
        net.kill(3);
        net.run_for(Span::from_millis(900));
        net.start(3);
        net.run_for(seconds(20));
        assert!(net.is_complete());
        for at in (0..10).filter(|at| *at != 3) {
            let states = net.history(at, "node-003", start);
            assert!(!states.contains(&MemberState::Down), "seed {seed}, node {at}: {states:?}");
        }
        assert_eq!(net.downs(start), []);
    }
}
