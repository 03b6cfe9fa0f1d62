use watchfire_shared::member::{Metadata, Role};
use watchfire_shared::time::Span;

use crate::harness::Net;
use crate::{Input, Profile};

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn changed(version: &str) -> Metadata {
    let mut metadata = Net::metadata("node-003");
    metadata.version = version.to_owned();
    metadata.role = Role::Collector;
    metadata.services.insert("ingest".to_owned(), "10.0.0.4:7961".parse().unwrap());
    metadata
}

fn all_have(net: &Net, version: &str) -> bool {
    net.running().all(|(_, gossip)| {
        let members = gossip.members();
        let found = members.iter().find(|member| member.name == "node-003");
        found.is_some_and(|member| member.version == version && member.services.contains_key("ingest"))
    })
}

#[test]
fn a_change_reaches_everybody_within_a_second() {
    let mut net = Net::settled(1, Profile::Lan, 20);
    net.run_for(seconds(40));
    net.input(3, Input::SetMetadata(changed("0.2.0")));
    let took = net.run_until(seconds(5), |net| all_have(net, "0.2.0"));
    assert!(took.is_some_and(|took| took <= seconds(1)), "{took:?}");
    assert!(net.is_complete());
}

#[test]
fn a_newcomer_is_listed_by_everybody_within_a_second() {
    for seed in 0..5 {
        let mut net = Net::settled(seed, Profile::Lan, 40);
        net.run_for(seconds(10));
        let newcomer = net.add("newcomer", &[0]);
        net.start(newcomer);
        let took = net.run_until(seconds(10), Net::is_complete);
        assert!(took.is_some_and(|took| took <= seconds(1)), "seed {seed}: {took:?}");
    }
}

#[test]
fn a_change_whose_pushes_are_all_lost_arrives_by_comparing_views() {
    let mut net = Net::settled(2, Profile::Lan, 10);
    net.run_for(seconds(60));
    net.loss = |kind| if kind == 7 { 1.0 } else { 0.0 };
    net.input(3, Input::SetMetadata(changed("0.3.0")));
    net.run_for(seconds(20));
    assert!(!all_have(&net, "0.3.0"));
    net.loss = |_| 0.0;
    assert!(net.run_until(seconds(120), |net| all_have(net, "0.3.0")).is_some());
}

#[test]
fn a_member_without_metadata_is_listed_under_its_id_after_a_while() {
    let mut net = Net::new(3, Profile::Lan);
    net.loss = |kind| if kind == 7 { 1.0 } else { 0.0 };
    net.streams_blocked = true;
    net.add("node-000", &[]);
    net.add("node-001", &[0]);
    net.start(0);
    net.start(1);
    net.run_for(seconds(4));
    assert_eq!(net.members(0).len(), 1);
    net.run_for(seconds(3));
    let names: Vec<String> = net.members(0).into_iter().map(|member| member.name).collect();
    assert!(names.contains(&net.nodes[1].id.to_string()), "{names:?}");
    net.loss = |_| 0.0;
    assert!(net.run_until(seconds(31), Net::is_complete).is_some());
}

#[test]
fn metadata_that_breaks_a_limit_is_refused_and_changes_nothing() {
    let mut net = Net::settled(4, Profile::Lan, 3);
    let names = |net: &Net| net.members(0).into_iter().map(|member| (member.name, member.version)).collect::<Vec<_>>();
    let before = (names(&net), net.nodes[0].gossip.as_ref().unwrap().index());
    let too_large = Metadata { version: "v".repeat(100), ..Net::metadata("node-000") };
    assert!(crate::check_metadata(&too_large).is_err());
    net.input(0, Input::SetMetadata(too_large));
    net.run_for(seconds(5));
    assert_eq!((names(&net), net.nodes[0].gossip.as_ref().unwrap().index()), before);
    assert_eq!(net.nodes[0].gossip.as_ref().unwrap().stats().metadata_refused, 1);
}
