//! Named conditions: each arises from what it is named after and ends with it, and a healthy cluster has none.

use std::collections::BTreeSet;

use watchfire_shared::member::ConditionName;
use watchfire_shared::time::Span;

use crate::Profile;
use crate::harness::Net;

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

/// Every condition that anybody shows: who, about whom, which.
fn shown(net: &Net) -> BTreeSet<(usize, String, ConditionName)> {
    let of = |at: usize| {
        net.members(at).into_iter().flat_map(move |member| {
            let names = member.conditions.into_iter().map(|condition| condition.name).collect::<Vec<_>>();
            names.into_iter().map(move |name| (at, member.name.clone(), name))
        })
    };
    (0..net.nodes.len()).flat_map(of).collect()
}

fn about(net: &Net, name: &str, condition: ConditionName) -> usize {
    shown(net).iter().filter(|(_, about, own)| about == name && *own == condition).count()
}

#[test]
fn a_member_whose_datagrams_are_dropped_is_named_and_nobody_else() {
    let mut net = Net::settled(51, Profile::Lan, 6);
    net.run_for(seconds(10));
    let start = net.now;
    net.no_datagrams = vec![3];
    let everywhere = |net: &Net| about(net, "node-003", ConditionName::UdpBlocked) == 6;
    assert!(net.run_until(seconds(90), everywhere).is_some(), "{:?}", shown(&net));
    net.run_for(seconds(120));
    assert!(shown(&net).iter().all(|(_, name, _)| name == "node-003"), "{:?}", shown(&net));
    assert_eq!(net.downs(start), [], "it lives, over TCP");
    let listed = net.members(0).into_iter().find(|member| member.name == "node-003").unwrap();
    let condition = listed.conditions.iter().find(|condition| condition.name == ConditionName::UdpBlocked).unwrap();
    assert!(condition.detail.ends_with("nodes see that it answers over TCP and not over UDP"), "{condition:?}");
    assert!(condition.seen_by.iter().any(|name| name == "node-000"), "{condition:?}");
    net.no_datagrams.clear();
    assert!(net.run_until(seconds(150), |net| shown(net).is_empty()).is_some(), "{:?}", shown(&net));
}

#[test]
fn a_link_that_carries_one_way_is_named_by_the_one_who_hears() {
    let mut net = Net::settled(52, Profile::Lan, 5);
    net.run_for(seconds(10));
    let start = net.now;
    net.one_way = vec![(1, 2)];
    let named = |net: &Net| {
        let of_1 = net.members(1).into_iter().find(|member| member.name == "node-002");
        of_1.is_some_and(|member| {
            member.conditions.iter().any(|condition| {
                condition.name == ConditionName::OneWayLink && condition.seen_by.contains(&"node-001".to_owned())
            })
        })
    };
    assert!(net.run_until(seconds(120), named).is_some(), "{:?}", shown(&net));
    net.run_for(seconds(60));
    let names: BTreeSet<_> = shown(&net).into_iter().map(|(_, name, condition)| (name, condition)).collect();
    assert_eq!(names, BTreeSet::from([("node-002".to_owned(), ConditionName::OneWayLink)]));
    assert_eq!(net.downs(start), []);
    net.one_way.clear();
    assert!(net.run_until(seconds(150), |net| shown(net).is_empty()).is_some(), "{:?}", shown(&net));
}

#[test]
fn a_member_that_is_slow_is_named_and_its_observers_are_not() {
    let mut net = Net::settled(53, Profile::Lan, 5);
    net.run_for(seconds(10));
    let mut named = false;
    // No whole number of probes, so that they come at every moment of a pause.
    for _ in 0..120 {
        net.pause(3, Span::from_millis(850));
        net.run_for(Span::from_millis(970));
        named |= about(&net, "node-003", ConditionName::Slow) > 0;
        let others: Vec<_> = shown(&net).into_iter().filter(|(_, name, _)| name != "node-003").collect();
        assert_eq!(others, []);
    }
    assert!(named);
    assert!(net.run_until(seconds(900), |net| shown(net).is_empty()).is_some(), "{:?}", shown(&net));
}

#[test]
fn members_that_disagree_about_one_are_counted() {
    let mut net = Net::settled(54, Profile::Lan, 6);
    net.run_for(seconds(10));
    net.cut = vec![(4, 2)];
    let (id, now) = (net.nodes[2].id, net.now);
    net.nodes[4].gossip.as_mut().unwrap().hold_for_down(now, id);
    let named = |net: &Net| {
        let others = (0..6).filter(|at| *at != 4 && *at != 2);
        others.into_iter().any(|at| {
            let member = net.members(at).into_iter().find(|member| member.name == "node-002").unwrap();
            member.conditions.iter().any(|condition| {
                condition.name == ConditionName::ViewDivergence
                    && condition.seen_by == ["node-004"]
                    && condition.detail.contains("nodes disagree: they hold it for gone, and this node for alive")
            })
        })
    };
    assert!(net.run_until(seconds(180), named).is_some(), "{:?}", shown(&net));
    net.cut.clear();
    assert!(net.run_until(seconds(240), |net| shown(net).is_empty()).is_some(), "{:?}", shown(&net));
}

#[test]
fn a_healthy_cluster_has_no_condition_whatever_comes_and_goes() {
    let mut net = Net::settled(55, Profile::Lan, 20);
    net.loss = |_| 0.01;
    for round in 0..20 {
        let at = 1 + round % 19;
        net.kill(at);
        net.run_for(seconds(20));
        assert_eq!(shown(&net), BTreeSet::new(), "round {round}");
        net.start(at);
        net.run_for(seconds(20));
        assert_eq!(shown(&net), BTreeSet::new(), "round {round}");
    }
    net.pause(5, seconds(2));
    net.run_for(seconds(120));
    assert_eq!(shown(&net), BTreeSet::new());
}
