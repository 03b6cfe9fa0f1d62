//! Machines that were copied together with their data directory, and addresses that change.

use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn views(net: &Net) -> String {
    let view =
        |at| net.members(at).iter().map(|m| format!("{} {} {} {}", m.name, m.id, m.state.as_str(), m.addr)).collect();
    (0..5).map(view).map(|lines: Vec<String>| lines.join(", ")).collect::<Vec<_>>().join("\n")
}

#[test]
fn of_two_nodes_with_one_id_the_younger_yields_and_both_know_the_others_address() {
    for seed in 0..20 {
        let mut net = Net::settled(seed, Profile::Lan, 5);
        net.run_for(seconds(20));
        let clone = net.add("copy", &[0]);
        net.nodes[clone].id = net.nodes[2].id;
        net.nodes[clone].stored_generation = net.nodes[2].stored_generation;
        net.start(clone);
        // Whom it joins by tells the elder; without that, views that are compared twice a minute would show it.
        assert!(net.run_until(seconds(5), |net| net.nodes[clone].gossip.is_none()).is_some(), "seed {seed}");
        assert_eq!(net.nodes[clone].clones, [(net.nodes[2].addr, true)]);
        assert_eq!(net.nodes[2].clones, [(net.nodes[clone].addr, false)]);
        // The elder goes on, in everybody's eyes at its own address and under its own name.
        let addr = net.nodes[2].addr;
        let right = |net: &Net| {
            let known = |at: usize| net.members(at).iter().any(|m| m.name == "node-002" && m.addr == addr);
            net.is_complete() && (0..5).all(known)
        };
        assert!(net.run_until(seconds(2), right).is_some(), "seed {seed}: {}", views(&net));
        // Under an id of its own the copy is a member like any other.
        net.nodes[clone].id.0 += 1;
        net.start(clone);
        assert!(net.run_until(seconds(10), Net::is_complete).is_some(), "seed {seed}: {}", views(&net));
        net.run_for(seconds(30));
        assert!(net.is_complete());
        assert_eq!(net.nodes.iter().map(|node| node.clones.len()).sum::<usize>(), 2);
    }
}

#[test]
fn a_restart_at_another_address_wins_at_once_and_is_no_clone() {
    let mut net = Net::settled(7, Profile::Lan, 10);
    net.run_for(seconds(5));
    let start = net.now;
    net.kill_host(4);
    let moved = net.add("node-004", &[0]);
    net.nodes[moved].id = net.nodes[4].id;
    net.nodes[moved].stored_generation = net.nodes[4].stored_generation;
    net.run_for(Span::from_millis(300));
    net.start(moved);
    let addr = net.nodes[moved].addr;
    let everywhere = |net: &Net| {
        let others = net.running().filter(|(at, _)| *at != moved);
        let mut views = others.map(|(_, gossip)| gossip.members());
        views.all(|members| {
            members.iter().any(|m| m.name == "node-004" && m.addr == addr && m.state == MemberState::Alive)
        })
    };
    let took = net.run_until(seconds(5), everywhere);
    assert!(took.is_some_and(|took| took <= seconds(1)), "{took:?}");
    net.run_for(seconds(60));
    assert!(net.is_complete());
    assert_eq!(net.downs(start), []);
    assert!(net.nodes.iter().all(|node| node.clones.is_empty()));
}
