//! Runs the membership machine on a network: datagrams, timers, questions to hosts, names to join by, what is kept.
//!
//! One task owns the machine and reads its socket, so that a datagram costs one wake-up and no hop between tasks; the
//! tasks around it only turn what else happens outside into inputs. What the machine calls time is the monotonic clock, and
//! what readers get is wall time.
//!
//! The TCP listener beside the UDP socket takes streams. Both also tell a dead agent from a dead host: a living node takes a
//! connection, and a living host says that nobody listens where its node is dead.

mod alone;

mod kept;

mod pools;

mod sockets;

mod streams;

mod ties;

mod tickets;

mod wall;

mod warnings;

mod inputs;

mod names;

pub(crate) mod keys;

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::net::UdpSocket;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{Contact, Effect, Gossip, GossipConfig, Input, Profile};
use watchfire_shared::member::{Metadata, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use crate::bind;
use crate::clock::Clock;
use crate::driver::drive;
use crate::files::{DataDir, FileError};
use crate::lifecycle::Tasks;
use crate::membership::{self, Index, MembershipHandle, MembershipView, Publisher, Request, Step};
use inputs::{Inputs, Watch};
use kept::{Pending, Place};
use keys::KeyFile;
use streams::{Desk, Opener};
use tickets::Tickets;
use ties::Ties;

pub use kept::node_id;
pub use keys::KeysError;
pub(crate) use tickets::KeysAnswer;

/// Inputs that wait for the machine, datagrams apart: those wait in the kernel. All of them wait for room.
const MAX_INBOX: usize = 64;
/// Hosts asked at a time. When a switch dies, asking a hundred hosts takes a few seconds.
const MAX_QUESTIONS: usize = 32;

/// Round-trip times change all the time and are no news; readers see them this fresh.
const REFRESH_EVERY: Span = Span::from_seconds(5);
/// How this node stands to the others changes with time alone; readers see it this fresh.
const LOOK_EVERY: Span = Span::from_millis(1000);

/// The name of the pool that the section `[gossip]` itself describes.
pub const DEFAULT_POOL: &str = "default";

/// A further pool: another network segment with members of its own.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolSettings {
    pub name: String,
    pub bind: SocketAddr,
    pub advertise: Option<SocketAddr>,
    pub join: Vec<String>,
    pub profile: Profile,
    pub keyring_file: Option<PathBuf>,
    /// Where this pool's agents reach the collector's ingest.
    pub ingest_advertise: Option<SocketAddr>,
}

/// How a program gossips: the section `[gossip]` of its file.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    pub cluster: String,
    /// Where to listen. Port 0 lets the system choose.
    pub bind: SocketAddr,
    /// Where others reach this node; by default what [`bind::advertised`] makes of the bound address.
    pub advertise: Option<SocketAddr>,
    /// `host:port` of members to join by. Names are resolved again every 30 s.
    pub join: Vec<String>,
    pub profile: Profile,
    /// The file with the cluster's keys; without one gossip is plain text.
    pub keyring_file: Option<PathBuf>,
    /// Without gossip, the node itself is all that it knows.
    pub enabled: bool,
    pub pools: Vec<PoolSettings>,
}

impl Settings {
    /// The settings of one further pool, as if it were the only one.
    fn of_pool(&self, pool: &PoolSettings) -> Self {
        let PoolSettings { bind, advertise, join, profile, keyring_file, .. } = pool.clone();
        Self {
            cluster: self.cluster.clone(),
            bind,
            advertise,
            join,
            profile,
            keyring_file,
            enabled: true,
            pools: vec![],
        }
    }
}

/// Gossip could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot bind gossip to {address}: {source}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    File(#[from] FileError),
    #[error(
        "gossip is bound to {bound} and this host has no address but loopback, at which no other host reaches it: set \
         `gossip.advertise`, or start it once the network is there"
    )]
    NoAddress { bound: SocketAddr },
    #[error("{path}: expected {expected}, found {found:?}")]
    Damaged { path: String, expected: &'static str, found: String },
    #[error("gossip.keyring_file: {0}")]
    Keys(#[from] KeysError),
    #[error(transparent)]
    Config(#[from] watchfire_gossip::ConfigError),
}

/// Starts gossip as tasks of the program and returns its membership: that of all pools together.
///
/// The node's generation is raised on disk before this returns, if the disk takes it. `tasks` stops gossip without a goodbye; call
/// [`MembershipHandle::leave`] first for a graceful one.
///
/// # Errors
/// If a port is taken, the data directory cannot be used, or the metadata is not fit to be announced.
pub async fn start(
    settings: &Settings,
    metadata: Metadata,
    data: &DataDir,
    clock: &Clock,
    tasks: &mut Tasks,
) -> Result<MembershipHandle, StartError> {
    if !settings.enabled {
        return alone::start(settings, metadata, data, clock, tasks);
    }
    let first = start_pool(settings, metadata.clone(), &Place::default(), data, clock, tasks).await?;
    if settings.pools.is_empty() {
        return Ok(first);
    }
    let mut pools = vec![pools::Pool { name: DEFAULT_POOL.to_owned(), handle: first, ingest: None }];
    for pool in &settings.pools {
        let place = Place::of_pool(&pool.name);
        let ingest = pools::ingest(pool, &metadata);
        let own = pools::metadata(&metadata, ingest);
        let handle = start_pool(&settings.of_pool(pool), own, &place, data, clock, tasks).await?;
        pools.push(pools::Pool { name: pool.name.clone(), handle, ingest });
    }
    Ok(pools::merge(pools, metadata.name, clock, tasks))
}

async fn start_pool(
    settings: &Settings,
    metadata: Metadata,
    place: &Place,
    data: &DataDir,
    clock: &Clock,
    tasks: &mut Tasks,
) -> Result<MembershipHandle, StartError> {
    let KeyFile { keys, order: key_order } =
        settings.keyring_file.as_deref().map(keys::read).transpose()?.unwrap_or_default();
    let named = |source| StartError::Bind { address: settings.bind, source };
    let (socket, listener) = sockets::bind(settings.bind).await.map_err(named)?;
    let socket = Arc::new(socket);
    let bound = socket.local_addr().map_err(named)?;
    let config = GossipConfig {
        cluster: settings.cluster.clone(),
        id: node_id(data)?,
        generation: kept::next_generation(data, place),
        advertise: advertised(settings, bound)?,
        profile: settings.profile,
        seeds: Vec::new(),
        known: kept::peers(data, place),
        forgotten: kept::forgotten(data, place).into_iter().map(|gone| wall::recalled(gone, clock)).collect(),
        metadata,
        keys,
        key_order,
    };
    let encrypted = !config.keys.is_empty();
    tracing::info!(%bound, advertise = %config.advertise, id = %config.id, generation = config.generation, encrypted, "gossip starts");
    let id = config.id;
    let start = Index { epoch: epoch(), counter: 0 };
    let view =
        MembershipView { node: config.metadata.name.clone(), index: start, members: Vec::new(), forgotten: Vec::new() };
    let mut effects = Vec::new();
    let machine = Gossip::new(config, rand::random(), clock.monotonic(), &mut effects)?;
    let (publisher, handle, requests) = membership::channel(id, view);
    let handle = handle.with_keyring(settings.keyring_file.clone());

    let (inputs, inbox) = mpsc::channel(MAX_INBOX);
    let (pending, to_keep) = watch::channel(Pending::default());
    let (folder, files) = (data.path().to_owned(), place.clone());
    let told = inputs.clone();
    tasks.spawn("gossip-keep", |stop| kept::keep(folder, files, to_keep, told, stop));
    let questions = Arc::new(Semaphore::new(MAX_QUESTIONS));
    let desk = Desk::default();
    let watch = Arc::new(Watch::new());
    let tickets = Tickets::default();
    let mut shell = Shell {
        tickets: tickets.clone(),
        keyring: settings.keyring_file.clone(),
        socket: socket.clone(),
        publisher,
        pending,
        inputs: inputs.clone(),
        questions,
        opener: Opener::new(inputs.clone()),
        ties: Ties::new(inputs.clone()),
        desk: desk.clone(),
        watch: watch.clone(),
        maps_v4: bound.is_ipv6(),
        yields: false,
        clock: clock.clone(),
        published: Timestamp::MIN,
        looked: Timestamp::MIN,
        joins: !settings.join.is_empty(),
    };
    // The node's own view is there before anybody asks for it.
    shell.perform(&mut effects, &machine);
    let inbox = Inputs::new(inbox, socket, watch);
    tasks.spawn("gossip", |stop| run(machine, inbox, shell, stop));
    let streamed = inputs.clone();
    tasks.spawn("gossip-tcp", |stop| streams::accept(listener, streamed, desk, stop));
    let requested = inputs.clone();
    tasks.spawn("gossip-requests", |stop| forward(requests, requested, tickets, stop));
    let join = settings.join.clone();
    tasks.spawn("gossip-join", |stop| names::resolve(join, inputs, stop));
    Ok(handle)
}

/// Which life of the program this is: no generation, which begins anew with a data directory that was wiped, and no time,
/// which a clock may say twice. 48 bits, which every reader of JSON takes for a whole number.
fn epoch() -> u64 {
    (rand::random::<u64>() >> 16).max(1)
}

/// Where others reach this node. A host that has loopback alone may only join itself.
fn advertised(settings: &Settings, bound: SocketAddr) -> Result<SocketAddr, StartError> {
    if let Some(advertise) = settings.advertise {
        return Ok(advertise);
    }
    let others: Vec<SocketAddr> = settings.join.iter().filter_map(|name| name.parse().ok()).collect();
    let is_local = |name: &String| match name.parse::<SocketAddr>() {
        Ok(address) => address.ip().to_canonical().is_loopback(),
        Err(_) => name.starts_with("localhost:"),
    };
    match bind::reached_at(bound, &others) {
        Some(address) => Ok(address),
        None if settings.join.iter().all(is_local) => Ok(bind::advertised(bound)),
        None => Err(StartError::NoAddress { bound }),
    }
}

async fn run(machine: Gossip, inbox: Inputs, mut shell: Shell, stop: CancellationToken) {
    let clock = shell.clock.clone();
    let perform = |_, effects: &mut Vec<Effect>, machine: &Gossip| {
        shell.perform(effects, machine);
        // The program sees that this task has ended, and ends too: every part of it goes by the old id.
        if shell.yields { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    tokio::select! {
        _ = drive(machine, inbox, || clock.monotonic(), perform) => {}
        () = stop.cancelled() => {}
    }
}

async fn forward(
    mut requests: mpsc::Receiver<Request>,
    inputs: mpsc::Sender<Input>,
    tickets: Tickets,
    stop: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = stop.cancelled() => return,
        };
        let input = match request {
            Some(Request::SetMetadata(metadata)) => Input::SetMetadata(metadata),
            Some(Request::SetKeys(KeyFile { keys, order })) => Input::SetKeys { keys, order },
            Some(Request::OrderKeys(op, answer)) => Input::OrderKeys { ticket: tickets.give(answer), op },
            Some(Request::Forget(id)) => Input::Forget(id),
            Some(Request::Leave) => Input::Leave,
            None => return,
        };
        if inputs.send(input).await.is_err() {
            return;
        }
    }
}

/// Performs the machine's effects.
struct Shell {
    tickets: Tickets,
    /// The key file.
    keyring: Option<PathBuf>,
    socket: Arc<UdpSocket>,
    publisher: Publisher,
    pending: watch::Sender<Pending>,
    inputs: mpsc::Sender<Input>,
    questions: Arc<Semaphore>,
    opener: Opener,
    ties: Ties,
    desk: Desk,
    watch: Arc<Watch>,
    /// The socket speaks IPv6, and reaches IPv4 by mapped addresses.
    maps_v4: bool,
    /// Another process with this node's id goes on, and this one ends.
    yields: bool,
    clock: Clock,
    /// When the members were published last, on the monotonic scale.
    published: Timestamp,
    /// When it was last looked how this node stands to the others, on the same scale.
    looked: Timestamp,
    /// There are names to join by, though none may have been resolved yet.
    joins: bool,
}

impl Shell {
    fn perform(&mut self, effects: &mut Vec<Effect>, machine: &Gossip) {
        let mut steps = Vec::new();
        let mut left = false;
        for effect in effects.drain(..) {
            match effect {
                // A full send buffer drops the datagram, as a full switch would.
                Effect::Send { to, bytes } => drop(self.socket.try_send_to(&bytes, self.reachable(to))),
                Effect::TimeProbe => self.watch.start(),
                Effect::Cloned { other, yields } => self.cloned(machine, other, yields),
                Effect::NameConflict(conflict) => warnings::name_conflict(&conflict),
                Effect::Stranger { from, stranger } => warnings::stranger(from, stranger),
                Effect::Changed(change) => steps.push(Step::Listed(Box::new(self.on_wall(change)))),
                Effect::Removed(removal) => {
                    tracing::info!(member = removal.member.name, reason = ?removal.reason, "a member is not listed any more");
                    steps.push(self.unlisted(removal));
                }
                Effect::SaveGeneration(generation) => {
                    self.pending.send_modify(|pending| pending.generation = Some(generation));
                }
                Effect::SavePeers(peers) => self.pending.send_modify(|pending| pending.peers = Some(peers)),
                Effect::SaveForgotten(forgotten) => {
                    let forgotten = forgotten.into_iter().map(|gone| self.gone_on_wall(gone)).collect();
                    self.pending.send_modify(|pending| pending.forgotten = Some(forgotten));
                }
                Effect::AskHost { id, addr } => self.ask(id, addr),
                Effect::Tie { tie, to, frame } => self.ties.hold(tie, to, frame),
                Effect::Untie { tie } => self.ties.let_go(tie),
                Effect::Exchange { exchange, to, frames } => self.opener.exchange(exchange, to, frames),
                Effect::Judged { stream, admission } => self.desk.admissions.answer(stream, admission),
                Effect::Reply { stream, frames } => self.desk.replies.answer(stream, frames),
                Effect::SaveKeys { keys, order } => self.save_keys(KeyFile { keys, order }),
                Effect::KeysAnswered { ticket, answer } => self.tickets.answer(ticket, answer),
                Effect::LeaveDone => left = true,
            }
        }
        self.publisher.count(*machine.stats());
        let now = self.clock.monotonic();
        let refreshes = self.published + REFRESH_EVERY <= now;
        let changed = !steps.is_empty();
        if changed || refreshes {
            self.publisher.forgotten(machine.forgotten().into_iter().map(|gone| self.gone_on_wall(gone)).collect());
        }
        if changed {
            self.publisher.step(steps);
        }
        if refreshes {
            self.published = now;
            let members = machine.members().into_iter().map(|member| self.member_on_wall(member)).collect();
            self.publisher.publish(members, Vec::new(), Vec::new());
        }
        if self.looked + LOOK_EVERY <= now || changed || refreshes {
            self.looked = now;
            self.publisher.stands(match machine.contact(now) {
                Contact::Alone if self.joins => Contact::Joining,
                contact => contact,
            });
        }
        if left {
            self.publisher.left();
        }
    }

    fn reachable(&self, to: SocketAddr) -> SocketAddr {
        match to {
            SocketAddr::V4(v4) if self.maps_v4 => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            _ => to,
        }
    }

    fn cloned(&mut self, machine: &Gossip, other: SocketAddr, yields: bool) {
        let (id, own) = (machine.id(), machine.advertised());
        if !yields {
            tracing::warn!(%id, %own, %other, "another machine uses this node's id: it was copied with its data directory, and is to get an id of its own");
            return;
        }
        let new = kept::random_id();
        tracing::error!(%id, %own, %other, %new, "this node's id lives at another address already: this machine was copied with its data directory; it gets a new id and has to start again");
        self.pending.send_modify(|pending| pending.id = Some(new));
        self.publisher.yields();
        self.yields = true;
    }

    /// Asks a host whether somebody listens, and brings the answer back as an input.
    fn ask(&self, id: NodeId, addr: SocketAddr) {
        let (inputs, questions) = (self.inputs.clone(), self.questions.clone());
        tokio::spawn(async move {
            let _place = questions.acquire().await;
            let answer = sockets::ask(addr).await;
            let _ = inputs.send(Input::HostAnswer { id, answer }).await;
        });
    }

    fn save_keys(&self, new: KeyFile) {
        let (inputs, file) = (self.inputs.clone(), self.keyring.clone());
        tokio::spawn(async move {
            let written = tokio::task::spawn_blocking(move || {
                let file = file.ok_or_else(|| "no file was named".to_owned())?;
                keys::write(&file, &new).map_err(|error| error.to_string())
            });
            let result = written.await.unwrap_or_else(|error| Err(error.to_string()));
            match &result {
                Ok(()) => tracing::info!("the keys of gossip were changed"),
                Err(error) => tracing::error!(error, "the keys of gossip are not changed"),
            }
            let _ = inputs.send(Input::KeysSaved(result)).await;
        });
    }
}

#[cfg(test)]
mod tests;
