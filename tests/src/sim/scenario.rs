//! Scenarios: a fleet, faults drawn from a seed, healing, and what must hold.
//!
//! Safety is looked at all the time: nobody that lives and is reachable is declared down, what was acknowledged is found
//! again, no notification accuses a healthy node, none is sent more often than its crashes excuse. Liveness is looked at
//! after healing: every view is right, every agent reports, every death was told, every return too.

use std::collections::BTreeSet;
use std::sync::Arc;

use rand::RngExt;
use watchfire_collector_core::history::Source;
use watchfire_collector_core::{alertmanager, rules};
use watchfire_gossip::Profile;
use watchfire_promql::{Options, Value};
use watchfire_shared::labels::METRIC_NAME;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::member::Role;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::CrashKeeps;

use super::network::HostId;
use super::world::World;

/// The collector's number in every scenario.
pub const COLLECTOR: HostId = 0;
/// How long faults last.
const FAULTS: Span = Span::from_seconds(180);
/// How long the fleet may take to come right afterwards.
const HEALING: Span = Span::from_seconds(180);

const ALERTMANAGER: &str = "route:\n  receiver: hook\n  group_by: [alertname, instance]\n  group_wait: 0s\n  group_interval: 5s\n  \
                            repeat_interval: 4h\nreceivers:\n  - name: hook\n    webhook_configs:\n      - url: http://10.9.9.9/\n";

/// What a scenario leaves behind.
pub struct Outcome {
    pub fingerprint: u64,
    pub events: u64,
    pub notifications: usize,
    pub acknowledged: usize,
}

/// A fleet of one collector and `agents` agents with the shipped membership rules, whole and reporting.
///
/// # Panics
/// If it does not become whole; with the trace.
#[must_use]
pub fn fleet(seed: u64, agents: usize) -> World {
    let mut world = empty(seed, Profile::Local);
    for i in 0..agents {
        world.add(&format!("agent-{i}"), Role::Agent, &[COLLECTOR]);
    }
    make_whole(&mut world);
    world
}

/// A collector with the shipped membership rules, and no agents yet.
///
/// # Panics
/// If the shipped rules do not load.
#[must_use]
pub fn empty(seed: u64, profile: Profile) -> World {
    let mut world = without_hosts(seed, profile, &["membership.yml"], "groups: []");
    world.add("watch", Role::Collector, &[]);
    world
}

/// A world without hosts, for collectors with these files of the shipped rules and some of the test's own.
///
/// # Panics
/// If the rules do not load.
#[must_use]
pub fn without_hosts(seed: u64, profile: Profile, shipped: &[&str], own: &str) -> World {
    let folder = crate::house::project().join("packaging/rules");
    let mut groups = rules::parse("own.yml", own).expect("the test's rules load");
    for file in shipped {
        let text = std::fs::read_to_string(folder.join(file)).expect("the shipped rules are there");
        groups.extend(rules::parse(file, &text).expect("the shipped rules load"));
    }
    let config = alertmanager::parse("alertmanager.yml", ALERTMANAGER).expect("the route tree loads");
    World::new(seed, profile, groups, Arc::new(config))
}

/// What was told, one line for each notification: status, alert and instance of each of its alerts.
#[must_use]
pub fn told(world: &World) -> Vec<String> {
    let line = |alert: &(String, String, String)| format!("{} {} {}", alert.0, alert.1, alert.2).trim_end().to_owned();
    let notified = world.record.notified.iter();
    notified.map(|notified| notified.alerts.iter().map(line).collect::<Vec<_>>().join(", ")).collect()
}

/// What one source says of a node, as `state` with the whole seconds since `start` at which it began.
#[must_use]
pub fn history(world: &World, node: &str, source: Source, start: Timestamp) -> Vec<(String, i64)> {
    let Some(engine) = world.engine(COLLECTOR) else { return Vec::new() };
    let intervals = engine.view().history.intervals(Some(node), start, Timestamp::MAX);
    let own = intervals.into_iter().filter(|interval| interval.source == source);
    own.map(|interval| (interval.state, interval.from.since(start).as_millis().div_euclid(1000))).collect()
}

/// Waits until everybody sees everybody and reports.
///
/// # Panics
/// If that does not happen; with the trace.
pub fn make_whole(world: &mut World) {
    let whole = world.run_until(Span::from_seconds(60), |world| all_report(world) && world.views_are_right());
    assert!(whole.is_some(), "the fleet never became whole\n{}", world.trace);
}

/// Runs one random scenario.
///
/// # Panics
/// If something unsafe happens or something does not come right; the message ends with the command that replays it.
#[must_use]
pub fn run(seed: u64) -> Outcome {
    let mut world = fleet(seed, 5);
    let mut faults = Faults { collector_crashes: 0 };
    let end = world.now + FAULTS;
    world.network.loss = world.rng.random_range(0.0..0.05);
    while world.now < end {
        let pause = Span::from_millis(world.rng.random_range(200..15_000));
        world.run_for(pause);
        faults.strike(&mut world);
        check_safety(&world, seed);
    }
    heal(&mut world);
    let whole = world.run_until(HEALING, |world| world.views_are_right() && all_report(world) && all_is_told(world));
    check_safety(&world, seed);
    if whole.is_none() {
        fail(&world, seed, &format!("after {HEALING} of peace: {}", what_is_wrong(&world)));
    }
    check_acknowledged(&world, seed);
    check_repeats(&world, seed, faults.collector_crashes);
    Outcome {
        fingerprint: world.trace.fingerprint(),
        events: world.trace.events(),
        notifications: world.record.notified.len(),
        acknowledged: world.record.acknowledged.values().map(BTreeSet::len).sum(),
    }
}

/// Ends the test with everything that is needed to see it again.
fn fail(world: &World, seed: u64, what: &str) -> ! {
    panic!(
        "{}\nat {}: {what}\nreplay: WATCHFIRE_SIM_SEED={seed} cargo test -p watchfire-tests --test simulation one_seed\n",
        world.trace, world.now
    )
}

struct Faults {
    collector_crashes: usize,
}

impl Faults {
    /// One fault, or the end of one.
    fn strike(&mut self, world: &mut World) {
        let host = world.rng.random_range(1..world.hosts.len());
        let runs = world.hosts[host].running.is_some();
        match world.rng.random_range(0..10) {
            0..3 if runs => world.kill(host),
            3 if runs => world.stop(host),
            0..6 if !runs => world.start(host),
            6 if world.hosts[COLLECTOR].running.is_some() => {
                self.collector_crashes += 1;
                crash(world, COLLECTOR);
            }
            6 | 7 if world.hosts[COLLECTOR].running.is_none() => world.start(COLLECTOR),
            8 => world.webhook_refuses = !world.webhook_refuses,
            _ => world.network.loss = world.rng.random_range(0.0..0.05),
        }
    }
}

/// A collector ends: killed, without power at any time, or without power in the middle of writing.
fn crash(world: &mut World, id: HostId) {
    let keeps = CrashKeeps { changes: world.rng.random_range(0..4), bytes: world.rng.random_range(0..200) };
    match world.rng.random_range(0..4) {
        0 => world.kill(id),
        1 => world.cut_power(id, keeps),
        _ => {
            let operations = world.rng.random_range(0..12);
            world.cut_power_in(id, operations);
            world.run_for(Span::from_seconds(3));
            // A disk that nobody wrote to has not failed yet.
            if world.hosts[id].running.is_some() {
                world.cut_power(id, CrashKeeps::NOTHING);
            }
        }
    }
}

fn heal(world: &mut World) {
    world.network.loss = 0.0;
    world.webhook_refuses = false;
    // Whoever is just saying goodbye has gone by then.
    world.run_for(Span::from_seconds(3));
    for host in 0..world.hosts.len() {
        if world.hosts[host].running.is_none() {
            world.start(host);
        }
    }
}

fn check_safety(world: &World, seed: u64) {
    if let Some((at, observer, subject)) = world.record.false_downs.first() {
        let name = |id: &HostId| &world.hosts[*id].name;
        fail(
            world,
            seed,
            &format!("at {at} {} declared {} down, which runs and is reachable", name(observer), name(subject)),
        );
    }
}

/// The value of a query with one result, as the collector sees it now.
#[must_use]
pub fn query(world: &World, text: &str) -> Option<f64> {
    let engine = world.engine(COLLECTOR)?;
    let expr = watchfire_promql::parse(text).expect("a query of this test");
    let answer = watchfire_promql::instant(&engine.snapshot(), &expr, world.now, &Options::default()).ok()?;
    match answer.value {
        Value::Scalar(value) => Some(value),
        Value::Vector(samples) => samples.first().map(|sample| sample.value),
        _ => None,
    }
}

/// Whether `up` is 1 for every running agent and no other.
#[must_use]
pub fn all_report(world: &World) -> bool {
    let agents = world.hosts.iter().filter(|host| host.role == Role::Agent && host.running.is_some()).count();
    query(world, "sum(up{job=\"node\"})").is_some_and(|up| up as usize == agents)
}

/// The last status of each (alert, instance) that the webhook was told.
fn last_told(world: &World) -> std::collections::BTreeMap<(String, String), String> {
    let told = world.record.notified.iter().flat_map(|notified| notified.alerts.clone());
    told.map(|(status, alert, instance)| ((alert, instance), status)).collect()
}

/// With everything running again, nothing may be left firing.
fn all_is_told(world: &World) -> bool {
    last_told(world).values().all(|status| status == "resolved")
}

fn what_is_wrong(world: &World) -> String {
    let mut wrong = Vec::new();
    if !world.views_are_right() {
        wrong.push("a member's view is wrong".to_owned());
    }
    if !all_report(world) {
        wrong.push(format!("up sums to {:?}", query(world, "sum(up{job=\"node\"})")));
    }
    let left = last_told(world).into_iter().filter(|(_, status)| status != "resolved");
    wrong.extend(left.map(|((alert, instance), _)| format!("{alert} of {instance} was never told to be over")));
    wrong.join("; ")
}

/// Everything that was ever acknowledged is found, and nothing twice.
fn check_acknowledged(world: &World, seed: u64) {
    let Some(engine) = world.engine(COLLECTOR) else { fail(world, seed, "the collector does not run") };
    let snapshot = engine.snapshot();
    for (agent, acknowledged) in &world.record.acknowledged {
        let matchers = [Matcher::equal(METRIC_NAME, "sim_tick"), Matcher::equal("instance", &world.hosts[*agent].name)];
        let series = snapshot.0.select(&matchers, Timestamp::MIN, Timestamp::MAX);
        let values: Vec<i64> =
            series.iter().flat_map(|s| &s.values).filter(|v| !v.is_nan()).map(|v| *v as i64).collect();
        let found: BTreeSet<i64> = values.iter().copied().collect();
        if let Some(lost) = acknowledged.iter().find(|tick| !found.contains(tick)) {
            let lost = Timestamp::from_millis(*lost);
            fail(
                world,
                seed,
                &format!("{}: the tick of {lost} was acknowledged and is lost", world.hosts[*agent].name),
            );
        }
        if found.len() != values.len() {
            fail(
                world,
                seed,
                &format!("{}: {} ticks are stored twice", world.hosts[*agent].name, values.len() - found.len()),
            );
        }
    }
}

/// No status is told twice in a row more often than the collector crashed.
fn check_repeats(world: &World, seed: u64, crashes: usize) {
    let mut last = std::collections::BTreeMap::new();
    let mut repeats = 0;
    for (status, alert, instance) in world.record.notified.iter().flat_map(|notified| notified.alerts.clone()) {
        let before = last.insert((alert, instance), status.clone());
        repeats += usize::from(before == Some(status));
    }
    if repeats > crashes {
        fail(world, seed, &format!("{repeats} notifications were repeated after {crashes} crashes of the collector"));
    }
}
