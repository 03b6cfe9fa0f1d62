//! Rules in motion: one bench that drives a [`RuleSet`] as the engine does.

mod files;

mod life;

mod state;

use std::collections::BTreeMap;

use watchfire_promql::script::Memory;
use watchfire_shared::labels::{ALERT_NAME, Labels};
use watchfire_shared::sample::is_stale;
use watchfire_shared::time::{Span, Timestamp};

use super::view::RulesView;
use super::*;

/// Any time that is a multiple of nothing in particular.
const BEGIN: Timestamp = Timestamp::from_millis(1_767_225_612_345);

/// A rule set over series whose values are set by hand and are current at every evaluation.
struct Bench {
    set: RuleSet,
    rules: String,
    live: BTreeMap<Labels, f64>,
    memory: Memory,
    /// What is on disk.
    records: BTreeMap<String, Vec<u8>>,
    /// The first regular time; times in tests are seconds from here.
    zero: Timestamp,
    now: Timestamp,
    /// What notification was told, `SECONDS firing|resolved NAME LABELS`.
    told: Vec<String>,
    /// `SECONDS GROUP` for each evaluation.
    evaluated: Vec<String>,
    facts: Vec<Fact>,
    appended: Vec<Append>,
}

impl Bench {
    /// A set that sees the fleet, with the groups of one file; its regular times begin at 0.
    fn new(rules: &str) -> Self {
        let mut out = Output::default();
        let mut set = RuleSet::new(Settings::default(), groups(rules), [], BEGIN, &mut out);
        set.set_fresh(BEGIN, true);
        let mut bench = Self {
            set,
            rules: rules.to_owned(),
            live: BTreeMap::new(),
            memory: Memory::default(),
            records: BTreeMap::new(),
            zero: BEGIN,
            now: BEGIN,
            told: Vec::new(),
            evaluated: Vec::new(),
            facts: Vec::new(),
            appended: Vec::new(),
        };
        bench.take(out);
        // The evaluation that follows from being fresh comes first; the next one is regular.
        bench.run_until(BEGIN + Span::from_millis(60));
        bench.zero = bench.set.deadline().unwrap();
        bench.run_until(bench.zero - Span::from_millis(1));
        bench.evaluated.clear();
        bench
    }

    fn at(&self, seconds: f64) -> Timestamp {
        self.zero + Span::from_millis((seconds * 1000.0) as i64)
    }

    /// Sets a series from now on.
    fn put(&mut self, series: &str, value: f64) {
        let (labels, _) = watchfire_promql::parse_series(series).unwrap();
        self.live.insert(labels, value);
    }

    /// Sets a series and says that it changed.
    fn change(&mut self, series: &str, value: f64) {
        self.put(series, value);
        let (labels, _) = watchfire_promql::parse_series(series).unwrap();
        self.set.series_changed(self.now, &labels);
    }

    fn remove(&mut self, series: &str) {
        let (labels, _) = watchfire_promql::parse_series(series).unwrap();
        self.memory.insert(labels.clone(), self.now.as_millis(), watchfire_shared::sample::stale_nan());
        self.live.remove(&labels);
    }

    /// Goes to a time, doing what is due on the way.
    fn run(&mut self, seconds: f64) {
        self.run_until(self.at(seconds));
    }

    fn run_until(&mut self, end: Timestamp) {
        while let Some(due) = self.set.deadline().filter(|due| *due <= end) {
            self.now = due.max(self.now);
            let mut out = Output::default();
            self.set.wake(self.now, &mut out);
            assert!(!out.jobs.is_empty(), "woken at {} for nothing", self.now);
            self.take(out);
        }
        self.now = end;
    }

    /// Does what the set wants done.
    fn take(&mut self, out: Output) {
        for job in out.jobs {
            for (labels, value) in &self.live {
                self.memory.insert(labels.clone(), job.at.as_millis(), *value);
            }
            self.evaluated.push(format!("{:.3} {}", self.seconds(job.at), job.group.name));
            let evaluation = job.run(&self.memory);
            let mut applied = Output::default();
            self.set.apply(self.now, evaluation, &mut applied);
            self.take(applied);
        }
        for change in out.changes {
            assert_eq!(change.table, TABLE);
            match change.value {
                Some(value) => drop(self.records.insert(change.key, value)),
                None => drop(self.records.remove(&change.key)),
            }
        }
        for append in out.appends {
            for (labels, value) in &append.samples {
                self.memory.insert(labels.clone(), append.at.as_millis(), *value);
            }
            self.appended.push(append);
        }
        for alert in out.alerts {
            let word = if alert.ends_at.is_some() { "resolved" } else { "firing" };
            let name = alert.labels.value(ALERT_NAME).to_owned();
            self.told.push(format!("{:.3} {word} {name} {}", self.seconds(self.now), alert.labels.without(ALERT_NAME)));
        }
        self.facts.extend(out.facts);
    }

    fn seconds(&self, at: Timestamp) -> f64 {
        at.since(self.zero).as_seconds()
    }

    /// kill -9 and a start from what is on disk; the set is blind until it is said to see.
    fn restart(&mut self) {
        let mut out = Output::default();
        let records = self.records.clone();
        self.set = RuleSet::new(Settings::default(), groups(&self.rules), records, self.now, &mut out);
        self.take(out);
    }

    fn reload(&mut self, rules: &str) {
        let mut out = Output::default();
        self.rules = rules.to_owned();
        self.set.reload(Settings::default(), groups(rules), self.now, &mut out);
        self.take(out);
    }

    fn see(&mut self, fresh: bool) {
        self.set.set_fresh(self.now, fresh);
    }

    /// Samples of a name that were appended last, without their name; stale ones are `stale`.
    fn last(&self, name: &str) -> Vec<String> {
        let Some(append) = self
            .appended
            .iter()
            .rev()
            .find(|append| append.samples.iter().any(|(labels, _)| labels.metric_name() == name))
        else {
            return Vec::new();
        };
        let samples = append.samples.iter().filter(|(labels, _)| labels.metric_name() == name);
        let show = |value: f64| if is_stale(value) { "stale".to_owned() } else { value.to_string() };
        samples.map(|(labels, value)| format!("{labels} {}", show(*value))).collect()
    }

    /// What was told since the last time, and nothing else.
    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn groups(rules: &str) -> Vec<Group> {
    parse("f.yml", rules).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}
