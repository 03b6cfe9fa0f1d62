//! Membership, `up`, freshness, and how fast rules hear of them.

use watchfire_shared::frame::message::{Bye, FEATURE_NO_GOSSIP, Lane, Message};
use watchfire_shared::member::{DownCause, MemberState};
use watchfire_store::disk::CrashKeeps;

use super::world::{FakeAgent, START, World, live, seconds};
use crate::view::Health;

const RULES: &str = r#"
groups:
  - name: nodes
    interval: 15s
    rules:
      - alert: NodeDown
        expr: watchfire_member_state{role="agent", state="down"} == 1
      - alert: NoReports
        expr: up{job="node"} == 0
      - alert: Slow
        expr: m0 > 100
        for: 1m
"#;

fn fleet(world: &mut World, count: u64) -> Vec<FakeAgent> {
    (1..=count)
        .map(|id| {
            let name = format!("web-{id}");
            world.member(id, &name, MemberState::Alive);
            FakeAgent::join(world, id, &name, 1)
        })
        .collect()
}

#[test]
fn up_is_one_while_frames_arrive_and_zero_after_two_missed_intervals() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    let up = r#"up{instance="web-1", job="node"}"#;
    world.run(seconds(1.0));
    assert_eq!(world.value(up), None);
    agent.tick(&mut world, 1.0);
    assert_eq!(world.value(up), Some(1.0));
    world.run(seconds(20.9));
    assert_eq!(world.value(up), Some(1.0));
    assert_eq!(world.value(r#"m0{instance="web-1", job="node"}"#), Some(1.0));
    world.run(seconds(0.1));
    assert_eq!(world.value(up), Some(0.0));
    // What the agent said of its node is no longer so.
    assert_eq!(world.value(r#"m0{instance="web-1", job="node"}"#), None);
    assert_eq!(world.node("web-1").health, Health::Degraded);
    agent.tick(&mut world, 2.0);
    world.run(seconds(0.005));
    assert_eq!(world.value(up), Some(1.0));
    assert_eq!(world.value(r#"m0{instance="web-1", job="node"}"#), Some(2.0));
    let zeros = world.points("up")[up].iter().filter(|(_, value)| *value == 0.0).count();
    assert_eq!(zeros, 1);
}

#[test]
fn a_node_whose_gossip_is_off_is_judged_by_its_reports_alone_and_says_so() {
    let mut world = World::new("groups: []");
    // It was a member and left gossip when it was started without.
    world.member(1, "till-1", MemberState::Alive);
    world.member(1, "till-1", MemberState::Left);
    let mut agent = FakeAgent::new(world.now, 1, "till-1");
    agent.hello.features.push(FEATURE_NO_GOSSIP.to_owned());
    agent.connect(&mut world);
    agent.dict(&mut world, Lane::Live, 1);
    agent.tick(&mut world, 1.0);
    world.run(seconds(1.0));
    let node = world.node("till-1");
    assert_eq!((node.state, node.gossip, node.health), (None, false, Health::Ok));
    assert_eq!(world.value(r#"watchfire_node_gossip_off{instance="till-1"}"#), Some(1.0));
    // What peers make of the member that it was is nothing to it.
    world.member(1, "till-1", MemberState::Down);
    world.run(seconds(25.0));
    let node = world.node("till-1");
    assert_eq!((node.state, node.health), (None, Health::Down));
    assert!(node.reasons[0].contains("its gossip is off"), "{:?}", node.reasons);
    // Gossip is turned on.
    world.member(1, "till-1", MemberState::Alive);
    world.run(seconds(1.0));
    let node = world.node("till-1");
    assert_eq!((node.state, node.gossip), (Some(MemberState::Alive), true));
}

#[test]
fn a_node_whose_gossip_is_off_and_that_is_stopped_is_expected_back() {
    let mut world = World::new(RULES);
    let mut agent = FakeAgent::new(world.now, 1, "till-1");
    agent.hello.features.push(FEATURE_NO_GOSSIP.to_owned());
    let goodbye = Message::Bye(Bye { reason: "the agent stops".to_owned(), retry_after_ms: 0 });
    let up = r#"up{instance="till-1", job="node"}"#;
    let start = |world: &mut World, agent: &mut FakeAgent| {
        agent.connect(world);
        agent.dict(world, Lane::Live, 1);
        agent.tick(world, 1.0);
        world.run(seconds(1.0));
    };
    start(&mut world, &mut agent);
    world.send(agent.conn, &goodbye);
    world.run(seconds(600.0));
    let node = world.node("till-1");
    assert_eq!((node.state, node.health), (Some(MemberState::Left), Health::Unknown));
    assert_eq!((world.value(up), world.alerts()), (Some(1.0), Vec::new()));
    // Back in time: nothing happened. Stopped and not back: it is missed.
    start(&mut world, &mut agent);
    assert_eq!((world.node("till-1").state, world.node("till-1").health), (None, Health::Ok));
    world.send(agent.conn, &goodbye);
    world.run(seconds(901.0));
    assert_eq!((world.node("till-1").health, world.value(up)), (Health::Down, Some(0.0)));
    let zeros = world.points("up")[up].iter().filter(|(_, value)| *value == 0.0).count();
    assert_eq!(zeros, 1, "it was not down before the time was over");
}

#[test]
fn silence_of_all_at_once_accuses_nobody_and_silence_of_one_does() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 4);
    live(&mut world, &mut agents, 3);
    live(&mut world, &mut agents[1..], 3);
    assert_eq!(world.alerts(), ["NoReports firing"]);
    agents[0].tick(&mut world, 1.0);
    live(&mut world, &mut agents, 3);
    assert_eq!(world.alerts(), [""; 0]);
    // Now nobody is heard, and gossip confirms no death.
    world.run(seconds(120.0));
    assert_eq!(world.said("no agent is heard any more"), 1);
    assert_eq!((world.alerts(), world.view().fresh), (Vec::new(), false));
    let zeros = |world: &World| world.points("up").values().flatten().filter(|(_, value)| *value == 0.0).count();
    let before = zeros(&world);
    // The time in which they could have been heard is over: it judges by what it has.
    world.run(seconds(25.0));
    assert_eq!((world.alerts(), world.view().fresh), (vec!["NoReports firing".to_owned(); 4], true));
    assert!(zeros(&world) > before);
    for agent in &mut agents {
        agent.connect(&mut world);
        agent.dict(&mut world, Lane::Live, 1);
    }
    live(&mut world, &mut agents, 2);
    assert_eq!((world.alerts(), world.said("no agent is heard any more")), (Vec::new(), 1));
}

#[test]
fn deaths_that_peers_confirm_are_no_blindness() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 4);
    live(&mut world, &mut agents, 3);
    for id in 1..=4 {
        world.member_because(id, &format!("web-{id}"), MemberState::Down, Some(DownCause::Refused));
    }
    world.run(seconds(1.0));
    assert_eq!(world.alerts(), ["NodeDown firing"; 4]);
    world.run(seconds(60.0));
    assert_eq!((world.said("no agent is heard any more"), world.view().fresh), (0, true));
}

#[test]
fn a_membership_change_is_evaluated_at_once() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 3);
    live(&mut world, &mut agents, 2);
    assert_eq!(world.alerts(), [""; 0]);
    let evaluations = world.evaluated.len();
    world.run(seconds(0.005));
    world.member_because(1, "web-1", MemberState::Down, Some(DownCause::Refused));
    assert_eq!(world.value(r#"watchfire_member_state{instance="web-1", role="agent", state="down"}"#), Some(1.0));
    assert_eq!(world.value(r#"watchfire_member_state{instance="web-1", role="agent", state="alive"}"#), Some(0.0));
    assert_eq!(
        world.value(r#"watchfire_member_down_cause{cause="refused", instance="web-1", role="agent"}"#),
        Some(1.0)
    );
    world.run(seconds(0.1));
    assert_eq!(world.evaluated.len(), evaluations + 1);
    assert_eq!(world.alerts(), ["NodeDown firing"]);
    let node = world.node("web-1");
    assert_eq!((node.health, node.alerts.firing, node.state), (Health::Down, 1, Some(MemberState::Down)));
    world.run(seconds(1.0));
    world.member(1, "web-1", MemberState::Alive);
    world.run(seconds(0.3));
    assert_eq!(world.alerts(), [""; 0]);
}

#[test]
fn several_changes_within_a_millisecond_are_all_written() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 1);
    for state in [MemberState::Suspect, MemberState::Alive, MemberState::Suspect, MemberState::Down] {
        world.member(1, "web-1", state);
    }
    world.run(seconds(0.1));
    assert_eq!(world.value(r#"watchfire_member_state{instance="web-1", role="agent", state="down"}"#), Some(1.0));
    assert_eq!(world.alerts(), ["NodeDown firing"]);
}

#[test]
fn a_restarted_collector_that_sees_nobody_fires_nothing_for_two_minutes() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 3);
    live(&mut world, &mut agents, 3);
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(100.0));
    assert_eq!(world.recovery.nodes, 3);
    world.run(seconds(119.0));
    assert_eq!(world.alerts(), [""; 0]);
    assert!(!world.view().fresh);
    // Then it says what it knows: three agents that had the time to report did not.
    world.run(seconds(1.5));
    assert!(world.view().fresh);
    assert_eq!(world.alerts(), ["NoReports firing"; 3]);
}

#[test]
fn a_restarted_collector_judges_as_soon_as_the_fleet_has_reported() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 10);
    live(&mut world, &mut agents, 3);
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(400.0));
    world.run(seconds(1.0));
    for agent in &mut agents {
        agent.connect(&mut world);
        agent.dict(&mut world, Lane::Live, 1);
    }
    for (at, agent) in agents.iter_mut().enumerate().take(9) {
        assert!(!world.view().fresh, "after {at} agents");
        agent.tick(&mut world, 1.0);
        world.run(seconds(0.1));
    }
    assert!(world.view().fresh);
    assert_eq!(world.alerts(), [""; 0]);
    assert_eq!(world.said("rules fire and resolve from now on"), 1);
}

#[test]
fn an_alert_of_a_node_that_is_still_dead_neither_resolves_nor_fires_anew_over_a_restart() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 3);
    live(&mut world, &mut agents, 2);
    world.member(1, "web-1", MemberState::Down);
    agents.remove(0);
    live(&mut world, &mut agents, 3);
    assert_eq!(world.alerts(), ["NodeDown firing", "NoReports firing"]);
    let since: Vec<_> = world.view().rules.active().map(|alert| alert.active_at).collect();
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(1000.0));
    for agent in &mut agents {
        agent.connect(&mut world);
        agent.dict(&mut world, Lane::Live, 1);
    }
    for _ in 0..20 {
        live(&mut world, &mut agents, 1);
        assert_eq!(world.alerts(), ["NodeDown firing", "NoReports firing"]);
    }
    assert!(world.view().fresh);
    assert_eq!(world.view().rules.active().map(|alert| alert.active_at).collect::<Vec<_>>(), since);
}

#[test]
fn a_node_that_left_on_purpose_causes_no_dip() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 3);
    live(&mut world, &mut agents, 2);
    world.member(1, "web-1", MemberState::Left);
    world.input(crate::engine::Input::Disconnected { conn: agents[0].conn });
    agents.remove(0);
    live(&mut world, &mut agents, 60);
    assert_eq!(world.alerts(), [""; 0]);
    let up = &world.points("up")[r#"up{instance="web-1", job="node"}"#];
    assert!(up.iter().all(|(_, value)| *value == 1.0), "{up:?}");
    // A quarter of an hour is enough.
    live(&mut world, &mut agents, 31);
    assert_eq!(world.alerts(), ["NoReports firing"]);
}

#[test]
fn an_agent_with_a_new_identity_takes_the_place_of_the_dead_one() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 2);
    world.member(1, "web-1", MemberState::Down);
    world.run(seconds(31.0));
    world.member(9, "web-1", MemberState::Alive);
    world.run(seconds(1.0));
    assert_eq!(world.view().nodes.iter().filter_map(|node| node.id).map(|id| id.0).collect::<Vec<_>>(), [9, 2]);
    assert_eq!(world.value(r#"watchfire_member_state{instance="web-1", role="agent", state="alive"}"#), Some(1.0));
    assert!(!world.alerts().contains(&"NodeDown firing".to_owned()));
}

#[test]
fn the_collector_counts_itself() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 2);
    let own = |name: &str| format!(r#"{name}{{instance="watch-1", job="watchfire"}}"#);
    assert_eq!(world.value(&own("watchfire_agents_connected")), Some(2.0));
    assert_eq!(world.value(&own("watchfire_agents_expected")), Some(2.0));
    assert_eq!(world.value(&own("watchfire_storage_full")), Some(0.0));
    assert_eq!(world.value(&own("watchfire_collector_fresh")), Some(1.0));
    assert!(world.value(&own("watchfire_rule_evaluations_total")) > Some(0.0));
    let info = r#"watchfire_node_info{instance="web-1", version="0.1.0"}"#;
    assert_eq!(world.value(info), Some(1.0));
}

#[test]
fn for_timers_run_through_a_crash() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 1);
    live(&mut world, &mut agents, 2);
    let high = |world: &mut World, agents: &mut [FakeAgent]| {
        agents[0].tick(world, 1000.0);
        world.run(seconds(10.0));
    };
    for _ in 0..3 {
        high(&mut world, &mut agents);
    }
    assert_eq!(world.alerts(), ["Slow pending"]);
    let since = world.view().rules.alerts().alerts[0].active_at;
    let now = world.now;
    let mut world = world.crash(CrashKeeps::NOTHING, now + seconds(5.0));
    agents[0].connect(&mut world);
    agents[0].dict(&mut world, Lane::Live, 1);
    assert_eq!(world.view().rules.alerts().alerts[0].active_at, since);
    while world.now < since + seconds(60.0) {
        assert_eq!(world.alerts(), ["Slow pending"], "at {}", world.now);
        agents[0].tick(&mut world, 1000.0);
        world.run(seconds(1.0));
    }
    world.run(seconds(1.0));
    assert_eq!(world.alerts(), ["Slow firing"]);
}

#[test]
fn nobody_is_accused_of_silence_while_the_collector_itself_slept() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 3);
    live(&mut world, &mut agents, 3);
    // The frames of half a minute wait in line, behind a wake-up that comes as late.
    world.now += seconds(30.0);
    world.input(crate::engine::Input::Wake);
    assert_eq!(world.said("the collector was not running"), 1);
    world.run(seconds(0.5));
    live(&mut world, &mut agents, 2);
    let up = world.points("up");
    assert!(up.values().flatten().all(|(_, value)| *value == 1.0), "{up:?}");
    assert_eq!((world.alerts(), world.view().fresh), (Vec::new(), true));
}

#[test]
fn after_a_long_sleep_the_collector_is_as_blind_as_after_a_start() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 3);
    live(&mut world, &mut agents, 2);
    world.member(1, "web-1", MemberState::Down);
    live(&mut world, &mut agents[1..], 3);
    assert_eq!(world.alerts(), ["NodeDown firing", "NoReports firing"]);
    world.now += seconds(3600.0);
    world.input(crate::engine::Input::Wake);
    world.run(seconds(20.0));
    assert!(!world.view().fresh);
    assert_eq!(world.alerts(), ["NodeDown firing", "NoReports firing"]);
    live(&mut world, &mut agents[1..], 2);
    assert!(world.view().fresh);
    assert_eq!(world.alerts(), ["NodeDown firing", "NoReports firing"]);
}

#[test]
fn what_comes_late_is_history_and_no_news() {
    let mut world = World::new(
        "groups: [{name: g, interval: 15s, rules: [{alert: High, expr: m0 > 100}, {alert: Was, expr: 'max_over_time(m0[10m]) > 100'}]}]",
    );
    let mut agents = fleet(&mut world, 1);
    live(&mut world, &mut agents, 3);
    let agent = &mut agents[0];
    let away = world.now;
    world.input(crate::engine::Input::Disconnected { conn: agent.conn });
    world.run(seconds(120.0));
    // It returns and first tells of a load that it had a minute ago.
    agent.connect(&mut world);
    agent.dict(&mut world, Lane::Backfill, 1);
    for after in [30.0, 60.0, 90.0] {
        let data = agent.frame(Lane::Backfill, away + seconds(after), 500.0);
        world.send(agent.conn, &Message::Data(data));
    }
    world.run(seconds(40.0));
    assert_eq!((world.alerts(), world.evaluated.is_empty()), (Vec::new(), false));
    let stored = &world.points("m0")[r#"m0{instance="web-1", job="node"}"#];
    assert_eq!(stored.iter().filter(|(_, value)| *value == 500.0).count(), 3, "queries find it");
}

#[test]
fn a_collector_without_agents_waits_for_them_once_and_not_after_each_restart() {
    let mut world = World::new("groups: [{name: g, interval: 1s, rules: [{alert: Always, expr: vector(1)}]}]");
    world.run(seconds(60.0));
    let at = world.now;
    let mut world = world.crash(CrashKeeps::NOTHING, at);
    world.run(seconds(5.0));
    assert_eq!((world.alerts(), world.view().fresh), (vec!["Always pending".to_owned()], false), "agents may come");
    world.run(seconds(120.0));
    assert_eq!((world.alerts(), world.view().fresh), (vec!["Always firing".to_owned()], true));
    world.run(seconds(60.0));
    let at = world.now + seconds(30.0);
    let mut world = world.crash(CrashKeeps::NOTHING, at);
    world.run(seconds(2.0));
    assert!(world.view().fresh, "it knows that there are none");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 3);
    agent.live(&mut world, 10);
    let at = world.now + seconds(30.0);
    let mut world = world.crash(CrashKeeps::NOTHING, at);
    world.run(seconds(5.0));
    assert!(!world.view().fresh, "now it waits for one");
}

#[test]
fn the_view_of_an_idle_collector_keeps_up_with_the_clock() {
    let mut world = World::new("");
    world.run(seconds(600.0));
    for _ in 0..10 {
        world.run(seconds(7.0));
        assert!(world.now.since(world.view().generated_at) <= seconds(10.0));
    }
}
