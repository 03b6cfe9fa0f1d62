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

#[test]
fn what_a_few_believed_of_the_many_while_they_were_cut_off_kills_nobody_afterwards() {
    let cut = 10;
    // Without the precaution some 240 deaths are told here.
    let mut net = Net::settled(2, Profile::Fast, 100);
    net.run_for(seconds(5));
    split(&mut net, cut);
    net.run_for(seconds(60));
    let healed = net.now;
    net.groups = None;
    assert!(net.run_until(seconds(5), Net::is_complete).is_some());
    net.run_for(seconds(20));
    let few: Vec<String> = net.nodes[..cut].iter().map(|node| node.name.clone()).collect();
    let by_many: Vec<_> = net.downs(healed).into_iter().filter(|(by, _)| !few.contains(by)).collect();
    assert_eq!(by_many, []);
    let passed_over = net.running().map(|(_, gossip)| gossip.stats().hearsay_passed_over).sum::<u64>();
    assert!(passed_over > 0);
}
