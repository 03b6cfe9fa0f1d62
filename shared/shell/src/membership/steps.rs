//! Changes of the view one member at a time: what a change costs follows the change and not the cluster's size.

use std::sync::Arc;

use watchfire_shared::member::{Member, MemberChange, NodeId};

use super::{Publisher, Removed};

/// What became of one member.
#[derive(Debug)]
pub(crate) enum Step {
    Listed(Box<MemberChange>),
    /// As it was listed last, and why it is listed no more.
    Unlisted(Box<MemberChange>, Removed),
}

impl Publisher {
    /// Publishes the members after `steps`, in their order. Round-trip times stay as they were drawn last.
    pub(crate) fn step(&self, steps: Vec<Step>) {
        let index = self.note(steps.iter().map(|step| match step {
            Step::Listed(change) => ((**change).clone(), None),
            Step::Unlisted(change, reason) => ((**change).clone(), Some(*reason)),
        }));
        self.view.send_modify(|view| {
            // Readers look and let go, so this is seldom a copy.
            let view = Arc::make_mut(view);
            view.index = index;
            for step in steps {
                match step {
                    Step::Listed(change) => list(&mut view.members, change.member),
                    Step::Unlisted(change, _) => drop(unlist(&mut view.members, change.member.id)),
                }
            }
        });
    }
}

fn list(members: &mut Vec<Member>, mut member: Member) {
    let at = members.binary_search_by(|known| (&known.name, known.id).cmp(&(&member.name, member.id)));
    let before = match at {
        Ok(at) => Some(members.remove(at)),
        // It may have been listed under another name.
        Err(_) => unlist(members, member.id),
    };
    if let Some(before) = before.filter(|_| member.rtt_ms.is_none()) {
        member.rtt_ms = before.rtt_ms;
    }
    let at = members.partition_point(|known| (&known.name, known.id) < (&member.name, member.id));
    members.insert(at, member);
}

fn unlist(members: &mut Vec<Member>, id: NodeId) -> Option<Member> {
    let at = members.iter().position(|member| member.id == id)?;
    Some(members.remove(at))
}

#[cfg(test)]
mod tests {
    use watchfire_shared::member::MemberState;

    use super::*;
    use crate::membership::tests::{change, started};

    #[tokio::test]
    async fn steps_end_where_a_whole_list_would() {
        let (publisher, handle, _requests) = started();
        let mut changes = handle.changes();
        let renamed = |number: u64, name: &str| {
            let mut change = change(number, MemberState::Alive);
            change.member.name = name.to_owned();
            Step::Listed(Box::new(change))
        };
        let listed = |number, state| Step::Listed(Box::new(change(number, state)));
        publisher.step(vec![
            listed(2, MemberState::Alive),
            listed(1, MemberState::Alive),
            listed(3, MemberState::Alive),
        ]);
        let mut timed = handle.view().members.clone();
        timed[1].rtt_ms = Some(0.25);
        publisher.publish(timed, Vec::new(), Vec::new());
        let held = handle.view();
        publisher.step(vec![
            listed(2, MemberState::Down),
            renamed(3, "a"),
            Step::Unlisted(Box::new(change(1, MemberState::Alive)), Removed::Expired),
            Step::Unlisted(Box::new(change(9, MemberState::Down)), Removed::Replaced),
        ]);
        let view = handle.view();
        let now = view.members.iter().map(|member| (member.name.as_str(), member.state, member.rtt_ms));
        let expected = [("a", MemberState::Alive, None), ("node-2", MemberState::Down, Some(0.25))];
        assert_eq!(now.collect::<Vec<_>>(), expected);
        assert_eq!((view.index.counter, held.members.len()), (7, 3), "who reads a view keeps it as it was");
        let Some(super::super::Events::Changes(seen)) = changes.next().await else { panic!() };
        assert_eq!(seen.iter().map(|event| event.index.counter).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    }
}
