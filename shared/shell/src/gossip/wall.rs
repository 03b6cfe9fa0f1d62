//! Between the machine's clock and everybody else's: what it says of the past becomes wall time, and what is kept the reverse.

use watchfire_gossip::{Forgotten, Removal, RemovalReason};
use watchfire_shared::member::{Member, MemberChange, MemberState};
use watchfire_shared::time::Span;

use super::Shell;
use crate::clock::Clock;
use crate::membership::{Removed, Step};

/// A member that was forgotten in an earlier life, on the scale of this one's monotonic clock.
pub(super) fn recalled(gone: Forgotten, clock: &Clock) -> Forgotten {
    // A clock that was set back since makes it no younger than now.
    let age = clock.wall().since(gone.at).max(Span::ZERO);
    Forgotten { at: clock.monotonic() - age, ..gone }
}

impl Shell {
    pub(super) fn unlisted(&self, removal: Removal) -> Step {
        let reason = match removal.reason {
            RemovalReason::Dismissed => Removed::Forgotten,
            RemovalReason::Replaced(_) => Removed::Replaced,
            RemovalReason::Forgotten => Removed::Expired,
        };
        let member = self.member_on_wall(removal.member);
        let change = MemberChange { at: self.clock.wall_of(removal.at), previous: Some(member.state), member };
        Step::Unlisted(Box::new(change), reason)
    }

    pub(super) fn gone_on_wall(&self, gone: Forgotten) -> Forgotten {
        Forgotten { at: self.clock.wall_of(gone.at), ..gone }
    }

    pub(super) fn on_wall(&self, change: MemberChange) -> MemberChange {
        let previous = change.previous.map_or("none", MemberState::as_str);
        let member = self.member_on_wall(change.member);
        if change.previous != Some(member.state) {
            tracing::info!(member = member.name, addr = %member.addr, previous, state = member.state.as_str(), "member");
        }
        MemberChange { at: self.clock.wall_of(change.at), previous: change.previous, member }
    }

    pub(super) fn member_on_wall(&self, member: Member) -> Member {
        let mut member = Member { since: self.clock.wall_of(member.since), ..member };
        member.conditions.iter_mut().for_each(|condition| condition.since = self.clock.wall_of(condition.since));
        for suspicion in &mut member.suspicions {
            suspicion.since = self.clock.wall_of(suspicion.since);
            suspicion.until = suspicion.until.map(|until| self.clock.wall_of(until));
            suspicion.by.iter_mut().for_each(|suspecter| suspecter.at = self.clock.wall_of(suspecter.at));
        }
        member
    }
}
