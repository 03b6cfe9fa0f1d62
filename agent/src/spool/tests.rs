//! The spool's files: written by a core that has nobody to send to, damaged, filled up, and taken up again.

use watchfire_agent_core::agent::{AgentCore, Effect, Settings, Start};
use watchfire_agent_core::sink::Round;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::{Span, Timestamp};

use super::*;

fn core(found: Found, effects: &mut Vec<Effect>) -> AgentCore {
    let settings = Settings {
        cluster: "c".to_owned(),
        name: "n".to_owned(),
        labels: BTreeMap::new(),
        interval: Span::from_seconds(1),
        collectors: Vec::new(),
        spool_bytes: 64 << 20,
        gossips: true,
    };
    let (boot, life) = (String::new(), None);
    let start = Start { node: NodeId(1), epoch: 5, seed: 1, version: "0", boot, life, settings };
    AgentCore::new(Timestamp::from_millis(1000), start, found, effects)
}

/// Orders that a core without collectors gives over so many ticks.
fn orders(found: Found, ticks: u32) -> Vec<SpoolEffect> {
    let mut effects = Vec::new();
    let mut core = core(found, &mut effects);
    for _ in 0..ticks {
        let mut asked = Vec::new();
        let now = core.deadline().unwrap();
        core.handle(now, Input::Wake, &mut asked);
        for effect in &asked {
            if let Effect::Collect { tick, .. } = effect {
                let round = Round { tick: *tick, values: vec![tick.as_millis() as f64; 3], ..Round::default() };
                core.handle(now, Input::Collected(round), &mut effects);
            }
        }
        effects.append(&mut asked);
    }
    let spool = |effect| if let Effect::Spool(effect) = effect { Some(effect) } else { None };
    effects.into_iter().filter_map(spool).filter(|effect| !matches!(effect, SpoolEffect::Sync)).collect()
}

fn perform(disk: &mut SpoolDisk, effects: impl IntoIterator<Item = SpoolEffect>) -> Vec<Input> {
    let mut answers = Vec::new();
    for effect in effects {
        disk.perform(effect, |input| answers.push(input));
    }
    answers
}

fn only_segment(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder.join("spool")).unwrap().flatten().map(|entry| entry.path());
    let mut segments: Vec<PathBuf> = files.filter(|path| segment_of(path).is_some()).collect();
    assert_eq!(segments.len(), 1);
    segments.remove(0)
}

#[test]
fn a_file_torn_at_every_byte_is_cut_to_whole_records_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, found) = SpoolDisk::open(folder.path()).unwrap();
    assert_eq!(perform(&mut disk, orders(found, 6)), []);
    perform(&mut disk, [SpoolEffect::Sync]);
    let path = only_segment(folder.path());
    let whole = fs::read(&path).unwrap();
    let mut lengths = std::collections::BTreeSet::new();
    for cut in 0..=whole.len() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("spool")).unwrap();
        let torn = folder.path().join("spool").join(path.file_name().unwrap());
        fs::write(&torn, &whole[..cut]).unwrap();
        let (mut disk, found) = SpoolDisk::open(folder.path()).unwrap();
        let valid = fs::metadata(&torn).unwrap().len();
        assert_eq!(valid, found.segments[0].scan.valid_bytes);
        lengths.insert(valid);
        assert_eq!(perform(&mut disk, orders(found, 2)), [], "cut at {cut}");
        let (_, again) = SpoolDisk::open(folder.path()).unwrap();
        assert!(again.segments.iter().all(|segment| segment.scan.last_seq.is_some()), "cut at {cut}");
    }
    // Nothing, the header, the dictionary, and then each of the six ticks.
    assert!(lengths.len() >= 8 && lengths.contains(&(whole.len() as u64)), "{lengths:?}");
}

#[test]
fn what_the_disk_does_not_take_waits_in_memory_and_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, found) = SpoolDisk::open(folder.path()).unwrap();
    let mut orders = orders(found, 4);
    let late = orders.split_off(2);
    // A folder that is gone refuses every file, also to root.
    fs::remove_dir_all(folder.path().join("spool")).unwrap();
    let answers = perform(&mut disk, orders);
    assert!(answers.iter().all(|input| matches!(input, Input::SpoolFailed { .. })) && answers.len() == 2);
    let read = SpoolEffect::Read { connection: 1, segment: 1, offset: 8, length: 4 };
    let expected = Input::SpoolRead { connection: 1, segment: 1, offset: 8, bytes: Some(b"\0WFS".to_vec()) };
    assert_eq!(perform(&mut disk, vec![read.clone()]), std::slice::from_ref(&expected));

    fs::create_dir(folder.path().join("spool")).unwrap();
    assert_eq!(perform(&mut disk, late), [Input::SpoolRecovered]);
    assert_eq!(perform(&mut disk, [read]), [expected]);
    let (_, found) = SpoolDisk::open(folder.path()).unwrap();
    assert_eq!((found.segments[0].scan.first_seq, found.segments[0].scan.last_seq), (Some(1), Some(4)));
}

#[test]
fn reads_span_what_is_on_disk_and_what_waits() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, _) = SpoolDisk::open(folder.path()).unwrap();
    perform(&mut disk, [SpoolEffect::Append { segment: 1, bytes: b"0123".to_vec() }]);
    disk.segments.get_mut(&1).unwrap().pending = b"4567".to_vec();
    for (offset, length, expected) in [(0, 8, "01234567"), (2, 4, "2345"), (5, 9, "567"), (1, 2, "12"), (8, 1, "")] {
        assert_eq!(disk.read(1, offset, length).unwrap(), expected.as_bytes());
    }
    assert!(disk.read(2, 0, 1).is_err());
}

#[test]
fn state_and_deletions_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut disk, _) = SpoolDisk::open(folder.path()).unwrap();
    let effects = [
        SpoolEffect::Append { segment: 1, bytes: vec![1] },
        SpoolEffect::Append { segment: 2, bytes: vec![2] },
        SpoolEffect::Save { bytes: vec![3] },
        SpoolEffect::Delete { segment: 1 },
        SpoolEffect::Delete { segment: 9 },
        SpoolEffect::Sync,
    ];
    assert_eq!(perform(&mut disk, effects), []);
    let (_, found) = SpoolDisk::open(folder.path()).unwrap();
    assert_eq!((found.segments.len(), found.segments[0].segment, found.state), (1, 2, Some(vec![3])));
}
