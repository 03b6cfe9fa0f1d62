use watchfire_shared::time::Timestamp;

use super::world::{Content, content_of, labels, small_segments};
use crate::disk::{CrashKeeps, SimDisk};
use crate::{AppendError, Options, Store};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

fn store(disk: &SimDisk, options: Options) -> Store<SimDisk> {
    Store::open(disk.clone(), options).unwrap().0
}

/// Appends rows of which each leaves some of its 20 series out, and what must be in the store for it.
fn fill(store: &mut Store<SimDisk>, rows: i64) -> Content {
    let slots = (0..20).map(|slot| (slot, labels("pushed", u64::from(slot)))).collect();
    assert_eq!(store.add_series("write/0", slots), Ok(Vec::new()));
    let mut expected = Content::new();
    for row in 0..rows {
        let is_there = |slot: &u32| row % 7 == 0 || (i64::from(*slot) + row) % 3 != 0;
        let values: Vec<(u32, f64)> =
            (0..20).filter(is_there).map(|slot| (slot, f64::from(slot) + row as f64 / 4.0)).collect();
        store.append_partial("write/0", at(row * 15), &values).unwrap();
        for (slot, value) in values {
            let series = expected.entry(labels("pushed", u64::from(slot))).or_default();
            series.insert(at(row * 15).as_millis(), value.to_bits());
        }
        if row % 11 == 0 {
            store.sync().unwrap();
        }
    }
    store.sync().unwrap();
    expected
}

#[test]
fn series_that_a_row_leaves_out_have_no_sample_then_and_are_not_stale() {
    let disk = SimDisk::new();
    let mut own = store(&disk, small_segments());
    let expected = fill(&mut own, 200);
    assert_eq!(content_of(&own.snapshot()), expected);
    drop(own);
    disk.crash(CrashKeeps::default());
    let again = store(&disk, small_segments());
    assert_eq!(content_of(&again.snapshot()), expected);
}

#[test]
fn removed_series_end_without_a_marker_and_their_slots_serve_again() {
    let disk = SimDisk::new();
    let mut own = store(&disk, Options::default());
    let mut expected = fill(&mut own, 30);
    own.remove_series("write/0", (0..19).collect()).unwrap();
    assert_eq!(
        own.append_partial("write/0", at(1000), &[(3, 1.0)]),
        Err(AppendError::SlotCount { expected: 20, found: 4 })
    );
    assert_eq!(own.add_series("write/0", vec![(3, labels("other", 1))]), Ok(Vec::new()));
    own.append_partial("write/0", at(1000), &[(3, 1.0), (19, 2.0)]).unwrap();
    own.sync().unwrap();
    expected.entry(labels("other", 1)).or_default().insert(1_000_000, 1f64.to_bits());
    expected.entry(labels("pushed", 19)).or_default().insert(1_000_000, 2f64.to_bits());
    assert_eq!(content_of(&own.snapshot()), expected);
    let slots: Vec<_> = own.slots("write/0").into_iter().map(|state| (state.slot, state.newest)).collect();
    assert_eq!(slots, [(3, Some((at(1000), 1.0))), (19, Some((at(1000), 2.0)))]);
    drop(own);
    let again = store(&disk, Options::default());
    assert_eq!(content_of(&again.snapshot()), expected);
    assert_eq!(again.slots("write/0").len(), 2);
}

#[test]
fn a_row_that_is_not_later_changes_nothing() {
    let mut own = store(&SimDisk::new(), Options::default());
    assert_eq!(own.append_partial("write/0", at(1), &[]), Err(AppendError::NeedsDictionary));
    let expected = fill(&mut own, 3);
    let refused = own.append_partial("write/0", at(30), &[(0, 9.0)]);
    assert_eq!(refused, Err(AppendError::NotAfter { at: at(30), last: at(30) }));
    assert_eq!((content_of(&own.snapshot()), own.pending().bytes), (expected, 0));
}
