//! The agent against collectors, disk and network that live in memory and fail on command.

mod world;

use proptest::prelude::*;
use watchfire_shared::frame::message::{Lane, NackCode, PROTOCOL};
use watchfire_shared::member::{MemberState, Role, SERVICE_INGEST};
use watchfire_shared::order::{OrderId, OrderReport, OrderState};
use watchfire_shared::time::Span;

use super::*;
use world::{Fault, World};

#[test]
fn a_connected_collector_gets_every_tick_live_and_the_spool_stays_empty() {
    let mut world = World::new(1);
    world.run(10);
    assert_eq!(world.collectors[0].lanes(), (10, 0));
    assert!(world.disk.is_empty());
    assert_eq!(world.agent.figures().spool_bytes, 0);
    assert_eq!(world.collectors[0].greetings, 1);
    world.check_exactly_once();
}

#[test]
fn orders_reach_who_takes_them_and_reports_reach_who_gave_them() {
    let mut world = World::new(2);
    world.run(2);
    let ids: Vec<NodeId> = world.collectors.iter().map(|collector| collector.id).collect();
    let greeted: Vec<NodeId> = std::mem::take(&mut world.heard).into_iter().map(|(id, _)| id).collect();
    assert_eq!(greeted, ids);
    let order = SignedOrder { order: vec![1], signature: vec![2] };
    world.raw(1, Message::Order(order.clone()).encode());
    assert_eq!(world.heard, [(ids[1], News::Order(order))]);
    let report = OrderReport::new(OrderId(1), OrderState::Accepted, Timestamp::EPOCH, "");
    let say = |to| Input::Say { to, message: Box::new(Message::OrderReport(report.clone())) };
    world.input(say(Some(ids[1])));
    world.cut(0);
    world.input(say(None));
    let reports: Vec<usize> = world.collectors.iter().map(|collector| collector.reports.len()).collect();
    assert_eq!(reports, [0, 2]);
}

#[test]
fn an_unchanged_stream_has_one_keyframe_and_a_new_series_brings_a_dictionary_and_another() {
    let mut world = World::new(1);
    world.run(5);
    world.series += 1;
    world.run(5);
    assert_eq!((world.collectors[0].keyframes, world.collectors[0].dictionaries), (2, 2));
    world.check_exactly_once();
}

#[test]
fn a_collector_of_an_earlier_version_gets_ticks_as_it_reads_them_and_later_short_ones() {
    let mut world = World::new(1);
    world.run(2);
    for (proto, outage) in [((1, 0), 5), ((1, 0), 100), (PROTOCOL, 5)] {
        world.up[0] = false;
        world.cut(0);
        world.run(outage);
        world.collectors[0].proto = proto;
        world.up[0] = true;
        world.run(200);
        world.check_exactly_once();
    }
}

#[test]
fn ticks_of_an_outage_come_behind_live_ones_and_in_order() {
    let mut world = World::new(1);
    world.run(3);
    world.up[0] = false;
    world.cut(0);
    world.run(100);
    assert!(!world.disk.is_empty());
    world.up[0] = true;
    world.run(60);
    world.check_exactly_once();
    let (live, backfill) = world.collectors[0].lanes();
    assert!(backfill >= 100 && live > 20, "{live} live, {backfill} backfill");
    let backfilled: Vec<i64> = world.collectors[0].received(Lane::Backfill);
    assert!(backfilled.is_sorted());
    assert!(world.disk.is_empty(), "what everybody has is deleted");
}

#[test]
fn a_lost_acknowledgement_sends_nothing_twice() {
    let mut world = World::new(1);
    world.run(3);
    world.fault = Some(Fault::LoseAcks);
    world.run(4);
    world.fault = None;
    world.cut(0);
    world.run(40);
    world.check_exactly_once();
    assert_eq!(world.collectors[0].duplicates, 0);
}

#[test]
fn a_restart_keeps_what_was_not_acknowledged() {
    let mut world = World::new(1);
    world.run(3);
    world.fault = Some(Fault::LoseFrames);
    world.run(5);
    world.fault = None;
    world.restart();
    world.run(60);
    world.check_exactly_once();
    let epochs: std::collections::BTreeSet<u64> = world.collectors[0]
        .positions
        .keys()
        .filter(|(lane, ..)| *lane == Lane::Live)
        .map(|(_, epoch, _)| *epoch)
        .collect();
    assert_eq!(epochs.len(), 2, "each start has its own epoch");
}

#[test]
fn one_collector_away_does_not_hold_the_other_and_later_gets_everything() {
    let mut world = World::new(2);
    world.run(2);
    world.up[1] = false;
    world.cut(1);
    world.run(80);
    assert_eq!(world.collectors[0].lanes(), (82, 0));
    world.up[1] = true;
    world.run(60);
    world.check_exactly_once();
    assert_eq!(world.collectors[0].lanes().1, 0, "the one that was there gets nothing again");
    assert!(world.disk.is_empty());
}

#[test]
fn a_collector_that_misses_a_predecessor_gets_dictionary_and_keyframe_again() {
    let mut world = World::new(1);
    world.run(3);
    world.collectors[0].forget_stream();
    world.run(5);
    world.check_exactly_once();
    assert_eq!((world.collectors[0].resyncs, world.collectors[0].greetings), (1, 1));
}

#[test]
fn without_credit_ticks_wait_in_the_spool_and_follow_in_the_backfill_lane() {
    let mut world = World::new(1);
    world.run(2);
    world.slow(0, 0);
    world.run(150);
    assert_eq!(world.collectors[0].lanes(), (2, 0));
    world.slow(0, 1 << 20);
    world.run(60);
    world.check_exactly_once();
    assert!(world.collectors[0].lanes().1 > 80, "what fell out of the ring came from the log");
}

#[test]
fn a_refused_frame_is_dropped_and_counted() {
    let mut world = World::new(1);
    world.run(2);
    world.fault = Some(Fault::Refuse(NackCode::Clock));
    world.run(1);
    world.fault = None;
    world.run(3);
    assert_eq!(world.agent.figures().frames_refused, 1);
    assert_eq!(world.collectors[0].lanes(), (5, 0));
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::Refused { code: NackCode::Clock, .. })));
}

#[test]
fn the_cap_drops_the_oldest_and_counts_them() {
    let mut world = World::new(1);
    world.series = 3000;
    world.up[0] = false;
    world.cut(0);
    world.run(1200);
    let dropped = world.agent.figures().spool_dropped;
    assert!(dropped > 0 && world.agent.figures().spool_bytes <= world::SPOOL_BYTES);
    world.up[0] = true;
    world.run(100);
    let missing = world.missing(0);
    assert_eq!(missing.len() as u64, dropped);
    assert_eq!(missing, world.ticks[..missing.len()], "the oldest went first");
    assert_eq!(world.collectors[0].duplicates, 0);
}

#[test]
fn retries_are_jittered_between_half_a_second_and_thirty() {
    let mut world = World::new(1);
    world.up[0] = false;
    world.cut(0);
    world.run(600);
    let waits: Vec<Span> = world.attempts.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(waits.len() > 20, "{}", waits.len());
    assert!(
        waits.iter().all(|wait| *wait >= Span::from_millis(500) && *wait <= Span::from_millis(30_100)),
        "{waits:?}"
    );
    assert!(waits.iter().any(|wait| *wait > Span::from_seconds(15)));
}

#[test]
fn a_silent_collector_is_asked_and_then_left() {
    let mut world = World::new(1);
    world.run(1);
    world.fault = Some(Fault::LoseFrames);
    world.run(50);
    let reasons: Vec<&str> = world
        .facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::Lost { reason, .. } => Some(reason.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(reasons.first(), Some(&"the collector fell silent"));
}

#[test]
fn garbage_from_a_collector_ends_the_connection_and_nothing_else() {
    let mut world = World::new(1);
    world.run(2);
    world.raw(0, vec![3, 0, 0, 0, 2, 2, 0xc1]);
    assert!(world.facts.iter().any(|fact| matches!(fact, Fact::Lost { reason, .. } if reason.contains("malformed"))));
    world.run(40);
    world.check_exactly_once();
}

#[test]
fn collectors_are_found_through_gossip_at_most_three_the_living_first() {
    let mut world = World::new(0);
    let member = |id: u64, state: MemberState| {
        let text = format!(
            r#"{{"id":"{id:016x}","name":"c{id}","addr":"127.0.0.1:1","state":"{}","since":"2026-01-01T00:00:00Z",
            "incarnation":0,"generation":1,"role":"collector","labels":{{}},"version":"1",
            "services":{{"{SERVICE_INGEST}":"127.0.0.1:70{id}"}},"rtt_ms":null,"suspected_by":[],"cause":null}}"#,
            state.as_str()
        );
        serde_json::from_str::<Member>(&text).unwrap()
    };
    let mut members: Vec<Member> = [
        member(1, MemberState::Down),
        member(2, MemberState::Alive),
        member(3, MemberState::Suspect),
        member(4, MemberState::Left),
        member(5, MemberState::Alive),
    ]
    .into();
    members.push(Member { role: Role::Agent, ..member(6, MemberState::Alive) });
    world.input(Input::Members(members.clone()));
    assert_eq!(world.dialled(), ["127.0.0.1:702", "127.0.0.1:703", "127.0.0.1:705"]);
    // It comes back after a restart: it is dialled within two seconds, not after the longest wait.
    world.run(120);
    world.dialled();
    members[1].generation = 2;
    world.input(Input::Members(members.clone()));
    world.run(2);
    assert!(world.dialled().contains(&"127.0.0.1:702".to_owned()));
    members[1].services.insert(SERVICE_INGEST.to_owned(), "127.0.0.1:7999".parse().unwrap());
    world.input(Input::Members(members));
    assert_eq!(world.dialled(), ["127.0.0.1:7999"]);
}

#[test]
fn a_reload_changes_the_interval_without_losing_a_tick() {
    let mut world = World::new(1);
    world.run(3);
    let settings = Settings { interval: Span::from_millis(500), ..world.settings() };
    world.input(Input::Settings(settings));
    world.run(20);
    world.check_exactly_once();
    let gaps: Vec<i64> = world.ticks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.iter().all(|gap| *gap <= 1000) && gaps.ends_with(&[500, 500]), "{gaps:?}");
    assert_eq!(world.collectors[0].greetings, 2, "the collector is told the new interval");
}

#[test]
fn stopping_puts_everything_unacknowledged_into_the_spool_and_ends() {
    let mut world = World::new(1);
    world.run(2);
    world.fault = Some(Fault::LoseFrames);
    world.run(3);
    let effects = world.input_raw(Input::Stop);
    assert_eq!(effects.last(), Some(&Effect::Stopped));
    let appended = effects.iter().filter(|e| matches!(e, Effect::Spool(SpoolEffect::Append { .. }))).count();
    assert_eq!(appended, 3);
    assert!(effects.contains(&Effect::Spool(SpoolEffect::Sync)));
    assert_eq!((world.agent.deadline(), world.input_raw(Input::Wake)), (None, Vec::new()));
}

#[test]
fn a_collector_that_asks_hears_of_the_life_that_it_missed_and_nothing_twice() {
    let mut world = World::new(2);
    world.run(100);
    // Nobody asked: an older collector hears nothing.
    assert!(world.collectors.iter().all(|collector| collector.life.is_empty()));
    world.ask_for_life(0);
    for whom in 0..2 {
        world.up[whom] = false;
        world.cut(whom);
    }
    world.run(300);
    world.kill(1000);
    world.up = vec![true; 2];
    world.run(60);
    world.ask_for_life(0);
    world.run(60);
    world.restart();
    world.ask_for_life(0);
    world.run(5);
    let states: Vec<&str> = world.collectors[0].life.iter().map(|note| note.state.as_str()).collect();
    assert_eq!(states, ["running", "cut_off", "ended", "running", "stopped", "running"]);
    let spans: Vec<i64> =
        world.collectors[0].life.windows(2).map(|pair| pair[1].at.since(pair[0].at).as_millis() / 60_000).collect();
    assert_eq!(spans, [1, 4, 17, 2, 0]);
    assert!(world.collectors[1].life.is_empty());
    world.check_exactly_once();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever fails and whenever: in the end each collector has every tick, each at one position.
    #[test]
    fn every_tick_reaches_every_collector_exactly_once(
        collectors in 1usize..4,
        steps in prop::collection::vec((0u8..12, 0usize..3, 1u32..40), 1..25),
    ) {
        let mut world = World::new(collectors);
        for (what, whom, ticks) in steps {
            let whom = whom % collectors;
            match what {
                0 | 1 => world.cut(whom),
                2 => { world.up[whom] = false; world.cut(whom); }
                3 => world.up[whom] = true,
                4 => world.fault = Some(Fault::LoseAcks),
                5 => world.fault = Some(Fault::LoseFrames),
                6 => world.fault = None,
                7 => world.collectors[whom].forget_stream(),
                8 => world.slow(whom, ticks * 3),
                9 => world.slow(whom, 1 << 20),
                10 => world.restart(),
                _ => world.series += 1,
            }
            world.run(ticks);
        }
        world.fault = None;
        for whom in 0..collectors {
            world.up[whom] = true;
            world.slow(whom, 1 << 20);
        }
        world.run(150);
        world.check_exactly_once();
        prop_assert!(world.disk.is_empty(), "what everybody has is deleted");
    }
}
