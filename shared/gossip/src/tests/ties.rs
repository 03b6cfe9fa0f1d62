use std::collections::BTreeSet;

use watchfire_shared::member::{DownCause, MemberState};
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

/// Who holds a tie to whom.
fn tied(net: &Net) -> BTreeSet<(usize, usize)> {
    net.ties.iter().map(|tie| (tie.from, tie.to)).collect()
}

#[test]
fn every_member_holds_a_tie_to_the_two_that_follow_it_by_id() {
    let mut net = Net::settled(41, Profile::Lan, 9);
    net.run_for(seconds(5));
    let ring = |net: &Net| {
        let mut ring: Vec<usize> = net.running().map(|(at, _)| at).collect();
        ring.sort_by_key(|at| net.nodes[*at].id);
        let next = |place: usize, by: usize| ring[(place + by) % ring.len()];
        (0..ring.len()).flat_map(|place| [1, 2].map(|by| (ring[place], next(place, by)))).collect::<BTreeSet<_>>()
    };
    assert_eq!((tied(&net), net.ties.len()), (ring(&net), 18));
    net.kill(3);
    net.run_for(seconds(10));
    assert_eq!((tied(&net), net.ties.len()), (ring(&net), 16));
    net.start(3);
    net.run_for(seconds(10));
    assert_eq!((tied(&net), net.ties.len()), (ring(&net), 18));
}

#[test]
fn a_killed_agent_is_down_everywhere_a_second_later_whoever_is_probed_when() {
    for (seed, profile, count) in [(42, Profile::Lan, 10), (43, Profile::Fast, 10), (44, Profile::Lan, 50)] {
        let mut net = Net::settled(seed, profile, count);
        for round in 0..3 {
            net.run_for(Span::from_millis(6000 + 130 * round));
            let victim = 1 + round as usize;
            let name = net.nodes[victim].name.clone();
            let killed = net.now;
            net.kill(victim);
            let took = net.run_until(seconds(20), |net| net.all_see(&name, MemberState::Down)).expect("it was found");
            assert!((Span::from_millis(1000)..=Span::from_millis(1500)).contains(&took), "N={count}: {took:?}");
            let causes = net.members(0).into_iter().filter(|member| member.name == name).map(|member| member.cause);
            assert_eq!(causes.collect::<Vec<_>>(), [Some(DownCause::Refused)]);
            net.run_for(seconds(10));
            assert!(net.downs(killed).iter().all(|(_, about)| *about == name));
            net.start(victim);
            assert!(net.run_until(seconds(10), Net::is_complete).is_some());
        }
    }
}

/// Kills members and starts them again, each after its pause; nobody may have seen one of them down.
fn restart(mut net: Net, pauses: [i64; 4]) -> Net {
    net.run_for(seconds(5));
    let begin = net.now;
    for (at, pause) in (1..).zip(pauses) {
        net.kill(at);
        net.run_for(Span::from_millis(pause));
        net.start(at);
        net.run_for(seconds(5));
    }
    assert_eq!(net.downs(begin), []);
    net
}

#[test]
fn a_restart_within_a_second_never_shows_as_down() {
    for seed in 50..55 {
        for profile in [Profile::Lan, Profile::Fast] {
            assert!(restart(Net::settled(seed, profile, 10), [3, 150, 600, 950]).is_complete(), "seed {seed}");
        }
    }
}

#[test]
fn a_restart_within_a_second_shows_nowhere_in_a_larger_cluster_either() {
    for (seed, count) in [(55, 50), (101, 50), (57, 100)] {
        restart(Net::settled(seed, Profile::Lan, count), [700, 850, 950, 990]);
    }
}

#[test]
fn a_member_that_takes_no_connections_any_more_lives_while_datagrams_reach_it() {
    for (seed, profile, count) in
        [(60, Profile::Lan, 10), (61, Profile::Fast, 10), (62, Profile::Lan, 50), (63, Profile::Fast, 200)]
    {
        let mut net = Net::settled(seed, profile, count);
        net.loss = |_| 0.01;
        net.run_for(seconds(5));
        let begin = net.now;
        net.takes_no_connections = BTreeSet::from([3, 7]);
        net.break_ties();
        net.run_for(seconds(300));
        assert_eq!(net.downs(begin), [], "seed {seed}");
        let suspected = net.nodes.iter().flat_map(|node| &node.changes);
        let suspected = suspected.filter(|change| change.at >= begin && change.member.state == MemberState::Suspect);
        let most = 2 * 6 * count;
        assert!(suspected.count() <= most, "seed {seed}: each suspects each at most once a minute");
    }
}

#[test]
fn ties_that_are_ended_on_the_way_accuse_nobody_and_are_not_made_anew_at_once() {
    let mut net = Net::settled(45, Profile::Lan, 8);
    net.run_for(seconds(5));
    let begin = net.now;
    for _ in 0..10 {
        let asked = net.nodes.iter().map(|node| node.asked.len()).sum::<usize>();
        net.break_ties();
        net.run_for(seconds(30));
        assert!(net.nodes.iter().map(|node| node.asked.len()).sum::<usize>() - asked <= 32);
    }
    let seen = net.nodes.iter().flat_map(|node| &node.changes).filter(|change| change.at >= begin);
    assert_eq!(seen.filter(|change| change.member.state != MemberState::Alive).count(), 0);
    net.run_for(seconds(100));
    assert_eq!(net.ties.len(), 16);
}

#[test]
fn members_of_earlier_versions_are_not_tied_to() {
    let mut net = Net::new(46, Profile::Lan);
    net.first_protocol = vec![1, 4];
    net.add_all(6);
    (0..6).for_each(|at| net.start(at));
    net.run_for(seconds(10));
    assert!(tied(&net).iter().all(|(_, to)| ![1, 4].contains(to)));
}
