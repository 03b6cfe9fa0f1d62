//! Changes of members, as events: of the member, and of the conditions that it has.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{json, to_value};
use tokio_util::sync::CancellationToken;
use watchfire_shared::member::{ConditionName, MemberChange, NodeId};

use super::{Journal, Topic};
use crate::membership::{Events, Index, MemberEvent, MembershipHandle};

/// Notes every change of a member since the program began, until `stop`.
pub async fn follow_members(membership: MembershipHandle, journal: Journal, stop: CancellationToken) {
    let start = Index { counter: 0, ..membership.view().index };
    let mut changes = membership.changes_after(start);
    let mut follower = Follower { journal, held: BTreeMap::new() };
    loop {
        let events = tokio::select! {
            events = changes.next() => events,
            () = stop.cancelled() => return,
        };
        match events {
            Some(Events::Changes(events)) => events.iter().for_each(|event| follower.note(event)),
            Some(Events::Lost) => {
                follower.journal.lose_until(changes.at());
                let members = membership.view();
                let held = members.members.iter().map(|member| (member.id, names(&member.conditions)));
                follower.held = held.filter(|(_, held)| !held.is_empty()).collect();
            }
            // Gossip has ended, and so will the program.
            None => return stop.cancelled().await,
        }
    }
}

struct Follower {
    journal: Journal,
    /// The conditions that members have, of those that have some.
    held: BTreeMap<NodeId, BTreeSet<ConditionName>>,
}

fn names(conditions: &[watchfire_shared::member::Condition]) -> BTreeSet<ConditionName> {
    conditions.iter().map(|condition| condition.name).collect()
}

impl Follower {
    fn note(&mut self, event: &MemberEvent) {
        let change = &event.change;
        // Who is listed no more has no conditions any more.
        let now = if event.removed.is_some() { BTreeSet::new() } else { names(&change.member.conditions) };
        let before = match now.is_empty() {
            true => self.held.remove(&change.member.id),
            false => self.held.insert(change.member.id, now.clone()),
        };
        let before = before.unwrap_or_default();
        let data = to_value(event).expect("a change of a member always encodes");
        self.journal.note_change(event.index, change.at, &change.member.name, &data);
        before.difference(&now).for_each(|name| self.turned(change, *name, "ended"));
        now.difference(&before).for_each(|name| self.turned(change, *name, "began"));
    }

    fn turned(&self, change: &MemberChange, name: ConditionName, state: &str) {
        let member = &change.member;
        let held = member.conditions.iter().find(|condition| condition.name == name);
        let data = json!({"at": change.at, "condition": name, "state": state, "id": member.id, "node": member.name,
            "seen_by": held.map(|held| &held.seen_by), "detail": held.map(|held| &held.detail)});
        self.journal.note(Topic::Condition, change.at, Some(&member.name), &data);
    }
}
