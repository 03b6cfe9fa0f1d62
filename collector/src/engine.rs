//! The engine's thread: it owns store and decisions, and everything else sends it inputs.
//!
//! Effects begin here and end elsewhere: replies go to connections, rule jobs to a few worker threads, deliveries to
//! senders, and their results come back through the inbox. Readers get what the engine published last and never wait
//! for it.

mod members;

mod published;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::{Answer, ConnId, Effect, Engine, Input, Job};
use watchfire_collector_core::fact::{Fact, Level};
use watchfire_collector_core::notify::Delivery;
use watchfire_collector_core::remote_write::{Outcome, WriteId, WriteRequest};
use watchfire_shared::frame::Message;
use watchfire_shared::machine::Machine;
use watchfire_shared::time::Timestamp;
use watchfire_shell::clock::Clock;
use watchfire_shell::driver::drive_on_thread;
use watchfire_store::{Disk, Feed, Snapshot};

use crate::ingest::Connections;
use crate::order_key::OrderKey;
use crate::sender::Senders;

pub(crate) use members::follow_members;
pub(crate) use published::Published;

/// Inputs that wait for the engine. Ten thousand agents send a thousand frames a second; this is four of them.
const MAX_INBOX: usize = 4096;
/// Bytes of frames that wait for the engine, in KiB; a frame may have a thousand times the usual size.
const MAX_WAITING_KIB: usize = 32 << 10;
/// Rule groups evaluated at a time, so that rules leave a core to ingest.
const MAX_JOBS: usize = 2;
/// Rules of one group evaluated at a time. A rule that waits for a file of history holds up one other at most.
const MAX_RULES: usize = 2;

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

    /// Sends pushed samples, after waiting for room, and waits for what becomes of them; `None` once the engine has stopped.
    pub(crate) async fn write(&self, request: WriteRequest) -> Option<Outcome> {
        let (writer, outcome) = oneshot::channel();
        let kib = u32::try_from(request.bytes() / 1024 + 1).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(kib).await.ok();
        self.inputs.send(Parcel::Write(Box::new(request), writer, room)).await.ok()?;
        outcome.await.ok()
    }

    /// Sends a frame, after waiting until all waiting frames together leave room for it.
    pub(crate) async fn send_frame(&self, conn: ConnId, bytes: Vec<u8>) -> bool {
        let kib = u32::try_from(bytes.len() / 1024 + 1).unwrap_or(u32::MAX);
        let room = self.room.clone().acquire_many_owned(kib).await.ok();
        self.inputs.send(Parcel::Input(Box::new(Input::Frame { conn, bytes }), room)).await.is_ok()
    }
}

/// What travels to the engine's thread.
enum Parcel {
    /// An input, and the room that its bytes take until it was handled.
    Input(Box<Input>, Option<OwnedSemaphorePermit>),
    /// Samples that somebody pushes, and the room that they take until they were handled.
    Write(Box<WriteRequest>, oneshot::Sender<Outcome>, Option<OwnedSemaphorePermit>),
    /// An input whose answer somebody waits for.
    Ask(Box<Input>, oneshot::Sender<Answered>),
    /// A reader wants to see what the store holds now.
    Look(oneshot::Sender<Snapshot>),
    /// Somebody copies the store elsewhere.
    Feed(oneshot::Sender<Feed>),
    Stop,
}

/// What became of an input.
struct Answered {
    answer: Answer,
    durable: bool,
    /// The version of the view that did not show it yet.
    version: u64,
}

impl From<Input> for Parcel {
    fn from(input: Input) -> Self {
        Self::Input(Box::new(input), None)
    }
}

/// The engine with what only its owner thread needs.
struct Owned<D: Disk> {
    engine: Engine<D>,
    published: Published,
    /// Who waits to hear that pushed samples are durable.
    writers: BTreeMap<WriteId, oneshot::Sender<Outcome>>,
    last_write: u64,
    stopped: bool,
}

impl<D: Disk> Owned<D> {
    /// Hands what became of pushed samples to whoever waits for it.
    fn answer_writers(&mut self, effects: &mut Vec<Effect>) {
        for effect in effects.extract_if(.., |effect| matches!(effect, Effect::Written { .. })) {
            if let Effect::Written { id, outcome } = effect
                && let Some(writer) = self.writers.remove(&id)
            {
                // Whoever gave up waiting sends the samples again.
                let _ = writer.send(outcome);
            }
        }
    }
}

impl<D: Disk> Machine for Owned<D> {
    type Input = Parcel;
    type Effect = Effect;

    fn wake() -> Parcel {
        Engine::<D>::wake().into()
    }

    fn handle(&mut self, now: Timestamp, parcel: Parcel, effects: &mut Vec<Effect>) {
        let began = Instant::now();
        match parcel {
            Parcel::Input(input, _room) => self.engine.handle(now, *input, effects),
            Parcel::Ask(input, asker) => {
                let version = self.engine.view().version;
                self.engine.handle(now, *input, effects);
                for effect in effects.extract_if(.., |effect| matches!(effect, Effect::Answer { .. })) {
                    if let Effect::Answer { answer, durable } = effect {
                        if matches!(answer, Answer::Deleted(Ok(()))) {
                            // Nobody sees it after the answer, even those who get the last snapshot because the engine
                            // is busy.
                            self.published.take_snapshot(&self.engine);
                        }
                        drop(asker.send(Answered { answer, durable, version }));
                        break;
                    }
                }
            }
            Parcel::Write(request, writer, _room) => {
                self.last_write += 1;
                let id = WriteId(self.last_write);
                self.writers.insert(id, writer);
                self.engine.handle(now, Input::Write { id, request }, effects);
            }
            // A reader that gave up waiting needs nothing.
            Parcel::Feed(reader) => drop(reader.send(self.engine.feed())),
            Parcel::Look(reader) => drop(reader.send(self.published.take_snapshot(&self.engine))),
            Parcel::Stop => self.stopped = true,
        }
        if !self.writers.is_empty() {
            self.answer_writers(effects);
        }
        self.published.worked(began.elapsed());
    }

    fn deadline(&self) -> Option<Timestamp> {
        self.engine.deadline()
    }
}

/// Who does what the engine asks for.
pub(crate) struct Doers {
    pub(crate) connections: Connections,
    pub(crate) senders: Senders,
    pub(crate) order_key: OrderKey,
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
        let _ = self.inbox.inputs.send(Parcel::Stop).await;
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
        match self.inputs.recv().await {
            Some(Parcel::Input(input, _)) => *input,
            _ => panic!("the inbox has ended"),
        }
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
    doers: Doers,
) -> std::io::Result<Running> {
    let failed = CancellationToken::new();
    let performer = Performer {
        doers,
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
    let owned = Owned { engine, published, writers: BTreeMap::new(), last_write: 0, stopped: false };
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
    doers: Doers,
    inbox: Inbox,
    jobs: Arc<Semaphore>,
    runtime: Handle,
    clock: Clock,
    failed: CancellationToken,
}

impl Performer {
    fn perform(&self, effect: Effect) {
        match effect {
            Effect::Reply { conn, bytes } => self.doers.connections.reply(conn, bytes),
            Effect::Close { conn, reason } => {
                tracing::info!(conn = conn.0, reason, "an agent's connection is closed");
                self.doers.connections.close(conn);
            }
            Effect::Evaluate(job) => self.evaluate(*job),
            Effect::Deliver(delivery) => self.deliver(*delivery),
            Effect::Order { conn, order } => {
                let bytes = Message::Order(self.doers.order_key.sign(&order)).encode();
                self.doers.connections.reply(conn, bytes);
            }
            Effect::Fact(fact) => write(&fact),
            // Whoever asked was answered by the owner of the engine.
            Effect::Answer { .. } | Effect::Written { .. } => {}
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
            let evaluated = tokio::task::spawn_blocking(move || job.run_together(&|| clock.wall(), &together)).await;
            drop(place);
            match evaluated {
                Ok(evaluation) => drop(inbox.send(Input::Evaluated(Box::new(evaluation))).await),
                Err(error) => tracing::error!(%error, "a rule group's evaluation failed"),
            }
        });
    }

    fn deliver(&self, delivery: Delivery) {
        let (senders, inbox) = (self.doers.senders.clone(), self.inbox.clone());
        self.runtime.spawn(async move {
            let id = delivery.id;
            let outcome = senders.deliver(&delivery).await;
            inbox.send(Input::Delivered { id, outcome }).await;
        });
    }
}

/// Does the numbered works on a few threads, this one among them.
fn together(count: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(number) = Some(next.fetch_add(1, Ordering::Relaxed)).filter(|number| *number < count) {
            work(number);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..MAX_RULES.min(count) {
            // Without another thread, this one does all of it.
            let _ = std::thread::Builder::new().name("rule".to_owned()).spawn_scoped(scope, run);
        }
        run();
    });
}

/// Writes a fact of the core to the log.
pub(crate) fn write(fact: &Fact) {
    let detail = Detail(&fact.fields);
    let message = fact.message;
    match fact.level {
        Level::Error => tracing::error!(%detail, "{message}"),
        Level::Warn => tracing::warn!(%detail, "{message}"),
        Level::Info => tracing::info!(%detail, "{message}"),
        Level::Debug => tracing::debug!(%detail, "{message}"),
    }
}

/// The fields of a fact. Their names are the core's, and tracing wants to know names when it is compiled.
struct Detail<'a>(&'a [(&'static str, String)]);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let space = if at == 0 { "" } else { " " };
            if value.is_empty() || value.contains([' ', '"', '\n']) {
                write!(f, "{space}{name}={value:?}")?;
            } else {
                write!(f, "{space}{name}={value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn two_rules_are_evaluated_at_the_same_time_and_each_exactly_once() {
        // Neither gets past the barrier before the other has come to it.
        let (barrier, done) = (Barrier::new(2), [const { AtomicUsize::new(0) }; 2]);
        together(2, &|number| {
            barrier.wait();
            done[number].fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.map(AtomicUsize::into_inner), [1, 1]);
        let done = [const { AtomicUsize::new(0) }; 40];
        together(40, &|number| {
            done[number].fetch_add(1, Ordering::Relaxed);
        });
        assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1));
        together(0, &|number| panic!("there is no work {number}"));
    }
}
