use watchfire_shared::member::{DownCause, MemberState};
use watchfire_shared::time::Span;

use crate::envelope::Envelope;
use crate::harness::Net;
use crate::identity::Identity;
use crate::packet::Packet;
use crate::{Input, Profile};

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn cause(net: &Net, at: usize, name: &str) -> Option<DownCause> {
    net.members(at).into_iter().find(|member| member.name == name).and_then(|member| member.cause)
}

#[test]
fn a_killed_agent_is_suspect_then_down_at_everybody_and_nobody_else_is_accused() {
    let mut net = Net::settled(1, Profile::Local, 10);
    net.run_for(seconds(5));
    let killed = net.now;
    net.kill(4);
    assert!(net.run_until(seconds(8), |net| net.all_see("node-004", MemberState::Down)).is_some());
    net.run_for(seconds(10));
    for at in (0..10).filter(|at| *at != 4) {
        assert_eq!(net.history(at, "node-004", killed), [MemberState::Suspect, MemberState::Down], "node {at}");
        assert_eq!(cause(&net, at, "node-004"), Some(DownCause::Refused));
    }
    assert!(net.downs(killed).iter().all(|(_, about)| about == "node-004"));
    assert_eq!(net.downs(killed).len(), 9);
    let suspected_by: Vec<String> = net.members(0).into_iter().flat_map(|member| member.suspected_by).collect();
    assert!(suspected_by.iter().all(|name| name != "node-004"), "{suspected_by:?}");
}

#[test]
fn a_dead_host_is_told_from_a_dead_agent() {
    let mut net = Net::settled(2, Profile::Local, 5);
    net.kill_host(1);
    assert!(net.run_until(seconds(8), |net| net.all_see("node-001", MemberState::Down)).is_some());
    net.run_for(seconds(4));
    assert!([0, 2, 3, 4].into_iter().all(|at| cause(&net, at, "node-001") == Some(DownCause::Silent)));
    let asked: usize = net.nodes.iter().map(|node| node.asked.len()).sum();
    assert!((4..=8).contains(&asked), "{asked}");
    net.start(1);
    assert!(net.run_until(seconds(12), Net::is_complete).is_some());
    assert_eq!(cause(&net, 0, "node-001"), None);
}

#[test]
fn an_answer_after_the_death_changes_the_cause() {
    let mut net = Net::settled(3, Profile::Local, 3);
    net.kill_host(1);
    assert!(net.run_until(seconds(8), |net| net.all_see("node-001", MemberState::Down)).is_some());
    let id = net.nodes[1].id;
    let before = net.nodes[0].changes.len();
    let index = net.nodes[0].gossip.as_ref().unwrap().index();
    if cause(&net, 0, "node-001").is_none() {
        net.input(0, Input::HostAnswer { id, answer: crate::HostAnswer::Silent });
        assert_eq!(cause(&net, 0, "node-001"), Some(DownCause::Silent));
        assert_eq!(net.nodes[0].changes.len(), before + 1);
        assert_eq!(net.nodes[0].gossip.as_ref().unwrap().index(), index + 1);
    }
    let settled = net.nodes[0].changes.len();
    net.input(0, Input::HostAnswer { id, answer: crate::HostAnswer::Refused });
    assert_eq!(cause(&net, 0, "node-001"), Some(DownCause::Silent), "the question was settled");
    assert_eq!(net.nodes[0].changes.len(), settled);
}

#[test]
fn a_member_that_was_down_returns() {
    let mut net = Net::settled(4, Profile::Lan, 8);
    for round in 2..5 {
        net.kill(6);
        assert!(net.run_until(seconds(15), |net| net.all_see("node-006", MemberState::Down)).is_some());
        net.start(6);
        assert!(net.run_until(seconds(2), Net::is_complete).is_some(), "round {round}");
        assert!(net.members(0).iter().any(|member| member.name == "node-006" && member.generation == round));
    }
}

#[test]
fn of_two_nodes_the_survivor_says_that_the_other_is_down() {
    for host in [false, true] {
        let mut net = Net::settled(5, Profile::Local, 2);
        if host {
            net.kill_host(1)
        } else {
            net.kill(1)
        }
        let took = net.run_until(seconds(6), |net| net.state(0, "node-001") == Some(MemberState::Down));
        assert!(took.is_some(), "host {host}");
    }
}

#[test]
fn a_sole_survivor_whose_peers_hosts_answer_is_not_in_doubt() {
    let mut net = Net::settled(6, Profile::Local, 4);
    net.run_for(seconds(3));
    (1..4).for_each(|at| net.kill(at));
    let all_down = |net: &Net| (1..4).all(|at| net.state(0, &format!("node-00{at}")) == Some(MemberState::Down));
    assert!(net.run_until(seconds(12), all_down).is_some(), "{:?}", net.members(0));
    (1..4).for_each(|at| net.start(at));
    assert!(net.run_until(seconds(12), Net::is_complete).is_some());
}

#[test]
fn a_sole_survivor_without_any_answer_doubts_for_two_minutes_and_then_says_so() {
    let mut net = Net::settled(7, Profile::Lan, 5);
    (1..5).for_each(|at| net.kill_host(at));
    net.run_for(seconds(100));
    assert!((1..5).all(|at| net.state(0, &format!("node-00{at}")) == Some(MemberState::Suspect)));
    net.run_for(seconds(60));
    assert!((1..5).all(|at| net.state(0, &format!("node-00{at}")) == Some(MemberState::Down)));
    assert!(net.nodes[0].gossip.as_ref().unwrap().stats().downs_held_back > 0);
}

#[test]
fn an_idle_cluster_accuses_nobody_and_stays_cheap() {
    let mut net = Net::settled(8, Profile::Lan, 50);
    net.run_for(seconds(60));
    let (start, sent) = (net.now, net.sent);
    let bytes = |net: &Net| net.running().map(|(_, gossip)| gossip.stats().sent_bytes).sum::<u64>();
    let before = bytes(&net);
    let index = net.nodes[0].gossip.as_ref().unwrap().index();
    net.run_for(seconds(300));
    let per_second = (bytes(&net) - before) / 300 / 50;
    println!("lan   N= 50: idle {per_second} B/s per node, UDP headers not counted");
    assert!(per_second < 200, "{per_second} B/s per node");
    assert!((net.sent - sent) / 300 / 50 < 4);
    assert_eq!(net.downs(start), []);
    assert_eq!(net.nodes[0].gossip.as_ref().unwrap().index(), index, "nothing visible changes in an idle cluster");
}

#[test]
fn a_stopped_and_continued_node_accuses_nobody() {
    for (seed, pause) in [(9, 3), (10, 6), (11, 10), (12, 20)] {
        let mut net = Net::settled(seed, Profile::Lan, 10);
        net.run_for(seconds(5));
        let start = net.now;
        net.pause(4, seconds(pause));
        net.run_for(seconds(pause));
        assert!(net.run_until(seconds(5), Net::is_complete).is_some(), "back after {pause} s");
        net.run_for(seconds(30));
        assert!(net.is_complete());
        let downs = net.downs(start);
        assert!(downs.iter().all(|(_, about)| about == "node-004"), "{pause} s: {downs:?}");
    }
}

#[test]
fn refusal_is_evidence_and_needs_no_suspicion_time() {
    for (seed, count, limit) in [(31, 10, 2500), (32, 50, 2500), (33, 2, 2500), (34, 3, 4500)] {
        let mut net = Net::settled(seed, Profile::Lan, count);
        let mut times = Vec::new();
        for kill in 0..5 {
            net.run_for(Span::from_millis(5000 + 170 * kill));
            let killed = net.now;
            net.kill(1);
            let took = net.run_until(seconds(20), |net| net.all_see("node-001", MemberState::Down));
            times.push(took.expect("the death was found"));
            net.run_for(seconds(20));
            assert!(net.downs(killed).iter().all(|(_, about)| about == "node-001"));
            net.start(1);
            assert!(net.run_until(seconds(10), Net::is_complete).is_some());
        }
        times.sort_unstable();
        println!("N={count}: {times:?}");
        assert!(times[2] <= Span::from_millis(limit), "N={count}: {times:?}");
    }
}

#[test]
fn a_note_of_refusal_alone_declares_nobody() {
    let mut net = Net::settled(35, Profile::Local, 5);
    let identity = |at: usize| {
        let node = &net.nodes[at];
        Identity::new(node.id, node.gossip.as_ref().unwrap().generation(), node.addr)
    };
    let (from, about) = (identity(2), identity(3));
    let note = Envelope::plain("watchfire").seal(&Packet::Refused { from, identity: about });
    for _ in 0..1000 {
        net.input(0, Input::Datagram { from: from.addr, bytes: note.clone() });
    }
    let before = net.now;
    net.run_for(seconds(20));
    assert_eq!(net.downs(before), []);
    assert!(net.is_complete());
}
