//! Notification: alerts are routed into groups, and each group tells its receiver when there is something to tell.
//!
//! The pipeline is Alertmanager's, stage by stage: route, group, timers ([`group`]), inhibition ([`inhibit`]), times to be
//! quiet, silences ([`silence`]), whether anything is new ([`dedup`]), the message (a module for each kind) and
//! its way out with retries ([`outbox`]). It is a machine without input or output: what is to be kept comes out as [`Effect::Save`], what is to be
//! sent as [`Effect::Deliver`].
//!
//! Invariants:
//! - A delivery's intent is among the changes of the same call, and the driver makes those durable before it delivers. So a
//!   notification that was due when the process died is sent by the next one, and a crash costs at most one repetition.
//! - The log of notifications changes only when a delivery has succeeded; alerts that are in it are not told again.
//! - A resolved alert is kept while a receiver that was told of it still believes that it fires.
//! - Each integration has its own queue: a slow receiver delays no other.
//! - An alert that a restarted collector has not heard of again neither resolves nor is repeated before its time.

pub mod state;

pub mod group;

pub mod inhibit;

pub mod silence;

pub mod dedup;

mod message;

mod route_labels;

pub mod webhook;

pub mod email;

pub mod slack;

pub mod pagerduty;

pub mod opsgenie;

pub mod telegram;

pub mod discord;

pub mod msteamsv2;

pub mod pushover;

pub mod msteams;

pub mod victorops;

pub mod webex;

pub mod rocketchat;

pub mod mattermost;

pub mod wechat;

pub mod jira;

pub mod sns;

pub mod outbox;

pub mod query;

mod restore;

mod intake;

pub mod post;

mod flush;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchfire_shared::labels::Fingerprint;
use watchfire_shared::machine::Machine;
use watchfire_shared::time::{Span, Timestamp};

use crate::alert::Alert;
use crate::alertmanager::Config;

pub use dedup::{Due, Quiet, Reason, ReceiverData};
pub use outbox::{Body, Delivery, DeliveryId, DeliveryOutcome};
pub use post::PostedAlert;
pub use silence::{Silence, SilenceError, SilenceState};
pub use state::{Change, Saved, TABLES};

use dedup::LogEntry;
use group::Group;
use inhibit::Inhibitor;
use outbox::Outbox;
use silence::Silences;

/// Alerts that are held at once. At 1 KiB each with their groups that is 100 MiB; more are refused by name.
pub const MAX_ALERTS: usize = 100_000;
/// Groups that exist at once; `group_by: ['...']` makes one of each alert.
pub const MAX_GROUPS: usize = 100_000;
/// How long resolved alerts wait for a receiver, and how long silences and log entries are kept after their end: 120 h, as
/// Alertmanager's `--data.retention`.
pub const RETENTION: Span = Span::from_seconds(120 * 3600);
/// How often what is past its retention is looked for.
const SWEEP_INTERVAL: Span = Span::from_seconds(3600);

/// What the pipeline is told.
#[derive(Debug, Clone)]
pub enum Input {
    /// Alerts that fire or have resolved, from the rules or from outside. An alert without an end fires until it is sent with
    /// one.
    Alerts(Vec<Alert>),
    /// Every rule has been evaluated, and its firing alerts sent, since this time: alerts without an end that were not sent
    /// since then belong to no rule any more and resolve.
    Confirmed { since: Timestamp },
    /// How a delivery ended.
    Delivered { id: DeliveryId, outcome: DeliveryOutcome },
    /// Somebody outside reports alerts. Answered.
    Post(Vec<PostedAlert>),
    /// A silence is made; `replaces` names the one that it changes. Answered.
    SetSilence { silence: Silence, replaces: Option<String> },
    /// A silence ends now. Answered.
    ExpireSilence { id: String },
    /// A silence that is none of a person's; its id is its maker's, and a later one with that id replaces it.
    Mute(Silence),
    /// Such a silence ends now.
    Unmute { id: String },
    /// Instances whose failure a fallen group explains, with the group's label and value. While an alert of
    /// [`inhibit::GROUP_ALERT`] fires with these, theirs are quiet.
    Explained(BTreeMap<String, (String, String)>),
    /// A new configuration; groups and the log of notifications go on.
    Reload(Arc<Config>),
    /// The deadline was reached.
    Wake,
}

/// What the pipeline asks for.
#[derive(Debug, Clone)]
pub enum Effect {
    /// To be durable before any delivery of the same call begins.
    Save(Change),
    Deliver(Delivery),
    /// What became of an input that asks for an answer; one for each of them.
    Answer(Answer),
    /// To be logged, counted and shown.
    Fact(Fact),
}

/// What whoever asked is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The id of the silence that was made, changed or ended.
    Silence(Result<String, SilenceError>),
    /// Why some of the reported alerts were refused; the others were taken.
    Posted { refused: Vec<String> },
}

/// What happened, for logs, metrics and the event stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Fact {
    Notified {
        integration: String,
        group_key: String,
        reason: Reason,
        firing: usize,
        resolved: usize,
        attempt: u32,
    },
    /// A delivery failed; it is tried again at `retry_at`, or at the group's next interval if there is none.
    DeliveryFailed {
        integration: String,
        group_key: String,
        attempt: u32,
        reason: String,
        retry_at: Option<Timestamp>,
    },
    /// A notification was given up: its integration is gone or it is older than [`RETENTION`].
    Abandoned {
        integration: String,
        group_key: String,
        reason: String,
    },
    /// An alert was refused because a bound was reached.
    Refused {
        fingerprint: Fingerprint,
        reason: &'static str,
    },
    /// A message, or a part of it, could not be rendered.
    NotRendered {
        integration: String,
        group_key: String,
        reason: String,
    },
    /// A record of an earlier run could not be read and is skipped.
    UnreadableState {
        table: String,
        key: String,
    },
    /// Alerts of a group were held back.
    HeldBack {
        group_key: String,
        what: HeldBack,
    },
}

/// What kept alerts of a group from being told at an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeldBack {
    /// All of them, because the route keeps quiet at this time.
    pub by_time: bool,
    /// How many because of another alert.
    pub inhibited: usize,
    /// How many because of a silence.
    pub silenced: usize,
}

/// An alert and where it belongs.
#[derive(Debug, Clone)]
struct Held {
    alert: Alert,
    groups: Vec<Arc<str>>,
    /// Whether the saved record says that it is resolved.
    saved_resolved: bool,
}

/// The notification machine. See the module's head.
#[derive(Debug)]
pub struct Pipeline {
    config: Arc<Config>,
    external_url: String,
    alerts: BTreeMap<Fingerprint, Held>,
    groups: BTreeMap<Arc<str>, Group>,
    timers: BTreeSet<(Timestamp, Arc<str>)>,
    /// By group and integration.
    log: BTreeMap<(Arc<str>, String), LogEntry>,
    outbox: Outbox,
    inhibitor: Inhibitor,
    silences: Silences,
    next_sweep: Timestamp,
    /// What restoring found out, told by the first call.
    early: Vec<Effect>,
}

impl Machine for Pipeline {
    type Input = Input;
    type Effect = Effect;

    fn wake() -> Input {
        Input::Wake
    }

    fn handle(&mut self, now: Timestamp, input: Input, effects: &mut Vec<Effect>) {
        effects.append(&mut self.early);
        match input {
            Input::Alerts(alerts) => alerts.into_iter().for_each(|alert| self.take_alert(now, alert, effects)),
            Input::Confirmed { since } => self.resolve_unconfirmed(now, since, effects),
            Input::Delivered { id, outcome } => self.delivered(now, id, outcome, effects),
            Input::Post(alerts) => self.take_posted(now, alerts, effects),
            Input::SetSilence { silence, replaces } => {
                let id = self.silences.set(now, silence, replaces.as_deref(), effects);
                effects.push(Effect::Answer(Answer::Silence(id)));
            }
            Input::ExpireSilence { id } => {
                let id = self.silences.expire(now, &id, effects);
                effects.push(Effect::Answer(Answer::Silence(id)));
            }
            Input::Mute(silence) => self.silences.mute(silence, effects),
            Input::Unmute { id } => drop(self.silences.expire(now, &id, effects)),
            Input::Explained(instances) => self.inhibitor.explain(instances),
            Input::Reload(config) => self.reload(now, config, effects),
            Input::Wake => {}
        }
        self.flush_due(now, effects);
        if self.next_sweep <= now {
            self.next_sweep = now + SWEEP_INTERVAL;
            self.sweep(now, effects);
        }
        self.outbox.start_due(now, &self.config, effects);
    }

    fn deadline(&self) -> Option<Timestamp> {
        if !self.early.is_empty() {
            return Some(Timestamp::MIN);
        }
        let flush = self.timers.first().map(|(at, _)| *at);
        [flush, self.outbox.deadline()].into_iter().flatten().min()
    }
}

impl Pipeline {
    /// Sorts everything into the groups of a new configuration. Groups that exist in both keep their timers, and all keep the
    /// log, so that nothing is told twice.
    fn reload(&mut self, now: Timestamp, config: Arc<Config>, effects: &mut Vec<Effect>) {
        self.config = config;
        self.inhibitor = Inhibitor::new(&self.config).explaining_as(&self.inhibitor);
        let old = std::mem::take(&mut self.groups);
        self.timers.clear();
        let known: BTreeMap<_, _> = old.iter().map(|(id, group)| (id.clone(), group.timer)).collect();
        let fingerprints: Vec<Fingerprint> = self.alerts.keys().copied().collect();
        for fingerprint in fingerprints {
            if let Some(held) = self.alerts.get_mut(&fingerprint) {
                held.groups.clear();
                self.inhibitor.insert(fingerprint, &held.alert.labels);
            }
            self.join_groups(now, fingerprint, &known, effects);
        }
        for id in old.keys().filter(|id| !self.groups.contains_key(*id)) {
            effects.push(Effect::Save(state::delete(state::GROUPS, id.to_string())));
        }
        self.outbox.reload(&self.config, effects);
        let groups = &self.groups;
        self.outbox.drop_orphans(|group| groups.contains_key(group), effects);
    }

    /// Deletes what is past its retention.
    fn sweep(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let groups = &self.groups;
        self.log.retain(|key, entry| {
            let keep = groups.contains_key(&key.0) || entry.at + RETENTION >= now;
            if !keep {
                effects.push(Effect::Save(state::delete(state::LOG, state::log_key(key))));
            }
            keep
        });
        self.silences.sweep(now, effects);
        self.outbox.sweep(now, effects);
    }
}

#[cfg(test)]
mod tests;
