//! Availability over a window of time, computed from the history of states.
//!
//! A node's time is up, down or unknown; what was announced as maintenance, or lies before it was first seen or after it
//! was decommissioned, counts for nothing ([`timeline`] says what is what, and by whose word). With `U` up, `D` down, `K`
//! unknown and `S = U + D + K`:
//!
//! ```text
//! availability  A = U / (U + D)            coverage  C = (U + D) / S          A lies between U / S and (U + K) / S
//! MTTR = D / n     MTTF = U / n     MTBF = MTTF + MTTR     n = outages; lambda = n / U, mu = n / D, A = mu / (lambda + mu)
//! ```
//!
//! Nothing is claimed that was not seen: unknown time is neither up nor down, and where much is unknown the bounds say so.
//! Without an outage there is no MTBF, only what it exceeds with 95 % confidence, `U / 3` (the rule of three).

mod timeline;

mod chi_square;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use watchfire_shared::time::{Span, Timestamp};

use crate::catalogue::is_ephemeral;
use crate::history::{History, Source};

pub use timeline::{Condition, Segment, Subject, Witness, timeline};

/// What is looked at, if nothing is said: `30d`.
pub const DEFAULT_WINDOW: Span = Span::from_seconds(30 * 86_400);
/// Outages of one item that are told one by one.
const MAX_LONGEST: usize = 10;
/// Quantiles of a 95 % confidence interval.
const CONFIDENCE: (f64, f64) = (0.025, 0.975);

/// What is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    pub from: Timestamp,
    pub to: Timestamp,
}

/// How states are judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long a node that was stopped is simply expected back; after that it is down.
    pub expected_back: Span,
    /// Outages between which a node was up for less than this are one.
    pub merge_gap: Span,
    /// Whether a degraded node counts as up: its agent is dead, or sends no reports, and its host answers.
    pub degraded_is_up: bool,
}

impl Policy {
    /// `expected_back` as the alerts have it, and two intervals of reports as the shortest time between outages.
    #[must_use]
    pub const fn new(expected_back: Span) -> Self {
        Self { expected_back, merge_gap: Span::from_seconds(20), degraded_is_up: true }
    }
}

/// An agent that is there, with what its history does not say.
#[derive(Clone, Copy, Debug)]
pub struct Agent<'a> {
    pub name: &'a str,
    pub labels: &'a BTreeMap<String, String>,
    pub last_report_at: Option<Timestamp>,
}

/// What one agent went through, by the history of the collector called `collector`.
#[must_use]
pub fn of_agent(history: &History, collector: &str, agent: Agent<'_>, window: Window, policy: Policy) -> Tally {
    let subject = Subject {
        changes: history.changes(agent.name),
        is_ephemeral: is_ephemeral(agent.labels),
        journal_until: agent.last_report_at,
    };
    tally(agent.name, &subject, history, collector, window, policy)
}

/// The same of a node that is not there any more, of which nothing but its history is known.
#[must_use]
pub fn of_former(history: &History, collector: &str, node: &str, window: Window, policy: Policy) -> Tally {
    let changes = history.changes(node);
    let journal_until = changes.iter().rfind(|change| change.source == Source::Agent).map(|change| change.at);
    let subject = Subject { changes, is_ephemeral: false, journal_until };
    tally(node, &subject, history, collector, window, policy)
}

fn tally(
    name: &str,
    subject: &Subject<'_>,
    history: &History,
    collector: &str,
    window: Window,
    policy: Policy,
) -> Tally {
    let witness = Witness(history.changes(collector));
    Tally::of(name, &timeline(subject, witness, window, policy), window, policy)
}

/// One time that a node was down.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Outage {
    pub node: String,
    pub from: Timestamp,
    /// `None` while it lasts.
    pub to: Option<Timestamp>,
    /// Time that it was down, without maintenance and unknown time within, milliseconds.
    #[serde(skip)]
    pub down: i64,
}

/// Times of one node or of several, milliseconds, with their outages.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    pub nodes: usize,
    pub up: i64,
    /// The part of `up` in which it was degraded; counted beside it if the policy says that degraded is down.
    pub degraded: i64,
    pub down: i64,
    pub unknown: i64,
    pub maintenance: i64,
    pub outages: Vec<Outage>,
}

impl Tally {
    /// Adds up what one node went through.
    #[must_use]
    pub fn of(node: &str, segments: &[Segment], window: Window, policy: Policy) -> Self {
        let mut tally = Self { nodes: 1, ..Self::default() };
        let mut up_since_outage = i64::MAX;
        for segment in segments {
            let time = segment.to.since(segment.from).as_millis();
            let is_down = match segment.condition {
                Condition::Down => true,
                Condition::Degraded => !policy.degraded_is_up,
                _ => false,
            };
            match segment.condition {
                _ if is_down => {
                    if up_since_outage >= policy.merge_gap.as_millis().max(1) {
                        let from = segment.from;
                        tally.outages.push(Outage { node: node.to_owned(), from, to: None, down: 0 });
                    }
                    if let Some(outage) = tally.outages.last_mut() {
                        outage.down += time;
                        outage.to = (segment.to < window.to).then_some(segment.to);
                    }
                    tally.down += time;
                    up_since_outage = 0;
                }
                Condition::Up | Condition::Degraded => {
                    tally.up += time;
                    up_since_outage = up_since_outage.saturating_add(time);
                }
                Condition::Unknown => tally.unknown += time,
                Condition::Maintenance => tally.maintenance += time,
                Condition::Down | Condition::Excluded => {}
            }
            tally.degraded += if segment.condition == Condition::Degraded { time } else { 0 };
        }
        tally
    }

    /// Whether nothing of the window counts at all.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.up == 0 && self.down == 0 && self.unknown == 0 && self.maintenance == 0
    }

    /// Takes another node in.
    pub fn add(&mut self, other: Self) {
        self.nodes += other.nodes;
        self.up += other.up;
        self.degraded += other.degraded;
        self.down += other.down;
        self.unknown += other.unknown;
        self.maintenance += other.maintenance;
        self.outages.extend(other.outages);
    }

    /// What follows from the times.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let [up, down, unknown] = [self.up, self.down, self.unknown].map(seconds);
        let n = self.outages.len() as f64;
        let share = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let per_outage = |time: f64| share(time, n);
        let (mttr, mttf) = (per_outage(down), per_outage(up));
        let rate = |quantile: f64| share(quantile, 2.0 * up).map(|rate| rate * 3600.0);
        let interval = (n > 0.0).then(|| {
            let (low, high) = CONFIDENCE;
            [rate(chi_square::quantile(low, 2.0 * n)), rate(chi_square::quantile(high, 2.0 * n + 2.0))]
        });
        let [failures_low, failures_high] = interval.unwrap_or_default();
        let mut longest = self.outages.clone();
        longest.sort_by_key(|outage| (std::cmp::Reverse(outage.down), outage.from));
        longest.truncate(MAX_LONGEST);
        Figures {
            availability_ratio: share(up, up + down),
            coverage_ratio: share(up + down, up + down + unknown),
            lower_ratio: share(up, up + down + unknown),
            upper_ratio: share(up + unknown, up + down + unknown),
            up_seconds: up,
            degraded_seconds: seconds(self.degraded),
            down_seconds: down,
            unknown_seconds: unknown,
            maintenance_seconds: seconds(self.maintenance),
            outages: self.outages.len(),
            mttr_seconds: mttr,
            mttf_seconds: mttf,
            mtbf_seconds: mttr.zip(mttf).map(|(repair, run)| repair + run),
            mtbf_exceeds_seconds: (n == 0.0 && up > 0.0).then_some(up / 3.0),
            failures_per_hour: share(n, up).map(|rate| rate * 3600.0),
            failures_per_hour_low: failures_low,
            failures_per_hour_high: failures_high,
            longest_outages: longest,
        }
    }
}

/// What is told of a node or a group. `None` where there was nothing to divide by.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Figures {
    /// `U / (U + D)`. Worth little where the coverage is low: then the bounds tell more.
    pub availability_ratio: Option<f64>,
    /// Which part of the time is known, 0..1.
    pub coverage_ratio: Option<f64>,
    /// The availability if all unknown time was down.
    pub lower_ratio: Option<f64>,
    /// The availability if all unknown time was up.
    pub upper_ratio: Option<f64>,
    pub up_seconds: f64,
    /// The part of it in which the host answered, and its agent was dead or reported nothing.
    pub degraded_seconds: f64,
    pub down_seconds: f64,
    pub unknown_seconds: f64,
    pub maintenance_seconds: f64,
    pub outages: usize,
    pub mttr_seconds: Option<f64>,
    pub mttf_seconds: Option<f64>,
    pub mtbf_seconds: Option<f64>,
    /// Without an outage: what the MTBF exceeds with 95 % confidence.
    pub mtbf_exceeds_seconds: Option<f64>,
    /// Outages in an hour of being up, with its 95 % confidence interval.
    pub failures_per_hour: Option<f64>,
    pub failures_per_hour_low: Option<f64>,
    pub failures_per_hour_high: Option<f64>,
    /// At most ten.
    pub longest_outages: Vec<Outage>,
}

fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}
