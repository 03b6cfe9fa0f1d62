//! Stores of every format that was ever written open for ever.

use super::world::content_of;
use crate::disk::SimDisk;
use crate::{Options, Store, verify};

/// The files of a store of format 1: blocks with every kind of chunk, and a log with every kind of record.
const FORMAT_1: &[(&str, &[u8])] = &[
    ("blocks/00000007.block", include_bytes!("../../../testdata/format-1/blocks/00000007.block")),
    ("blocks/00000008.block", include_bytes!("../../../testdata/format-1/blocks/00000008.block")),
    ("wal/00000013.wal", include_bytes!("../../../testdata/format-1/wal/00000013.wal")),
    ("wal/00000014.wal", include_bytes!("../../../testdata/format-1/wal/00000014.wal")),
];
/// Its content: labels, time in milliseconds, bits of the value.
const FORMAT_1_CONTENT: &str = include_str!("../../../testdata/format-1/content.txt");

/// The files of a store with deletions that stand, that came before rows, and that came after.
const DELETIONS: &[(&str, &[u8])] = &[
    ("blocks/00000001.block", include_bytes!("../../../testdata/deletions/blocks/00000001.block")),
    ("blocks/00000002.block", include_bytes!("../../../testdata/deletions/blocks/00000002.block")),
    ("blocks/00000003.block", include_bytes!("../../../testdata/deletions/blocks/00000003.block")),
    ("blocks/00000004.block", include_bytes!("../../../testdata/deletions/blocks/00000004.block")),
    ("wal/00000005.wal", include_bytes!("../../../testdata/deletions/wal/00000005.wal")),
];
const DELETIONS_CONTENT: &str = include_str!("../../../testdata/deletions/content.txt");

fn check(files: &[(&str, &[u8])], content: &str) {
    let disk = SimDisk::new();
    files.iter().for_each(|(path, bytes)| disk.plant(path, bytes.to_vec()));
    assert_eq!(verify(&disk).unwrap().faults, []);
    let (store, recovery) = Store::open(disk, Options::default()).unwrap();
    assert_eq!((recovery.quarantined, recovery.refused_records, recovery.torn_bytes), (vec![], 0, 0));
    assert!(recovery.blocks > 0 && recovery.samples > 0);
    let mut found = String::new();
    for (labels, points) in content_of(&store.snapshot()) {
        for (at, bits) in points {
            found.push_str(&format!("{labels} {at} {bits:016x}\n"));
        }
    }
    assert!(found == content, "the content is not what was written");
}

#[test]
fn a_store_of_format_1_opens_with_all_its_content() {
    check(FORMAT_1, FORMAT_1_CONTENT);
}

#[test]
fn a_store_with_deletions_opens_without_what_was_deleted() {
    check(DELETIONS, DELETIONS_CONTENT);
}
