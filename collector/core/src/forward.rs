//! Alerts for other Alertmanagers: what each of them is to be told, and when.
//!
//! As Prometheus tells it (`rules/alerting.go`): an alert is told when it fires, each minute while it does, when it is
//! resolved, and each minute of the quarter of an hour after that, for the other side may have been away. While it fires
//! it is said to end in four minutes, so that it ends there if this collector ends.
//!
//! There is no queue: what is to be told follows from what fires and from what was told, so whoever was away is told what
//! holds when it is back. Alerts that others posted here are not told on.

pub mod config;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::time::{Span, Timestamp};

use crate::alert::Alert;
use crate::relabel;
use config::Alertmanager;

/// How often an alert is told again; Prometheus' `--rules.alert.resend-delay`.
const AGAIN: Span = Span::from_seconds(60);
/// How long what was told holds at the other side.
const HOLDS: Span = Span::from_seconds(4 * 60);
/// How long one that is resolved is told.
const RESOLVED_FOR: Span = Span::from_seconds(15 * 60);
/// Alerts in one request, as in Prometheus.
const BATCH: usize = 256;
/// The time until the next attempt after a failure, twice as long after each further one, up to [`AGAIN`].
const FIRST_WAIT: Span = Span::from_seconds(1);

/// One alert, and what its Alertmanager knows of it.
#[derive(Debug)]
struct Held {
    alert: Alert,
    resolved_at: Option<Timestamp>,
    /// When it was told last, and whether as resolved.
    told: Option<(Timestamp, bool)>,
}

impl Held {
    fn due(&self) -> Timestamp {
        match self.told {
            Some((at, as_resolved)) if as_resolved == self.resolved_at.is_some() => at + AGAIN,
            _ => Timestamp::EPOCH,
        }
    }
}

/// What was done for one Alertmanager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Alerts that it took.
    pub sent: u64,
    /// Alerts that it did not take, each time counted.
    pub failed: u64,
    /// Why the last request failed, until one succeeds.
    pub last_error: Option<String>,
}

/// Alerts for one request.
#[derive(Debug)]
pub struct Batch {
    alerts: Vec<(Fingerprint, bool)>,
    /// The body of `POST /api/v2/alerts`.
    pub body: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Taken,
    /// Nothing was taken; it may be later.
    Later(String),
    /// It will not be taken, whenever it is sent.
    Refused(String),
}

/// Decides what one Alertmanager is told.
#[derive(Debug)]
pub struct Forward {
    alertmanager: Arc<Alertmanager>,
    held: BTreeMap<Fingerprint, Held>,
    failures: u32,
    not_before: Timestamp,
    figures: Figures,
}

impl Forward {
    #[must_use]
    pub fn new(alertmanager: Arc<Alertmanager>) -> Self {
        Self {
            alertmanager,
            held: BTreeMap::new(),
            failures: 0,
            not_before: Timestamp::EPOCH,
            figures: Figures::default(),
        }
    }

    #[must_use]
    pub fn alertmanager(&self) -> &Arc<Alertmanager> {
        &self.alertmanager
    }

    #[must_use]
    pub fn figures(&self) -> &Figures {
        &self.figures
    }

    /// Takes note of the alerts that fire now; those that did before and do not are resolved.
    pub fn see<'a>(&mut self, now: Timestamp, firing: impl Iterator<Item = &'a Alert>) {
        let mut gone: BTreeMap<Fingerprint, Held> = std::mem::take(&mut self.held);
        for alert in firing {
            // An alert from outside has an end.
            let labels = Some(&alert.labels).filter(|_| alert.ends_at.is_none());
            let labels = labels.and_then(|labels| relabel::apply(&self.alertmanager.relabel, labels, labels));
            let Some(labels) = labels.filter(|labels| !labels.is_empty()) else { continue };
            let fingerprint = labels.fingerprint();
            let told = gone.remove(&fingerprint).and_then(|held| held.told);
            self.held.entry(fingerprint).or_insert_with(|| {
                let alert = Alert { labels, ..alert.clone() };
                Held { alert, resolved_at: None, told }
            });
        }
        for (fingerprint, mut held) in gone {
            let resolved_at = *held.resolved_at.get_or_insert(now);
            // Who was never told that it fired needs not know that it is over.
            if now.since(resolved_at) < RESOLVED_FOR && held.told.is_some() {
                self.held.insert(fingerprint, held);
            }
        }
    }

    /// The next request, if one is due.
    #[must_use]
    pub fn batch(&self, now: Timestamp) -> Option<Batch> {
        if now < self.not_before {
            return None;
        }
        let due: Vec<_> = self.held.iter().filter(|(_, held)| held.due() <= now).take(BATCH).collect();
        if due.is_empty() {
            return None;
        }
        let posted: Vec<Posted<'_>> = due.iter().map(|(_, held)| Posted::of(held, now)).collect();
        let body = serde_json::to_vec(&posted).unwrap_or_default();
        let alerts = due.iter().map(|(fingerprint, held)| (**fingerprint, held.resolved_at.is_some())).collect();
        Some(Batch { alerts, body })
    }

    /// Takes note of what became of a request.
    pub fn done(&mut self, now: Timestamp, batch: &Batch, outcome: Outcome) {
        let count = batch.alerts.len() as u64;
        let taken = outcome == Outcome::Taken;
        if taken {
            self.figures.sent += count;
            self.failures = 0;
        } else {
            self.figures.failed += count;
            self.failures = self.failures.saturating_add(1);
            let wait = FIRST_WAIT * (1 << self.failures.saturating_sub(1).min(6));
            self.not_before = now + wait.min(AGAIN);
        }
        // What is refused is told again no sooner than what is taken.
        if !matches!(outcome, Outcome::Later(_)) {
            for (fingerprint, as_resolved) in &batch.alerts {
                if let Some(held) = self.held.get_mut(fingerprint) {
                    held.told = Some((now, *as_resolved));
                }
            }
        }
        self.figures.last_error = match outcome {
            Outcome::Taken => None,
            Outcome::Later(reason) | Outcome::Refused(reason) => Some(reason),
        };
    }

    /// When the next request is due, if nothing changes.
    #[must_use]
    pub fn next(&self) -> Option<Timestamp> {
        self.held.values().map(Held::due).min().map(|due| due.max(self.not_before))
    }
}

/// An alert as Alertmanager's API takes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Posted<'a> {
    labels: &'a Labels,
    annotations: &'a Labels,
    starts_at: Timestamp,
    ends_at: Timestamp,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
}

impl<'a> Posted<'a> {
    fn of(held: &'a Held, now: Timestamp) -> Self {
        let alert = &held.alert;
        Self {
            labels: &alert.labels,
            annotations: &alert.annotations,
            starts_at: alert.starts_at,
            ends_at: held.resolved_at.unwrap_or(now + HOLDS),
            generator_url: &alert.generator_url,
        }
    }
}
