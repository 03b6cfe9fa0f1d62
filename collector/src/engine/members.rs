//! Gossip's members as inputs of the engine.

use std::collections::BTreeSet;

use tokio_util::sync::CancellationToken;
use watchfire_collector_core::engine::Input;
use watchfire_shared::member::{Member, MemberChange, NodeId};
use watchfire_shell::membership::{Events, MembershipHandle, MembershipView};

use super::Inbox;

/// Tells the engine of every member, of every change of one, and of those that are listed no more, until `stop`.
///
/// Changes are told up to the view that was read after them, and then who is missing from it, so that a member that is
/// forgotten and comes back is told in this order.
pub(crate) async fn follow_members(membership: MembershipHandle, inbox: Inbox, stop: CancellationToken) {
    let mut view = membership.view();
    let mut listed = BTreeSet::new();
    let mut told = tell_all(&view, &inbox).await;
    while told {
        let ids: BTreeSet<NodeId> = view.members.iter().map(|member| member.id).collect();
        for id in listed.difference(&ids) {
            if view.forgotten.iter().any(|gone| gone.id == *id) {
                // Whoever said so, wherever: nobody expects it any more.
                told &= inbox.send(Input::Decommission(*id)).await;
            }
            told &= inbox.send(Input::Unlisted(*id)).await;
        }
        listed = ids;
        let before = view.index;
        // Whoever holds a view while the next one is made has it made as a copy.
        drop(view);
        view = tokio::select! {
            view = membership.later_than(before) => view,
            () = stop.cancelled() => return,
        };
        if view.index == before {
            return;
        }
        told &= match membership.events_after(before) {
            Events::Lost => tell_all(&view, &inbox).await,
            Events::Changes(events) => {
                let until = view.index.counter;
                let seen = events.iter().take_while(|event| event.index.counter <= until);
                // Who is listed no more is told below, once all who are listed are.
                let seen = seen.filter(|event| event.removed.is_none());
                tell(&inbox, seen.map(|event| event.change.clone())).await
            }
        };
    }
}

async fn tell_all(view: &MembershipView, inbox: &Inbox) -> bool {
    let as_change =
        |member: &Member| MemberChange { at: member.since, previous: Some(member.state), member: member.clone() };
    tell(inbox, view.members.iter().map(as_change)).await
}

async fn tell(inbox: &Inbox, changes: impl Iterator<Item = MemberChange>) -> bool {
    for change in changes {
        if !inbox.send(Input::Member(Box::new(change))).await {
            return false;
        }
    }
    true
}
