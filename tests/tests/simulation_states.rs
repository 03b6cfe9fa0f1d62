//! What each state of a node means to people, with a whole fleet in virtual time and the shipped rules: who is told what
//! when a node is stopped, comes and goes by design, never came, or is worked on, and when the collector itself is blind.
//!
//! Dead agents and dead nodes are told apart in `simulation.rs`; restarts and fallen zones are in `simulation_health.rs`.

use watchfire_collector_core::catalogue::Policy;
use watchfire_collector_core::catalogue::inventory::Expected;
use watchfire_collector_core::history::Source;
use watchfire_collector_core::remediation;
use watchfire_gossip::Profile;
use watchfire_shared::member::Role;
use watchfire_shared::time::Span;
use watchfire_store::CrashKeeps;
use watchfire_tests::sim::network::gossip_addr;
use watchfire_tests::sim::scenario::{self, COLLECTOR, history, query, told};
use watchfire_tests::sim::world::World;

/// Somebody's own rule, as thousands have it, beside the shipped ones.
const TARGET_DOWN: &str = "groups:\n  - name: own\n    rules:\n      - alert: TargetDown\n        expr: up == 0\n";

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

fn minutes(minutes: i64) -> Span {
    Span::from_seconds(60 * minutes)
}

/// A collector that expects what `policy` says, and agents called `agent-0` and so on, whole and reporting.
fn fleet(seed: u64, agents: usize, own_rules: &str, policy: Policy) -> World {
    let mut world = scenario::without_hosts(seed, Profile::Lan, &["membership.yml", "collector.yml"], own_rules);
    world.policy = policy;
    world.add("watch", Role::Collector, &[]);
    for i in 0..agents {
        world.add(&format!("agent-{i}"), Role::Agent, &[COLLECTOR]);
    }
    scenario::make_whole(&mut world);
    world
}

/// Lets time pass until something more is told than before, and gives what that is.
fn next_told(world: &mut World, within: Span) -> Vec<String> {
    let before = told(world).len();
    world.run_until(within, |world| told(world).len() > before);
    told(world).split_off(before)
}

#[test]
fn a_node_that_was_stopped_is_told_of_once_its_grace_is_over_and_not_before() {
    let mut world = fleet(31, 2, "groups: []", Policy { expected_back: minutes(3), ..Policy::default() });
    world.stop(1);
    world.run_for(minutes(3) - seconds(20));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    assert_eq!(query(&world, "up{instance=\"agent-0\"}"), Some(1.0), "no dip within the grace");
    assert_eq!(next_told(&mut world, minutes(1)), ["firing NodeNotBack agent-0"], "{}", world.trace);
    world.run_for(minutes(2));
    assert_eq!(told(&world).len(), 1, "{:?}", told(&world));
    world.start(1);
    assert_eq!(next_told(&mut world, minutes(1)), ["resolved NodeNotBack agent-0"], "{}", world.trace);
    world.run_for(minutes(2));
    assert_eq!(told(&world).len(), 2, "{:?}", told(&world));
}

#[test]
fn ephemeral_nodes_go_as_they_like_until_their_group_is_short() {
    let group_minimum = [("spot".to_owned(), 3)].into();
    let mut world = fleet(32, 2, "groups: []", Policy { group_minimum, ..Policy::default() });
    let labels = [("ephemeral", "true"), ("role", "spot")];
    let spots: Vec<usize> =
        (0..4).map(|i| world.add_labelled(&format!("spot-{i}"), Role::Agent, &[COLLECTOR], &labels)).collect();
    scenario::make_whole(&mut world);
    world.run_for(seconds(20));
    let expected = query(&world, "watchfire_agents_expected");
    world.cut_power(spots[0], CrashKeeps::ALL);
    world.run_for(minutes(3));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    assert_eq!(
        (expected, query(&world, "watchfire_agents_expected")),
        (Some(6.0), Some(5.0)),
        "it is in no denominator"
    );
    world.stop(spots[1]);
    world.run_for(minutes(4));
    assert_eq!(told(&world), [""; 0], "a shortfall may be a replacement under way\n{}", world.trace);
    assert_eq!(next_told(&mut world, minutes(2)), ["firing EphemeralNodesShort"], "{}", world.trace);
    world.add_labelled("spot-9", Role::Agent, &[COLLECTOR], &labels);
    assert_eq!(next_told(&mut world, minutes(1)), ["resolved EphemeralNodesShort"], "{}", world.trace);
    world.run_for(minutes(2));
    assert_eq!(told(&world).len(), 2, "{:?}", told(&world));
}

#[test]
fn a_node_of_the_inventory_that_nobody_has_seen_is_told_of_until_it_comes() {
    let named = |name: &str| Expected { name: name.to_owned(), labels: Default::default() };
    let inventory = ["agent-0", "agent-1", "db-9"].map(named).to_vec();
    let mut world = fleet(33, 2, "groups: []", Policy { inventory, ..Policy::default() });
    world.run_for(minutes(14));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    assert_eq!(next_told(&mut world, minutes(3)), ["firing NodeNeverSeen db-9"], "{}", world.trace);
    world.add("db-9", Role::Agent, &[COLLECTOR]);
    assert_eq!(next_told(&mut world, minutes(1)), ["resolved NodeNeverSeen db-9"], "{}", world.trace);
    // Seen once, it is missed like any other.
    world.cut_power(3, CrashKeeps::ALL);
    assert_eq!(next_told(&mut world, minutes(2)), ["firing NodeDown db-9"], "{}", world.trace);
    world.run_for(minutes(1));
    assert_eq!(told(&world).len(), 3, "{:?}", told(&world));
}

#[test]
fn a_node_in_maintenance_is_told_of_only_if_it_is_still_down_at_the_end() {
    let mut world = fleet(34, 4, TARGET_DOWN, Policy::default());
    let start = world.now;
    for agent in [1, 2] {
        world.announce_maintenance(COLLECTOR, agent, minutes(5));
    }
    world.run_for(seconds(20));
    world.cut_power(1, CrashKeeps::ALL);
    world.cut_power(2, CrashKeeps::ALL);
    world.run_for(minutes(2));
    world.start(2);
    world.run_for(minutes(2));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    // The end: the one that is back is no news, the other one is.
    let mut pages = next_told(&mut world, minutes(2));
    pages.extend(next_told(&mut world, seconds(5)));
    pages.sort_unstable();
    assert_eq!(pages, ["firing NodeDown agent-0", "firing TargetDown agent-0"], "{}", world.trace);
    // Availability leaves the time out for both: the history says from when to when it was announced.
    for node in ["agent-0", "agent-1"] {
        let operator = [("maintenance".to_owned(), 0), ("in_service".to_owned(), 300)];
        assert_eq!(history(&world, node, Source::Operator, start), operator);
    }
    world.start(1);
    world.run_for(minutes(2));
    let mut all = told(&world).split_off(2);
    all.sort_unstable();
    assert_eq!(all, ["resolved NodeDown agent-0", "resolved TargetDown agent-0"], "{}", world.trace);
}

#[test]
fn a_copied_machine_gets_an_id_of_its_own_and_is_told_of_while_it_has_the_name_of_another() {
    let mut world = fleet(40, 4, TARGET_DOWN, Policy::default());
    world.run_for(minutes(1));
    let copy = world.copy(1, "agent-0");
    let yields = world.run_until(minutes(1), |world| world.hosts[copy].running.is_none());
    assert!(yields.is_some(), "{}", world.trace);
    world.run_for(seconds(1));
    let mut found = world.record.clones.clone();
    found.sort_unstable();
    assert_eq!(found, [(1, gossip_addr(copy), false), (copy, gossip_addr(1), true)], "{}", world.trace);
    // Whoever started it starts it again.
    world.start(copy);
    assert_ne!(world.hosts[copy].node_id(), world.hosts[1].node_id());
    assert_eq!(next_told(&mut world, minutes(3)), ["firing NodeNameTaken agent-0"], "{}", world.trace);
    world.run_for(minutes(3));
    assert_eq!(told(&world).len(), 1, "{:?}\n{}", told(&world), world.trace);
    assert_eq!(query(&world, "up{instance=\"agent-0\"}"), Some(1.0), "the original is accused of nothing");
    world.stop(copy);
    assert_eq!(next_told(&mut world, minutes(1)), ["resolved NodeNameTaken agent-0"], "{}", world.trace);
    world.hosts[copy].name = "agent-9".to_owned();
    world.start(copy);
    scenario::make_whole(&mut world);
    world.run_for(minutes(2));
    assert_eq!(told(&world).len(), 2, "{:?}\n{}", told(&world), world.trace);
    assert_eq!(query(&world, "up{instance=\"agent-9\"}"), Some(1.0));
    assert_eq!(world.record.false_downs, [], "{}", world.trace);
    assert_eq!(world.record.clones.len(), 2, "{}", world.trace);
}

#[test]
fn nothing_is_ordered_on_a_node_in_maintenance() {
    const RULES: &str = "groups:\n  - name: own\n    rules:\n      - alert: Broken\n        expr: sim_constant > 0\n";
    const REMEDIATION: &str = "remediations:\n  - name: repair\n    when: { alert: Broken }\n    mode: auto\n    \
                               steps: [{ action: repair }]\n    guards: { max_concurrent: 10, max_unhealthy: \"100%\" }\n";
    const ACTION: &str = "[action.repair]\nexec = [\"/bin/true\"]\nkind = \"restart\"\nidempotent = true\n\
                          timeout = \"10s\"\nmax_per_hour = 20\n";
    let mut world = scenario::without_hosts(35, Profile::Lan, &[], RULES);
    world.remediations = remediation::parse(&[("repair.yml".to_owned(), REMEDIATION.to_owned())]).expect("they load");
    world.actions = watchfire_agent_core::action::parse("repair.toml", ACTION).expect("they load");
    world.add("watch", Role::Collector, &[]);
    world.add("agent-0", Role::Agent, &[COLLECTOR]);
    world.announce_maintenance(COLLECTOR, 1, minutes(4));
    world.add("agent-1", Role::Agent, &[COLLECTOR]);
    scenario::make_whole(&mut world);
    world.run_for(minutes(3));
    let ran_on = |world: &World, host: usize| world.record.executed.iter().filter(|(on, _)| *on == host).count();
    assert!(ran_on(&world, 2) > 0, "the other node is repaired\n{}", world.trace);
    assert_eq!(ran_on(&world, 1), 0, "{}", world.trace);
    let repaired = world.run_until(minutes(6), |world| ran_on(world, 1) > 0);
    assert!(repaired.is_some(), "after its maintenance it is repaired as well\n{}", world.trace);
}

#[test]
fn a_collector_that_starts_blind_fires_and_resolves_nothing_and_then_says_so() {
    let mut world = fleet(36, 4, TARGET_DOWN, Policy::default());
    world.cut_power(1, CrashKeeps::ALL);
    world.run_for(minutes(2));
    let mut before = told(&world);
    before.sort_unstable();
    assert_eq!(before, ["firing NodeDown agent-0", "firing TargetDown agent-0"], "{}", world.trace);
    // It comes back on the wrong side of a dead switch, and the dead node has come back unseen.
    world.kill(COLLECTOR);
    world.network.sides[COLLECTOR] = 1;
    world.start(1);
    world.run_for(seconds(30));
    world.start(COLLECTOR);
    world.run_for(seconds(115));
    assert_eq!(told(&world).len(), 2, "it knows nothing and says nothing: {:?}\n{}", told(&world), world.trace);
    let about_itself = world.run_until(minutes(5), |world| {
        told(world).iter().any(|line| line.contains("firing CollectorHearsNobody watch"))
    });
    assert!(about_itself.is_some(), "{:?}\n{}", told(&world), world.trace);
    // Back on the right side everything that fired is taken back, and nothing is left.
    world.network.sides[COLLECTOR] = 0;
    world.run_for(minutes(5));
    assert_eq!(still_firing(&world), [""; 0], "{:?}\n{}", told(&world), world.trace);
}

#[test]
fn a_collector_that_is_cut_off_for_a_while_accuses_nobody() {
    let mut world = fleet(37, 4, TARGET_DOWN, Policy::default());
    world.network.sides[COLLECTOR] = 1;
    world.run_for(seconds(100));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    assert_eq!(query(&world, "count(up == 0) or vector(0)"), Some(0.0), "nobody is silent, we are deaf");
    world.network.sides[COLLECTOR] = 0;
    world.run_for(minutes(2));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    assert!(scenario::all_report(&world));
}

#[test]
fn a_collector_that_stays_cut_off_says_that_it_is_deaf() {
    let mut world = fleet(38, 4, "groups: []", Policy::default());
    world.network.sides[COLLECTOR] = 1;
    // Two minutes of doubt, then one alert about itself and one about what it sees, for all of whom it holds true.
    world.run_for(seconds(115));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    world.run_for(minutes(2));
    let mut all = told(&world);
    all.sort_unstable();
    assert_eq!(all, ["firing CollectorHearsNobody watch", "firing NodeGroupDown"], "{}", world.trace);
    world.network.sides[COLLECTOR] = 0;
    world.run_for(minutes(5));
    assert_eq!(still_firing(&world), [""; 0], "{:?}\n{}", told(&world), world.trace);
    assert_eq!(told(&world).len(), 4, "{:?}", told(&world));
}

/// What was told to fire and never to be over.
fn still_firing(world: &World) -> Vec<String> {
    let mut firing = std::collections::BTreeSet::new();
    for (status, alert, instance) in world.record.notified.iter().flat_map(|notified| notified.alerts.clone()) {
        if status == "firing" {
            firing.insert((alert, instance));
        } else {
            firing.remove(&(alert, instance));
        }
    }
    firing.into_iter().map(|(alert, instance)| format!("{alert} {instance}")).collect()
}

#[test]
fn what_a_collector_missed_is_filled_in_from_the_agents_own_journals() {
    let mut world = fleet(39, 4, "groups: []", Policy::default());
    let start = world.now;
    world.run_for(minutes(1));
    world.kill(COLLECTOR);
    world.run_for(minutes(2));
    world.suspend(2, minutes(2));
    world.kill(3);
    world.run_for(minutes(3));
    world.start(3);
    world.stop(4);
    world.run_for(minutes(2));
    world.start(4);
    world.run_for(minutes(1));
    world.start(COLLECTOR);
    scenario::make_whole(&mut world);
    world.run_for(seconds(10));
    // Whole minutes since the start; what was before it is left out.
    let of_agent = |node: &str| -> Vec<String> {
        let own = history(&world, node, Source::Agent, start).into_iter();
        let minutes = own.map(|(state, second)| (state, (second + 10).div_euclid(60)));
        minutes.filter(|(_, minute)| *minute > 0).map(|(state, minute)| format!("{state} {minute}")).collect()
    };
    assert_eq!(of_agent("agent-0"), ["cut_off 1", "running 9"]);
    assert_eq!(of_agent("agent-1"), ["cut_off 1", "suspended 3", "running 5", "cut_off 5", "running 9"]);
    // The last sign of life of one that was killed is a minute old at most.
    let killed = of_agent("agent-2");
    assert!(killed[1] == "ended 2" || killed[1] == "ended 3", "{killed:?}");
    assert_eq!(
        (killed[0].as_str(), &killed[2..]),
        ("cut_off 1", &["running 6", "cut_off 6", "running 9"].map(str::to_owned)[..])
    );
    assert_eq!(of_agent("agent-3"), ["cut_off 1", "stopped 6", "running 8", "cut_off 8", "running 9"]);
    assert_eq!(told(&world), [""; 0], "history is no news: {:?}\n{}", told(&world), world.trace);
}
