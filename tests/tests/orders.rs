//! At most once: trials of crashes around orders, in virtual time.

#![allow(clippy::disallowed_methods, reason = "the number of trials may come from the environment")]

use watchfire_tests::sim::orders::{self, Cut};

/// Trials of the ordinary test run, a twentieth of the full ones; `WATCHFIRE_ORDER_TRIALS=200` in the environment.
const TRIALS: u64 = 10;

fn asked(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, found {text:?}")))
}

#[test]
fn no_order_runs_twice_and_every_outcome_is_told() {
    let (mut executed, mut interrupted, mut crashes) = (0, 0, 0);
    for seed in 0..asked("WATCHFIRE_ORDER_TRIALS").unwrap_or(TRIALS) {
        let outcome = orders::run(seed);
        executed += outcome.executed;
        interrupted += outcome.interrupted;
        crashes += outcome.crashes;
    }
    println!("{executed} orders ran, {interrupted} were interrupted, in {crashes} crashes");
    assert!(crashes > 0 && interrupted > 0 && executed > interrupted, "the trials hit nothing");
}

/// Replays the seed of a failure: `WATCHFIRE_ORDER_SEED=17 cargo test -p watchfire-tests --test orders one_seed`.
#[test]
fn one_seed() {
    let _ = orders::run(asked("WATCHFIRE_ORDER_SEED").unwrap_or(1));
}

/// Every step that is made durable around the first orders: none of them is one at which a cut lets an order run twice.
#[test]
fn the_power_may_fail_at_every_durable_step() {
    let mut hit = 0;
    for operation in 1..=asked("WATCHFIRE_ORDER_CUTS").unwrap_or(6) {
        hit += usize::from(orders::run_cut(3, Cut::Collector(operation)).is_some());
    }
    // Accepted, ended, seen: each before and after it has reached the disk.
    for write in 1..=3 {
        for after in [false, true] {
            let outcome = orders::run_cut(4, Cut::Agent(write, after));
            let outcome = outcome.unwrap_or_else(|| panic!("there is no write {write} to the journal"));
            assert!(write == 1 || outcome.executed > 0, "the order ran before its end was written");
            hit += 1;
        }
    }
    println!("{hit} cuts");
    assert!(hit >= 10, "the cuts hit nothing");
}
