//! Gossip's members as inputs of the engine.

use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::Input;
use watchfire_shared::member::{Member, MemberChange};
use watchfire_shell::membership::{Events, MembershipHandle};

use super::Inbox;

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
