//! Any order of anything, compared with the naive model after every step that matters.

use proptest::prelude::*;

use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::Span;

use super::world::{Content, World, assert_same, content_of, labels, live, small_blocks, small_segments};
use crate::disk::CrashKeeps;
use crate::{Options, Snapshot};

#[derive(Clone, Debug)]
enum Step {
    Connect {
        node: u64,
        series: u8,
    },
    Slot {
        node: u64,
        slot: usize,
        series: Option<u8>,
    },
    Tick {
        node: u64,
        values: Vec<f64>,
    },
    Ticks {
        node: u64,
        count: u8,
    },
    Local {
        name: u8,
        series: u8,
    },
    /// A row in which only some series have a value, after some of the others have left the source.
    Partial {
        name: u8,
        present: u8,
        gone: u8,
        values: Vec<f64>,
    },
    Stale {
        node: u64,
    },
    Sync,
    Maintain {
        minutes: i64,
    },
    Snapshot,
    /// Series by number, or all that do not have it, of one node or all, in seconds from some minutes ago on.
    Delete {
        series: u8,
        others: bool,
        node: Option<u64>,
        minutes: i64,
        seconds: i64,
    },
    Clean,
    Crash {
        changes: usize,
        bytes: usize,
    },
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![any::<u64>().prop_map(f64::from_bits), (-9i32..9).prop_map(f64::from), Just(-0.0), Just(0.1)]
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0u64..3;
    prop_oneof![
        2 => (node.clone(), any::<u8>()).prop_map(|(node, series)| Step::Connect { node, series }),
        2 => (node.clone(), 0usize..6, proptest::option::of(0u8..8))
            .prop_map(|(node, slot, series)| Step::Slot { node, slot, series }),
        8 => (node.clone(), prop::collection::vec(value(), 8)).prop_map(|(node, values)| Step::Tick { node, values }),
        2 => (node.clone(), 1u8..130).prop_map(|(node, count)| Step::Ticks { node, count }),
        3 => (0u8..2, any::<u8>()).prop_map(|(name, series)| Step::Local { name, series }),
        4 => (0u8..2, any::<u8>(), any::<u8>(), prop::collection::vec(value(), 8))
            .prop_map(|(name, present, gone, values)| Step::Partial { name, present, gone: gone & present.rotate_left(3), values }),
        1 => node.prop_map(|node| Step::Stale { node }),
        4 => Just(Step::Sync),
        3 => (0i64..40).prop_map(|minutes| Step::Maintain { minutes }),
        1 => Just(Step::Snapshot),
        2 => (0u8..8, any::<bool>(), proptest::option::of(0u64..2), -1i64..90, 0i64..6000)
            .prop_map(|(series, others, node, minutes, seconds)| Step::Delete { series, others, node, minutes, seconds }),
        1 => Just(Step::Clean),
        1 => (0usize..3, 0usize..200).prop_map(|(changes, bytes)| Step::Crash { changes, bytes }),
    ]
}

/// Nodes 0 and 1 have the same series, as two lanes of one agent have.
fn series(node: u64, number: u8) -> watchfire_shared::labels::Labels {
    labels(&format!("metric_{number}"), node / 2)
}

fn bits(set: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| set >> bit & 1 == 1)
}

fn check(steps: Vec<Step>, options: Options) {
    let mut world = World::new(options);
    let mut snapshots = Vec::new();
    for step in steps {
        match step {
            Step::Connect { node, series: set } => {
                world.connect(&live(node), bits(set).map(|number| Some(series(node, number))).collect());
            }
            Step::Slot { node, slot, series: number } if !world.slots(&live(node)).is_empty() => {
                let wanted = number.map(|number| series(node, number));
                let slots = world.slots(&live(node));
                let clashes =
                    wanted.is_some() && slots.iter().enumerate().any(|(own, labels)| own != slot && *labels == wanted);
                if !clashes {
                    world.change_slot(&live(node), slot, wanted);
                }
            }
            Step::Tick { node, values } if !world.slots(&live(node)).is_empty() => {
                world.tick(&live(node), |slot| values[slot % values.len()]);
            }
            Step::Ticks { node, count } if !world.slots(&live(node)).is_empty() => {
                for tick in 0..count {
                    world.tick(&live(node), |slot| f64::from(tick) * 1.5 + slot as f64);
                }
            }
            Step::Slot { .. } | Step::Tick { .. } | Step::Ticks { .. } => {}
            Step::Local { name, series: set } => {
                // They overlap with the agents' series.
                let samples: Vec<_> = bits(set).map(|number| (series(0, number), f64::from(set))).collect();
                world.local(&format!("group {name}"), &samples);
            }
            Step::Partial { name, present, gone, values } => {
                // So do these.
                let row: Vec<_> = bits(present).map(|number| (number, values[usize::from(number)])).collect();
                let gone: Vec<u8> = bits(gone & !present).collect();
                world.partial(&format!("write/{name}"), |number| series(u64::from(name) * 2, number), &row, &gone);
            }
            Step::Stale { node } => world.mark_stale(&live(node)),
            Step::Sync => world.sync(),
            Step::Maintain { minutes } => {
                world.now += Span::from_seconds(minutes * 60);
                world.maintain();
            }
            Step::Delete { series, others, node, minutes, seconds } => {
                let op = if others { MatchOp::NotRegex } else { MatchOp::Equal };
                let mut matchers = vec![Matcher::new("__name__", op, format!("metric_{series}")).unwrap()];
                matchers.extend(node.map(|node| Matcher::equal("instance", format!("node-{node}"))));
                let from = world.now - Span::from_seconds(minutes * 60);
                world.delete(&[matchers], from, from + Span::from_seconds(seconds));
            }
            Step::Clean => world.store.clean_deleted(),
            Step::Snapshot => snapshots.push((world.store.snapshot(), world.content().clone())),
            Step::Crash { changes, bytes } => {
                // Files that are open do not outlive a crash.
                check_snapshots(std::mem::take(&mut snapshots));
                world.crash(CrashKeeps { changes, bytes });
            }
        }
    }
    world.check();
    check_snapshots(snapshots);
    world.sync();
    world.crash(CrashKeeps::NOTHING);
}

fn check_snapshots(snapshots: Vec<(Snapshot, Content)>) {
    for (snapshot, content) in snapshots {
        assert_same(&content_of(&snapshot), &content, "a snapshot stays as it was taken");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn any_order_of_anything_gives_what_the_model_has(steps in prop::collection::vec(step(), 1..60)) {
        check(steps.clone(), small_segments());
        check(steps, small_blocks());
    }
}

#[test]
fn equal_times_keep_what_was_written_first() {
    let mut world = World::new(small_segments());
    let shared = vec![Some(series(0, 1))];
    world.connect(&live(0), shared.clone());
    world.connect(&live(1), shared);
    let at = world.now;
    for i in 0..150i64 {
        let at = at + Span::from_seconds(i);
        let (first, second) = if i % 3 == 0 { (0, 1) } else { (1, 0) };
        world.tick_at(&live(first), at, |_| i as f64);
        world.tick_at(&live(second), at, |_| -1.0 - i as f64);
    }
    world.check();
    world.sync();
    world.crash(CrashKeeps::NOTHING);
}
