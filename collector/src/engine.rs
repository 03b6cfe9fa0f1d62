//! The engine's thread: it owns store and decisions, and everything else sends it inputs.
//!
//! Effects begin here and end elsewhere: replies go to connections, rule jobs to a few worker threads, deliveries to
//! senders, and their results come back through the inbox. Readers get what the engine published last and never wait
//! for it.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::{ConnId, Effect, Engine, Input, Job};
use watchfire_collector_core::fact::{Fact, Level};
use watchfire_collector_core::notify::Delivery;
use watchfire_collector_core::view::View;
use watchfire_shared::machine::Machine;
use watchfire_shared::member::{Member, MemberChange};
use watchfire_shared::time::Timestamp;
use watchfire_shell::clock::Clock;
use watchfire_shell::driver::drive_on_thread;
use watchfire_shell::membership::{Events, Index, MembershipHandle};
use watchfire_store::{Disk, Snapshot};

use crate::ingest::Connections;
use crate::sender::Senders;

/// Inputs that wait for the engine. Ten thousand agents send a thousand frames a second; this is four of them.
const MAX_INBOX: usize = 4096;
/// Bytes of frames that wait for the engine, in KiB; a frame may have a thousand times the usual size.
const MAX_WAITING_KIB: usize = 32 << 10;
/// Rule groups evaluated at a time, so that rules leave a core to ingest.
const MAX_JOBS: usize = 2;

/// Where inputs are sent.
#[derive(Clone, Debug)]
pub(crate) struct Inbox {
    inputs: mpsc::Sender<Parcel>,
    room: Arc<Semaphore>,
}

impl Inbox {
    /// Waits for a place in the inbox; `false` once the engine has stopped.
    pub(crate) async fn send(&self, input: Input) -> bool {
        self.inputs.send(input.into()).await.is_ok()
    }

    /// Sends a frame, after waiting until all waiting frames together leave room for it.
    pub(crate) async fn send_frame(&self, conn: ConnId, bytes: Vec<u8>) -> bool {
        let kib = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(u32::MAX);
        let _room = self.room.clone().acquire_many_owned(kib).await.ok();
        self.inputs.send(Parcel { input: Some(Input::Frame { conn, bytes }), _room }).await.is_ok()
    }
}

/// What travels to the engine's thread.
struct Parcel {
    /// `None` asks the thread to end.
    input: Option<Input>,
    /// The room that the bytes of the input take until it was handled.
    _room: Option<OwnedSemaphorePermit>,
}

impl From<Input> for Parcel {
    fn from(input: Input) -> Self {
        Self { input: Some(input), _room: None }
    }
}

/// The engine with what only its owner thread needs.
struct Owned<D: Disk> {
    engine: Engine<D>,
    published: Published,
    stopped: bool,
}

impl<D: Disk> Machine for Owned<D> {
    type Input = Parcel;
    type Effect = Effect;

    fn wake() -> Parcel {
        Engine::<D>::wake().into()
    }

    fn handle(&mut self, now: Timestamp, parcel: Parcel, effects: &mut Vec<Effect>) {
        let Some(input) = parcel.input else {
            self.stopped = true;
            return;
        };
        let began = Instant::now();
        self.engine.handle(now, input, effects);
        self.published.worked(began.elapsed());
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.engine.deadline()
    }
}

/// The running thread.
#[derive(Debug)]
pub(crate) struct Running {
    thread: std::thread::JoinHandle<()>,
    inbox: Inbox,
    /// Cancelled when the engine gave up: nothing is stored or acknowledged any more.
    pub(crate) failed: CancellationToken,
}

impl Running {
    /// Lets the engine work off its inbox and waits for its end.
    pub(crate) async fn stop(self) {
        let _ = self.inbox.inputs.send(Parcel { input: None, _room: None }).await;
        if tokio::task::spawn_blocking(move || self.thread.join()).await.is_err() {
            tracing::error!("the engine's thread could not be waited for");
        }
    }
}

/// The inbox, before there is an engine that reads it.
pub(crate) struct Waiting {
    inputs: mpsc::Receiver<Parcel>,
    inbox: Inbox,
}

#[cfg(test)]
impl Waiting {
    /// The next input, for tests that stand in for the engine.
    pub(crate) async fn next(&mut self) -> Input {
        self.inputs.recv().await.and_then(|parcel| parcel.input).expect("the inbox has ended")
    }
}

/// Makes the inbox.
pub(crate) fn inbox() -> (Inbox, Waiting) {
    let (sender, inputs) = mpsc::channel(MAX_INBOX);
    let inbox = Inbox { inputs: sender, room: Arc::new(Semaphore::new(MAX_WAITING_KIB)) };
    (inbox.clone(), Waiting { inputs, inbox })
}

/// Starts the engine's thread. Must be called inside the runtime on which jobs and deliveries are to run.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start<D: Disk + Send + 'static>(
    engine: Engine<D>,
    waiting: Waiting,
    published: Published,
    clock: &Clock,
    connections: Connections,
    senders: Senders,
) -> std::io::Result<Running> {
    let failed = CancellationToken::new();
    let performer = Performer {
        connections,
        senders,
        inbox: waiting.inbox.clone(),
        jobs: Arc::new(Semaphore::new(MAX_JOBS)),
        runtime: Handle::current(),
        clock: clock.clone(),
        failed: failed.clone(),
    };
    let now = {
        let clock = clock.clone();
        move || clock.wall()
    };
    let perform = move |_, effects: &mut Vec<Effect>, owned: &Owned<D>| {
        owned.published.publish(&owned.engine);
        effects.drain(..).for_each(|effect| performer.perform(effect));
        if owned.stopped || performer.failed.is_cancelled() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    let owned = Owned { engine, published, stopped: false };
    let thread = drive_on_thread("engine", owned, waiting.inputs, now, perform)?;
    let ended = failed.clone();
    let thread = std::thread::Builder::new().name("engine-end".to_owned()).spawn(move || {
        // A panic of the engine must end the program, for nobody else would notice.
        if thread.join().is_err() {
            tracing::error!("the engine has panicked");
            ended.cancel();
        }
    })?;
    Ok(Running { thread, inbox: waiting.inbox, failed })
}

/// Begins what the engine asks for.
struct Performer {
    connections: Connections,
    senders: Senders,
    inbox: Inbox,
    jobs: Arc<Semaphore>,
    runtime: Handle,
    clock: Clock,
    failed: CancellationToken,
}

impl Performer {
    fn perform(&self, effect: Effect) {
        match effect {
            Effect::Reply { conn, bytes } => self.connections.reply(conn, bytes),
            Effect::Close { conn, reason } => {
                tracing::info!(conn = conn.0, reason, "an agent's connection is closed");
                self.connections.close(conn);
            }
            Effect::Evaluate(job) => self.evaluate(*job),
            Effect::Deliver(delivery) => self.deliver(*delivery),
            Effect::Fact(fact) => write(&fact),
            Effect::Fatal { reason } => {
                tracing::error!(reason, "the collector cannot go on");
                self.failed.cancel();
            }
        }
    }

    fn evaluate(&self, job: Job) {
        let (jobs, inbox, clock) = (self.jobs.clone(), self.inbox.clone(), self.clock.clone());
        self.runtime.spawn(async move {
            let place = jobs.acquire_owned().await;
            let evaluated = tokio::task::spawn_blocking(move || job.run_timed(&|| clock.wall())).await;
            drop(place);
            match evaluated {
                Ok(evaluation) => drop(inbox.send(Input::Evaluated(Box::new(evaluation))).await),
                Err(error) => tracing::error!(%error, "a rule group's evaluation failed"),
            }
        });
    }

    fn deliver(&self, delivery: Delivery) {
        let (senders, inbox) = (self.senders.clone(), self.inbox.clone());
        self.runtime.spawn(async move {
            let id = delivery.id;
            let outcome = senders.deliver(&delivery).await;
            inbox.send(Input::Delivered { id, outcome }).await;
        });
    }
}

/// Writes a fact of the core to the log.
fn write(fact: &Fact) {
    let detail: Vec<String> = fact.fields.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let (message, detail) = (fact.message, detail.join(" "));
    match fact.level {
        Level::Error => tracing::error!(detail, "{message}"),
        Level::Warn => tracing::warn!(detail, "{message}"),
        Level::Info => tracing::info!(detail, "{message}"),
        Level::Debug => tracing::debug!(detail, "{message}"),
    }
}

/// Tells the engine of every member and every change of one, until `stop`.
pub(crate) async fn follow_members(membership: MembershipHandle, inbox: Inbox, stop: CancellationToken) {
    // The place is noted before the members are read: a change between the two is told twice, and never missed.
    let mut changes = membership.changes();
    if !tell_all(&membership, &inbox).await {
        return;
    }
    loop {
        let events = tokio::select! {
            events = changes.next() => events,
            () = stop.cancelled() => return,
        };
        let told = match events {
            None => return,
            Some(Events::Lost) => tell_all(&membership, &inbox).await,
            Some(Events::Changes(events)) => tell(&inbox, events.iter().map(|event| event.change.clone())).await,
        };
        if !told {
            return;
        }
    }
}

async fn tell_all(membership: &MembershipHandle, inbox: &Inbox) -> bool {
    let view = membership.view();
    let as_change =
        |member: &Member| MemberChange { at: member.since, previous: Some(member.state), member: member.clone() };
    tell(inbox, view.members.iter().map(as_change)).await
}

async fn tell(inbox: &Inbox, changes: impl Iterator<Item = MemberChange>) -> bool {
    for change in changes {
        if !inbox.send(Input::Member(change)).await {
            return false;
        }
    }
    true
}

/// What the engine published last.
#[derive(Clone)]
pub(crate) struct Published(Arc<Latest>);

struct Latest {
    view: watch::Sender<Arc<View>>,
    snapshot: ArcSwap<Snapshot>,
    epoch: u64,
    /// How long inputs took, microseconds in total, and how many they were.
    busy_micros: AtomicU64,
    inputs: AtomicU64,
}

impl Published {
    pub(crate) fn new<D: Disk>(engine: &Engine<D>, epoch: u64) -> Self {
        let (view, _) = watch::channel(engine.view());
        let snapshot = ArcSwap::from_pointee(engine.snapshot().0);
        Self(Arc::new(Latest { view, snapshot, epoch, busy_micros: AtomicU64::new(0), inputs: AtomicU64::new(0) }))
    }

    /// Nodes, rules, alerts and figures.
    #[must_use]
    pub(crate) fn view(&self) -> Arc<View> {
        self.0.view.borrow().clone()
    }

    /// The store, for queries.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.0.snapshot.load())
    }

    /// The version of the view.
    #[must_use]
    pub(crate) fn index(&self) -> Index {
        Index { epoch: self.0.epoch, counter: self.0.view.borrow().version }
    }

    /// Waits until the view is later than `index`, for as long as the engine lives.
    pub(crate) async fn later_than(&self, index: Index) {
        let mut view = self.0.view.subscribe();
        let _ = view.wait_for(|view| view.version > index.counter).await;
    }

    /// Seconds that the engine's thread has worked, and how many inputs that were.
    #[must_use]
    pub(crate) fn work(&self) -> (f64, u64) {
        (self.0.busy_micros.load(Ordering::Relaxed) as f64 / 1e6, self.0.inputs.load(Ordering::Relaxed))
    }

    fn publish<D: Disk>(&self, engine: &Engine<D>) {
        self.0.snapshot.store(Arc::new(engine.snapshot().0));
        let view = engine.view();
        self.0.view.send_if_modified(|last| {
            let later = view.version != last.version;
            *last = view;
            later
        });
    }

    fn worked(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.busy_micros.fetch_add(micros, Ordering::Relaxed);
        self.0.inputs.fetch_add(1, Ordering::Relaxed);
    }
}
