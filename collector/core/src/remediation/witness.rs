//! Corroboration: of a node from which the collector itself hears nothing, other members are asked what they see.
//!
//! A collector that is cut off from one zone of three believes a third of the fleet to be dead, and no share of unhealthy
//! members tells that from a real loss; those who still hear the zone do. Which members are asked follows from the node
//! alone, so that the same ones are asked each time. What was not asked for is not believed.

use std::collections::BTreeMap;

use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use super::guards::Corroborate;

/// How long an answer is worth something.
const FRESH: Span = Span::from_seconds(15);
/// How often the same is asked.
const ASK_EVERY: Span = Span::from_seconds(5);
/// Nodes that are asked about at a time. Where more are in doubt, it is a storm.
const MAX_SUBJECTS: usize = 64;

/// What was asked about one node.
#[derive(Debug, Default)]
struct Inquiry {
    asked_at: Option<Timestamp>,
    /// By observer; the inner `None` is one that does not know the node.
    answers: BTreeMap<NodeId, Option<(Timestamp, Option<MemberState>)>>,
}

/// All that was asked.
#[derive(Debug, Default)]
pub(super) struct Witnesses(BTreeMap<NodeId, Inquiry>);

/// What the observers of one node say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Testimony {
    pub(super) observers: Vec<(NodeId, Option<Option<MemberState>>)>,
    pub(super) down: usize,
    /// How many of them have to see it down.
    pub(super) needed: usize,
}

impl Testimony {
    pub(super) fn agrees(&self) -> bool {
        self.needed > 0 && self.down >= self.needed
    }
}

impl Witnesses {
    /// What is known from the observers of a node, among the agents that are `there`.
    pub(super) fn testimony(
        &self,
        now: Timestamp,
        about: NodeId,
        guard: Corroborate,
        there: impl Iterator<Item = NodeId>,
    ) -> Testimony {
        let inquiry = self.0.get(&about);
        let answer = |observer: NodeId| {
            let (at, state) = (*inquiry?.answers.get(&observer)?)?;
            (now.since(at) < FRESH).then_some(state)
        };
        let observers: Vec<_> =
            observers(about, guard.observers, there).into_iter().map(|id| (id, answer(id))).collect();
        let down = observers.iter().filter(|(_, state)| *state == Some(Some(MemberState::Down))).count();
        // A fleet may be too small for the number that the file asks for; nobody at all is never enough.
        let needed = guard.min.min(observers.len());
        Testimony { observers, down, needed }
    }

    /// Whom to ask about a node now; nobody if that was done a moment ago.
    pub(super) fn ask(
        &mut self,
        now: Timestamp,
        about: NodeId,
        guard: Corroborate,
        there: impl Iterator<Item = NodeId>,
    ) -> Vec<NodeId> {
        self.0.retain(|_, inquiry| inquiry.asked_at.is_some_and(|at| now.since(at) < FRESH));
        if !self.0.contains_key(&about) && self.0.len() >= MAX_SUBJECTS {
            return Vec::new();
        }
        let inquiry = self.0.entry(about).or_default();
        if inquiry.asked_at.is_some_and(|at| now.since(at) < ASK_EVERY) {
            return Vec::new();
        }
        inquiry.asked_at = Some(now);
        let asked = observers(about, guard.observers, there);
        inquiry.answers.retain(|observer, _| asked.contains(observer));
        for observer in &asked {
            inquiry.answers.entry(*observer).or_default();
        }
        asked
    }

    /// Takes an answer; false if nobody asked for it.
    pub(super) fn answer(
        &mut self,
        now: Timestamp,
        observer: NodeId,
        about: NodeId,
        state: Option<MemberState>,
    ) -> bool {
        let known = self.0.get_mut(&about).and_then(|inquiry| inquiry.answers.get_mut(&observer));
        let Some(answer) = known else { return false };
        let before = answer.replace((now, state)).map(|(_, state)| state);
        before != Some(state)
    }
}

/// The members to ask about a node: those with the highest hash of both (rendezvous hashing, Thaler and Ravishankar 1996).
fn observers(about: NodeId, count: usize, there: impl Iterator<Item = NodeId>) -> Vec<NodeId> {
    let mut all: Vec<(u64, NodeId)> = there.filter(|id| *id != about).map(|id| (mix(about, id), id)).collect();
    all.sort_unstable();
    all.into_iter().take(count).map(|(_, id)| id).collect()
}

/// SplitMix64's finaliser over both.
fn mix(about: NodeId, observer: NodeId) -> u64 {
    let mut z = about.0.rotate_left(32) ^ observer.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GUARD: Corroborate = Corroborate { observers: 3, min: 2 };
    const NODE: NodeId = NodeId(1);
    const START: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn others(count: u64) -> impl Iterator<Item = NodeId> + Clone {
        (1..=count + 1).map(NodeId)
    }

    #[test]
    fn two_of_three_observers_decide_and_only_those_who_were_asked() {
        let mut witnesses = Witnesses::default();
        let asked = witnesses.ask(START, NODE, GUARD, others(20));
        assert_eq!((asked.len(), asked.contains(&NODE)), (3, false));
        assert_eq!(witnesses.ask(START, NODE, GUARD, others(20)), [], "a moment ago");
        let stranger = others(20).find(|id| *id != NODE && !asked.contains(id)).unwrap();
        assert!(!witnesses.answer(START, stranger, NODE, Some(MemberState::Down)));
        assert!(!witnesses.answer(START, asked[0], NodeId(9), Some(MemberState::Down)));
        let agrees = |witnesses: &Witnesses, second| {
            witnesses.testimony(START + Span::from_seconds(second), NODE, GUARD, others(20)).agrees()
        };
        assert!(witnesses.answer(START, asked[0], NODE, Some(MemberState::Down)));
        assert!(witnesses.answer(START, asked[1], NODE, Some(MemberState::Alive)));
        assert!(!agrees(&witnesses, 1));
        assert!(witnesses.answer(START, asked[2], NODE, Some(MemberState::Down)));
        assert!(agrees(&witnesses, 1) && !agrees(&witnesses, 15), "an answer does not hold for ever");
        assert!(witnesses.answer(START, asked[0], NODE, None), "it was forgotten there");
        assert!(!agrees(&witnesses, 1));
    }

    #[test]
    fn a_small_fleet_needs_everybody_and_an_empty_one_never_agrees() {
        let mut witnesses = Witnesses::default();
        let asked = witnesses.ask(START, NODE, GUARD, others(1));
        assert_eq!(asked, [NodeId(2)]);
        witnesses.answer(START, NodeId(2), NODE, Some(MemberState::Down));
        assert!(witnesses.testimony(START, NODE, GUARD, others(1)).agrees());
        assert!(!witnesses.testimony(START, NODE, GUARD, std::iter::empty()).agrees());
    }
}
