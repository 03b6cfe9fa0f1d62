//! A store with its agents, and a model of what it must hold: a map from labels to points, and how it was after each
//! append, since a crash may take back what was not acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::frame::body::{Coding, ValueState};
use watchfire_shared::frame::message::{Data, Dict, Lane, Position, SeriesEntry};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;
use watchfire_shared::member::NodeId;
use watchfire_shared::sample::{MetricKind, STALE_NAN_BITS};
use watchfire_shared::time::{Span, Timestamp};

use crate::disk::{CrashKeeps, Disk, SimDisk};
use crate::{AppendError, DictionaryError, Event, Options, Recovery, Snapshot, Source, Store};

/// Bits of values by time in milliseconds, by labels.
pub(super) type Content = BTreeMap<Labels, BTreeMap<i64, u64>>;

pub(super) fn labels(metric: &str, node: u64) -> Labels {
    Labels::new([("__name__", metric.to_owned()), ("instance", format!("node-{node}")), ("job", "node".to_owned())])
}

pub(super) fn live(node: u64) -> Source {
    Source::Agent(NodeId(node), Lane::Live)
}

pub(super) fn small_segments() -> Options {
    Options { segment_bytes: 600, min_free_bytes: 0, ..Options::default() }
}

/// A block for every five minutes, merged by the hour.
pub(super) fn small_blocks() -> Options {
    Options { block_span: Span::from_seconds(300), ..small_segments() }
}

pub(super) fn content_of(snapshot: &Snapshot) -> Content {
    let series = snapshot.select(&[], Timestamp::MIN, Timestamp::MAX);
    let points = series.into_iter().map(|series| {
        assert_eq!(series.times.len(), series.values.len());
        assert!(series.times.is_sorted_by(|a, b| a < b), "times rise strictly: {:?}", series.times);
        (series.labels, series.times.iter().copied().zip(series.values.iter().map(|value| value.to_bits())).collect())
    });
    points.collect()
}

/// Fails with the first differences, where there are some.
pub(super) fn assert_same(found: &Content, expected: &Content, of: impl std::fmt::Debug) {
    let points = |content: &Content| -> BTreeSet<(Labels, i64, u64)> {
        let all = content.iter().flat_map(|(labels, points)| points.iter().map(move |point| (labels, point)));
        all.map(|(labels, (at, bits))| (labels.clone(), *at, *bits)).collect()
    };
    let (found, expected) = (points(found), points(expected));
    let missing: Vec<_> = expected.difference(&found).take(5).collect();
    let invented: Vec<_> = found.difference(&expected).take(5).collect();
    assert!(missing.is_empty() && invented.is_empty(), "{of:?}: missing {missing:?}, invented {invented:?}");
}

/// Without stale markers.
pub(super) fn values_of(content: &Content) -> BTreeSet<(Labels, i64, u64)> {
    let points = content.iter().flat_map(|(labels, points)| points.iter().map(|point| (labels.clone(), point)));
    let points = points.map(|(labels, (at, bits))| (labels, *at, *bits));
    points.filter(|(_, _, bits)| *bits != STALE_NAN_BITS).collect()
}

/// One agent's lane: what an agent keeps to encode its frames.
#[derive(Clone, Default)]
pub(super) struct Agent {
    pub(super) slots: Vec<Option<Labels>>,
    dict_id: u32,
    values: ValueState,
    keyframe: bool,
    epoch: u64,
}

/// What must be in the store after one append.
#[derive(Clone, Default)]
struct Expected {
    content: Content,
    shown: BTreeMap<Source, BTreeSet<Labels>>,
    last: BTreeMap<Source, Position>,
}

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) store: Store<SimDisk>,
    pub(super) options: Options,
    pub(super) now: Timestamp,
    agents: BTreeMap<Source, Agent>,
    /// After each append; the first one is after none.
    history: Vec<Expected>,
    /// How many appends a sync has covered.
    acknowledged: usize,
}

impl World {
    pub(super) fn new(options: Options) -> Self {
        let disk = SimDisk::new();
        let (store, recovery) = Store::open(disk.clone(), options.clone()).unwrap();
        assert_eq!(recovery, Recovery::default());
        Self {
            disk,
            store,
            options,
            now: Timestamp::from_millis(1_700_000_000_000),
            agents: BTreeMap::new(),
            history: vec![Expected::default()],
            acknowledged: 0,
        }
    }

    fn expected(&self) -> &Expected {
        self.history.last().unwrap()
    }

    pub(super) fn content(&self) -> &Content {
        &self.expected().content
    }

    fn note(&mut self, source: &Source, at: Timestamp, values: &[(Labels, f64)], last: Option<Position>) {
        let mut expected = self.expected().clone();
        let now: BTreeSet<Labels> = values.iter().map(|(labels, _)| labels.clone()).collect();
        let shown = expected.shown.insert(source.clone(), now.clone()).unwrap_or_default();
        let gone = shown.difference(&now).map(|labels| (labels.clone(), STALE_NAN_BITS));
        let points = values.iter().map(|(labels, value)| (labels.clone(), value.to_bits())).chain(gone);
        for (labels, bits) in points {
            expected.content.entry(labels).or_default().entry(at.as_millis()).or_insert(bits);
        }
        if let Some(last) = last {
            expected.last.insert(source.clone(), last);
        }
        self.history.push(expected);
    }

    /// Gives the agent these series, from the start.
    pub(super) fn connect(&mut self, source: &Source, slots: Vec<Option<Labels>>) {
        let entries: Vec<(u32, Labels)> =
            slots.iter().zip(0..).filter_map(|(labels, slot)| labels.clone().map(|labels| (slot, labels))).collect();
        let agent = self.agents.entry(source.clone()).or_default();
        *agent = Agent { slots, dict_id: 1, keyframe: true, epoch: agent.epoch + 1, ..Agent::default() };
        let dict = dict(1, true, &entries, Vec::new());
        let labels: Vec<Labels> = entries.into_iter().map(|(_, labels)| labels).collect();
        self.store.set_dictionary(source, &dict, &labels).unwrap();
    }

    pub(super) fn slots(&self, source: &Source) -> Vec<Option<Labels>> {
        self.agents.get(source).map(|agent| agent.slots.clone()).unwrap_or_default()
    }

    /// Changes what one slot of the agent holds.
    pub(super) fn change_slot(&mut self, source: &Source, slot: usize, labels: Option<Labels>) {
        let agent = self.agents.get_mut(source).unwrap();
        if agent.slots.len() <= slot {
            agent.slots.resize(slot + 1, None);
        }
        let before = std::mem::replace(&mut agent.slots[slot], labels.clone());
        agent.dict_id += 1;
        agent.keyframe = true;
        let add: Vec<(u32, Labels)> = labels.into_iter().map(|labels| (slot as u32, labels)).collect();
        let dict = dict(agent.dict_id, false, &add, before.iter().map(|_| slot as u32).collect());
        let labels: Vec<Labels> = add.into_iter().map(|(_, labels)| labels).collect();
        match self.store.set_dictionary(source, &dict, &labels) {
            Err(DictionaryError::OutOfOrder { .. }) => self.connect(source, self.slots(source)),
            changed => changed.unwrap(),
        }
    }

    /// Encodes the agent's next frame, which the store has not got yet.
    pub(super) fn frame(&mut self, source: &Source, value: impl Fn(usize) -> f64) -> (Position, Data) {
        let last = self.store.last(source);
        let agent = self.agents.get_mut(source).unwrap();
        let epoch = last.map_or(0, |last| last.epoch).max(agent.epoch);
        let seq = last.filter(|last| last.epoch == epoch).map_or(1, |last| last.seq + 1);
        agent.epoch = epoch;
        let keyframe = std::mem::take(&mut agent.keyframe) || seq.is_multiple_of(60);
        let values: Vec<f64> = (0..agent.slots.len()).map(value).collect();
        let mut body = Vec::new();
        agent.values.resize(values.len());
        agent.values.encode(&values, keyframe, &mut body);
        let n = agent.slots.len() as u32;
        let data =
            Data { lane: Lane::Live, seq, dict_id: agent.dict_id, ts_ms: 0, n, keyframe, body, coding: Coding::Short };
        (Position { epoch, seq }, data)
    }

    /// One frame of the agent, ten seconds after the last of anything; the value of a slot by its number.
    pub(super) fn tick(&mut self, source: &Source, value: impl Fn(usize) -> f64) {
        self.now += Span::from_seconds(10);
        self.tick_at(source, self.now, value);
    }

    pub(super) fn tick_at(&mut self, source: &Source, at: Timestamp, value: impl Fn(usize) -> f64) {
        let (position, data) = self.frame(source, &value);
        match self.store.append(source, position, at, &data) {
            // An agent that was silent for long is asked for its dictionary.
            Err(AppendError::NeedsDictionary) => {
                self.connect(source, self.slots(source));
                return self.tick_at(source, at, value);
            }
            appended => appended.unwrap(),
        }
        let slots = self.slots(source).into_iter().enumerate();
        let values: Vec<_> = slots.filter_map(|(slot, labels)| Some((labels?, value(slot)))).collect();
        self.note(source, at, &values, Some(position));
    }

    pub(super) fn local(&mut self, name: &str, samples: &[(Labels, f64)]) {
        self.now += Span::from_seconds(10);
        self.store.append_local(name, self.now, samples).unwrap();
        let source = Source::Local(name.to_owned());
        let before = self.expected().shown.get(&source).is_some_and(|shown| !shown.is_empty());
        if before || !samples.is_empty() {
            let last = self.store.last(&source);
            self.note(&source, self.now, samples, last);
        }
    }

    /// A row of a source whose slots are the numbers of its series, which it gets as they come.
    pub(super) fn partial(&mut self, name: &str, labels: impl Fn(u8) -> Labels, row: &[(u8, f64)], gone: &[u8]) {
        if row.is_empty() {
            return;
        }
        self.now += Span::from_seconds(10);
        let known: BTreeSet<u32> = self.store.slots(name).into_iter().map(|state| state.slot).collect();
        let gone: Vec<u32> = gone.iter().map(|slot| u32::from(*slot)).filter(|slot| known.contains(slot)).collect();
        if !gone.is_empty() {
            self.store.remove_series(name, gone).unwrap();
        }
        let new = row.iter().map(|(slot, _)| *slot).filter(|slot| !known.contains(&u32::from(*slot)));
        let new: Vec<(u32, Labels)> = new.map(|slot| (u32::from(slot), labels(slot))).collect();
        assert_eq!(self.store.add_series(name, new), Ok(Vec::new()));
        let values: Vec<(u32, f64)> = row.iter().map(|(slot, value)| (u32::from(*slot), *value)).collect();
        self.store.append_partial(name, self.now, &values).unwrap();
        let mut expected = self.expected().clone();
        for (slot, value) in row {
            let series = expected.content.entry(labels(*slot)).or_default();
            series.entry(self.now.as_millis()).or_insert(value.to_bits());
        }
        let source = Source::Local(name.to_owned());
        if let Some(last) = self.store.last(&source) {
            expected.last.insert(source, last);
        }
        self.history.push(expected);
    }

    pub(super) fn mark_stale(&mut self, source: &Source) {
        if let Some(at) = self.store.mark_stale(source).unwrap() {
            self.note(source, at, &[], None);
        }
    }

    /// Deletes what the selectors select within the times, of what there is now.
    pub(super) fn delete(&mut self, selectors: &[Vec<Matcher>], from: Timestamp, to: Timestamp) {
        self.store.delete(selectors, from, to).unwrap();
        self.note_deleted(selectors, from, to);
        self.acknowledge();
    }

    pub(super) fn note_deleted(&mut self, selectors: &[Vec<Matcher>], from: Timestamp, to: Timestamp) {
        let mut expected = self.expected().clone();
        expected.content.retain(|labels, points| {
            let selects = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches_labels(labels));
            let selected = selectors.iter().any(selects);
            points.retain(|at, _| !(selected && from.as_millis() <= *at && *at <= to.as_millis()));
            !points.is_empty()
        });
        self.history.push(expected);
    }

    /// Maintains until there is nothing more to do; returns what was done.
    pub(super) fn maintain(&mut self) -> Vec<Event> {
        let mut events = Vec::new();
        for _ in 0..1000 {
            let mut done = self.store.maintain(self.now).unwrap();
            events.append(&mut done.events);
            if !done.busy {
                // A mark ends with a sync of what was pending.
                if self.store.pending().bytes == 0 {
                    self.acknowledge();
                }
                return events;
            }
        }
        panic!("there is no end to it: {events:?}");
    }

    pub(super) fn sync(&mut self) {
        self.store.sync().unwrap();
        self.acknowledge();
    }

    /// A sync succeeded.
    pub(super) fn acknowledge(&mut self) {
        self.acknowledged = self.history.len() - 1;
        self.check_durable();
    }

    /// What counts as durable is what was acknowledged.
    pub(super) fn check_durable(&self) {
        let acknowledged = &self.history[self.acknowledged];
        for source in self.store.sources() {
            assert_eq!(self.store.durable(source), acknowledged.last.get(source).copied(), "{source}");
        }
    }

    pub(super) fn check(&self) {
        assert_same(&content_of(&self.store.snapshot()), self.content(), "what was appended");
        for (source, last) in &self.expected().last {
            assert_eq!(self.store.last(source), Some(*last), "{source}");
        }
    }

    /// Each segment can be read without the others, and what it then gives was appended.
    pub(super) fn check_segments_stand_alone(&self) {
        let whole = values_of(self.content());
        let mut found = BTreeSet::new();
        for name in self.disk.list("wal").unwrap() {
            let path = format!("wal/{name}");
            let alone = SimDisk::new();
            alone.plant(&path, self.disk.content(&path).unwrap());
            let (store, recovery) = Store::open(alone, self.options.clone()).unwrap();
            assert_eq!((recovery.refused_records, recovery.torn_bytes), (0, 0), "{path}");
            found.append(&mut values_of(&content_of(&store.snapshot())));
        }
        assert_eq!(found, whole, "every value is in one of them");
    }

    /// What the store holds is everything up to some append that is not before the last acknowledged one; which one.
    pub(super) fn check_recovered(&self, store: &Store<SimDisk>) -> usize {
        let found = content_of(&store.snapshot());
        let matching = |index: &usize| self.history[*index].content == found;
        (self.acknowledged..self.history.len()).find(matching).unwrap_or_else(|| {
            assert_same(&found, self.content(), "what was recovered, and what was appended at last");
            panic!("nothing that was acknowledged is lost and nothing is invented")
        })
    }

    /// The power fails; what comes back must be everything up to some append that is not before the last acknowledged
    /// one, and the world goes on from there. Agents connect again.
    pub(super) fn crash(&mut self, keeps: CrashKeeps) -> Recovery {
        self.disk.crash(keeps);
        let (store, recovery) = Store::open(self.disk.clone(), self.options.clone()).unwrap();
        self.store = store;
        let index = self.check_recovered(&self.store);
        self.history.truncate(index + 1);
        self.acknowledged = index;
        self.check();
        self.check_durable();
        assert_eq!(recovery.quarantined, [], "a crash damages nothing that was synced");
        assert_eq!(recovery.refused_records, 0);
        for source in self.agents.keys().cloned().collect::<Vec<_>>() {
            let slots = self.slots(&source);
            self.connect(&source, slots);
        }
        recovery
    }
}

pub(super) fn dict(dict_id: u32, base: bool, add: &[(u32, Labels)], remove: Vec<u32>) -> Dict {
    let entry =
        |(slot, labels): &(u32, Labels)| SeriesEntry { slot: *slot, labels: labels.clone(), kind: MetricKind::Gauge };
    Dict { lane: Lane::Live, dict_id, base, add: add.iter().map(entry).collect(), remove }
}

/// A fixed stretch of everything that happens: `steps` appends, a sync after every third.
pub(super) fn everything(world: &mut World, steps: usize, mut after: impl FnMut(&mut World)) {
    for step in 0..steps {
        let source = live(step as u64 % 2);
        let node = step as u64 % 2;
        if world.slots(&source).is_empty() {
            world.connect(&source, (0..3).map(|i| Some(labels(&format!("metric_{i}"), node))).collect());
        }
        match step % 7 {
            3 => world.change_slot(&source, 1, (step % 2 == 0).then(|| labels("metric_1", node))),
            5 => world.change_slot(&source, 3, Some(labels(&format!("metric_{step}"), node))),
            _ => {}
        }
        match step % 9 {
            4 => world.local("rules", &[(labels("alerts", step as u64 % 3), 1.0), (labels("up", 0), step as f64)]),
            7 => world.mark_stale(&source),
            8 => world.local("rules", &[]),
            _ => world.tick(&source, |slot| if slot == 2 { 42.0 } else { step as f64 * 0.25 + slot as f64 }),
        }
        if step % 3 == 2 {
            after(world);
        }
    }
}
