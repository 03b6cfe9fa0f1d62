//! All groups and their state: what is due, what an evaluation changed, what a reload keeps.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::sample::stale_nan;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::StateChange;

use super::alert::{self, ActiveAlert};
use super::job::RuleState;
use super::schedule::Clockwork;
use super::{Append, Evaluation, Fact, Group, Job, Output, Rule, Settings, TABLE, Totals, saved};
use crate::alert::Alert;

/// One group and what is known of it.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) group: Arc<Group>,
    pub(super) states: Arc<Vec<RuleState>>,
    pub(super) clockwork: Clockwork,
    /// When the evaluation that is under way began.
    running: Option<Timestamp>,
    pub(super) evaluated_at: Option<Timestamp>,
    pub(super) took: Span,
}

/// Every group, its schedule and the state of its alerts.
#[derive(Debug)]
pub struct RuleSet {
    pub(super) settings: Arc<Settings>,
    pub(super) groups: Vec<Scheduled>,
    /// Grows with every reload, so that results from before it are known.
    generation: u64,
    fresh: bool,
    totals: Totals,
    /// How often the state of an alert may have changed.
    changes: u64,
}

impl RuleSet {
    /// Begins with the groups and with the durable records (key and value) of [`TABLE`].
    ///
    /// The set is blind at first, see [`RuleSet::set_fresh`]: restored alerts stay as they are until fresh data confirms or
    /// ends them. Alerts of rules that are no more are resolved, their records removed.
    pub fn new(
        settings: Settings,
        groups: Vec<Group>,
        restored: impl IntoIterator<Item = (String, Vec<u8>)>,
        now: Timestamp,
        out: &mut Output,
    ) -> Self {
        let mut states = States::new();
        let (words, mut series) = (alert::Words::default(), BTreeMap::<Fingerprint, Vec<Labels>>::new());
        for (key, value) in restored {
            match saved::load(&key, &value) {
                Some((rule, alert)) => {
                    let (_, state) = states.entry(rule).or_default();
                    series
                        .entry(rule)
                        .or_default()
                        .extend(alert.samples(&words).into_iter().flatten().map(|(labels, _)| labels));
                    state.alerts.insert(alert.labels.clone(), alert);
                }
                None => {
                    out.facts.push(Fact::BadRecord { key: key.clone() });
                    out.changes.push(StateChange { table: TABLE, key, value: None });
                }
            }
        }
        for (rule, mut series) in series {
            series.sort();
            states.entry(rule).or_default().1.series = series.into();
        }
        let settings = Arc::new(settings);
        let mut set =
            Self { settings, groups: Vec::new(), generation: 0, fresh: false, totals: Totals::default(), changes: 1 };
        set.install(groups, &mut states, &[], now);
        end_rest(states, now, out);
        set
    }

    /// Replaces groups and settings, and keeps the state of the rules whose file, group, name and labels are as before.
    ///
    /// Every group is then due. Alerts of rules that are no more are resolved and their series end. The result of a job
    /// from before is ignored.
    pub fn reload(&mut self, settings: Settings, groups: Vec<Group>, now: Timestamp, out: &mut Output) {
        self.generation += 1;
        self.changes += 1;
        self.settings = Arc::new(settings);
        let before = std::mem::take(&mut self.groups);
        let mut states = States::new();
        for old in &before {
            for (rule, state) in old.group.rules.iter().zip(old.states.iter()) {
                states.insert(rule.id, (old.group.source(), state.clone()));
            }
        }
        self.install(groups, &mut states, &before, now);
        self.groups.iter_mut().for_each(|group| group.clockwork.change(now));
        end_rest(states, now, out);
    }

    fn install(&mut self, groups: Vec<Group>, states: &mut States, before: &[Scheduled], now: Timestamp) {
        for group in groups {
            let identity = Labels::new([("file", group.file.as_str()), ("group", &group.name)]).fingerprint().0;
            let interval = group.interval.unwrap_or(self.settings.interval);
            let mut clockwork = Clockwork::new(identity, interval, now);
            let own = group.rules.iter().map(|rule| states.remove(&rule.id).unwrap_or_default().1).collect();
            let mut scheduled = Scheduled {
                states: Arc::new(own),
                running: None,
                evaluated_at: None,
                took: Span::ZERO,
                clockwork: clockwork.clone(),
                group: Arc::new(group),
            };
            let same = |old: &&Scheduled| old.group.source() == scheduled.group.source();
            if let Some(old) = before.iter().find(same) {
                clockwork.continue_from(&old.clockwork);
                (scheduled.evaluated_at, scheduled.took) = (old.evaluated_at, old.took);
            }
            clockwork.end(scheduled.took, scheduled.timer(now));
            scheduled.clockwork = clockwork;
            self.groups.push(scheduled);
        }
    }

    /// Says whether the collector sees the fleet. While it does not, nothing begins to fire and nothing resolves.
    ///
    /// Once it does again every group is due.
    pub fn set_fresh(&mut self, now: Timestamp, fresh: bool) {
        if fresh && !self.fresh {
            self.groups.iter_mut().for_each(|group| group.clockwork.change(now));
        }
        self.fresh = fresh;
    }

    /// Says that a series took another value that should not wait, such as a member's state: the groups that read it are
    /// due in a moment. `labels` include the metric name.
    pub fn series_changed(&mut self, now: Timestamp, labels: &Labels) {
        for scheduled in &mut self.groups {
            if scheduled.group.reads(labels) {
                scheduled.clockwork.change(now);
            }
        }
    }

    /// When [`RuleSet::wake`] has something to do; `None` without groups, or while all of them are being evaluated.
    #[must_use]
    pub fn deadline(&self) -> Option<Timestamp> {
        self.groups.iter().filter(|group| group.running.is_none()).map(|group| group.clockwork.due()).min()
    }

    /// Begins the evaluations that are due.
    pub fn wake(&mut self, now: Timestamp, out: &mut Output) {
        for index in 0..self.groups.len() {
            let scheduled = &mut self.groups[index];
            if scheduled.running.is_some() {
                continue;
            }
            let Some(turn) = scheduled.clockwork.begin(now) else { continue };
            scheduled.running = Some(now);
            if turn.missed > 0 {
                let evaluations = turn.missed.unsigned_abs();
                self.totals.missed += evaluations;
                let (file, group) = scheduled.group.names();
                out.facts.push(Fact::Missed { file, group, evaluations });
            }
            out.jobs.push(self.job(index, turn.at));
        }
    }

    /// An evaluation of one group outside of the schedule.
    pub(crate) fn job(&self, index: usize, at: Timestamp) -> Job {
        let Scheduled { group, states, .. } = &self.groups[index];
        Job {
            group: Arc::clone(group),
            at,
            index,
            generation: self.generation,
            fresh: self.fresh,
            states: Arc::clone(states),
            settings: Arc::clone(&self.settings),
        }
    }

    /// Takes the result of a job; one from before a reload is ignored.
    pub fn apply(&mut self, now: Timestamp, evaluation: Evaluation, out: &mut Output) {
        if evaluation.generation != self.generation {
            return;
        }
        let Evaluation { at, failures, index, states, alerts, samples, samples_at, changes, .. } = evaluation;
        self.totals.evaluations += states.len() as u64;
        self.totals.failures += failures.len() as u64;
        let scheduled = &mut self.groups[index];
        scheduled.tell_failures(&states, out);
        scheduled.states = Arc::new(states);
        scheduled.evaluated_at = Some(at);
        scheduled.took = now.since(scheduled.running.take().unwrap_or(now));
        scheduled.clockwork.end(scheduled.took, scheduled.timer(at));
        if scheduled.took > scheduled.clockwork.interval() {
            let (file, group) = scheduled.group.names();
            out.facts.push(Fact::Slow { file, group, took: scheduled.took });
        }
        self.changes += u64::from(!changes.is_empty());
        out.alerts.extend(alerts);
        out.changes.extend(changes);
        if !samples.is_empty() {
            out.appends.push(Append { source: scheduled.group.source(), at: samples_at, samples });
        }
    }

    /// Every alert that is firing or was resolved of late, with the times that notification knows.
    ///
    /// What notification keeps is brought up to date with it after a start, should the last changes not have reached it.
    #[must_use]
    pub fn known(&self, now: Timestamp) -> Vec<Alert> {
        let mut known = Vec::new();
        for (rule, state) in self.rules() {
            let generator_url = self.settings.generator_url(rule);
            let alerts = state.alerts.values().filter_map(|alert| alert.to_alert(now));
            known.extend(alerts.map(|alert| Alert { generator_url: generator_url.clone(), ..alert }));
        }
        known
    }

    /// Every alert that is pending or firing.
    pub fn active(&self) -> impl Iterator<Item = &ActiveAlert> {
        let alerts = self.rules().flat_map(|(_, state)| state.alerts.values());
        alerts.filter(|alert| alert.state != alert::State::Resolved)
    }

    pub(super) fn rules(&self) -> impl Iterator<Item = (&Rule, &RuleState)> {
        self.groups.iter().flat_map(|scheduled| scheduled.group.rules.iter().zip(scheduled.states.iter()))
    }

    /// The groups in the order of their files.
    pub fn groups(&self) -> impl Iterator<Item = &Group> {
        self.groups.iter().map(|scheduled| &*scheduled.group)
    }

    #[must_use]
    pub const fn totals(&self) -> Totals {
        self.totals
    }

    /// A number that grows whenever the state of an alert may have changed.
    #[must_use]
    pub(crate) const fn changes(&self) -> u64 {
        self.changes
    }

    #[must_use]
    pub const fn is_fresh(&self) -> bool {
        self.fresh
    }
}

/// State by rule, with the source that its samples went to; of restored state that is not known.
type States = BTreeMap<Fingerprint, (String, RuleState)>;

/// Ends what belongs to no rule any more.
fn end_rest(states: States, now: Timestamp, out: &mut Output) {
    let mut stale: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
    for (rule, (source, mut state)) in states {
        let step = alert::clear(&mut state.alerts, now);
        out.alerts.extend(step.updates);
        out.changes.extend(step.gone.iter().map(|labels| saved::forget(rule, labels)));
        if !source.is_empty() {
            stale.entry(source).or_default().extend(state.series.iter().map(|labels| (labels.clone(), stale_nan())));
        }
    }
    for (source, mut samples) in stale {
        samples.sort_by(|(left, _), (right, _)| left.cmp(right));
        samples.dedup_by(|(left, _), (right, _)| left == right);
        if !samples.is_empty() {
            out.appends.push(Append { source, at: now, samples });
        }
    }
}

impl Scheduled {
    /// The earliest point after `at` at which time alone may change an alert.
    fn timer(&self, at: Timestamp) -> Option<Timestamp> {
        let rules = self.group.rules.iter().zip(self.states.iter());
        let timers = rules.filter_map(|(rule, state)| {
            let alerting = rule.alert()?;
            state.alerts.values().filter_map(|alert| alert.timer(alerting)).filter(|timer| *timer > at).min()
        });
        timers.min()
    }

    fn tell_failures(&self, states: &[RuleState], out: &mut Output) {
        for ((rule, before), after) in self.group.rules.iter().zip(self.states.iter()).zip(states) {
            let (file, group) = self.group.names();
            let rule = rule.name.clone();
            match (&before.error, &after.error) {
                (before, Some(message)) if before.as_ref() != Some(message) => {
                    out.facts.push(Fact::Failed { file, group, rule, message: message.clone() });
                }
                (Some(_), None) => out.facts.push(Fact::Recovered { file, group, rule }),
                _ => {}
            }
        }
    }
}

impl Group {
    /// The name of the local source of the group's samples.
    #[must_use]
    pub fn source(&self) -> String {
        format!("rules/{}/{}", self.file, self.name)
    }

    fn names(&self) -> (String, String) {
        (self.file.clone(), self.name.clone())
    }

    /// Whether a rule of the group reads the series.
    #[must_use]
    pub fn reads(&self, labels: &Labels) -> bool {
        let mut selectors = self.rules.iter().flat_map(|rule| rule.expr.selectors());
        selectors.any(|selector| selector.matchers.iter().all(|matcher| matcher.matches_labels(labels)))
    }
}
