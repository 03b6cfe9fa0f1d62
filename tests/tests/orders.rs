//! At most once: trials of crashes around orders, in virtual time.

#![allow(clippy::disallowed_methods, reason = "the number of trials may come from the environment")]

use watchfire_tests::sim::orders;

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
