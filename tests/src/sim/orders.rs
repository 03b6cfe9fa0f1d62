//! Orders under crashes: alerts fire all the time, every node is ordered to repair itself again and again, and everything
//! that can die dies around it.
//!
//! What must hold: no order runs twice, whatever is sent again; whatever ran is in the collector's ledger; and once there
//! is peace, every outcome is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rand::RngExt;
use watchfire_collector_core::remediation::{self, State};
use watchfire_collector_core::{alertmanager, rules};
use watchfire_gossip::Profile;
use watchfire_shared::member::Role;
use watchfire_shared::order::OrderId;
use watchfire_shared::time::Span;
use watchfire_store::CrashKeeps;

use super::scenario::COLLECTOR;
use super::world::World;

/// How long faults last. An order takes a few seconds from the alert to its end.
const FAULTS: Span = Span::from_seconds(60);
/// How long the outcomes may take afterwards: an order that was lost counts as lost after four minutes at most.
const PEACE: Span = Span::from_seconds(300);
const AGENTS: usize = 2;

const RULES: &str = "groups:\n  - name: broken\n    interval: 1s\n    rules:\n      - alert: Broken\n        expr: up{job=\"node\"} == 1\n";
const ROUTES: &str = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n";
const REMEDIATIONS: &str = "remediations:\n  - name: repair\n    when: { alert: Broken }\n    mode: auto\n    \
                            steps: [{ action: repair }, { action: repair }]\n    \
                            guards: { cooldown: 1s, attempts: { max: 100, per: 1h }, max_concurrent: 10, settle: 0s,\n      \
                            max_unhealthy: \"100%\", storm_cooldown: 0s, quorum: off, corroborate: off }\n";
const ACTIONS: &str = "[action.repair]\nexec = [\"/bin/true\"]\nkind = \"restart\"\nidempotent = true\ntimeout = \"10s\"\n\
                       max_per_hour = 20\ncooldown = \"0s\"\n";

/// What one trial saw.
pub struct Outcome {
    pub executed: usize,
    pub interrupted: usize,
    pub crashes: usize,
}

/// Runs one trial of random crashes.
///
/// # Panics
/// If an order ran twice, ran unrecorded, or has no outcome in the end; with the trace.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    let mut world = fleet(seed);
    let ordered = world.run_until(Span::from_seconds(180), |world| !world.record.executed.is_empty());
    assert!(ordered.is_some(), "nothing was ever ordered\n{}", world.trace);
    let end = world.now + FAULTS;
    let mut crashes = 0;
    while world.now < end {
        let pause = Span::from_millis(world.rng.random_range(1..2500));
        world.run_for(pause);
        crashes += usize::from(strike(&mut world));
        check_once(&world, seed);
    }
    come_right(&mut world, seed, crashes)
}

/// Where the power fails in a trial that cuts at one step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// At this change of the collector's disk from the first order on.
    Collector(u64),
    /// At this write to the journal of the agent that is ordered first, before or after it has reached the disk.
    Agent(usize, bool),
}

/// Runs one trial with one cut. `None` if the step never came.
///
/// # Panics
/// As [`run`].
#[must_use]
pub fn run_cut(seed: u64, cut: Cut) -> Option<Outcome> {
    let mut world = fleet(seed);
    let offered = world.run_until(Span::from_seconds(180), |world| {
        let view = world.engine(COLLECTOR).map(|engine| engine.view());
        view.is_some_and(|view| view.rules.active().count() == AGENTS)
    });
    assert!(offered.is_some(), "nothing ever fired\n{}", world.trace);
    match cut {
        Cut::Collector(operations) => world.cut_power_in(COLLECTOR, operations),
        Cut::Agent(write, after) => world.hosts[COLLECTOR + 1].kept.cut_at_write = Some((write, after)),
    }
    let failed = world.run_until(FAULTS, |world| world.hosts.iter().any(|host| host.running.is_none()));
    failed?;
    world.run_for(Span::from_seconds(2));
    for id in 0..world.hosts.len() {
        if world.hosts[id].running.is_none() {
            world.start(id);
        }
        // Whatever was sent before is sent again.
        (0..3).for_each(|_| world.replay_order(id.max(1)));
    }
    world.run_for(Span::from_seconds(10));
    check_once(&world, seed);
    Some(come_right(&mut world, seed, 1))
}

fn fleet(seed: u64) -> World {
    let rules = rules::parse("broken.yml", RULES).expect("the rules load");
    let routes = alertmanager::parse("alertmanager.yml", ROUTES).expect("the route tree loads");
    let mut world = World::new(seed, Profile::Local, rules, Arc::new(routes));
    world.remediations = remediation::parse(&[("repair.yml".to_owned(), REMEDIATIONS.to_owned())]).expect("they load");
    world.actions = watchfire_agent_core::action::parse("repair.toml", ACTIONS).expect("they load");
    world.add("watch", Role::Collector, &[]);
    for i in 0..AGENTS {
        world.add(&format!("agent-{i}"), Role::Agent, &[COLLECTOR]);
    }
    world
}

/// Lets there be peace and checks that every outcome is told.
fn come_right(world: &mut World, seed: u64, crashes: usize) -> Outcome {
    // Nothing more is ordered: the collector starts without remediations.
    if world.hosts[COLLECTOR].running.is_some() {
        world.kill(COLLECTOR);
    }
    world.remediations.clear();
    for id in 0..world.hosts.len() {
        world.hosts[id].kept.cut_at_write = None;
        if world.hosts[id].running.is_none() {
            world.start(id);
        }
    }
    let settled =
        world.run_until(PEACE, |world| outcomes(world).is_some_and(|own| own.values().all(|state| is_told(*state))));
    check_once(world, seed);
    let outcomes = outcomes(world).unwrap_or_default();
    if settled.is_none() {
        fail(world, seed, &format!("some outcomes are not told: {outcomes:?}"));
    }
    for (_, id) in &world.record.executed {
        match outcomes.get(id) {
            Some(State::Succeeded | State::Failed | State::Interrupted) => {}
            other => fail(world, seed, &format!("{id} ran, and the ledger says {other:?}")),
        }
    }
    let interrupted = outcomes.values().filter(|state| **state == State::Interrupted).count();
    Outcome { executed: world.record.executed.len(), interrupted, crashes }
}

/// One fault; whether it was a crash.
fn strike(world: &mut World) -> bool {
    let id = world.rng.random_range(0..world.hosts.len());
    if world.hosts[id].running.is_none() {
        world.start(id);
        return false;
    }
    let keeps = CrashKeeps { changes: world.rng.random_range(0..4), bytes: world.rng.random_range(0..200) };
    match world.rng.random_range(0..6) {
        0 | 1 => world.kill(id),
        2 => world.cut_power(id, keeps),
        _ => {
            let agent = world.rng.random_range(1..world.hosts.len());
            world.replay_order(agent);
            return false;
        }
    }
    true
}

fn is_told(state: State) -> bool {
    state.is_settled() || state == State::Expired
}

/// The state of each order in the ledger of the collector.
fn outcomes(world: &World) -> Option<BTreeMap<OrderId, State>> {
    let view = world.engine(COLLECTOR)?.view();
    Some(view.remediation.orders.iter().map(|order| (order.id, order.state)).collect())
}

fn check_once(world: &World, seed: u64) {
    let mut seen = BTreeSet::new();
    if let Some((host, id)) = world.record.executed.iter().find(|(_, id)| !seen.insert(*id)) {
        fail(world, seed, &format!("{} ran {id} twice", world.hosts[*host].name));
    }
}

fn fail(world: &World, seed: u64, what: &str) -> ! {
    panic!(
        "{}\nat {}: {what}\nreplay: WATCHFIRE_ORDER_SEED={seed} cargo test -p watchfire-tests --test orders one_seed\n",
        world.trace, world.now
    )
}
