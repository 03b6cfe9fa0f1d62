//! The series of one request, each label set once.
//!
//! Labels that are added and relabelling can make several series one, and one series can be in several places of the
//! store. An engine may refuse a whole request for a second sample at one time, so of such samples one is sent: a value
//! before a stale marker, which only says that one of several series has ended; then that of the series that was the first
//! by its labels in the store, which is the same one wherever and whenever the rows are read.

use hashbrown::HashTable;
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::is_stale;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::encode::{put_bytes, put_point};

/// Two series that have the same labels now, as the store has them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Clash {
    pub kept: Labels,
    pub dropped: Labels,
}

/// What became of samples that share their series and time with another.
#[derive(Debug, Default)]
pub(super) struct Doubles {
    /// With the same value.
    pub(super) repeated: usize,
    /// With another one.
    pub(super) duplicate: usize,
    /// Stale markers beside a value.
    pub(super) ends: usize,
    pub(super) first: Option<Clash>,
}

#[derive(Debug)]
struct Sample {
    series: u32,
    at: i64,
    value: f64,
    /// Which of `inputs` it is of.
    input: u32,
}

#[derive(Debug)]
struct Series {
    hash: u64,
    /// Where its labels end in `names`; they begin where those before it end.
    end: usize,
}

/// Series with their samples, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Joined {
    seed: u64,
    /// The labels of all series as the request has them.
    names: Vec<u8>,
    series: Vec<Series>,
    /// Numbers of series, by the hash of their labels.
    table: HashTable<u32>,
    samples: Vec<Sample>,
    /// What came, by its labels in the store.
    inputs: Vec<Labels>,
    /// Whether a series came twice.
    is_joined: bool,
}

impl Joined {
    /// `seed` is of the hash: labels come from outside.
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, ..Self::default() }
    }

    /// Adds samples of a series that is `labels` in the store and whose labels in the request are `name`.
    pub(super) fn add(&mut self, name: &[u8], labels: &Labels, points: &[(i64, f64)]) {
        let hash = xxh3_64_with_seed(name, self.seed);
        let (names, all) = (&self.names, &self.series);
        let is_it = |number: &u32| all[*number as usize].hash == hash && name_of(names, all, *number) == name;
        let series = match self.table.find(hash, is_it) {
            Some(number) => {
                self.is_joined = true;
                *number
            }
            None => {
                let number = self.series.len() as u32;
                self.names.extend_from_slice(name);
                self.series.push(Series { hash, end: self.names.len() });
                self.table.insert_unique(hash, number, |number| self.series[*number as usize].hash);
                number
            }
        };
        let input = self.inputs.len() as u32;
        self.inputs.push(labels.clone());
        self.samples.extend(points.iter().map(|(at, value)| Sample { series, at: *at, value: *value, input }));
    }

    /// Appends everything as `TimeSeries` of a `WriteRequest`; returns how many samples that is, and what of them was left
    /// out.
    pub(super) fn put(mut self, out: &mut Vec<u8>) -> (usize, Doubles) {
        let mut doubles = Doubles::default();
        if self.is_joined {
            self.make_single(&mut doubles);
        }
        let mut series = Vec::new();
        for samples in self.samples.chunk_by(|a, b| a.series == b.series) {
            series.clear();
            series.extend_from_slice(name_of(&self.names, &self.series, samples[0].series));
            samples.iter().for_each(|sample| put_point(sample.at, sample.value, &mut series));
            put_bytes(out, 1, &series);
        }
        (self.samples.len(), doubles)
    }

    /// Leaves one sample of each series and time.
    fn make_single(&mut self, doubles: &mut Doubles) {
        let inputs = &self.inputs;
        self.samples.sort_by(|a, b| {
            let same_time = || is_stale(a.value).cmp(&is_stale(b.value));
            let order = (a.series, a.at).cmp(&(b.series, b.at)).then_with(same_time);
            order.then_with(|| inputs[a.input as usize].cmp(&inputs[b.input as usize]))
        });
        self.samples.dedup_by(|later, kept| {
            let is_double = (later.series, later.at) == (kept.series, kept.at);
            if is_double {
                doubles.note(kept, later, inputs);
            }
            is_double
        });
    }
}

impl Doubles {
    fn note(&mut self, kept: &Sample, dropped: &Sample, inputs: &[Labels]) {
        if kept.value.to_bits() == dropped.value.to_bits() {
            self.repeated += 1;
        } else if is_stale(dropped.value) {
            self.ends += 1;
        } else {
            self.duplicate += 1;
            let labels = |sample: &Sample| inputs[sample.input as usize].clone();
            self.first.get_or_insert_with(|| Clash { kept: labels(kept), dropped: labels(dropped) });
        }
    }
}

fn name_of<'a>(names: &'a [u8], series: &[Series], number: u32) -> &'a [u8] {
    let number = number as usize;
    let begin = number.checked_sub(1).map_or(0, |before| series[before].end);
    &names[begin..series[number].end]
}
