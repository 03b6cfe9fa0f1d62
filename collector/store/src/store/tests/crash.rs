//! Crashes at every place: what was acknowledged is there, and nothing else but what was appended.

use super::world::{World, everything, small_segments};
use crate::disk::{CrashKeeps, SimDisk};
use crate::{Store, SyncError};

const STEPS: usize = 36;

#[test]
fn a_restart_finds_everything_that_was_synced() {
    let mut world = World::new(small_segments());
    everything(&mut world, STEPS, World::sync);
    assert!(world.store.stats().segments > 3, "{:?}", world.store.stats());
    world.check();
    let recovery = world.crash(CrashKeeps::NOTHING);
    assert_eq!(recovery.torn_bytes, 0);
    assert!(recovery.samples > STEPS as u64 && recovery.segments > 3, "{recovery:?}");
    everything(&mut world, STEPS, World::sync);
    world.check();
    world.crash(CrashKeeps::NOTHING);
    world.check_segments_stand_alone();
}

#[test]
fn power_may_fail_at_every_write_and_sync() {
    let mut whole = World::new(small_segments());
    let before = whole.disk.mutations();
    everything(&mut whole, STEPS, World::sync);
    let mutations = whole.disk.mutations() - before;
    assert!(mutations > 30, "{mutations}");
    for at in 0..mutations {
        for keeps in [CrashKeeps::NOTHING, CrashKeeps { changes: 1, bytes: 11 }, CrashKeeps { changes: 2, bytes: 200 }]
        {
            let mut world = World::new(small_segments());
            world.disk.power_off_in(at);
            let mut failed = false;
            everything(&mut world, STEPS, |world| {
                // After the first failure nothing is appended any more, so the world starts again below.
                if !failed && world.store.sync().is_ok() {
                    world.acknowledge();
                } else if !failed {
                    failed = true;
                    world.check_durable();
                    world.crash(keeps);
                    world.disk.power_off_in(u64::MAX);
                } else {
                    world.sync();
                }
            });
            assert!(failed, "the power failed at {at}");
            world.sync();
            world.check();
            world.crash(CrashKeeps::NOTHING);
        }
    }
}

#[test]
fn a_crash_while_recovering_from_a_crash_loses_nothing() {
    let mut world = World::new(small_segments());
    everything(&mut world, 20, World::sync);
    everything(&mut world, 5, |_| {});
    world.disk.fail_syncs(1);
    assert!(matches!(world.store.sync(), Err(SyncError::Failed(_))));
    for at in 0..20 {
        let disk = world.disk.fork();
        disk.crash(CrashKeeps { changes: 1, bytes: 40 });
        disk.power_off_in(at);
        let opened = Store::<SimDisk>::open(disk.clone(), small_segments()).is_ok();
        world.disk = disk;
        world.crash(CrashKeeps { changes: usize::MAX, bytes: 0 });
        assert!(at < 6 || opened, "recovering takes a few changes only");
    }
}
