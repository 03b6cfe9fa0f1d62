//! What the pipeline knows, for the HTTP interface: alerts with their state, groups, receivers, silences.

use std::sync::Arc;

use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::matcher::Matcher;
use watchfire_shared::time::Timestamp;

use super::outbox::Stage;
use super::{Held, Pipeline, Silence, group};
use crate::alert::Alert;

/// Which alerts are wanted; the default wants all.
#[derive(Debug, Clone)]
pub struct AlertFilter {
    pub active: bool,
    pub silenced: bool,
    pub inhibited: bool,
    pub unprocessed: bool,
    /// All of them have to match the alert's labels.
    pub matchers: Vec<Matcher>,
    /// Matches one of the names of the alert's receivers; as `receiver=~"..."`.
    pub receiver: Option<Matcher>,
}

impl Default for AlertFilter {
    fn default() -> Self {
        Self { active: true, silenced: true, inhibited: true, unprocessed: true, matchers: Vec::new(), receiver: None }
    }
}

/// What keeps an alert from being told, if anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlertState {
    /// No interval of its groups has passed yet.
    Unprocessed,
    Active,
    Suppressed,
}

/// An alert as the interface shows it.
#[derive(Debug, Clone)]
pub struct AlertView {
    pub alert: Alert,
    pub fingerprint: Fingerprint,
    pub state: AlertState,
    /// Ids of silences.
    pub silenced_by: Vec<String>,
    pub inhibited_by: Vec<Fingerprint>,
    /// Names of the time intervals that keep all its routes quiet.
    pub muted_by: Vec<String>,
    pub receivers: Vec<String>,
}

/// A group as the interface shows it.
#[derive(Debug, Clone)]
pub struct GroupView {
    pub key: String,
    pub labels: Labels,
    pub receiver: String,
    /// When the group looks for something to tell next.
    pub next_flush: Timestamp,
    /// Shared with the list of all alerts.
    pub alerts: Vec<Arc<AlertView>>,
}

/// A receiver with how its integrations fare.
#[derive(Debug, Clone)]
pub struct ReceiverView {
    pub name: String,
    pub integrations: Vec<IntegrationView>,
}

/// How an integration fares. Counts begin with the process.
#[derive(Debug, Clone)]
pub struct IntegrationView {
    pub id: String,
    pub kind: &'static str,
    pub send_resolved: bool,
    pub delivered: u64,
    pub failed: u64,
    pub last_success: Option<Timestamp>,
    pub last_error: Option<(Timestamp, String)>,
    pub pending: Vec<PendingView>,
}

/// A notification that has not been delivered yet.
#[derive(Debug, Clone)]
pub struct PendingView {
    pub group_key: String,
    /// When it was written.
    pub since: Timestamp,
    pub attempts: u32,
    pub in_flight: bool,
    /// `None` while it is in flight or waits for its group's next interval.
    pub next_attempt: Option<Timestamp>,
    pub last_error: Option<String>,
}

impl Pipeline {
    /// The alerts from outside that fire. Those of the rules have no end while they do; whoever posts one names an end, or
    /// is given one.
    pub fn posted(&self, now: Timestamp) -> impl Iterator<Item = &Alert> {
        let alerts = self.alerts.values().map(|held| &held.alert);
        alerts.filter(move |alert| alert.ends_at.is_some_and(|end| now < end))
    }

    /// All alerts that fire, by fingerprint, and all groups that have any, by route and labels.
    #[must_use]
    pub fn shown(&self, now: Timestamp) -> (Vec<Arc<AlertView>>, Vec<GroupView>) {
        let alerts: Vec<Arc<AlertView>> = self.alerts(now, &AlertFilter::default()).into_iter().map(Arc::new).collect();
        let find = |fingerprint: &Fingerprint| {
            let at = alerts.binary_search_by_key(fingerprint, |alert| alert.fingerprint).ok()?;
            Some(Arc::clone(&alerts[at]))
        };
        let groups = self.groups.values().map(|group| GroupView {
            key: group.key.clone(),
            labels: group.labels.clone(),
            receiver: self.config.routes.routes()[group.route].receiver.clone(),
            next_flush: group.timer.next,
            alerts: group.alerts.iter().filter_map(find).collect(),
        });
        let groups = groups.filter(|view| !view.alerts.is_empty()).collect();
        (alerts, groups)
    }

    /// The alerts that fire and pass the filter, by fingerprint.
    #[must_use]
    pub fn alerts(&self, now: Timestamp, filter: &AlertFilter) -> Vec<AlertView> {
        let firing = self.alerts.iter().filter(|(_, held)| !held.alert.resolved_at(now));
        let wanted = firing.filter(|(_, held)| filter.matchers.iter().all(|m| m.matches_labels(&held.alert.labels)));
        wanted
            .map(|(fingerprint, held)| self.alert_view(now, *fingerprint, held))
            .filter(|view| filter.takes(view))
            .collect()
    }

    /// All receivers, with what waits for them and their last errors.
    #[must_use]
    pub fn receivers(&self) -> Vec<ReceiverView> {
        let integration = |integration: &crate::alertmanager::Integration| {
            let id = integration.id();
            let health = self.outbox.health.get(&id).cloned().unwrap_or_default();
            let pending = self.outbox.all().filter(|pending| pending.key.1 == id).map(|pending| PendingView {
                group_key: pending.record.group_key.clone(),
                since: pending.record.at,
                attempts: pending.attempts,
                in_flight: pending.stage == Stage::InFlight,
                next_attempt: if let Stage::Due(at) = pending.stage { Some(at) } else { None },
                last_error: pending.last_error.clone(),
            });
            IntegrationView {
                kind: integration.kind,
                send_resolved: integration.send_resolved,
                delivered: health.delivered,
                failed: health.failed,
                last_success: health.last_success,
                last_error: health.last_error,
                pending: pending.collect(),
                id,
            }
        };
        let receivers = self.config.receivers.values();
        receivers
            .map(|receiver| ReceiverView {
                name: receiver.name.clone(),
                integrations: receiver.integrations.iter().map(|own| integration(own)).collect(),
            })
            .collect()
    }

    /// All silences, those that have ended included until their retention is over, by id.
    pub fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.all()
    }

    /// When a silence or an alert begins or ends next by the mere passing of time.
    #[must_use]
    pub fn next_turn(&self, now: Timestamp) -> Option<Timestamp> {
        let silences = self.silences.all().flat_map(|silence| [silence.starts_at, silence.ends_at]);
        let alerts = self.alerts.values().filter_map(|held| held.alert.ends_at);
        silences.chain(alerts).filter(|at| *at > now).min()
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &crate::alertmanager::Config {
        &self.config
    }

    fn alert_view(&self, now: Timestamp, fingerprint: Fingerprint, held: &Held) -> AlertView {
        let groups: Vec<&group::Group> = held.groups.iter().filter_map(|id| self.groups.get(id)).collect();
        let routes = self.config.routes.routes();
        let silenced_by: Vec<String> = self.silences.silenced_by(now, &held.alert.labels).map(str::to_owned).collect();
        let inhibited_by = self.inhibitor.inhibited_by(&held.alert.labels, &|other| self.is_firing(now, other));
        let quiet = !groups.is_empty()
            && groups.iter().all(|group| group::is_quiet_time(&self.config, &routes[group.route], now));
        let muted_by: Vec<String> = groups
            .iter()
            .filter(|_| quiet)
            .flat_map(|group| {
                routes[group.route].mute_time_intervals.iter().chain(&routes[group.route].active_time_intervals)
            })
            .cloned()
            .collect();
        let mut receivers: Vec<String> = groups.iter().map(|group| routes[group.route].receiver.clone()).collect();
        receivers.sort();
        receivers.dedup();
        let state = if !silenced_by.is_empty() || inhibited_by.is_some() || quiet {
            AlertState::Suppressed
        } else if groups.iter().any(|group| group.timer.flushed) {
            AlertState::Active
        } else {
            AlertState::Unprocessed
        };
        let inhibited_by = inhibited_by.into_iter().collect();
        AlertView { alert: held.alert.clone(), fingerprint, state, silenced_by, inhibited_by, muted_by, receivers }
    }
}

impl AlertFilter {
    /// Whether the alert is wanted.
    #[must_use]
    pub fn takes(&self, view: &AlertView) -> bool {
        let by_state = match view.state {
            AlertState::Active => self.active,
            AlertState::Unprocessed => self.unprocessed && self.active,
            AlertState::Suppressed => true,
        };
        by_state
            && self.matchers.iter().all(|matcher| matcher.matches_labels(&view.alert.labels))
            && (self.silenced || view.silenced_by.is_empty())
            && (self.inhibited || view.inhibited_by.is_empty())
            && self.receiver.as_ref().is_none_or(|wanted| view.receivers.iter().any(|name| wanted.matches(name)))
    }
}
