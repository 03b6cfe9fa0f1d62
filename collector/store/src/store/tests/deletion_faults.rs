//! Deletions where something goes wrong beside them, and how much work they are.

use std::sync::Arc;

use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::{Span, Timestamp};

use super::world::{World, assert_same, content_of, labels, live, small_blocks, small_segments};
use crate::block::{Range, Resolved};
use crate::deletion::{Deletion, MAX_STANDING, weight};
use crate::disk::{CrashKeeps, Disk};
use crate::head::chunk::work;
use crate::{DeleteError, Options, Store, SyncError};

fn named(name: &str) -> Vec<Matcher> {
    vec![Matcher::equal("__name__", name)]
}

const EVER: (Timestamp, Timestamp) = (Timestamp::MIN, Timestamp::MAX);

fn used(world: &World) -> u64 {
    let names = |folder: &str| world.disk.list(folder).unwrap().into_iter();
    let paths =
        ["wal", "blocks"].into_iter().flat_map(|folder| names(folder).map(move |name| format!("{folder}/{name}")));
    paths.map(|path| world.disk.content(&path).unwrap().len() as u64).sum()
}

#[test]
fn all_selectors_of_a_call_take_one_pass_and_read_no_column_that_goes_whole() {
    let mut world = World::new(Options::default());
    let slots: Vec<_> = (0..40).map(|number| Some(labels(&format!("metric_{number}"), 1))).collect();
    world.connect(&live(1), slots);
    for i in 0..125 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64 / 3.0);
    }
    world.sync();
    let selectors: Vec<_> = (0..30).map(|number| named(&format!("metric_{number}"))).collect();
    let disk = world.disk.fork();
    let counted = || (work::REBUILT.take(), work::DECODED.take());
    // What waits in rows is sealed, which joins chunks that have parts: only the deletion's own work is counted.
    world.store.memory.head.seal(0);
    counted();
    world.delete(&selectors, EVER.0, EVER.1);
    let chunks = world.store.memory.head.timelines[0].sealed().len();
    assert_eq!(counted(), (chunks, 0), "each chunk is made anew once");
    world.check();

    // So it is when the log is read, though the selectors came one by one.
    (world.store, _) = Store::open(disk.clone(), Options::default()).unwrap();
    world.disk = disk;
    selectors.iter().for_each(|selector| world.store.delete(std::slice::from_ref(selector), EVER.0, EVER.1).unwrap());
    world.store.sync().unwrap();
    counted();
    world.crash(CrashKeeps::NOTHING);
    let (rebuilt, _) = counted();
    let chunks = world.store.memory.head.timelines[0].sealed().len();
    assert!(rebuilt <= chunks, "{rebuilt} of {chunks}");
}

#[test]
fn of_a_column_that_goes_in_part_the_rest_stays() {
    let mut world = World::new(Options::default());
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1)), Some(labels("a", 2))]);
    for i in 0..100 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64);
    }
    world.sync();
    let at = |seconds| world.now - Span::from_seconds(seconds);
    let ranges = [(at(200), at(100)), (at(900), at(650)), (at(2000), at(950)), (at(20), at(0))];
    for (from, to) in ranges {
        world.delete(&[named("a"), named("none")], from, to);
        world.check();
    }
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn a_refused_deletion_leaves_a_log_that_can_be_closed() {
    for spare in [0, 3, 30, 60] {
        let mut world = World::new(small_blocks());
        world.options.segment_bytes = 1 << 20;
        world.store = Store::open(world.disk.clone(), world.options.clone()).unwrap().0;
        world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
        for i in 0..20 {
            world.tick(&live(1), |slot| f64::from(i) + slot as f64);
            world.sync();
        }
        world.maintain();
        world.disk.set_quota(Some(used(&world) + spare));
        let selectors = [named("a"), named(&"x".repeat(100))];
        let refused = world.store.delete(&selectors, EVER.0, EVER.1);
        assert_eq!(refused, Err(DeleteError::Unsynced(SyncError::Full)));
        world.disk.set_quota(None);
        // Nothing is pending, and it is time for a mark.
        world.now += Span::from_seconds(600);
        let _ = world.store.maintain(world.now).unwrap();
        let disk = world.disk.fork();
        disk.crash(CrashKeeps::ALL);
        let (store, recovery) = Store::open(disk, world.options.clone()).unwrap();
        assert_eq!((recovery.quarantined, recovery.torn_bytes), (vec![], 0), "spare {spare}");
        assert_same(&content_of(&store.snapshot()), world.content(), spare);
        world.tick(&live(1), |slot| slot as f64);
        world.sync();
        world.crash(CrashKeeps::NOTHING);
        world.delete(&selectors, EVER.0, EVER.1);
        world.crash(CrashKeeps::NOTHING);
    }
}

/// Moves all there is to blocks: a mark, and what follows it a while later.
fn cut(world: &mut World) {
    for _ in 0..2 {
        world.now += Span::from_seconds(4500);
        world.maintain();
    }
}

/// A block of `a` alone, and one of `b` alone that is later.
fn a_before_b() -> World {
    let mut world = World::new(Options { block_span: Span::from_seconds(600), ..small_segments() });
    for (name, node) in [("a", 1), ("b", 2)] {
        world.connect(&live(node), vec![Some(labels(name, 1))]);
        for i in 0..30 {
            world.tick(&live(node), |_| f64::from(i));
            world.sync();
        }
        cut(&mut world);
    }
    world
}

#[test]
fn a_removed_block_that_comes_back_with_the_power_is_as_deleted_as_it_was() {
    let mut world = a_before_b();
    let blocks = world.store.stats().blocks;
    world.delete(&[named("a")], EVER.0, EVER.1);
    world.store.clean_deleted();
    while world.store.stats().blocks == blocks {
        assert!(world.store.maintain(world.now).unwrap().busy);
    }
    // Another one, with which the next segment says that this alone stands.
    let (from, to) = (world.now - Span::from_seconds(9200), world.now);
    world.delete(&[named("b")], from, to);
    assert_eq!(world.store.stats().deletions, 1);
    for _ in 0..20 {
        world.tick(&live(2), |slot| slot as f64);
        world.sync();
    }
    world.crash(CrashKeeps::NOTHING);
    world.maintain();
    world.check();
}

#[test]
fn a_block_whose_name_may_not_be_durable_is_no_block() {
    for merging in [false, true] {
        let mut world = a_before_b();
        for i in 0..30 {
            world.tick(&live(2), |_| f64::from(i));
        }
        world.sync();
        if merging {
            cut(&mut world);
            world.delete(&[named("b")], world.now - Span::from_seconds(9050), world.now);
            world.store.clean_deleted();
        } else {
            world.now += Span::from_seconds(4500);
            world.maintain();
            world.now += Span::from_seconds(4500);
        }
        let before = world.disk.list("blocks").unwrap();
        world.disk.fail_folder_syncs("blocks", 1);
        while world.store.maintain(world.now).is_ok_and(|done| done.busy) {}
        assert_eq!(world.store.stats().failures, 1);
        assert_eq!(world.disk.list("blocks").unwrap(), before, "merging {merging}");
        // What is deleted now is not in a block that nobody knows of.
        world.delete(&[named("b")], world.now - Span::from_seconds(9200), world.now - Span::from_seconds(9100));
        world.delete(&[named("a")], EVER.0, EVER.1);
        world.crash(CrashKeeps::NOTHING);
        world.now += Span::from_seconds(120);
        world.maintain();
        world.check();
        world.crash(CrashKeeps::NOTHING);
    }
}

#[test]
fn a_selector_of_many_or_costly_expressions_does_not_stand() {
    let mut world = a_before_b();
    let matcher = |op, value: &str| Matcher::new("instance", op, value).unwrap();
    let refused = |world: &mut World, matchers: Vec<Matcher>| {
        let refused = world.store.delete(&[named("b"), matchers], EVER.0, EVER.1);
        assert!(refused.is_err(), "{refused:?}");
        world.check();
        assert_eq!(world.store.stats().deletions, 0);
        refused.unwrap_err().to_string()
    };
    refused(&mut world, (0..40).map(|number| matcher(MatchOp::NotEqual, &number.to_string())).collect());
    refused(&mut world, (0..9).map(|number| matcher(MatchOp::NotRegex, &format!("{number}.*"))).collect());
    refused(&mut world, vec![matcher(MatchOp::Regex, r"\pL{50}")]);
    // So many do not come in by one call either, though no block has anything of them: a replay would hold them all.
    let many = vec![named("none"); MAX_STANDING + 1];
    assert_eq!(world.store.delete(&many, EVER.0, EVER.0), Err(DeleteError::TooManyAtOnce { limit: MAX_STANDING }));
    world.delete(&[vec![matcher(MatchOp::Regex, r"node-[0-9]+(\.example\.(com|org))?|\w+")]], EVER.0, EVER.1);
    world.check();
    world.crash(CrashKeeps::NOTHING);
}

#[test]
fn one_call_looks_into_one_block() {
    let mut world = World::new(small_blocks());
    world.connect(&live(1), vec![Some(labels("a", 1))]);
    for i in 0..400 {
        world.tick(&live(1), |_| f64::from(i));
        world.sync();
        world.maintain();
    }
    let blocks = world.store.stats().blocks;
    assert!(blocks > 4, "{blocks}");
    world.delete(&[named("none"), named("neither")], EVER.0, EVER.1);
    let mut calls = 0;
    while world.store.maintain(world.now).unwrap().busy {
        calls += 1;
    }
    assert_eq!((calls, world.store.stats().deletions), (blocks, 0));
}

#[test]
fn deletions_of_nothing_are_found_out_while_blocks_are_made_and_while_that_fails() {
    let none = |round: usize| (0..200).map(|number| named(&format!("none {round} {number}"))).collect::<Vec<_>>();
    let mut world = a_before_b();
    for i in 0..30 {
        world.tick(&live(1), |_| f64::from(i));
    }
    world.sync();
    world.now += Span::from_seconds(4500);
    world.maintain();
    world.now += Span::from_seconds(4500);
    world.disk.fail_folder_syncs("blocks", 1);
    while world.store.maintain(world.now).is_ok_and(|done| done.busy) {}
    assert_eq!(world.store.stats().failures, 1);
    for round in 0..5 {
        world.delete(&none(round), EVER.0, EVER.1);
        // Within the time in which nothing is tried again.
        world.maintain();
    }
    assert_eq!(world.store.stats().cuts, 2);
    world.now += Span::from_seconds(60);
    world.maintain();

    // A merge that is under way has no more than its blocks, which were looked into.
    world.delete(&[named("b")], world.now - Span::from_seconds(18_600), world.now);
    world.store.clean_deleted();
    let merging = |world: &World| (1..100).any(|number| world.store.is_merging(number));
    while !merging(&world) {
        assert!(world.store.maintain(world.now).unwrap().busy);
    }
    for round in 5..8 {
        world.delete(&none(round), EVER.0, EVER.1);
        while world.store.look_for_deleted() {}
    }
    assert!(merging(&world));
    world.maintain();
    world.check();
    assert_eq!(world.store.stats().deletions, 0);
    world.crash(CrashKeeps::NOTHING);
}

/// One block with `a`, and `b` after it; with the last times of both.
fn one_block() -> (World, Vec<Timestamp>) {
    let mut world = World::new(Options { block_span: Span::from_seconds(600), ..small_segments() });
    let ends: Vec<Timestamp> = [("a", 1), ("b", 2)]
        .into_iter()
        .map(|(name, node)| {
            world.connect(&live(node), vec![Some(labels(name, node))]);
            (0..30).for_each(|i| world.tick(&live(node), |_| f64::from(i)));
            world.now
        })
        .collect();
    world.sync();
    cut(&mut world);
    assert_eq!(world.store.stats().blocks, 1);
    (world, ends)
}

#[test]
fn a_damaged_posting_costs_a_deletion_time_and_nothing_else_its_samples() {
    let (world, ends) = one_block();
    let footer = &world.store.blocks.list()[0].footer;
    let path = format!("blocks/{}", world.disk.list("blocks").unwrap()[0]);
    for at in 0..footer.postings.length {
        for to in [EVER.1, ends[0] - Span::from_seconds(1)] {
            let disk = world.disk.fork();
            let mut bytes = disk.content(&path).unwrap();
            bytes[footer.postings.offset as usize + at] ^= 1;
            disk.plant(&path, bytes);
            let (mut store, _) = Store::open(disk, world.options.clone()).unwrap();
            store.delete(&[named("a")], EVER.0, to).unwrap();
            store.clean_deleted();
            while store.maintain(world.now).unwrap().busy {}
            let mut expected = world.content().clone();
            expected.get_mut(&labels("a", 1)).unwrap().retain(|time, _| *time > to.as_millis());
            expected.retain(|_, points| !points.is_empty());
            assert_same(&content_of(&store.snapshot()), &expected, (at, to));
        }
    }
}

#[test]
fn what_is_deleted_whole_is_not_read_for_names() {
    let (world, ends) = one_block();
    let block = world.store.blocks.list()[0].clone();
    for (from, to) in [EVER, (Timestamp::from_millis(block.footer.first), ends[0])] {
        let disk = world.disk.fork();
        let (mut store, _) = Store::open(disk.clone(), world.options.clone()).unwrap();
        store.delete(&[named("a")], from, to).unwrap();
        // The group of `a` cannot be read.
        let path = format!("blocks/{}", disk.list("blocks").unwrap()[0]);
        let mut bytes = disk.content(&path).unwrap();
        let groups = block.groups().unwrap();
        let group = groups.iter().find(|group| group.first == block.footer.first).unwrap();
        bytes[(group.offset + group.columns_length) as usize] ^= 1;
        disk.plant(&path, bytes);
        let (store, _) = Store::open(disk, world.options.clone()).unwrap();
        let snapshot = store.snapshot();
        for from in [Timestamp::MIN, Timestamp::from_millis(block.footer.first + 5000)] {
            assert_eq!(snapshot.series(&[], from, Timestamp::MAX), [labels("b", 2)]);
            assert_eq!(snapshot.select(&[], from, Timestamp::MAX).len(), 1);
        }
        assert_eq!(store.blocks.list()[0].fault(), None);
    }
}

#[test]
fn what_is_left_is_the_same_found_out_in_one_call_or_in_many_and_its_times_are_there_once() {
    let mut world = World::new(Options { block_span: Span::from_seconds(600), ..small_segments() });
    world.connect(&live(1), ["a", "b", "c", "d"].iter().map(|name| Some(labels(name, 1))).collect());
    let tick = |i: u8| {
        world.tick(&live(1), |_| f64::from(i));
        world.now
    };
    let times: Vec<Timestamp> = (0..30).map(tick).collect();
    world.sync();
    cut(&mut world);
    let block = Arc::clone(&world.store.blocks.list()[0]);
    let deletion = |name: &str, from: Timestamp, to: Timestamp| {
        let range = Range { from: from.as_millis(), to: to.as_millis() };
        Arc::new(Deletion { matchers: vec![Matcher::new("__name__", MatchOp::Regex, name).unwrap()], range, before: 9 })
    };
    let mut deletions: Vec<_> = times.windows(2).step_by(3).map(|pair| deletion(".+", pair[0], pair[1])).collect();
    deletions.insert(3, deletion("a", times[1], times[1]));
    let mut together = Resolved::default();
    block.resolve(deletions.iter().cloned(), &mut together).unwrap();
    let mut apart = Resolved::default();
    deletions.iter().for_each(|own| block.resolve(std::iter::once(Arc::clone(own)), &mut apart).unwrap());
    let left = block.labels_left(&together).unwrap();
    assert_eq!(left, block.labels_left(&apart).unwrap());
    let left: Vec<_> = left.into_iter().flatten().collect();
    assert!(left.len() > 2);
    for (labels, ranges) in &left {
        assert_eq!(ranges.len(), deletions.iter().filter(|own| own.selects(labels)).count());
        let (_, same) = left.iter().find(|(_, other)| other == ranges).unwrap();
        assert!(Arc::ptr_eq(same, ranges), "{labels}");
    }
    // The last deletion leaves nothing.
    block.resolve(std::iter::once(deletion("a", EVER.0, EVER.1)), &mut together).unwrap();
    let named = |left: Vec<Option<(_, _)>>| left.into_iter().flatten().count();
    assert!(named(block.labels_left(&together).unwrap()) < left.len());
}

#[test]
fn a_replay_of_many_expressions_holds_no_more_of_them_than_stood() {
    let mut world = a_before_b();
    let matchers = |round: usize, number: usize| {
        let expression = |at: usize| Matcher::new("__name__", MatchOp::Regex, format!("none {round} {number} {at}.*"));
        (0..8).map(|at| expression(at).unwrap()).collect::<Vec<_>>()
    };
    for round in 0..12 {
        let many: Vec<_> = (0..32).map(|number| matchers(round, number)).collect();
        world.delete(&many, EVER.0, EVER.1);
        world.maintain();
        assert_eq!(world.store.stats().deletions, 0);
    }
    let disk = world.disk.fork();
    disk.crash(CrashKeeps::NOTHING);
    let (store, _) = Store::open(disk, world.options.clone()).unwrap();
    let stood = weight(&store.memory.deletions.standing);
    assert!(stood <= 2 * MAX_STANDING, "{stood}");
}
