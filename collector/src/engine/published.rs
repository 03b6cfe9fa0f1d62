//! What readers see of the engine: its last view, its figures, and the store when they ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};
use watchfire_collector_core::engine::{Answer, Engine, Input};
use watchfire_collector_core::view::View;
use watchfire_shell::membership::Index;
use watchfire_store::{Disk, Feed, Snapshot};

use super::{Inbox, Parcel};

/// How long a query waits for the engine to show its newest samples.
const MAX_LOOK_TIME: Duration = Duration::from_secs(2);
/// How long somebody who changes something waits; a disk that hangs is told as one.
const MAX_ASK_TIME: Duration = Duration::from_secs(10);
/// What the engine published last.
#[derive(Clone)]
pub(crate) struct Published(Arc<Latest>);

struct Latest {
    view: watch::Sender<Arc<View>>,
    snapshot: ArcSwap<Snapshot>,
    inbox: Inbox,
    epoch: u64,
    /// How long inputs took, microseconds in total, and how many they were.
    busy_micros: AtomicU64,
    inputs: AtomicU64,
}

impl Published {
    /// Publishes the engine's first view. Versions of views are of the life `epoch`.
    pub(crate) fn new<D: Disk>(engine: &Engine<D>, inbox: Inbox, epoch: u64) -> Self {
        let (view, _) = watch::channel(engine.view());
        let snapshot = ArcSwap::from_pointee(engine.snapshot().0);
        Self(Arc::new(Latest {
            view,
            snapshot,
            inbox,
            epoch,
            busy_micros: AtomicU64::new(0),
            inputs: AtomicU64::new(0),
        }))
    }

    /// Nodes, rules, alerts and figures.
    #[must_use]
    pub(crate) fn view(&self) -> Arc<View> {
        self.0.view.borrow().clone()
    }

    /// The store as of now, for queries.
    ///
    /// A snapshot makes the writer copy what it changes next, so one is taken when somebody asks and not after every
    /// input. If the engine is busy for long (its disk may hang), the last one serves.
    pub(crate) async fn snapshot(&self) -> Snapshot {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.0.inbox.inputs.send(Parcel::Look(sender)).await.ok()?;
            answer.await.ok()
        };
        match tokio::time::timeout(MAX_LOOK_TIME, asked).await {
            Ok(Some(snapshot)) => snapshot,
            _ => self.last_snapshot(),
        }
    }

    /// The store as somebody last asked for it, or as of the last deletion.
    pub(crate) fn last_snapshot(&self) -> Snapshot {
        Snapshot::clone(&self.0.snapshot.load())
    }

    /// The store by its sources as of now, for whoever copies it; `None` once the engine has stopped.
    pub(crate) async fn feed(&self) -> Option<Feed> {
        let (sender, answer) = oneshot::channel();
        self.0.inbox.inputs.send(Parcel::Feed(sender)).await.ok()?;
        answer.await.ok()
    }

    pub(super) fn take_snapshot<D: Disk>(&self, engine: &Engine<D>) -> Snapshot {
        let snapshot = engine.snapshot().0;
        self.0.snapshot.store(Arc::new(snapshot.clone()));
        snapshot
    }

    /// Tells the engine, and waits for what became of it, for whether that is durable, and until the view shows it.
    ///
    /// `None` if the engine has stopped, or has not answered in time; it may do it later.
    pub(crate) async fn ask(&self, input: Input) -> Option<(Answer, bool)> {
        let (asker, answer) = oneshot::channel();
        let asked = async {
            self.0.inbox.inputs.send(Parcel::Ask(Box::new(input), asker)).await.ok()?;
            let answered = answer.await.ok()?;
            let mut view = self.0.view.subscribe();
            let _ = view.wait_for(|view| view.version > answered.version).await;
            Some((answered.answer, answered.durable))
        };
        tokio::time::timeout(MAX_ASK_TIME, asked).await.ok()?
    }

    /// Asks the engine something that changes nothing of the view.
    ///
    /// `None` if the engine has stopped, or has not answered in time; it may do it later.
    pub(crate) async fn consult(&self, input: Input) -> Option<Answer> {
        let (asker, answer) = oneshot::channel();
        let asked = async {
            self.0.inbox.inputs.send(Parcel::Ask(Box::new(input), asker)).await.ok()?;
            Some(answer.await.ok()?.answer)
        };
        tokio::time::timeout(MAX_ASK_TIME, asked).await.ok()?
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

    pub(super) fn publish<D: Disk>(&self, engine: &Engine<D>) {
        let view = engine.view();
        self.0.view.send_if_modified(|last| {
            let later = view.version != last.version;
            *last = view;
            later
        });
    }

    pub(super) fn worked(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.0.busy_micros.fetch_add(micros, Ordering::Relaxed);
        self.0.inputs.fetch_add(1, Ordering::Relaxed);
    }
}
