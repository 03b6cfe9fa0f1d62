//! What is dropped, and that the rest stays.

use watchfire_shared::time::Span;

use super::world::{World, content_of, labels, live, small_segments};
use crate::disk::{CrashKeeps, Disk};
use crate::{Event, Options, Source, Store};

#[test]
fn old_data_goes_with_its_segments_and_its_series_leave_the_index() {
    let retention = Span::from_seconds(3600);
    let mut world = World::new(Options { retention, ..small_segments() });
    world.connect(&live(1), vec![Some(labels("old", 1)), Some(labels("kept", 1))]);
    world.connect(&live(2), vec![Some(labels("dead", 2))]);
    for _ in 0..100 {
        world.tick(&live(1), |slot| slot as f64);
        world.tick(&live(2), |slot| slot as f64);
        world.sync();
    }
    world.change_slot(&live(1), 0, None);
    let before = world.store.snapshot();
    let everything = content_of(&before);
    for _ in 0..800 {
        world.tick(&live(1), |slot| slot as f64);
        world.sync();
        world.maintain();
    }
    let content = content_of(&world.store.snapshot());
    assert_eq!(content.keys().collect::<Vec<_>>(), [&labels("kept", 1)]);
    let oldest = *content[&labels("kept", 1)].keys().next().unwrap();
    let cutoff = (world.now - retention).as_millis();
    assert!(oldest >= cutoff - 600_000 && oldest <= cutoff + 10_000, "{} s", (oldest - cutoff) / 1000);
    assert_eq!(world.store.stats().series, 1);
    assert_eq!(world.store.sources().collect::<Vec<_>>(), [&live(1)], "a source without data is forgotten");
    let files = world.disk.list("wal").unwrap().len();
    assert!(files < 60, "{files} segments are left");
    assert_eq!(content_of(&before), everything, "a snapshot keeps what it saw");
    assert_eq!(world.maintain(), []);

    let (store, recovery) = Store::open(world.disk.fork(), world.options.clone()).unwrap();
    assert_eq!((recovery.torn_bytes, recovery.refused_records), (0, 0));
    let (last, found) = (content[&labels("kept", 1)].last_key_value(), content_of(&store.snapshot()));
    assert_eq!(found[&labels("kept", 1)].last_key_value(), last);
}

#[test]
fn the_log_and_the_head_stay_within_their_size() {
    let mut world = World::new(Options { max_bytes: 20_000, ..small_segments() });
    world.connect(&live(1), (0..20).map(|i| Some(labels(&format!("m{i}"), 1))).collect());
    let mut dropped = 0;
    for i in 0..1000 {
        world.tick(&live(1), |slot| f64::from(i) * slot as f64);
        world.sync();
        let events = world.maintain();
        dropped += events.iter().filter(|event| matches!(event, Event::Dropped { expired: false, .. })).count();
        let stats = world.store.stats();
        assert!(stats.wal_bytes + stats.block_bytes <= 20_000, "{stats:?}");
    }
    assert!(dropped > 10, "{dropped}");
    let content = content_of(&world.store.snapshot());
    assert_eq!(content.len(), 20);
    let rows = content[&labels("m0", 1)].len();
    assert!(rows < 600, "the head drops what the log dropped: {rows} rows");
    let (newest, expected) =
        (content[&labels("m3", 1)].last_key_value(), world.content()[&labels("m3", 1)].last_key_value());
    assert_eq!(newest, expected);
    world.disk.crash(CrashKeeps::NOTHING);
    let (store, _) = Store::open(world.disk.clone(), world.options.clone()).unwrap();
    assert_eq!(content_of(&store.snapshot()).len(), 20);
    assert_eq!(store.durable(&live(1)), world.store.durable(&live(1)));
}

#[test]
fn a_quiet_log_moves_on_by_time() {
    let mut world =
        World::new(Options { retention: Span::from_seconds(1600), min_free_bytes: 0, ..Options::default() });
    for i in 0..400 {
        world.local("self", &[(labels("up", 0), f64::from(i))]);
        world.sync();
        world.maintain();
    }
    let stats = world.store.stats();
    assert!(stats.segments <= 3 && stats.blocks > 5 && stats.blocks < 20, "{stats:?}");
    assert_eq!(world.store.sources().collect::<Vec<_>>(), [&Source::Local("self".to_owned())]);
}

/// Days of history arrive at once, faster than upkeep: `due` says at which rows it gets a turn.
fn arrive_at_once(due: impl Fn(usize) -> bool) -> (World, Vec<i64>) {
    const ROWS: usize = 20_000;
    let max_bytes = 400_000;
    let mut world = World::new(Options { max_bytes, min_free_bytes: 0, ..Options::default() });
    let series = (0..3).map(|slot| (slot, labels("pushed", slot.into()))).collect();
    assert_eq!(world.store.add_series("push", series).unwrap(), []);
    let start = world.now;
    world.now += Span::from_seconds(10 * ROWS as i64);
    let (mut events, mut refused, mut seed) = (Vec::new(), 0, 9_u64);
    for row in 0..ROWS {
        let mut value = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 11) as f64 / 1e9
        };
        let values: Vec<(u32, f64)> = (0..3).map(|slot| (slot, value())).collect();
        let at = start + Span::from_seconds(10 * row as i64);
        let mut keep_up = |world: &mut World| {
            world.store.sync().unwrap();
            events.extend(world.store.maintain(world.now).unwrap().events);
            let stats = world.store.stats();
            let bytes = stats.wal_bytes + stats.block_bytes;
            assert!(bytes <= max_bytes, "row {row}: {bytes} bytes");
        };
        let mut tries = 0;
        while let Err(error) = world.store.append_partial("push", at, &values) {
            assert!(error.is_for_now() && tries < 200, "row {row}: {error}");
            (refused, tries) = (refused + 1, tries + 1);
            keep_up(&mut world);
        }
        if due(row) {
            keep_up(&mut world);
        }
    }
    world.store.sync().unwrap();
    while world.store.maintain(world.now).unwrap().busy {}
    let newest = (start + Span::from_seconds(10 * (ROWS as i64 - 1))).as_millis();
    let found = content_of(&world.store.snapshot());
    let times: Vec<i64> = found.values().next().unwrap().keys().copied().collect();
    assert!(found.values().all(|points| points.keys().copied().eq(times.iter().copied())));
    assert_eq!(times.last(), Some(&newest));
    assert!(times.is_sorted_by(|a, b| b - a == 10_000), "something is missing from the middle");
    let dropped: u64 =
        events.iter().map(|event| if let Event::Dropped { samples, .. } = event { *samples } else { 0 }).sum();
    assert!(dropped > 0 && dropped <= 3 * (ROWS - times.len()) as u64, "{dropped}");
    assert!(refused > 0 || due(0));
    (world, times)
}

#[test]
fn of_a_flood_the_oldest_goes_and_nothing_from_the_middle() {
    for (every, name) in [(1, "always"), (50, "often"), (usize::MAX, "when it has to")] {
        let (world, times) = arrive_at_once(|row| row % every == 0 && every < usize::MAX);
        let stats = world.store.stats();
        assert!(stats.wal_bytes + stats.block_bytes > 200_000, "{name}: {stats:?}");
        assert!(stats.dropped_for_size_samples > 0 && stats.segments < 20, "{name}: {stats:?}");
        assert!(times.len() > 5_000, "{name}: {} rows are left", times.len());
        world.disk.crash(CrashKeeps::NOTHING);
        let (store, _) = Store::open(world.disk.clone(), world.options.clone()).unwrap();
        assert_eq!(content_of(&store.snapshot()).values().next().unwrap().len(), times.len(), "{name}");
    }
}

#[test]
fn a_limit_that_was_lowered_leaves_the_newest() {
    let mut world = World::new(Options { segment_bytes: 10_000, min_free_bytes: 0, ..Options::default() });
    for i in 0..3000 {
        world.local("self", &[(labels("up", 0), f64::from(i).sqrt())]);
        world.sync();
    }
    let options = Options { max_bytes: 20_000, ..world.options.clone() };
    let wal_bytes = world.store.stats().wal_bytes;
    assert!(wal_bytes > 60_000, "{wal_bytes}");
    let (mut store, _) = Store::open(world.disk.fork(), options).unwrap();
    while store.maintain(world.now).unwrap().busy {}
    let stats = store.stats();
    assert!(stats.wal_bytes + stats.block_bytes <= 20_000, "{stats:?}");
    let found = content_of(&store.snapshot());
    let times: Vec<i64> = found[&labels("up", 0)].keys().copied().collect();
    assert!(times.len() > 100, "{} rows are left", times.len());
    assert_eq!(times.last(), world.content()[&labels("up", 0)].keys().last());
    assert!(times.is_sorted_by(|a, b| b - a == 10_000), "something is missing from the middle");
}
