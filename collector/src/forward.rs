//! Alerts for other Alertmanagers, sent: one task asks each [`Forward`] what it is to be told, and posts it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::{CancellationToken, DropGuard};
use watchfire_collector_core::forward::config::Alertmanager;
use watchfire_collector_core::forward::{Batch, Figures, Forward, Outcome};
use watchfire_shared::time::Timestamp;
use watchfire_shell::clock::Clock;

use crate::engine::Published;
use crate::reload::Reloader;
use crate::sender::client::{Clients, Raw};

/// The time between two looks at the alerts, so that a storm is a few requests.
const PAUSE: Duration = Duration::from_millis(500);
/// The time until the next look where nothing changes: at the alerts, and at whom the configuration names.
const LOOK_EVERY: Duration = Duration::from_secs(5);
const HEADERS: &[(&str, &str)] =
    &[("content-type", "application/json"), ("user-agent", concat!("Watchfire/", env!("CARGO_PKG_VERSION")))];

/// How the Alertmanagers stand that are told of alerts. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Forwards(Arc<ArcSwap<Vec<Arc<Standing>>>>);

/// An Alertmanager and what was done for it.
pub(crate) struct Standing {
    pub(crate) alertmanager: Arc<Alertmanager>,
    pub(crate) figures: ArcSwap<Figures>,
}

impl Forwards {
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Standing>>> {
        self.0.load_full()
    }
}

/// Tells Alertmanagers of the alerts that the rules fire, until `stop`: those that the configuration in force names.
pub(crate) async fn run(
    published: Published,
    reloader: Reloader,
    clock: Clock,
    forwards: Forwards,
    stop: CancellationToken,
) {
    let mut running: Vec<(Arc<Standing>, DropGuard)> = Vec::new();
    loop {
        let last = reloader.last();
        let wanted = &last.settings.alertmanagers;
        running.retain(|(standing, _)| wanted.contains(&standing.alertmanager));
        for alertmanager in wanted {
            if running.iter().all(|(standing, _)| *standing.alertmanager != *alertmanager) {
                let alertmanager = Arc::new(alertmanager.clone());
                let standing = Arc::new(Standing { alertmanager, figures: ArcSwap::default() });
                let own = stop.child_token();
                let task = Task {
                    forward: Forward::new(standing.alertmanager.clone()),
                    clients: Clients::default(),
                    standing: standing.clone(),
                };
                tokio::spawn(own.clone().run_until_cancelled_owned(task.run(published.clone(), clock.clone())));
                running.push((standing, own.drop_guard()));
            }
        }
        forwards.0.store(Arc::new(running.iter().map(|(standing, _)| standing.clone()).collect()));
        if stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_none() {
            return;
        }
    }
}

/// Tells one of them, so that whoever does not answer holds up nobody else.
struct Task {
    forward: Forward,
    clients: Clients,
    standing: Arc<Standing>,
}

impl Task {
    async fn run(mut self, published: Published, clock: Clock) {
        loop {
            let (index, view) = (published.index(), published.view());
            self.forward.see(clock.wall(), view.notifications.alerts.iter().map(|alert| &alert.alert));
            while let Some(batch) = self.forward.batch(clock.wall()) {
                let outcome = self.post(&batch).await;
                self.note(clock.wall(), &batch, outcome);
                self.standing.figures.store(Arc::new(self.forward.figures().clone()));
            }
            tokio::time::sleep(PAUSE).await;
            let wait = self.forward.next().map_or(LOOK_EVERY, |due| due.since(clock.wall()).to_std().min(LOOK_EVERY));
            let _ = tokio::time::timeout(wait, published.later_than(index)).await;
        }
    }

    fn note(&mut self, now: Timestamp, batch: &Batch, outcome: Outcome) {
        let name = &self.forward.alertmanager().name;
        let failed_before = self.forward.figures().last_error.is_some();
        match &outcome {
            Outcome::Taken if failed_before => {
                tracing::info!(alertmanager = name, "the Alertmanager takes alerts again")
            }
            Outcome::Taken => {}
            Outcome::Later(reason) if failed_before => {
                tracing::debug!(alertmanager = name, reason, "the Alertmanager was not told of alerts");
            }
            Outcome::Later(reason) | Outcome::Refused(reason) => {
                tracing::warn!(alertmanager = name, reason, "the Alertmanager was not told of alerts");
            }
        }
        self.forward.done(now, batch, outcome);
    }

    async fn post(&self, batch: &Batch) -> Outcome {
        let alertmanager = self.forward.alertmanager();
        let posted = tokio::time::timeout(alertmanager.timeout.to_std(), async {
            // A secret that cannot be read now may be so later.
            let prepared = self.clients.prepare(&alertmanager.http, Path::new("")).await.map_err(Outcome::Later)?;
            let url = format!("{}/api/v2/alerts", alertmanager.url.expose());
            Ok(prepared.post_raw(&url, HEADERS, batch.body.clone()).await)
        });
        match posted.await {
            Err(_) => Outcome::Later(format!("no answer within {}", alertmanager.timeout)),
            Ok(Err(outcome)) => outcome,
            Ok(Ok(Raw::Success)) => Outcome::Taken,
            Ok(Ok(Raw::Status { status: 400..=428 | 430..=499, outworn: false, reason, .. })) => {
                Outcome::Refused(reason)
            }
            Ok(Ok(Raw::Status { reason, .. } | Raw::Unsent { reason } | Raw::Broken { reason, .. })) => {
                Outcome::Later(reason)
            }
        }
    }
}
