//! Reloading: read and check everything, then exchange it. A configuration with a mistake changes nothing and is told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::Input;
use watchfire_collector_core::export::config::Remote;
use watchfire_gossip::check_metadata;
use watchfire_shared::member::{Metadata, NodeId};
use watchfire_shared::time::Timestamp;
use watchfire_shell::arguments::Origin;
use watchfire_shell::clock::Clock;
use watchfire_shell::lifecycle;
use watchfire_shell::membership::MembershipHandle;
use watchfire_shell::telemetry;

use crate::config::Settings;
use crate::engine::Inbox;
use crate::ingest::Tls;
use crate::load::{Load, load};
use crate::sender::Senders;

/// Reloads that wait for the one that runs. Whoever finds this full is told to try again.
const MAX_WAITING: usize = 4;

/// How the last reload went.
#[derive(Clone, Debug)]
pub(crate) struct LastReload {
    /// Whether the configuration that was read last is the one in use.
    pub(crate) successful: bool,
    /// When the configuration in use was read.
    pub(crate) loaded_at: Timestamp,
    /// What is in use. Keys that take effect with a restart only are as they were at the start.
    pub(crate) settings: Arc<Settings>,
}

/// Asks for reloads. Clones ask the same task.
#[derive(Clone)]
pub(crate) struct Reloader {
    requests: mpsc::Sender<oneshot::Sender<Result<(), String>>>,
    last: Arc<ArcSwap<LastReload>>,
}

impl Reloader {
    /// Reads the configuration again and waits until it is in use.
    ///
    /// # Errors
    /// Every mistake, one per line; the old configuration stays in use.
    pub(crate) async fn reload(&self) -> Result<(), String> {
        let (answer, answered) = oneshot::channel();
        self.requests.try_send(answer).map_err(|_| "reloads are under way already".to_owned())?;
        answered.await.unwrap_or_else(|_| Err("the collector is stopping".to_owned()))
    }

    pub(crate) fn last(&self) -> Arc<LastReload> {
        self.last.load_full()
    }
}

/// What a reload exchanges, and what it needs for that.
pub(crate) struct Context {
    pub(crate) origin: Origin,
    /// What the program was started with: addresses and storage stay.
    pub(crate) running: Settings,
    pub(crate) node_id: NodeId,
    pub(crate) external_url: String,
    pub(crate) metadata: Metadata,
    pub(crate) inbox: Inbox,
    pub(crate) senders: Senders,
    /// What ingest shows to the next connection; `None` is plaintext, until a restart.
    pub(crate) tls: Option<Tls>,
    pub(crate) exports: watch::Sender<Vec<Remote>>,
    pub(crate) membership: MembershipHandle,
    pub(crate) clock: Clock,
}

/// The waiting requests, before there is a task that answers them.
pub(crate) type Requests = mpsc::Receiver<oneshot::Sender<Result<(), String>>>;

/// Makes the asking side, for a configuration that was loaded `at`.
pub(crate) fn reloader(at: Timestamp, settings: Settings) -> (Reloader, Requests) {
    let (requests, inbox) = mpsc::channel(MAX_WAITING);
    let last = LastReload { successful: true, loaded_at: at, settings: Arc::new(settings) };
    (Reloader { requests, last: Arc::new(ArcSwap::from_pointee(last)) }, inbox)
}

/// Answers requests until `stop`.
pub(crate) async fn run(mut requests: Requests, reloader: Reloader, mut context: Context, stop: CancellationToken) {
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = stop.cancelled() => return,
        };
        let Some(answer) = request else { return };
        lifecycle::reloading();
        let result = context.reload().await;
        let mut last = LastReload::clone(&reloader.last());
        match &result {
            Ok(settings) => {
                let settings = Arc::new(settings.clone());
                last = LastReload { successful: true, loaded_at: context.clock.wall(), settings };
                tracing::info!("the configuration was reloaded");
            }
            Err(mistakes) => {
                last.successful = false;
                tracing::error!("the configuration was not reloaded, the old one stays in use:\n{mistakes}");
            }
        }
        reloader.last.store(Arc::new(last));
        let old = "serving with the old configuration; the new one is bad";
        lifecycle::ready(if result.is_ok() { "serving" } else { old });
        let _ = answer.send(result.map(drop));
    }
}

impl Context {
    async fn reload(&mut self) -> Result<Settings, String> {
        let origin = self.origin.clone();
        let loaded = tokio::task::spawn_blocking(move || load(&origin)).await;
        let loaded: Load = loaded.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        let tls = match loaded.settings.ingest_tls.as_ref().filter(|_| self.tls.is_some()) {
            Some(files) => Some(files.read().map_err(|error| format!("ingest.tls: {error}"))?),
            None => None,
        };
        // The name stays what it was at the start, and is longer perhaps.
        let metadata = Metadata { labels: loaded.settings.labels.clone(), ..self.metadata.clone() };
        check_metadata(&metadata).map_err(|error| format!("node.labels: {error}"))?;
        self.membership.reload_keys().await.map_err(|error| format!("gossip.keyring_file: {error}"))?;
        telemetry::reconfigure(&loaded.settings.log.level).map_err(|error| format!("log.level: {error}"))?;
        if let (Some(running), Some(read)) = (&self.tls, tls) {
            running.store(read);
        }
        let keys = loaded.needs_restart(&self.running);
        if !keys.is_empty() {
            tracing::warn!(keys = keys.join(", "), "these keys changed and take effect with a restart");
        }
        let mut engine = loaded.engine(self.node_id, &self.external_url);
        // What others know this node by changes with a restart, together with its gossip.
        engine.node_name.clone_from(&self.running.name);
        engine.naming.cluster.clone_from(&self.running.gossip.cluster);
        if self.metadata != metadata {
            self.metadata = metadata;
            self.membership.set_metadata(self.metadata.clone()).await;
        }
        loaded.warnings().for_each(|warning| tracing::warn!("{warning}"));
        self.senders.set_folder(loaded.notify_folder());
        let exports = loaded.settings.remotes.clone();
        match self.inbox.send(Input::Reload(Box::new(engine))).await {
            // Addresses and storage stay as they were at the start.
            true => {
                // After the engine, which otherwise would not know of whom their figures are.
                self.exports.send_if_modified(|wanted| std::mem::replace(wanted, exports.clone()) != exports);
                Ok(Settings {
                    data_dir: self.running.data_dir.clone(),
                    http_bind: self.running.http_bind,
                    ingest_bind: self.running.ingest_bind,
                    storage: self.running.storage.clone(),
                    ..loaded.settings
                })
            }
            false => Err("the collector is stopping".to_owned()),
        }
    }
}
