//! From the outside to the store: what ingest, gossip and silence make of samples.

use watchfire_shared::frame::message::Lane;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;
use watchfire_store::{Disk, Source};

use super::durability::Synced;
use super::own_series::Written;
use super::{Effect, Engine, MAINTENANCE};
use crate::fact::{Fact, Level};
use crate::ingest::{Output, Report};
use crate::remote_write::{Bounds, Outcome, WriteId, WriteRequest};
use crate::series::write::self_samples;

impl<D: Disk> Engine<D> {
    /// Takes what ingest asked for.
    pub(super) fn absorb(&mut self, now: Timestamp, out: Vec<Output>, effects: &mut Vec<Effect>) {
        for output in out {
            match output {
                Output::Reply(conn, message) => effects.push(Effect::Reply { conn, bytes: message.encode() }),
                Output::Close(conn, reason) => effects.push(Effect::Close { conn, reason }),
                Output::Fact(fact) => effects.push(Effect::Fact(fact)),
                Output::Report(report) => self.report(now, report, effects),
            }
        }
        if self.ingest.awaits_acknowledgement() {
            self.durability.frame_appended(now);
        }
        if self.ingest.found_no_room() {
            self.found_no_room(now);
        }
    }

    fn found_no_room(&mut self, now: Timestamp) {
        if self.store.is_behind() {
            self.durability.found_behind(now);
        } else {
            self.durability.found_full(now);
        }
    }

    fn report(&mut self, now: Timestamp, report: Report, effects: &mut Vec<Effect>) {
        match report {
            Report::Connected(agent) => {
                let id = agent.id;
                self.fleet.introduced(now, agent);
                self.ask_for_life(id, effects);
            }
            Report::Life { id, life } => self.note_life(now, id, life),
            Report::Live { id, clock_offset } => {
                if self.fleet.heard(now, id, clock_offset) {
                    self.look_for_freshness(now, effects);
                }
            }
            Report::Clock { id, clock_offset } => self.fleet.clock(id, clock_offset),
            Report::Offers { id, offers } => {
                self.with_remediator(now, effects, |own, out| own.offers(now, id, offers, out));
            }
            Report::Order { id, report } => {
                self.with_remediator(now, effects, |own, out| own.report(now, id, report, out));
            }
            Report::View { id, answer } => {
                self.with_remediator(now, effects, |own, _| own.testify(now, id, answer.about, answer.state));
            }
            Report::Goodbye { id } => self.fleet.said_goodbye(now, id),
            Report::Disconnected { id } => {
                self.fleet.disconnected(id);
                self.with_remediator(now, effects, |own, _| own.gone(now, id));
            }
        }
    }

    /// Takes samples that somebody pushes.
    pub(super) fn write(&mut self, now: Timestamp, id: WriteId, request: &WriteRequest, effects: &mut Vec<Effect>) {
        let (retention, out_of_order) = (self.settings.storage.retention, self.settings.out_of_order_window);
        if self.store.is_behind() {
            let reason = "more came than goes to blocks in time, or blocks cannot be written; try again soon";
            return effects.push(Effect::Written { id, outcome: Outcome::Unavailable(reason.to_owned()) });
        }
        let metadata = &mut self.ingest.metadata;
        match self.writer.write(now, id, request, &mut self.store, Bounds { retention, out_of_order }, metadata) {
            Some((id, outcome)) => {
                self.found_no_room(now);
                effects.push(Effect::Written { id, outcome });
            }
            None => self.durability.write_appended(now),
        }
    }

    /// Looks whether enough of the fleet has reported by now for rules to judge.
    pub(super) fn look_for_freshness(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.freshness.update(now, &self.fleet) {
            self.rules.set_fresh(now, true);
            self.own_series.write_soon(now);
            self.note_judging(now);
            self.picture.change(now);
            let message = "rules fire and resolve from now on: enough of the fleet has reported, or had the time to";
            effects.push(Effect::Fact(Fact::new(Level::Info, message)));
        }
    }

    pub(super) fn expire_connections(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        if self.ingest.deadline().is_some_and(|at| at <= now) {
            let mut out = Vec::new();
            self.ingest.expire(now, &mut out);
            self.absorb(now, out, effects);
        }
    }

    /// Syncs the log if that is due, and acknowledges what it made durable.
    pub(super) fn sync(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut facts = Vec::new();
        let synced = self.durability.sync(now, &mut self.store, &mut facts);
        effects.extend(facts.into_iter().map(Effect::Fact));
        match synced {
            Synced::NotDue | Synced::Full => {}
            Synced::Done => {
                let mut out = Vec::new();
                self.ingest.synced(&self.store, &mut out);
                self.absorb(now, out, effects);
                if self.store.is_behind() {
                    self.durability.found_behind(now);
                }
                let written = self.writer.synced().into_iter();
                effects.extend(written.map(|(id, outcome)| Effect::Written { id, outcome }));
            }
            Synced::Failed(reason) => effects.push(Effect::Fatal { reason }),
        }
    }

    /// Writes the collector's own series: all of them at their time, those of changed nodes at once.
    pub(super) fn write_own_series(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        // Agents that we make wait are not accused.
        let full = self.durability.is_full() || self.store.keeps_agents_waiting();
        let turned = self.own_series.storage_turned(full);
        if turned {
            self.fleet.check_all(now, full);
        } else {
            self.fleet.check(now, full);
        }
        if self.fleet.has_changed() && self.maintenances.deadline().is_some() {
            self.mark_maintenance(now);
        }
        let changed = self.fleet.take_changed();
        self.look_for_causes(now, &changed, effects);
        if !changed.is_empty() {
            self.remediator.nodes_changed(now);
            self.picture.change(now);
            self.mark_silent(now, &changed);
            self.note_states(now, &changed);
            self.save_nodes(now);
            self.own_series.postpone(now, changed);
        }
        if self.own_series.is_due(now) {
            self.own_series.postpone(now, self.fleet.nodes().map(|node| node.id));
            self.own_series.want_fleet(now);
            self.write_self(now);
            // Where nothing arrives at all, what is shown keeps up with the clock all the same.
            self.picture.touch(now);
        } else if turned {
            self.write_self(now);
        }
        if self.own_series.fleet_is_due(now) {
            let samples = self.fleet_samples();
            let written = self.own_series.write_fleet(now, samples, &mut self.store);
            self.written(now, &written);
        }
        let written = self.own_series.write_nodes(now, &self.fleet, &mut self.store);
        self.written(now, &written);
    }

    /// The series of agents that went silent, or are no more, end, so that nothing is computed from what they were.
    fn mark_silent<'a>(&mut self, now: Timestamp, changed: impl IntoIterator<Item = &'a NodeId>) {
        for id in changed {
            if self.fleet.get(*id).is_none_or(|node| node.current_up == Some(false)) {
                match self.store.mark_stale(&Source::Agent(*id, Lane::Live)) {
                    Ok(Some(_)) => self.durability.own_appended(now),
                    Ok(None) => {}
                    // The store tells of itself at the next sync; the series then end by their age.
                    Err(_) => self.durability.found_full(now),
                }
            }
        }
    }

    fn write_self(&mut self, now: Timestamp) {
        let samples = self_samples(&self.settings.node_name, &self.figures());
        let written = self.own_series.write_self(now, samples, &mut self.store);
        self.written(now, &written);
    }

    fn written(&mut self, now: Timestamp, written: &Written) {
        if written.samples > 0 {
            self.durability.own_appended(now);
        }
        if written.full {
            self.durability.found_full(now);
        }
        for labels in &written.changed {
            self.rules.series_changed(now, labels);
        }
    }

    pub(super) fn maintain(&mut self, now: Timestamp) {
        if now < self.next_maintenance {
            return;
        }
        self.next_maintenance = now + MAINTENANCE;
        self.note_running(now);
        self.expire_history(now);
        self.reckon_availability(now);
    }
}
