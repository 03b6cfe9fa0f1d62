//! One evaluation of one group: pure computation over a snapshot, for any thread.
//!
//! Rules run in order, and each sees what those before it gave. A rule that fails keeps its state and stops none of the
//! others. The job changes nothing: what it found comes back as an [`Evaluation`] for [`RuleSet::apply`](super::RuleSet).

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use watchfire_promql::{Options, Storage, Value};
use watchfire_shared::labels::{ALERT_NAME, Labels, METRIC_NAME};
use watchfire_shared::sample::{Sample, is_stale, stale_nan};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::StateChange;

use super::alert::{self, Alerts, Circumstances, Found, State, Step};
use super::expand::Expander;
use super::overlay::Overlay;
use super::{AlertRule, Group, Rule, RuleKind, Settings, saved};
use crate::alert::Alert;

/// What is known of one rule between evaluations.
#[derive(Clone, Debug, Default)]
pub(super) struct RuleState {
    pub(super) alerts: Alerts,
    /// The series that the last good evaluation gave; those that are missing from the next one are marked stale.
    pub(super) series: BTreeSet<Labels>,
    /// What was wrong with the last evaluation.
    pub(super) error: Option<String>,
    pub(super) evaluated_at: Option<Timestamp>,
    pub(super) took: Span,
}

/// An evaluation that is to be made.
#[derive(Clone, Debug)]
pub struct Job {
    pub group: Arc<Group>,
    /// The time that it is made for.
    pub at: Timestamp,
    pub(super) index: usize,
    pub(super) generation: u64,
    pub(super) fresh: bool,
    pub(super) states: Arc<Vec<RuleState>>,
    pub(super) settings: Arc<Settings>,
}

/// A rule that could not be evaluated.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The rule's place in its group, from 0.
    pub rule: usize,
    pub message: String,
}

/// What an evaluation found, to be given to [`RuleSet::apply`](super::RuleSet::apply).
#[derive(Debug)]
pub struct Evaluation {
    pub group: Arc<Group>,
    pub at: Timestamp,
    pub failures: Vec<Failure>,
    pub(super) index: usize,
    pub(super) generation: u64,
    pub(super) states: Vec<RuleState>,
    pub(super) alerts: Vec<Alert>,
    /// Of one time: the evaluation's, less the group's query offset.
    pub(super) samples: Vec<(Labels, f64)>,
    pub(super) samples_at: Timestamp,
    pub(super) changes: Vec<StateChange>,
}

impl Job {
    /// Evaluates the group. What each rule took is not measured.
    #[must_use]
    pub fn run(self, storage: &dyn Storage) -> Evaluation {
        self.run_timed(storage, &|| Timestamp::EPOCH)
    }

    /// Evaluates the group; `clock` is read around each rule and serves only to show what it took.
    #[must_use]
    pub fn run_timed(self, storage: &dyn Storage, clock: &dyn Fn() -> Timestamp) -> Evaluation {
        let samples_at = self.at - self.group.query_offset.unwrap_or_default();
        let mut pass = Pass {
            job: &self,
            overlay: Overlay::new(storage, samples_at),
            samples_at,
            alerts: Vec::new(),
            samples: BTreeMap::new(),
            changes: Vec::new(),
        };
        let (mut states, mut failures) = (Vec::with_capacity(self.group.rules.len()), Vec::new());
        for (at, rule) in self.group.rules.iter().enumerate() {
            let mut state = self.states.get(at).cloned().unwrap_or_default();
            let begin = clock();
            state.error = pass.guarded(rule, &mut state).err();
            state.took = clock().since(begin);
            state.evaluated_at = Some(self.at);
            failures.extend(state.error.clone().map(|message| Failure { rule: at, message }));
            states.push(state);
        }
        let Pass { alerts, samples, changes, .. } = pass;
        let samples = samples.into_iter().collect();
        let Self { group, at, index, generation, .. } = self;
        Evaluation { group, at, failures, index, generation, states, alerts, samples, samples_at, changes }
    }
}

struct Pass<'a> {
    job: &'a Job,
    overlay: Overlay<'a>,
    samples_at: Timestamp,
    alerts: Vec<Alert>,
    samples: BTreeMap<Labels, f64>,
    changes: Vec<StateChange>,
}

impl Pass<'_> {
    /// Evaluates a rule. One whose evaluation panics has failed and keeps its state; a group that never came back from an
    /// evaluation would never be evaluated again.
    fn guarded(&mut self, rule: &Rule, state: &mut RuleState) -> Result<(), String> {
        let before = state.clone();
        let result = catch_unwind(AssertUnwindSafe(|| self.rule(rule, state)));
        result.unwrap_or_else(|panic| {
            *state = before;
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            Err(format!("the evaluation panicked, which is a mistake in Watchfire: {text}"))
        })
    }

    fn rule(&mut self, rule: &Rule, state: &mut RuleState) -> Result<(), String> {
        let vector = self.query(rule)?;
        let samples = match &rule.kind {
            RuleKind::Record => record(rule, vector, self.job.group.limit)?,
            RuleKind::Alert(alert) => self.alert(rule, alert, &vector, &mut state.alerts)?,
        };
        self.append(samples, state);
        Ok(())
    }

    fn query(&self, rule: &Rule) -> Result<Vec<Sample>, String> {
        let settings = &self.job.settings;
        let answer = watchfire_promql::instant(&self.overlay, &rule.expr, self.samples_at, &settings.options());
        vector(answer.map_err(|error| error.to_string())?.value)
    }

    fn alert(
        &mut self,
        rule: &Rule,
        alert: &AlertRule,
        vector: &[Sample],
        alerts: &mut Alerts,
    ) -> Result<Vec<(Labels, f64)>, String> {
        let expander = Expander::new(&self.overlay, &self.job.settings, self.job.at);
        let found = vector.iter().map(|sample| expand(&expander, rule, alert, sample)).collect();
        let Job { at, fresh, .. } = *self.job;
        let result = alert::step(alerts, found, alert, Circumstances { at, fresh, limit: self.job.group.limit });
        let (step, error) = match result {
            Ok(step) => (step, None),
            Err((message, step)) => (step, Some(message)),
        };
        self.take(rule, step, alerts);
        match error {
            Some(message) => Err(message),
            None => Ok(alerts.values().filter_map(alert::ActiveAlert::samples).flatten().collect()),
        }
    }

    fn take(&mut self, rule: &Rule, step: Step, alerts: &Alerts) {
        let url = self.job.settings.generator_url(rule);
        self.alerts.extend(step.updates.into_iter().map(|alert| Alert { generator_url: url.clone(), ..alert }));
        let saved = step.changed.iter().filter_map(|labels| alerts.get(labels));
        self.changes.extend(saved.map(|alert| saved::save(rule.id, alert)));
        self.changes.extend(step.gone.iter().map(|labels| saved::forget(rule.id, labels)));
    }

    /// Adds a rule's samples, and a stale marker for each series that it gave last time and not now.
    ///
    /// Of two values for one series the first stays, as in Prometheus; a value goes before a marker.
    fn append(&mut self, samples: Vec<(Labels, f64)>, state: &mut RuleState) {
        let series: BTreeSet<Labels> = samples.iter().map(|(labels, _)| labels.clone()).collect();
        let gone = state.series.difference(&series).map(|labels| (labels.clone(), stale_nan()));
        let mut added = Vec::new();
        for (labels, value) in samples.into_iter().chain(gone) {
            let known = self.samples.get(&labels);
            if known.is_none_or(|known| is_stale(*known) && !is_stale(value)) {
                self.samples.insert(labels.clone(), value);
                added.push((labels, value));
            }
        }
        self.overlay.add(&added);
        state.series = series;
    }
}

/// A rule's result as a vector; a scalar becomes one sample without labels.
pub(crate) fn vector(value: Value) -> Result<Vec<Sample>, String> {
    match value {
        Value::Vector(vector) => Ok(vector),
        Value::Scalar(value) => Ok(vec![Sample { labels: Labels::default(), at: Timestamp::EPOCH, value }]),
        _ => Err("rule result is not a vector or scalar".to_owned()),
    }
}

fn record(rule: &Rule, vector: Vec<Sample>, limit: usize) -> Result<Vec<(Labels, f64)>, String> {
    if limit > 0 && vector.len() > limit {
        return Err(format!("exceeded limit of {limit} with {} series", vector.len()));
    }
    let mut results = BTreeMap::new();
    for sample in vector {
        let mut labels = sample.labels.to_builder();
        labels.set(METRIC_NAME, rule.name.as_str());
        for (name, value) in &rule.labels {
            labels.set(name.as_str(), value.as_str());
        }
        if results.insert(labels.build(), sample.value).is_some() {
            return Err("vector contains metrics with the same labelset after applying rule labels".to_owned());
        }
    }
    Ok(results.into_iter().collect())
}

fn expand(expander: &Expander<'_>, rule: &Rule, alert: &AlertRule, sample: &Sample) -> Found {
    let mut labels = sample.labels.to_builder();
    labels.remove(METRIC_NAME);
    for (name, template) in &rule.labels {
        labels.set(name.as_str(), expander.expand(template, sample));
    }
    labels.set(ALERT_NAME, rule.name.as_str());
    let annotations = alert.annotations.iter();
    let annotations = annotations.map(|(name, template)| (name.as_str(), expander.expand(template, sample)));
    Found { labels: labels.build(), annotations: Labels::new(annotations), value: sample.value }
}

impl RuleState {
    /// The most urgent state of the rule's alerts; resolved if there are none.
    pub(super) fn worst(&self) -> State {
        self.alerts.values().map(|alert| alert.state).max().unwrap_or(State::Resolved)
    }
}

impl Settings {
    pub(super) fn options(&self) -> Options<'static> {
        Options {
            lookback: self.lookback,
            max_samples: self.max_samples,
            subquery_step: self.interval,
            ..Options::default()
        }
    }
}
