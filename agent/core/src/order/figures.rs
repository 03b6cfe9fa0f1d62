//! Numbers about orders: how many ended how, and how much of the cluster was seen when one came.

use watchfire_shared::member::{Member, MemberState};
use watchfire_shared::order::OrderState;

/// How much of the cluster a node sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClusterView {
    /// Members that it knows and that did not say goodbye, itself included.
    pub known: usize,
    /// Those of them that it believes to live.
    pub living: usize,
}

impl ClusterView {
    /// Counts these members. Those that left on purpose are no part of any majority.
    #[must_use]
    pub fn of<'a>(members: impl Iterator<Item = &'a Member>) -> Self {
        let mut view = Self::default();
        for member in members.filter(|member| member.state != MemberState::Left) {
            view.known += 1;
            view.living += usize::from(member.state != MemberState::Down);
        }
        view
    }
}

/// How orders ended here since the start, by [`ENDS`].
pub type EndCounts = [u64; ENDS.len()];

/// The ends of an order that are counted.
pub const ENDS: [OrderState; 5] =
    [OrderState::Succeeded, OrderState::Failed, OrderState::TimedOut, OrderState::Interrupted, OrderState::Refused];
