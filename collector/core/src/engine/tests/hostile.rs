//! What must never come, and does.

use proptest::prelude::*;
use watchfire_shared::frame::FrameError;
use watchfire_shared::frame::body::Coding;
use watchfire_shared::frame::message::{Data, Dict, Hello, Lane, Message, NackCode, Ping, SeriesEntry};
use watchfire_shared::labels::Labels;
use watchfire_shared::limits::MAX_SERIES_PER_AGENT;
use watchfire_shared::member::NodeId;
use watchfire_shared::sample::MetricKind;

use super::world::{FakeAgent, START, World, seconds};
use crate::engine::Input;

/// Sends a Hello that must be refused for this reason.
fn refused(change: impl FnOnce(&mut Hello), reason: &str) {
    let mut world = World::new("groups: []");
    let mut hello = FakeAgent::new(START, 1, "web-1").hello;
    change(&mut hello);
    let conn = world.connect();
    world.send(conn, &Message::Hello(hello));
    match &world.replies(conn)[..] {
        [Message::Nack(nack), Message::Bye(_)] => {
            assert_eq!(nack.code, NackCode::Protocol);
            assert!(nack.detail.contains(reason), "{}", nack.detail);
        }
        other => panic!("expected Nack and Bye, found {other:?}"),
    }
    assert_eq!(world.closed.len(), 1);
    world.run(seconds(11.0));
    let view = world.view();
    assert_eq!((view.nodes.len(), view.stats.ingest.rejected.protocol), (0, 1));
}

#[test]
fn strangers_are_not_let_in() {
    refused(|hello| hello.proto = (2, 0), "protocol 2.0");
    refused(|hello| hello.cluster = "other".to_owned(), "another cluster");
    refused(|hello| hello.agent_id = NodeId(0xc0), "node id");
    refused(|hello| hello.agent_id = NodeId(0), "node id");
    refused(|hello| hello.name = String::new(), "name");
    refused(|hello| hello.name = "a\nb".to_owned(), "name");
    refused(|hello| hello.name = "x".repeat(254), "name");
    refused(|hello| hello.interval_ms = 0, "interval");
    refused(|hello| hello.interval_ms = u64::MAX, "interval");
    refused(|hello| hello.version = "x".repeat(65), "version");
    refused(|hello| drop(hello.labels.insert("a b".to_owned(), "c".to_owned())), "node label");
    refused(|hello| drop(hello.labels.insert("a".to_owned(), "c".repeat(5000))), "labels and version");
    refused(|hello| hello.labels = (0..65).map(|i| (format!("l{i}"), "v".to_owned())).collect(), "labels");
}

#[test]
fn a_newer_minor_version_is_welcome() {
    let mut world = World::new("groups: []");
    let mut hello = FakeAgent::new(START, 1, "web-1").hello;
    hello.proto.1 += 7;
    let conn = world.connect();
    world.send(conn, &Message::Hello(hello));
    assert!(matches!(&world.replies(conn)[..], [Message::HelloAck(_), Message::LifeWanted(_)]));
    assert_eq!(world.closed, []);
}

#[test]
fn frames_out_of_turn_end_the_connection() {
    let hello = Message::Hello(FakeAgent::new(START, 1, "web-1").hello);
    let ack = Message::Ping(Ping { clock_ms: 0 });
    for messages in [
        vec![ack.clone()],
        vec![hello.clone(), hello.clone()],
        vec![hello, Message::Slow(watchfire_shared::frame::message::Slow { credit_bytes: 0 })],
    ] {
        let mut world = World::new("groups: []");
        let conn = world.connect();
        for message in &messages {
            world.send(conn, message);
        }
        assert_eq!(world.closed.len(), 1, "{messages:?}");
        world.send(conn, &ack);
        assert_eq!(world.closed.len(), 1, "a closed connection is not heard");
    }
}

#[test]
fn a_name_in_use_is_not_given_away_until_its_holder_is_silent() {
    let mut world = World::new("groups: []");
    let mut first = FakeAgent::join(&mut world, 1, "web-1", 1);
    first.live(&mut world, 1);
    let mut second = FakeAgent::new(START, 2, "web-1");
    second.connect(&mut world);
    assert!(world.closed.iter().any(|(conn, reason)| *conn == second.conn && reason.contains("in use")));
    world.run(seconds(30.0));
    second.connect(&mut world);
    second.dict(&mut world, Lane::Live, 1);
    second.live(&mut world, 1);
    assert!(world.closed.iter().any(|(conn, _)| *conn == first.conn));
    let ids: Vec<NodeId> = world.view().nodes.iter().filter_map(|node| node.id).collect();
    assert_eq!(ids, [NodeId(2)]);
    assert_eq!(world.value(r#"up{instance="web-1", job="node"}"#), Some(1.0));
}

#[test]
fn unreadable_streams_are_counted_and_closed() {
    let mut world = World::new("groups: []");
    let conn = world.connect();
    world.input(Input::Unreadable { conn, error: FrameError::TooLarge(1 << 30) });
    assert_eq!(world.closed.len(), 1);
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 4);
    let mut data = agent.frame(Lane::Live, START, 1.0);
    data.body.push(0);
    world.send(agent.conn, &Message::Data(data));
    assert_eq!(world.closed.len(), 2);
    world.run(seconds(2.0));
    assert_eq!(world.view().stats.ingest.rejected.malformed, 2);
    assert_eq!(world.points("m0").len(), 0);
}

#[test]
fn series_that_may_not_be_are_refused_by_slot_and_the_others_kept() {
    let mut world = World::new("groups: []");
    let agent = FakeAgent::join(&mut world, 1, "web-1", 0);
    world.replies(agent.conn);
    let entry = |slot: usize, pairs: &[(&str, &str)]| SeriesEntry {
        slot: slot as u32,
        labels: Labels::new(pairs.iter().copied()),
        kind: MetricKind::Gauge,
    };
    let add = vec![
        entry(0, &[("__name__", "good")]),
        entry(1, &[("__name__", "up")]),
        entry(2, &[("a", "b")]),
        entry(3, &[("__name__", "good")]),
        entry(MAX_SERIES_PER_AGENT, &[("__name__", "far")]),
    ];
    world.send(agent.conn, &Message::Dict(Dict { lane: Lane::Live, dict_id: 1, base: true, add, remove: vec![99] }));
    let nacks: Vec<_> = world
        .replies(agent.conn)
        .into_iter()
        .map(|message| match message {
            Message::Nack(nack) => (nack.code, nack.slots),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(nacks, [(NackCode::Schema, vec![1, 2]), (NackCode::Quota, vec![3, MAX_SERIES_PER_AGENT as u32])]);
    assert_eq!(world.closed, []);
}

#[test]
fn endless_series_stop_at_the_quota() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 0);
    for round in 0..3 {
        agent.dict(&mut world, Lane::Live, MAX_SERIES_PER_AGENT + 500);
        agent.tick(&mut world, f64::from(round));
        world.run(seconds(1.0));
    }
    assert!(world.engine.snapshot().0.series_count() <= MAX_SERIES_PER_AGENT + 100);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_make_the_engine_panic_or_keep_them(frames in prop::collection::vec((0u8..14, any::<Vec<u8>>()), 1..20)) {
        let mut world = World::new("groups: []");
        let agent = FakeAgent::join(&mut world, 1, "web-1", 2);
        for (kind, payload) in frames {
            let mut bytes = vec![0, 0, 0, 0, kind, 0];
            bytes.extend(payload);
            let length = u32::try_from(bytes.len() - 4).unwrap();
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            world.input(Input::Frame { conn: agent.conn, bytes });
        }
        world.run(seconds(200.0));
        prop_assert_eq!(world.view().stats.agents_connected, 0);
    }

    #[test]
    fn no_data_makes_the_engine_panic(
        values in prop::collection::vec((any::<u64>(), any::<u32>(), any::<i64>(), any::<u32>(), any::<bool>(), any::<Vec<u8>>()), 1..20),
        backfill: bool,
    ) {
        let mut world = World::new("groups: []");
        let mut agent = FakeAgent::join(&mut world, 1, "web-1", 2);
        let lane = if backfill { Lane::Backfill } else { Lane::Live };
        agent.dict(&mut world, lane, 2);
        for (seq, dict_id, ts_ms, n, keyframe, body) in values {
            let (dict_id, n, coding) = (dict_id % 3, n % 5, Coding::Short);
            world.send(agent.conn, &Message::Data(Data { lane, seq, dict_id, ts_ms, n, keyframe, body, coding }));
        }
        world.run(seconds(200.0));
        prop_assert_eq!(world.fatal.len(), 0);
    }
}
