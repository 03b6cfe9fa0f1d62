//! One list of members out of several pools.
//!
//! A collector gossips in several network segments, in each with other members; a few (other collectors) are in more than
//! one. A member is what the pool says that knows best: a pool that sees it alive saw it more lately than one that does
//! not, whatever that one lost.

use std::collections::BTreeMap;

use watchfire_shared::member::{Member, MemberChange, MemberState, NodeId};
use watchfire_shared::time::Timestamp;

/// The members of several pools, and what they are together.
#[derive(Debug, Default)]
pub struct Pools {
    names: Vec<String>,
    /// By id, then by the place of the pool.
    members: BTreeMap<NodeId, BTreeMap<usize, Member>>,
}

/// What a pool's news made of the common list.
#[derive(Debug, Default, PartialEq)]
pub struct Merged {
    pub changes: Vec<MemberChange>,
    /// Members that are listed no more, as they were listed last.
    pub removed: Vec<Member>,
}

impl Pools {
    /// Nothing is known of any pool. The node itself is listed as the first one shows it.
    #[must_use]
    pub fn new(names: Vec<String>) -> Self {
        Self { names, members: BTreeMap::new() }
    }

    /// Takes a pool's changes, oldest first, and then all of its members as they are now.
    pub fn take(&mut self, now: Timestamp, pool: usize, changes: Vec<MemberChange>, members: &[Member]) -> Merged {
        let mut merged = Merged::default();
        for change in changes {
            self.set(change.at, pool, change.member, &mut merged);
        }
        for member in members {
            self.set(now, pool, member.clone(), &mut merged);
        }
        let ids: std::collections::BTreeSet<NodeId> = members.iter().map(|member| member.id).collect();
        let gone: Vec<NodeId> = self
            .members
            .iter()
            .filter(|(id, by_pool)| by_pool.contains_key(&pool) && !ids.contains(id))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            let before = self.best(id);
            if let Some(by_pool) = self.members.get_mut(&id) {
                by_pool.remove(&pool);
            }
            match self.best(id) {
                Some(after) => tell(now, before, after, &mut merged),
                None => {
                    self.members.remove(&id);
                    merged.removed.extend(before);
                }
            }
        }
        merged
    }

    fn set(&mut self, at: Timestamp, pool: usize, member: Member, merged: &mut Merged) {
        let id = member.id;
        let before = self.best(id);
        self.members.entry(id).or_default().insert(pool, member);
        if let Some(after) = self.best(id) {
            tell(at, before, after, merged);
        }
    }

    /// The common list.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.members.keys().filter_map(|id| self.best(*id)).collect()
    }

    fn best(&self, id: NodeId) -> Option<Member> {
        let by_pool = self.members.get(&id)?;
        let rank = |member: &Member| match member.state {
            MemberState::Alive => 0,
            MemberState::Suspect => 1,
            MemberState::Left => 2,
            MemberState::Down => 3,
        };
        let best = by_pool.iter().min_by_key(|(pool, member)| (rank(member), **pool)).map(|(_, member)| member)?;
        let pools = by_pool.keys().filter_map(|pool| self.names.get(*pool).cloned()).collect();
        Some(Member { pools, ..best.clone() })
    }
}

/// Round-trip times change all the time and are no news.
fn tell(at: Timestamp, before: Option<Member>, after: Member, merged: &mut Merged) {
    let timeless = |member: &Member| Member { rtt_ms: None, ..member.clone() };
    if before.as_ref().map(timeless) != Some(timeless(&after)) {
        merged.changes.push(MemberChange { at, previous: before.map(|member| member.state), member: after });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use watchfire_shared::member::Role;

    use super::*;

    fn member(id: u64, state: MemberState) -> Member {
        Member {
            id: NodeId(id),
            name: format!("n{id}"),
            addr: "10.0.0.1:7950".parse().unwrap(),
            state,
            since: Timestamp::EPOCH,
            incarnation: 0,
            generation: 1,
            role: Role::Agent,
            labels: BTreeMap::new(),
            version: String::new(),
            services: BTreeMap::new(),
            rtt_ms: None,
            suspected_by: Vec::new(),
            cause: None,
            suspicions: Vec::new(),
            conditions: Vec::new(),
            keys: Default::default(),
            pools: Vec::new(),
            gossip_off: false,
            namesakes: Vec::new(),
        }
    }

    fn change(member: &Member) -> MemberChange {
        MemberChange { at: Timestamp::EPOCH, previous: None, member: member.clone() }
    }

    fn states(merged: &Merged) -> Vec<(u64, Option<MemberState>, MemberState)> {
        merged.changes.iter().map(|change| (change.member.id.0, change.previous, change.member.state)).collect()
    }

    #[test]
    fn a_member_of_two_pools_is_what_the_pool_says_that_reaches_it() {
        use MemberState::{Alive, Down, Suspect};
        let mut pools = Pools::new(vec!["default".into(), "dmz".into()]);
        let now = Timestamp::EPOCH;
        let (own, other) = (member(1, Alive), member(2, Alive));
        let first = pools.take(now, 0, vec![change(&own), change(&other)], &[own.clone(), other.clone()]);
        assert_eq!(states(&first), [(1, None, Alive), (2, None, Alive)]);
        let second = pools.take(now, 1, vec![change(&own)], &[own.clone(), other, member(3, Alive)]);
        let listed: Vec<(u64, Vec<String>)> =
            pools.members().into_iter().map(|member| (member.id.0, member.pools)).collect();
        assert_eq!(listed[1], (2, vec!["default".to_owned(), "dmz".to_owned()]));
        assert_eq!(listed[2], (3, vec!["dmz".to_owned()]));
        assert_eq!(states(&second).last(), Some(&(3, None, Alive)));
        // One segment loses it, the other still hears it.
        let (suspect, down) = (member(2, Suspect), member(2, Down));
        let lost = pools.take(now, 0, vec![change(&suspect), change(&down)], &[own.clone(), down.clone()]);
        assert!(states(&lost).iter().all(|(_, _, state)| *state == Alive), "{lost:?}");
        // The other one as well.
        let lost = pools.take(now, 1, vec![change(&suspect), change(&down)], &[own.clone(), down, member(3, Alive)]);
        assert_eq!(states(&lost), [(2, Some(Alive), Suspect), (2, Some(Suspect), Down)]);
        // It is listed until no pool lists it.
        assert!(pools.take(now, 0, vec![], std::slice::from_ref(&own)).removed.is_empty());
        let removed = pools.take(now, 1, vec![], &[own, member(3, Alive)]).removed;
        assert_eq!(removed.iter().map(|member| member.id).collect::<Vec<_>>(), [NodeId(2)]);
        assert_eq!(pools.members().len(), 2);
    }

    #[test]
    fn round_trip_times_are_no_news_and_are_listed() {
        let mut pools = Pools::new(vec!["default".into(), "dmz".into()]);
        let own = member(1, MemberState::Alive);
        pools.take(Timestamp::EPOCH, 0, vec![], std::slice::from_ref(&own));
        let timed = Member { rtt_ms: Some(0.5), ..own };
        assert_eq!(pools.take(Timestamp::EPOCH, 0, vec![], &[timed]), Merged::default());
        assert_eq!(pools.members()[0].rtt_ms, Some(0.5));
    }
}
