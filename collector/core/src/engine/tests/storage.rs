//! A disk that is full, or that fails.

use watchfire_shared::frame::message::{Lane, Message, Ping};
use watchfire_shared::matcher::Matcher;
use watchfire_shared::member::{MemberState, NodeId};
use watchfire_shared::order::{Actions, OfferedAction};
use watchfire_shared::time::Timestamp;
use watchfire_store::Disk as _;
use watchfire_store::disk::CrashKeeps;

use super::world::{FakeAgent, World, seconds};
use crate::engine::Input;
use crate::remediation;

const RULES: &str = r#"
groups:
  - name: self
    rules:
      - alert: StorageFull
        expr: watchfire_storage_full == 1
      - alert: NodeDown
        expr: watchfire_member_state{state="down"} == 1
      - alert: NoReports
        expr: up{job="node"} == 0
"#;

#[test]
fn a_full_disk_stops_acknowledgements_and_nothing_else() {
    let mut world = World::new(RULES);
    world.member(1, "web-1", MemberState::Alive);
    world.member(2, "web-2", MemberState::Alive);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    let mut other = FakeAgent::join(&mut world, 2, "web-2", 1);
    other.tick(&mut world, 1.0);
    agent.live(&mut world, 2);
    world.replies.clear();

    world.disk.set_capacity(Some(0));
    other.tick(&mut world, 1.0);
    agent.live(&mut world, 3);
    assert_eq!(world.replies, []);
    assert_eq!(world.said("the disk is full"), 1);
    assert_eq!(world.value(r#"watchfire_storage_full{instance="watch-1", job="watchfire"}"#), Some(1.0));
    assert_eq!(world.alerts(), ["StorageFull firing"]);
    // Alerts go on from memory, also about what happens now; agents that we make wait are not accused.
    world.member(2, "web-2", MemberState::Down);
    for _ in 0..6 {
        world.send(agent.conn, &Message::Ping(Ping { clock_ms: world.now.as_millis() }));
        world.run(seconds(10.0));
    }
    assert_eq!(world.alerts(), ["StorageFull firing", "NodeDown firing", "NoReports firing"]);
    world.replies.retain(|(_, message)| !matches!(message, Message::Pong(_)));

    world.disk.set_capacity(None);
    world.run(seconds(1.5));
    let acks: Vec<_> = world
        .replies(agent.conn)
        .into_iter()
        .map(|message| match message {
            Message::Ack(ack) => (ack.lane, ack.seq),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(acks, [(Lane::Live, 5)]);
    assert_eq!(world.said("the disk has space again"), 1);
    assert_eq!(world.value(r#"watchfire_storage_full{instance="watch-1", job="watchfire"}"#), Some(0.0));
    agent.live(&mut world, 1);
    assert!(!world.alerts().contains(&"StorageFull firing".to_owned()));
    assert_eq!(world.fatal, [""; 0]);
}

#[test]
fn when_even_memory_is_full_lanes_begin_again_once_there_is_room() {
    let mut settings = super::world::settings("groups: []");
    settings.storage.max_pending_bytes = 4096;
    let mut world = World::open(watchfire_store::SimDisk::new(), settings, super::world::START);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 100);
    agent.live(&mut world, 1);
    world.replies.clear();
    world.disk.set_capacity(Some(0));
    for value in 0..20 {
        agent.tick(&mut world, f64::from(value) * 0.1234567);
        world.run(seconds(1.0));
    }
    assert!(world.view().stats.ingest.rejected.storage > 0);
    assert_eq!(world.replies, []);
    world.disk.set_capacity(None);
    world.run(seconds(2.0));
    let replies = world.replies(agent.conn);
    assert!(
        matches!(&replies[..], [Message::Ack(_), Message::Nack(nack)] if nack.detail == "there is room again"),
        "{replies:?}"
    );
    let Message::Ack(ack) = &replies[0] else { panic!() };
    let acknowledged = ack.seq;
    // The agent goes back to what was acknowledged.
    agent.live.seq = acknowledged;
    agent.dict(&mut world, Lane::Live, 100);
    agent.live(&mut world, 1);
    let replies = world.replies(agent.conn);
    assert!(matches!(&replies[..], [Message::Ack(ack)] if ack.seq == acknowledged + 1), "{replies:?}");
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_and_the_process_is_to_end() {
    let mut world = World::new(RULES);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.live(&mut world, 1);
    world.replies.clear();
    world.disk.fail_syncs(1);
    agent.live(&mut world, 5);
    assert_eq!(world.replies, []);
    assert_eq!(world.fatal.len(), 1);
}

#[test]
fn an_order_that_left_is_known_after_a_crash_and_is_not_sent_again() {
    let rules = "groups: [{name: g, interval: 1s, rules: [{alert: Seen, expr: 'up == 1'}]}]";
    let repair = "remediations: [{name: r, when: {alert: Seen}, mode: auto, steps: [{action: a}]}]";
    let mut settings = super::world::settings(rules);
    settings.remediations = remediation::parse(&[("r.yml".to_owned(), repair.to_owned())]).unwrap();
    let mut world = World::open(watchfire_store::SimDisk::new(), settings, super::world::START);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.live(&mut world, 1);
    let offered = OfferedAction {
        name: "a".to_owned(),
        digest: "d".to_owned(),
        kind: String::new(),
        idempotent: true,
        longest_ms: 1000,
        params: Vec::new(),
    };
    let actions = Actions {
        boot: "b".to_owned(),
        refuses: String::new(),
        last: None,
        offered: vec![offered],
        problems: Vec::new(),
    };
    world.send(agent.conn, &Message::Actions(actions));
    agent.live(&mut world, 3);
    let [(conn, order)] = world.orders.as_slice() else { panic!("{:?}", world.orders) };
    assert_eq!((*conn, order.target, &*order.action), (agent.conn, NodeId(1), "a"));
    let (id, now) = (order.id, world.now);
    let mut world = world.crash(CrashKeeps::NOTHING, now);
    world.run(seconds(1.0));
    assert_eq!(world.view().remediation.orders.iter().map(|order| order.id).collect::<Vec<_>>(), [id]);
    assert_eq!(world.orders, []);
}

#[test]
fn a_deletion_is_durable_once_it_is_answered() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 2);
    agent.live(&mut world, 3);
    assert_eq!(world.points("m0").len(), 1);
    let selectors = vec![vec![Matcher::equal("__name__", "m0")]];
    world.input(Input::Delete { selectors, from: Timestamp::MIN, to: Timestamp::MAX });
    assert_eq!((world.deleted.clone(), world.said("series were deleted")), (vec![Ok(())], 1));
    world.input(Input::CleanDeleted);
    let at = world.now;
    let world = world.crash(CrashKeeps::NOTHING, at);
    assert!(world.points("m0").is_empty() && world.points("m1").len() == 1);
}

/// An answer that lacks something says so, and so does everybody who is asked how the collector is.
#[test]
fn what_damage_costs_is_told_with_the_answer_at_once_and_after_a_restart() {
    let disk = watchfire_store::SimDisk::new();
    let mut options = super::world::settings("groups: []");
    options.storage.block_span = seconds(300.0);
    let mut world = World::open(disk.clone(), options, super::world::START);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 40);
    agent.live(&mut world, 100);
    let blocks = disk.list("blocks").unwrap();
    let path = format!("blocks/{}", blocks.iter().find(|name| name.ends_with(".block")).unwrap());
    let mut bytes = disk.content(&path).unwrap();
    let query = |world: &World| {
        let expr = watchfire_promql::parse("count(last_over_time({__name__=~\"m.+\"}[1d]))").unwrap();
        let answer = watchfire_promql::instant(
            &world.engine.snapshot(),
            &expr,
            world.now,
            &watchfire_promql::Options::default(),
        );
        answer.unwrap()
    };
    assert_eq!(query(&world).warnings, [""; 0]);
    let middle = bytes.len() / 4;
    bytes[middle] ^= 1;
    disk.plant(&path, bytes);
    let at = world.now;
    world = world.crash(CrashKeeps::ALL, at);
    let answer = query(&world);
    assert!(matches!(&answer.warnings[..], [told] if told.contains(&path)), "{:?}", answer.warnings);
    world.run(seconds(1.0));
    assert_eq!((world.said("a block is damaged"), world.said("a damaged file was set aside")), (1, 1));
    for _ in 0..2 {
        assert!(matches!(&query(&world).warnings[..], [told] if told.contains(&path)));
        // Whoever looks gets what the last input has changed.
        world.member(2, "web-2", MemberState::Alive);
        world.run(seconds(20.0));
        let stats = &world.view().stats;
        let [damaged] = &stats.damaged[..] else { panic!("{:?}", stats.damaged) };
        assert_eq!(damaged.path, path);
        let at = world.now;
        world = world.crash(CrashKeeps::ALL, at);
    }
}
