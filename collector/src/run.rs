//! `watchfire-collector run`: puts the parts together, and takes them apart again.
//!
//! Started in this order and stopped in reverse: engine (which replays the log first), gossip, ingest, HTTP. Whatever can
//! fail fails before the program says that it is ready.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use watchfire_collector_core::engine::{Engine, Recovery};
use watchfire_shared::member::{Metadata, Role, SERVICE_HTTP, SERVICE_INGEST};
use watchfire_shell::arguments::Origin;
use watchfire_shell::clock::Clock;
use watchfire_shell::files::DataDir;
use watchfire_shell::http::{Guard, Server};
use watchfire_shell::journal::{self, Journal};
use watchfire_shell::lifecycle::{self, Signal, Signals, Tasks, exit};
use watchfire_shell::membership::{Index, MembershipHandle};
use watchfire_shell::{bind, gossip, telemetry};
use watchfire_store::RealDisk;

use crate::config::Settings;
use crate::engine::{self, Published, Running};
use crate::events;
use crate::export;
use crate::forward::{self, Forwards};
use crate::http::{self, App, MAX_QUERIES, MAX_WRITES};
use crate::ingest::{self, Connections, Tls};
use crate::load::Load;
use crate::order_key::OrderKey;
use crate::reload::{self, Reloader};
use crate::sender::Senders;

/// The folder of the store inside the data directory.
pub(crate) const STORE_FOLDER: &str = "store";

/// Runs a collector until it is told to stop.
///
/// # Errors
/// If it cannot start: a port is taken, the data directory is in use, the disk cannot be used.
pub(crate) async fn run(load: Load, origin: Origin) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install().context("cannot handle signals")?;
    let collector = Collector::start(load, origin).await?;
    lifecycle::ready("serving");
    tracing::info!("ready");
    let code = collector.serve(&mut signals).await;
    lifecycle::stopping();
    collector.stop().await;
    Ok(ExitCode::from(code))
}

struct Collector {
    app: Arc<App>,
    tasks: Tasks,
    engine: Running,
    membership: MembershipHandle,
    reloader: Reloader,
    /// Held until the end: one process uses the data directory at a time.
    _data: DataDir,
}

impl Collector {
    async fn start(load: Load, origin: Origin) -> anyhow::Result<Self> {
        let settings = load.settings.clone();
        let clock = Clock::start();
        let data = DataDir::open(&settings.data_dir)?;
        let node_id = gossip::node_id(&data)?;
        tracing::info!(
            name = settings.name,
            id = %node_id,
            version = env!("CARGO_PKG_VERSION"),
            files = ?settings.files,
            rule_files = ?load.rule_files,
            "the collector starts"
        );
        let server = Server::bind(settings.http_bind).await?;
        let ingest = TcpListener::bind(settings.ingest_bind).await;
        let ingest = ingest.with_context(|| format!("cannot bind ingest to {}", settings.ingest_bind))?;
        let ingest_address = ingest.local_addr()?;
        let tls = ingest_tls(&settings)?;
        let external_url = format!("http://{}", bind::advertised(server.address()));

        let order_key = OrderKey::open(&data)?;
        tracing::info!(key = order_key.public(), "orders are signed with this key; agents that pin it take them");
        let (engine, exported) = open(&load, &data, node_id, &external_url, &clock).await?;
        let epoch = u64::try_from(clock.wall().as_millis()).unwrap_or_default();
        let (inbox, waiting) = engine::inbox();
        let published = Published::new(&engine, inbox.clone(), epoch);
        let connections = Connections::default();
        let senders = Senders::default();
        senders.set_folder(load.notify_folder());
        load.warnings().for_each(|warning| tracing::warn!("{warning}"));
        if settings.notify_file.is_none() {
            tracing::warn!("there is no file of routes and receivers: nobody is notified");
        }
        let doers = engine::Doers { connections: connections.clone(), senders: senders.clone(), order_key };
        let engine = engine::start(engine, waiting, published.clone(), &clock, doers)?;

        let mut tasks = Tasks::default();
        tasks.spawn("log", telemetry::summaries);
        let advertised = settings.ingest_advertise.unwrap_or_else(|| bind::advertised(ingest_address));
        let metadata = metadata(&load, advertised, bind::advertised(server.address()));
        let membership = gossip::start(&settings.gossip, metadata.clone(), &data, &clock, &mut tasks).await?;
        tasks.spawn("members", |stop| engine::follow_members(membership.clone(), inbox.clone(), stop));
        let (exports, wanted) = watch::channel(load.settings.remotes.clone());
        let context = export::Context { published: published.clone(), inbox: inbox.clone(), clock: clock.clone() };
        tasks.spawn("remote write", |stop| export::run(wanted, exported, context, stop));
        let (reloader, requests) = reload::reloader(clock.wall(), settings.clone());
        let context = reload::Context {
            origin,
            node_id,
            external_url,
            metadata,
            inbox: inbox.clone(),
            senders: senders.clone(),
            tls: tls.clone(),
            exports,
            membership: membership.clone(),
            clock: clock.clone(),
            running: settings,
        };
        tasks.spawn("reload", |stop| reload::run(requests, reloader.clone(), context, stop));
        tasks.spawn("watchdog", |stop| async move {
            lifecycle::watchdog(stop.clone()).await;
            stop.cancelled().await;
        });
        tasks.spawn("ingest", |stop| ingest::run(ingest, tls, connections.clone(), inbox.clone(), stop));
        let journal = Journal::new(Index { counter: 0, ..membership.view().index });
        tasks.spawn("events", |stop| journal::follow_members(membership.clone(), journal.clone(), stop));
        tasks.spawn("collector-events", |stop| events::follow(published.clone(), journal.clone(), clock.clone(), stop));
        let forwards = Forwards::default();
        let told = (published.clone(), reloader.clone(), clock.clone(), forwards.clone());
        tasks.spawn("alertmanagers", |stop| forward::run(told.0, told.1, told.2, told.3, stop));
        let app = Arc::new(App {
            forwards,
            inbox,
            journal,
            is_local: server.address().ip().is_loopback(),
            started_at: clock.wall(),
            guard: Guard::new(load.settings.external_url.as_deref()),
            clock,
            membership: membership.clone(),
            published,
            connections,
            senders,
            reloader: reloader.clone(),
            queries: Arc::new(Semaphore::new(MAX_QUERIES)),
            writes: Semaphore::new(MAX_WRITES),
            stopping: AtomicBool::new(false),
        });
        tracing::info!(http = %server.address(), ingest = %ingest_address, "listening");
        let router = http::router(&app);
        tasks.spawn("http", |stop| server.run(router, stop));
        Ok(Self { app, tasks, engine, membership, reloader, _data: data })
    }

    /// Waits for the end, and gives the exit code.
    async fn serve(&self, signals: &mut Signals) -> u8 {
        let mut deaths = self.tasks.deaths();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => return exit::OK,
                    // The reload itself says how it went.
                    Signal::Reload => {
                        let reloader = self.reloader.clone();
                        tokio::spawn(async move { drop(reloader.reload().await) });
                    }
                },
                () = self.engine.failed.cancelled() => return exit::ERROR,
                _ = deaths.wait_for(|names| !names.is_empty()) => {
                    tracing::error!(tasks = self.tasks.ended().join(", "), "a part of the program has died");
                    return exit::ERROR;
                }
            }
        }
    }

    async fn stop(mut self) {
        self.app.stopping.store(true, Ordering::Relaxed);
        tracing::info!("stopping");
        if !self.membership.leave().await {
            tracing::warn!("gossip could not say goodbye in time");
        }
        self.tasks.stop().await;
        self.engine.stop().await;
    }
}

/// What ingest shows to agents; `None` is plaintext.
fn ingest_tls(settings: &Settings) -> anyhow::Result<Option<Tls>> {
    let Some(files) = &settings.ingest_tls else { return Ok(None) };
    let config = files.read().context("ingest.tls")?;
    if !files.asks() && !settings.ingest_bind.ip().to_canonical().is_loopback() {
        tracing::warn!("ingest takes samples from anybody who reaches it: ingest.tls.client_ca_file is not configured");
    }
    Ok(Some(Arc::new(ArcSwap::new(config))))
}

fn metadata(load: &Load, ingest: SocketAddr, http: SocketAddr) -> Metadata {
    Metadata {
        name: load.settings.name.clone(),
        role: Role::Collector,
        labels: load.settings.labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        services: [(SERVICE_INGEST.to_owned(), ingest), (SERVICE_HTTP.to_owned(), http)].into(),
    }
}

/// Opens the engine on a blocking thread: the log may be large.
async fn open(
    load: &Load,
    data: &DataDir,
    node_id: watchfire_shared::member::NodeId,
    external_url: &str,
    clock: &Clock,
) -> anyhow::Result<(Engine<RealDisk>, BTreeMap<String, Vec<u8>>)> {
    let folder = data.join(STORE_FOLDER);
    let settings = load.engine(node_id, external_url);
    let clock = clock.clone();
    let began = Instant::now();
    let opened = tokio::task::spawn_blocking(move || -> anyhow::Result<_> {
        let disk = RealDisk::open(&folder).context("cannot open the store")?;
        Ok(Engine::open(disk, settings, clock.wall())?)
    });
    let (engine, recovery) = opened.await??;
    tell(&recovery, began.elapsed());
    Ok((engine, recovery.exports))
}

fn tell(recovery: &Recovery, took: Duration) {
    let store = &recovery.store;
    // Each damaged file is told of by the engine, at length.
    tracing::info!(
        nodes = recovery.nodes,
        alerts = recovery.alerts,
        blocks = store.blocks,
        segments = store.segments,
        records = store.records,
        samples = store.samples,
        torn_bytes = store.torn_bytes,
        refused_records = store.refused_records,
        damaged_files = store.quarantined.len(),
        took_ms = took.as_millis(),
        "replayed"
    );
    if let Some(state) = &recovery.state {
        tracing::error!(
            kept_as = state.kept_as,
            reason = state.reason,
            "the state file was damaged and set aside; alerts and notifications begin anew"
        );
    }
}

#[cfg(test)]
mod tests;
