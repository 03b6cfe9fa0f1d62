//! How alerts come in: merged with what is known, routed, and put into groups.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::labels::Fingerprint;
use watchfire_shared::time::Timestamp;

use super::group::{self, Group};
use super::{Effect, Fact, Held, MAX_ALERTS, MAX_GROUPS, Pipeline, state};
use crate::alert::Alert;

impl Pipeline {
    pub(super) fn take_alert(&mut self, now: Timestamp, alert: Alert, effects: &mut Vec<Effect>) {
        let fingerprint = alert.fingerprint();
        if let Some(held) = self.alerts.get_mut(&fingerprint) {
            let merged = merge(&held.alert, alert, now);
            let resolved = merged.resolved_at(now);
            // A firing alert is sent again every minute; only what a restart could not do without is written. Texts of the
            // rules' own alerts, which have no end while they fire, come again with the next evaluation, and may change
            // with each; whoever sent another one was told that it is kept.
            let texts = (&merged.annotations, &merged.generator_url);
            let told = merged.ends_at.is_some() && (&held.alert.annotations, &held.alert.generator_url) != texts;
            let write = held.alert.starts_at != merged.starts_at || resolved != held.saved_resolved || told;
            held.alert = merged;
            if write {
                held.saved_resolved = resolved;
                effects.push(Effect::Save(state::save_alert(fingerprint, &held.alert, resolved)));
            }
            // No group had room for it; there may be room now.
            if held.groups.is_empty() {
                self.join_groups(now, fingerprint, &BTreeMap::new(), effects);
            }
            return;
        }
        if alert.resolved_at(now) {
            return;
        }
        if self.alerts.len() >= MAX_ALERTS {
            effects.push(Effect::Fact(Fact::Refused { fingerprint, reason: "too many alerts" }));
            return;
        }
        effects.push(Effect::Save(state::save_alert(fingerprint, &alert, false)));
        self.inhibitor.insert(fingerprint, &alert.labels);
        self.alerts.insert(fingerprint, Held { alert, groups: Vec::new(), saved_resolved: false });
        self.join_groups(now, fingerprint, &BTreeMap::new(), effects);
    }

    /// Puts an alert that is in no group yet into those that its routes lead to; `known` are timers of groups from before.
    pub(super) fn join_groups(
        &mut self,
        now: Timestamp,
        fingerprint: Fingerprint,
        known: &BTreeMap<Arc<str>, group::Timer>,
        effects: &mut Vec<Effect>,
    ) {
        let config = self.config.clone();
        let Some(held) = self.alerts.get_mut(&fingerprint) else { return };
        for index in config.routes.matching(&held.alert.labels) {
            let route = &config.routes.routes()[index];
            let labels = route.group_labels(&held.alert.labels);
            let id: Arc<str> = group::id(&route.id, &labels).into();
            if !self.groups.contains_key(&id) {
                if self.groups.len() >= MAX_GROUPS {
                    effects.push(Effect::Fact(Fact::Refused { fingerprint, reason: "too many groups" }));
                    continue;
                }
                let timer = known.get(&id).copied();
                if timer.is_none() {
                    let first = group::Timer::first(now, route.group_wait);
                    effects.push(Effect::Save(state::save_group(&id, first)));
                }
                let timer = timer.unwrap_or(group::Timer::first(now, route.group_wait));
                self.timers.insert((timer.next, id.clone()));
                self.groups.insert(id.clone(), Group::new(index, group::id(&route.key, &labels), labels, timer));
            }
            let Some(group) = self.groups.get_mut(&id) else { continue };
            group.alerts.insert(fingerprint);
            // An alert that has fired for longer than it would have had to wait waits no more.
            if !group.timer.flushed && held.alert.starts_at + route.group_wait < now && group.timer.next > now {
                self.timers.remove(&(group.timer.next, id.clone()));
                group.timer.next = now;
                self.timers.insert((now, id.clone()));
            }
            held.groups.push(id);
        }
    }

    pub(super) fn resolve_unconfirmed(&mut self, now: Timestamp, since: Timestamp, effects: &mut Vec<Effect>) {
        for (fingerprint, held) in &mut self.alerts {
            if held.alert.ends_at.is_none() && held.alert.updated_at < since {
                held.alert.ends_at = Some(now);
                held.saved_resolved = true;
                effects.push(Effect::Save(state::save_alert(*fingerprint, &held.alert, true)));
            }
        }
    }
}

/// What is known of an alert after it was sent again: the younger one wins, with the earliest start if the two overlap.
///
/// As `Alert.Merge` of Alertmanager's `types` package has it.
fn merge(old: &Alert, new: Alert, now: Timestamp) -> Alert {
    let end = |alert: &Alert| alert.ends_at.unwrap_or(Timestamp::MAX);
    let overlaps = (end(&new) > old.starts_at && end(&new) <= end(old))
        || (new.starts_at >= old.starts_at && new.starts_at < end(old));
    if !overlaps {
        return new;
    }
    let (older, mut younger) = if new.updated_at < old.updated_at { (&new, old.clone()) } else { (old, new.clone()) };
    younger.starts_at = younger.starts_at.min(older.starts_at);
    if younger.resolved_at(now) {
        if older.resolved_at(now) {
            younger.ends_at = younger.ends_at.max(older.ends_at);
        }
    } else if younger.ends_at.is_some() && !older.timeout && older.ends_at > younger.ends_at {
        // An end that a sender named holds, if it is the later one.
        (younger.ends_at, younger.timeout) = (older.ends_at, false);
    }
    younger
}
