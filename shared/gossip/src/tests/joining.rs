use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::harness::{JOIN_KIND, Net};
use crate::{Effect, Input, Profile, RemovalReason};

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

#[test]
fn nodes_with_one_join_address_all_list_each_other() {
    for (count, limit) in [(1, 1), (2, 2), (3, 2), (20, 3), (200, 10)] {
        let mut net = Net::cluster(1, Profile::Lan, count);
        let took = net.run_until(seconds(limit), Net::is_complete);
        assert!(took.is_some(), "{count} nodes are not complete after {limit} s");
        net.run_for(seconds(if count < 100 { 20 } else { 4 }));
        assert!(net.is_complete());
        assert_eq!(net.downs(Net::new(1, Profile::Lan).now), []);
        let members = net.members(0);
        assert_eq!(members.iter().filter(|member| member.name == "node-000").count(), 1);
        assert!(members.iter().all(|member| member.labels.len() == 2 && member.generation == 1));
    }
}

#[test]
fn lost_join_packets_isolate_nobody() {
    for seed in 0..10 {
        let mut net = Net::new(seed, Profile::Local);
        net.loss = |kind| if kind == JOIN_KIND { 0.3 } else { 0.0 };
        net.add_all(20);
        (0..20).for_each(|at| net.start(at));
        assert!(net.run_until(seconds(30), Net::is_complete).is_some(), "seed {seed}");
    }
    let mut net = Net::new(1, Profile::Lan);
    net.loss = |_| 0.3;
    net.add_all(20);
    (0..20).for_each(|at| net.start(at));
    let took = net.run_until(seconds(60), |net| (0..20).all(|at| net.members(at).len() == 20));
    assert!(took.is_some(), "20 nodes with 30 % loss of everything");
}

#[test]
fn a_seed_that_starts_late_is_found() {
    let mut net = Net::new(3, Profile::Lan);
    net.add("seed", &[]);
    net.add("early", &[0]);
    net.start(1);
    net.run_for(seconds(300));
    assert_eq!(net.members(1).len(), 1);
    net.start(0);
    assert!(net.run_until(seconds(31), Net::is_complete).is_some());
}

#[test]
fn a_node_that_joins_by_its_own_address_is_quiet() {
    let mut net = Net::new(4, Profile::Lan);
    net.add("alone", &[]);
    net.nodes[0].seeds = vec![net.nodes[0].addr];
    net.start(0);
    net.run_for(seconds(600));
    assert!(net.sent < 5, "{} datagrams to itself", net.sent);
    assert_eq!(net.members(0).len(), 1);
    assert_eq!(net.nodes[0].gossip.as_ref().unwrap().stats().dropped_from_ourselves, 0);
}

#[test]
fn a_restarted_collector_without_a_join_address_meets_everybody_again() {
    let mut net = Net::settled(5, Profile::Local, 4);
    net.run_for(seconds(3));
    assert_eq!(net.nodes[0].stored_peers.len(), 3);
    let killed = net.now;
    net.kill(0);
    assert!(net.run_until(seconds(10), |net| net.all_see("node-000", MemberState::Down)).is_some());
    net.start(0);
    assert!(net.run_until(seconds(2), Net::is_complete).is_some());
    assert!(net.members(1).iter().any(|member| member.name == "node-000" && member.generation == 2));
    let history = net.history(1, "node-000", killed);
    assert_eq!(history, [MemberState::Suspect, MemberState::Down, MemberState::Alive]);
}

#[test]
fn a_restarted_node_without_join_address_and_peers_is_found_by_the_others() {
    let mut net = Net::settled(6, Profile::Local, 4);
    net.kill(0);
    assert!(net.run_until(seconds(10), |net| net.all_see("node-000", MemberState::Down)).is_some());
    net.run_for(seconds(120));
    net.nodes[0].stored_peers.clear();
    net.start(0);
    assert!(net.run_until(seconds(31), Net::is_complete).is_some());
}

#[test]
fn a_restart_within_a_second_never_shows_as_down_and_replaces_the_item() {
    let mut net = Net::settled(7, Profile::Local, 10);
    net.run_for(seconds(2));
    let start = net.now;
    let index = net.nodes[3].gossip.as_ref().unwrap().index();
    net.kill(5);
    net.run_for(Span::from_millis(900));
    net.start(5);
    assert!(net.run_until(seconds(3), Net::is_complete).is_some());
    net.run_for(seconds(20));
    assert!(net.is_complete());
    assert_eq!(net.downs(start), []);
    assert!(net.nodes[3].gossip.as_ref().unwrap().index() > index);
    assert!(net.members(3).iter().any(|member| member.name == "node-005" && member.generation == 2));
}

#[test]
fn a_node_whose_generation_was_lost_rises_above_what_peers_remember() {
    let mut net = Net::settled(8, Profile::Local, 5);
    for _ in 0..4 {
        net.kill(2);
        net.run_for(seconds(10));
        net.start(2);
        net.run_for(seconds(3));
    }
    net.kill(2);
    net.run_for(seconds(10));
    net.nodes[2].stored_generation = 0;
    net.nodes[2].name = "renamed".to_owned();
    net.start(2);
    assert!(net.run_until(seconds(3), Net::is_complete).is_some(), "{:?}", net.members(0));
    assert_eq!(net.nodes[2].stored_generation, 6);
}

#[test]
fn a_wiped_node_replaces_its_old_item() {
    let mut net = Net::settled(9, Profile::Local, 5);
    net.kill(2);
    let old = net.nodes[2].id;
    let wipe = |net: &mut Net| {
        net.nodes[2].id.0 += 1;
        net.nodes[2].stored_generation = 0;
        net.nodes[2].stored_peers.clear();
        net.start(2);
    };
    // Back under a new id before the old one is found dead: it never shows as down beside the new one.
    net.run_for(Span::from_millis(300));
    let start = net.now;
    wipe(&mut net);
    assert!(net.run_until(seconds(20), Net::is_complete).is_some(), "{:?}", net.members(0));
    assert_eq!(net.downs(start), []);
    let removal = net.nodes[0].removals.first().expect("the old item was told to be gone");
    assert_eq!(removal.member.id, old);
    assert_eq!(removal.reason, RemovalReason::Replaced(net.nodes[2].id));
    // And once more, after it was found dead.
    net.kill(2);
    assert!(net.run_until(seconds(10), |net| net.all_see("node-002", MemberState::Down)).is_some());
    wipe(&mut net);
    assert!(net.run_until(seconds(3), Net::is_complete).is_some());
    net.run_for(seconds(70));
    assert!(net.is_complete(), "no view brings the old item back: {:?}", net.members(0));
    assert!(net.running().all(|(_, gossip)| gossip.conflicts().is_empty()));
    assert!(net.told.is_empty(), "a wiped node is no second one");
}

#[test]
fn two_living_nodes_with_one_name_both_stay_and_are_reported() {
    let mut net = Net::settled(10, Profile::Local, 4);
    let twin = net.add("node-001", &[0]);
    net.start(twin);
    net.run_for(seconds(5));
    for at in 0..5 {
        assert_eq!(net.members(at).iter().filter(|member| member.name == "node-001").count(), 2);
        let conflicts = net.nodes[at].gossip.as_ref().unwrap().conflicts();
        assert_eq!(conflicts.len(), 1);
        assert_eq!((conflicts[0].name.as_str(), conflicts[0].members.len()), ("node-001", 2));
        assert_eq!(net.nodes[at].gossip.as_ref().unwrap().stats().name_conflicts, 1);
        let told = net.told.iter().filter(|(by, _)| *by == at).map(|(_, told)| told.clone());
        assert!(told.eq(conflicts.into_iter().map(Effect::NameConflict)), "it is told once");
        let namesakes = |id| {
            let member = net.members(at).into_iter().find(|member| member.id == id).unwrap();
            member.namesakes.iter().map(|other| (other.id, other.addr)).collect::<Vec<_>>()
        };
        let [first, second] = [1, twin].map(|at| (net.nodes[at].id, net.nodes[at].addr));
        assert_eq!((namesakes(first.0), namesakes(second.0)), (vec![second], vec![first]));
        assert!(namesakes(net.nodes[2].id).is_empty());
    }
    net.input(0, Input::Wake);
    assert_eq!(net.nodes[0].removals, []);
    // One of them is gone: nobody claims the other's name any more.
    net.kill(twin);
    assert!(net.run_until(seconds(20), |net| net.running().all(|(_, gossip)| gossip.conflicts().is_empty())).is_some());
    assert!(net.members(0).iter().all(|member| member.namesakes.is_empty()));
}

#[test]
fn a_restarted_node_learns_who_is_down_and_since_when() {
    let mut net = Net::settled(11, Profile::Local, 5);
    net.kill_host(4);
    assert!(net.run_until(seconds(10), |net| net.all_see("node-004", MemberState::Down)).is_some());
    let since = net.members(1).iter().find(|member| member.name == "node-004").unwrap().since;
    net.run_for(seconds(100));
    net.kill(0);
    net.start(0);
    net.run_for(seconds(5));
    let seen = net.members(0).into_iter().find(|member| member.name == "node-004").expect("it is listed");
    assert_eq!(seen.state, MemberState::Down);
    assert!((seen.since.since(since).as_millis()).abs() <= 1000, "{} and {since}", seen.since);
}

#[test]
fn members_that_stay_down_are_forgotten_after_a_day_by_all() {
    let mut net = Net::settled(12, Profile::Wan, 3);
    net.kill_host(2);
    net.run_for(seconds(60));
    assert!(net.all_see("node-002", MemberState::Down));
    net.run_for(seconds(24 * 3600));
    assert!(net.is_complete(), "{:?}", net.members(0));
    assert_eq!(net.nodes[0].removals.len(), 1);
    assert_eq!(net.nodes[0].removals[0].reason, RemovalReason::Forgotten);
    net.run_for(seconds(3600));
    assert!(net.is_complete());
    assert_eq!(net.nodes[0].stored_peers.len(), 1);
}
