//! The log on its own: torn tails, the cap, cursors, and what a restart finds.

use std::collections::BTreeMap;

use watchfire_shared::frame::message::SeriesEntry;
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::MetricKind;

use super::reader::{LogReader, Next};
use super::*;
use crate::dictionary::Dictionary;

const COLLECTOR: NodeId = NodeId(7);

/// Files in memory that perform the spool's effects.
#[derive(Default)]
struct Disk {
    segments: BTreeMap<u64, Vec<u8>>,
    state: Option<Vec<u8>>,
    reads: Vec<SpoolEffect>,
}

impl Disk {
    fn perform(&mut self, effects: Vec<SpoolEffect>) {
        for effect in effects {
            match effect {
                SpoolEffect::Append { segment, bytes } => self.segments.entry(segment).or_default().extend(bytes),
                SpoolEffect::Delete { segment } => drop(self.segments.remove(&segment)),
                SpoolEffect::Save { bytes } => self.state = Some(bytes),
                SpoolEffect::Sync => {}
                read @ SpoolEffect::Read { .. } => self.reads.push(read),
            }
        }
    }

    fn found(&self) -> Found {
        let scan =
            |(segment, bytes): (&u64, &Vec<u8>)| FoundSegment { segment: *segment, scan: SegmentScan::of(bytes) };
        Found { segments: self.segments.iter().map(scan).collect(), state: self.state.clone() }
    }

    /// Everything from `from` on, as (sequence, time, values).
    fn read_all(&mut self, spool: &Spool, from: u64) -> Vec<(u64, i64, Vec<f64>)> {
        let mut reader = LogReader::new(1, from);
        let mut seen = Vec::new();
        loop {
            let mut effects = Vec::new();
            match reader.peek(spool, &mut effects) {
                Next::Tick(tick) => {
                    let values = reader.values().unwrap();
                    seen.push((tick.seq, values.at.as_millis(), values.values.to_vec()));
                    reader.advance();
                }
                Next::Wait => {
                    let Some(SpoolEffect::Read { segment, offset, length, .. }) = effects.pop() else {
                        panic!("no read")
                    };
                    let bytes = self.segments.get(&segment).and_then(|bytes| bytes.get(offset as usize..));
                    let bytes = bytes.map(|bytes| bytes[..length.min(bytes.len())].to_vec());
                    reader.give(spool, segment, offset, bytes);
                }
                Next::End => return seen,
            }
        }
    }
}

fn dictionary(slots: u32) -> Dictionary {
    let mut dictionary = Dictionary::default();
    let entry = |slot: u32| SeriesEntry {
        slot,
        labels: Labels::new([("__name__", format!("metric_{slot}"))]),
        kind: MetricKind::Gauge,
    };
    dictionary.change(&[], &(0..slots).map(entry).collect::<Vec<_>>());
    dictionary
}

fn open(disk: &mut Disk, cap: u64, epoch: u64) -> Spool {
    let mut effects = Vec::new();
    let spool = Spool::open(disk.found(), cap, epoch, &mut effects);
    disk.perform(effects);
    spool
}

fn append(spool: &mut Spool, disk: &mut Disk, dictionary: &Dictionary, seqs: std::ops::Range<u64>) {
    for seq in seqs {
        let mut effects = Vec::new();
        let values: Vec<f64> = (0..dictionary.len()).map(|slot| slot as f64 + seq as f64).collect();
        let tick = Values { seq: 0, at: Timestamp::from_millis(seq as i64 * 1000), dictionary, values: &values };
        spool.append(Timestamp::EPOCH, Position { epoch: 9, seq }, tick, &mut effects);
        disk.perform(effects);
    }
}

#[test]
fn a_tail_torn_at_every_byte_leaves_the_whole_records_before_it() {
    let (mut disk, dictionary) = (Disk::default(), dictionary(3));
    let mut spool = open(&mut disk, 1 << 20, 5);
    append(&mut spool, &mut disk, &dictionary, 1..6);
    let (segment, whole) = disk.segments.first_key_value().map(|(segment, bytes)| (*segment, bytes.clone())).unwrap();
    let mut ends = Vec::new();
    for cut in 0..=whole.len() {
        let scan = SegmentScan::of(&whole[..cut]);
        assert!(scan.valid_bytes <= cut as u64);
        let mut torn = Disk {
            segments: BTreeMap::from([(segment, whole[..scan.valid_bytes as usize].to_vec())]),
            ..Disk::default()
        };
        let mut spool = open(&mut torn, 1 << 20, 6);
        let read: Vec<u64> = torn.read_all(&spool, 0).iter().map(|(seq, ..)| *seq).collect();
        assert_eq!(read, (1..=scan.last_seq.unwrap_or(0)).collect::<Vec<_>>(), "cut at {cut}");
        append(&mut spool, &mut torn, &dictionary, 10..12);
        assert_eq!(torn.read_all(&spool, 0).len(), read.len() + 2, "cut at {cut}");
        ends.push(read.len());
    }
    assert_eq!((ends[0], ends[whole.len()]), (0, 5));
}

#[test]
fn damage_in_the_middle_costs_the_rest_of_its_segment_and_no_more() {
    let (mut disk, dictionary) = (Disk::default(), dictionary(2000));
    let mut spool = open(&mut disk, 64 << 20, 5);
    append(&mut spool, &mut disk, &dictionary, 1..800);
    assert!(disk.segments.len() > 1);
    let second = *disk.segments.keys().nth(1).unwrap();
    let first = disk.segments.values_mut().next().unwrap();
    let middle = first.len() / 2;
    first[middle] ^= 0xff;
    let read = disk.read_all(&spool, 0);
    assert!(read.first().is_some_and(|(seq, ..)| *seq == 1));
    assert!(read.len() > 400 && read.len() < 799, "{}", read.len());
    assert!((second..800).all(|seq| read.iter().any(|(own, ..)| *own == seq)), "later segments are read");
}

#[test]
fn the_oldest_segment_goes_first_and_is_counted() {
    let (mut disk, dictionary) = (Disk::default(), dictionary(2000));
    let cap = 3 * SEGMENT_BYTES;
    let mut spool = open(&mut disk, cap, 5);
    append(&mut spool, &mut disk, &dictionary, 1..3000);
    assert!(spool.bytes() <= cap);
    assert_eq!(disk.segments.values().map(|bytes| bytes.len() as u64).sum::<u64>(), spool.bytes());
    let read = disk.read_all(&spool, 0);
    assert_eq!(read.len() as u64 + spool.dropped(), 2999);
    assert_eq!(read.last().map(|(_, at, values)| (*at, values[5])), Some((2_999_000, 3004.0)));
}

#[test]
fn a_full_disk_leaves_a_bounded_amount_for_memory() {
    let (mut disk, dictionary) = (Disk::default(), dictionary(2000));
    let mut spool = open(&mut disk, 64 << 20, 5);
    spool.degrade(&mut Vec::new());
    append(&mut spool, &mut disk, &dictionary, 1..3000);
    assert!(spool.is_degraded() && spool.bytes() <= MAX_SPOOL_RAM_BYTES + SEGMENT_BYTES && spool.dropped() > 0);
    spool.recover();
    let dropped = spool.dropped();
    append(&mut spool, &mut disk, &dictionary, 3000..4000);
    assert_eq!(spool.dropped(), dropped);
}

#[test]
fn a_restart_takes_up_the_log_and_never_reuses_a_sequence() {
    let (mut disk, dictionary) = (Disk::default(), dictionary(2));
    let mut spool = open(&mut disk, 1 << 20, 5);
    append(&mut spool, &mut disk, &dictionary, 1..4);
    spool.cursor(Timestamp::EPOCH, COLLECTOR).next = 3;
    let mut effects = Vec::new();
    spool.sync(&mut effects);
    disk.perform(effects);
    let mut spool = open(&mut disk, 1 << 20, 6);
    assert_eq!((spool.epoch(), spool.known(COLLECTOR).map(|cursor| cursor.next)), (5, Some(3)));
    append(&mut spool, &mut disk, &dictionary, 4..5);
    let read: Vec<u64> = disk.read_all(&spool, 0).iter().map(|(seq, ..)| *seq).collect();
    assert_eq!(read, [1, 2, 3, 3 + SKIP_AT_START]);
    // Everything is delivered: nothing stays, and the next life begins a new epoch.
    spool.cursor(Timestamp::EPOCH, COLLECTOR).next = u64::MAX;
    let mut effects = Vec::new();
    spool.trim(Timestamp::EPOCH, &[Some(COLLECTOR)], Position { epoch: 9, seq: 5 }, &mut effects);
    disk.perform(effects);
    assert!(spool.is_empty() && disk.segments.is_empty());
    assert_eq!(open(&mut disk, 1 << 20, 6).epoch(), 6);
}

#[test]
fn nothing_is_deleted_while_a_collector_is_not_known_yet() {
    let (mut disk, dictionary) = (Disk::default(), dictionary(2));
    let mut spool = open(&mut disk, 1 << 20, 5);
    append(&mut spool, &mut disk, &dictionary, 1..4);
    spool.cursor(Timestamp::EPOCH, COLLECTOR).next = u64::MAX;
    let mut effects = Vec::new();
    let oldest = Position { epoch: 9, seq: 4 };
    spool.trim(Timestamp::EPOCH, &[Some(COLLECTOR), None], oldest, &mut effects);
    spool.trim(Timestamp::EPOCH, &[], oldest, &mut effects);
    assert_eq!(effects, []);
    let later = Timestamp::EPOCH + REMEMBER;
    spool.trim(later, &[Some(NodeId(8))], oldest, &mut effects);
    assert!(!spool.is_empty(), "a new collector gets what there is");
}

#[test]
fn foreign_and_empty_segments_are_deleted() {
    let mut disk = Disk::default();
    disk.segments.insert(3, b"not a segment".to_vec());
    disk.segments.insert(4, Vec::new());
    let spool = open(&mut disk, 1 << 20, 5);
    assert!(spool.is_empty() && disk.segments.is_empty());
}
