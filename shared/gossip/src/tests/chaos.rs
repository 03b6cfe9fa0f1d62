//! Everything at once, over many seeds: first faults, under which nobody who is well and connected may be declared dead
//! and no dead identity may return; then calm, in which all views have to become one.

use std::collections::BTreeMap;

use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

const NODES: usize = 16;
/// Faults in one run, ten seconds apart.
const FAULTS: usize = 12;

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

/// Does something to one node, of those that nothing was done to yet, and says to which.
fn fault(net: &mut Net, spared: &[usize]) -> usize {
    let candidates: Vec<usize> = (1..NODES).filter(|at| !spared.contains(at)).collect();
    let at = candidates[net.draw(0..candidates.len())];
    match net.draw(0..7) {
        0 => net.pause(at, seconds(5)),
        1 => net.move_host(at),
        2 => {
            net.kill(at);
            net.start(at);
        }
        3 => net.kill(at),
        4 => net.kill_host(at),
        // Nobody hears it, and it hears everybody; or the other way round.
        5 => net.deaf.extend((0..NODES).filter(|other| *other != at).map(|other| (at, other))),
        _ => net.deaf.extend((0..NODES).filter(|other| *other != at).map(|other| (other, at))),
    }
    at
}

/// No observer, in one life of its own, saw an identity alive that it had seen down.
fn assert_no_returns(net: &Net, lives: &[usize]) {
    for (at, node) in net.nodes.iter().enumerate() {
        let mut down: BTreeMap<NodeId, u32> = BTreeMap::new();
        for change in &node.changes[lives[at]..] {
            let (id, generation) = (change.member.id, change.member.generation);
            match change.member.state {
                MemberState::Down => drop(down.insert(id, generation)),
                MemberState::Alive => {
                    let dead = down.get(&id).is_some_and(|dead| *dead >= generation);
                    assert!(!dead, "{} saw {} return from the dead", node.name, change.member.name);
                }
                MemberState::Suspect | MemberState::Left => {}
            }
        }
    }
}

fn run(seed: u64, loss: fn(u8) -> f64) {
    let mut net = Net::settled(seed, Profile::Lan, NODES);
    (net.duplicates, net.latency, net.loss) = (0.05, Span::from_millis(40), loss);
    let start = net.now;
    let mut touched = Vec::new();
    for _ in 0..FAULTS {
        let at = fault(&mut net, &touched);
        touched.push(at);
        net.run_for(seconds(10));
    }
    let well = |name: &str| (0..NODES).any(|at| net.nodes[at].name == name && !touched.contains(&at));
    let accused: Vec<_> = net.downs(start).into_iter().filter(|(by, about)| well(by) && well(about)).collect();
    assert_eq!(accused, [], "seed {seed}: the well accuse the well");

    net.deaf.clear();
    net.duplicates = 0.0;
    net.loss = |_| 0.0;
    let mut lives = vec![0; NODES];
    for (at, life) in lives.iter_mut().enumerate() {
        if net.nodes[at].gossip.is_none() {
            *life = net.nodes[at].changes.len();
            net.start(at);
        }
    }
    let took = net.run_until(seconds(90), Net::is_complete);
    assert!(took.is_some(), "seed {seed}: views differ: {:?}", net.members(0));
    let calm = net.now;
    net.run_for(seconds(30));
    assert!(net.is_complete(), "seed {seed}");
    assert_eq!(net.downs(calm), [], "seed {seed}");
    // Those that were started anew on the way began a view of their own at some point; the others have one.
    for at in touched {
        lives[at] = net.nodes[at].changes.len();
    }
    assert_no_returns(&net, &lives);
    for (_, gossip) in net.running() {
        let stats = gossip.stats();
        assert_eq!(stats.dropped_malformed + stats.dropped_members_full + stats.foca_errors, 0, "seed {seed}");
    }
}

#[test]
fn faults_of_every_kind_accuse_nobody_who_is_well_and_views_become_one_again() {
    for seed in 100..112 {
        run(seed, |_| 0.0);
    }
}

#[test]
fn the_same_holds_while_every_tenth_datagram_is_lost() {
    for seed in 200..206 {
        run(seed, |_| 0.1);
    }
}

#[test]
fn one_seed_gives_one_course_of_events() {
    let trace = |seed| {
        let mut net = Net::settled(seed, Profile::Lan, 8);
        (net.duplicates, net.latency, net.loss) = (0.1, Span::from_millis(30), |_| 0.2);
        net.move_host(3);
        net.run_for(seconds(20));
        net.trace
    };
    assert_eq!(trace(1), trace(1));
    assert_ne!(trace(1), trace(2));
}

#[test]
fn clusters_of_two_and_three_that_are_cut_in_two_become_one_again() {
    for (seed, count, cut) in [(1, 2, 1), (2, 3, 1), (3, 3, 2)] {
        let mut net = Net::settled(seed, Profile::Lan, count);
        net.run_for(seconds(5));
        net.groups = Some((0..count).map(|at| u8::from(at < cut)).collect());
        net.run_for(seconds(60));
        let lone = if cut == 1 { 0 } else { count - 1 };
        let others: Vec<usize> = (0..count).filter(|at| *at != lone).collect();
        // Of two, each says that the other is gone: there is nobody to compare with. Of three, the two say so of the one,
        // which doubts itself.
        let name = net.nodes[lone].name.clone();
        assert!(others.iter().all(|at| net.state(*at, &name) == Some(MemberState::Down)), "{count} nodes");
        let expected = if count == 2 { MemberState::Down } else { MemberState::Suspect };
        assert!(others.iter().all(|at| net.state(lone, &net.nodes[*at].name) == Some(expected)), "{count} nodes");
        let healed = net.now;
        net.groups = None;
        assert!(net.run_until(seconds(5), Net::is_complete).is_some(), "{count} nodes: {:?}", net.members(lone));
        net.run_for(seconds(60));
        assert!(net.is_complete());
        assert_eq!(net.downs(healed), [], "{count} nodes");
    }
}

#[test]
fn a_hundred_nodes_that_are_cut_in_halves_or_ten_and_ninety_are_one_again_within_seconds() {
    for (seed, cut, limit) in [(4, 50, 5), (5, 10, 15)] {
        let mut net = Net::settled(seed, Profile::Lan, 100);
        net.run_for(seconds(5));
        net.groups = Some((0..100).map(|at| u8::from(at < cut)).collect());
        net.run_for(seconds(60));
        assert_eq!(net.state(99, "node-000"), Some(MemberState::Down));
        let healed = net.now;
        net.groups = None;
        let took = net.run_until(seconds(limit), Net::is_complete);
        println!("{cut} and {} nodes: one cluster after {took:?}", 100 - cut);
        assert!(took.is_some(), "{cut} and {} nodes are not one cluster", 100 - cut);
        net.run_for(seconds(10));
        assert!(net.is_complete());
        assert_eq!(net.downs(healed), [], "{cut} and {} nodes", 100 - cut);
    }
}
