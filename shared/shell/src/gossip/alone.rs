//! A node whose gossip is off: it knows itself and nobody else.

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use watchfire_gossip::{Contact, KeyRefusal, check_metadata};
use watchfire_shared::member::{Member, MemberChange, MemberState, Metadata, NodeId};
use watchfire_shared::time::Timestamp;

use super::{Settings, StartError, node_id};
use crate::bind;
use crate::clock::Clock;
use crate::files::DataDir;
use crate::lifecycle::Tasks;
use crate::membership::{self, Index, MembershipHandle, MembershipView, Publisher, Request};

/// The membership of a node alone. Nothing is bound and nothing is sent.
pub(super) fn start(
    settings: &Settings,
    metadata: Metadata,
    data: &DataDir,
    clock: &Clock,
    tasks: &mut Tasks,
) -> Result<MembershipHandle, StartError> {
    check_metadata(&metadata).map_err(watchfire_gossip::ConfigError::from)?;
    let id = node_id(data)?;
    tracing::info!(%id, "gossip is off: this node is judged by its reports alone");
    let now = clock.wall();
    let start = Index { epoch: super::epoch(), counter: 0 };
    let view = MembershipView { node: metadata.name.clone(), index: start, members: Vec::new(), forgotten: Vec::new() };
    let (publisher, handle, requests) = membership::channel(id, view);
    let address = settings.advertise.unwrap_or_else(|| bind::advertised(settings.bind));
    let own = own(id, address, now, metadata);
    let change = MemberChange { at: now, previous: None, member: own.clone() };
    publisher.publish(vec![own.clone()], vec![change], Vec::new());
    publisher.stands(Contact::Alone);
    let clock = clock.clone();
    tasks.spawn("no-gossip", |stop| run(requests, publisher, own, clock, stop));
    Ok(handle)
}

fn own(id: NodeId, addr: std::net::SocketAddr, now: Timestamp, metadata: Metadata) -> Member {
    let Metadata { name, role, labels, version, services } = metadata;
    Member {
        id,
        name,
        addr,
        state: MemberState::Alive,
        since: now,
        incarnation: 0,
        generation: 1,
        role,
        labels,
        version,
        services,
        rtt_ms: None,
        suspected_by: Vec::new(),
        cause: None,
        suspicions: Vec::new(),
        conditions: Vec::new(),
        keys: Default::default(),
        pools: Vec::new(),
        gossip_off: true,
        namesakes: Vec::new(),
    }
}

async fn run(
    mut requests: mpsc::Receiver<Request>,
    publisher: Publisher,
    mut own: Member,
    clock: Clock,
    stop: CancellationToken,
) {
    loop {
        let request = tokio::select! {
            request = requests.recv() => request,
            () = stop.cancelled() => return,
        };
        match request {
            Some(Request::SetMetadata(Metadata { name, role, labels, version, services })) => {
                own = Member { name, role, labels, version, services, ..own };
                let change = MemberChange { at: clock.wall(), previous: Some(own.state), member: own.clone() };
                publisher.publish(vec![own.clone()], vec![change], Vec::new());
            }
            Some(Request::OrderKeys(_, answer)) => drop(answer.send(Err(KeyRefusal::Plain))),
            Some(Request::Leave) => publisher.left(),
            Some(Request::Forget(_) | Request::SetKeys(_)) => {}
            None => return stop.cancelled().await,
        }
    }
}
