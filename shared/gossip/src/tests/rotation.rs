//! Changes of keys while a cluster runs: everybody makes them, nobody is lost, and none is made too early.

use watchfire_shared::member::{HeldKeys, MemberState};
use watchfire_shared::time::Span;

use crate::harness::Net;
use crate::{GossipKey, Input, KeyOp, KeyRefusal};

fn key(byte: u8) -> GossipKey {
    GossipKey::new([byte; 32])
}

/// Asks a node for a change and returns what it answers at once.
fn order(net: &mut Net, at: usize, op: KeyOp) -> Result<(), KeyRefusal> {
    let ticket = net.now.as_millis() as u64;
    net.input(at, Input::OrderKeys { ticket, op });
    net.run_for(Span::from_millis(20));
    let answers = net.nodes[at].answered.drain(..).collect::<Vec<_>>();
    assert_eq!(answers.len(), 1, "one question has one answer");
    assert_eq!(answers[0].0, ticket);
    answers.into_iter().next().unwrap().1
}

/// Whether every running node says of every other that it holds these keys, in this order, and holds them itself.
fn all_hold(net: &Net, keys: &[GossipKey]) -> bool {
    let ids: Vec<_> = keys.iter().map(GossipKey::id).collect();
    net.running().all(|(at, gossip)| {
        let alive = gossip.members().into_iter().filter(|member| member.state == MemberState::Alive);
        let written = net.nodes[at].stored_keys.as_deref() == Some(keys);
        written && alive.into_iter().all(|member| member.keys.ids == ids)
    })
}

fn keys_of(net: &Net, by: usize, name: &str) -> HeldKeys {
    *net.members(by).into_iter().find(|member| member.name == name).unwrap().keys
}

#[test]
fn a_key_is_installed_used_and_the_old_one_removed_within_seconds_and_nobody_is_lost() {
    let mut net = Net::sealed(11, 30, &[key(1)]);
    net.run_for(Span::from_seconds(5));
    let start = net.now;
    let steps: [(usize, KeyOp, &[GossipKey]); 3] = [
        (0, KeyOp::Install(key(2)), &[key(1), key(2)]),
        (7, KeyOp::Use(key(2).id()), &[key(2), key(1)]),
        (0, KeyOp::Remove(key(1).id()), &[key(2)]),
    ];
    for (at, op, expected) in steps {
        assert_eq!(order(&mut net, at, op.clone()), Ok(()));
        // Mostly at once; whom no push reached hears of it by comparing views.
        let took = net.run_until(Span::from_seconds(15), |net| all_hold(net, expected));
        assert!(took.is_some(), "{op:?}: {:?}", keys_of(&net, 0, "node-020"));
    }
    net.run_for(Span::from_seconds(30));
    assert_eq!(net.downs(start), []);
    assert!(net.is_complete());
    let dropped = |stats: &crate::Stats| stats.dropped_unknown_key + stats.dropped_forged + stats.dropped_replayed;
    assert!(net.running().all(|(_, gossip)| dropped(gossip.stats()) == 0));
}

#[test]
fn a_member_that_is_away_keeps_the_old_key_in_use_until_it_is_back_or_forgotten() {
    let mut net = Net::sealed(12, 5, &[key(1)]);
    net.run_for(Span::from_seconds(2));
    net.kill(3);
    assert!(net.run_until(Span::from_seconds(30), |net| net.all_see("node-003", MemberState::Down)).is_some());
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(2))), Ok(()));
    net.run_for(Span::from_seconds(3));
    let lacking = KeyRefusal::Lacking { key: key(2).id(), names: vec!["node-003".to_owned()] };
    assert_eq!(order(&mut net, 1, KeyOp::Use(key(2).id())), Err(lacking));
    // Who led the change still tells of it.
    net.start(3);
    let pair = [key(1), key(2)];
    assert!(net.run_until(Span::from_seconds(30), |net| all_hold(net, &pair)).is_some());
    assert_eq!(order(&mut net, 1, KeyOp::Use(key(2).id())), Ok(()));
    assert!(net.run_until(Span::from_seconds(5), |net| all_hold(net, &[key(2), key(1)])).is_some());
    assert!(net.is_complete());
}

#[test]
fn a_member_that_missed_several_changes_makes_all_that_still_hold() {
    let mut net = Net::sealed(17, 4, &[key(1)]);
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(2))), Ok(()));
    assert!(net.run_until(Span::from_seconds(5), |net| all_hold(net, &[key(1), key(2)])).is_some());
    net.kill(3);
    assert!(net.run_until(Span::from_seconds(30), |net| net.all_see("node-003", MemberState::Down)).is_some());
    for op in [KeyOp::Install(key(3)), KeyOp::Install(key(4)), KeyOp::Use(key(2).id()), KeyOp::Remove(key(4).id())] {
        assert_eq!(order(&mut net, 0, op), Ok(()));
        net.run_for(Span::from_seconds(2));
    }
    net.start(3);
    let expected = [key(2), key(1), key(3)];
    assert!(net.run_until(Span::from_seconds(60), |net| all_hold(net, &expected)).is_some());
    assert!(net.is_complete());
}

#[test]
fn a_key_file_that_cannot_be_written_is_told_and_keeps_the_old_key() {
    let mut net = Net::sealed(13, 4, &[key(1)]);
    net.nodes[2].key_file_is_broken = true;
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(2))), Ok(()));
    net.run_for(Span::from_seconds(5));
    let held = keys_of(&net, 0, "node-002");
    assert_eq!(held.ids, [key(1).id()]);
    assert_eq!(held.trouble, "the key file could not be written: the disk is full");
    assert!(matches!(order(&mut net, 0, KeyOp::Use(key(2).id())), Err(KeyRefusal::Lacking { .. })));
    assert_eq!(order(&mut net, 2, KeyOp::Install(key(3))), Err(KeyRefusal::File("the disk is full".to_owned())));
    net.nodes[2].key_file_is_broken = false;
    assert!(net.run_until(Span::from_seconds(40), |net| all_hold(net, &[key(1), key(2)])).is_some());
    assert_eq!(keys_of(&net, 0, "node-002").trouble, "");
}

#[test]
fn the_file_is_the_truth_after_a_restart() {
    let mut net = Net::sealed(14, 3, &[key(1)]);
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(2))), Ok(()));
    assert!(net.run_until(Span::from_seconds(5), |net| all_hold(net, &[key(1), key(2)])).is_some());
    net.kill(1);
    net.start(1);
    assert!(net.run_until(Span::from_seconds(10), Net::is_complete).is_some());
    assert!(all_hold(&net, &[key(1), key(2)]));
    // Somebody takes the new key out of the file by hand: that node holds what its file says, and the others see it.
    net.run_for(Span::from_seconds(1000));
    net.kill(1);
    net.nodes[1].stored_keys = Some(vec![key(1)]);
    net.start(1);
    assert!(net.run_until(Span::from_seconds(10), Net::is_complete).is_some());
    assert!(net.run_until(Span::from_seconds(5), |net| keys_of(net, 0, "node-001").ids == [key(1).id()]).is_some());
    assert!(matches!(order(&mut net, 0, KeyOp::Use(key(2).id())), Err(KeyRefusal::Lacking { .. })));
    // Installed again, it gets there again.
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(2))), Ok(()));
    assert!(net.run_until(Span::from_seconds(5), |net| all_hold(net, &[key(1), key(2)])).is_some());
}

#[test]
fn plain_gossip_has_no_keys_to_change() {
    let mut net = Net::settled(15, crate::Profile::Lan, 2);
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(1))), Err(KeyRefusal::Plain));
    assert!(net.members(0).iter().all(|member| member.keys.is_empty()));
}

#[test]
fn members_that_cannot_change_keys_are_named_and_not_told() {
    let mut net = Net::new(16, crate::Profile::Lan);
    net.keys = vec![key(1)];
    net.first_protocol = vec![2];
    net.add_all(3);
    (0..3).for_each(|at| net.start(at));
    assert!(net.run_until(Span::from_seconds(20), Net::is_complete).is_some());
    net.run_for(Span::from_seconds(2));
    assert_eq!(order(&mut net, 0, KeyOp::Install(key(2))), Ok(()));
    net.run_for(Span::from_seconds(20));
    let refused = order(&mut net, 0, KeyOp::Use(key(2).id()));
    assert_eq!(refused, Err(KeyRefusal::Lacking { key: key(2).id(), names: vec!["node-002".to_owned()] }));
    assert_eq!(net.nodes[2].gossip.as_ref().unwrap().stats().dropped_unknown_kind, 0);
}
