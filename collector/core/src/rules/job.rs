//! One evaluation of one group: pure computation over a snapshot, for any thread.
//!
//! Rules take effect in order, and each sees what those before it gave; expressions that do not depend on each other may be
//! evaluated at the same time. A rule that fails keeps its state and stops none of the others. The job changes nothing: what it found comes back as an [`Evaluation`] for [`RuleSet::apply`](super::RuleSet).

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use watchfire_promql::ast::Selector;
use watchfire_promql::{Options, Storage, Value};
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::sample::{Sample, stale_nan};
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
    /// The series that the last good evaluation gave; sorted. Those that are missing
    /// from the next one are marked stale.
    pub(super) series: Arc<[Labels]>,
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
    pub fn run_timed(self, storage: &dyn Storage, clock: Clock<'_>) -> Evaluation {
        self.run_together(storage, clock, &|count, work| (0..count).for_each(work))
    }

    /// As [`run_timed`](Self::run_timed), with the expressions of rules that do not depend on each other evaluated by
    /// `together`. What is done with their results keeps the order of the rules.
    #[must_use]
    pub fn run_together(self, storage: &dyn Storage, clock: Clock<'_>, together: Together<'_>) -> Evaluation {
        let samples_at = self.at - self.group.query_offset.unwrap_or_default();
        let mut pass = Pass {
            job: &self,
            overlay: Overlay::new(storage, samples_at),
            samples_at,
            words: alert::Words::default(),
            alerts: Vec::new(),
            changes: Vec::new(),
        };
        let (mut states, mut failures) = (Vec::with_capacity(self.group.rules.len()), Vec::new());
        for batch in batches(&self.group.rules) {
            let found = pass.query_all(&self.group.rules[batch.clone()], clock, together);
            for (at, (vector, took)) in batch.zip(found) {
                let rule = &self.group.rules[at];
                let begin = clock();
                let (mut state, error) = pass.guarded(rule, vector, self.states.get(at));
                state.error = error;
                state.took = took + clock().since(begin);
                state.evaluated_at = Some(self.at);
                failures.extend(state.error.clone().map(|message| Failure { rule: at, message }));
                states.push(state);
            }
        }
        let Pass { alerts, overlay, changes, .. } = pass;
        let samples = overlay.into_samples();
        let Self { group, at, index, generation, .. } = self;
        Evaluation { group, at, failures, index, generation, states, alerts, samples, samples_at, changes }
    }
}

/// Tells the time, only to show what things took.
pub type Clock<'a> = &'a (dyn Fn() -> Timestamp + Sync);

/// Calls the function with each number below the first argument, at the same time if it can, and returns after the last.
pub type Together<'a> = &'a dyn Fn(usize, &(dyn Fn(usize) + Sync));

/// A rule's result or what was wrong with it, and what it took.
type Queried = (Result<Vec<Sample>, String>, Span);

/// Runs of rules of which none reads what an earlier one of the same run gives.
fn batches(rules: &[Rule]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let mut start = 0;
    for at in 1..=rules.len() {
        if at == rules.len() || rules[start..at].iter().any(|earlier| rules[at].reads_results_of(earlier)) {
            batches.push(start..at);
            start = at;
        }
    }
    batches
}

impl Rule {
    /// Whether the expression may read series that the other rule gives. Only names are looked at.
    fn reads_results_of(&self, other: &Self) -> bool {
        let given: &[&str] = if other.alert().is_some() { &["ALERTS", "ALERTS_FOR_STATE"] } else { &[&other.name] };
        let reads = |selector: &Selector, name: &str| {
            selector.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME).all(|matcher| matcher.matches(name))
        };
        self.expr.selectors().iter().any(|selector| given.iter().any(|name| reads(selector, name)))
            || self.expr.reads_info_metrics()
    }
}

struct Pass<'a> {
    job: &'a Job,
    overlay: Overlay<'a>,
    samples_at: Timestamp,
    words: alert::Words,
    alerts: Vec<Alert>,
    changes: Vec<StateChange>,
}

impl Pass<'_> {
    /// Takes a rule's result. A rule that fails keeps its state, and so does one whose evaluation panics: a group that never
    /// came back from an evaluation would never be evaluated again.
    fn guarded(
        &mut self,
        rule: &Rule,
        vector: Result<Vec<Sample>, String>,
        before: Option<&RuleState>,
    ) -> (RuleState, Option<String>) {
        let old = || before.cloned().unwrap_or_default();
        let mut state = old();
        let vector = match vector {
            Ok(vector) => vector,
            Err(error) => return (state, Some(error)),
        };
        let result = catch_unwind(AssertUnwindSafe(|| self.rule(rule, vector, &mut state)));
        match result {
            Ok(result) => (state, result.err()),
            Err(panic) => (old(), Some(panicked(&*panic))),
        }
    }

    /// Evaluates the expressions of rules that do not depend on each other.
    fn query_all(&self, rules: &[Rule], clock: Clock<'_>, together: Together<'_>) -> Vec<Queried> {
        let results: Vec<OnceLock<Queried>> = rules.iter().map(|_| OnceLock::new()).collect();
        together(rules.len(), &|at| {
            let begin = clock();
            let result = catch_unwind(AssertUnwindSafe(|| self.query(&rules[at])));
            let result = result.unwrap_or_else(|panic| Err(panicked(&*panic)));
            // A number that comes twice is evaluated for nothing.
            let _ = results[at].set((result, clock().since(begin)));
        });
        let missing = || (Err("the rule was not evaluated".to_owned()), Span::ZERO);
        results.into_iter().map(|result| result.into_inner().unwrap_or_else(missing)).collect()
    }

    fn rule(&mut self, rule: &Rule, vector: Vec<Sample>, state: &mut RuleState) -> Result<(), String> {
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
        let found = vector.iter().map(|sample| expand(&expander, rule, sample)).collect();
        let Job { at, fresh, .. } = *self.job;
        let result = alert::step(alerts, found, alert, Circumstances { at, fresh, limit: self.job.group.limit });
        let (step, error) = match result {
            Ok(step) => (step, None),
            Err((message, step)) => (step, Some(message)),
        };
        self.take(rule, step, alerts);
        match error {
            Some(message) => Err(message),
            None => {
                let samples = alerts.values().filter_map(|alert| alert.samples(&self.words));
                let (mut samples, mut since): (Vec<_>, Vec<_>) = samples.map(|[one, other]| (one, other)).unzip();
                samples.append(&mut since);
                // Two runs in the order of the alerts, which is nearly their own.
                samples.sort_by(|(one, _), (other, _)| one.cmp(other));
                Ok(samples)
            }
        }
    }

    fn take(&mut self, rule: &Rule, step: Step, alerts: &Alerts) {
        let url = self.job.settings.generator_url(rule);
        self.alerts.extend(step.updates.into_iter().map(|alert| Alert { generator_url: url.clone(), ..alert }));
        let saved = step.changed.iter().filter_map(|labels| alerts.get(labels));
        self.changes.extend(saved.map(|alert| saved::save(rule.id, alert)));
        self.changes.extend(step.gone.iter().map(|labels| saved::forget(rule.id, labels)));
    }

    /// Adds a rule's samples, which are sorted, and a stale marker for each series that it gave last time and not now.
    ///
    /// Of two values for one series the first stays, as in Prometheus; a value goes before a marker. Series that go on keep
    /// the label set that they had, so that whoever compares it finds the same one.
    fn append(&mut self, mut samples: Vec<(Labels, f64)>, state: &mut RuleState) {
        let mut gone = Vec::new();
        let mut known = state.series.iter().peekable();
        let mut same = 0;
        for (labels, _) in &mut samples {
            while let Some(other) = known.next_if(|other| *other < labels) {
                gone.push((other.clone(), stale_nan()));
            }
            if let Some(own) = known.next_if(|own| *own == labels) {
                *labels = own.clone();
                same += 1;
            }
        }
        gone.extend(known.map(|other| (other.clone(), stale_nan())));
        if same < samples.len() || !gone.is_empty() {
            state.series = samples.iter().map(|(labels, _)| labels.clone()).collect();
        }
        samples.append(&mut gone);
        self.overlay.add(&samples);
    }
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
    format!("the evaluation panicked, which is a mistake in Watchfire: {text}")
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

fn expand(expander: &Expander<'_>, rule: &Rule, sample: &Sample) -> Found {
    let values = expander.values(sample);
    let mut labels = sample.labels.to_builder();
    labels.remove(METRIC_NAME);
    for (name, value) in expander.expand(rule.templates.labels.iter(), &values) {
        labels.set(name, value);
    }
    let (name, value) = rule.templates.alert_name.clone();
    labels.set(name, value);
    let annotations = Labels::new(expander.expand(rule.templates.annotations.iter(), &values));
    Found { labels: labels.build(), annotations, value: sample.value }
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
