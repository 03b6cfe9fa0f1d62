//! The series of one host: who they are, which slot each has, and their values of the round that is being sampled.
//!
//! A sampler names a series by a [`Family`], a field and label values. The label set is built once, when the series is
//! first seen; from then on a value costs a comparison with the series that stood at this place in the round before,
//! and no allocation.
//!
//! Invariants: a slot belongs to one series until the round that reports it as removed; a series that was not sampled in
//! a round has the stale marker as its value; there are never more than [`MAX_SERIES_PER_AGENT`] slots; each essential
//! family has some ([`KEPT`]) of them that nobody else gets, so that a host with ten thousand devices still tells of its memory.

use std::collections::BTreeMap;

use watchfire_shared::essential;
use watchfire_shared::frame::message::SeriesEntry;
use watchfire_shared::labels::{Labels, LabelsBuilder, METRIC_NAME};
use watchfire_shared::limits::{MAX_LABEL_VALUE_BYTES, MAX_NAME_BYTES, MAX_SERIES_PER_AGENT};
use watchfire_shared::sample::{MetricKind, stale_nan};
use watchfire_shared::time::Timestamp;

/// Rounds for which a vanished series keeps its slot: one that comes and goes (a device that flaps) must not cost a
/// dictionary each time.
const ROUNDS_KEPT: u64 = 60;
/// Slots that each essential family has for itself, in the order of [`essential::FAMILIES`]: those of CPU of a machine with
/// 25 threads, of 35 filesystems, all there are of load. What a family has beyond that it takes from what is left to all.
const KEPT: [usize; essential::FAMILIES.len()] = [250, 100, 4, 250, 250, 2, 20, 2, 100];
/// Slots that are left to all.
const COMMON: usize = {
    let (mut left, mut family) = (MAX_SERIES_PER_AGENT, 0);
    while family < KEPT.len() {
        left -= KEPT[family];
        family += 1;
    }
    left
};

/// A metric, or a group of metrics whose names share a beginning and an end.
///
/// Always a `static`: series are told apart by its address.
#[derive(Debug)]
pub struct Family {
    pub prefix: &'static str,
    pub suffix: &'static str,
    pub kind: MetricKind,
    /// The help text; `{}` stands for the field.
    pub help: &'static str,
}

impl Family {
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        Self { prefix: name, suffix: "", kind: MetricKind::Gauge, help }
    }

    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        Self { prefix: name, suffix: "", kind: MetricKind::Counter, help }
    }

    /// Metrics called `prefix + field + suffix`.
    #[must_use]
    pub const fn fields(prefix: &'static str, suffix: &'static str, kind: MetricKind, help: &'static str) -> Self {
        Self { prefix, suffix, kind, help }
    }

    /// The metric name of a field.
    #[must_use]
    pub fn name(&self, field: &str) -> String {
        [self.prefix, field, self.suffix].concat()
    }

    /// The help text of a field.
    #[must_use]
    pub fn help(&self, field: &str) -> String {
        self.help.replace("{}", field)
    }
}

/// A label as samplers hand it over.
pub type Label<'a> = (&'static str, &'a str);

/// One series that is known.
#[derive(Debug)]
pub struct Series {
    pub family: &'static Family,
    pub field: Box<str>,
    pub labels: Labels,
    /// The label values in the order in which the sampler names them.
    given: Vec<(&'static str, Box<str>)>,
    /// The last round in which it was sampled.
    seen: u64,
    /// Where it stood in that round.
    position: usize,
    /// The highest value so far, of a counter that is held.
    held: f64,
    hash: u64,
    /// Its essential family.
    essential: Option<usize>,
}

impl Series {
    fn is(&self, family: &'static Family, field: &str, labels: &[Label<'_>]) -> bool {
        std::ptr::eq(self.family, family)
            && *self.field == *field
            && self.given.len() == labels.len()
            && self.given.iter().zip(labels).all(|(own, other)| own.0 == other.0 && *own.1 == *other.1)
    }
}

/// What one round changed and measured.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Round {
    /// The nominal time.
    pub tick: Timestamp,
    /// Series that are new, with their slots. A slot may be one of `removed`.
    pub added: Vec<SeriesEntry>,
    /// Slots whose series is forgotten.
    pub removed: Vec<u32>,
    /// One value per slot; the stale marker where there is none.
    pub values: Vec<f64>,
}

/// Takes the values of a round.
#[derive(Debug, Default)]
pub struct Sink {
    series: Vec<Option<Series>>,
    values: Vec<f64>,
    free: Vec<u32>,
    by_hash: BTreeMap<(u64, u32), ()>,
    order: Vec<u32>,
    next_order: Vec<u32>,
    cursor: usize,
    round: u64,
    added: Vec<u32>,
    removed: Vec<u32>,
    /// Slots that are taken, by essential family.
    essential: [usize; essential::FAMILIES.len()],
    /// Slots that the rest has taken.
    others: usize,
    malformed: u64,
    dropped: u64,
}

impl Sink {
    /// Begins a round.
    pub fn begin(&mut self) {
        self.round += 1;
        self.cursor = 0;
        self.next_order.clear();
        self.values.fill(stale_nan());
    }

    /// A value of a metric without field and labels.
    pub fn value(&mut self, family: &'static Family, value: f64) {
        self.emit(family, "", &[], value);
    }

    /// A counter that must not go back by `tolerance` or less, as node_exporter holds CPU times: the kernel's idle and
    /// iowait do, and every step back would look like a restart. A longer step is one.
    pub fn emit_held(
        &mut self,
        family: &'static Family,
        field: &str,
        labels: &[Label<'_>],
        value: f64,
        tolerance: f64,
    ) {
        let Some(slot) = self.slot(family, field, labels) else { return };
        let Some(series) = &mut self.series[slot as usize] else { return };
        if value > series.held || series.held - value > tolerance {
            series.held = value;
        }
        let held = series.held;
        self.set(slot, held);
    }

    /// A value of one series. The second value of a series in a round is refused and counted as malformed.
    pub fn emit(&mut self, family: &'static Family, field: &str, labels: &[Label<'_>], value: f64) {
        if let Some(slot) = self.slot(family, field, labels) {
            self.set(slot, value);
        }
    }

    fn set(&mut self, slot: u32, value: f64) {
        let Some(series) = &mut self.series[slot as usize] else { return };
        if series.seen == self.round {
            self.malformed += 1;
            return;
        }
        series.seen = self.round;
        series.position = self.next_order.len();
        self.next_order.push(slot);
        self.values[slot as usize] = value;
    }

    /// A line that a sampler could not read.
    pub fn malformed(&mut self) {
        self.malformed += 1;
    }

    /// Lines that no sampler could read, since the start.
    #[must_use]
    pub fn malformed_total(&self) -> u64 {
        self.malformed
    }

    /// Values dropped because there were too many series, or names or values too long, since the start.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped
    }

    /// Ends the round: what is new, what is forgotten, and the values by slot.
    pub fn finish(&mut self, tick: Timestamp) -> Round {
        std::mem::swap(&mut self.order, &mut self.next_order);
        self.forget_old();
        let entry = |slot: &u32| {
            let series = self.series[*slot as usize].as_ref()?;
            Some(SeriesEntry { slot: *slot, labels: series.labels.clone(), kind: series.family.kind })
        };
        let added = self.added.iter().filter_map(entry).collect();
        self.added.clear();
        Round { tick, added, removed: std::mem::take(&mut self.removed), values: self.values.clone() }
    }

    /// The series of the last round with their values, in the order in which they were sampled.
    pub fn sampled(&self) -> impl Iterator<Item = (&Series, f64)> {
        self.order.iter().filter_map(|slot| Some((self.series[*slot as usize].as_ref()?, self.values[*slot as usize])))
    }

    fn forget_old(&mut self) {
        for slot in 0..self.series.len() {
            let old = |series: &Series| series.seen + ROUNDS_KEPT <= self.round;
            let Some(series) = self.series[slot].take_if(|series| old(series)) else { continue };
            *self.taken_by(series.essential) -= 1;
            let slot = slot as u32;
            self.by_hash.remove(&(series.hash, slot));
            self.free.push(slot);
            self.removed.push(slot);
        }
    }

    fn slot(&mut self, family: &'static Family, field: &str, labels: &[Label<'_>]) -> Option<u32> {
        if let Some(slot) = self.order.get(self.cursor).copied()
            && let Some(series) = &self.series[slot as usize]
            && series.is(family, field, labels)
        {
            self.cursor += 1;
            return Some(slot);
        }
        let hash = hash(family, field, labels);
        let known =
            self.by_hash.range((hash, 0)..=(hash, u32::MAX)).map(|(key, ())| key.1).find(|slot| {
                self.series[*slot as usize].as_ref().is_some_and(|series| series.is(family, field, labels))
            });
        let Some(slot) = known else { return self.add(hash, family, field, labels) };
        if let Some(series) = &self.series[slot as usize]
            && series.seen + 1 == self.round
        {
            self.cursor = series.position + 1;
        }
        Some(slot)
    }

    fn taken_by(&mut self, essential: Option<usize>) -> &mut usize {
        match essential {
            Some(family) => &mut self.essential[family],
            None => &mut self.others,
        }
    }

    fn has_room_for(&self, essential: Option<usize>) -> bool {
        let beyond: usize = self.essential.iter().zip(KEPT).map(|(taken, kept)| taken.saturating_sub(kept)).sum();
        essential.is_some_and(|family| self.essential[family] < KEPT[family]) || self.others + beyond < COMMON
    }

    fn add(&mut self, hash: u64, family: &'static Family, field: &str, labels: &[Label<'_>]) -> Option<u32> {
        let name = family.name(field);
        let too_long = name.len() > MAX_NAME_BYTES || labels.iter().any(|(_, v)| v.len() > MAX_LABEL_VALUE_BYTES);
        let essential = essential::family(&name);
        if too_long || !self.has_room_for(essential) {
            self.dropped += 1;
            return None;
        }
        *self.taken_by(essential) += 1;
        let mut builder = LabelsBuilder::default();
        builder.set(METRIC_NAME, name);
        for (label, value) in labels {
            builder.set(*label, *value);
        }
        let series = Series {
            family,
            field: field.into(),
            labels: builder.build(),
            given: labels.iter().map(|(label, value)| (*label, Box::from(*value))).collect(),
            seen: 0,
            position: 0,
            held: 0.0,
            hash,
            essential,
        };
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.series.push(None);
                self.values.push(stale_nan());
                (self.series.len() - 1) as u32
            }
        };
        self.series[slot as usize] = Some(series);
        self.by_hash.insert((hash, slot), ());
        self.added.push(slot);
        Some(slot)
    }
}

/// FNV-1a over name and label values, with a separator that no UTF-8 text holds.
fn hash(family: &Family, field: &str, labels: &[Label<'_>]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |text: &str| {
        for byte in text.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    [family.prefix, field, family.suffix].into_iter().for_each(&mut add);
    for (name, value) in labels {
        add(name);
        add(value);
    }
    hash
}

#[cfg(test)]
mod tests {
    use watchfire_shared::sample::is_stale;

    use super::*;

    static LOAD: Family = Family::gauge("load", "Load.");
    static FIELD: Family = Family::fields("f_", "_x", MetricKind::Untyped, "Field {}.");

    fn round(sink: &mut Sink, series: &[(&str, f64)]) -> Round {
        sink.begin();
        for (name, value) in series {
            sink.emit(&FIELD, "a", &[("name", name)], *value);
        }
        sink.finish(Timestamp::EPOCH)
    }

    #[test]
    fn a_series_keeps_its_slot_whatever_the_order() {
        let mut sink = Sink::default();
        let first = round(&mut sink, &[("x", 1.0), ("y", 2.0), ("z", 3.0)]);
        let names: Vec<String> = first.added.iter().map(|entry| entry.labels.to_string()).collect();
        assert_eq!(names, [r#"f_a_x{name="x"}"#, r#"f_a_x{name="y"}"#, r#"f_a_x{name="z"}"#]);
        let second = round(&mut sink, &[("z", 6.0), ("w", 7.0), ("x", 4.0), ("y", 5.0)]);
        assert_eq!(second.values, [4.0, 5.0, 6.0, 7.0]);
        assert_eq!((second.added.len(), second.added[0].slot, second.removed.len()), (1, 3, 0));
    }

    #[test]
    fn a_missing_series_is_stale_and_later_gives_its_slot_away() {
        let mut sink = Sink::default();
        round(&mut sink, &[("x", 1.0), ("y", 2.0)]);
        let gone = round(&mut sink, &[("y", 2.0)]);
        assert!(is_stale(gone.values[0]) && gone.removed.is_empty());
        let mut removed = Vec::new();
        for _ in 0..ROUNDS_KEPT {
            removed.extend(round(&mut sink, &[("y", 2.0)]).removed);
        }
        assert_eq!(removed, [0]);
        let new = round(&mut sink, &[("y", 2.0), ("n", 9.0)]);
        assert_eq!((new.added[0].slot, new.values), (0, vec![9.0, 2.0]));
    }

    #[test]
    fn a_second_value_of_a_series_is_refused_and_counted() {
        let mut sink = Sink::default();
        sink.begin();
        sink.value(&LOAD, 1.0);
        sink.value(&LOAD, 2.0);
        assert_eq!((sink.finish(Timestamp::EPOCH).values, sink.malformed_total()), (vec![1.0], 1));
    }

    #[test]
    fn series_above_the_limit_are_dropped_and_counted() {
        let mut sink = Sink::default();
        sink.begin();
        for i in 0..MAX_SERIES_PER_AGENT + 3 {
            sink.emit(&FIELD, &i.to_string(), &[], 0.0);
        }
        assert_eq!(
            (sink.finish(Timestamp::EPOCH).values.len(), sink.dropped_total()),
            (COMMON, KEPT.iter().sum::<usize>() as u64 + 3)
        );
    }

    #[test]
    fn what_a_host_is_judged_by_is_not_crowded_out() {
        static NETWORK: Family = Family::fields("node_network_", "", MetricKind::Gauge, "Of {}.");
        static MEMORY: Family = Family::fields("node_memory_", "_bytes", MetricKind::Gauge, "Of {}.");
        let emit = |sink: &mut Sink, family: &'static Family, count: usize| {
            (0..count).for_each(|number| sink.emit(family, &number.to_string(), &[], 0.0));
        };
        let held = |sink: &Sink, family: &Family| {
            sink.sampled().filter(|(series, _)| std::ptr::eq(series.family, family)).count()
        };
        let [kept_of_memory, kept_of_network] =
            ["node_memory_", "node_network_"].map(|name| KEPT[essential::family(name).unwrap()]);
        let mut sink = Sink::default();
        let mut added = 0;
        for _ in 0..3 {
            sink.begin();
            // Neither a crowd of others nor one of another essential family is in the way.
            emit(&mut sink, &FIELD, 5000);
            emit(&mut sink, &NETWORK, 12_000);
            emit(&mut sink, &MEMORY, kept_of_memory);
            added += sink.finish(Timestamp::EPOCH).added.len();
            let found = [&FIELD, &NETWORK, &MEMORY].map(|family| held(&sink, family));
            assert_eq!(found, [5000, COMMON - 5000 + kept_of_network, kept_of_memory]);
        }
        assert_eq!(added, COMMON + kept_of_network + kept_of_memory);
        assert_eq!(sink.dropped_total(), 3 * (5000 + 12_000 + kept_of_memory - added) as u64);
        // What is gone leaves its room to others.
        for _ in 0..=ROUNDS_KEPT {
            sink.begin();
            emit(&mut sink, &MEMORY, 10);
            sink.finish(Timestamp::EPOCH);
        }
        sink.begin();
        emit(&mut sink, &MEMORY, MAX_SERIES_PER_AGENT);
        sink.finish(Timestamp::EPOCH);
        assert_eq!(held(&sink, &MEMORY), COMMON + kept_of_memory);
    }

    #[test]
    fn small_steps_back_are_held_and_large_ones_are_resets() {
        let mut sink = Sink::default();
        let mut seen = Vec::new();
        for value in [10.0, 9.5, 11.0, 2.0, 2.5] {
            sink.begin();
            sink.emit_held(&LOAD, "", &[], value, 3.0);
            seen.extend(sink.finish(Timestamp::EPOCH).values);
        }
        assert_eq!(seen, [10.0, 10.0, 11.0, 2.0, 2.5]);
    }
}
