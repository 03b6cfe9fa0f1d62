use std::time::Duration;

use watchfire_shared::member::{Member, MemberState, Role};

use super::*;
use crate::membership::Events;

struct Node {
    handle: MembershipHandle,
    tasks: Tasks,
    address: SocketAddr,
    folder: tempfile::TempDir,
}

fn settings(bind: &str, join: &[SocketAddr]) -> Settings {
    Settings {
        cluster: "test".into(),
        bind: bind.parse().unwrap(),
        advertise: None,
        join: join.iter().map(ToString::to_string).collect(),
        profile: Profile::Local,
        keyring_file: None,
        enabled: true,
        pools: Vec::new(),
    }
}

async fn node(name: &str, folder: Option<tempfile::TempDir>, join: &[SocketAddr]) -> Node {
    node_with(name, folder, settings("127.0.0.1:0", join)).await
}

async fn node_with(name: &str, folder: Option<tempfile::TempDir>, settings: Settings) -> Node {
    let folder = folder.unwrap_or_else(|| tempfile::tempdir().unwrap());
    let data = DataDir::open(folder.path()).unwrap();
    let metadata = Metadata { name: name.into(), role: Role::Agent, ..Metadata::default() };
    let mut tasks = Tasks::default();
    let handle = start(&settings, metadata, &data, &Clock::start(), &mut tasks).await.unwrap();
    let address = handle.view().members[0].addr;
    Node { handle, tasks, address, folder }
}

impl Node {
    async fn sees(&self, name: &str, state: MemberState) -> Member {
        let find = async {
            let mut view = self.handle.view();
            loop {
                if let Some(member) = view.members.iter().find(|m| m.name == name && m.state == state) {
                    return member.clone();
                }
                view = self.handle.later_than(view.index).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), find).await.expect(name)
    }
}

#[tokio::test]
async fn nodes_meet_leave_and_come_back_in_a_new_life() {
    let mut first = node("first", None, &[]).await;
    assert_eq!(first.handle.view().members.len(), 1, "a node sees itself before anything happens");
    let mut changes = first.handle.changes();
    let mut second = node("second", None, &[first.address]).await;
    let met = first.sees("second", MemberState::Alive).await;
    second.sees("first", MemberState::Alive).await;
    assert_eq!((met.addr, met.generation), (second.address, 1));
    let age = Clock::start().wall().since(met.since);
    assert!(age >= Span::from_seconds(-1) && age < Span::from_seconds(60), "since is wall time, and {age} ago");
    let Some(Events::Changes(seen)) = changes.next().await else { panic!("no change was told") };
    assert_eq!(seen[0].change.member.name, "second");

    assert!(second.handle.leave().await);
    assert_eq!(second.tasks.stop().await, Vec::<&str>::new());
    first.sees("second", MemberState::Left).await;

    // The restarted node knows nobody by configuration: it finds its peer in what it kept.
    let folder = second.folder;
    let mut again = node("second", Some(folder), &[]).await;
    again.sees("first", MemberState::Alive).await;
    let returned = first.sees("second", MemberState::Alive).await;
    assert_eq!((returned.id, returned.generation), (met.id, 2));
    assert_eq!(first.handle.view().members.len(), 2, "a restart replaces the old item");
    assert!(first.handle.counters().iter().any(|(name, count)| *name == "received_datagrams" && *count > 0));
    assert_eq!(again.tasks.stop().await, Vec::<&str>::new());
    assert_eq!(first.tasks.stop().await, Vec::<&str>::new());
}

#[tokio::test]
async fn a_dead_agent_on_a_living_host_is_known_as_refused() {
    let mut first = node("first", None, &[]).await;
    let mut second = node("second", None, &[first.address]).await;
    first.sees("second", MemberState::Alive).await;
    second.tasks.stop().await;
    let dead = first.sees("second", MemberState::Down).await;
    assert_eq!(dead.cause, Some(watchfire_shared::member::DownCause::Refused));
    first.tasks.stop().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings {
        cluster: "test".into(),
        bind: taken.local_addr().unwrap(),
        advertise: None,
        join: Vec::new(),
        profile: Profile::Lan,
        keyring_file: None,
        enabled: true,
        pools: Vec::new(),
    };
    let metadata = Metadata { name: "x".into(), ..Metadata::default() };
    let data = DataDir::open(folder.path()).unwrap();
    let error = start(&settings, metadata, &data, &Clock::start(), &mut Tasks::default()).await.unwrap_err();
    assert!(error.to_string().starts_with(&format!("cannot bind gossip to {}", settings.bind)), "{error}");
}

#[tokio::test]
async fn a_copied_machine_yields_to_the_original_and_gets_an_id_of_its_own() {
    let mut first = node("first", None, &[]).await;
    let mut original = node("original", None, &[first.address]).await;
    let met = first.sees("original", MemberState::Alive).await;
    let copied = tempfile::tempdir().unwrap();
    for name in ["node-id", "gossip-generation"] {
        std::fs::copy(original.folder.path().join(name), copied.path().join(name)).unwrap();
    }
    let mut copy = node("copy", Some(copied), &[first.address]).await;
    let ended = async {
        while !copy.tasks.ended().contains(&"gossip") {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), ended).await.expect("the copy stops");
    copy.tasks.stop().await;
    let kept: NodeId = std::fs::read_to_string(copy.folder.path().join("node-id")).unwrap().trim().parse().unwrap();
    assert_ne!(kept, met.id);
    let mut again = node("copy", Some(copy.folder), &[first.address]).await;
    // Until the elder outstamps it, what the copy said of the id that both had may be what is heard.
    let apart = async {
        while first.sees("copy", MemberState::Alive).await.id != kept {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), apart).await.expect("the copy lives under an id of its own");
    // It takes the original a moment to be heard above what the copy said of itself.
    let found = async {
        while first.sees("original", MemberState::Alive).await.addr != original.address {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), found).await.expect("the original is found where it is");
    assert!(!original.tasks.ended().contains(&"gossip"), "the original goes on");
    for node in [&mut again, &mut original, &mut first] {
        node.tasks.stop().await;
    }
}

#[tokio::test]
async fn encrypted_nodes_of_both_address_families_meet_and_others_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, key: &str| {
        let file = folder.path().join(name);
        crate::files::write_atomic(&file, key.repeat(32).as_bytes()).unwrap();
        Some(file)
    };
    let (key, other_key) = (write("one", "0a"), write("other", "0b"));
    // Bound to both families, reached by IPv4 under its advertised address.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let both = Settings {
        advertise: Some(free),
        keyring_file: key.clone(),
        ..settings(&format!("[::]:{}", free.port()), &[])
    };
    let mut first = node_with("first", None, both).await;
    let sealed = Settings { keyring_file: key, ..settings("127.0.0.1:0", &[free]) };
    let mut second = node_with("second", None, sealed).await;
    let stranger = Settings { keyring_file: other_key, ..settings("127.0.0.1:0", &[free]) };
    let mut stranger = node_with("stranger", None, stranger).await;
    assert_eq!(second.sees("first", MemberState::Alive).await.addr, free);
    first.sees("second", MemberState::Alive).await;
    assert_eq!(first.handle.view().members.len(), 2);
    assert_eq!(stranger.handle.view().members.len(), 1);
    for node in [&mut stranger, &mut second, &mut first] {
        node.tasks.stop().await;
    }
}

fn pool(name: &str) -> PoolSettings {
    PoolSettings {
        name: name.into(),
        bind: "127.0.0.1:0".parse().unwrap(),
        advertise: None,
        join: Vec::new(),
        profile: Profile::Local,
        keyring_file: None,
        ingest_advertise: None,
    }
}

#[tokio::test]
async fn a_node_in_two_pools_sees_both_and_they_do_not_see_each_other() {
    let settings = Settings { pools: vec![pool("dmz")], ..settings("127.0.0.1:0", &[]) };
    let mut bridge = node_with("bridge", None, settings).await;
    let second = bridge.handle.pools()[1].1.view().members[0].addr;
    let mut inner = node("inner", None, &[bridge.address]).await;
    let mut outer = node("outer", None, &[second]).await;
    let seen = [bridge.sees("inner", MemberState::Alive).await, bridge.sees("outer", MemberState::Alive).await];
    assert_eq!(seen.map(|member| member.pools), [["default"], ["dmz"]]);
    let own = bridge.sees("bridge", MemberState::Alive).await;
    assert_eq!((own.pools, own.id), (vec!["default".to_owned(), "dmz".to_owned()], bridge.handle.id()));
    assert_eq!(inner.sees("bridge", MemberState::Alive).await.id, outer.sees("bridge", MemberState::Alive).await.id);
    for (inside, outside) in [(&inner, "outer"), (&outer, "inner")] {
        assert!(inside.handle.view().members.iter().all(|member| member.name != outside));
    }
    // One goodbye is said in both.
    assert!(bridge.handle.leave().await);
    inner.sees("bridge", MemberState::Left).await;
    outer.sees("bridge", MemberState::Left).await;
    for tasks in [&mut bridge.tasks, &mut inner.tasks, &mut outer.tasks] {
        tasks.stop().await;
    }
}

#[tokio::test]
async fn without_gossip_a_node_knows_itself_alone_and_says_so() {
    let mut alone = node_with("till", None, Settings { enabled: false, ..settings("127.0.0.1:1", &[]) }).await;
    let own = alone.sees("till", MemberState::Alive).await;
    assert!(own.gossip_off && alone.handle.view().members.len() == 1);
    let metadata = Metadata { name: "till".into(), version: "2".into(), ..Metadata::default() };
    alone.handle.set_metadata(metadata).await;
    let view = alone.handle.later_than(alone.handle.view().index).await;
    assert_eq!(view.members[0].version, "2");
    assert!(alone.handle.leave().await);
    alone.tasks.stop().await;
}
