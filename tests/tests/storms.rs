//! Guards against faults whose cause is on no node, in virtual time. The full size is `WATCHFIRE_STORM_AGENTS=60`; the table is
//! printed with `--nocapture`.

#![allow(clippy::disallowed_methods, reason = "size and seed may come from the environment")]

use watchfire_tests::sim::storms::{Fault, Guarding, Outcome, run};

/// What is to become of every fault that is on no node.
const QUIET: Outcome = Outcome { orders: 0, needless: 0, healed: true };

fn asked(name: &str, ordinary: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(ordinary, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number, found {text:?}")))
}

fn outcome(fault: Fault, guarding: Guarding) -> Outcome {
    let agents = usize::try_from(asked("WATCHFIRE_STORM_AGENTS", 9)).expect("a number of agents");
    let outcome = run(asked("WATCHFIRE_SIM_SEED", 5), agents, fault, guarding);
    println!("{fault:?}, {guarding:?}: {} needless of {} orders", outcome.needless, outcome.orders);
    outcome
}

#[test]
fn a_broken_node_is_repaired_under_the_default_guards() {
    let outcome = outcome(Fault::OneBroken, Guarding::Default);
    assert_eq!(outcome, Outcome { orders: 1, needless: 0, healed: true });
}

#[test]
fn a_fault_that_all_share_is_not_answered_by_restarting_everything() {
    assert!(outcome(Fault::SharedDependency, Guarding::Tries).needless >= 9);
    assert_eq!(outcome(Fault::SharedDependency, Guarding::Default), QUIET);
}

#[test]
fn a_collector_that_does_not_hear_one_zone_of_three_does_nothing_to_it() {
    let brake = outcome(Fault::CutFromOneZone, Guarding::Storm);
    assert!(brake.needless > 0, "a brake of a third misses exactly one zone of three");
    for guarding in [Guarding::Corroboration, Guarding::Default] {
        assert_eq!(outcome(Fault::CutFromOneZone, guarding), QUIET);
    }
}

#[test]
fn a_collector_that_does_not_hear_two_zones_of_three_does_nothing_to_them() {
    assert!(outcome(Fault::CutFromTwoZones, Guarding::Tries).needless > 0);
    assert_eq!(outcome(Fault::CutFromTwoZones, Guarding::Default), QUIET);
}
