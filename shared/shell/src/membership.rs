//! What a program sees of the cluster: the members as of now, and the changes that led there.
//!
//! The gossip task writes here, everybody else reads. A reader that falls behind the kept changes is told so and starts
//! again from the members; nobody ever waits for a slow reader.

mod steps;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use watchfire_gossip::{Contact, Forgotten, KeyOp, KeyRefusal, Stats};
use watchfire_shared::limits::MAX_EVENTS_KEPT;
use watchfire_shared::member::{Member, MemberChange, Metadata, NodeId};

use crate::gossip::KeysAnswer;
use crate::gossip::keys::{self, KeyFile, KeysError};
pub(crate) use steps::Step;

/// The members as one node sees them at one moment.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct MembershipView {
    /// Name of the node whose view this is.
    pub node: String,
    pub index: Index,
    /// Sorted by name, then id. The node itself is one of them.
    pub members: Vec<Member>,
    /// Members that somebody said will not come back, by id; times are wall time.
    pub forgotten: Vec<Forgotten>,
}

/// A version of the view: rises with each change, and begins anew with each life of the program.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Index {
    /// Which life of the program; two lives never have the same.
    pub epoch: u64,
    pub counter: u64,
}

impl std::fmt::Display for Index {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.epoch, self.counter)
    }
}

impl std::str::FromStr for Index {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed =
            text.split_once(':').and_then(|(epoch, counter)| Some((epoch.parse().ok()?, counter.parse().ok()?)));
        let (epoch, counter) = parsed.ok_or_else(|| format!("expected an index such as 7:42, found {text:?}"))?;
        Ok(Self { epoch, counter })
    }
}

/// Why a member is listed no more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Removed {
    /// Somebody said that it will not come back.
    Forgotten,
    /// Another id lives under its name.
    Replaced,
    /// It was gone for a day, or made room for living members.
    Expired,
}

/// A change and the version of the view that it made.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct MemberEvent {
    #[serde(skip)]
    pub index: Index,
    #[serde(flatten)]
    pub change: MemberChange,
    /// The member is listed no more; `change` has it as it was listed last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub removed: Option<Removed>,
}

/// What a node says of itself may change while it runs, and at the end it says goodbye.
#[derive(Debug)]
pub(crate) enum Request {
    SetMetadata(Metadata),
    SetKeys(KeyFile),
    OrderKeys(KeyOp, KeysAnswer),
    Forget(NodeId),
    Leave,
}

/// The membership of a running program. Clones share it.
#[derive(Clone, Debug)]
pub struct MembershipHandle {
    contact: watch::Receiver<Contact>,
    view: watch::Receiver<Arc<MembershipView>>,
    ring: Arc<Mutex<VecDeque<Arc<MemberEvent>>>>,
    requests: mpsc::Sender<Request>,
    left: watch::Receiver<bool>,
    yielded: Arc<AtomicBool>,
    counters: Arc<Mutex<Stats>>,
    keyring: Option<Arc<Path>>,
    id: NodeId,
    started: Instant,
    /// The pools that this is put together of, by name; none if there is one.
    pools: Arc<[(String, MembershipHandle)]>,
}

/// Where the gossip task puts what it learns.
#[derive(Debug)]
pub(crate) struct Publisher {
    contact: watch::Sender<Contact>,
    view: watch::Sender<Arc<MembershipView>>,
    ring: Arc<Mutex<VecDeque<Arc<MemberEvent>>>>,
    left: watch::Sender<bool>,
    yielded: Arc<AtomicBool>,
    counters: Arc<Mutex<Stats>>,
}

/// How long a pool that never met anybody keeps the common list in doubt. A member that restarts is back within seconds.
const LONGEST_JOIN: Duration = Duration::from_secs(120);
/// Requests that wait for the gossip task; a program has a handful in its life.
const MAX_REQUESTS: usize = 16;
/// How long a goodbye may take: gossip gives it a second, and a program that stops should not wait for much more.
const MAX_LEAVE_TIME: Duration = Duration::from_secs(3);

/// Makes the two ends, beginning with `view`.
pub(crate) fn channel(id: NodeId, view: MembershipView) -> (Publisher, MembershipHandle, mpsc::Receiver<Request>) {
    let ring = Arc::new(Mutex::new(VecDeque::new()));
    let (view_writer, view) = watch::channel(Arc::new(view));
    let (left_writer, left) = watch::channel(false);
    let (contact_writer, contact) = watch::channel(Contact::default());
    let (requests, inbox) = mpsc::channel(MAX_REQUESTS);
    let counters = Arc::new(Mutex::new(Stats::default()));
    let yielded = Arc::new(AtomicBool::new(false));
    let publisher = Publisher {
        contact: contact_writer,
        view: view_writer,
        ring: ring.clone(),
        left: left_writer,
        yielded: yielded.clone(),
        counters: counters.clone(),
    };
    let pools = Arc::new([]);
    (
        publisher,
        MembershipHandle {
            contact,
            view,
            ring,
            requests,
            left,
            yielded,
            counters,
            keyring: None,
            id,
            started: Instant::now(),
            pools,
        },
        inbox,
    )
}

impl Publisher {
    /// Publishes the members after `changes` and without those that are `removed`. With neither it is a refresh (of
    /// round-trip times) and nobody is woken for it.
    pub(crate) fn publish(
        &self,
        mut members: Vec<Member>,
        changes: Vec<MemberChange>,
        removed: Vec<(MemberChange, Removed)>,
    ) {
        members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        let removed = removed.into_iter().map(|(change, reason)| (change, Some(reason)));
        let index = self.note(changes.into_iter().map(|change| (change, None)).chain(removed));
        let (node, forgotten) = {
            let view = self.view.borrow();
            (view.node.clone(), view.forgotten.clone())
        };
        self.view.send_replace(Arc::new(MembershipView { node, index, members, forgotten }));
    }

    /// Puts changes into the ring, where they have to stand before anybody is woken to look for them. Returns the index of the
    /// members after them.
    fn note(&self, changes: impl IntoIterator<Item = (MemberChange, Option<Removed>)>) -> Index {
        let mut index = self.view.borrow().index;
        let mut ring = self.ring.lock().expect("no holder of the ring's lock can panic");
        ring.extend(changes.into_iter().map(|(change, removed)| {
            index.counter += 1;
            Arc::new(MemberEvent { index, change, removed })
        }));
        let spare = ring.len().saturating_sub(MAX_EVENTS_KEPT);
        ring.drain(..spare);
        index
    }

    /// Replaces who is forgotten; shown with the next members that are published.
    pub(crate) fn forgotten(&self, forgotten: Vec<Forgotten>) {
        self.view.send_if_modified(|view| {
            if view.forgotten != forgotten {
                Arc::make_mut(view).forgotten = forgotten;
            }
            false
        });
    }

    /// Shows what gossip has counted.
    pub(crate) fn count(&self, stats: Stats) {
        *self.counters.lock().expect("no holder of this lock can panic") = stats;
    }

    /// Shows how this node stands to the others.
    pub(crate) fn stands(&self, contact: Contact) {
        self.contact.send_if_modified(|last| std::mem::replace(last, contact) != contact);
    }

    /// Another process lives under this node's id.
    pub(crate) fn yields(&self) {
        self.yielded.store(true, Ordering::Relaxed);
    }

    /// Tells everybody who waits that the goodbye was said.
    pub(crate) fn left(&self) {
        self.left.send_replace(true);
    }
}

/// What a reader of events gets.
#[derive(Clone, PartialEq, Debug)]
pub enum Events {
    /// Changes after the reader's place, the oldest first; possibly none.
    Changes(Vec<Arc<MemberEvent>>),
    /// Some changes are no longer kept: read the members again and go on from their index.
    Lost,
}

impl MembershipHandle {
    /// The id of the node that this program is.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.id
    }

    /// The members as of now.
    #[must_use]
    pub fn view(&self) -> Arc<MembershipView> {
        self.view.borrow().clone()
    }

    /// What the view is worth, as of a second ago at most.
    ///
    /// What one segment's list lacks, the common list lacks; but a pool that never met anybody is waited for no longer than
    /// [`LONGEST_JOIN`] where others are connected, for its join addresses may be wrong for ever.
    #[must_use]
    pub fn contact(&self) -> Contact {
        if self.pools.is_empty() {
            return *self.contact.borrow();
        }
        let waits = self.started.elapsed() < LONGEST_JOIN || self.pools_in(Contact::Connected).is_empty();
        let worst = [Contact::CutOff, Contact::Joining, Contact::Connected];
        let found = worst.into_iter().filter(|contact| waits || *contact != Contact::Joining);
        found.into_iter().find(|contact| !self.pools_in(*contact).is_empty()).unwrap_or(Contact::Alone)
    }

    /// The names of the pools that stand so to their members; none if there is one pool.
    #[must_use]
    pub fn pools_in(&self, contact: Contact) -> Vec<&str> {
        let pools = self.pools.iter().filter(|(_, pool)| pool.contact() == contact);
        pools.map(|(name, _)| name.as_str()).collect()
    }

    /// The pools that were waited for in vain when this time was over.
    #[must_use]
    pub(crate) fn given_up(&self) -> Vec<&str> {
        if self.started.elapsed() < LONGEST_JOIN { Vec::new() } else { self.pools_in(Contact::Joining) }
    }

    /// Waits until the view is later than `index` (or of another life) and returns it.
    ///
    /// Gives the current view if gossip has stopped, for then nothing will change any more.
    pub async fn later_than(&self, index: Index) -> Arc<MembershipView> {
        let mut view = self.view.clone();
        let later = view.wait_for(|view| view.index.epoch != index.epoch || view.index.counter > index.counter).await;
        match later {
            Ok(view) => view.clone(),
            Err(_) => self.view(),
        }
    }

    /// The changes after `index` that are kept.
    #[must_use]
    pub fn events_after(&self, index: Index) -> Events {
        let ring = self.ring.lock().expect("no holder of the ring's lock can panic");
        let current = self.view.borrow().index;
        let first_kept = ring.front().map_or(current.counter + 1, |event| event.index.counter);
        if index.epoch != current.epoch || index.counter + 1 < first_kept {
            return Events::Lost;
        }
        Events::Changes(ring.iter().filter(|event| event.index.counter > index.counter).cloned().collect())
    }

    /// Follows the changes from now on.
    #[must_use]
    pub fn changes(&self) -> Changes {
        Changes { at: self.view().index, handle: self.clone() }
    }

    /// Follows the changes after `index`.
    #[must_use]
    pub fn changes_after(&self, index: Index) -> Changes {
        Changes { at: index, handle: self.clone() }
    }

    /// What gossip has counted since it started, by name, for metrics.
    #[must_use]
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        if self.pools.is_empty() {
            let stats = *self.counters.lock().expect("no holder of this lock can panic");
            return stats.named();
        }
        let mut sums: Vec<(&'static str, u64)> = Vec::new();
        for (at, (_, pool)) in self.pools.iter().enumerate() {
            let counted = pool.counters();
            if at == 0 {
                sums = counted;
            } else {
                sums.iter_mut().zip(counted).for_each(|(sum, (_, count))| sum.1 += count);
            }
        }
        sums
    }

    /// Whether gossip has ended because another process lives under this node's id: nothing may be said under it any more.
    #[must_use]
    pub fn has_yielded(&self) -> bool {
        self.yielded.load(Ordering::Relaxed) || self.pools.iter().any(|(_, pool)| pool.has_yielded())
    }

    /// Changes what this node says of itself. Nothing happens if gossip has stopped.
    pub async fn set_metadata(&self, metadata: Metadata) {
        let _ = self.requests.send(Request::SetMetadata(metadata)).await;
    }

    pub(crate) fn with_pools(self, pools: Vec<(String, MembershipHandle)>) -> Self {
        Self { pools: pools.into(), ..self }
    }

    /// The pools that this membership is put together of, by name; none if there is one.
    #[must_use]
    pub fn pools(&self) -> &[(String, MembershipHandle)] {
        &self.pools
    }

    pub(crate) async fn pass_keys(&self, op: KeyOp, answer: KeysAnswer) {
        let _ = self.requests.send(Request::OrderKeys(op, answer)).await;
    }

    /// Remembers where the keys are kept.
    pub(crate) fn with_keyring(self, file: Option<PathBuf>) -> Self {
        Self { keyring: file.map(Into::into), ..self }
    }

    /// Reads the key file again and uses what it holds. Nothing happens without one.
    ///
    /// # Errors
    /// What is wrong with the file; the keys in use stay in use then.
    pub async fn reload_keys(&self) -> Result<(), KeysError> {
        for (_, pool) in &*self.pools {
            pool.read_keys().await?;
        }
        self.read_keys().await
    }

    async fn read_keys(&self) -> Result<(), KeysError> {
        if let Some(file) = &self.keyring {
            let keys = keys::read(file)?;
            let _ = self.requests.send(Request::SetKeys(keys)).await;
        }
        Ok(())
    }

    /// Says that a member will not come back, which every member takes over; nothing happens while it is alive or suspect.
    /// The view shows it among the forgotten once it is.
    pub async fn forget(&self, id: NodeId) {
        let _ = self.requests.send(Request::Forget(id)).await;
    }

    /// Changes the keys of encrypted gossip, here and then on every member. Returns once the change is made here, key file
    /// included; what the others made of it stands in their [`Member::keys`].
    ///
    /// # Errors
    /// Why nothing is changed; `None` if gossip has stopped.
    pub async fn order_keys(&self, op: KeyOp) -> Result<(), Option<KeyRefusal>> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::OrderKeys(op, answer)).await.map_err(|_| None)?;
        answered.await.map_err(|_| None)?.map_err(Some)
    }

    /// Says goodbye and waits until it was said, but no longer than a few seconds; `false` if that time ran out.
    pub async fn leave(&self) -> bool {
        let mut left = self.left.clone();
        let said =
            async { self.requests.send(Request::Leave).await.is_ok() && left.wait_for(|left| *left).await.is_ok() };
        tokio::time::timeout(MAX_LEAVE_TIME, said).await.unwrap_or(false)
    }
}

/// A reader of changes, each one once and in order.
#[derive(Clone, Debug)]
pub struct Changes {
    at: Index,
    handle: MembershipHandle,
}

impl Changes {
    /// Where this reader stands: everything up to here was given out.
    #[must_use]
    pub fn at(&self) -> Index {
        self.at
    }

    /// Waits for changes. After [`Events::Lost`] it goes on from the present. `None` once gossip has stopped and everything
    /// was read. May be dropped and called again without losing one.
    pub async fn next(&mut self) -> Option<Events> {
        loop {
            let view = self.handle.later_than(self.at).await;
            if view.index == self.at {
                return None;
            }
            match self.handle.events_after(self.at) {
                Events::Lost => {
                    self.at = view.index;
                    return Some(Events::Lost);
                }
                Events::Changes(changes) => {
                    self.at = changes.last().map_or(view.index, |last| last.index);
                    if !changes.is_empty() {
                        return Some(Events::Changes(changes));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
