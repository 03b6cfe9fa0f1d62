//! Frames and their acknowledgement.

use watchfire_shared::frame::message::{Ack, Lane, Message, Nack, NackCode, Position};

use crate::engine::Input;
use crate::remote_write::tests::{Pushed, request_at};
use crate::remote_write::{Outcome, WriteId};

use super::world::{FakeAgent, START, World, seconds, settings};

fn acks(messages: &[Message]) -> Vec<(Lane, u64)> {
    let ack = |message: &Message| match message {
        Message::Ack(Ack { lane, seq, .. }) => Some((*lane, *seq)),
        _ => None,
    };
    messages.iter().filter_map(ack).collect()
}

fn nacks(messages: &[Message]) -> Vec<(Lane, u64, NackCode)> {
    let nack = |message: &Message| match message {
        Message::Nack(Nack { lane, seq, code, .. }) => Some((*lane, *seq, *code)),
        _ => None,
    };
    messages.iter().filter_map(nack).collect()
}

fn welcome(messages: &[Message]) -> (Option<Position>, Option<Position>) {
    match messages {
        [Message::HelloAck(ack), Message::LifeWanted(_)] => (ack.live, ack.backfill),
        other => panic!("expected a HelloAck and a question, found {other:?}"),
    }
}

#[test]
fn frames_are_acknowledged_together_and_only_after_a_sync() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 3);
    assert_eq!(welcome(&world.replies(agent.conn)), (None, None));
    agent.tick(&mut world, 1.0);
    world.run(seconds(0.010));
    agent.tick(&mut world, 2.0);
    world.run(seconds(0.009));
    assert_eq!(world.replies(agent.conn), []);
    world.run(seconds(0.001));
    assert_eq!(acks(&world.replies(agent.conn)), [(Lane::Live, 2)]);
    let expected = vec![(0.0, 1.0), (0.010, 2.0)];
    for slot in 0..3 {
        let points = world.points(&format!("m{slot}"));
        assert_eq!(points[&format!(r#"m{slot}{{instance="web-1", job="node"}}"#)], expected);
    }
    world.run(seconds(1.0));
    assert_eq!((world.replies(agent.conn), world.closed.len()), (Vec::new(), 0));
}

#[test]
fn much_at_once_does_not_wait_for_the_clock() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 9_000);
    world.replies(agent.conn);
    let mut acknowledged_after = None;
    for frame in 1..=18 {
        world.now += seconds(0.001);
        // A number that needs all its digits takes nine bytes; a frame has 80 kB.
        agent.tick(&mut world, std::f64::consts::PI * f64::from(frame));
        if !acks(&world.replies(agent.conn)).is_empty() {
            acknowledged_after.get_or_insert(frame);
        }
    }
    assert!(acknowledged_after.is_some_and(|frame| frame <= 14), "{acknowledged_after:?}");
    assert_eq!(world.closed, []);
}

#[test]
fn a_frame_that_comes_again_is_acknowledged_again_and_stored_once() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    let frame = Message::Data(agent.frame(Lane::Live, world.now, 5.0));
    world.send(agent.conn, &frame);
    world.run(seconds(0.020));
    assert_eq!(acks(&world.replies(agent.conn)), [(Lane::Live, 1)]);
    world.send(agent.conn, &frame);
    world.run(seconds(0.020));
    assert_eq!(world.replies(agent.conn).len(), 1);
    assert_eq!(world.points("m0")[r#"m0{instance="web-1", job="node"}"#], [(0.0, 5.0)]);
    assert_eq!(world.view().stats.ingest.rejected, Default::default());
}

#[test]
fn the_two_lanes_are_acknowledged_each_by_itself() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.dict(&mut world, Lane::Backfill, 1);
    world.replies(agent.conn);
    for second in [-30.0, -20.0] {
        let data = agent.frame(Lane::Backfill, START + seconds(second), second);
        world.send(agent.conn, &Message::Data(data));
    }
    agent.tick(&mut world, 1.0);
    world.run(seconds(0.020));
    assert_eq!(acks(&world.replies(agent.conn)), [(Lane::Live, 1), (Lane::Backfill, 2)]);
    let points = &world.points("m0")[r#"m0{instance="web-1", job="node"}"#];
    assert_eq!(*points, [(-30.0, -30.0), (-20.0, -20.0), (0.0, 1.0)]);
    // What the spool held says nothing of today.
    world.run(seconds(1.0));
    assert_eq!(world.node("web-1").last_report_at, Some(START));
}

#[test]
fn a_connection_goes_on_where_the_last_one_became_durable() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.live(&mut world, 2);
    let older = agent.conn;
    agent.connect(&mut world);
    let expected = Position { epoch: agent.hello.epoch, seq: 2 };
    assert_eq!(welcome(&world.replies(agent.conn)), (Some(expected), None));
    assert_eq!(world.closed, [(older, "a newer connection replaces this one".to_owned())]);
    // What the older connection still had under way is not taken any more.
    world.send(older, &Message::Ping(watchfire_shared::frame::message::Ping { clock_ms: 0 }));
    world.replies(older);
    agent.dict(&mut world, Lane::Live, 1);
    agent.live(&mut world, 1);
    assert_eq!(acks(&world.replies(agent.conn)), [(Lane::Live, 3)]);
    assert_eq!(world.replies, []);
    assert_eq!(world.value(r#"up{instance="web-1", job="node"}"#), Some(1.0));
}

#[test]
fn a_missing_predecessor_is_asked_for_once_and_a_keyframe_mends_it() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.tick(&mut world, 1.0);
    world.run(seconds(1.0));
    world.replies(agent.conn);
    agent.frame(Lane::Live, world.now, 2.0);
    for value in [3.0, 4.0] {
        world.run(seconds(1.0));
        agent.tick(&mut world, value);
    }
    assert_eq!(nacks(&world.replies(agent.conn)), [(Lane::Live, 3, NackCode::Resync)]);
    agent.dict(&mut world, Lane::Live, 1);
    world.run(seconds(1.0));
    agent.tick(&mut world, 5.0);
    world.run(seconds(0.020));
    assert_eq!(acks(&world.replies(agent.conn)), [(Lane::Live, 5)]);
    assert_eq!(world.points("m0")[r#"m0{instance="web-1", job="node"}"#], [(0.0, 1.0), (4.0, 5.0)]);
    assert_eq!(world.view().stats.ingest.rejected.resync, 2);
}

#[test]
fn a_live_frame_with_a_wrong_clock_is_stamped_with_its_receipt() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    for (value, offset) in [(1.0, 0.0), (2.0, 3600.0), (3.0, -3600.0), (4.0, 0.0)] {
        let data = agent.frame(Lane::Live, world.now + seconds(offset), value);
        world.send(agent.conn, &Message::Data(data));
        if value == 3.0 {
            // The series of the offset is written at the next round.
            world.run(seconds(10.0));
            let offset = world.value(r#"watchfire_node_clock_offset_seconds{instance="web-1"}"#);
            assert_eq!(offset, Some(-3600.0));
        } else {
            world.run(seconds(10.0));
        }
    }
    let points = &world.points("m0")[r#"m0{instance="web-1", job="node"}"#];
    assert_eq!(*points, [(0.0, 1.0), (10.0, 2.0), (20.0, 3.0), (30.0, 4.0)]);
    assert_eq!(world.view().stats.ingest.restamped, 2);
    assert_eq!(acks(&world.replies(agent.conn)).len(), 4);
}

#[test]
fn a_spooled_frame_that_cannot_be_kept_is_refused_for_good() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.dict(&mut world, Lane::Backfill, 1);
    world.replies(agent.conn);
    let old = START - world.settings.storage.retention - seconds(1.0);
    let data = agent.frame(Lane::Backfill, old, 1.0);
    world.send(agent.conn, &Message::Data(data));
    assert_eq!(nacks(&world.replies(agent.conn)), [(Lane::Backfill, 1, NackCode::Clock)]);
    assert_eq!(world.points("m0").len(), 0);
    world.run(seconds(1.0));
    assert_eq!(world.replies(agent.conn), []);
}

#[test]
fn an_agent_whose_clock_was_set_back_before_it_started_is_not_mistaken_for_its_past() {
    let mut world = World::new("groups: []");
    let mut agent = FakeAgent::join(&mut world, 1, "web-1", 1);
    agent.live(&mut world, 1);
    let mut restarted = FakeAgent::new(START, 1, "web-1");
    restarted.hello.epoch = 3;
    restarted.connect(&mut world);
    restarted.dict(&mut world, Lane::Live, 1);
    world.replies(restarted.conn);
    restarted.tick(&mut world, 2.0);
    world.run(seconds(0.020));
    assert_eq!(acks(&world.replies(restarted.conn)), [(Lane::Live, 1)]);
    assert_eq!(world.points("m0")[r#"m0{instance="web-1", job="node"}"#], [(0.0, 1.0), (10.0, 2.0)]);
}

#[test]
fn a_silent_connection_is_closed_and_a_speaking_one_is_not() {
    let mut world = World::new("groups: []");
    let silent = FakeAgent::join(&mut world, 1, "web-1", 1);
    let mut speaking = FakeAgent::join(&mut world, 2, "web-2", 1);
    let mute = world.connect();
    speaking.live(&mut world, 7);
    let closed: Vec<_> = world.closed.iter().map(|(conn, reason)| (*conn, reason.as_str())).collect();
    assert_eq!(closed, [(mute, "no Hello came"), (silent.conn, "nothing came for too long")]);
    assert_eq!(world.view().stats.agents_connected, 1);
}

#[test]
fn pushed_samples_are_answered_after_a_sync_and_feed_the_rules() {
    let mut world = World::new("groups: [{name: g, rules: [{record: twice, expr: 2 * pushed}]}]");
    let now = world.now.as_millis();
    let push = |at, value| Box::new(request_at(now, &[(&[("__name__", "pushed")], &[(at, value)])]));
    world.input(Input::Write { id: WriteId(1), request: push(-1, 3.0) });
    assert_eq!(world.written, []);
    world.run(seconds(0.001));
    assert_eq!(world.written, [(WriteId(1), Outcome::Taken)]);
    world.run(seconds(30.0));
    assert_eq!(world.value("twice"), Some(6.0));
    world.input(Input::Write { id: WriteId(2), request: push(-1802, 4.0) });
    world.run(seconds(0.001));
    assert!(matches!(&world.written[1..], [(WriteId(2), Outcome::Refused(_))]), "{:?}", world.written);
    assert_eq!((world.written.len(), world.view().stats.remote_write.samples), (2, 1));
}

#[test]
fn a_flood_of_pushes_waits_and_leaves_only_its_oldest_out() {
    let mut settings = settings("groups: []");
    settings.storage.max_bytes = 200_000;
    let mut world = World::open(watchfire_store::SimDisk::new(), settings, START);
    let (start, now) = (world.now, world.now.as_millis());
    let (mut waited, mut id) = (0, 0);
    let hours = 40;
    for hour in 0..hours {
        let at = |i: i64| (hour - hours) * 3600 + i * 10;
        let points: Vec<(i64, f64)> = (0..360).map(|i| (at(i), (at(i) as f64).sin())).collect();
        let names: Vec<String> = (0..4).map(|i| i.to_string()).collect();
        let labels: Vec<_> = names.iter().map(|name| [("__name__", "pushed"), ("i", name.as_str())]).collect();
        let series: Vec<Pushed<'_>> = labels.iter().map(|own| (&own[..], &points[..])).collect();
        loop {
            id += 1;
            world.input(Input::Write { id: WriteId(id), request: Box::new(request_at(now, &series)) });
            world.run(seconds(0.05));
            match world.written.pop() {
                Some((_, Outcome::Taken)) => break,
                Some((_, Outcome::Unavailable(_))) => waited += 1,
                other => panic!("{other:?}"),
            }
            assert!(waited < 1000);
        }
    }
    assert!(world.now.since(start) < seconds(30.0), "upkeep does not wait for its minute");
    assert_eq!(world.said("more comes than goes to blocks"), usize::from(waited > 0));
    assert!(world.said("the oldest history was dropped before its time") > 2);
    world.run(seconds(61.0));
    let stats = world.view().stats.store;
    assert!(stats.wal_bytes + stats.block_bytes <= 200_000, "{stats:?}");
    let dropped = stats.dropped_for_size_samples;
    let own = r#"watchfire_store_dropped_for_size_samples_total{instance="watch-1", job="watchfire"}"#;
    assert_eq!(world.value(own), Some(dropped as f64));
    let points = world.points("pushed");
    assert_eq!(points.len(), 4);
    for (labels, points) in &points {
        assert!(
            points.is_sorted_by(|a, b| (b.0 - a.0 - 10.0).abs() < 0.001),
            "{labels}: a part of the middle is missing"
        );
        assert_eq!((points[points.len() - 1].0 * 1000.0).round() as i64, -10_000, "{labels}");
        assert_eq!(4 * (points.len() as u64) + dropped, 4 * 360 * hours as u64);
    }
}
