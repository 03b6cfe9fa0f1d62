//! No space, and syncs that fail.

use super::world::{World, everything, labels, live, small_segments};
use crate::disk::{CrashKeeps, Disk};
use crate::{AppendError, Options, Pending, Store, SyncError};

/// Leaves so many bytes; a quota is one that the store learns of by a write that fails half way.
fn fill(world: &World, spare: u64, quota: bool) {
    world.disk.set_capacity(None);
    let used: u64 = ["wal", ""]
        .iter()
        .flat_map(|folder| world.disk.list(folder).unwrap().into_iter().map(move |name| format!("{folder}/{name}")))
        .map(|path| world.disk.content(&path).unwrap().len() as u64)
        .sum();
    if quota { world.disk.set_quota(Some(used + spare)) } else { world.disk.set_capacity(Some(used + spare)) }
}

#[test]
fn a_full_disk_stops_acknowledgement_and_nothing_else_until_there_is_space() {
    let mut cut_back = 0;
    for (spare, quota) in [0, 1, 17, 60, 150, 300].into_iter().flat_map(|spare| [(spare, false), (spare, true)]) {
        // Long segments, so that the one that fills the disk has begun before.
        let options = Options { segment_bytes: if spare % 2 == 0 { 600 } else { 4000 }, ..small_segments() };
        let mut world = World::new(options);
        everything(&mut world, 20, World::sync);
        let before = world.store.stats().wal_bytes;
        fill(&world, spare, quota);
        let mut full = 0;
        everything(&mut world, 30, |world| match world.store.sync() {
            Err(SyncError::Full) => full += 1,
            synced => {
                synced.unwrap();
                world.acknowledge();
            }
        });
        assert!(full > 4, "spare {spare}: {full}");
        world.check_durable();
        world.check();
        let on_disk: u64 = world.disk.list("wal").unwrap().iter().map(|name| length(&world, name)).sum();
        cut_back += u64::from(quota && spare > 0 && on_disk > before && world.store.stats().wal_bytes == before);

        // Whoever crashes now finds what was acknowledged; whoever gets space has everything.
        for keeps in [CrashKeeps::NOTHING, CrashKeeps::ALL] {
            let disk = world.disk.fork();
            disk.crash(keeps);
            let (store, recovery) = Store::open(disk, small_segments()).unwrap();
            assert_eq!((recovery.refused_records, recovery.quarantined), (0, vec![]), "spare {spare}");
            world.check_recovered(&store);
        }
        world.disk.set_capacity(None);
        world.sync();
        world.check();
        assert_eq!(world.store.pending(), Pending { bytes: 0, oldest: None });
        let recovery = world.crash(CrashKeeps::NOTHING);
        assert_eq!(recovery.torn_bytes, 0, "what had been written half way is cut");
        world.check_segments_stand_alone();
        everything(&mut world, 10, World::sync);
        world.crash(CrashKeeps::NOTHING);
    }
    assert!(cut_back > 2, "some of it had been written half way: {cut_back}");
}

fn length(world: &World, name: &str) -> u64 {
    world.disk.content(&format!("wal/{name}")).unwrap().len() as u64
}

#[test]
fn space_that_returns_bit_by_bit_is_used_when_it_is_enough() {
    for quota in [false, true] {
        let mut world = World::new(small_segments());
        everything(&mut world, 20, World::sync);
        fill(&world, 0, quota);
        everything(&mut world, 12, |_| {});
        let mut tries = 0;
        for spare in (0..).step_by(50) {
            fill(&world, spare, quota);
            tries += 1;
            if world.store.sync().is_ok() {
                break;
            }
            world.check_durable();
        }
        assert!(tries > 5);
        world.acknowledge();
        world.disk.set_capacity(None);
        let recovery = world.crash(CrashKeeps::NOTHING);
        assert_eq!(recovery.torn_bytes, 0);
    }
}

#[test]
fn power_may_fail_at_every_step_of_the_way_back_from_a_full_disk() {
    for at in 0..12 {
        for keeps in [CrashKeeps::NOTHING, CrashKeeps { changes: 1, bytes: 30 }, CrashKeeps::ALL] {
            let mut world = World::new(small_segments());
            everything(&mut world, 20, World::sync);
            fill(&world, 70, true);
            everything(&mut world, 5, |_| {});
            assert_eq!(world.store.sync(), Err(SyncError::Full));
            world.disk.set_capacity(None);
            world.disk.power_off_in(at);
            if world.store.sync().is_ok() {
                world.acknowledge();
            }
            world.crash(keeps);
            everything(&mut world, 10, World::sync);
            world.crash(CrashKeeps::NOTHING);
        }
    }
}

#[test]
fn space_is_left_for_others() {
    let mut world = World::new(Options { min_free_bytes: 10_000, ..small_segments() });
    world.connect(&live(1), vec![Some(labels("up", 1))]);
    world.tick(&live(1), |_| 1.0);
    world.disk.set_capacity(Some(10_000));
    let before = world.disk.mutations();
    assert_eq!(world.store.sync(), Err(SyncError::Full));
    assert_eq!(world.disk.mutations(), before, "nothing was tried");
    world.disk.set_capacity(Some(20_000));
    world.sync();
}

#[test]
fn what_waits_for_space_is_bounded() {
    let mut world = World::new(Options { max_pending_bytes: 500, ..small_segments() });
    world.connect(&live(1), vec![Some(labels("up", 1))]);
    world.disk.set_capacity(Some(0));
    while world.store.pending().bytes < 500 {
        world.tick(&live(1), |_| 1.0);
    }
    let (position, data) = world.frame(&live(1), |_| 2.0);
    assert_eq!(world.store.append(&live(1), position, world.now, &data), Err(AppendError::Full));
    assert_eq!(world.store.append_local("x", world.now, &[(labels("x", 1), 1.0)]), Err(AppendError::Full));
    world.disk.set_capacity(None);
    world.sync();
    let later = world.now + watchfire_shared::time::Span::from_seconds(1);
    assert_eq!(world.store.append(&live(1), position, later, &data), Ok(()), "the frame can be sent again as it was");
}

#[test]
fn after_a_failed_sync_nothing_is_accepted_and_reads_go_on() {
    let mut world = World::new(small_segments());
    everything(&mut world, 9, World::sync);
    everything(&mut world, 3, |_| {});
    world.disk.fail_syncs(1);
    assert!(matches!(world.store.sync(), Err(SyncError::Failed(_))));
    assert!(matches!(world.store.sync(), Err(SyncError::Failed(_))), "though the disk would sync again");
    assert!(matches!(world.store.append_local("x", world.now, &[]), Err(AppendError::Failed(_))));
    assert!(matches!(world.store.mark_stale(&live(1)), Err(AppendError::Failed(_))));
    world.check_durable();
    world.check();
    world.crash(CrashKeeps::NOTHING);
}
