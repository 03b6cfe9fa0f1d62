//! Who is expected, and when an absence is nobody's alarm: maintenance, decommissioning, ephemeral nodes, the inventory,
//! groups that fall as one, and the history of it all.

use std::collections::BTreeMap;

use watchfire_shared::frame::message::{Lane, Message};
use watchfire_shared::life::LifeState;
use watchfire_shared::member::{DownCause, MemberState, NodeId};
use watchfire_shared::time::Timestamp;
use watchfire_store::SimDisk;
use watchfire_store::disk::CrashKeeps;

use super::world::{FakeAgent, START, World, live, seconds, settings};
use crate::catalogue::inventory::Expected;
use crate::catalogue::maintenance::Maintenance;
use crate::engine::Input;
use crate::view::Health;

const RULES: &str = r#"
groups:
  - name: nodes
    interval: 15s
    rules:
      - alert: NodeGroupDown
        expr: watchfire_group_nodes_down and on (label, value) watchfire_group_down == 1
      - alert: NodeDown
        expr: max without (cause, role) (watchfire_member_down_cause{role="agent", cause="silent"}) == 1
      - alert: NodeNotBack
        expr: watchfire_node_overdue == 1
      - alert: NodeNeverSeen
        expr: watchfire_node_never_seen == 1
      - alert: Short
        expr: watchfire_ephemeral_nodes < on (group) watchfire_ephemeral_nodes_minimum
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

fn down(world: &mut World, id: u64) {
    world.member_because(id, &format!("web-{id}"), MemberState::Down, Some(DownCause::Silent));
}

fn maintenance(world: &World, node: &str, length: f64) -> Input {
    let (since, until) = (world.now, world.now + seconds(length));
    Input::SetMaintenance(Box::new(Maintenance { node: node.to_owned(), since, until, reason: "disks".to_owned() }))
}

/// What was told, one line for each notification.
fn told(world: &World) -> Vec<String> {
    world.arrived.iter().map(|arrived| arrived.alerts.join(", ")).collect()
}

/// The history of a node as `source state from-to`, in seconds since the start.
fn history(world: &World, node: &str) -> Vec<String> {
    let second = |at: Timestamp| at.since(START).as_seconds().round();
    let intervals = world.view().history.intervals(Some(node), Timestamp::MIN, Timestamp::MAX);
    let end = |to: Option<Timestamp>| to.map_or(String::new(), |to| second(to).to_string());
    let line =
        |own: &crate::history::Interval| format!("{} {} {}-{}", own.source, own.state, second(own.from), end(own.to));
    intervals.iter().map(line).collect()
}

#[test]
fn the_history_of_an_outage_is_filled_from_the_agents_own_journal() {
    let mut world = World::new(RULES);
    let mut agent = fleet(&mut world, 1).remove(0);
    agent.live(&mut world, 2);
    assert_eq!(life_wanted(&mut world, &agent), [0]);
    agent.life(&mut world, &[(1, 0.0, LifeState::Running), (2, 15.0, LifeState::CutOff)]);
    world.run(seconds(1.0));
    // The collector is away for an hour. Its agent runs, sleeps and runs on; then its clock is two minutes ahead.
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(3600.0));
    agent.hello.clock_ms = world.now.as_millis() + 120_000;
    agent.connect_as_is(&mut world);
    agent.dict(&mut world, Lane::Live, 1);
    assert_eq!(life_wanted(&mut world, &agent), [2]);
    let notes = [
        (3, 720.0, LifeState::Suspended),
        (4, 1320.0, LifeState::Running),
        (5, 1321.0, LifeState::Unknown),
        (6, 3000.0, LifeState::Stopped),
        // A time that has not come yet is none.
        (7, 9_999_999.0, LifeState::Running),
    ];
    agent.life(&mut world, &notes);
    world.run(seconds(1.0));
    let of_agent = |world: &World| -> Vec<String> {
        history(world, "web-1").into_iter().filter(|line| line.starts_with("agent ")).collect()
    };
    let expected = [
        "agent running 0-15",
        "agent cut_off 15-600",
        "agent suspended 600-1200",
        "agent running 1200-2880",
        "agent stopped 2880-3600",
        "agent running 3600-",
    ];
    assert_eq!(of_agent(&world), expected);
    // It is durable with the number up to which it is known, and nothing came of it but history.
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(3700.0));
    agent.connect(&mut world);
    assert_eq!((life_wanted(&mut world, &agent), of_agent(&world)), (vec![7], expected.map(str::to_owned).to_vec()));
    assert_eq!((world.alerts(), told(&world)), (Vec::new(), Vec::new()));
}

/// From where on the collector asked the agent for its life since the last call.
fn life_wanted(world: &mut World, agent: &FakeAgent) -> Vec<u64> {
    let replies = world.replies(agent.conn).into_iter();
    replies
        .filter_map(|reply| if let Message::LifeWanted(wanted) = reply { Some(wanted.after) } else { None })
        .collect()
}

#[test]
fn maintenance_mutes_a_node_through_a_crash_and_pages_if_it_is_still_down_at_the_end() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 2);
    let input = maintenance(&world, "web-1", 600.0);
    world.input(input);
    down(&mut world, 1);
    down(&mut world, 2);
    world.run(seconds(30.0));
    assert_eq!(
        (world.alerts(), told(&world)),
        (vec!["NodeDown firing".to_owned(); 2], vec!["NodeDown firing".to_owned()])
    );
    let node = world.node("web-1");
    let until = START + seconds(620.0);
    assert_eq!((node.health, node.maintenance_until), (Health::Maintenance, Some(until)));
    assert_eq!(node.reasons[0], format!("in maintenance until {until}: disks"));
    assert_eq!(world.value(r#"watchfire_node_maintenance{instance="web-1"}"#), Some(1.0));

    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(200.0));
    assert_eq!(world.node("web-1").maintenance_until, Some(until));
    for id in [1, 2] {
        down(&mut world, id);
    }
    world.run(seconds(419.0));
    assert_eq!(told(&world), [""; 0]);
    world.run(seconds(12.0));
    assert_eq!(told(&world), ["NodeDown firing, NodeDown firing"]);
    assert_eq!((world.node("web-1").health, world.node("web-1").maintenance_until), (Health::Down, None));
    assert_eq!(world.value(r#"watchfire_node_maintenance{instance="web-1"}"#), None);
    let noted = history(&world, "web-1");
    assert!(noted.contains(&"operator maintenance 20-620".to_owned()), "{noted:?}");
    assert!(noted.contains(&"operator in_service 620-".to_owned()), "{noted:?}");
}

#[test]
fn maintenance_that_is_ended_early_lets_the_node_speak() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 1);
    live(&mut world, &mut agents, 2);
    let input = maintenance(&world, "web-1", 600.0);
    world.input(input);
    down(&mut world, 1);
    world.run(seconds(30.0));
    assert_eq!(told(&world), [""; 0]);
    world.input(Input::EndMaintenance { node: "web-1".to_owned() });
    world.input(Input::EndMaintenance { node: "web-1".to_owned() });
    world.run(seconds(12.0));
    assert_eq!(told(&world), ["NodeDown firing"]);
    assert_eq!(world.said("a node's maintenance is over"), 1);
}

#[test]
fn only_a_person_ends_the_expectation_of_a_node() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 2);
    down(&mut world, 1);
    world.input(Input::Disconnected { conn: agents[0].conn });
    world.run(seconds(10.0));
    // Its peers forget it; it is expected all the same.
    world.input(Input::Unlisted(NodeId(1)));
    world.run(seconds(10.0));
    assert_eq!((world.alerts(), world.node("web-1").health), (vec!["NodeDown firing".to_owned()], Health::Down));
    // One that lives is not taken away.
    world.input(Input::Decommission(NodeId(2)));
    world.input(Input::Decommission(NodeId(1)));
    world.run(seconds(10.0));
    let names = |world: &World| world.view().nodes.iter().map(|node| node.name.clone()).collect::<Vec<_>>();
    assert_eq!((world.alerts(), names(&world)), (Vec::new(), vec!["web-2".to_owned()]));
    assert_eq!(history(&world, "web-1").last().map(String::as_str), Some("operator decommissioned 40-"));
    // Gossip has not forgotten it yet, here and after a restart.
    down(&mut world, 1);
    assert_eq!(names(&world), ["web-2"]);
    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(100.0));
    down(&mut world, 1);
    world.run(seconds(1.0));
    assert_eq!(names(&world), ["web-2"]);
    // It is back if it is back.
    world.member(1, "web-1", MemberState::Alive);
    world.run(seconds(1.0));
    assert_eq!(names(&world), ["web-1", "web-2"]);
}

#[test]
fn a_wiped_node_that_gossip_lists_no_more_leaves_nothing_behind() {
    let mut world = World::new(RULES);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 1);
    // The old identity is still connected when the new one appears, so that both are kept for a moment.
    world.member(9, "web-1", MemberState::Alive);
    world.run(seconds(1.0));
    assert_eq!(world.view().nodes.len(), 3);
    world.input(Input::Disconnected { conn: agents[0].conn });
    down(&mut world, 1);
    world.member(9, "web-1", MemberState::Alive);
    world.input(Input::Unlisted(NodeId(1)));
    world.run(seconds(1.0));
    let ids: Vec<u64> = world.view().nodes.iter().filter_map(|node| node.id).map(|id| id.0).collect();
    assert_eq!((ids, world.alerts()), (vec![9, 2], Vec::new()));
}

#[test]
fn a_node_that_was_stopped_is_overdue_after_the_grace_and_not_before() {
    let mut settings = settings(RULES);
    settings.nodes.expected_back = seconds(120.0);
    let mut world = World::open(SimDisk::new(), settings, START);
    let mut agents = fleet(&mut world, 2);
    live(&mut world, &mut agents, 2);
    world.member(1, "web-1", MemberState::Left);
    world.input(Input::Disconnected { conn: agents[0].conn });
    live(&mut world, &mut agents[1..], 11);
    assert_eq!((world.alerts(), world.node("web-1").health), (Vec::new(), Health::Unknown));
    live(&mut world, &mut agents[1..], 2);
    assert_eq!((world.alerts(), world.node("web-1").health), (vec!["NodeNotBack firing".to_owned()], Health::Down));
    world.member(1, "web-1", MemberState::Alive);
    world.run(seconds(1.0));
    assert_eq!(world.alerts(), [""; 0]);
    assert_eq!(
        history(&world, "web-1"),
        [
            "collector reporting 0-140",
            "peers alive 0-20",
            "peers left 20-150",
            "collector silent 140-",
            "peers alive 150-"
        ]
    );
}

#[test]
fn an_ephemeral_node_goes_without_a_trace_and_is_missed_only_by_its_group() {
    let mut settings = settings(RULES);
    settings.nodes.group_minimum = BTreeMap::from([("web".to_owned(), 2)]);
    let mut world = World::open(SimDisk::new(), settings, START);
    let labels: BTreeMap<String, String> =
        [("ephemeral", "true"), ("role", "web")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let mut agents: Vec<FakeAgent> = Vec::new();
    for id in 1..=3 {
        let mut agent = FakeAgent::new(world.now, id, &format!("web-{id}"));
        agent.hello.labels.clone_from(&labels);
        world.labelled(id, &format!("web-{id}"), MemberState::Alive, None, &labels);
        agent.connect(&mut world);
        agent.dict(&mut world, Lane::Live, 1);
        agents.push(agent);
    }
    live(&mut world, &mut agents, 2);
    world.labelled(1, "web-1", MemberState::Down, Some(DownCause::Silent), &labels);
    world.run(seconds(0.1));
    assert_eq!((world.view().nodes.len(), world.alerts()), (2, Vec::new()));
    assert_eq!(world.value(r#"up{instance="web-1", job="node"}"#), None);
    // Its peers were wrong: it is there again with all that was known of it.
    world.labelled(1, "web-1", MemberState::Alive, None, &labels);
    world.run(seconds(0.1));
    assert_eq!(world.value(r#"up{instance="web-1", job="node"}"#), Some(1.0));
    for id in [1, 2] {
        world.input(Input::Disconnected { conn: agents[id as usize - 1].conn });
        world.labelled(id, &format!("web-{id}"), MemberState::Left, None, &labels);
    }
    live(&mut world, &mut agents[2..], 100);
    assert_eq!((world.view().nodes.len(), world.alerts()), (1, vec!["Short firing".to_owned()]));
    assert_eq!(world.value(r#"watchfire_agents_expected{instance="watch-1", job="watchfire"}"#), Some(1.0));
    let left = history(&world, "web-1");
    assert!(left.last().is_some_and(|last| last.starts_with("peers left 2")), "{left:?}");
}

#[test]
fn a_node_of_the_inventory_is_expected_before_it_was_ever_seen() {
    let mut settings = settings(RULES);
    let expected =
        |name: &str| Expected { name: name.to_owned(), labels: BTreeMap::from([("zone".into(), "a".into())]) };
    settings.nodes.inventory = vec![expected("db-1"), expected("web-1")];
    let mut world = World::open(SimDisk::new(), settings, START);
    let mut agents = fleet(&mut world, 1);
    live(&mut world, &mut agents, 4);
    assert_eq!(world.alerts(), ["NodeNeverSeen firing"]);
    let node = world.node("db-1");
    assert_eq!((node.id, node.health, node.labels["zone"].as_str()), (None, Health::Degraded, "a"));
    assert_eq!(node.reasons[0], "the inventory names it, and nobody has seen it");
    world.member(7, "db-1", MemberState::Alive);
    live(&mut world, &mut agents, 2);
    assert_eq!((world.alerts(), world.node("db-1").id), (Vec::new(), Some(NodeId(7))));
}

#[test]
fn a_zone_that_falls_is_told_once_also_over_a_restart_and_a_death_beside_it_is_told_too() {
    let mut world = World::new(RULES);
    let zone = |zone: &str| BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    let (a, b) = (zone("a"), zone("b"));
    let state = |world: &mut World, id: u64, state: MemberState| {
        let cause = (state == MemberState::Down).then_some(DownCause::Silent);
        let labels = if id <= 10 { &a } else { &b };
        world.labelled(id, &format!("web-{id}"), state, cause, labels);
    };
    for id in 1..=30 {
        state(&mut world, id, MemberState::Alive);
    }
    world.run(seconds(121.0));
    // The first are only suspected while the first death is confirmed.
    for id in 1..=8 {
        state(&mut world, id, MemberState::Suspect);
    }
    for id in 1..=10 {
        state(&mut world, id, MemberState::Down);
        world.run(seconds(0.4));
    }
    state(&mut world, 30, MemberState::Down);
    world.run(seconds(20.0));
    assert_eq!(told(&world), ["NodeGroupDown firing", "NodeDown firing"]);
    assert_eq!(world.alerts().len(), 12);
    let reasons = world.node("web-1").reasons;
    assert!(reasons.contains(&"it went down together with most of zone a".to_owned()), "{reasons:?}");

    let mut world = world.crash(CrashKeeps::NOTHING, START + seconds(400.0));
    for id in 11..30 {
        state(&mut world, id, MemberState::Alive);
    }
    world.run(seconds(300.0));
    assert_eq!((told(&world), world.alerts().len()), (Vec::new(), 12));
    // Most come back; what stays away speaks for itself after a while.
    for id in 1..=9 {
        state(&mut world, id, MemberState::Alive);
    }
    world.run(seconds(299.0));
    assert_eq!(told(&world), [""; 0]);
    world.run(seconds(30.0));
    assert_eq!(world.alerts(), ["NodeDown firing"; 2]);
    let told = told(&world).join(", ");
    assert!(told.contains("NodeGroupDown resolved") && told.contains("NodeDown firing"), "{told}");
}

#[test]
fn the_collectors_own_absence_stands_in_the_history() {
    let mut world = World::new(RULES);
    assert_eq!(history(&world, "watch-1"), ["collector blind 0-"]);
    world.run(seconds(190.0));
    let world = world.crash(CrashKeeps::ALL, START + seconds(500.0));
    assert_eq!(
        history(&world, "watch-1"),
        ["collector blind 0-120", "collector running 120-180", "collector away 180-500", "collector blind 500-"]
    );
}

#[test]
fn a_copied_machine_is_told_of_and_the_original_is_accused_of_nothing() {
    const OWN: &str = "
groups:
  - name: names
    interval: 15s
    rules:
      - alert: NodeDown
        expr: max without (cause, role) (watchfire_member_down_cause{role=\"agent\", cause=\"silent\"}) == 1
      - alert: Namesakes
        expr: watchfire_node_namesakes > 0
";
    let mut world = World::new(OWN);
    let _agents = fleet(&mut world, 3);
    world.run(seconds(130.0));
    world.member(9, "web-1", MemberState::Alive);
    world.run(seconds(40.0));
    assert_eq!(world.alerts(), ["Namesakes firing"]);
    // What becomes of the copy is no state of the node whose name it has.
    world.member_because(9, "web-1", MemberState::Down, Some(DownCause::Silent));
    world.run(seconds(40.0));
    assert_eq!(world.alerts(), [""; 0]);
    assert!(history(&world, "web-1").iter().all(|line| !line.contains("down")), "{:?}", history(&world, "web-1"));
}

#[test]
fn a_host_that_comes_back_with_a_new_identity_is_alive_in_the_history() {
    let mut world = World::new(RULES);
    let _agents = fleet(&mut world, 3);
    world.run(seconds(130.0));
    down(&mut world, 1);
    world.run(seconds(30.0));
    world.member(9, "web-1", MemberState::Alive);
    world.run(seconds(30.0));
    let peers: Vec<String> = history(&world, "web-1").into_iter().filter(|line| line.starts_with("peers")).collect();
    assert_eq!(peers.len(), 3, "{peers:?}");
    assert!(peers[2].starts_with("peers alive"), "{peers:?}");
}
