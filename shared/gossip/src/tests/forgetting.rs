//! Members that somebody said will not come back: nobody lists them any more, and no old news brings them back.

use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::harness::Net;
use crate::{Input, Profile, RemovalReason};

fn is_listed(net: &Net, name: &str) -> bool {
    net.running().any(|(at, _)| net.state(at, name).is_some())
}

/// Node 3 of eight is down, and node 0 is told that it will not come back.
fn forgotten(seed: u64) -> Net {
    let mut net = Net::settled(seed, Profile::Lan, 8);
    net.kill_host(3);
    assert!(net.run_until(Span::from_seconds(40), |net| net.all_see("node-003", MemberState::Down)).is_some());
    let id = net.nodes[3].id;
    net.input(0, Input::Forget(id));
    assert!(net.run_until(Span::from_seconds(2), |net| !is_listed(net, "node-003")).is_some());
    net
}

#[test]
fn a_forgotten_member_is_listed_by_nobody_and_stays_forgotten() {
    let mut net = forgotten(1);
    for at in [0, 1, 7] {
        let removed = net.nodes[at].removals.last().unwrap();
        assert_eq!((removed.reason, removed.member.name.as_str()), (RemovalReason::Dismissed, "node-003"));
        assert_eq!(net.nodes[at].gossip.as_ref().unwrap().forgotten()[0].name, "node-003");
        assert!(net.nodes[at].stored_peers.iter().all(|peer| peer.name != "node-003"));
    }
    // Members that restart, and one that was away and still holds it for down, bring nothing back.
    net.groups = Some(vec![0, 0, 0, 0, 0, 1, 0, 0]);
    net.run_for(Span::from_seconds(60));
    net.groups = None;
    for at in [0, 4] {
        net.kill(at);
        net.start(at);
        net.run_for(Span::from_seconds(5));
    }
    net.run_for(Span::from_seconds(120));
    assert!(!is_listed(&net, "node-003"));
    assert!(net.is_complete());
}

#[test]
fn who_was_away_when_a_member_was_forgotten_forgets_it_afterwards() {
    let mut net = Net::settled(2, Profile::Lan, 8);
    net.kill_host(3);
    assert!(net.run_until(Span::from_seconds(40), |net| net.all_see("node-003", MemberState::Down)).is_some());
    net.groups = Some(vec![0, 0, 0, 0, 0, 1, 0, 0]);
    net.run_for(Span::from_seconds(30));
    let id = net.nodes[3].id;
    net.input(0, Input::Forget(id));
    net.run_for(Span::from_seconds(30));
    assert_eq!(net.state(5, "node-003"), Some(MemberState::Down));
    net.groups = None;
    assert!(net.run_until(Span::from_seconds(120), |net| !is_listed(net, "node-003")).is_some());
    net.run_for(Span::from_seconds(120));
    assert!(!is_listed(&net, "node-003") && net.is_complete());
}

#[test]
fn a_member_stays_forgotten_when_all_who_forgot_it_restart_while_one_that_knows_it_is_away() {
    let mut net = Net::settled(7, Profile::Lan, 6);
    net.kill_host(3);
    assert!(net.run_until(Span::from_seconds(40), |net| net.all_see("node-003", MemberState::Down)).is_some());
    net.groups = Some(vec![0, 0, 0, 0, 1, 0]);
    net.run_for(Span::from_seconds(40));
    let id = net.nodes[3].id;
    net.input(0, Input::Forget(id));
    net.run_for(Span::from_seconds(5));
    for at in [0, 1, 2, 5] {
        net.kill(at);
        net.start(at);
        net.run_for(Span::from_seconds(5));
        assert_eq!(net.nodes[at].gossip.as_ref().unwrap().forgotten()[0].name, "node-003");
    }
    assert_eq!(net.state(4, "node-003"), Some(MemberState::Down));
    let changes: Vec<usize> = [0, 1, 2, 5].iter().map(|at| net.nodes[*at].changes.len()).collect();
    net.groups = None;
    assert!(net.run_until(Span::from_seconds(60), |net| net.state(4, "node-003").is_none()).is_some());
    net.run_for(Span::from_seconds(120));
    assert!(net.is_complete() && !is_listed(&net, "node-003"));
    for (at, before) in [0, 1, 2, 5].into_iter().zip(changes) {
        assert!(net.nodes[at].changes[before..].iter().all(|change| change.member.id != id), "node {at} tells of it");
    }
}

#[test]
fn a_forgotten_member_that_starts_again_is_a_member_again() {
    let mut net = forgotten(3);
    net.start(3);
    assert!(net.run_until(Span::from_seconds(10), Net::is_complete).is_some());
    net.run_for(Span::from_seconds(90));
    assert!(net.is_complete());
    assert!(net.running().all(|(_, gossip)| gossip.forgotten().is_empty()));
    assert!(net.nodes.iter().all(|node| node.stored_forgotten.is_empty()));
}

#[test]
fn a_member_that_was_forgotten_before_a_restart_is_known_by_its_name_when_it_starts_again() {
    let mut net = forgotten(8);
    for at in [0, 1] {
        net.kill(at);
        net.start(at);
        net.run_for(Span::from_seconds(10));
    }
    net.start(3);
    assert!(net.run_until(Span::from_seconds(10), Net::is_complete).is_some());
    for at in [0, 1] {
        let of_it = net.nodes[at].changes.iter().filter(|change| change.member.id == net.nodes[3].id);
        assert!(of_it.clone().count() > 0 && of_it.clone().all(|change| change.member.name == "node-003"));
    }
}

#[test]
fn nobody_forgets_who_lives() {
    let mut net = Net::settled(4, Profile::Lan, 4);
    let start = net.now;
    let id = net.nodes[2].id;
    net.input(0, Input::Forget(id));
    net.run_for(Span::from_seconds(20));
    assert!(net.is_complete());
    assert_eq!(net.downs(start), []);
}

#[test]
fn one_that_was_cut_off_and_forgotten_returns_in_a_later_life() {
    let mut net = Net::settled(5, Profile::Lan, 6);
    net.groups = Some(vec![0, 0, 0, 1, 0, 0]);
    assert!(net.run_until(Span::from_seconds(60), |net| net.state(0, "node-003") == Some(MemberState::Down)).is_some());
    let id = net.nodes[3].id;
    net.input(0, Input::Forget(id));
    net.run_for(Span::from_seconds(20));
    let before = net.nodes[3].gossip.as_ref().unwrap().generation();
    net.groups = None;
    assert!(net.run_until(Span::from_seconds(60), Net::is_complete).is_some());
    assert!(net.nodes[3].gossip.as_ref().unwrap().generation() > before);
    net.run_for(Span::from_seconds(60));
    assert!(net.is_complete());
}

#[test]
fn tombstones_go_after_a_day() {
    let mut net = Net::settled(6, Profile::Wan, 3);
    net.kill_host(2);
    assert!(net.run_until(Span::from_seconds(200), |net| net.all_see("node-002", MemberState::Down)).is_some());
    let id = net.nodes[2].id;
    net.input(0, Input::Forget(id));
    net.run_for(Span::from_seconds(23 * 3600));
    // The day is counted from the word, and from no restart.
    net.kill(0);
    net.start(0);
    assert!(net.running().all(|(_, gossip)| gossip.forgotten().len() == 1));
    net.run_for(Span::from_seconds(3700));
    assert!(net.running().all(|(_, gossip)| gossip.forgotten().is_empty()));
    assert!(net.nodes.iter().all(|node| node.stored_forgotten.is_empty()));
    assert!(net.is_complete());
}
