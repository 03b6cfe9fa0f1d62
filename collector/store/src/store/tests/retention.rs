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
