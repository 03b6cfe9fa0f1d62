use super::*;
use crate::disk::{CrashKeeps, SimDisk};

fn put(table: &'static str, key: &str, value: &str) -> StateChange {
    StateChange { table, key: key.to_owned(), value: Some(value.as_bytes().to_vec()) }
}

fn texts(state: &mut State, table: &str) -> Vec<(String, String)> {
    let entries = state.load(table).unwrap().into_iter();
    entries.map(|(key, value)| (key, String::from_utf8(value).unwrap())).collect()
}

fn open(disk: &SimDisk) -> State {
    let (state, recovery) = State::open(disk.clone()).unwrap();
    assert_eq!(recovery, StateRecovery::default());
    state
}

#[test]
fn what_was_committed_is_there_after_a_crash() {
    let disk = SimDisk::new();
    let mut state = open(&disk);
    assert_eq!(state.load("alerts").unwrap(), []);
    state.commit(&[put("alerts", "b", "2"), put("alerts", "a", "1"), put("silences", "s", "")]).unwrap();
    let removal = StateChange { table: "alerts", key: "b".to_owned(), value: None };
    state.commit(&[removal, put("alerts", "c", "3")]).unwrap();
    disk.crash(CrashKeeps::NOTHING);
    let mut state = open(&disk);
    assert_eq!(texts(&mut state, "alerts"), [("a".to_owned(), "1".to_owned()), ("c".to_owned(), "3".to_owned())]);
    assert_eq!(texts(&mut state, "silences"), [("s".to_owned(), String::new())]);
    assert_eq!(disk.list("").unwrap(), [FILE]);
}

#[test]
fn a_crash_anywhere_leaves_whole_transactions() {
    for at in 0..80 {
        for keeps in [CrashKeeps::NOTHING, CrashKeeps { changes: 1, bytes: 100 }, CrashKeeps::ALL] {
            let disk = SimDisk::new();
            disk.power_off_in(at);
            let mut committed = 0;
            if let Ok((mut state, _)) = State::open(disk.clone()) {
                while committed < 5 {
                    let text = (committed + 1).to_string();
                    if state.commit(&[put("a", "x", &text), put("b", "x", &text)]).is_err() {
                        break;
                    }
                    committed += 1;
                }
            }
            disk.crash(keeps);
            let mut state = open(&disk);
            let (a, b) = (texts(&mut state, "a"), texts(&mut state, "b"));
            assert_eq!(a, b, "all of a transaction or nothing, power off at {at}");
            let found: usize = a.first().map_or(0, |(_, value)| value.parse().unwrap());
            assert!(found == committed || found == committed + 1, "power off at {at}: {found} of {committed}");
        }
    }
}

#[test]
fn a_damaged_file_is_set_aside_and_a_fresh_one_begun() {
    let disk = SimDisk::new();
    let mut state = open(&disk);
    state.commit(&(0..200).map(|i| put("alerts", &i.to_string(), "value")).collect::<Vec<_>>()).unwrap();
    let whole = texts(&mut state, "alerts");
    drop(state);
    let bytes = disk.content(FILE).unwrap();
    let used: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let mut quarantined = 0;
    for at in used.iter().copied().step_by(used.len() / 150).chain(0..64) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        let disk = SimDisk::new();
        disk.plant(FILE, damaged);
        let (mut state, recovery) = State::open(disk.clone()).unwrap();
        let found = texts(&mut state, "alerts");
        match recovery.quarantined {
            Some(aside) => {
                quarantined += 1;
                assert_eq!((aside.kept_as.as_str(), found.len()), ("state.redb.damaged", 0), "byte {at}");
                assert!(disk.content(&aside.kept_as).is_some());
            }
            None => assert_eq!(found, whole, "byte {at} did not matter"),
        }
        state.commit(&[put("alerts", "new", "1")]).unwrap();
        drop(state);
        assert_eq!(texts(&mut open(&disk), "alerts").len(), found.len() + 1, "byte {at}");
    }
    assert!(quarantined > 20, "{quarantined}");
    let disk = SimDisk::new();
    disk.plant(FILE, Vec::new());
    disk.plant("state.redb.damaged", vec![1]);
    let (_, recovery) = State::open(disk).unwrap();
    assert_eq!(recovery.quarantined.unwrap().kept_as, "state.redb.damaged.2");
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let disk = SimDisk::new();
    let mut state = open(&disk);
    state.commit(&[put("a", "x", "1")]).unwrap();
    let size = disk.content(FILE).unwrap().len() as u64;
    disk.set_capacity(Some(size + 4096));
    let large = StateChange { table: "a", key: "large".to_owned(), value: Some(vec![7; 4 << 20]) };
    assert_eq!(state.commit(std::slice::from_ref(&large)), Err(StateError::Full));
    assert_eq!(texts(&mut state, "a"), [("x".to_owned(), "1".to_owned())]);
    disk.set_capacity(None);
    state.commit(&[large]).unwrap();
    assert_eq!(state.load("a").unwrap().len(), 2);
}

#[test]
fn a_failed_commit_is_tried_again() {
    let disk = SimDisk::new();
    let mut state = open(&disk);
    disk.fail_syncs(1);
    assert!(matches!(state.commit(&[put("a", "x", "1")]), Err(StateError::Failed(_))));
    state.commit(&[put("a", "x", "2")]).unwrap();
    disk.crash(CrashKeeps::NOTHING);
    assert_eq!(texts(&mut open(&disk), "a"), [("x".to_owned(), "2".to_owned())]);
}

#[test]
fn a_newer_format_is_refused_and_left_alone() {
    let disk = SimDisk::new();
    let state = open(&disk);
    let transaction = state.database.as_ref().unwrap().begin_write().unwrap();
    transaction.open_table(FORMAT_TABLE).unwrap().insert("version", 2).unwrap();
    transaction.commit().unwrap();
    drop(state);
    let before = disk.list("").unwrap();
    assert_eq!(State::open(disk.clone()).err(), Some(StateError::NewerFormat { found: 2, known: 1 }));
    assert_eq!(disk.list("").unwrap(), before);
}
