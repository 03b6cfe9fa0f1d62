use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use watchfire_shared::labels::Labels;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{Options, State, StateChange, Store};

use super::*;

const START: i64 = 1_700_000_000_000;

/// A collector's files, written to as fast as it goes until it is dropped.
struct Writer {
    stop: Arc<AtomicBool>,
    /// Rows that are durable.
    durable: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Small segments and blocks, so that both come and go while they are copied.
fn options() -> Options {
    Options { segment_bytes: 4096, block_span: Span::from_seconds(60), min_free_bytes: 0, ..Options::default() }
}

impl Writer {
    fn start(data_dir: &Path) -> Self {
        let disk = RealDisk::open(data_dir.join(STORE_FOLDER)).unwrap();
        let (mut store, _) = Store::open(disk.clone(), options()).unwrap();
        let (mut state, _) = State::open(disk).unwrap();
        let (stop, durable) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, written) = (Arc::clone(&stop), Arc::clone(&durable));
        let thread = std::thread::spawn(move || {
            for row in 1.. {
                if stopped.load(Ordering::SeqCst) {
                    return;
                }
                let at = Timestamp::from_millis(START + row * 1000);
                let samples: Vec<(Labels, f64)> = (0..20)
                    .map(|i| (Labels::new([("__name__", "m".to_owned()), ("i", i.to_string())]), (row + i) as f64))
                    .collect();
                store.append_local("l", at, &samples).unwrap();
                let value = Some(vec![row as u8; 3000]);
                state.commit(&[StateChange { table: "t", key: (row % 50).to_string(), value }]).unwrap();
                store.sync().unwrap();
                store.maintain(at).unwrap();
                written.store(row as u64, Ordering::SeqCst);
            }
        });
        Self { stop, durable, thread: Some(thread) }
    }

    fn wait_for(&self, rows: u64) -> u64 {
        while self.durable.load(Ordering::SeqCst) < rows {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        self.durable.load(Ordering::SeqCst)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// The rows that a store has, each complete.
fn rows(data_dir: &Path) -> u64 {
    let (store, recovery) = Store::open(RealDisk::open(data_dir.join(STORE_FOLDER)).unwrap(), options()).unwrap();
    assert_eq!((recovery.quarantined, recovery.torn_bytes, recovery.refused_records), (Vec::new(), 0, 0));
    let series = store.snapshot().select(&[], Timestamp::MIN, Timestamp::MAX);
    assert_eq!(series.len(), 20);
    for series in &series {
        let i: i64 = series.labels.value("i").parse().unwrap();
        let expected: Vec<f64> = (1..=series.values.len() as i64).map(|row| (row + i) as f64).collect();
        assert_eq!(series.values, expected);
    }
    series[0].values.len() as u64
}

#[test]
fn a_backup_of_a_busy_store_has_every_row_that_was_durable_when_it_began() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("data");
    fs::create_dir(&data_dir).unwrap();
    fs::write(data_dir.join("node-id"), "7").unwrap();
    fs::write(data_dir.join("lock"), "1").unwrap();
    let writer = Writer::start(&data_dir);
    for round in 1..=5u64 {
        let durable = writer.wait_for(round * 150);
        let to = folder.path().join(format!("backup-{round}"));
        let found = copy(&data_dir, &to).unwrap();
        assert!(found.records + found.samples > 0);
        let restored = folder.path().join(format!("restored-{round}"));
        put_back(&to, &restored).unwrap();
        let rows = rows(&restored);
        assert!(rows >= durable, "{rows} of {durable} rows");
        assert_eq!(fs::read_to_string(restored.join("node-id")).unwrap(), "7");
        assert!(!restored.join("lock").exists());
        assert_eq!(names(folder.path(), |_| true).unwrap(), Vec::<String>::new());
    }
}

#[test]
fn nothing_is_overwritten_and_nothing_unsound_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("backup"));
    let message = copy(&data_dir, &to).unwrap_err().to_string();
    assert_eq!(message, format!("{}: there is no store here", data_dir.join("store").display()));
    let writer = Writer::start(&data_dir);
    writer.wait_for(10);
    drop(writer);
    fs::create_dir(&to).unwrap();
    copy(&data_dir, &to).unwrap();
    let full = |folder: &Path| format!("{} is not empty: nothing was copied into it", folder.display());
    assert_eq!(copy(&data_dir, &to).unwrap_err().to_string(), full(&to));
    assert_eq!(put_back(&to, &data_dir).unwrap_err().to_string(), full(&data_dir));

    let segment = to.join("store/wal").join(names(&to.join("store/wal"), |_| true).unwrap().remove(0));
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let restored = folder.path().join("restored");
    let message = put_back(&to, &restored).unwrap_err().to_string();
    assert!(message.starts_with(&segment.display().to_string()), "{message}");
    assert!(!restored.exists());
}

#[test]
fn a_file_that_is_missing_or_another_is_named_and_nothing_is_put_back() {
    let folder = tempfile::tempdir().unwrap();
    let (data_dir, to) = (folder.path().join("data"), folder.path().join("backup"));
    let writer = Writer::start(&data_dir);
    writer.wait_for(300);
    drop(writer);
    fs::write(data_dir.join("node-id"), "7").unwrap();
    copy(&data_dir, &to).unwrap();
    let blocks = to.join("store/blocks");
    let block = blocks.join(names(&blocks, |_| true).unwrap().remove(0));
    for (path, other, told) in [
        (&block, None, "it is missing"),
        (&to.join("store/state.redb"), None, "it is missing"),
        (&to.join("node-id"), Some("8"), "it is not what was copied"),
    ] {
        let before = fs::read(path).unwrap();
        match other {
            Some(other) => fs::write(path, other).unwrap(),
            None => fs::remove_file(path).unwrap(),
        }
        let restored = folder.path().join("restored");
        let message = put_back(&to, &restored).unwrap_err().to_string();
        assert_eq!(message, format!("{}: {told}", path.display()));
        assert!(!restored.exists());
        fs::write(path, before).unwrap();
    }
    // One of an earlier build has no list.
    fs::remove_file(to.join(sums::FILE)).unwrap();
    let restored = folder.path().join("restored");
    put_back(&to, &restored).unwrap();
    assert!(!restored.join(sums::FILE).exists());
}
