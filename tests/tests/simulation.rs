//! The whole system in virtual time: random faults from seeds, then healing.

#![allow(clippy::disallowed_methods, reason = "the seed may come from the environment")]

use watchfire_shared::time::Span;
use watchfire_tests::sim::scenario::{self, COLLECTOR};

/// Seeds of the ordinary test run. `WATCHFIRE_SIM_SEEDS=from..to` in the environment runs others.
const SEEDS: std::ops::Range<u64> = 0..12;

fn seeds() -> std::ops::Range<u64> {
    let asked = std::env::var("WATCHFIRE_SIM_SEEDS").ok();
    let range = asked.as_deref().and_then(|text| text.split_once("..")).map(|(from, to)| (from.parse(), to.parse()));
    match range {
        Some((Ok(from), Ok(to))) => from..to,
        Some(_) => panic!("WATCHFIRE_SIM_SEEDS is from..to"),
        None => SEEDS,
    }
}

#[test]
fn nothing_unsafe_happens_and_everything_comes_right() {
    let mut acknowledged = 0;
    for seed in seeds() {
        let outcome = scenario::run(seed);
        println!("seed {seed}: {} events, {} notifications", outcome.events, outcome.notifications);
        acknowledged += outcome.acknowledged;
    }
    assert!(acknowledged > 0, "the scenarios carried no data");
}

/// Replays the seed of a failure: `WATCHFIRE_SIM_SEED=17 cargo test -p watchfire-tests --test simulation one_seed`.
#[test]
fn one_seed() {
    let seed = std::env::var("WATCHFIRE_SIM_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let first = scenario::run(seed);
    let second = scenario::run(seed);
    assert_eq!((first.fingerprint, first.events), (second.fingerprint, second.events), "equal seeds give equal traces");
}

#[test]
fn a_dead_agent_and_a_dead_node_are_told_apart() {
    let mut world = scenario::fleet(7, 4);
    let killed = world.now;
    world.kill(1);
    world.cut_power(2, watchfire_store::CrashKeeps::ALL);
    let told = |world: &watchfire_tests::sim::world::World, alert: &str, instance: &str| {
        let wanted = ("firing".to_owned(), alert.to_owned(), instance.to_owned());
        world.record.notified.iter().find(|notified| notified.alerts.contains(&wanted)).map(|notified| notified.at)
    };
    let both = world.run_until(Span::from_seconds(60), |world| {
        told(world, "AgentDown", "agent-0").is_some() && told(world, "NodeDown", "agent-1").is_some()
    });
    assert!(both.is_some(), "{}", world.trace);
    world.run_for(Span::from_seconds(30));
    assert_eq!((told(&world, "NodeDown", "agent-0"), told(&world, "AgentDown", "agent-1")), (None, None));
    assert_eq!(world.record.false_downs, []);
    println!(
        "told {} after the kill",
        told(&world, "AgentDown", "agent-0").map(|at| at.since(killed)).unwrap_or_default()
    );
}

#[test]
fn a_restarted_collector_is_blind_for_a_while_and_accuses_nobody() {
    let mut world = scenario::fleet(11, 6);
    for _ in 0..5 {
        world.kill(COLLECTOR);
        world.run_for(Span::from_seconds(20));
        world.start(COLLECTOR);
        world.run_for(Span::from_seconds(45));
    }
    assert_eq!(world.record.notified.len(), 0, "{}", world.trace);
}

#[test]
fn what_agents_sampled_while_the_collector_was_away_arrives_later() {
    let mut world = scenario::fleet(13, 3);
    world.kill(COLLECTOR);
    world.run_for(Span::from_seconds(300));
    world.start(COLLECTOR);
    let arrived = world.run_until(Span::from_seconds(300), |world| {
        scenario::query(world, "min(count_over_time(sim_tick[10m]))").is_some_and(|ticks| ticks >= 150.0)
    });
    assert!(arrived.is_some(), "{:?}\n{}", scenario::query(&world, "min(count_over_time(sim_tick[10m]))"), world.trace);
}
