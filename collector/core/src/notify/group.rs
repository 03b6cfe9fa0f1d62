//! Groups: alerts of one route that are told together, and when.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use watchfire_shared::labels::{Fingerprint, Labels, Quoted};
use watchfire_shared::time::{Span, Timestamp};

use super::HeldBack;
use crate::alert::Alert;
use crate::alertmanager::{Config, Route};

/// Alerts with the same group labels on the same route.
#[derive(Debug, Clone)]
pub(super) struct Group {
    /// Index of the route in the configuration.
    pub(super) route: usize,
    /// Alertmanager's group key, which receivers see.
    pub(super) key: String,
    pub(super) labels: Labels,
    pub(super) alerts: BTreeSet<Fingerprint>,
    pub(super) timer: Timer,
    /// What the last interval held back, so that it is told once.
    pub(super) held_back: HeldBack,
}

/// When a group looks for something to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Timer {
    pub(super) next: Timestamp,
    /// Whether `group_wait` is over.
    pub(super) flushed: bool,
}

impl Timer {
    pub(super) fn first(now: Timestamp, group_wait: Span) -> Self {
        Self { next: now + group_wait, flushed: false }
    }

    /// The timer after an interval. The rhythm is kept, unless the process slept through a beat.
    pub(super) fn after_flush(self, now: Timestamp, group_interval: Span) -> Self {
        let next = self.next + group_interval;
        Self { next: if next > now { next } else { now + group_interval }, flushed: true }
    }
}

impl Group {
    pub(super) fn new(route: usize, key: String, labels: Labels, timer: Timer) -> Self {
        Self { route, key, labels, alerts: BTreeSet::new(), timer, held_back: HeldBack::default() }
    }
}

/// `route:{labels}`: with a route's id the group's identity, with its key Alertmanager's group key.
pub(super) fn id(route: &str, labels: &Labels) -> String {
    let written: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={}", Quoted(value))).collect();
    format!("{route}:{{{}}}", written.join(", "))
}

/// Whether the route keeps quiet at this time: one of its mute intervals holds it, or none of its active ones.
pub(super) fn is_quiet_time(config: &Config, route: &Route, now: Timestamp) -> bool {
    let holds = |name: &String| {
        config.time_intervals.get(name).is_some_and(|intervals| intervals.iter().any(|interval| interval.contains(now)))
    };
    route.mute_time_intervals.iter().any(holds)
        || (!route.active_time_intervals.is_empty() && !route.active_time_intervals.iter().any(holds))
}

/// What a group has to say at one interval, before anybody asks who knows it already.
#[derive(Debug)]
pub(super) struct Message {
    /// In Alertmanager's order; an alert that fires has no end.
    pub(super) alerts: Vec<Alert>,
    pub(super) firing: BTreeSet<Fingerprint>,
    pub(super) resolved: BTreeSet<Fingerprint>,
}

impl Message {
    pub(super) fn new(now: Timestamp, visible: &[&Alert]) -> Self {
        let mut message = Self { alerts: Vec::new(), firing: BTreeSet::new(), resolved: BTreeSet::new() };
        for alert in visible {
            let mut alert = (*alert).clone();
            if alert.resolved_at(now) {
                message.resolved.insert(alert.fingerprint());
            } else {
                message.firing.insert(alert.fingerprint());
                alert.ends_at = None;
            }
            message.alerts.push(alert);
        }
        message.alerts.sort_by(|a, b| order(&a.labels, &b.labels));
        message
    }
}

/// Alertmanager's order of alerts: by `job`, then `instance`, then fewer labels first, then by name and value.
fn order(a: &Labels, b: &Labels) -> Ordering {
    for name in ["job", "instance"] {
        match (a.get(name), b.get(name)) {
            (None, None) => {}
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => return a.cmp(b),
        }
    }
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}
