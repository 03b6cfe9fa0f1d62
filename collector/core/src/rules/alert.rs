//! The life of one rule's alerts: pending, firing, resolved (`prometheus/rules/alerting.go`, `AlertingRule.Eval`).
//!
//! A label set of the result becomes pending and fires once it has been there for the rule's `for`. One that leaves the
//! result is forgotten if it was pending; a firing one holds for `keep_firing_for`, then it is resolved and kept for a
//! while, so that what notifies can be told again after a crash. Value and annotations stay as they last were.
//!
//! While the collector is blind the result says nothing about what is absent: what was there stays, new label sets begin to
//! be pending, and nothing fires or resolves until an evaluation on fresh data has confirmed it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::{ALERT_NAME, Labels, METRIC_NAME};
use watchfire_shared::time::{Span, Timestamp};

use super::AlertRule;
use crate::alert::Alert;

/// How long a resolved alert is kept; the value that Prometheus keeps and re-sends it for.
pub const RESOLVED_RETENTION: Span = Span::from_seconds(15 * 60);

/// Where an alert is in its life. The order is that of urgency.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    Resolved,
    Pending,
    Firing,
}

impl State {
    /// The word that Prometheus' API has for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Resolved => "inactive",
            Self::Pending => "pending",
            Self::Firing => "firing",
        }
    }
}

/// One label set of an alerting rule.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ActiveAlert {
    pub labels: Labels,
    pub annotations: Labels,
    /// The value that the expression last gave.
    pub value: f64,
    pub state: State,
    /// When the label set was first in the result.
    pub active_at: Timestamp,
    pub fired_at: Option<Timestamp>,
    pub resolved_at: Option<Timestamp>,
    /// Since when it has been out of the result and fires only because of `keep_firing_for`.
    pub keep_firing_since: Option<Timestamp>,
}

/// The alerts of one rule by their labels.
pub type Alerts = BTreeMap<Labels, ActiveAlert>;

/// One label set of an evaluation's result, labels and annotations expanded.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Found {
    pub(super) labels: Labels,
    pub(super) annotations: Labels,
    pub(super) value: f64,
}

/// What an evaluation did to a rule's alerts.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Step {
    /// Alerts that notification has to learn about: fired, resolved, or firing with other annotations.
    pub(super) updates: Vec<Alert>,
    /// Alerts whose durable part changed.
    pub(super) changed: BTreeSet<Labels>,
    /// Alerts that are gone.
    pub(super) gone: BTreeSet<Labels>,
}

/// The circumstances of an evaluation.
#[derive(Clone, Copy, Debug)]
pub(super) struct Circumstances {
    pub(super) at: Timestamp,
    /// Whether the collector sees the fleet; otherwise nothing fires or resolves.
    pub(super) fresh: bool,
    /// Alerts that the rule may have, 0 for any number.
    pub(super) limit: usize,
}

/// Takes the result of one evaluation.
///
/// # Errors
/// Two results have the same labels: nothing was changed. Or there are more alerts than the limit: the rule's alerts were
/// cleared, and what the step says about them (second of the pair) has to be told all the same.
pub(super) fn step(
    alerts: &mut Alerts,
    found: Vec<Found>,
    rule: &AlertRule,
    circumstances: Circumstances,
) -> Result<Step, (String, Step)> {
    let Circumstances { at, fresh, limit } = circumstances;
    let mut step = Step::default();
    let present: BTreeSet<Labels> = found.iter().map(|found| found.labels.clone()).collect();
    if present.len() < found.len() {
        let message = "vector contains metrics with the same labelset after applying alert labels";
        return Err((message.to_owned(), step));
    }
    for found in found {
        admit(alerts, found, at, &mut step);
    }
    let mut active = 0;
    for (labels, alert) in alerts.iter_mut() {
        let change = match present.contains(labels) {
            true => alert.while_present(rule, at, fresh),
            false => alert.while_absent(rule, at, fresh),
        };
        active += usize::from(matches!(alert.state, State::Pending | State::Firing) && change != Change::Gone);
        step.note(labels, alert, change, at);
    }
    alerts.retain(|labels, _| !step.gone.contains(labels));
    if limit > 0 && active > limit {
        let mut cleared = clear(alerts, at);
        // Of what fired only now nobody was told.
        cleared.updates.retain(|alert| alert.starts_at < at);
        return Err((format!("exceeded limit of {limit} with {active} alerts"), cleared));
    }
    Ok(step)
}

/// Ends every alert, as when its rule is gone or exceeds its limit.
pub(super) fn clear(alerts: &mut Alerts, at: Timestamp) -> Step {
    let mut step = Step::default();
    for (labels, mut alert) in std::mem::take(alerts) {
        if alert.state == State::Firing {
            alert.resolve(at);
            step.updates.extend(alert.to_alert(at));
        }
        step.gone.insert(labels);
    }
    step
}

/// Takes a label set of the result in: as a new pending alert, or as news of one that is active.
fn admit(alerts: &mut Alerts, found: Found, at: Timestamp, step: &mut Step) {
    match alerts.get_mut(&found.labels) {
        Some(alert) if alert.state != State::Resolved => {
            alert.value = found.value;
            if alert.annotations != found.annotations {
                alert.annotations = found.annotations;
                if alert.state == State::Firing {
                    step.updates.extend(alert.to_alert(at));
                }
            }
        }
        _ => {
            step.changed.insert(found.labels.clone());
            alerts.insert(found.labels.clone(), ActiveAlert::pending(found, at));
        }
    }
}

/// What happened to one alert in one evaluation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Change {
    None,
    /// Its durable part changed, and notification does not care.
    Kept,
    Fired,
    Resolved,
    Gone,
}

impl Step {
    fn note(&mut self, labels: &Labels, alert: &ActiveAlert, change: Change, at: Timestamp) {
        match change {
            Change::None => {}
            Change::Kept => drop(self.changed.insert(labels.clone())),
            Change::Gone => {
                self.changed.remove(labels);
                self.gone.insert(labels.clone());
            }
            Change::Fired | Change::Resolved => {
                self.changed.insert(labels.clone());
                self.updates.retain(|update| update.labels != *labels);
                self.updates.extend(alert.to_alert(at));
            }
        }
    }
}

impl ActiveAlert {
    fn pending(found: Found, at: Timestamp) -> Self {
        Self {
            labels: found.labels,
            annotations: found.annotations,
            value: found.value,
            state: State::Pending,
            active_at: at,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
        }
    }

    fn while_present(&mut self, rule: &AlertRule, at: Timestamp, fresh: bool) -> Change {
        let held = self.keep_firing_since.take().is_some();
        if self.state == State::Pending && fresh && at.since(self.active_at) >= rule.hold {
            self.state = State::Firing;
            self.fired_at = Some(at);
            return Change::Fired;
        }
        if held { Change::Kept } else { Change::None }
    }

    fn while_absent(&mut self, rule: &AlertRule, at: Timestamp, fresh: bool) -> Change {
        match self.state {
            State::Resolved if self.resolved_at.is_none_or(|end| at.since(end) > RESOLVED_RETENTION) => Change::Gone,
            State::Pending if fresh => Change::Gone,
            State::Firing if fresh => {
                let held_before = self.keep_firing_since.is_some();
                let since = *self.keep_firing_since.get_or_insert(at);
                if at.since(since) < rule.keep_firing_for {
                    return if held_before { Change::None } else { Change::Kept };
                }
                self.resolve(at);
                Change::Resolved
            }
            _ => Change::None,
        }
    }

    fn resolve(&mut self, at: Timestamp) {
        self.state = State::Resolved;
        self.resolved_at = Some(at);
        self.keep_firing_since = None;
    }

    /// When the alert's state may change by time alone.
    #[must_use]
    pub fn timer(&self, rule: &AlertRule) -> Option<Timestamp> {
        match self.state {
            State::Pending => Some(self.active_at + rule.hold),
            State::Firing => self.keep_firing_since.map(|since| since + rule.keep_firing_for),
            State::Resolved => None,
        }
    }

    /// What notification learns of it; `None` while it is pending.
    ///
    /// The generator URL is the rule's and is left empty here.
    #[must_use]
    pub fn to_alert(&self, at: Timestamp) -> Option<Alert> {
        Some(Alert {
            labels: self.labels.clone(),
            annotations: self.annotations.clone(),
            starts_at: self.fired_at?,
            ends_at: self.resolved_at,
            timeout: false,
            updated_at: at,
            generator_url: String::new(),
        })
    }

    /// The series that tell of it: `ALERTS` and `ALERTS_FOR_STATE`, the latter in seconds since the epoch.
    pub(super) fn samples(&self) -> Option<[(Labels, f64); 2]> {
        if self.state == State::Resolved {
            return None;
        }
        let named = |name: &str| {
            let mut builder = self.labels.to_builder();
            builder.set(METRIC_NAME, name);
            builder
        };
        let mut state = named("ALERTS");
        state.set("alertstate", self.state.as_str());
        let since = named("ALERTS_FOR_STATE").build();
        // Whole seconds, as Prometheus writes them.
        Some([(state.build(), 1.0), (since, self.active_at.as_millis().div_euclid(1000) as f64)])
    }

    /// The name of its rule.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.value(ALERT_NAME)
    }
}

#[cfg(test)]
mod tests;
