//! What a node was when: the words of all sources, put together.
//!
//! ```text
//! operator      in maintenance: maintenance. Decommissioned: excluded, until it is seen again
//! collector     while it runs and sees: the peers' word, and its own by reports where peers say nothing
//!               while it was away or blind: the agent's own journal, as far as it is known; otherwise unknown
//! ```
//!
//! Peers who confirm silence make a node down; a host that refuses, or whose boot outlived its agent, has lost its agent only, and is degraded. A node that
//! was stopped in good order is unknown until it should be back, and down after that; an ephemeral one that goes is
//! excluded. Before the first word about a node nothing is expected of it.

use watchfire_shared::life::AGENT_DIED;
use watchfire_shared::member::Role;
use watchfire_shared::time::{Span, Timestamp};

use super::{Policy, Window};
use crate::history::{Change, Source};

/// What a node is, for availability.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Condition {
    Up,
    /// Its host answers, but its agent is dead or reports nothing.
    Degraded,
    Down,
    Unknown,
    Maintenance,
    /// Nothing is expected of it.
    Excluded,
}

/// A condition from its beginning to its end. Neighbours differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Segment {
    pub from: Timestamp,
    pub to: Timestamp,
    pub condition: Condition,
}

/// A node, with what its history does not say.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Everything that was noted under its name, the oldest first; what is about collectors is passed over.
    pub changes: &'a [Change],
    /// Whether it comes and goes by design.
    pub is_ephemeral: bool,
    /// Up to when its own journal has been heard.
    pub journal_until: Option<Timestamp>,
}

/// When the collector that wrote the history could see: everything that it noted under its own name, the oldest first.
#[derive(Clone, Copy, Debug)]
pub struct Witness<'a>(pub &'a [Change]);

/// What holds at one moment.
#[derive(Clone, Copy, Default, Debug)]
struct Words<'a> {
    maintenance: bool,
    decommissioned: bool,
    peers: Option<&'a Change>,
    reports: Option<&'a Change>,
    journal: Option<&'a Change>,
    witness: Option<&'a Change>,
    is_known: bool,
}

/// What a node was in the window, without gaps.
#[must_use]
pub fn timeline(subject: &Subject<'_>, witness: Witness<'_>, window: Window, policy: Policy) -> Vec<Segment> {
    let own = subject.changes.iter().filter(|change| change.role == Role::Agent);
    let seeing = witness.0.iter().filter(|change| change.role == Role::Collector && change.source == Source::Collector);
    let mut changes: Vec<(bool, &Change)> =
        seeing.map(|change| (true, change)).chain(own.map(|change| (false, change))).collect();
    changes.sort_by_key(|(of_witness, change)| (change.at, !of_witness, change.source));
    let mut times: Vec<Timestamp> = changes.iter().map(|(_, change)| change.at).collect();
    // Some things change by the mere passing of time.
    let stops = changes.iter().filter(|(_, change)| matches!(change.state.as_str(), "left" | "stopped"));
    times.extend(stops.map(|(_, change)| change.at + policy.expected_back));
    times.extend(subject.journal_until);
    times.extend([window.from, window.to]);
    times.sort_unstable();
    times.dedup();

    let mut words = Words::default();
    let mut changes = changes.into_iter().peekable();
    let mut segments: Vec<Segment> = Vec::new();
    for pair in times.windows(2) {
        let &[from, to] = pair else { continue };
        while let Some((of_witness, change)) = changes.next_if(|(_, change)| change.at <= from) {
            words.hear(of_witness, change);
        }
        if to <= window.from || from >= window.to {
            continue;
        }
        let condition = words.condition(from, subject, policy.expected_back);
        match segments.last_mut().filter(|last| last.condition == condition) {
            Some(last) => last.to = to,
            None => segments.push(Segment { from, to, condition }),
        }
    }
    segments
}

impl<'a> Words<'a> {
    fn hear(&mut self, of_witness: bool, change: &'a Change) {
        let state = change.state.as_str();
        if of_witness {
            self.witness = Some(change);
            return;
        }
        self.is_known = true;
        match change.source {
            Source::Operator => {
                self.maintenance = state == "maintenance";
                self.decommissioned = state == "decommissioned";
            }
            Source::Peers => self.peers = Some(change),
            Source::Collector => self.reports = Some(change),
            Source::Agent => self.journal = Some(change),
        }
        // Whoever is seen again is expected again.
        if matches!(state, "alive" | "reporting" | "running") {
            self.decommissioned = false;
        }
    }

    fn condition(&self, at: Timestamp, subject: &Subject<'_>, expected_back: Span) -> Condition {
        if self.maintenance {
            return Condition::Maintenance;
        }
        if self.decommissioned || !self.is_known {
            return Condition::Excluded;
        }
        let sees = self.witness.is_none_or(|own| own.state == "running");
        let condition = if sees { self.seen(at, expected_back) } else { self.told(at, subject, expected_back) };
        match condition {
            // It goes when it likes; and while it is stopped it is as gone.
            Condition::Down if subject.is_ephemeral => Condition::Excluded,
            Condition::Unknown if subject.is_ephemeral && self.is_stopped() => Condition::Excluded,
            condition => condition,
        }
    }

    fn is_stopped(&self) -> bool {
        [self.peers, self.journal].iter().flatten().any(|own| matches!(own.state.as_str(), "left" | "stopped"))
    }

    /// By those who watch it.
    fn seen(&self, at: Timestamp, expected_back: Span) -> Condition {
        let is_silent = self.reports.is_some_and(|own| own.state == "silent");
        match self.peers.map(|own| (own.state.as_str(), own.reason.as_str(), own.at)) {
            Some(("alive", ..)) if is_silent => Condition::Degraded,
            Some(("alive", ..)) => Condition::Up,
            Some(("down", "refused", _)) => Condition::Degraded,
            Some(("down", ..)) => Condition::Down,
            Some(("left", _, since)) => stopped(since, at, expected_back),
            // With gossip off it is judged by its reports alone.
            _ => match self.reports {
                Some(_) if is_silent => Condition::Down,
                Some(_) => Condition::Up,
                None => Condition::Unknown,
            },
        }
    }

    /// By its own journal.
    fn told(&self, at: Timestamp, subject: &Subject<'_>, expected_back: Span) -> Condition {
        let is_heard = subject.journal_until.is_some_and(|until| at < until);
        match self.journal.filter(|_| is_heard).map(|own| (own.state.as_str(), own.reason.as_str(), own.at)) {
            Some(("running" | "cut_off", ..)) => Condition::Up,
            Some(("ended", AGENT_DIED, _)) => Condition::Degraded,
            Some(("suspended" | "ended", ..)) => Condition::Down,
            Some(("stopped", _, since)) => stopped(since, at, expected_back),
            _ => Condition::Unknown,
        }
    }
}

fn stopped(since: Timestamp, at: Timestamp, expected_back: Span) -> Condition {
    if at < since + expected_back { Condition::Unknown } else { Condition::Down }
}
