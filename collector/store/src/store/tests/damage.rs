//! Torn tails at every byte and flipped bits in every byte.

use watchfire_shared::time::{Span, Timestamp};

use super::world::{World, content_of, everything, labels, live, small_segments, values_of};
use crate::disk::{Disk, SimDisk};
use crate::wal::{FOLDER, segment};
use crate::{Options, Quarantined, Store, StoreError};

fn segments(disk: &SimDisk) -> Vec<String> {
    let names = disk.list(FOLDER).unwrap();
    names.into_iter().filter(|name| name.ends_with(".wal")).map(|name| format!("{FOLDER}/{name}")).collect()
}

fn open(disk: &SimDisk) -> (Store<SimDisk>, crate::Recovery) {
    Store::open(disk.fork(), small_segments()).unwrap()
}

#[test]
fn a_tail_torn_at_any_byte_costs_only_what_was_torn() {
    let mut world = World::new(Options { segment_bytes: 1 << 20, ..small_segments() });
    let mut lengths = vec![(0, 0, content_of(&world.store.snapshot()))];
    let path = segment::path(1);
    everything(&mut world, 30, |world| {
        world.sync();
        lengths.push((world.disk.content(&path).unwrap().len(), 0, world.content().clone()));
    });
    let whole = world.disk.content(&path).unwrap();
    for length in 0..=whole.len() {
        let disk = SimDisk::new();
        disk.plant(&path, whole[..length].to_vec());
        let (mut store, recovery) = Store::open(disk.clone(), small_segments()).unwrap();
        assert_eq!((recovery.segments, recovery.refused_records), (1, 0));
        assert_eq!(recovery.quarantined, [], "cut at {length}");
        let acknowledged = lengths.iter().rev().find(|(end, ..)| *end <= length).unwrap();
        let (found, least) = (content_of(&store.snapshot()), values_of(&acknowledged.2));
        assert!(values_of(&found).is_superset(&least), "cut at {length}");
        assert!(values_of(world.content()).is_superset(&values_of(&found)), "cut at {length}");
        if acknowledged.0 == length {
            assert_eq!((&found, recovery.torn_bytes), (&acknowledged.2, 0), "cut at {length}");
        }
        // It goes on in a new segment, and another start finds both.
        store.append_local("after", world.now, &[(labels("after", 0), 1.0)]).unwrap();
        store.sync().unwrap();
        let (again, second) = open(&disk);
        assert_eq!((second.torn_bytes, second.quarantined), (0, vec![]), "cut at {length}");
        assert_eq!(content_of(&again.snapshot()).len(), found.len() + 1);
    }
}

#[test]
fn a_flipped_bit_anywhere_is_reported_and_nothing_is_invented() {
    let mut world = World::new(small_segments());
    everything(&mut world, 40, World::sync);
    world.sync();
    let (paths, whole) = (segments(&world.disk), values_of(world.content()));
    assert!(paths.len() > 3, "{paths:?}");
    for path in &paths {
        let bytes = world.disk.content(path).unwrap();
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let disk = world.disk.fork();
            disk.plant(path, damaged);
            let (store, recovery) = Store::open(disk.clone(), small_segments()).unwrap();
            let reported = recovery.torn_bytes > 0 || !recovery.quarantined.is_empty();
            assert!(reported, "byte {at} of {path}: {recovery:?}");
            let found = values_of(&content_of(&store.snapshot()));
            assert!(whole.is_superset(&found), "byte {at} of {path}");
            if let [quarantined] = recovery.quarantined.as_slice() {
                assert_eq!(&quarantined.path, path);
                assert!(disk.content(&quarantined.kept_as).is_some(), "{quarantined:?}");
                for (_, at, _) in whole.difference(&found) {
                    let at = Timestamp::from_millis(*at);
                    assert!(quarantined.from <= at && at <= quarantined.to, "byte {at} of {path}: {quarantined:?}");
                    let told = store.snapshot().missing(at, at);
                    assert!(matches!(&told[..], [told] if told.contains(path)), "{told:?}");
                }
                let behind = quarantined.to + Span::from_seconds(1);
                assert!(quarantined.to == Timestamp::MAX || store.snapshot().missing(behind, behind).is_empty());
            }
            // The intact part stays, and the damage is reported once.
            let (again, second) = open(&disk);
            assert_eq!((second.torn_bytes, &second.quarantined), (0, &vec![]), "byte {at} of {path}");
            let told = |kept: &Quarantined| (kept.kept_as.clone(), kept.from, kept.to, kept.lost_samples);
            let before: Vec<_> = store.damaged().iter().map(told).collect();
            assert_eq!(again.damaged().iter().map(told).collect::<Vec<_>>(), before, "byte {at} of {path}");
            assert_eq!(values_of(&content_of(&again.snapshot())), found, "byte {at} of {path}");
        }
    }
}

#[test]
fn damage_before_good_records_is_no_torn_tail() {
    let mut world = World::new(Options { segment_bytes: 1 << 20, ..small_segments() });
    everything(&mut world, 20, World::sync);
    let path = segment::path(1);
    let mut bytes = world.disk.content(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    world.disk.plant(&path, bytes.clone());
    let (_, recovery) = Store::open(world.disk.clone(), small_segments()).unwrap();
    let [quarantined] = recovery.quarantined.as_slice() else { panic!("{recovery:?}") };
    assert_eq!((recovery.torn_bytes, quarantined.kept_as.as_str()), (0, "wal/00000001.wal.damaged"));
    assert_eq!(world.disk.content(&quarantined.kept_as), Some(bytes), "all of it is kept for inspection");
    assert!(recovery.records > 5 && quarantined.lost_bytes > 0, "{recovery:?}");
}

#[test]
fn a_missing_segment_costs_only_itself() {
    let mut world = World::new(small_segments());
    everything(&mut world, 50, World::sync);
    let whole = values_of(world.content());
    for path in segments(&world.disk) {
        let disk = world.disk.fork();
        disk.remove(&path).unwrap();
        let (store, recovery) = open(&disk);
        let found = values_of(&content_of(&store.snapshot()));
        assert!(whole.is_superset(&found) && found.len() + 40 > whole.len(), "{path}");
        assert_eq!(recovery.refused_records, 0, "{path}");
    }
}

#[test]
fn a_newer_format_is_refused_by_name_and_left_alone() {
    let mut world = World::new(small_segments());
    world.connect(&live(1), vec![Some(labels("up", 1))]);
    world.tick(&live(1), |_| 1.0);
    world.sync();
    let path = segment::path(1);
    let mut bytes = world.disk.content(&path).unwrap();
    bytes[8] = 2;
    let checksum = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    world.disk.plant(&path, bytes.clone());
    let error = Store::open(world.disk.clone(), small_segments()).err().unwrap();
    assert!(matches!(&error, StoreError::NewerFormat { found: 2, known: 1, .. }), "{error}");
    assert!(error.to_string().contains("wal/00000001.wal has format version 2"), "{error}");
    assert_eq!(world.disk.content(&path), Some(bytes));
}

#[test]
fn a_disk_that_cannot_be_used_is_an_error() {
    let disk = SimDisk::new();
    disk.power_off_in(0);
    assert!(matches!(Store::open(disk, small_segments()), Err(StoreError::Io { .. })));
}
