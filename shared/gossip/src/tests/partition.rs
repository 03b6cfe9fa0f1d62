use watchfire_shared::member::MemberState;
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn split(net: &mut Net, cut: usize) {
    net.groups = Some((0..net.nodes.len()).map(|at| u8::from(at < cut)).collect());
}

#[test]
fn an_isolated_node_accuses_nobody_and_is_back_soon() {
    for count in [10, 80] {
        let mut net = Net::settled(1, Profile::Lan, count);
        net.run_for(seconds(5));
        let start = net.now;
        split(&mut net, 1);
        net.run_for(seconds(60));
        assert!((1..count).all(|at| net.state(at, "node-000") == Some(MemberState::Down)));
        assert!((1..count).all(|at| net.state(0, &net.nodes[at].name) != Some(MemberState::Down)));
        let healed = net.now;
        net.groups = None;
        let took = net.run_until(seconds(3), Net::is_complete);
        assert!(took.is_some(), "of {count}: {:?}", net.members(0));
        net.run_for(seconds(30));
        assert!(net.is_complete());
        assert!(net.downs(start).iter().all(|(_, about)| about == "node-000"), "{:?}", net.downs(start));
        assert_eq!(net.downs(healed), []);
        assert_eq!(net.nodes[0].stored_generation, 2);
    }
}

#[test]
fn two_halves_find_each_other_again() {
    for (count, cut) in [(4, 2), (4, 1), (20, 10), (60, 25)] {
        let mut net = Net::settled(2, Profile::Lan, count);
        net.run_for(seconds(5));
        split(&mut net, cut);
        net.run_for(seconds(120));
        let last = net.nodes[count - 1].name.clone();
        assert_ne!(net.state(0, &last), Some(MemberState::Alive));
        let healed = net.now;
        net.groups = None;
        let took = net.run_until(seconds(5), Net::is_complete);
        assert!(took.is_some(), "{cut} and {} nodes are not one cluster", count - cut);
        net.run_for(seconds(60));
        assert!(net.is_complete());
        assert_eq!(net.downs(healed), [], "{cut} and {} nodes", count - cut);
    }
}

/// Who is declared down after a network of `count` members healed in which `cut` of them were away, by whom, and how many
/// deaths others told meanwhile that were passed over.
fn downs_after(seed: u64, profile: Profile, (count, cut): (usize, usize), away: i64) -> (Vec<(String, String)>, u64) {
    let mut net = Net::settled(seed, profile, count);
    net.run_for(seconds(5));
    split(&mut net, cut);
    net.run_for(seconds(away));
    let healed = net.now;
    net.groups = None;
    net.run_for(seconds(5));
    assert!(net.is_complete(), "{cut} of {count}, away for {away} s");
    net.run_for(seconds(6));
    let passed_over = net.running().map(|(_, gossip)| gossip.stats().hearsay_passed_over).sum();
    (net.downs(healed), passed_over)
}

#[test]
fn what_a_few_believed_of_the_many_while_they_were_cut_off_kills_nobody_afterwards() {
    let mut passed_over = 0;
    for away in [12, 60] {
        let (downs, hearsay) = downs_after(2, Profile::Fast, (100, 10), away);
        let by_many: Vec<_> = downs.into_iter().filter(|(by, _)| by.as_str() >= "node-010").collect();
        assert_eq!(by_many, [], "away for {away} s");
        passed_over += hearsay;
    }
    assert!(passed_over > 0);
}

#[test]
fn a_split_that_ends_while_suspicions_run_out_is_over_at_once() {
    let cases = [(Profile::Lan, 40, 7), (Profile::Lan, 40, 9), (Profile::Fast, 40, 6), (Profile::Fast, 10, 6)];
    let downs = cases.map(|(profile, cut, away)| downs_after(2, profile, (100, cut), away).0.len());
    let downs: usize = downs.iter().sum();
    // Whose time is up in the very moment is declared down, for a moment. Without the wait they are 1179.
    assert!(downs < 200, "{downs}");
}

#[test]
fn who_returns_just_when_others_tell_of_a_death_knows_it_soon() {
    let mut longest = Span::ZERO;
    for before in 3..10 {
        let mut net = Net::settled(before as u64, Profile::Lan, 20);
        net.run_for(seconds(5));
        split(&mut net, 1);
        net.run_for(seconds(20 - before));
        net.kill_host(7);
        net.run_for(seconds(before));
        net.groups = None;
        let took = net.run_until(seconds(60), |net| net.all_see("node-007", MemberState::Down));
        longest = longest.max(took.unwrap_or(seconds(999)));
        let accused = net
            .downs(net.now - seconds(100))
            .into_iter()
            .filter(|(_, about)| about != "node-007" && about != "node-000");
        assert_eq!(accused.collect::<Vec<_>>(), [], "killed {before} s before");
    }
    println!("known to who returned after {longest:?} at most");
    assert!(longest <= seconds(30), "{longest:?}");
}
