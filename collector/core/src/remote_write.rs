//! Prometheus remote write 1.0: what others push becomes samples in the store, and is acknowledged when it is durable.
//!
//! ```text
//! body -> decode (any thread) -> WriteRequest -> Writer (engine) -> rows of a few hundred series -> store -> sync -> answer
//! ```
//!
//! Samples of series that came together at one time form a group, which is one source of the store with one column of
//! times; a scrape's series mostly come together again. What comes apart goes to further *lanes* of the group: sources
//! with series of the group and times of their own. So does what comes out of order.
//!
//! Invariants:
//! - a request is answered as taken only after a sync that covered it;
//! - a series has one sample at a time, the one that came first; what is further behind the series' newest than the window
//!   for samples out of order, too old, too far ahead or over a limit is refused by name while the rest of the request is
//!   taken;
//! - if the store has no room, nothing of the request counts as taken, and the sender may send all of it again.
//!
//! Native histograms and exemplars are not kept; they are dropped and counted.

mod decode;

mod table;

mod groups;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::RangeInclusive;

use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::limits::MAX_NAME_BYTES;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::{AppendError, Disk, RefusedSlot, Store};

use crate::metadata::Metadata;
use groups::{Groups, Place};
use table::{Seen, Table};

pub use decode::{DecodeError, WriteRequest, decode};

/// How far ahead of our clock a sample may be; Prometheus' receiver allows as much.
const MAX_AHEAD: Span = Span::from_seconds(600);
/// How far our clock may go back without a series being taken for one that the store still has.
const CLOCK_STEP: Span = Span::from_seconds(600);
/// Labels of one pushed series. Kubernetes' own have up to thirty, relabelling adds some.
const MAX_LABELS: usize = 64;
/// A label's value, bytes. Container images and URLs have hundreds.
const MAX_VALUE_BYTES: usize = 4096;
/// How long a series may be silent before its place is given up; it gets another one when it comes back.
const IDLE: Span = Span::from_seconds(3600);
/// Requests that wait for a sync. Only a full disk makes more than a few wait, and their senders have given up by then.
const MAX_WAITING: usize = 256;
/// How often idle series are looked for.
const SWEEP: Span = Span::from_seconds(600);

/// Which times are taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Older samples are not kept.
    pub(crate) retention: Span,
    /// How far a sample may be behind its series' newest.
    pub(crate) out_of_order: Span,
}

/// A request under way, numbered by the shell.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WriteId(pub u64);

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Everything was taken and is durable.
    Taken,
    /// The rest was taken and is durable; the text names what was refused first. Sending it again would change nothing.
    Refused(String),
    /// There is no room now; nothing was taken.
    Unavailable(String),
}

/// What was counted since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    pub requests: u64,
    pub samples: u64,
    /// Samples that were there already.
    pub repeated: u64,
    pub histograms_dropped: u64,
    pub exemplars_dropped: u64,
    pub refused: Refused,
}

/// Refused samples by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Refused {
    /// Labels that no series can have.
    pub labels: u64,
    pub out_of_order: u64,
    /// Another value at a time that has one.
    pub duplicate: u64,
    /// Older than what is kept, or too far ahead.
    pub out_of_bounds: u64,
    /// Series beyond a limit.
    pub limit: u64,
}

impl Refused {
    /// Each reason by name, and how many it refused.
    #[must_use]
    pub fn by_reason(&self) -> [(&'static str, u64); 5] {
        [
            ("labels", self.labels),
            ("out_of_order", self.out_of_order),
            ("duplicate", self.duplicate),
            ("out_of_bounds", self.out_of_bounds),
            ("limit", self.limit),
        ]
    }
}

/// One sample on its way to its row.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Pending {
    place: Place,
    at: i64,
    value: f64,
}

/// Which times the request at hand may have.
struct Times {
    kept: RangeInclusive<Timestamp>,
    /// Milliseconds: a series with a sample as late as this is in the store even if our clock went back a little since.
    surely_kept: i64,
    /// Milliseconds behind a series' newest sample.
    out_of_order: i64,
}

/// What the table said of a series before the request, to be taken back if the store has no room.
struct Before {
    key: u128,
    entry: Option<Seen>,
    /// What was known of the series, whatever its labels were called in.
    seen: Seen,
}

type Undo = Vec<Before>;

/// Takes requests, in the engine's thread.
pub(crate) struct Writer {
    table: Table,
    groups: Groups,
    counters: Counters,
    next_sweep: Option<Timestamp>,
    pending: Vec<Pending>,
    /// Samples of the request at hand that are behind their series' newest.
    late: Vec<Pending>,
    /// Requests that a sync has not covered.
    waiting: Vec<(WriteId, Outcome)>,
}

impl Writer {
    /// Takes up the series that the store has of earlier requests.
    pub(crate) fn new<D: Disk>(store: &Store<D>) -> Self {
        let mut table = Table::default();
        let groups = Groups::restore(store, &mut table);
        Self {
            table,
            groups,
            counters: Counters::default(),
            next_sweep: None,
            pending: Vec::new(),
            late: Vec::new(),
            waiting: Vec::new(),
        }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// The outcomes of requests that a sync has covered now.
    pub(crate) fn synced(&mut self) -> Vec<(WriteId, Outcome)> {
        std::mem::take(&mut self.waiting)
    }

    /// What one of the selectors selects was deleted within these times, both ends included: a series' newest sample may
    /// be gone, and can be pushed again.
    pub(crate) fn deleted<D: Disk>(
        &mut self,
        store: &Store<D>,
        selectors: &[Vec<Matcher>],
        from: Timestamp,
        to: Timestamp,
    ) {
        let times = from.as_millis()..=to.as_millis();
        let is_selected = |labels: &Labels| {
            selectors.iter().any(|matchers| matchers.iter().all(|matcher| matcher.matches_labels(labels)))
        };
        let groups = &self.groups;
        let is_lost = |seen: &Seen| {
            times.contains(&seen.at) && groups.labels_of(store, seen.place).is_some_and(|labels| is_selected(&labels))
        };
        self.table.lose_newest(is_lost);
    }

    /// Takes a request. Its outcome is told at once if nothing of it can become durable, and by [`synced`](Self::synced)
    /// otherwise.
    pub(crate) fn write<D: Disk>(
        &mut self,
        now: Timestamp,
        id: WriteId,
        request: &WriteRequest,
        store: &mut Store<D>,
        bounds: Bounds,
        metadata: &mut Metadata,
    ) -> Option<(WriteId, Outcome)> {
        self.counters.requests += 1;
        if self.waiting.len() >= MAX_WAITING {
            return Some((id, Outcome::Unavailable("too many requests wait for the disk".to_owned())));
        }
        self.counters.histograms_dropped += request.histograms;
        self.counters.exemplars_dropped += request.exemplars;
        for family in request.families() {
            metadata.note(family.name, family.kind, family.help, family.unit);
        }
        self.sweep(now, store);
        let (mut undo, mut refusal) = (Undo::new(), Refusal::default());
        let oldest = now - bounds.retention;
        let times = Times {
            kept: oldest..=(now + MAX_AHEAD),
            surely_kept: (oldest + CLOCK_STEP).as_millis(),
            out_of_order: bounds.out_of_order.as_millis(),
        };
        self.pending.clear();
        self.late.clear();
        let room = store.room_for_series();
        for series in request.series() {
            let has_room = self.groups.new_series() < room;
            self.take_series(&series, &times, has_room, store, &mut undo, &mut refusal);
        }
        self.take_late(store, &mut refusal);
        match self.store(store, &mut refusal) {
            Ok(kept_out) => {
                self.take_back(&undo, &kept_out);
                let outcome = refusal.outcome(&mut self.counters);
                self.waiting.push((id, outcome));
                None
            }
            Err(error) => {
                self.table.restore(undo.into_iter().map(|before| (before.key, before.entry)));
                self.groups.forget_new();
                Some((id, Outcome::Unavailable(error.to_string())))
            }
        }
    }

    /// Finds the series' place and puts its samples among those of the request.
    fn take_series<D: Disk>(
        &mut self,
        series: &decode::Series<'_>,
        times: &Times,
        has_room: bool,
        store: &Store<D>,
        undo: &mut Undo,
        refusal: &mut Refusal,
    ) {
        if series.samples.is_empty() {
            return;
        }
        let known = self.table.get(series.key);
        // The store forgets sources that have only what is too old; what was in them is as new.
        let is_there = |seen: &Seen| seen.at >= times.surely_kept || self.groups.knows(store, seen.place);
        let mut seen = match known.filter(is_there) {
            Some(seen) => seen,
            None => match series.labels().and_then(|labels| check(&labels).map(|()| labels)) {
                Ok(labels) => {
                    let key = decode::key_of(&labels);
                    match self.table.get(key).filter(is_there) {
                        Some(seen) => seen,
                        None if !has_room => {
                            let text = || format!("{labels}: the store has as many series as it may have");
                            return refusal.add(Reason::Limit, series.samples.len(), text);
                        }
                        None => Seen::new(self.groups.place(series.samples[0].0, labels)),
                    }
                }
                Err(reason) => return refusal.add(Reason::Labels, series.samples.len(), || reason.to_string()),
            },
        };
        undo.push(Before { key: series.key, entry: known, seen });
        for (at, value) in series.samples {
            let told = || series.labels().map(|labels| labels.to_string()).unwrap_or_default();
            if !times.kept.contains(&Timestamp::from_millis(*at)) {
                refusal.add(Reason::OutOfBounds, 1, || format!("out of bounds: {} at {at}", told()));
            } else if *at < seen.at && seen.at.saturating_sub(*at) <= times.out_of_order {
                self.late.push(Pending { place: seen.place, at: *at, value: *value });
            } else if *at < seen.at {
                refusal.add(Reason::OutOfOrder, 1, || format!("out of order sample: {} at {at}", told()));
            } else if *at == seen.at && seen.bits == Some(value.to_bits()) {
                self.counters.repeated += 1;
            } else if *at == seen.at && seen.bits.is_some() {
                let text = || format!("duplicate sample for timestamp: {} at {at}", told());
                refusal.add(Reason::Duplicate, 1, text);
            } else {
                (seen.at, seen.bits) = (*at, Some(value.to_bits()));
                self.pending.push(Pending { place: seen.place, at: *at, value: *value });
            }
        }
        self.table.set(series.key, seen);
    }

    /// Puts the samples that are out of order among those of the request, less those that are there
    /// already.
    fn take_late<D: Disk>(&mut self, store: &Store<D>, refusal: &mut Refusal) {
        if self.late.is_empty() {
            return;
        }
        // A time may have come twice, and what is in order may have it too: then that counts.
        let order = |pending: &Pending| (pending.place, pending.at);
        self.late.sort_by_key(order);
        let mut taken = self.pending.clone();
        taken.sort_unstable_by_key(order);
        let mut last: Option<Pending> = None;
        for late in std::mem::take(&mut self.late) {
            let same = last.filter(|last| order(last) == order(&late)).map(|last| last.value);
            let in_order = || taken.binary_search_by_key(&order(&late), order).ok().map(|at| taken[at].value);
            let there = same.or_else(in_order).or_else(|| self.groups.value_at(store, late.place, late.at));
            match there {
                Some(value) if value.to_bits() == late.value.to_bits() => self.counters.repeated += 1,
                Some(_) => {
                    let text = || format!("duplicate sample for timestamp: another value at {}", late.at);
                    refusal.add(Reason::Duplicate, 1, text);
                }
                None => self.pending.push(late),
            }
            last = Some(last.filter(|last| order(last) == order(&late)).unwrap_or(late));
        }
    }

    /// Writes the rows of the request; returns the places and times that the store has kept out.
    fn store<D: Disk>(
        &mut self,
        store: &mut Store<D>,
        refusal: &mut Refusal,
    ) -> Result<BTreeSet<(Place, i64)>, AppendError> {
        let refused = self.groups.add_new(store)?;
        if let Some(RefusedSlot { labels, reason, .. }) = refused.first().map(|(_, slot)| slot) {
            let mut gone: Vec<Place> = refused.iter().map(|(place, _)| *place).collect();
            gone.sort_unstable();
            let is_gone = |place: &Place| gone.binary_search(place).is_ok();
            let before = self.pending.len();
            self.pending.retain(|pending| !is_gone(&pending.place));
            refusal.add(Reason::Limit, before - self.pending.len(), || format!("{labels}: {reason}"));
            self.table.remove(|seen| is_gone(&seen.place));
        }
        // Rows are the same group at the same time; within a row the order of slots makes equal requests equal bytes.
        self.pending.sort_unstable_by_key(|pending| (pending.place.group, pending.at, pending.place.slot));
        let (mut row, mut kept_out): (Vec<(u32, f64)>, _) = (Vec::new(), BTreeSet::new());
        for samples in self.pending.chunk_by(|a, b| (a.place.group, a.at) == (b.place.group, b.at)) {
            row.clear();
            row.extend(samples.iter().map(|sample| (sample.place.slot, sample.value)));
            let at = Timestamp::from_millis(samples[0].at);
            let group = samples[0].place.group;
            let mut keep_out = |slot| {
                kept_out.insert((Place { group, slot }, samples[0].at));
            };
            match self.groups.append(store, group, at, &row)? {
                Some(refused) => {
                    self.counters.samples += (row.len() - refused.slots.len()) as u64;
                    if !refused.slots.is_empty() {
                        refused.slots.iter().copied().for_each(keep_out);
                        refusal.add(Reason::Limit, refused.slots.len(), || refused.first);
                    }
                }
                None => {
                    row.iter().for_each(|(slot, _)| keep_out(*slot));
                    refusal.add(Reason::OutOfOrder, row.len(), || format!("out of order samples at {at}"));
                }
            }
        }
        Ok(kept_out)
    }

    /// Makes what is known of a series true again where the store has kept samples out: the newest is what it has taken.
    fn take_back(&mut self, undo: &Undo, kept_out: &BTreeSet<(Place, i64)>) {
        if kept_out.is_empty() {
            return;
        }
        let places: BTreeSet<Place> = kept_out.iter().map(|(place, _)| *place).collect();
        let mut newest: BTreeMap<Place, (i64, u64)> = BTreeMap::new();
        for Pending { place, at, value } in &self.pending {
            if places.contains(place) && !kept_out.contains(&(*place, *at)) {
                let newest = newest.entry(*place).or_insert((*at, value.to_bits()));
                *newest = (*newest).max((*at, value.to_bits()));
            }
        }
        // A series that came twice is told of twice; the first is what was before.
        for Before { key, seen, .. } in undo.iter().rev().filter(|before| places.contains(&before.seen.place)) {
            let is_new = |(at, _): &&(i64, u64)| *at > seen.at || (*at == seen.at && seen.bits.is_none());
            let taken = newest.get(&seen.place).filter(is_new);
            self.table.set(*key, taken.map_or(*seen, |(at, bits)| Seen { at: *at, bits: Some(*bits), ..*seen }));
        }
    }

    /// Gives up the places of series that have ended.
    fn sweep<D: Disk>(&mut self, now: Timestamp, store: &mut Store<D>) {
        if self.next_sweep.is_some_and(|at| now < at) {
            return;
        }
        self.next_sweep = Some(now + SWEEP);
        let oldest = (now - IDLE).as_millis();
        let gone = self.table.remove(|seen| seen.at < oldest);
        self.groups.remove(store, &gone);
    }
}

/// Why samples are refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Reason {
    Labels,
    OutOfOrder,
    Duplicate,
    OutOfBounds,
    Limit,
}

/// What of a request was refused: how much for which reason, and the first in words.
#[derive(Default)]
struct Refusal {
    refused: Refused,
    first: Option<String>,
}

impl Refusal {
    fn add(&mut self, reason: Reason, samples: usize, text: impl FnOnce() -> String) {
        let count = match reason {
            Reason::Labels => &mut self.refused.labels,
            Reason::OutOfOrder => &mut self.refused.out_of_order,
            Reason::Duplicate => &mut self.refused.duplicate,
            Reason::OutOfBounds => &mut self.refused.out_of_bounds,
            Reason::Limit => &mut self.refused.limit,
        };
        *count += samples as u64;
        self.first.get_or_insert_with(text);
    }

    fn outcome(self, counters: &mut Counters) -> Outcome {
        let (sum, own) = (&mut counters.refused, &self.refused);
        sum.labels += own.labels;
        sum.out_of_order += own.out_of_order;
        sum.duplicate += own.duplicate;
        sum.out_of_bounds += own.out_of_bounds;
        sum.limit += own.limit;
        match self.first {
            None => Outcome::Taken,
            Some(first) => {
                let count = own.labels + own.out_of_order + own.duplicate + own.out_of_bounds + own.limit;
                Outcome::Refused(format!("{first} ({count} samples refused, the others stored)"))
            }
        }
    }
}

/// Labels that no series can have.
#[derive(Debug)]
pub(crate) struct BadLabels(String);

impl fmt::Display for BadLabels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether a series may be called so.
fn check(labels: &Labels) -> Result<(), BadLabels> {
    let shown = || crate::ingest::shown(&labels.to_string());
    if labels.get(METRIC_NAME).is_none() {
        return Err(BadLabels(format!("a series has no metric name: {}", shown())));
    }
    if labels.len() > MAX_LABELS {
        return Err(BadLabels(format!("a series has {} labels, more than {MAX_LABELS}: {}", labels.len(), shown())));
    }
    for (name, value) in labels.iter() {
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(BadLabels(format!("a label's name has 1 to {MAX_NAME_BYTES} bytes: {}", shown())));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(BadLabels(format!("the value of {name} is longer than {MAX_VALUE_BYTES} bytes: {}", shown())));
        }
    }
    Ok(())
}
