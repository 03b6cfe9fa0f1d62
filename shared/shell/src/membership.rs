//! What a program sees of the cluster: the members as of now, and the changes that led there.
//!
//! The gossip task writes here, everybody else reads. A reader that falls behind the kept changes is told so and starts
//! again from the members; nobody ever waits for a slow reader.

mod steps;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
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

/// A change and the version of the view that it made.
#[derive(Clone, PartialEq, Debug)]
pub struct MemberEvent {
    pub index: Index,
    pub change: MemberChange,
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
    counters: Arc<Mutex<Stats>>,
    keyring: Option<Arc<Path>>,
    id: NodeId,
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
    counters: Arc<Mutex<Stats>>,
}

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
    let publisher = Publisher {
        contact: contact_writer,
        view: view_writer,
        ring: ring.clone(),
        left: left_writer,
        counters: counters.clone(),
    };
    let pools = Arc::new([]);
    (publisher, MembershipHandle { contact, view, ring, requests, left, counters, keyring: None, id, pools }, inbox)
}

impl Publisher {
    /// Publishes the members after `changes` and, if some are `removed`, without those. Otherwise it is a refresh (of
    /// round-trip times) and nobody is woken for it.
    pub(crate) fn publish(&self, mut members: Vec<Member>, changes: Vec<MemberChange>, removed: bool) {
        members.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        let index = self.note(changes, removed);
        let (node, forgotten) = {
            let view = self.view.borrow();
            (view.node.clone(), view.forgotten.clone())
        };
        self.view.send_replace(Arc::new(MembershipView { node, index, members, forgotten }));
    }

    /// Puts changes into the ring, where they have to stand before anybody is woken to look for them. Returns the index of the
    /// members after them, and without those that were `removed`.
    fn note(&self, changes: impl IntoIterator<Item = MemberChange>, removed: bool) -> Index {
        let mut index = self.view.borrow().index;
        let mut ring = self.ring.lock().expect("no holder of the ring's lock can panic");
        ring.extend(changes.into_iter().map(|change| {
            index.counter += 1;
            Arc::new(MemberEvent { index, change })
        }));
        let spare = ring.len().saturating_sub(MAX_EVENTS_KEPT);
        ring.drain(..spare);
        index.counter += u64::from(removed);
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
    #[must_use]
    pub fn contact(&self) -> Contact {
        let of_pools: Vec<Contact> = self.pools.iter().map(|(_, pool)| pool.contact()).collect();
        // What one segment's list lacks, the common list lacks.
        let worst = [Contact::CutOff, Contact::Joining, Contact::Connected];
        match worst.into_iter().find(|contact| of_pools.contains(contact)) {
            Some(contact) => contact,
            None => *self.contact.borrow(),
        }
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
                    // A later view without later changes is one that lost a member.
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
pub(crate) mod tests {
    use watchfire_shared::member::{MemberState, Role};
    use watchfire_shared::time::Timestamp;

    use super::*;

    pub(crate) fn member(number: u64, state: MemberState) -> Member {
        Member {
            id: NodeId(number),
            name: format!("node-{number}"),
            addr: "127.0.0.1:7950".parse().unwrap(),
            state,
            since: Timestamp::from_millis(1_767_225_600_000),
            incarnation: 0,
            generation: 1,
            role: Role::Agent,
            labels: Default::default(),
            version: "0.1.0".into(),
            services: Default::default(),
            rtt_ms: None,
            suspected_by: Vec::new(),
            conditions: Vec::new(),
            suspicions: Vec::new(),
            keys: Default::default(),
            pools: Vec::new(),
            gossip_off: false,
            cause: None,
        }
    }

    pub(crate) fn change(number: u64, state: MemberState) -> MemberChange {
        MemberChange { at: Timestamp::from_millis(0), previous: None, member: member(number, state) }
    }

    pub(crate) fn started() -> (Publisher, MembershipHandle, mpsc::Receiver<Request>) {
        channel(
            NodeId(1),
            MembershipView {
                node: "node-1".into(),
                index: Index { epoch: 7, counter: 0 },
                members: Vec::new(),
                forgotten: Vec::new(),
            },
        )
    }

    #[tokio::test]
    async fn a_reader_gets_each_change_once_and_in_order() {
        let (publisher, handle, _requests) = started();
        let mut changes = handle.changes();
        publisher.publish(vec![member(1, MemberState::Alive)], vec![change(1, MemberState::Alive)], false);
        publisher.publish(vec![], vec![change(1, MemberState::Suspect), change(1, MemberState::Down)], false);
        let Some(Events::Changes(seen)) = changes.next().await else { panic!() };
        let states: Vec<_> = seen.iter().map(|event| (event.index.counter, event.change.member.state)).collect();
        assert_eq!(states, [(1, MemberState::Alive), (2, MemberState::Suspect), (3, MemberState::Down)]);
        // A removal makes a later view but is no change.
        publisher.publish(vec![], vec![], true);
        publisher.publish(vec![], vec![change(2, MemberState::Alive)], false);
        let Some(Events::Changes(seen)) = changes.next().await else { panic!() };
        assert_eq!(seen.iter().map(|event| event.index.counter).collect::<Vec<_>>(), [5]);
        drop(publisher);
        assert_eq!(changes.next().await, None);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_and_bounds_nothing() {
        let (publisher, handle, _requests) = started();
        let mut changes = handle.changes();
        for _ in 0..=MAX_EVENTS_KEPT {
            publisher.publish(vec![], vec![change(1, MemberState::Alive)], false);
        }
        assert_eq!(changes.next().await, Some(Events::Lost));
        publisher.publish(vec![], vec![change(2, MemberState::Alive)], false);
        let Some(Events::Changes(seen)) = changes.next().await else { panic!() };
        assert_eq!(seen.len(), 1);
        let other_life = Index { epoch: 6, counter: MAX_EVENTS_KEPT as u64 };
        assert_eq!(handle.events_after(other_life), Events::Lost);
    }

    #[tokio::test]
    async fn members_are_sorted_and_a_blocked_reader_wakes() {
        let (publisher, handle, _requests) = started();
        let waiting = tokio::spawn({
            let handle = handle.clone();
            async move { handle.later_than(Index { epoch: 7, counter: 0 }).await }
        });
        tokio::task::yield_now().await;
        let members = vec![member(2, MemberState::Alive), member(1, MemberState::Alive)];
        publisher.publish(members, vec![change(2, MemberState::Alive)], false);
        let view = waiting.await.unwrap();
        assert_eq!(view.members.iter().map(|member| member.id.0).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(view.index.to_string().parse(), Ok(view.index));
    }

    #[tokio::test(start_paused = true)]
    async fn a_goodbye_that_nobody_says_does_not_hold_the_program() {
        let (publisher, handle, mut requests) = started();
        assert!(!handle.leave().await);
        assert!(matches!(requests.recv().await, Some(Request::Leave)));
        publisher.left();
        assert!(handle.leave().await);
    }
}
