use watchfire_shared::member::{MemberState, Role};
use watchfire_shared::time::Timestamp;

use super::*;

pub(crate) fn member(number: u64, state: MemberState) -> Member {
    Member {
        id: NodeId(number),
        name: format!("node-{number}"),
        addr: "127.0.0.1:7950".parse().unwrap(),
        state,
        since: Timestamp::from_millis(1_767_225_600_000),
        incarnation: 0,
        generation: 1,
        role: Role::Agent,
        labels: Default::default(),
        version: "0.1.0".into(),
        services: Default::default(),
        rtt_ms: None,
        suspected_by: Vec::new(),
        conditions: Vec::new(),
        suspicions: Vec::new(),
        keys: Default::default(),
        pools: Vec::new(),
        gossip_off: false,
        namesakes: Vec::new(),
        cause: None,
    }
}

pub(crate) fn change(number: u64, state: MemberState) -> MemberChange {
    MemberChange { at: Timestamp::from_millis(0), previous: None, member: member(number, state) }
}

pub(crate) fn started() -> (Publisher, MembershipHandle, mpsc::Receiver<Request>) {
    channel(
        NodeId(1),
        MembershipView {
            node: "node-1".into(),
            index: Index { epoch: 7, counter: 0 },
            members: Vec::new(),
            forgotten: Vec::new(),
        },
    )
}

#[tokio::test]
async fn a_reader_gets_each_change_once_and_in_order() {
    let (publisher, handle, _requests) = started();
    let mut changes = handle.changes();
    publisher.publish(vec![member(1, MemberState::Alive)], vec![change(1, MemberState::Alive)], Vec::new());
    publisher.publish(vec![], vec![change(1, MemberState::Suspect), change(1, MemberState::Down)], Vec::new());
    let Some(Events::Changes(seen)) = changes.next().await else { panic!() };
    let states: Vec<_> = seen.iter().map(|event| (event.index.counter, event.change.member.state)).collect();
    assert_eq!(states, [(1, MemberState::Alive), (2, MemberState::Suspect), (3, MemberState::Down)]);
    publisher.publish(vec![], vec![], vec![(change(1, MemberState::Down), Removed::Forgotten)]);
    publisher.publish(vec![], vec![change(2, MemberState::Alive)], Vec::new());
    let Some(Events::Changes(seen)) = changes.next().await else { panic!() };
    let seen: Vec<_> = seen.iter().map(|event| (event.index.counter, event.removed)).collect();
    assert_eq!(seen, [(4, Some(Removed::Forgotten)), (5, None)]);
    drop(publisher);
    assert_eq!(changes.next().await, None);
}

#[tokio::test]
async fn a_slow_reader_is_told_and_bounds_nothing() {
    let (publisher, handle, _requests) = started();
    let mut changes = handle.changes();
    for _ in 0..=MAX_EVENTS_KEPT {
        publisher.publish(vec![], vec![change(1, MemberState::Alive)], Vec::new());
    }
    assert_eq!(changes.next().await, Some(Events::Lost));
    publisher.publish(vec![], vec![change(2, MemberState::Alive)], Vec::new());
    let Some(Events::Changes(seen)) = changes.next().await else { panic!() };
    assert_eq!(seen.len(), 1);
    let other_life = Index { epoch: 6, counter: MAX_EVENTS_KEPT as u64 };
    assert_eq!(handle.events_after(other_life), Events::Lost);
}

#[tokio::test]
async fn members_are_sorted_and_a_blocked_reader_wakes() {
    let (publisher, handle, _requests) = started();
    let waiting = tokio::spawn({
        let handle = handle.clone();
        async move { handle.later_than(Index { epoch: 7, counter: 0 }).await }
    });
    tokio::task::yield_now().await;
    let members = vec![member(2, MemberState::Alive), member(1, MemberState::Alive)];
    publisher.publish(members, vec![change(2, MemberState::Alive)], Vec::new());
    let view = waiting.await.unwrap();
    assert_eq!(view.members.iter().map(|member| member.id.0).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(view.index.to_string().parse(), Ok(view.index));
}

#[tokio::test(start_paused = true)]
async fn a_goodbye_that_nobody_says_does_not_hold_the_program() {
    let (publisher, handle, mut requests) = started();
    assert!(!handle.leave().await);
    assert!(matches!(requests.recv().await, Some(Request::Leave)));
    publisher.left();
    assert!(handle.leave().await);
}

#[tokio::test(start_paused = true)]
async fn a_pool_that_never_meets_anybody_is_waited_for_no_longer_than_is_said() {
    let (common, handle, _requests) = started();
    let ((first, one, _keep), (second, other, _too)) = (started(), started());
    let handle = handle.with_pools(vec![("default".to_owned(), one), ("dmz".to_owned(), other)]);
    common.stands(Contact::Connected);
    first.stands(Contact::Connected);
    assert_eq!((handle.contact(), handle.pools_in(Contact::Joining)), (Contact::Joining, vec!["dmz"]));
    tokio::time::advance(LONGEST_JOIN).await;
    assert_eq!((handle.contact(), handle.given_up()), (Contact::Connected, vec!["dmz"]));
    // Nobody is met anywhere: nothing of the list is certain, however long that lasts. Who was met once is waited for.
    first.stands(Contact::Joining);
    assert_eq!(handle.contact(), Contact::Joining);
    first.stands(Contact::Connected);
    second.stands(Contact::CutOff);
    assert_eq!(handle.contact(), Contact::CutOff);
    second.stands(Contact::Alone);
    assert_eq!(handle.contact(), Contact::Connected);
}
