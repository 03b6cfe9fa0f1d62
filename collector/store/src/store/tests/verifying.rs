//! What the offline check finds, and that it changes nothing.

use super::world::{World, everything, small_blocks};
use crate::disk::{CrashKeeps, Disk, SimDisk};
use crate::{State, StateChange, Store, verify};

fn files(disk: &SimDisk) -> Vec<String> {
    let names = |folder: &'static str, prefix: &'static str| {
        disk.list(folder).unwrap().into_iter().map(move |name| format!("{prefix}{name}"))
    };
    names("wal", "wal/").chain(names("blocks", "blocks/")).chain(names("", "")).collect()
}

fn world() -> World {
    let mut world = World::new(small_blocks());
    everything(&mut world, 40, |world| {
        world.sync();
        world.now += watchfire_shared::time::Span::from_seconds(60);
        world.maintain();
    });
    let (mut state, _) = State::open(world.disk.clone()).unwrap();
    state.commit(&[StateChange { table: "alerts", key: "a".to_owned(), value: Some(vec![1; 100]) }]).unwrap();
    drop(state);
    world
}

#[test]
fn a_good_store_has_no_faults() {
    let world = world();
    let found = verify(&world.disk).unwrap();
    assert_eq!((found.faults.as_slice(), found.set_aside.as_slice()), (&[][..], &[][..]));
    assert_eq!(found.files, files(&world.disk).len());
    assert!(found.records > 5 && found.samples > 50, "{found:?}");
    assert_eq!(verify(&SimDisk::new()).unwrap(), crate::Verification::default());
}

#[test]
fn a_flipped_bit_is_told_by_file_and_offset_and_left_alone() {
    let world = world();
    for path in files(&world.disk).iter().filter(|path| *path != "state.redb") {
        let bytes = world.disk.content(path).unwrap();
        for at in (0..bytes.len()).step_by(7).chain([bytes.len() - 1]) {
            let disk = world.disk.fork();
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            disk.plant(path, damaged.clone());
            let before = disk.mutations();
            let found = verify(&disk).unwrap();
            assert!(!found.faults.is_empty(), "byte {at} of {path}");
            for fault in &found.faults {
                assert_eq!(&fault.path, path, "byte {at}: {fault:?}");
                assert!(fault.offset <= bytes.len() as u64, "byte {at} of {path}: {fault:?}");
            }
            assert_eq!((disk.mutations(), disk.content(path)), (before, Some(damaged)));
        }
    }
}

#[test]
fn a_state_that_is_damaged_is_told_and_what_was_set_aside_is_named() {
    let world = world();
    let bytes = world.disk.content("state.redb").unwrap();
    world.disk.plant("state.redb", vec![7; bytes.len()]);
    let found = verify(&world.disk).unwrap();
    assert_eq!(found.faults.iter().map(|fault| fault.path.as_str()).collect::<Vec<_>>(), ["state.redb"]);
    let path = files(&world.disk).into_iter().find(|path| path.ends_with(".block")).unwrap();
    world.disk.plant(&path, vec![1, 2, 3]);
    world.disk.crash(CrashKeeps::NOTHING);
    drop(Store::open(world.disk.clone(), small_blocks()).unwrap());
    let found = verify(&world.disk).unwrap();
    assert_eq!((found.faults.len(), found.set_aside), (1, vec![format!("{path}.damaged")]));
}
