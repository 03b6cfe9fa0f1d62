//! History on disk: that it is what was appended, whatever fails while it gets there.

use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::sample::STALE_NAN_BITS;
use watchfire_shared::time::{Span, Timestamp};

use super::world::{Content, World, assert_same, content_of, everything, labels, live, small_blocks, values_of};
use crate::disk::{CrashKeeps, Disk, SimDisk};
use crate::{AppendError, DictionaryError, Event, Options, Source, Store};

fn block_files(disk: &SimDisk) -> Vec<String> {
    let names = disk.list("blocks").unwrap();
    names.into_iter().filter(|name| name.ends_with(".block")).map(|name| format!("blocks/{name}")).collect()
}

/// So much time that everything goes to blocks, and that they are merged.
fn settle(world: &mut World) -> Vec<Event> {
    let mut events = Vec::new();
    for _ in 0..4 {
        world.now += Span::from_seconds(3600);
        events.append(&mut world.maintain());
    }
    events
}

fn counts(events: &[Event]) -> (usize, usize, usize) {
    let count = |wanted: fn(&Event) -> bool| events.iter().filter(|event| wanted(event)).count();
    (
        count(|event| matches!(event, Event::Cut { .. })),
        count(|event| matches!(event, Event::Merged { .. })),
        count(|event| matches!(event, Event::Quarantined(_))),
    )
}

/// A day of two agents and a rule group, with series that come and go.
fn long(world: &mut World, steps: usize) -> Vec<Event> {
    let mut events = Vec::new();
    everything(world, steps, |world| {
        world.sync();
        world.now += Span::from_seconds(40);
        events.append(&mut world.maintain());
    });
    events
}

#[test]
fn history_moves_to_blocks_and_reads_the_same() {
    let mut world = World::new(small_blocks());
    let mut events = long(&mut world, 400);
    world.check();
    let before = world.store.snapshot();
    events.append(&mut settle(&mut world));
    let (cuts, merges, quarantined) = counts(&events);
    assert!(cuts > 10 && merges > 0 && quarantined == 0, "{events:?}");
    world.check();
    assert_same(&content_of(&before), world.content(), "a snapshot outlives the blocks and rows that it was taken of");
    let stats = world.store.stats();
    assert_eq!((stats.segments, stats.cuts, stats.merges), (1, cuts as u64, merges as u64), "{stats:?}");
    assert!(stats.blocks > 0 && stats.blocks < cuts && stats.block_bytes > 0, "{stats:?}");
    assert!(stats.wal_bytes < 1000, "only the sources' places are left in the log: {stats:?}");

    let recovery = world.crash(CrashKeeps::NOTHING);
    assert_eq!((recovery.blocks, recovery.samples), (stats.blocks, 0));
    assert_eq!(world.maintain(), []);
    long(&mut world, 60);
    world.check();
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn a_query_reads_blocks_and_head_as_one() {
    let mut world = World::new(small_blocks());
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    let start = world.now;
    for i in 0..200 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64 / 2.0);
        world.sync();
        world.maintain();
    }
    let stats = world.store.stats();
    assert!(stats.blocks > 2 && stats.segments > 0, "{stats:?}");
    let (snapshot, at) = (world.store.snapshot(), |i: i64| start + Span::from_seconds(10 * (i + 1)));
    for (from, to) in [(0, 0), (0, 199), (3, 5), (27, 31), (100, 180), (-5, 3), (190, 300)] {
        let matchers = [Matcher::equal("__name__", "b")];
        let selected = snapshot.select(&matchers, at(from), at(to));
        let expected: Vec<i64> = (from.max(0)..=to.min(199)).collect();
        assert_eq!(selected.len(), 1);
        assert_eq!(*selected[0].times, expected.iter().map(|i| at(*i).as_millis()).collect::<Vec<_>>());
        assert_eq!(selected[0].values, expected.iter().map(|i| *i as f64 + 0.5).collect::<Vec<_>>());
        assert_eq!(snapshot.series(&matchers, at(from), at(to)), [labels("b", 1)]);
        assert_eq!(snapshot.label_values("__name__", &[], at(from), at(to)), ["a", "b"]);
    }
    assert_eq!(snapshot.select(&[], at(-9), at(-1)), []);
    assert_eq!(snapshot.label_names(&[], at(-9), at(-1)), Vec::<String>::new());
    let newest = snapshot.newest(&[]);
    assert!(newest.len() == 2 && newest.iter().all(|newest| newest.at == world.now), "{newest:?}");
}

/// The points of these do not fit into one step of a reader, nor do those of its first step into what it may have.
#[test]
fn a_few_long_series_among_many_short_ones_are_read_whole() {
    let mut world = World::new(small_blocks());
    let long: Vec<Labels> = (0..20).map(|node| labels("z", node)).collect();
    world.connect(&live(1), long.into_iter().map(Some).collect());
    for i in 0..150 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64);
        if i % 10 == 0 {
            let short: Vec<(Labels, f64)> = (0..100).map(|node| (labels("a", node + i as u64 * 100), 1.0)).collect();
            world.local("churn", &short);
        }
        world.sync();
        world.maintain();
    }
    settle(&mut world);
    assert!(world.store.stats().blocks > 0);
    world.check();
    let long = world.store.snapshot().select(&[Matcher::equal("__name__", "z")], Timestamp::MIN, Timestamp::MAX);
    assert!(long.len() == 20 && long.iter().all(|series| series.values.len() == 150));
}

#[test]
fn power_may_fail_at_every_write_and_sync_of_a_cut_and_a_merge() {
    let mut prepared = World::new(small_blocks());
    long(&mut prepared, 90);
    let whole = prepared.disk.fork();
    prepared.disk = whole;
    let run = |disk: &SimDisk, now: Timestamp| -> bool {
        let Ok((mut store, _)) = Store::open(disk.clone(), small_blocks()) else { return false };
        for hours in 1..4 {
            let now = now + Span::from_seconds(3600 * hours);
            for _ in 0..100 {
                match store.maintain(now) {
                    Ok(done) if done.busy => {}
                    Ok(_) => break,
                    Err(_) => return false,
                }
            }
        }
        true
    };
    let healthy = prepared.disk.fork();
    let before = healthy.mutations();
    assert!(run(&healthy, prepared.now));
    let mutations = healthy.mutations() - before;
    assert!(mutations > 20, "{mutations}");
    let mut keeps = vec![CrashKeeps::NOTHING, CrashKeeps::ALL];
    keeps.extend((0..14).map(|part| CrashKeeps { changes: part % 4, bytes: part * 173 }));
    for at in 0..mutations {
        for keeps in &keeps {
            let disk = prepared.disk.fork();
            disk.power_off_in(at);
            run(&disk, prepared.now);
            disk.crash(*keeps);
            let (store, recovery) = Store::open(disk.clone(), small_blocks()).unwrap();
            assert_eq!((recovery.quarantined, recovery.refused_records), (vec![], 0), "at {at}, {keeps:?}");
            assert_same(&content_of(&store.snapshot()), prepared.content(), (at, keeps));
            for source in prepared.store.sources() {
                assert_eq!(store.durable(source), prepared.store.durable(source), "{source} at {at}, {keeps:?}");
            }
            drop(store);
            assert!(run(&disk, prepared.now), "it goes on, at {at}, {keeps:?}");
            let (store, _) = Store::open(disk, small_blocks()).unwrap();
            assert_same(&content_of(&store.snapshot()), prepared.content(), (at, keeps));
        }
    }
}

/// A world of which all is in blocks, some merged and some not.
fn in_blocks() -> World {
    let mut world = World::new(small_blocks());
    long(&mut world, 60);
    world.now += Span::from_seconds(600);
    world.maintain();
    world
}

fn is_part_of(found: &Content, whole: &Content) -> bool {
    let has = |labels: &Labels, at: &i64, bits: &u64| {
        *bits == STALE_NAN_BITS || whole.get(labels).is_some_and(|points| points.get(at) == Some(bits))
    };
    found.iter().all(|(labels, points)| points.iter().all(|(at, bits)| has(labels, at, bits)))
}

#[test]
fn a_flipped_bit_anywhere_is_found_set_aside_and_survived() {
    let world = in_blocks();
    let (mut met, mut kept) = (0, 0);
    let whole = values_of(world.content()).len();
    for path in block_files(&world.disk).iter().take(2) {
        let bytes = world.disk.content(path).unwrap();
        // All of the ends and the index, and every so often between.
        let wanted = |at: &usize| *at < 64 || at + 400 > bytes.len() || at.is_multiple_of(5);
        for at in (0..bytes.len()).filter(wanted) {
            let disk = world.disk.fork();
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            disk.plant(path, damaged);
            let (mut store, recovery) = Store::open(disk.clone(), small_blocks()).unwrap();
            let found = content_of(&store.snapshot());
            assert!(is_part_of(&found, world.content()), "byte {at} of {path}");
            let named = ["__name__", "instance", "job"].map(|name| Matcher::new(name, MatchOp::Regex, ".+").unwrap());
            drop(store.snapshot().select(&named, Timestamp::MIN, Timestamp::MAX));
            let lost = |found: &Content| -> Vec<i64> {
                values_of(world.content()).difference(&values_of(found)).map(|(_, at, _)| *at).collect()
            };
            let first_lost = lost(&found);
            let is_told = |store: &Store<SimDisk>| {
                let missing =
                    |at: i64| store.snapshot().missing(Timestamp::from_millis(at), Timestamp::from_millis(at));
                first_lost.iter().all(|at| missing(*at).iter().any(|told| told.contains(path)))
            };
            assert!(is_told(&store), "byte {at} of {path}: what is missing is told with the answer");
            let mut damaged = Vec::new();
            let mut quarantined = recovery.quarantined;
            for _ in 0..10 {
                for event in store.maintain(world.now).unwrap().events {
                    match event {
                        Event::Quarantined(own) => quarantined.push(own),
                        Event::Damaged { path, .. } => damaged.push(path),
                        Event::Merged { .. } => {}
                        event => panic!("byte {at} of {path}: {event:?}"),
                    }
                }
            }
            let [own] = &quarantined[..] else { panic!("byte {at} of {path}: {quarantined:?}") };
            assert_eq!((&own.path, own.kept_as.as_str()), (path, format!("{path}.damaged").as_str()));
            assert!(disk.content(&own.kept_as).is_some() && store.stats().quarantined == 1);
            assert!(is_told(&store), "byte {at} of {path}: also once it is written anew");
            if !damaged.is_empty() {
                assert_eq!((&damaged, own.lost_samples), (&vec![path.clone()], Some(own.lost_samples.unwrap())));
                assert!(own.lost_samples >= Some(first_lost.len() as u64), "{own:?}");
                let (before, after) = (own.from - Span::from_seconds(1), own.to + Span::from_seconds(1));
                assert!(store.snapshot().missing(Timestamp::MIN, before).is_empty());
                assert!(store.snapshot().missing(after, Timestamp::MAX).is_empty(), "{own:?}");
            }
            // What could be read before can be read from what was written anew.
            let again = content_of(&store.snapshot());
            assert_same(&again, &found, (at, path));
            kept += usize::from(values_of(&again).len() + 10 > whole);
            met += 1;
            let (store, recovery) = Store::open(disk, small_blocks()).unwrap();
            assert_eq!((recovery.quarantined, content_of(&store.snapshot())), (vec![], again));
            assert!(is_told(&store) && store.damaged().len() == 1, "byte {at} of {path}: after a restart, too");
        }
    }
    assert!(met > 500 && kept > met / 10, "most damage costs one column: {kept} of {met}");
}

#[test]
fn a_block_cut_off_anywhere_is_set_aside_at_the_start() {
    let world = in_blocks();
    let path = &block_files(&world.disk)[0];
    let bytes = world.disk.content(path).unwrap();
    for length in 0..bytes.len() {
        let disk = world.disk.fork();
        disk.plant(path, bytes[..length].to_vec());
        let (store, recovery) = Store::open(disk.clone(), small_blocks()).unwrap();
        assert_eq!(recovery.quarantined.len(), 1, "cut at {length}");
        assert_eq!(recovery.quarantined[0].lost_bytes, length as u64);
        assert!(is_part_of(&content_of(&store.snapshot()), world.content()), "cut at {length}");
    }
}

#[test]
fn a_missing_block_costs_only_itself() {
    let world = in_blocks();
    for path in block_files(&world.disk) {
        let disk = world.disk.fork();
        disk.remove(&path).unwrap();
        let (store, recovery) = Store::open(disk, small_blocks()).unwrap();
        assert_eq!((recovery.quarantined, recovery.refused_records), (vec![], 0), "{path}");
        assert!(is_part_of(&content_of(&store.snapshot()), world.content()), "{path}");
    }
}

#[test]
fn a_newer_block_is_refused_by_name_and_left_alone() {
    let world = in_blocks();
    let path = &block_files(&world.disk)[0];
    let mut bytes = world.disk.content(path).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    world.disk.plant(path, bytes.clone());
    let error = Store::open(world.disk.clone(), small_blocks()).err().unwrap();
    assert!(error.to_string().contains(&format!("{path} has format version 2")), "{error}");
    assert_eq!(world.disk.content(path), Some(bytes));
}

#[test]
fn a_full_disk_leaves_history_in_the_log_until_there_is_space() {
    for spare in [0, 1, 500, 1200, 2000] {
        let mut world = World::new(small_blocks());
        everything(&mut world, 90, World::sync);
        world.now += Span::from_seconds(3600);
        let used: u64 = world
            .disk
            .list("wal")
            .unwrap()
            .iter()
            .map(|name| world.disk.content(&format!("wal/{name}")).unwrap().len() as u64)
            .sum();
        world.disk.set_quota(Some(used + spare));
        let mut failures = 0;
        for _ in 0..6 {
            world.now += Span::from_seconds(120);
            failures += u64::from(world.store.maintain(world.now).is_err());
        }
        assert!(failures > 2, "spare {spare}: {failures}");
        assert_eq!((world.store.stats().blocks, world.store.stats().failures), (0, failures));
        assert_eq!(world.disk.list("blocks").unwrap(), Vec::<String>::new(), "nothing is left lying about");
        world.check();
        world.disk.set_capacity(None);
        world.now += Span::from_seconds(120);
        assert!(counts(&world.maintain()).0 > 0);
        assert_eq!(world.disk.list("wal").unwrap().len(), 1, "only the sources' places are left in the log");
        world.check();
        world.crash(CrashKeeps::NOTHING);
    }
}

#[test]
fn a_source_that_is_silent_for_long_costs_no_series_and_keeps_its_place() {
    let mut world = World::new(small_blocks());
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    world.local("rules", &[(labels("alerts", 1), 1.0)]);
    world.tick(&live(1), |_| 1.0);
    let (position, data) = world.frame(&live(1), |_| 2.0);
    world.mark_stale(&live(1));
    world.local("rules", &[]);
    world.sync();
    let durable = world.store.durable(&live(1));
    settle(&mut world);
    let stats = world.store.stats();
    assert_eq!((stats.series, stats.sources, stats.segments), (0, 2, 1), "only places are in the log: {stats:?}");
    world.check();
    for _ in 0..2 {
        assert_eq!(world.store.durable(&live(1)), durable);
        // Its frames need the whole dictionary, not only a keyframe.
        let refused = world.store.append(&live(1), position, world.now, &data);
        assert_eq!(refused, Err(AppendError::NeedsDictionary));
        let more = super::world::dict(2, false, &[(2, labels("c", 1))], vec![]);
        let refused = world.store.set_dictionary(&live(1), &more, &[labels("c", 1)]);
        assert_eq!(refused, Err(DictionaryError::OutOfOrder { last: 1, found: 2 }));
        world.disk.crash(CrashKeeps::NOTHING);
        world.store = Store::open(world.disk.clone(), small_blocks()).unwrap().0;
    }
    world.crash(CrashKeeps::NOTHING);
    world.tick(&live(1), |_| 3.0);
    world.local("rules", &[(labels("alerts", 1), 2.0)]);
    world.check();
    assert_eq!(world.store.stats().series, 3);
    assert_eq!(world.store.sources().cloned().collect::<Vec<_>>(), [live(1), Source::Local("rules".to_owned())]);
}

#[test]
fn late_rows_are_merged_into_the_time_they_are_of() {
    let mut world = World::new(Options { block_span: Span::from_seconds(300), ..small_blocks() });
    let (now, late) =
        (live(1), Source::Agent(watchfire_shared::member::NodeId(1), watchfire_shared::frame::message::Lane::Backfill));
    world.connect(&now, vec![Some(labels("a", 1))]);
    for i in 0..400 {
        world.tick(&now, |_| f64::from(i));
        world.sync();
        world.maintain();
    }
    // The other lane brings the ticks in between, hours later, and some that are known.
    world.connect(&late, vec![Some(labels("a", 1))]);
    let start = world.now - Span::from_seconds(4000);
    for i in 0..300 {
        world.tick_at(&late, start + Span::from_seconds(5 * i), |_| -1.0 - i as f64);
        world.sync();
    }
    world.check();
    let (_, merges, _) = counts(&settle(&mut world));
    assert!(merges > 0);
    world.check();
    world.crash(CrashKeeps::NOTHING);
}
