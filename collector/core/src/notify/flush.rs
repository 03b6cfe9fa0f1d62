//! What happens at each interval of a group, and when a delivery has ended: who is told, what is logged, what is let go.

use std::collections::BTreeSet;
use std::sync::Arc;

use watchfire_shared::labels::Fingerprint;
use watchfire_shared::time::Timestamp;

use super::dedup::{self, Due, LogEntry, ReceiverData};
use super::{DeliveryId, DeliveryOutcome, Effect, Fact, HeldBack, Pipeline, RETENTION, group, message, outbox, state};
use crate::alert::Alert;
use crate::alertmanager::Integration;

impl Pipeline {
    pub(super) fn flush_due(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        while let Some((at, id)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.timers.remove(&(at, id.clone()));
            self.flush(now, &id, effects);
        }
    }

    /// One interval of a group: decides for each integration whether there is something to tell, and sets the next one.
    fn flush(&mut self, now: Timestamp, id: &Arc<str>, effects: &mut Vec<Effect>) {
        let config = self.config.clone();
        let Some(group) = self.groups.get_mut(id) else { return };
        let route = &config.routes.routes()[group.route];
        group.timer = group.timer.after_flush(now, route.group_interval);
        self.timers.insert((group.timer.next, id.clone()));
        effects.push(Effect::Save(state::save_group(id, group.timer)));
        let members: Vec<Fingerprint> = group.alerts.iter().copied().collect();
        self.save_timed_out(now, &members, effects);
        let (visible, mut held_back) = self.visible(now, &members);
        held_back.by_time = group::is_quiet_time(&config, route, now);
        let message = (!held_back.by_time && !visible.is_empty()).then(|| group::Message::new(now, &visible));
        self.note_held_back(id, held_back, effects);
        match message {
            Some(message) => {
                for integration in config.integrations(&route.receiver) {
                    self.plan(now, id, integration, &message, effects);
                }
                self.outbox.wake_at_tick(now, id);
            }
            None => self.outbox.hold(id),
        }
        self.clean_group(now, id, None, effects);
    }

    /// The alerts that neither another alert nor a silence keeps quiet, and how many each does.
    fn visible(&self, now: Timestamp, members: &[Fingerprint]) -> (Vec<&Alert>, HeldBack) {
        let mut held_back = HeldBack::default();
        let mut visible = Vec::new();
        for held in members.iter().filter_map(|fingerprint| self.alerts.get(fingerprint)) {
            let labels = &held.alert.labels;
            if self.inhibitor.inhibited_by(labels, &|other| self.is_firing(now, other)).is_some() {
                held_back.inhibited += 1;
            } else if self.silences.silenced_by(now, labels).next().is_some() {
                held_back.silenced += 1;
            } else {
                visible.push(&held.alert);
            }
        }
        (visible, held_back)
    }

    /// Tells once what is held back, not at every interval.
    fn note_held_back(&mut self, id: &Arc<str>, held_back: HeldBack, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.get_mut(id).filter(|group| group.held_back != held_back) else { return };
        group.held_back = held_back;
        if held_back != HeldBack::default() {
            effects.push(Effect::Fact(Fact::HeldBack { group_key: group.key.clone(), what: held_back }));
        }
    }

    /// An alert whose end has come by time alone must stay resolved for a collector that restarts after telling so.
    fn save_timed_out(&mut self, now: Timestamp, members: &[Fingerprint], effects: &mut Vec<Effect>) {
        for fingerprint in members {
            if let Some(held) = self.alerts.get_mut(fingerprint)
                && held.alert.resolved_at(now)
                && !held.saved_resolved
            {
                held.saved_resolved = true;
                effects.push(Effect::Save(state::save_alert(*fingerprint, &held.alert, true)));
            }
        }
    }

    pub(super) fn is_firing(&self, now: Timestamp, fingerprint: Fingerprint) -> bool {
        self.alerts.get(&fingerprint).is_some_and(|held| !held.alert.resolved_at(now))
    }

    /// Decides whether one integration is told of a group's alerts, and writes the intent if so.
    fn plan(
        &mut self,
        now: Timestamp,
        id: &Arc<str>,
        integration: &Arc<Integration>,
        message: &group::Message,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get(id) else { return };
        let route = &self.config.routes.routes()[group.route];
        let key = (id.clone(), integration.id());
        let settings =
            dedup::Settings { repeat_interval: route.repeat_interval, send_resolved: integration.send_resolved };
        let Due::Now(reason) = dedup::due(now, &message.firing, &message.resolved, self.log.get(&key), settings) else {
            // What waits to be sent stays: it was news when it was written, and nobody has heard it.
            return;
        };
        if self.outbox.is_in_flight(&key) {
            return;
        }
        if message.firing.is_empty() && !integration.send_resolved {
            // Nobody is told, but the log has to forget the firing alerts, or their return would be no news.
            self.outbox.withdraw(&key, effects);
            let resolved = message.resolved.clone();
            let entry = LogEntry { at: now, firing: BTreeSet::new(), resolved, data: ReceiverData::new() };
            effects.push(Effect::Save(state::save_log(&key, &entry)));
            self.log.insert(key, entry);
            return;
        }
        // Once nothing fired, a new alert is a new message: a change of an old one would be seen by nobody.
        let previous = self.log.get(&key).filter(|entry| !entry.firing.is_empty());
        let previous = previous.map(|entry| entry.data.clone()).unwrap_or_default();
        let context = message::Context {
            receiver: &integration.receiver,
            group_labels: &group.labels,
            group_key: &group.key,
            external_url: &self.external_url,
            reason,
            route_labels: &route.labels,
            previous: &previous,
        };
        let alerts: Vec<&Alert> =
            message.alerts.iter().filter(|alert| integration.send_resolved || !alert.resolved_at(now)).collect();
        let not_rendered = |reason: String| {
            let (integration, group_key) = (key.1.clone(), group.key.clone());
            Effect::Fact(Fact::NotRendered { integration, group_key, reason })
        };
        match message::render(now, &self.config, integration, &context, &alerts) {
            Ok(message::Rendered { body, mistakes }) => {
                effects.extend(mistakes.into_iter().map(not_rendered));
                let resolved = if integration.send_resolved { message.resolved.clone() } else { BTreeSet::new() };
                let news = outbox::News {
                    group_key: group.key.clone(),
                    reason,
                    firing: message.firing.clone(),
                    resolved,
                    timeout: route.group_interval,
                    body,
                };
                self.outbox.put(now, key, integration.clone(), news, effects);
            }
            Err(reason) => effects.push(not_rendered(reason)),
        }
    }

    pub(super) fn delivered(
        &mut self,
        now: Timestamp,
        id: DeliveryId,
        outcome: DeliveryOutcome,
        effects: &mut Vec<Effect>,
    ) {
        let Some(done) = self.outbox.finish(now, id, outcome, effects) else {
            let groups = &self.groups;
            return self.outbox.drop_orphans(|group| groups.contains_key(group), effects);
        };
        let (key, resolved) = (done.key.clone(), done.resolved.clone());
        let interval = self.groups.get(&key.0).map(|group| self.config.routes.routes()[group.route].group_interval);
        let at = interval.map_or(done.at, |interval| done.at.max(now - interval));
        let entry = LogEntry { at, firing: done.firing, resolved: done.resolved, data: done.data };
        effects.push(Effect::Save(state::save_log(&key, &entry)));
        self.log.insert(key.clone(), entry);
        self.clean_group(now, &key.0, Some(&resolved), effects);
    }

    /// Lets go of resolved alerts (all, or those in `only`) that no receiver has to be told of any more, and of the group once
    /// it is empty.
    fn clean_group(
        &mut self,
        now: Timestamp,
        id: &Arc<str>,
        only: Option<&BTreeSet<Fingerprint>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(group) = self.groups.get(id) else { return };
        let firing = group.alerts.iter().any(|fingerprint| self.is_firing(now, *fingerprint));
        let gone: Vec<Fingerprint> = group
            .alerts
            .iter()
            .copied()
            .filter(|fingerprint| only.is_none_or(|only| only.contains(fingerprint)))
            .filter(|fingerprint| {
                !self.is_firing(now, *fingerprint) && !self.is_believed(now, id, *fingerprint, firing)
            })
            .collect();
        for fingerprint in gone {
            if let Some(group) = self.groups.get_mut(id) {
                group.alerts.remove(&fingerprint);
            }
            let Some(held) = self.alerts.get_mut(&fingerprint) else { continue };
            held.groups.retain(|group| group != id);
            if held.groups.is_empty() {
                self.inhibitor.remove(fingerprint, &held.alert.labels);
                self.alerts.remove(&fingerprint);
                effects.push(Effect::Save(state::delete(state::ALERTS, fingerprint.to_string())));
            }
        }
        let empty = self.groups.get(id).is_some_and(|group| group.alerts.is_empty());
        if empty && !self.outbox.has_group(id) {
            self.remove_group(id, effects);
        }
    }

    /// Whether a receiver of the group was told that the alert fires and has to hear that it does not.
    fn is_believed(&self, now: Timestamp, id: &Arc<str>, fingerprint: Fingerprint, others_fire: bool) -> bool {
        let Some(group) = self.groups.get(id) else { return false };
        let ended = self.alerts.get(&fingerprint).and_then(|held| held.alert.ends_at);
        if ended.is_none_or(|ended| ended + RETENTION < now) {
            return false;
        }
        let receiver = &self.config.routes.routes()[group.route].receiver;
        self.config.integrations(receiver).iter().any(|integration| {
            let key = (id.clone(), integration.id());
            let told = self.log.get(&key).is_some_and(|entry| entry.firing.contains(&fingerprint));
            (told && (integration.send_resolved || !others_fire)) || self.outbox.mentions(&key, fingerprint)
        })
    }

    fn remove_group(&mut self, id: &Arc<str>, effects: &mut Vec<Effect>) {
        let Some(group) = self.groups.remove(id) else { return };
        self.timers.remove(&(group.timer.next, id.clone()));
        effects.push(Effect::Save(state::delete(state::GROUPS, id.to_string())));
        let entries = self.log.range((id.clone(), String::new())..).take_while(|((group, _), _)| group == id);
        let silent: Vec<_> = entries.filter(|(_, entry)| entry.firing.is_empty()).map(|(key, _)| key.clone()).collect();
        for key in silent {
            effects.push(Effect::Save(state::delete(state::LOG, state::log_key(&key))));
            self.log.remove(&key);
        }
    }
}
