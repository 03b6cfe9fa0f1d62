//! `watchfire-agent run`: puts the parts together, and takes them apart again.
//!
//! Started in this order and stopped in reverse: spool, sampler, core, gossip, HTTP. Whatever can fail fails before the
//! program says that it is ready.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use watchfire_agent_core::agent::{AgentCore, Effect, Input, Start};
use watchfire_agent_core::sampler::OwnFigures;
use watchfire_agent_core::spool::SpoolEffect;
use watchfire_gossip::check_metadata;
use watchfire_shared::member::{Member, Metadata, Role, SERVICE_HTTP};
use watchfire_shell::arguments::Origin;
use watchfire_shell::clock::Clock;
use watchfire_shell::driver::drive;
use watchfire_shell::files::DataDir;
use watchfire_shell::http::Server;
use watchfire_shell::journal::{self, Journal};
use watchfire_shell::lifecycle::{self, Signal, Signals, Tasks, exit};
use watchfire_shell::membership::{Index, MembershipHandle};
use watchfire_shell::tls::ClientFiles;
use watchfire_shell::{bind, gossip, telemetry};

use crate::config::{self, Loaded, Settings};
use crate::sampling::{self, Request};
use crate::spool::{DiskOrder, LifeFile, SpoolDisk};
use crate::uplink::{Connections, Secrecy};
use crate::{action, http, log, spool};

/// Inputs that wait for the core: frames of three collectors and what the disk says. All of them wait for room.
const MAX_INBOX: usize = 256;
/// How often the program looks whether one of its threads, or the core, has died.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long the spool may take to sync at the end.
const MAX_SYNC_TIME: Duration = Duration::from_secs(5);

/// Runs an agent until it is told to stop.
///
/// # Errors
/// If it cannot start: a port is taken, the data directory is in use or cannot be written.
pub(crate) async fn run(loaded: Loaded, origin: Origin) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::install().context("cannot handle signals")?;
    let status = status(&loaded.unknown);
    let mut agent = Agent::start(loaded, origin).await?;
    lifecycle::ready(&status);
    tracing::info!("ready");
    let code = agent.serve(&mut signals).await;
    lifecycle::stopping();
    agent.stop().await;
    Ok(ExitCode::from(code))
}

struct Agent {
    settings: Settings,
    origin: Origin,
    metadata: Metadata,
    tasks: Tasks,
    inputs: mpsc::Sender<Input>,
    /// Which certificate files the uplink's next connection reads.
    tls: watch::Sender<Option<ClientFiles>>,
    actions: action::Handle,
    core: tokio::task::JoinHandle<()>,
    spool: std::thread::JoinHandle<()>,
    membership: MembershipHandle,
    stopping: Arc<AtomicBool>,
    /// Held until the end: one process uses the data directory at a time.
    _data: DataDir,
}

impl Agent {
    async fn start(loaded: Loaded, origin: Origin) -> anyhow::Result<Self> {
        let settings = loaded.settings;
        let clock = Clock::start();
        let data = DataDir::open(&settings.data_dir)?;
        let node = gossip::node_id(&data)?;
        tracing::info!(
            name = settings.core.name,
            id = %node,
            version = env!("CARGO_PKG_VERSION"),
            interval = %settings.core.interval,
            files = ?loaded.files,
            "the agent starts"
        );
        warn_unknown(&loaded.unknown);
        let server = Server::bind(settings.http_bind).await?;
        let (disk, found) = SpoolDisk::open(data.path())
            .with_context(|| format!("cannot open the spool in {}", data.path().display()))?;
        let (inputs, inbox) = mpsc::channel(MAX_INBOX);
        let (life_file, life) = LifeFile::open(data.path());
        let (orders, spool) = spool::start(disk, life_file, inputs.clone())?;
        let sampler = sampling::start(inputs.clone())?;
        let actions = action::start(&settings.actions, &data, node, &clock, inputs.clone())?;

        let mut effects = Vec::new();
        let start = Start {
            node,
            epoch: u64::try_from(clock.wall().as_millis()).unwrap_or(1),
            seed: rand::random(),
            version: env!("CARGO_PKG_VERSION"),
            boot: action::boot(),
            life,
            settings: settings.core.clone(),
        };
        let core = AgentCore::new(clock.wall(), start, found, &mut effects);
        let (figures_writer, figures) = watch::channel(core.figures());
        let (tls, tls_files) = watch::channel(settings.tls.clone());
        let mut performer = Performer {
            connections: Connections::new(inputs.clone(), Secrecy::new(tls_files)),
            sampler: sampler.clone(),
            orders,
            inputs: inputs.clone(),
            actions: actions.clone(),
            figures: figures_writer,
        };
        let _ = performer.perform(&mut effects, &core);
        let now = clock.clone();
        let core = tokio::spawn(async move {
            let perform = |_, effects: &mut Vec<Effect>, core: &AgentCore| performer.perform(effects, core);
            drive(core, inbox, || now.wall(), perform).await;
        });
        let config_read = Input::ConfigRead { good: true, unknown_keys: loaded.unknown.len() as u64 };
        inputs.send(config_read).await.context("the core ended")?;

        let mut tasks = Tasks::default();
        tasks.spawn("log", telemetry::summaries);
        let metadata = metadata(&settings, &server);
        let membership = gossip::start(&settings.gossip, metadata.clone(), &data, &clock, &mut tasks).await?;
        actions.follow(membership.clone());
        tasks.spawn("members", |stop| follow_members(membership.clone(), inputs.clone(), stop));
        tasks.spawn("watchdog", |stop| async move {
            lifecycle::watchdog(stop.clone()).await;
            stop.cancelled().await;
        });
        let stopping = Arc::new(AtomicBool::new(false));
        let journal = Journal::new(Index { counter: 0, ..membership.view().index });
        tasks.spawn("events", |stop| journal::follow_members(membership.clone(), journal.clone(), stop));
        let app =
            http::App { membership: membership.clone(), journal, clock, sampler, figures, stopping: stopping.clone() };
        tracing::info!(http = %server.address(), "listening");
        tasks.spawn("http", |stop| server.run(http::router(app), stop));
        Ok(Self {
            settings,
            origin,
            metadata,
            tasks,
            inputs,
            tls,
            actions,
            core,
            spool,
            membership,
            stopping,
            _data: data,
        })
    }

    /// Waits for the end, and gives the exit code.
    async fn serve(&mut self, signals: &mut Signals) -> u8 {
        let mut look = tokio::time::interval(LOOK_EVERY);
        let mut deaths = self.tasks.deaths();
        loop {
            tokio::select! {
                signal = signals.next() => match signal {
                    Signal::Stop => return exit::OK,
                    Signal::Reload => self.reload().await,
                },
                _ = deaths.wait_for(|names| !names.is_empty()) => return self.died(),
                _ = look.tick() => {
                    if self.core.is_finished() || self.spool.is_finished() {
                        return self.died();
                    }
                }
            }
        }
    }

    fn died(&self) -> u8 {
        tracing::error!(tasks = self.tasks.ended().join(", "), "a part of the program has died");
        exit::ERROR
    }

    /// Reads the configuration again. A bad one changes nothing.
    async fn reload(&mut self) {
        lifecycle::reloading();
        let loaded = config::read(&self.origin, false).map_err(|error| error.to_string());
        let loaded = loaded.and_then(|loaded| match loaded.settings.tls.as_ref().map(ClientFiles::read) {
            Some(Err(error)) => Err(format!("uplink.tls: {error}")),
            _ => Ok(loaded),
        });
        // The name stays what it was at the start, and is longer perhaps.
        let loaded = loaded.and_then(|loaded| {
            let metadata = Metadata { labels: loaded.settings.core.labels.clone(), ..self.metadata.clone() };
            check_metadata(&metadata).map(|()| loaded).map_err(|error| format!("node.labels: {error}"))
        });
        let loaded = loaded.and_then(|loaded| match telemetry::reconfigure(&loaded.settings.log.level) {
            Ok(()) => Ok(loaded),
            Err(error) => Err(format!("log.level: {error}")),
        });
        match loaded {
            Ok(loaded) => {
                warn_unknown(&loaded.unknown);
                let status = status(&loaded.unknown);
                let config_read = Input::ConfigRead { good: true, unknown_keys: loaded.unknown.len() as u64 };
                self.adopt(loaded.settings).await;
                let _ = self.inputs.send(config_read).await;
                tracing::info!(files = ?loaded.files, "the configuration was read again");
                lifecycle::ready(&status);
            }
            Err(error) => {
                tracing::error!("the configuration is not changed: {error}");
                let _ = self.inputs.send(Input::ConfigRead { good: false, unknown_keys: 0 }).await;
                lifecycle::ready("sampling with the old configuration; the new one is bad");
            }
        }
    }

    async fn adopt(&mut self, settings: Settings) {
        for key in fixed_changes(&self.settings, &settings) {
            tracing::warn!(key, "a change of this key needs a restart");
        }
        self.actions.reload(&settings.actions).await;
        self.tls.send_replace(settings.tls);
        let mut core = settings.core;
        core.name.clone_from(&self.settings.core.name);
        core.cluster.clone_from(&self.settings.core.cluster);
        self.metadata.labels.clone_from(&core.labels);
        self.settings.core = core.clone();
        self.membership.set_metadata(self.metadata.clone()).await;
        if let Err(error) = self.membership.reload_keys().await {
            tracing::error!("gossip.keyring_file: the keys are not changed: {error}");
        }
        let _ = self.inputs.send(Input::Settings(core)).await;
    }

    async fn stop(mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if self.membership.has_yielded() {
            // The id is another's: neither a last tick nor a goodbye goes out under it.
            self.core.abort();
            let _ = self.core.await;
        } else {
            // Both at once: peers hear the goodbye while the last ticks go to the disk.
            let core = async {
                let _ = self.inputs.send(Input::Stop).await;
                let _ = self.core.await;
            };
            let (left, ()) = tokio::join!(self.membership.leave(), core);
            if !left {
                tracing::warn!("the goodbye could not be said");
            }
        }
        self.tasks.stop().await;
        // The core's end of the orders is gone: the thread ends after the last of them.
        let spool = self.spool;
        let joined = tokio::task::spawn_blocking(move || drop(spool.join()));
        if tokio::time::timeout(MAX_SYNC_TIME, joined).await.is_err() {
            tracing::error!("the spool could not be synced in time");
        }
        tracing::info!("stopped");
    }
}

/// Keys that a reload does not change.
fn fixed_changes(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let pairs = [
        ("node.name", old.core.name != new.core.name),
        ("node.data_dir", old.data_dir != new.data_dir),
        ("gossip", old.gossip != new.gossip),
        ("http.bind", old.http_bind != new.http_bind),
        ("http.advertise", old.http_advertise != new.http_advertise),
        ("log.format", old.log.format != new.log.format),
    ];
    pairs.into_iter().filter(|(_, changed)| *changed).map(|(key, _)| key).collect()
}

/// What the service manager shows of an agent that serves.
fn status(unknown: &[String]) -> String {
    match unknown {
        [] => "sampling".to_owned(),
        [one] => format!("sampling; {one}"),
        [one, rest @ ..] => format!("sampling; {one} ({} more: check-config names them)", rest.len()),
    }
}

fn warn_unknown(unknown: &[String]) {
    for mistake in unknown {
        tracing::warn!("{mistake}");
    }
}

fn metadata(settings: &Settings, server: &Server) -> Metadata {
    Metadata {
        name: settings.core.name.clone(),
        role: Role::Agent,
        labels: settings.core.labels.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        services: BTreeMap::from([(SERVICE_HTTP.to_owned(), http_address(settings, server.address()))]),
    }
}

/// Where others reach what is bound to `bound`.
fn http_address(settings: &Settings, bound: SocketAddr) -> SocketAddr {
    let host = settings.gossip.advertise.map(|gossip| gossip.ip()).filter(|_| bound.ip().is_unspecified());
    let by_host = || host.map_or_else(|| bind::advertised(bound), |host| SocketAddr::new(host, bound.port()));
    settings.http_advertise.unwrap_or_else(by_host)
}

/// Tells the core of collectors. Other members do not matter to it, and there may be thousands.
async fn follow_members(membership: MembershipHandle, inputs: mpsc::Sender<Input>, stop: CancellationToken) {
    let mut view = membership.view();
    let mut last: Option<Vec<Member>> = None;
    loop {
        let collectors: Vec<Member> =
            view.members.iter().filter(|member| member.role == Role::Collector).cloned().collect();
        if last.as_ref() != Some(&collectors) {
            last = Some(collectors.clone());
            if inputs.send(Input::Members(collectors)).await.is_err() {
                return stop.cancelled().await;
            }
        }
        view = tokio::select! {
            view = membership.later_than(view.index) => view,
            () = stop.cancelled() => return,
        };
    }
}

/// Performs the core's effects. None of them blocks.
struct Performer {
    connections: Connections,
    sampler: mpsc::Sender<Request>,
    orders: mpsc::Sender<DiskOrder>,
    inputs: mpsc::Sender<Input>,
    actions: action::Handle,
    figures: watch::Sender<OwnFigures>,
}

impl Performer {
    fn perform(&mut self, effects: &mut Vec<Effect>, core: &AgentCore) -> ControlFlow<()> {
        for effect in effects.drain(..) {
            match effect {
                Effect::Collect { tick, mut own } => {
                    own.orders = self.actions.ends();
                    if self.sampler.try_send(Request::Collect { tick, own }).is_err() {
                        tracing::error!("the sampler does not take a request");
                    }
                }
                Effect::Connect { connection, address } => self.connections.connect(connection, address),
                Effect::Send { connection, bytes } => self.connections.send(connection, bytes),
                Effect::Disconnect { connection } => self.connections.disconnect(connection),
                Effect::Spool(effect) => self.order(effect),
                // If the disk hangs, it is written the next time.
                Effect::KeepLife { bytes } => drop(self.orders.try_send(DiskOrder::KeepLife(bytes))),
                Effect::Heard { collector, news } => self.actions.heard(collector, news),
                Effect::Fact(fact) => log::fact(fact),
                Effect::Stopped => return ControlFlow::Break(()),
            }
        }
        let own = OwnFigures { orders: self.actions.ends(), ..core.figures() };
        self.figures.send_if_modified(|last| std::mem::replace(last, own.clone()) != own);
        ControlFlow::Continue(())
    }

    fn order(&mut self, effect: SpoolEffect) {
        if self.orders.try_send(DiskOrder::Spool(effect)).is_ok() {
            return;
        }
        // The disk hangs. The core keeps less in mind from now on; what was ordered is passed over when it is read.
        let _ = self.inputs.try_send(Input::SpoolFailed { reason: "the disk does not answer".to_owned() });
    }
}
