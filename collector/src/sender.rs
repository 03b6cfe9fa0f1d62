//! Senders: each carries one attempt of a notification to one kind of receiver, and says how it ended.
//!
//! When to try and whether to try again is the core's decision. A sender knows one protocol; all that speak HTTP share
//! [`client`]. Secrets that stand in files are read at each attempt, so that they may be exchanged without a reload, and
//! no secret goes into an outcome.

pub(crate) mod client;

mod webhook;

mod email;

mod slack;

mod pagerduty;

mod opsgenie;

mod telegram;

mod discord;

mod msteamsv2;

mod pushover;

mod msteams;

mod victorops;

mod webex;

mod rocketchat;

mod mattermost;

mod wechat;

mod incidentio;

mod jira;

mod sns;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use watchfire_collector_core::notify::{Delivery, DeliveryOutcome};
use watchfire_shared::time::Span;

use client::Clients;

/// One kind of receiver.
struct Sender {
    /// As it stands in `Integration::kind`.
    kind: &'static str,
    send: for<'a> fn(&'a Context, &'a Delivery) -> BoxFuture<'a, DeliveryOutcome>,
}

/// Every kind that can be sent to.
const SENDERS: &[Sender] = &[
    Sender { kind: "webhook", send: |context, delivery| Box::pin(webhook::send(context, delivery)) },
    Sender { kind: "email", send: |context, delivery| Box::pin(email::send(context, delivery)) },
    Sender { kind: "slack", send: |context, delivery| Box::pin(slack::send(context, delivery)) },
    Sender { kind: "pagerduty", send: |context, delivery| Box::pin(pagerduty::send(context, delivery)) },
    Sender { kind: "opsgenie", send: |context, delivery| Box::pin(opsgenie::send(context, delivery)) },
    Sender { kind: "telegram", send: |context, delivery| Box::pin(telegram::send(context, delivery)) },
    Sender { kind: "discord", send: |context, delivery| Box::pin(discord::send(context, delivery)) },
    Sender { kind: "msteamsv2", send: |context, delivery| Box::pin(msteamsv2::send(context, delivery)) },
    Sender { kind: "pushover", send: |context, delivery| Box::pin(pushover::send(context, delivery)) },
    Sender { kind: "msteams", send: |context, delivery| Box::pin(msteams::send(context, delivery)) },
    Sender { kind: "victorops", send: |context, delivery| Box::pin(victorops::send(context, delivery)) },
    Sender { kind: "webex", send: |context, delivery| Box::pin(webex::send(context, delivery)) },
    Sender { kind: "rocketchat", send: |context, delivery| Box::pin(rocketchat::send(context, delivery)) },
    Sender { kind: "mattermost", send: |context, delivery| Box::pin(mattermost::send(context, delivery)) },
    Sender { kind: "wechat", send: |context, delivery| Box::pin(wechat::send(context, delivery)) },
    Sender { kind: "incidentio", send: |context, delivery| Box::pin(incidentio::send(context, delivery)) },
    Sender { kind: "jira", send: |context, delivery| Box::pin(jira::send(context, delivery)) },
    Sender { kind: "sns", send: |context, delivery| Box::pin(sns::send(context, delivery)) },
];

/// What senders share.
#[derive(Default)]
struct Context {
    clients: Clients,
    /// The folder of the file that names the receivers; relative paths of secrets begin there.
    folder: ArcSwap<PathBuf>,
    /// What WeCom lent.
    wechat: wechat::Tokens,
    /// Slack's threads of which no message has got out yet.
    begun: slack::Begun,
    /// What Amazon lent.
    lent: sns::Lent,
}

/// Attempts by kind of receiver and how they ended.
type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// Carries deliveries. Clones share connections and counters.
///
/// Deliveries wait for nothing but their own receiver. The core bounds how many are under way: a few for each integration
/// (`notify::outbox::MAX_IN_FLIGHT`). A bound over all of them would let those that hang delay the others.
#[derive(Clone, Default)]
pub(crate) struct Senders {
    context: Arc<Context>,
    counts: Arc<Mutex<Counts>>,
}

impl Senders {
    /// Tells where relative paths of secrets begin.
    pub(crate) fn set_folder(&self, folder: &Path) {
        self.context.folder.store(Arc::new(folder.to_owned()));
    }

    /// Makes one attempt, and ends within the time that the delivery allows.
    pub(crate) async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let kind = delivery.integration.kind;
        let Some(sender) = SENDERS.iter().find(|sender| sender.kind == kind) else {
            return failed(false, format!("there is no sender for {kind}"));
        };
        let outcome = attempt(delivery.timeout, (sender.send)(&self.context, delivery)).await;
        let word = match &outcome {
            DeliveryOutcome::Ok | DeliveryOutcome::OkWith(_) => "ok",
            DeliveryOutcome::Failed { retry: true, .. } => "failed",
            DeliveryOutcome::Failed { retry: false, .. } => "refused",
        };
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((sender.kind, word)).or_default() += 1;
        outcome
    }

    /// Attempts by kind of receiver and how they ended: `ok`, `failed` (to be tried again) or `refused`.
    pub(crate) fn counts(&self) -> Counts {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Ends in any case: a group whose delivery never ended would never be notified again.
async fn attempt(within: Span, send: impl Future<Output = DeliveryOutcome>) -> DeliveryOutcome {
    match tokio::time::timeout(within.to_std(), AssertUnwindSafe(send).catch_unwind()).await {
        Ok(Ok(outcome)) => outcome,
        // What it said may hold a secret, and is on the standard error output.
        Ok(Err(_)) => failed(true, "sending it panicked, which is a mistake in Watchfire"),
        Err(_) => failed(true, format!("no answer within {within}")),
    }
}

fn failed(retry: bool, reason: impl Into<String>) -> DeliveryOutcome {
    DeliveryOutcome::Failed { retry, reason: reason.into(), retry_after: None }
}

#[cfg(test)]
mod tests;
