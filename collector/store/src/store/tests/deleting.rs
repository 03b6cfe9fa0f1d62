//! What is deleted is gone wherever it is, for good, and what comes later is not.

use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::{Span, Timestamp};

use super::world::{World, assert_same, content_of, everything, labels, live, small_blocks, small_segments};
use crate::deletion::{MAX_MATCHER_BYTES, MAX_STANDING};
use crate::disk::{CrashKeeps, Disk, SimDisk};
use crate::{DeleteError, Event, Options, Store, SyncError, verify};

fn named(name: &str) -> Vec<Matcher> {
    vec![Matcher::equal("__name__", name)]
}

fn ever() -> (Timestamp, Timestamp) {
    (Timestamp::MIN, Timestamp::MAX)
}

/// Two series in three places: merged blocks, blocks, and memory.
fn two_series(options: Options) -> World {
    let mut world = World::new(options);
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    for i in 0..400 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64 / 2.0);
        world.sync();
        world.maintain();
    }
    world
}

/// Everything that tells which series there are agrees with what they have.
fn check_names(world: &World, from: Timestamp, to: Timestamp) {
    let snapshot = world.store.snapshot();
    let mut selected: Vec<_> = snapshot.select(&[], from, to).into_iter().map(|series| series.labels).collect();
    selected.sort();
    assert_eq!(snapshot.series(&[], from, to), selected);
    let mut latest: Vec<_> = snapshot.latest(&[], from, to).into_iter().map(|newest| newest.labels).collect();
    latest.sort();
    assert_eq!(latest, selected);
    let mut names: Vec<&str> = selected.iter().map(|labels| labels.value("__name__")).collect();
    names.dedup();
    assert_eq!(snapshot.label_values("__name__", &[], from, to), names);
    assert_eq!(snapshot.label_names(&[], from, to).is_empty(), selected.is_empty());
}

#[test]
fn a_range_goes_from_head_and_blocks_and_the_rest_stays() {
    let mut world = two_series(small_blocks());
    let before = (world.store.snapshot(), world.content().clone());
    let at = |world: &World, seconds: i64| world.now - Span::from_seconds(seconds);
    let stats = world.store.stats();
    assert!(stats.blocks > 2 && stats.segments > 0 && stats.deletions == 0, "{stats:?}");

    // Within one chunk of the head, within one block, and over the border of both.
    for (from, to) in [(65, 35), (3415, 3305), (1500, 100), (9000, 3950)] {
        let (from, to) = (at(&world, from), at(&world, to));
        world.delete(&[named("a")], from, to);
        world.check();
        check_names(&world, from, to);
        check_names(&world, from - Span::from_seconds(10), to);
        assert_eq!(world.store.snapshot().series(&named("a"), from, to), []);
    }
    assert!(world.store.stats().deletions > 0);
    assert_same(&content_of(&before.0), &before.1, "a snapshot keeps what it was taken of");
    world.crash(CrashKeeps::NOTHING);
    world.maintain();
    world.check();

    // The whole of a series, of which new rows are there at once.
    let (from, to) = ever();
    world.delete(&[named("b")], from, to);
    world.check();
    check_names(&world, from, to);
    assert_eq!(world.store.snapshot().series(&named("b"), from, to), []);
    world.tick(&live(1), |slot| slot as f64);
    world.sync();
    world.check();
    assert_eq!(world.store.snapshot().series(&named("b"), from, to).len(), 1);
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn what_comes_later_is_seen_at_whatever_time_it_is() {
    let mut world = two_series(small_blocks());
    let ago = world.now - Span::from_seconds(3000);
    world.delete(&[named("a"), named("b")], ago, world.now);
    // By another source, as one that backfills has it.
    let now = world.now;
    world.now = ago;
    for i in 0..200 {
        world.local("late", &[(labels("a", 1), f64::from(i))]);
    }
    world.check();
    world.sync();
    world.crash(CrashKeeps::NOTHING);
    world.now = now;
    for _ in 0..6 {
        world.now += Span::from_seconds(1800);
        world.maintain();
        world.check();
    }
    world.store.clean_deleted();
    world.maintain();
    world.check();
    assert_eq!(world.store.stats().deletions, 0);
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn cleaning_removes_it_from_disk_and_ends_the_deletions() {
    let mut world = two_series(small_blocks());
    world.now += Span::from_seconds(7200);
    world.maintain();
    let whole = world.store.stats();
    assert!(whole.blocks > 0 && whole.block_samples == 800, "{whole:?}");
    let (from, to) = ever();
    world.delete(&[named("a")], from, to);
    assert_eq!(world.maintain(), [], "it is no reason to write blocks anew");
    assert_eq!((world.store.stats().deletions, world.store.stats().block_samples), (1, 800));
    world.crash(CrashKeeps::NOTHING);
    assert_eq!(world.store.stats().deletions, 1);

    world.store.clean_deleted();
    let events = world.maintain();
    assert!(events.iter().all(|event| matches!(event, Event::Merged { blocks: 1, .. })), "{events:?}");
    let stats = world.store.stats();
    assert_eq!((stats.deletions, stats.block_samples, stats.blocks), (0, 400, whole.blocks), "{stats:?}");
    assert!(stats.block_bytes < whole.block_bytes);
    world.check();
    assert_eq!(verify(&world.disk).unwrap().faults, []);
    world.crash(CrashKeeps::NOTHING);
    assert_eq!(world.maintain(), []);
    assert_eq!(world.store.stats().deletions, 0, "nothing of it is left on disk, whatever the log says");

    // All there is: blocks without anything go.
    world.delete(&[named("b")], from, world.now - Span::from_seconds(9000));
    world.store.clean_deleted();
    assert_ne!(world.maintain(), []);
    world.delete(&[named("b")], from, to);
    assert_eq!(world.maintain(), [], "what was asked for earlier is over");
    world.store.clean_deleted();
    world.maintain();
    assert_eq!((world.store.stats().blocks, world.store.stats().deletions), (0, 0));
    world.crash(CrashKeeps::NOTHING);
    world.tick(&live(1), |slot| slot as f64);
    world.sync();
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn one_that_no_block_has_anything_of_does_not_stand() {
    let mut world = two_series(small_blocks());
    let (from, to) = ever();
    world.delete(&[named("c")], from, to);
    assert_eq!(world.store.stats().deletions, 1, "nobody has looked yet");
    world.maintain();
    assert_eq!(world.store.stats().deletions, 0);
    world.delete(&[named("a")], world.now, world.now);
    assert_eq!(world.store.stats().deletions, 0, "no block is of this time");
    world.check();
    world.crash(CrashKeeps::NOTHING);
    world.maintain();
    assert_eq!(world.store.stats().deletions, 0);
}

#[test]
fn what_is_asked_for_twice_stands_once_and_too_many_are_refused() {
    let mut world = two_series(small_blocks());
    let (from, to) = ever();
    for _ in 0..5 {
        world.delete(&[named("a")], from, to);
    }
    assert_eq!(world.store.stats().deletions, 1);
    let long = vec![Matcher::equal("__name__", "x".repeat(MAX_MATCHER_BYTES))];
    let refused = world.store.delete(&[long], from, to);
    assert!(matches!(refused, Err(DeleteError::TooLarge { .. })), "{refused:?}");

    let others: Vec<_> = (1..MAX_STANDING).map(|number| named(&format!("none {number}"))).collect();
    world.delete(&others, from, to);
    let refused = world.store.delete(&[named("b")], from, to);
    assert_eq!(refused, Err(DeleteError::TooMany { standing: MAX_STANDING, limit: MAX_STANDING }));
    world.check();
    world.delete(&[named("a")], from, to);
    // Looking tells that no block has anything of most of them, and one is nothing to write blocks anew for.
    world.maintain();
    assert_eq!(world.store.stats().deletions, 1);

    // Half of what there may be is reason enough.
    let others = (0..=MAX_STANDING / 2)
        .map(|number| vec![Matcher::new("__name__", MatchOp::Regex, format!("b|none {number}")).unwrap()]);
    world.delete(&others.collect::<Vec<_>>(), from, to);
    world.maintain();
    assert_eq!((world.store.stats().deletions, world.store.stats().blocks), (0, 0));
    world.check();
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn a_cut_or_merge_that_began_before_hides_nothing_and_resurrects_nothing() {
    // At each piece of work between a mark and the end of the cut and the merges that follow.
    for at in 0..60 {
        let mut world = World::new(Options { block_span: Span::from_seconds(600), ..small_blocks() });
        for node in 0..3 {
            world.connect(&live(node), vec![Some(labels("a", node)), Some(labels("b", node))]);
        }
        for i in 0..240 {
            world.tick(&live(i % 3), |slot| i as f64 + slot as f64 / 2.0);
            if i % 80 == 79 {
                world.sync();
                world.maintain();
            }
        }
        world.sync();
        world.now += Span::from_seconds(7200);
        let mut pieces = 0;
        let busy = |world: &mut World| world.store.maintain(world.now).unwrap().busy;
        while pieces < at && busy(&mut world) {
            pieces += 1;
        }
        let ended = pieces < at;
        let from = world.now - Span::from_seconds(9000);
        world.delete(&[named("a")], from, world.now);
        world.tick(&live(1), |slot| slot as f64);
        world.sync();
        world.check();
        let disk = world.disk.fork();
        world.maintain();
        world.check();
        world.store.clean_deleted();
        world.now += Span::from_seconds(7200);
        world.maintain();
        world.check();
        assert_eq!(world.store.stats().deletions, 0);
        let content = world.content().clone();
        world.crash(CrashKeeps::NOTHING);
        // A crash where it was is the same.
        disk.crash(CrashKeeps::NOTHING);
        let (mut store, _) = Store::open(disk, world.options.clone()).unwrap();
        assert_same(&content_of(&store.snapshot()), &content, at);
        store.clean_deleted();
        while store.maintain(world.now).unwrap().busy {}
        assert_same(&content_of(&store.snapshot()), &content, at);
        if ended {
            assert!(at > 2, "{at}");
            return;
        }
    }
    panic!("there is an end to the work");
}

/// Everything, with deletions and cleaning in between.
fn everything_and_deletions(world: &mut World, mut after: impl FnMut(&mut World)) {
    for round in 0..4 {
        everything(world, 9, &mut after);
        world.now += Span::from_seconds(300);
        let (from, to) = (world.now - Span::from_seconds(2000), world.now - Span::from_seconds(310));
        let selectors = [named(["metric_0", "metric_2", "up", "alerts"][round % 4]), named("metric_1")];
        let deleted = world.store.delete(&selectors, from, to);
        // What was refused because the power failed may be done by the next start, and nothing comes between.
        world.note_deleted(&selectors, from, to);
        if deleted.is_ok() {
            world.acknowledge();
        }
        let _ = (0..50).any(|_| !world.store.maintain(world.now).is_ok_and(|done| done.busy));
        world.store.clean_deleted();
        after(world);
    }
}

#[test]
fn power_may_fail_at_every_write_and_sync_of_it() {
    let mut whole = World::new(small_blocks());
    let before = whole.disk.mutations();
    everything_and_deletions(&mut whole, World::sync);
    whole.check();
    assert!(whole.store.stats().merges > 0 && whole.store.stats().cuts > 2, "{:?}", whole.store.stats());
    for at in 0..whole.disk.mutations() - before {
        for keeps in [CrashKeeps::NOTHING, CrashKeeps { changes: 1, bytes: 11 }, CrashKeeps { changes: 2, bytes: 200 }]
        {
            let mut world = World::new(small_blocks());
            world.disk.power_off_in(at);
            let mut failed = false;
            everything_and_deletions(&mut world, |world| {
                if !failed && world.store.sync().is_ok() {
                    world.acknowledge();
                } else if !failed {
                    failed = true;
                    world.crash(keeps);
                    world.disk.power_off_in(u64::MAX);
                } else {
                    world.sync();
                }
            });
            world.sync();
            world.check();
            world.crash(CrashKeeps::NOTHING);
        }
    }
}

#[test]
fn a_full_disk_refuses_it_and_it_can_be_asked_for_again() {
    for quota in [false, true] {
        let mut world = two_series(small_segments());
        let used: u64 = ["wal", "blocks"]
            .iter()
            .flat_map(|folder| world.disk.list(folder).unwrap().into_iter().map(move |name| format!("{folder}/{name}")))
            .map(|path| world.disk.content(&path).unwrap().len() as u64)
            .sum();
        if quota {
            world.disk.set_quota(Some(used + 3))
        } else {
            world.disk.set_capacity(Some(used + 3))
        }
        let (from, to) = ever();
        let refused = world.store.delete(&[named("a")], from, to);
        assert_eq!(refused, Err(DeleteError::Unsynced(SyncError::Full)));
        world.check();
        world.disk.set_quota(None);
        world.disk.set_capacity(None);
        world.sync();
        world.crash(CrashKeeps::NOTHING);
        world.delete(&[named("a")], from, to);
        world.check();
        world.crash(CrashKeeps::NOTHING);
    }
}

#[test]
fn a_damaged_record_of_it_is_set_aside_like_any_other_and_the_next_segment_tells_of_the_blocks() {
    let mut world = two_series(small_blocks());
    world.now += Span::from_seconds(7200);
    world.maintain();
    let (from, to) = ever();
    world.delete(&[named("a")], from, to);
    let path = |disk: &SimDisk| format!("wal/{}", disk.list("wal").unwrap().last().unwrap());
    let first = path(&world.disk);
    for _ in 0..20 {
        world.tick(&live(1), |slot| slot as f64);
        world.sync();
    }
    assert_ne!(path(&world.disk), first);
    let bytes = world.disk.content(&first).unwrap();
    for at in 16..bytes.len() {
        let disk = world.disk.fork();
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        disk.plant(&first, damaged);
        let (store, recovery) = Store::open(disk, small_blocks()).unwrap();
        assert_eq!(recovery.quarantined.len() + recovery.refused_records as usize, 1, "byte {at}");
        let found = content_of(&store.snapshot());
        let old = found.get(&labels("a", 1)).into_iter().flatten().filter(|(time, _)| **time < from_of(&world));
        assert_eq!(old.count(), 0, "byte {at}: the later segments have it too");
    }
}

/// When the rows of blocks end.
fn from_of(world: &World) -> i64 {
    (world.now - Span::from_seconds(3600)).as_millis()
}

#[test]
fn a_copier_gets_nothing_that_was_deleted_before_it_came() {
    let mut world = two_series(small_blocks());
    let (from, to) = (world.now - Span::from_seconds(3500), world.now - Span::from_seconds(40));
    world.delete(&[named("a")], from, to);
    let mut feed = world.store.feed();
    feed.look_into_blocks(|_| Timestamp::MIN, &mut crate::CopiedBlocks::default());
    let mut content = super::world::Content::new();
    for source in feed.sources() {
        let (mut after, mut rows) = (Timestamp::MIN, 0);
        while let Some(last) = feed.next_rows(source, after, 50).last().copied() {
            feed.read(source, after, last.at, &mut |labels, points| {
                let points = points.iter().map(|(at, value)| (*at, value.to_bits()));
                content.entry(labels.clone()).or_default().extend(points);
            });
            (after, rows) = (last.at, rows + 1);
        }
        assert!(rows > 3);
    }
    assert_same(&content, world.content(), "the copy");
}

#[test]
fn many_deletions_leave_no_memory_behind() {
    let mut world = World::new(small_segments());
    for round in 0..300u64 {
        world.connect(&live(0), vec![Some(labels("a", round)), Some(labels("b", 0))]);
        world.tick(&live(0), |slot| slot as f64);
        world.sync();
        let (from, to) = ever();
        world.delete(&[named("a")], from, to);
    }
    world.check();
    world.connect(&live(0), vec![Some(labels("b", 0))]);
    world.tick(&live(0), |_| 1.0);
    let stats = world.store.stats();
    // The last one was shown, and so has a stale marker.
    assert_eq!((stats.series, stats.deletions), (2, 0), "{stats:?}");
    world.sync();
    world.crash(CrashKeeps::NOTHING);
    assert_eq!(world.store.stats().deletions, 0);
}

#[test]
fn a_head_of_which_nothing_is_left_becomes_blocks_of_nothing() {
    let mut world = two_series(Options { block_span: Span::from_seconds(7200), ..small_blocks() });
    assert_eq!(world.store.stats().blocks, 0);
    let (from, to) = ever();
    world.delete(&[vec![]], from, to);
    world.sync();
    for _ in 0..6 {
        world.now += Span::from_seconds(7200);
        world.maintain();
    }
    let stats = world.store.stats();
    assert!(stats.blocks > 0 && stats.block_samples == 0, "{stats:?}");
    check_names(&world, from, to);
    assert_eq!(verify(&world.disk).unwrap().faults, []);
    world.crash(CrashKeeps::NOTHING);
    world.tick(&live(1), |slot| slot as f64);
    world.sync();
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn a_series_that_goes_piece_by_piece_is_listed_no_more() {
    let mut world = two_series(small_blocks());
    world.now += Span::from_seconds(7200);
    world.maintain();
    let (from, to) = ever();
    for piece in (0..).map(|i| world.now - Span::from_seconds(12_000 - i * 1001)).take(20).collect::<Vec<_>>() {
        world.delete(&[named("a")], piece, piece + Span::from_seconds(1001));
        world.check();
    }
    check_names(&world, from, to);
    world.store.clean_deleted();
    world.maintain();
    let stats = world.store.stats();
    assert_eq!((stats.deletions, stats.block_samples), (0, 400), "{stats:?}");
    world.check();
    check_names(&world, from, to);
    assert_eq!(world.store.snapshot().series(&named("a"), from, to), []);
    assert_eq!(verify(&world.disk).unwrap().faults, []);
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn a_replay_of_many_holds_no_more_of_them_than_stood() {
    let mut world = two_series(Options { segment_bytes: 1 << 20, ..small_blocks() });
    let (from, to) = ever();
    for round in 0..5 {
        let many: Vec<_> = (0..200).map(|number| named(&format!("none {round} {number}"))).collect();
        world.delete(&many, from, to);
        world.maintain();
        assert_eq!(world.store.stats().deletions, 0);
    }
    world.crash(CrashKeeps::NOTHING);
    let stood = world.store.stats().deletions;
    assert!(stood <= 2 * MAX_STANDING, "{stood} of 1000");
    world.maintain();
    assert_eq!(world.store.stats().deletions, 0);
}

#[test]
fn a_deletion_outlives_the_segment_that_it_was_written_to() {
    let mut world = two_series(small_blocks());
    let (from, to) = ever();
    world.delete(&[named("a")], from, to);
    let segments = world.disk.list("wal").unwrap();
    for i in 0..70 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64);
        world.sync();
        world.maintain();
    }
    assert!(segments.iter().all(|name| world.disk.content(&format!("wal/{name}")).is_none()), "{segments:?}");
    assert_eq!(world.store.stats().deletions, 1);
    world.check();
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn the_number_of_a_block_that_was_never_whole_is_not_given_to_what_comes_later() {
    let mut world = two_series(small_blocks());
    world.disk.set_quota(Some(0));
    let fails = |minutes: i64| world.store.maintain(world.now + Span::from_seconds(minutes * 60)).is_err();
    assert!((0..20).any(fails), "a cut has no room");
    world.disk.set_quota(None);
    let (from, to) = ever();
    world.delete(&[named("a")], from, to);
    world.crash(CrashKeeps::NOTHING);
    for i in 0..100 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64);
        world.sync();
        world.maintain();
        world.check();
    }
    world.crash(CrashKeeps::NOTHING);
}
