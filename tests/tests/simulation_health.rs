//! What states mean, with a whole fleet in virtual time: restarts that nobody hears of, a zone that falls as one, a death
//! beside it that does not drown in it. An ordinary run has a few dozen agents; the full sizes are asked for by
//!
//! ```text
//! WATCHFIRE_SIM_AGENTS=800 cargo test --release -p watchfire-tests --test simulation_health -- stopped_at_once
//! WATCHFIRE_SIM_AGENTS=90 cargo test --release -p watchfire-tests --test simulation_health -- zone
//! WATCHFIRE_SIM_AGENTS=200 cargo test --release -p watchfire-tests --test simulation_health -- one_after_the_other
//! ```
//!
//! Work grows with the square of the members, and for restarts one after the other with nearly the cube: a minute of one
//! core for 200, six for 400 and an hour for 800 one after the other; four for 800 at once.

#![allow(clippy::disallowed_methods, reason = "size and seed may come from the environment")]

use watchfire_gossip::Profile;
use watchfire_shared::member::Role;
use watchfire_shared::time::Span;
use watchfire_store::CrashKeeps;
use watchfire_tests::sim::scenario::{self, COLLECTOR, told};
use watchfire_tests::sim::world::World;

/// How many agents run: `WATCHFIRE_SIM_AGENTS` in the environment, or as many as an ordinary run has time for.
fn agents(ordinary: usize) -> usize {
    let asked = std::env::var("WATCHFIRE_SIM_AGENTS").ok();
    asked.map_or(ordinary, |text| text.parse().expect("WATCHFIRE_SIM_AGENTS is a number"))
}

/// The seed: `WATCHFIRE_SIM_SEED` in the environment, or the one of an ordinary run.
fn seed(ordinary: u64) -> u64 {
    let asked = std::env::var("WATCHFIRE_SIM_SEED").ok();
    asked.map_or(ordinary, |text| text.parse().expect("WATCHFIRE_SIM_SEED is a number"))
}

fn seconds(seconds: i64) -> Span {
    Span::from_seconds(seconds)
}

/// `agents` agents, spread over three zones.
fn zones(seed: u64, agents: usize) -> World {
    let mut world = scenario::empty(seed, Profile::Lan);
    for i in 0..agents {
        let zone = ["a", "b", "c"][i % 3];
        world.add_labelled(&format!("agent-{i}"), Role::Agent, &[COLLECTOR], &[("zone", zone)]);
    }
    scenario::make_whole(&mut world);
    world
}

#[test]
fn agents_that_are_restarted_one_after_the_other_alert_nobody() {
    let mut world = zones(seed(21), agents(40));
    for agent in 1..world.hosts.len() {
        world.stop(agent);
        let stopped = world.run_until(seconds(10), |world| world.hosts[agent].running.is_none());
        assert!(stopped.is_some(), "agent {agent} does not stop");
        world.run_for(seconds(1));
        world.start(agent);
        world.run_for(seconds(1));
    }
    scenario::make_whole(&mut world);
    world.run_for(seconds(60));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
}

#[test]
fn a_fleet_that_is_stopped_at_once_and_comes_back_within_the_grace_alerts_nobody() {
    let mut world = zones(seed(22), agents(40));
    for agent in 1..world.hosts.len() {
        world.stop(agent);
    }
    world.run_for(seconds(14 * 60));
    assert!(world.hosts[1..].iter().all(|host| host.running.is_none()));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
    for agent in 1..world.hosts.len() {
        world.start(agent);
    }
    scenario::make_whole(&mut world);
    world.run_for(seconds(60));
    assert_eq!(told(&world), [""; 0], "{}", world.trace);
}

#[test]
fn a_zone_that_is_cut_off_is_one_notification_and_a_death_beside_it_another() {
    let mut world = zones(seed(23), agents(45));
    let in_zone: Vec<usize> = (1..world.hosts.len()).filter(|id| world.hosts[*id].labels["zone"] == "b").collect();
    for agent in &in_zone {
        world.network.sides[*agent] = 1;
    }
    world.run_for(seconds(75));
    assert_eq!(told(&world), ["firing NodeGroupDown"], "{}", world.trace);
    // Another zone's node loses its power in the middle of it.
    world.cut_power(3, CrashKeeps::ALL);
    let name = world.hosts[3].name.clone();
    world.run_for(seconds(45));
    assert_eq!(told(&world)[1..], [format!("firing NodeDown {name}")], "{}", world.trace);
    for agent in &in_zone {
        world.network.sides[*agent] = 0;
    }
    let over = world.run_until(seconds(600), |world| told(world).len() > 2);
    assert!(over.is_some(), "{:?}\n{}", told(&world), world.trace);
    world.run_for(seconds(30));
    assert_eq!(told(&world)[2..], ["resolved NodeGroupDown"], "{}", world.trace);
}
