//! The life of one rule's alerts: pending, firing, resolved (`prometheus/rules/alerting.go`, `AlertingRule.Eval`).
//!
//! A label set of the result becomes pending and fires once it has been there for the rule's `for`. One that leaves the
//! result is forgotten if it was pending; a firing one holds for `keep_firing_for`, then it is resolved and kept for a
//! while, so that what notifies can be told again after a crash. Value and annotations stay as they last were.
//!
//! While the collector is blind the result says nothing about what is absent: what was there stays, new label sets begin to
//! be pending, and nothing fires or resolves until an evaluation on fresh data has confirmed it.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::{ALERT_NAME, Labels, METRIC_NAME, Text};
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

/// The words of the series that tell of alerts, shared by all of them.
#[derive(Debug)]
pub(super) struct Words {
    metric_name: Text,
    alerts: Text,
    alerts_for_state: Text,
    alert_state: Text,
    pending: Text,
    firing: Text,
}

impl Default for Words {
    fn default() -> Self {
        Self {
            metric_name: METRIC_NAME.into(),
            alerts: "ALERTS".into(),
            alerts_for_state: "ALERTS_FOR_STATE".into(),
            alert_state: "alertstate".into(),
            pending: State::Pending.as_str().into(),
            firing: State::Firing.as_str().into(),
        }
    }
}

impl Words {
    /// The word of a state that has series.
    fn state(&self, state: State) -> Option<&Text> {
        match state {
            State::Resolved => None,
            State::Pending => Some(&self.pending),
            State::Firing => Some(&self.firing),
        }
    }
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
    mut found: Vec<Found>,
    rule: &AlertRule,
    circumstances: Circumstances,
) -> Result<Step, (String, Step)> {
    let Circumstances { at, limit, .. } = circumstances;
    let mut step = Step::default();
    found.sort_by(|left, right| left.labels.cmp(&right.labels));
    if found.windows(2).any(|pair| pair[0].labels == pair[1].labels) {
        let message = "vector contains metrics with the same labelset after applying alert labels";
        return Err((message.to_owned(), step));
    }
    // Both are in the order of labels, so one walk over both finds what belongs together.
    let (mut old, mut found) = (std::mem::take(alerts).into_values().peekable(), found.into_iter().peekable());
    let mut kept = Vec::with_capacity(old.len().max(found.len()));
    loop {
        let order = match (old.peek(), found.peek()) {
            (None, None) => break,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(known), Some(found)) => known.labels.cmp(&found.labels),
        };
        let known = if order.is_le() { old.next() } else { None };
        let found = if order.is_ge() { found.next() } else { None };
        kept.extend(step.take(known, found, rule, circumstances));
    }
    let active = kept.iter().filter(|alert| matches!(alert.state, State::Pending | State::Firing)).count();
    *alerts = kept.into_iter().map(|alert| (alert.labels.clone(), alert)).collect();
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
    /// Takes what is known of a label set and what the evaluation found of it, at least one of them. `None` if the alert
    /// is gone.
    fn take(
        &mut self,
        known: Option<ActiveAlert>,
        found: Option<Found>,
        rule: &AlertRule,
        circumstances: Circumstances,
    ) -> Option<ActiveAlert> {
        let Circumstances { at, fresh, .. } = circumstances;
        let present = found.is_some();
        let (mut tell, mut save) = (false, false);
        let mut alert = match (known, found) {
            (known, None) => known?,
            (Some(mut alert), Some(found)) if alert.state != State::Resolved => {
                tell = alert.news(found);
                alert
            }
            (_, Some(found)) => {
                save = true;
                ActiveAlert::pending(found, at)
            }
        };
        let change = if present { alert.while_present(rule, at, fresh) } else { alert.while_absent(rule, at, fresh) };
        match change {
            Change::None => {}
            Change::Kept => save = true,
            Change::Gone => {
                self.gone.insert(alert.labels);
                return None;
            }
            Change::Fired | Change::Resolved => (tell, save) = (true, true),
        }
        if save {
            self.changed.insert(alert.labels.clone());
        }
        if tell {
            self.updates.extend(alert.to_alert(at));
        }
        Some(alert)
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

    /// Takes what the evaluation found anew; says whether notification should hear of it.
    fn news(&mut self, found: Found) -> bool {
        self.value = found.value;
        let differs = self.annotations != found.annotations;
        if differs {
            self.annotations = found.annotations;
        }
        differs && self.state == State::Firing
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
    pub(super) fn samples(&self, words: &Words) -> Option<[(Labels, f64); 2]> {
        let state = words.state(self.state)?;
        let named = |name: &Text, more: usize| {
            let mut builder = self.labels.to_builder_for(more);
            builder.set(words.metric_name.clone(), name.clone());
            builder
        };
        let mut alerts = named(&words.alerts, 2);
        alerts.set(words.alert_state.clone(), state.clone());
        let since = named(&words.alerts_for_state, 1).build();
        // Whole seconds, as Prometheus writes them.
        Some([(alerts.build(), 1.0), (since, self.active_at.as_millis().div_euclid(1000) as f64)])
    }

    /// The name of its rule.
    #[must_use]
    pub fn name(&self) -> &str {
        self.labels.value(ALERT_NAME)
    }
}

#[cfg(test)]
mod tests;
