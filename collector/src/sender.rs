//! Senders: each carries one attempt of a notification to one kind of receiver, and says how it ended.
//!
//! When to try and whether to try again is the core's decision. A sender knows one protocol; all that speak HTTP share
//! [`client`]. Secrets that stand in files are read at each attempt, so that they may be exchanged without a reload, and
//! no secret goes into an outcome.

mod client;

mod webhook;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use tokio::sync::Semaphore;
use watchfire_collector_core::notify::{Delivery, DeliveryOutcome};

use client::Clients;

/// Attempts under way at a time, over all integrations; each may hold a connection and a message of some 100 KiB.
const MAX_ATTEMPTS: usize = 64;

/// One kind of receiver.
struct Sender {
    /// As it stands in `Integration::kind`.
    kind: &'static str,
    send: for<'a> fn(&'a Context, &'a Delivery) -> BoxFuture<'a, DeliveryOutcome>,
}

/// Every kind that can be sent to.
const SENDERS: &[Sender] =
    &[Sender { kind: "webhook", send: |context, delivery| Box::pin(webhook::send(context, delivery)) }];

/// What senders share.
#[derive(Default)]
struct Context {
    clients: Clients,
    /// The folder of the file that names the receivers; relative paths of secrets begin there.
    folder: ArcSwap<PathBuf>,
}

/// Attempts by kind of receiver and how they ended.
type Counts = BTreeMap<(&'static str, &'static str), u64>;

/// Carries deliveries. Clones share connections and counters.
#[derive(Clone)]
pub(crate) struct Senders {
    context: Arc<Context>,
    places: Arc<Semaphore>,
    counts: Arc<Mutex<Counts>>,
}

impl Default for Senders {
    fn default() -> Self {
        let places = Arc::new(Semaphore::new(MAX_ATTEMPTS));
        Self { context: Arc::default(), places, counts: Arc::default() }
    }
}

impl Senders {
    /// Tells where relative paths of secrets begin.
    pub(crate) fn set_folder(&self, folder: &Path) {
        self.context.folder.store(Arc::new(folder.to_owned()));
    }

    /// Makes one attempt, and ends within the time that the delivery allows once there is a place for it.
    pub(crate) async fn deliver(&self, delivery: &Delivery) -> DeliveryOutcome {
        let kind = delivery.integration.kind;
        let Some(sender) = SENDERS.iter().find(|sender| sender.kind == kind) else {
            return failed(false, format!("there is no sender for {kind}"));
        };
        let _place = self.places.acquire().await;
        let attempt = (sender.send)(&self.context, delivery);
        let outcome = match tokio::time::timeout(delivery.timeout.to_std(), attempt).await {
            Ok(outcome) => outcome,
            Err(_) => failed(true, format!("no answer within {}", delivery.timeout)),
        };
        let word = match &outcome {
            DeliveryOutcome::Ok => "ok",
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

fn failed(retry: bool, reason: impl Into<String>) -> DeliveryOutcome {
    DeliveryOutcome::Failed { retry, reason: reason.into(), retry_after: None }
}

#[cfg(test)]
mod tests;
