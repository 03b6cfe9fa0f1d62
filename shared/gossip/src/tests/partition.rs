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
    let mut net = Net::settled(1, Profile::Lan, 10);
    net.run_for(seconds(5));
    let start = net.now;
    split(&mut net, 1);
    net.run_for(seconds(60));
    assert!(
        net.all_see("node-000", MemberState::Suspect)
            || (1..10).all(|at| net.state(at, "node-000") == Some(MemberState::Down))
    );
    assert!((1..10).all(|at| net.state(0, &format!("node-{at:03}")) != Some(MemberState::Down)));
    let healed = net.now;
    net.groups = None;
    let took = net.run_until(seconds(40), Net::is_complete);
    assert!(took.is_some_and(|took| took <= seconds(31)), "{took:?}");
    net.run_for(seconds(30));
    assert!(net.is_complete());
    assert!(net.downs(start).iter().all(|(_, about)| about == "node-000"), "{:?}", net.downs(start));
    assert_eq!(net.downs(healed), []);
}

#[test]
fn two_halves_find_each_other_again() {
    for (count, limit) in [(4, 31), (20, 31), (60, 31)] {
        let mut net = Net::settled(2, Profile::Lan, count);
        net.run_for(seconds(5));
        split(&mut net, count / 2);
        net.run_for(seconds(180));
        let crossing = net.state(0, &format!("node-{:03}", count - 1));
        assert_eq!(crossing, Some(MemberState::Down));
        let healed = net.now;
        net.groups = None;
        let took = net.run_until(seconds(limit), Net::is_complete);
        assert!(took.is_some(), "{count} nodes are not one cluster {limit} s after the split");
        net.run_for(seconds(60));
        assert!(net.is_complete());
        assert_eq!(net.downs(healed), [], "{count} nodes");
    }
}
