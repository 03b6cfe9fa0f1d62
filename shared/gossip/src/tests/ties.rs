use std::collections::BTreeSet;

use rand::SeedableRng;
use rand::rngs::StdRng;
use watchfire_shared::member::{DownCause, MemberState};
use watchfire_shared::time::Span;

use crate::envelope::Envelope;
use crate::harness::Net;
use crate::identity::Identity;
use crate::packet::Packet;
use crate::{Admission, GossipKey, Input, Profile};

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
        // Each of the two some times as its ties end, and a lost datagram or two.
        assert!(suspected.count() <= 6 * count, "seed {seed}: no refused connection later on");
    }
}

#[test]
fn a_refused_connection_shortens_no_suspicion_of_a_member_that_is_stopped_for_a_moment() {
    for seed in 64..68 {
        let mut net = Net::settled(seed, Profile::Lan, 6);
        net.run_for(seconds(5));
        let begin = net.now;
        net.takes_no_connections = BTreeSet::from([3]);
        net.break_ties();
        net.run_for(seconds(10));
        for _ in 0..3 {
            net.pause(3, seconds(3));
            net.run_for(seconds(9));
        }
        assert_eq!(net.downs(begin), [], "seed {seed}");
    }
}

#[test]
fn where_no_connection_comes_about_a_refused_datagram_tells_a_dead_agent() {
    for seed in 70..74 {
        let mut net = Net::settled(seed, Profile::Lan, 6);
        net.run_for(seconds(5));
        net.streams_blocked = true;
        net.ties.clear();
        net.run_for(seconds(10));
        net.kill(3);
        let took = net.run_until(seconds(20), |net| net.all_see("node-003", MemberState::Down)).expect("it was found");
        assert!(took <= Span::from_millis(3500), "seed {seed}: {took:?}");
        let causes = net.members(0).into_iter().filter(|member| member.name == "node-003").map(|member| member.cause);
        assert_eq!(causes.collect::<Vec<_>>(), [Some(DownCause::Refused)]);
    }
}

#[test]
fn a_dead_agent_whose_host_says_nothing_of_ports_is_known_by_the_connections_that_it_had_taken() {
    let mut net = Net::settled(75, Profile::Lan, 6);
    net.run_for(seconds(5));
    net.says_nothing_of_ports = BTreeSet::from([3]);
    net.kill(3);
    let took = net.run_until(seconds(20), |net| net.all_see("node-003", MemberState::Down)).expect("it was found");
    assert!(took <= Span::from_millis(2000), "{took:?}");
    net.run_for(seconds(2));
    let causes = net.members(0).into_iter().filter(|member| member.name == "node-003").map(|member| member.cause);
    assert_eq!(causes.collect::<Vec<_>>(), [Some(DownCause::Refused)]);
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

#[test]
fn a_stream_is_heard_only_if_what_opens_it_is_a_members() {
    let key = |byte: u8| GossipKey::new([byte; 32]);
    let mut net = Net::sealed(47, 3, &[key(1)]);
    net.run_for(seconds(5));
    let mut other = Envelope::new("watchfire", &[key(2)], &mut StdRng::seed_from_u64(1));
    let mut own = Envelope::new("watchfire", &[key(1)], &mut StdRng::seed_from_u64(2));
    let mut abroad = Envelope::new("elsewhere", &[key(1)], &mut StdRng::seed_from_u64(3));
    let from = Identity::new(net.nodes[1].id, 1, net.nodes[1].addr);
    let to = net.nodes[0].id;
    let (sync, tie) = (Packet::Sync { from }, Packet::Tie { from, to });
    let (held, asked) = (own.seal_frame(&tie), own.seal_frame(&sync));
    let mut expect = |frame: Vec<u8>, admission| assert_eq!(net.opens(0, 900, &frame), Some(admission), "{frame:?}");
    for frame in [vec![], b"X".to_vec(), vec![0; 40], other.seal_frame(&sync), abroad.seal_frame(&tie)] {
        expect(frame, Admission::Refused);
    }
    expect(Envelope::plain("watchfire").seal_frame(&sync), Admission::Refused);
    expect(own.seal_frame(&Packet::Tie { from, to: from.id }), Admission::Refused);
    expect(own.seal_frame(&Packet::Leave(vec![from])), Admission::Refused);
    expect(held.clone(), Admission::Tie);
    expect(held, Admission::Refused);
    // What asks something is opened again with the rest of it, and only then not once more.
    expect(asked.clone(), Admission::Exchange);
    expect(asked.clone(), Admission::Exchange);
    net.input(0, Input::Asked { stream: 901, frames: vec![asked.clone()] });
    assert_eq!(net.opens(0, 902, &asked), Some(Admission::Refused));
    net.input(0, Input::Leave);
    assert_eq!(net.opens(0, 903, &own.seal_frame(&sync)), Some(Admission::Refused));
}
