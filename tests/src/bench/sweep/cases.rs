//! What is done to fleets in virtual time, and what is read off.

use rand::RngExt;
use watchfire_gossip::{Gossip, Input};
use watchfire_shared::member::MemberState;
use watchfire_shared::time::{Span, Timestamp};

use super::ours::Fleet;
use super::world::{Subject, World};

const TICK: Span = Span::from_millis(10);
/// A fleet that needs longer for anything has failed.
const LIMIT: Span = Span::from_seconds(180);

/// Seconds until the first and the last of the others knew, one pair for each trial.
#[derive(Default)]
pub(super) struct Times {
    pub(super) first: Vec<f64>,
    pub(super) all: Vec<f64>,
}

/// How many observers wrongly held a running member for down since a time: in all, and those that `counts` lets count.
pub(super) fn false_downs<S: Subject>(world: &World<S>, since: Timestamp, counts: impl Fn(usize) -> bool) -> usize {
    let downs = world.log.iter().filter(|entry| entry.at >= since && entry.state == MemberState::Down);
    downs.filter(|entry| counts(entry.by) && counts(entry.about)).count()
}

/// Ends one member after another and waits until all others know.
pub(super) fn deaths(fleet: Fleet, world: &mut World<Gossip>, powered: bool, trials: usize) -> Times {
    let mut times = Times::default();
    let brings_back = fleet.members <= 100;
    for trial in 0..trials {
        let pause = world.rng.random_range(0..1000);
        world.run_for(Span::from_millis(3000 + pause));
        let mut victim = 1 + (trial * 7) % (fleet.members - 1);
        while !world.is_running(victim) {
            victim = 1 + victim % (fleet.members - 1);
        }
        let killed = world.now;
        world.kill(victim, powered);
        world.run_until(TICK, LIMIT, |world| world.all_hold(victim, MemberState::Down));
        let about = world.log.iter().filter(|entry| entry.about == victim && entry.at >= killed);
        let downs: Vec<f64> = about
            .filter(|entry| entry.state == MemberState::Down)
            .map(|entry| entry.at.since(killed).as_seconds())
            .collect();
        times.first.push(downs.iter().copied().fold(f64::INFINITY, f64::min));
        times.all.push(world.now.since(killed).as_seconds());
        if brings_back {
            fleet.start(world, victim);
            world.run_until(TICK, LIMIT, World::is_complete);
            world.run_for(Span::from_seconds(3));
        }
    }
    times
}

/// All but `left` hosts fall silent at once: seconds until the survivors know of all of them, and their wrong downs.
pub(super) fn most_die(fleet: Fleet, left: usize) -> (f64, usize) {
    let mut world = fleet.at_rest();
    let begin = world.now;
    (left..fleet.members).for_each(|host| world.kill(host, false));
    let known = |world: &World<Gossip>| (left..fleet.members).all(|dead| world.all_hold(dead, MemberState::Down));
    let took = world.run_until(TICK * 5, LIMIT, known);
    (took.map_or(f64::INFINITY, Span::as_seconds), false_downs(&world, begin, |host| host < left))
}

/// The Lifeguard sweep: `blocked` members' traffic is held up for `span`, again and again with a gap, for two minutes.
/// Returns wrong downs at all observers and those of healthy members at healthy observers.
pub(super) fn held_up<S: Subject>(world: &mut World<S>, blocked: usize, span: Span, gap: Span) -> (usize, usize) {
    let begin = world.now;
    let end = begin + Span::from_seconds(120);
    let mut next = vec![begin; blocked];
    while world.now < end {
        for (host, next) in next.iter_mut().enumerate() {
            if world.now >= *next && !world.is_held_up(host) {
                world.hold_up(host, span);
                *next = world.now + span + gap;
            }
        }
        let soonest = next.iter().copied().filter(|at| *at > world.now).min().unwrap_or(end);
        world.run_for((soonest.since(world.now)).max(Span::from_millis(1)).min(Span::from_millis(20)));
    }
    world.run_for(Span::from_seconds(30));
    let healthy = |host: usize| host >= blocked;
    let downs = world.log.iter().filter(|entry| entry.at >= begin && entry.state == MemberState::Down);
    let wrong = downs.filter(|entry| healthy(entry.about)).count();
    (wrong, false_downs(world, begin, healthy))
}

/// Days of ordinary trouble, compressed: one in a thousand datagrams is lost, processes stop for up to two seconds, programs
/// restart. Returns wrong downs; a member that restarts is none.
pub(super) fn ordinary(fleet: Fleet, hours: i64, pauses_per_hour: f64, restarts_per_hour: f64) -> usize {
    let mut world = fleet.at_rest();
    world.loss = 0.001;
    let begin = world.now;
    let end = begin + Span::from_seconds(hours * 3600);
    let mut wrong = 0;
    while world.now < end {
        let minute = world.now + Span::from_seconds(60);
        let mut restarted = None;
        let chance = |rate: f64, world: &mut World<Gossip>| world.rng.random_bool((rate / 60.0).min(1.0));
        if chance(pauses_per_hour, &mut world) {
            let (host, span) = (world.rng.random_range(0..fleet.members), world.rng.random_range(100..2000));
            world.stop(host, Span::from_millis(span));
        }
        if chance(restarts_per_hour, &mut world) {
            let host = world.rng.random_range(0..fleet.members);
            world.kill(host, true);
            world.run_for(Span::from_millis(300));
            fleet.start(&mut world, host);
            restarted = Some(host);
        }
        world.run_for(minute.since(world.now));
        let downs = world.log.iter().filter(|entry| entry.state == MemberState::Down);
        wrong += downs.filter(|entry| Some(entry.about) != restarted).count();
        world.log.clear();
    }
    wrong
}

/// Ten minutes in which that share of datagrams is lost, then a silent death. Returns wrong downs and the death's times.
pub(super) fn lossy(fleet: Fleet, loss: f64, deaths_after: usize) -> (usize, Times) {
    let mut world = fleet.at_rest();
    world.loss = loss;
    let begin = world.now;
    world.run_for(Span::from_seconds(600));
    let wrong = false_downs(&world, begin, |_| true);
    (wrong, deaths(fleet, &mut world, false, deaths_after))
}

/// What a network that broke and healed did.
pub(super) struct Healed {
    /// Seconds from healing until 99 of 100 pairs, and all, hold each other for alive.
    pub(super) most: f64,
    pub(super) all: f64,
    /// Changes to down about members whose own side they were on, while it was broken.
    pub(super) wrong_before: usize,
    /// Changes to down after healing.
    pub(super) wrong_after: usize,
}

/// Cuts the first `cut` members off from the rest for a minute.
pub(super) fn cut_off(fleet: Fleet, cut: usize, seconds: i64) -> Healed {
    let mut world = fleet.at_rest();
    let begin = world.now;
    world.groups = Some((0..fleet.members).map(|host| u8::from(host < cut)).collect());
    world.run_for(Span::from_seconds(seconds));
    let same_side = |a: usize, b: usize| (a < cut) == (b < cut);
    let downs = world.log.iter().filter(|entry| entry.at >= begin && entry.state == MemberState::Down);
    let wrong_before = downs.filter(|entry| same_side(entry.by, entry.about)).count();
    world.groups = None;
    let healed = world.now;
    let share = |world: &World<Gossip>, percent: usize| {
        let (alive, pairs) = world.alive_pairs();
        alive * 100 >= pairs * percent
    };
    let most = world.run_until(TICK * 5, LIMIT, |world| share(world, 99));
    world.run_until(TICK * 5, LIMIT, |world| share(world, 100));
    let all = world.now.since(healed).as_seconds();
    world.run_for(Span::from_seconds(60));
    let wrong_after = false_downs(&world, healed, |_| true);
    Healed { most: most.map_or(f64::INFINITY, Span::as_seconds), all, wrong_before, wrong_after }
}

/// Seconds until a newcomer knows everybody, and everybody knows it.
pub(super) fn newcomer(fleet: Fleet) -> (f64, f64) {
    let newcomer = fleet.members;
    let mut world = fleet.at_rest_with(fleet.members + 1);
    let begin = world.now;
    fleet.start(&mut world, newcomer);
    let knows_all =
        |world: &World<Gossip>| (0..newcomer).all(|about| world.held(newcomer, about) == Some(MemberState::Alive));
    let knows = world.run_until(TICK, LIMIT, knows_all).map_or(f64::INFINITY, Span::as_seconds);
    world.run_until(TICK, LIMIT, |world| world.all_hold(newcomer, MemberState::Alive));
    (knows, world.now.since(begin).as_seconds())
}

/// Seconds until everybody knows everybody when all start within a second.
pub(super) fn mass_start(fleet: Fleet) -> f64 {
    let mut world = World::new(fleet.seed, fleet.members);
    let begin = world.now;
    for host in 0..fleet.members {
        fleet.start(&mut world, host);
        world.run_for(Span::from_millis(1000 / fleet.members as i64));
    }
    world.run_until(TICK * 5, LIMIT, World::is_complete);
    world.now.since(begin).as_seconds()
}

/// Seconds until a goodbye is known to all, a trial each, and how many others ever held one that left for down.
pub(super) fn goodbyes(fleet: Fleet, trials: usize) -> (Vec<f64>, usize) {
    let mut world = fleet.at_rest();
    let (begin, mut times) = (world.now, Vec::new());
    for trial in 0..trials {
        let leaver = 1 + trial % (fleet.members - 1);
        let since = world.now;
        world.input(leaver, Input::Leave);
        world.run_until(TICK, LIMIT, |world| world.all_hold(leaver, MemberState::Left));
        times.push(world.now.since(since).as_seconds());
        world.run_for(Span::from_seconds(2));
    }
    (times, false_downs(&world, begin, |_| true))
}

/// A process is stopped and continued. Returns how many observers held another member for down.
pub(super) fn stopped(fleet: Fleet, span: Span) -> usize {
    let mut world = fleet.at_rest();
    let begin = world.now;
    world.stop(3, span);
    world.run_for(span + Span::from_seconds(45));
    false_downs(&world, begin, |host| host != 3)
}

/// Every member is ended and started again, one after another, half a second each. Returns all changes to down.
pub(super) fn rolling_restart(fleet: Fleet) -> usize {
    let mut world = fleet.at_rest();
    let begin = world.now;
    for host in 0..fleet.members {
        world.input(host, Input::Leave);
        world.run_for(Span::from_millis(1200));
        world.kill(host, true);
        world.run_for(Span::from_millis(300));
        fleet.start(&mut world, host);
        world.run_for(Span::from_millis(500));
    }
    world.run_for(Span::from_seconds(30));
    false_downs(&world, begin, |_| true)
}

/// Bytes and datagrams that a member at rest sends in a second, headers included.
pub(super) fn idle(fleet: Fleet, seconds: i64) -> (f64, f64) {
    let mut world = fleet.at_rest();
    world.run_for(Span::from_seconds(seconds));
    let per = (seconds * fleet.members as i64) as f64;
    (world.sent.1 as f64 / per, world.sent.0 as f64 / per)
}
