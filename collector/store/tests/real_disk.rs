//! The store on a folder of the real file system.

use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;
use watchfire_store::{Options, RealDisk, Source, State, StateChange, Store};

#[test]
fn store_and_state_share_a_folder_and_find_everything_again() {
    let folder = tempfile::tempdir().unwrap();
    let up = Labels::new([("__name__", "up"), ("job", "node")]);
    let at = Timestamp::from_millis(1_700_000_000_000);
    {
        let disk = RealDisk::open(folder.path()).unwrap();
        let (mut state, _) = State::open(disk.clone()).unwrap();
        let (mut store, recovery) = Store::open(disk, Options { min_free_bytes: 0, ..Options::default() }).unwrap();
        assert_eq!(recovery.segments, 0);
        store.append_local("members", at, &[(up.clone(), 1.0)]).unwrap();
        assert_eq!(store.durable(&Source::Local("members".to_owned())), None);
        store.sync().unwrap();
        state.commit(&[StateChange { table: "alerts", key: "a".to_owned(), value: Some(vec![1]) }]).unwrap();
    }
    let disk = RealDisk::open(folder.path()).unwrap();
    let (mut state, recovered) = State::open(disk.clone()).unwrap();
    assert_eq!(recovered.quarantined, None);
    assert_eq!(state.load("alerts").unwrap(), [("a".to_owned(), vec![1])]);
    let (store, recovery) = Store::open(disk, Options::default()).unwrap();
    assert_eq!((recovery.segments, recovery.samples, recovery.torn_bytes), (1, 1, 0));
    let selected = store.snapshot().select(&[], Timestamp::MIN, Timestamp::MAX);
    assert_eq!(selected.len(), 1);
    assert_eq!(
        (&selected[0].labels, &*selected[0].times, &selected[0].values[..]),
        (&up, &[at.as_millis()][..], &[1.0][..])
    );
    assert_eq!(store.durable(&Source::Local("members".to_owned())).map(|position| position.seq), Some(1));
}
