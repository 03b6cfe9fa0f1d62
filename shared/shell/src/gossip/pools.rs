//! Several pools as one membership: each gossips by itself, and one task puts together what they see.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{Merged, Pools};
use watchfire_shared::member::{Metadata, NodeId, SERVICE_INGEST};

use super::PoolSettings;
use crate::clock::Clock;
use crate::lifecycle::Tasks;
use crate::membership::{self, Events, MembershipHandle, MembershipView, Publisher, Request};

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
    let mut merger = Merger { pools, common: Pools::new(names), publisher, clock: clock.clone() };
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
        let changes = match events {
            Events::Lost => Vec::new(),
            Events::Changes(events) => {
                let seen = events.iter().take_while(|event| event.index.counter <= view.index.counter);
                seen.map(|event| event.change.clone()).collect()
            }
        };
        let Merged { changes, removed } = self.common.take(self.clock.wall(), at, changes, &view.members);
        self.publisher.forgotten(self.forgotten());
        if removed || !changes.is_empty() {
            self.publisher.publish(self.common.members(), changes, removed);
        }
    }

    fn refresh(&mut self) {
        for at in 0..self.pools.len() {
            let view = self.pools[at].handle.view();
            self.take(at, &view, Events::Lost);
        }
        self.publisher.publish(self.common.members(), Vec::new(), false);
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
