//! From a change in the world to the receiver, over crashes and full disks.

use watchfire_shared::frame::message::Lane;
use watchfire_shared::member::MemberState;
use watchfire_store::disk::CrashKeeps;

use super::world::{FakeAgent, START, Webhook, World, live, seconds, settings};
use crate::engine::Input;

const RULES: &str = r#"
groups:
  - name: nodes
    interval: 15s
    rules:
      - alert: NodeDown
        expr: watchfire_member_state{role="agent", state="down"} == 1
"#;

fn fleet(world: &mut World) -> Vec<FakeAgent> {
    world.member(2, "web-2", MemberState::Alive);
    let mut agents = vec![FakeAgent::join(world, 1, "web-1", 1)];
    world.member(1, "web-1", MemberState::Alive);
    agents.push(FakeAgent::join(world, 2, "web-2", 1));
    live(world, &mut agents, 2);
    agents
}

fn arrived(world: &World) -> Vec<Vec<String>> {
    world.arrived.iter().map(|arrived| arrived.alerts.clone()).collect()
}

#[test]
fn a_dead_node_is_told_at_once_and_its_return_at_the_next_interval() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world);
    assert_eq!(arrived(&world), [[""; 0]; 0]);
    let died = world.now;
    world.member(2, "web-2", MemberState::Down);
    world.run(seconds(0.1));
    assert_eq!(arrived(&world), [["NodeDown firing"]]);
    assert!(world.arrived[0].at <= died + seconds(0.060), "{:?} after {died:?}", world.arrived[0].at);
    live(&mut world, &mut agents[..1], 1);
    world.member(2, "web-2", MemberState::Alive);
    live(&mut world, &mut agents, 5);
    assert_eq!(arrived(&world), [["NodeDown firing"], ["NodeDown resolved"]]);
}

#[test]
fn what_the_receiver_refused_is_sent_after_a_crash() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world);
    world.webhook = Webhook::Refuses;
    world.member(2, "web-2", MemberState::Down);
    live(&mut world, &mut agents[..1], 2);
    assert_eq!(arrived(&world), [[""; 0]; 0]);
    let own = r#"watchfire_notifications_failed_total{instance="watch-1", integration="webhook", job="watchfire", receiver="hook"}"#;
    assert!(world.value(own) > Some(0.0));
    assert_eq!(world.value(r#"watchfire_notifications_queued{instance="watch-1", job="watchfire"}"#), Some(1.0));
    let at = world.now + seconds(5.0);
    let mut world = world.crash(CrashKeeps::NOTHING, at);
    world.run(seconds(1.0));
    assert_eq!(arrived(&world), [["NodeDown firing"]]);
    world.run(seconds(300.0));
    assert_eq!(arrived(&world).len(), 1);
}

#[test]
fn the_process_may_die_between_any_two_effects_and_the_notification_comes_once_or_twice() {
    let story = |dies_after: usize| {
        let mut world = World::new(RULES);
        world.dies_after = dies_after;
        let mut agents = fleet(&mut world);
        world.member(2, "web-2", MemberState::Down);
        live(&mut world, &mut agents[..1], 3);
        world
    };
    let whole = story(usize::MAX);
    assert_eq!(arrived(&whole), [["NodeDown firing"]]);
    assert!(whole.effects > 15);
    for dies_after in 1..whole.effects {
        let before = story(dies_after);
        let told = before.arrived.len();
        let at = before.now + seconds(2.0);
        let mut world = before.crash(CrashKeeps::NOTHING, at);
        world.member(1, "web-1", MemberState::Alive);
        world.member(2, "web-2", MemberState::Down);
        let mut agent = FakeAgent::new(world.now, 1, "web-1");
        agent.connect(&mut world);
        agent.dict(&mut world, Lane::Live, 1);
        agent.live(&mut world, 20);
        let told = told + world.arrived.len();
        assert!((1..=2).contains(&told), "told {told} times after a death at effect {dies_after}");
        assert_eq!(world.alerts(), ["NodeDown firing"]);
    }
}

#[test]
fn deliveries_wait_for_a_state_that_cannot_be_written_but_not_for_ever() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world);
    let died = world.now;
    world.member(2, "web-2", MemberState::Down);
    world.disk.fail_syncs(u32::MAX);
    world.run(seconds(4.0));
    assert_eq!(arrived(&world), [[""; 0]; 0]);
    assert_eq!(world.said("the state cannot be written"), 1);
    world.run(seconds(3.0));
    assert_eq!(arrived(&world), [["NodeDown firing"]]);
    assert!(world.arrived[0].at >= died + seconds(5.0));
    world.disk.fail_syncs(0);
    world.run(seconds(2.0));
    assert_eq!(world.said("the state can be written again"), 1);
    // What could not be written then is written now: nothing is told twice after a crash.
    let at = world.now;
    let mut world = world.crash(CrashKeeps::NOTHING, at);
    agents[0].connect(&mut world);
    agents[0].dict(&mut world, Lane::Live, 1);
    world.member(1, "web-1", MemberState::Alive);
    world.member(2, "web-2", MemberState::Down);
    live(&mut world, &mut agents[..1], 6);
    assert_eq!((arrived(&world).len(), world.alerts()), (0, vec!["NodeDown firing".to_owned()]));
}

#[test]
fn a_blind_restart_tells_nothing() {
    let mut world = World::new(RULES);
    fleet(&mut world);
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(60.0));
    world.run(seconds(119.0));
    assert_eq!(arrived(&world), [[""; 0]; 0]);
}

#[test]
fn a_node_that_died_unseen_is_told_once_the_collector_may_judge() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world);
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(900.0));
    agents[0].connect(&mut world);
    agents[0].dict(&mut world, Lane::Live, 1);
    world.member(1, "web-1", MemberState::Alive);
    live(&mut world, &mut agents[..1], 11);
    assert_eq!(arrived(&world), [[""; 0]; 0]);
    live(&mut world, &mut agents[..1], 4);
    assert_eq!(arrived(&world), [["NodeDown firing"]]);
    assert_eq!(world.node("web-2").state, Some(MemberState::Down));
}

#[test]
fn a_reload_keeps_alerts_and_ends_those_of_rules_that_are_gone() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world);
    world.member(2, "web-2", MemberState::Down);
    live(&mut world, &mut agents[..1], 2);
    world.input(Input::Reload(Box::new(settings(RULES))));
    live(&mut world, &mut agents[..1], 3);
    assert_eq!((arrived(&world).len(), world.alerts()), (1, vec!["NodeDown firing".to_owned()]));
    world.input(Input::Reload(Box::new(settings("groups: []"))));
    live(&mut world, &mut agents[..1], 3);
    assert_eq!(arrived(&world), [["NodeDown firing"], ["NodeDown resolved"]]);
    assert_eq!(world.alerts(), [""; 0]);
    assert_eq!(world.view().stats.agents_connected, 1);
}

#[test]
fn another_naming_of_series_makes_agents_come_again() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world);
    let mut renamed = settings(RULES);
    renamed.naming.instance = crate::ingest::naming::NameTemplate::parse("{name}:9100").expect("a template");
    world.input(Input::Reload(Box::new(renamed)));
    assert_eq!(world.closed.len(), 2);
    agents[0].connect(&mut world);
    agents[0].dict(&mut world, Lane::Live, 1);
    live(&mut world, &mut agents[..1], 1);
    assert_eq!(world.value(r#"up{instance="web-1:9100", job="node"}"#), Some(1.0));
    assert_eq!(world.value(r#"up{instance="web-1", job="node"}"#), None);
    assert_eq!(world.value(r#"m0{instance="web-1:9100", job="node"}"#), Some(1.0));
}
