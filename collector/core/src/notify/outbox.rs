//! Notifications on their way: intents, attempts, retries and the bound of each integration.
//!
//! There is at most one notification of a group for an integration at a time. One that fails is tried again with growing
//! distance, for as long as the group has something to tell; at each interval of the group it is replaced by fresh words.
//! Nothing is given up before [`super::RETENTION`], and what keeps failing is visible with its last error.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watchfire_shared::labels::Fingerprint;
use watchfire_shared::time::{Span, Timestamp};

use super::dedup::{Reason, ReceiverData};
use super::state::{self, OutboxRecord};
use super::{Effect, Fact, RETENTION};
use crate::alertmanager::{Config, Integration};

/// Deliveries that one integration may have under way. Receivers limit their callers; a handful hides the network's delay.
pub const MAX_IN_FLIGHT: usize = 8;
/// First distance between two attempts, its growth and its bound, as in Alertmanager's backoff.
const FIRST_BACKOFF: Span = Span::from_millis(500);
const MAX_BACKOFF: Span = Span::from_seconds(60);
/// The longest `Retry-After` that is followed; a receiver that asks for more is asked again sooner.
const MAX_RETRY_AFTER: Span = Span::from_seconds(3600);
/// The shortest time that an attempt may take, as in Alertmanager.
const MIN_TIMEOUT: Span = Span::from_seconds(10);
/// Why a notification for an integration that a new configuration left out is given up.
pub(super) const GONE: &str = "its integration is not configured any more";
/// The longest text of an error that is kept, bytes.
const MAX_ERROR_BYTES: usize = 512;

/// Names a delivery between the effect and its outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// One attempt to notify.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub id: DeliveryId,
    pub receiver: String,
    pub integration: Arc<Integration>,
    pub group_key: String,
    pub body: Body,
    /// From 1; how many attempts this process has made with this one.
    pub attempt: u32,
    /// After which the attempt has to end with an outcome.
    pub timeout: Span,
}

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A JSON text without secrets: what is posted, or what the sender of its kind makes of it, as for the kind `email` a
    /// [`super::email::Mail`].
    Json(Arc<str>),
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    Ok,
    /// As `Ok`, and the answer has to be known at the group's next message for this integration.
    OkWith(ReceiverData),
    /// `retry` says whether another attempt may succeed before the group's next interval. The reason must hold no secret.
    Failed {
        retry: bool,
        reason: String,
        retry_after: Option<Span>,
    },
}

pub(super) type Key = (Arc<str>, String);

/// A notification before it has a number.
pub(super) struct News {
    pub(super) group_key: String,
    pub(super) reason: Reason,
    pub(super) firing: BTreeSet<Fingerprint>,
    pub(super) resolved: BTreeSet<Fingerprint>,
    pub(super) timeout: Span,
    pub(super) body: String,
}

/// A notification that was delivered.
pub(super) struct Done {
    pub(super) key: Key,
    pub(super) at: Timestamp,
    pub(super) firing: BTreeSet<Fingerprint>,
    pub(super) resolved: BTreeSet<Fingerprint>,
    pub(super) data: ReceiverData,
}

/// A notification on its way.
#[derive(Debug, Clone)]
pub(super) struct Pending {
    pub(super) key: Key,
    integration: Arc<Integration>,
    pub(super) record: OutboxRecord,
    body: Arc<str>,
    pub(super) attempts: u32,
    pub(super) stage: Stage,
    pub(super) last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Due(Timestamp),
    InFlight,
    /// Waits for the group's next interval.
    AtTick,
}

/// What is known of an integration beside what waits for it.
#[derive(Debug, Clone, Default)]
pub(super) struct Health {
    in_flight: usize,
    pub(super) delivered: u64,
    pub(super) failed: u64,
    pub(super) last_success: Option<Timestamp>,
    pub(super) last_error: Option<(Timestamp, String)>,
}

/// All notifications on their way.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    next_id: u64,
    pending: BTreeMap<DeliveryId, Pending>,
    by_key: BTreeMap<Key, DeliveryId>,
    due: BTreeSet<(Timestamp, DeliveryId)>,
    /// Due, but their integration has enough under way.
    waiting: BTreeMap<String, BTreeSet<DeliveryId>>,
    pub(super) health: BTreeMap<String, Health>,
}

impl Outbox {
    /// Takes in a notification that an earlier process wrote; it is due at once. `None` if its integration is gone.
    pub(super) fn restore(&mut self, now: Timestamp, id: u64, record: OutboxRecord, config: &Config) -> Option<()> {
        let integration = find(config, &record.integration)?;
        let key = (Arc::from(record.group.as_str()), record.integration.clone());
        let id = DeliveryId(id);
        self.next_id = self.next_id.max(id.0 + 1);
        let body = Arc::from(record.body.as_str());
        let stage = Stage::Due(now);
        self.due.insert((now, id));
        self.by_key.insert(key.clone(), id);
        self.pending.insert(id, Pending { key, integration, record, body, attempts: 0, stage, last_error: None });
        Some(())
    }

    /// Writes a notification down and makes it due; it takes the place of one that has not got out yet, with that one's
    /// distance between attempts.
    pub(super) fn put(
        &mut self,
        now: Timestamp,
        key: Key,
        integration: Arc<Integration>,
        news: News,
        effects: &mut Vec<Effect>,
    ) {
        let record = OutboxRecord {
            group: key.0.to_string(),
            group_key: news.group_key,
            integration: key.1.clone(),
            at: now,
            reason: news.reason,
            firing: news.firing,
            resolved: news.resolved,
            timeout_millis: news.timeout.as_millis(),
            body: news.body,
        };
        let before = self.by_key.get(&key).copied().and_then(|id| self.remove(id, effects));
        let (attempts, last_error) = before.as_ref().map_or((0, None), |old| (old.attempts, old.last_error.clone()));
        let at = match before.map(|old| old.stage) {
            Some(Stage::Due(at)) => at,
            _ => now,
        };
        let id = DeliveryId(self.next_id);
        self.next_id += 1;
        effects.push(Effect::Save(state::save(state::OUTBOX, row(id), &record)));
        self.by_key.insert(key.clone(), id);
        self.due.insert((at, id));
        let (body, stage) = (Arc::from(record.body.as_str()), Stage::Due(at));
        self.pending.insert(id, Pending { key, integration, record, body, attempts, stage, last_error });
    }

    /// Takes back what has not got out.
    pub(super) fn withdraw(&mut self, key: &Key, effects: &mut Vec<Effect>) {
        if let Some(id) = self.by_key.get(key).copied() {
            self.remove(id, effects);
        }
    }

    fn remove(&mut self, id: DeliveryId, effects: &mut Vec<Effect>) -> Option<Pending> {
        let pending = self.pending.remove(&id)?;
        self.by_key.remove(&pending.key);
        if let Stage::Due(at) = pending.stage {
            self.due.remove(&(at, id));
        }
        if let Some(waiting) = self.waiting.get_mut(&pending.key.1) {
            waiting.remove(&id);
        }
        effects.push(Effect::Save(state::delete(state::OUTBOX, row(id))));
        Some(pending)
    }

    pub(super) fn is_in_flight(&self, key: &Key) -> bool {
        self.get(key).is_some_and(|pending| pending.stage == Stage::InFlight)
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Pending> {
        self.by_key.get(key).and_then(|id| self.pending.get(id))
    }

    pub(super) fn mentions(&self, key: &Key, fingerprint: Fingerprint) -> bool {
        let holds =
            |record: &OutboxRecord| record.firing.contains(&fingerprint) || record.resolved.contains(&fingerprint);
        self.get(key).is_some_and(|pending| holds(&pending.record))
    }

    pub(super) fn has_group(&self, group: &Arc<str>) -> bool {
        self.of_group(group).next().is_some()
    }

    fn of_group<'a>(&'a self, group: &'a Arc<str>) -> impl Iterator<Item = DeliveryId> + 'a {
        let from = (group.clone(), String::new());
        self.by_key.range(from..).take_while(move |((other, _), _)| other == group).map(|(_, id)| *id)
    }

    /// The group has had an interval: what waited for it is due.
    pub(super) fn wake_at_tick(&mut self, now: Timestamp, group: &Arc<str>) {
        for id in self.of_group(group).collect::<Vec<_>>() {
            if let Some(pending) = self.pending.get_mut(&id)
                && pending.stage == Stage::AtTick
            {
                pending.stage = Stage::Due(now);
                self.due.insert((now, id));
            }
        }
    }

    /// Nothing of the group may be told now: what has not got out waits for an interval at which it may.
    pub(super) fn hold(&mut self, group: &Arc<str>) {
        for id in self.of_group(group).collect::<Vec<_>>() {
            if let Some(pending) = self.pending.get_mut(&id)
                && let Stage::Due(at) = pending.stage
            {
                pending.stage = Stage::AtTick;
                self.due.remove(&(at, id));
                if let Some(waiting) = self.waiting.get_mut(&pending.key.1) {
                    waiting.remove(&id);
                }
            }
        }
    }

    /// Gives up what waits for an interval of a group that does not exist any more.
    pub(super) fn drop_orphans(&mut self, exists: impl Fn(&Arc<str>) -> bool, effects: &mut Vec<Effect>) {
        let orphan = |pending: &Pending| pending.stage == Stage::AtTick && !exists(&pending.key.0);
        self.abandon(orphan, "its group does not exist any more", effects);
    }

    /// Begins what is due, as far as the integrations' bounds allow.
    pub(super) fn start_due(&mut self, now: Timestamp, config: &Config, effects: &mut Vec<Effect>) {
        while let Some((at, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, id));
            if let Some(pending) = self.pending.get(&id) {
                self.waiting.entry(pending.key.1.clone()).or_default().insert(id);
            }
        }
        let ready: Vec<String> = self.waiting.keys().cloned().collect();
        for integration in ready {
            while self.health.entry(integration.clone()).or_default().in_flight < MAX_IN_FLIGHT {
                let Some(id) = self.waiting.get_mut(&integration).and_then(BTreeSet::pop_first) else { break };
                self.start(id, config, effects);
            }
            if self.waiting.get(&integration).is_some_and(BTreeSet::is_empty) {
                self.waiting.remove(&integration);
            }
        }
    }

    fn start(&mut self, id: DeliveryId, config: &Config, effects: &mut Vec<Effect>) {
        let Some(integration) = self.pending.get(&id).map(|pending| find(config, &pending.key.1)) else { return };
        let (Some(integration), Some(pending)) = (integration, self.pending.get_mut(&id)) else {
            return self.give_up(id, GONE, effects);
        };
        pending.integration = integration;
        pending.stage = Stage::InFlight;
        pending.attempts = pending.attempts.saturating_add(1);
        self.health.entry(pending.key.1.clone()).or_default().in_flight += 1;
        let own = pending.integration.config.timeout();
        let group = Span::from_millis(pending.record.timeout_millis).max(MIN_TIMEOUT);
        effects.push(Effect::Deliver(Delivery {
            id,
            receiver: pending.integration.receiver.clone(),
            integration: pending.integration.clone(),
            group_key: pending.record.group_key.clone(),
            body: Body::Json(pending.body.clone()),
            attempt: pending.attempts,
            timeout: if own.is_positive() { own.min(group) } else { group },
        }));
    }

    /// Takes the outcome of an attempt; returns what was delivered, if it was.
    pub(super) fn finish(
        &mut self,
        now: Timestamp,
        id: DeliveryId,
        outcome: DeliveryOutcome,
        effects: &mut Vec<Effect>,
    ) -> Option<Done> {
        let pending = self.pending.get_mut(&id).filter(|pending| pending.stage == Stage::InFlight)?;
        let health = self.health.entry(pending.key.1.clone()).or_default();
        health.in_flight = health.in_flight.saturating_sub(1);
        let (retry, mut reason, retry_after) = match outcome {
            DeliveryOutcome::Failed { retry, reason, retry_after } => (retry, reason, retry_after),
            DeliveryOutcome::Ok | DeliveryOutcome::OkWith(_) => {
                health.delivered += 1;
                health.last_success = Some(now);
                let data = if let DeliveryOutcome::OkWith(data) = outcome { data } else { ReceiverData::new() };
                return self.delivered(id, data, effects);
            }
        };
        reason.truncate(reason.floor_char_boundary(MAX_ERROR_BYTES));
        health.failed += 1;
        health.last_error = Some((now, reason.clone()));
        pending.last_error = Some(reason.clone());
        let retry_at = retry.then(|| {
            let asked = retry_after.unwrap_or(Span::ZERO).min(MAX_RETRY_AFTER);
            now + backoff(id, pending.attempts).max(asked)
        });
        pending.stage = retry_at.map_or(Stage::AtTick, Stage::Due);
        self.due.extend(retry_at.map(|at| (at, id)));
        effects.push(Effect::Fact(Fact::DeliveryFailed {
            integration: pending.key.1.clone(),
            group_key: pending.record.group_key.clone(),
            attempt: pending.attempts,
            reason,
            retry_at,
        }));
        None
    }

    fn delivered(&mut self, id: DeliveryId, data: ReceiverData, effects: &mut Vec<Effect>) -> Option<Done> {
        let Pending { key, record, attempts, .. } = self.remove(id, effects)?;
        effects.push(Effect::Fact(Fact::Notified {
            integration: key.1.clone(),
            group_key: record.group_key,
            reason: record.reason,
            firing: record.firing.len(),
            resolved: record.resolved.len(),
            attempt: attempts,
        }));
        Some(Done { key, at: record.at, firing: record.firing, resolved: record.resolved, data })
    }

    /// Lets go of notifications for integrations that a new configuration does not have.
    pub(super) fn reload(&mut self, config: &Config, effects: &mut Vec<Effect>) {
        let gone = |pending: &Pending| pending.stage != Stage::InFlight && find(config, &pending.key.1).is_none();
        self.abandon(gone, GONE, effects);
        self.health.retain(|id, health| health.in_flight > 0 || find(config, id).is_some());
    }

    pub(super) fn sweep(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let old = |pending: &Pending| pending.stage != Stage::InFlight && pending.record.at + RETENTION < now;
        self.abandon(old, "it could not be delivered for too long", effects);
    }

    fn abandon(&mut self, which: impl Fn(&Pending) -> bool, reason: &str, effects: &mut Vec<Effect>) {
        let ids: Vec<DeliveryId> =
            self.pending.iter().filter(|(_, pending)| which(pending)).map(|(id, _)| *id).collect();
        for id in ids {
            self.give_up(id, reason, effects);
        }
    }

    fn give_up(&mut self, id: DeliveryId, reason: &str, effects: &mut Vec<Effect>) {
        let Some(pending) = self.remove(id, effects) else { return };
        effects.push(Effect::Fact(Fact::Abandoned {
            integration: pending.key.1,
            group_key: pending.record.group_key,
            reason: reason.to_owned(),
        }));
    }

    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.due.first().map(|(at, _)| *at)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Pending> {
        self.pending.values()
    }
}

/// The key of a delivery's record; numbers of equal length sort as they were made.
pub(super) fn row(id: DeliveryId) -> String {
    format!("{:020}", id.0)
}

fn find(config: &Config, id: &str) -> Option<Arc<Integration>> {
    let (receiver, _) = id.rsplit_once('/')?;
    config.integrations(receiver).iter().find(|integration| integration.id() == id).cloned()
}

/// The distance to the next attempt: 0.5 s, growing by half up to a minute, up to a fifth shorter so that notifications that
/// failed together do not all come back together. The spread depends on the id alone, so equal runs stay equal.
fn backoff(id: DeliveryId, attempts: u32) -> Span {
    let grown = FIRST_BACKOFF.as_seconds() * 1.5f64.powi(attempts.saturating_sub(1).min(64) as i32);
    let bounded = grown.min(MAX_BACKOFF.as_seconds());
    let mixed = (id.0 ^ (u64::from(attempts) << 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    let spread = mixed as f64 / f64::from(u32::MAX) * 0.2;
    Span::from_millis((bounded * (1.0 - spread) * 1000.0) as i64)
}
