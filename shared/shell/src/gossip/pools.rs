//! Several pools as one membership: each gossips by itself, and one task puts together what they see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{Merged, Pools};
use watchfire_shared::member::{MemberChange, Metadata, NodeId, SERVICE_INGEST};

use super::PoolSettings;
use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::membership::{self, Events, MembershipHandle, MembershipView, Publisher, Removed, Request};

/// News of pools that wait to be put together; each says only that there is some.
const MAX_NEWS: usize = 32;
/// Round-trip times are taken over this often.
const REFRESH_EVERY: Duration = Duration::from_secs(5);

/// One pool that runs.
pub(super) struct Pool {
    pub(super) name: String,
    pub(super) handle: MembershipHandle,
    /// Where its agents reach ingest, if that is not where others do.
    pub(super) ingest: Option<SocketAddr>,
}

/// Where a pool's agents reach ingest, if it is said.
pub(super) fn ingest(pool: &PoolSettings, metadata: &Metadata) -> Option<SocketAddr> {
    pool.ingest_advertise.filter(|_| metadata.services.contains_key(SERVICE_INGEST))
}

/// What is said of this node in a pool.
pub(super) fn metadata(common: &Metadata, ingest: Option<SocketAddr>) -> Metadata {
    let mut own = common.clone();
    own.services.extend(ingest.map(|address| (SERVICE_INGEST.to_owned(), address)));
    own
}

/// The membership of all pools.
pub(super) fn merge(pools: Vec<Pool>, node: String, clock: &Clock, tasks: &mut Tasks) -> MembershipHandle {
    let first = pools.first().map(|pool| (pool.handle.id(), pool.handle.view().index));
    let (id, mut index) = first.unwrap_or_default();
    index.counter = 0;
    let view = MembershipView { node, index, members: Vec::new(), forgotten: Vec::new() };
    let (publisher, handle, requests) = membership::channel(id, view);
    let handle = handle.with_pools(pools.iter().map(|pool| (pool.name.clone(), pool.handle.clone())).collect());
    let (news, waiting) = mpsc::channel(MAX_NEWS);
    for (at, pool) in pools.iter().enumerate() {
        let (pool, news) = (pool.handle.clone(), news.clone());
        tasks.spawn("gossip-pool", |stop| follow(at, pool, news, stop));
    }
    let names = pools.iter().map(|pool| pool.name.clone()).collect();
    let (common, clock) = (Pools::new(names), clock.clone());
    let mut merger = Merger { pools, common, publisher, clock, handle: handle.clone(), given_up: false };
    for at in 0..merger.pools.len() {
        let view = merger.pools[at].handle.view();
        merger.take(at, &view, Events::Lost);
    }
    tasks.spawn("gossip-pools", |stop| merger.run(waiting, requests, stop));
    handle
}

/// Hands on each later view of a pool with the changes that led there.
async fn follow(
    at: usize,
    pool: MembershipHandle,
    news: mpsc::Sender<(usize, Arc<MembershipView>, Events)>,
    stop: CancellationToken,
) {
    let mut view = pool.view();
    loop {
        let before = view.index;
        // Whoever holds a view while the next one is made has it made as a copy.
        drop(view);
        view = tokio::select! {
            view = pool.later_than(before) => view,
            () = stop.cancelled() => return,
        };
        if view.index == before || news.send((at, view.clone(), pool.events_after(before))).await.is_err() {
            return stop.cancelled().await;
        }
    }
}

struct Merger {
    pools: Vec<Pool>,
    common: Pools,
    publisher: Publisher,
    clock: Clock,
    handle: MembershipHandle,
    /// It was told which pools nobody is found in.
    given_up: bool,
}

impl Merger {
    async fn run(
        mut self,
        mut news: mpsc::Receiver<(usize, Arc<MembershipView>, Events)>,
        mut requests: mpsc::Receiver<Request>,
        stop: CancellationToken,
    ) {
        let mut refresh = tokio::time::interval(REFRESH_EVERY);
        loop {
            tokio::select! {
                Some((at, view, events)) = news.recv() => self.take(at, &view, events),
                Some(request) = requests.recv() => self.ask(request).await,
                _ = refresh.tick() => self.refresh(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn take(&mut self, at: usize, view: &MembershipView, events: Events) {
        let events = match events {
            Events::Lost => Vec::new(),
            Events::Changes(events) => events,
        };
        let seen = events.iter().take_while(|event| event.index.counter <= view.index.counter);
        let (gone, listed): (Vec<_>, Vec<_>) = seen.partition(|event| event.removed.is_some());
        let changes = listed.iter().map(|event| event.change.clone()).collect();
        let now = self.clock.wall();
        let Merged { changes, removed } = self.common.take(now, at, changes, &view.members);
        let removed: Vec<_> = removed
            .into_iter()
            .map(|member| {
                let told = gone.iter().rev().find(|event| event.change.member.id == member.id);
                let reason = told.and_then(|event| event.removed).unwrap_or(Removed::Expired);
                (MemberChange { at: now, previous: Some(member.state), member }, reason)
            })
            .collect();
        self.publisher.forgotten(self.forgotten());
        if !removed.is_empty() || !changes.is_empty() {
            self.publisher.publish(self.common.members(), changes, removed);
        }
    }

    fn refresh(&mut self) {
        let given_up = self.handle.given_up();
        if !given_up.is_empty() && !self.given_up {
            let pools = given_up.join(", ");
            tracing::warn!(pools, "nobody answers at the join addresses of these pools; they are waited for no longer");
            self.given_up = true;
        }
        for at in 0..self.pools.len() {
            let view = self.pools[at].handle.view();
            self.take(at, &view, Events::Lost);
        }
        self.publisher.publish(self.common.members(), Vec::new(), Vec::new());
    }

    fn forgotten(&self) -> Vec<watchfire_gossip::Forgotten> {
        let mut all: Vec<_> = self.pools.iter().flat_map(|pool| pool.handle.view().forgotten.clone()).collect();
        all.sort_by_key(|gone| gone.id);
        all.dedup_by_key(|gone| gone.id);
        let listed = self.common.members();
        let is_listed = |id: NodeId| listed.iter().any(|member| member.id == id);
        all.retain(|gone| !is_listed(gone.id));
        all
    }

    async fn ask(&mut self, request: Request) {
        match request {
            Request::SetMetadata(common) => {
                for pool in &self.pools {
                    pool.handle.set_metadata(metadata(&common, pool.ingest)).await;
                }
            }
            // A pool's keys are changed and read again through its own handle.
            Request::OrderKeys(op, answer) => {
                if let Some(pool) = self.pools.first() {
                    pool.handle.pass_keys(op, answer).await;
                }
            }
            Request::SetKeys(_) => {}
            Request::Forget(id) => {
                for pool in &self.pools {
                    pool.handle.forget(id).await;
                }
            }
            Request::Leave => {
                let mut left = tokio::task::JoinSet::new();
                for pool in &self.pools {
                    let handle = pool.handle.clone();
                    left.spawn(async move { handle.leave().await });
                }
                left.join_all().await;
                self.publisher.left();
            }
        }
    }
}
