//! Conditions of members: watched, reported, and shown.

use std::collections::{BTreeMap, BTreeSet};

use foca::{Header, Message};
use rand::RngExt;
use watchfire_shared::member::{NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};

use super::Gossip;
use crate::conditions::{Finding, MOST_GONE, MOST_OBSERVED, Names, Paths, Report, Reports};
use crate::identity::Identity;
use crate::packet::{Packet, REPORTS_SINCE};
use crate::schedule::Alarm;
use crate::view::Shown;

/// How often a node reports, in a cluster at rest; varied by a quarter.
const REPORT_EVERY_MS: i64 = 30_000;
/// How soon it reports what it sees anew.
const REPORT_NEWS_MS: i64 = 1000;
/// How often what follows from reports is put together at most, and at least while there are any.
const LOOK_AFTER: Span = Span::from_seconds(2);
const LOOK_EVERY: Span = Span::from_seconds(20);
/// Collectors that are told; there are three at most that matter to anybody.
const COLLECTORS: usize = 4;
/// Members that are told where there is no collector.
const OTHERS: usize = 2;
/// Work that is taken up later than this tells nothing of how fast others answer.
const LAG: Span = Span::from_millis(100);
/// Members named as those that see a condition.
const MOST_NAMED: usize = 8;

#[derive(Default, Debug)]
pub(super) struct Conditions {
    pub(super) paths: Paths,
    reports: Reports,
    /// What this node saw when it last looked.
    sees: BTreeMap<NodeId, Names>,
    /// Members that are shown with a condition.
    shown: BTreeSet<NodeId>,
    /// An answer is being taken that came over a stream.
    pub(super) by_stream: bool,
}

impl Gossip {
    pub(super) fn start_reporting(&mut self, now: Timestamp) {
        let first = Span::from_millis(self.report_rng.random_range(5_000..REPORT_EVERY_MS));
        self.schedule.set(Alarm::Report, now + first);
    }

    /// This node takes up work that was due a while ago.
    pub(super) fn note_lag(&mut self, now: Timestamp) {
        if self.next_due().is_some_and(|due| now.since(due) > LAG) {
            self.conditions.paths.lagged();
        }
    }

    pub(super) fn path_sent(&mut self, now: Timestamp, header: &Header<Identity>) {
        match header.message {
            Message::Ping(number) => {
                self.conditions.paths.probe_started(now, header.dst.id, number);
                self.look(now);
            }
            Message::PingReq { .. } => self.conditions.paths.helper_asked(),
            _ => {}
        }
    }

    pub(super) fn path_received(&mut self, header: &Header<Identity>) {
        let paths = &mut self.conditions.paths;
        if self.conditions.by_stream {
            return;
        }
        paths.heard(header.src.id);
        match &header.message {
            Message::Ack(number) => {
                let half = Span::from_millis((self.pace.answer_ms / 2) as i64);
                let late = self.timing.arrived.is_some_and(|micros| i64::from(micros) > half.as_millis() * 1000);
                paths.answered(header.src.id, *number, late);
            }
            Message::ForwardedAck { origin, probe_number } => paths.answered_through_helper(origin.id, *probe_number),
            _ => {}
        }
    }

    /// A member is alive that was suspected.
    pub(super) fn path_refuted(&mut self, now: Timestamp, id: NodeId) {
        let own = self.own().id;
        let by_others = |entry: &crate::view::Entry| entry.was_suspected_by_others_than(own);
        if self.view.get(id).is_some_and(by_others) && !self.detector.doubts(now) {
            self.conditions.paths.refuted(now, id);
            self.look(now);
        }
    }

    /// A member is gone: what was wrong about it matters no more.
    pub(super) fn path_ended(&mut self, now: Timestamp, id: NodeId) {
        self.conditions.paths.forget(id);
        self.conditions.reports.forget(id);
        if self.conditions.shown.contains(&id) {
            self.schedule.set_by(Alarm::Conditions, now);
        }
    }

    /// Looks whether this node sees something else than before, and says so.
    fn look(&mut self, now: Timestamp) {
        let own = self.own().id;
        let sees = self.conditions.paths.seen(now, own);
        if sees != self.conditions.sees {
            self.conditions.sees = sees;
            self.schedule.set_by(Alarm::Conditions, now);
            let soon = Span::from_millis(self.report_rng.random_range(REPORT_NEWS_MS / 2..REPORT_NEWS_MS));
            self.schedule.set_by(Alarm::Report, now + soon);
        }
    }

    pub(super) fn report(&mut self, now: Timestamp) {
        let spread = self.report_rng.random_range(REPORT_EVERY_MS * 3 / 4..REPORT_EVERY_MS * 5 / 4);
        self.schedule.set(Alarm::Report, now + Span::from_millis(spread));
        if self.leaving.is_some() || self.detector.doubts(now) {
            return;
        }
        let takes = |entry: &&crate::view::Entry| entry.protocol() >= REPORTS_SINCE;
        let collectors = self.view.active().filter(|entry| entry.is_collector()).filter(takes);
        let mut targets: Vec<Identity> = collectors.take(COLLECTORS).map(|entry| entry.identity).collect();
        if targets.is_empty() && self.role != Role::Collector {
            let others: Vec<Identity> = self.view.active().filter(takes).map(|entry| entry.identity).collect();
            let count = others.len();
            let mut choose = |_| others.get(self.report_rng.random_range(0..count.max(1))).copied();
            targets = (0..OTHERS.min(count)).filter_map(&mut choose).collect();
            targets.dedup();
        }
        if targets.is_empty() {
            return;
        }
        let packet = Packet::Report { from: self.own(), report: self.own_report() };
        targets.iter().for_each(|target| self.send(target.addr, &packet));
    }

    fn own_report(&self) -> Report {
        let mut gone: Vec<(NodeId, u32)> = self
            .view
            .others()
            .filter(|entry| !entry.is_active() && entry.is_listed())
            .map(|entry| (entry.identity.id, entry.identity.generation))
            .collect();
        let cut = gone.len() > MOST_GONE;
        gone.truncate(MOST_GONE);
        let observed = self.conditions.sees.iter().map(|(id, names)| (*id, *names)).take(MOST_OBSERVED).collect();
        let (digest, active) = self.view.active_digest();
        Report { digest, active, cut, gone, observed }
    }

    pub(super) fn receive_report(&mut self, now: Timestamp, from: Identity, report: Report) {
        let known = self.view.get(from.id).is_some_and(|entry| entry.identity == from && entry.is_active());
        if !known || from.id == self.own().id {
            self.stats.dropped_unexpected += 1;
            return;
        }
        let digest = self.view.active_digest().0;
        if self.conditions.reports.take(now, from.id, report, digest) {
            self.schedule.set_by(Alarm::Conditions, now + LOOK_AFTER);
        }
    }

    /// Puts together what is wrong about whom, and shows it.
    pub(super) fn show_conditions(&mut self, now: Timestamp) {
        let own = self.own().id;
        let Conditions { reports, sees, .. } = &mut self.conditions;
        let mut findings = reports.findings(now, own, &self.view, sees);
        if !reports.is_empty() && !findings.is_empty() {
            self.schedule.set_by(Alarm::Conditions, now + LOOK_EVERY);
        }
        findings.retain(|id, _| self.view.get(*id).is_some());
        let mut ids: BTreeSet<NodeId> = findings.keys().copied().collect();
        ids.append(&mut std::mem::replace(&mut self.conditions.shown, findings.keys().copied().collect()));
        for id in ids {
            let found = findings.remove(&id).unwrap_or_default();
            self.view.change(id, |entry| entry.conditions = shown(now, &entry.conditions, found));
        }
    }
}

/// How findings are shown; one that was shown before is as old as it was.
fn shown(now: Timestamp, before: &[Shown], found: Vec<Finding>) -> Vec<Shown> {
    let since = |finding: &Finding| {
        let known = before.iter().find(|shown| shown.name == finding.name);
        known.map_or(now, |shown| shown.since)
    };
    let show = |finding: Finding| Shown {
        since: since(&finding),
        name: finding.name,
        by: finding.by.into_iter().take(MOST_NAMED).collect(),
        detail: finding.detail,
    };
    found.into_iter().map(show).collect()
}
