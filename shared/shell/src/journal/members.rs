//! Changes of members, as events.

use serde_json::to_value;
use tokio_util::sync::CancellationToken;

use super::Journal;
use crate::membership::{Events, Index, MembershipHandle};

/// Notes every change of a member since the program began, until `stop`.
pub async fn follow_members(membership: MembershipHandle, journal: Journal, stop: CancellationToken) {
    let start = Index { counter: 0, ..membership.view().index };
    let mut changes = membership.changes_after(start);
    loop {
        let events = tokio::select! {
            events = changes.next() => events,
            () = stop.cancelled() => return,
        };
        match events {
            Some(Events::Changes(events)) => {
                for event in events {
                    let change = &event.change;
                    let data = to_value(change).expect("a change of a member always encodes");
                    journal.note_change(event.index, change.at, &change.member.name, &data);
                }
            }
            Some(Events::Lost) => journal.lose_until(changes.at()),
            // Gossip has ended, and so will the program.
            None => return stop.cancelled().await,
        }
    }
}
