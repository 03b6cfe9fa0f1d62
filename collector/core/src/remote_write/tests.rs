use watchfire_shared::frame::varint;
use watchfire_shared::sample::stale_nan;
use watchfire_store::{CrashKeeps, Options, SimDisk};

use super::*;

const NOW: i64 = 1_000_000_000;
const BOUNDS: Bounds = Bounds { retention: Span::from_seconds(7200), out_of_order: Span::from_seconds(600) };

/// A series and its samples, times in seconds from now.
pub(crate) type Pushed<'a> = (&'a [(&'a str, &'a str)], &'a [(i64, f64)]);

fn field(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    varint::put(out, content.len() as u64);
    out.extend_from_slice(content);
}

fn request(pushed: &[Pushed<'_>]) -> WriteRequest {
    request_at(NOW, pushed)
}

/// A request whose times are seconds from `now`, milliseconds.
pub(crate) fn request_at(now: i64, pushed: &[Pushed<'_>]) -> WriteRequest {
    let mut body = Vec::new();
    for (labels, samples) in pushed {
        let mut series = Vec::new();
        for (name, value) in *labels {
            let mut label = Vec::new();
            field(&mut label, 0x0a, name.as_bytes());
            field(&mut label, 0x12, value.as_bytes());
            field(&mut series, 0x0a, &label);
        }
        for (at, value) in *samples {
            let mut sample = vec![0x09];
            sample.extend_from_slice(&value.to_le_bytes());
            sample.push(0x10);
            varint::put(&mut sample, (now + at * 1000) as u64);
            field(&mut series, 0x12, &sample);
        }
        // A native histogram and an exemplar, which are not kept.
        field(&mut series, 0x22, &[]);
        field(&mut series, 0x1a, &[]);
        field(&mut body, 0x0a, &series);
    }
    let mut family = vec![0x08, 1];
    field(&mut family, 0x12, b"pushed_total");
    field(&mut family, 0x22, b"What was pushed.");
    field(&mut body, 0x1a, &family);
    decode(&snap::raw::Encoder::new().compress_vec(&body).unwrap()).unwrap()
}

/// What is in a body: series with times in milliseconds and bits.
pub(crate) fn content_of(body: &[u8]) -> Vec<(Labels, Vec<(i64, u64)>)> {
    let request = decode(body).unwrap();
    let points = |samples: &[(i64, f64)]| samples.iter().map(|(at, value)| (*at, value.to_bits())).collect();
    request.series().map(|series| (series.labels().unwrap(), points(series.samples))).collect()
}

struct World {
    disk: SimDisk,
    store: Store<SimDisk>,
    writer: Writer,
    metadata: Metadata,
    writes: u64,
}

impl World {
    fn new(options: Options) -> Self {
        let disk = SimDisk::new();
        let store = Store::open(disk.clone(), options).unwrap().0;
        let writer = Writer::new(&store);
        Self { disk, store, writer, metadata: Metadata::default(), writes: 0 }
    }

    fn write(&mut self, pushed: &[Pushed<'_>]) -> Outcome {
        self.write_at(NOW, pushed)
    }

    /// Pushes when it is `now`, milliseconds; the samples' times are seconds from it.
    fn write_at(&mut self, now: i64, pushed: &[Pushed<'_>]) -> Outcome {
        self.writes += 1;
        let (id, request) = (WriteId(self.writes), request_at(now, pushed));
        let now = Timestamp::from_millis(now);
        if let Some((_, outcome)) = self.writer.write(now, id, &request, &mut self.store, BOUNDS, &mut self.metadata) {
            return outcome;
        }
        assert!(self.store.sync().is_ok());
        let mut written = self.writer.synced();
        assert_eq!(written.len(), 1);
        let (answered, outcome) = written.remove(0);
        assert_eq!(answered, id);
        outcome
    }

    fn restart(&mut self) {
        self.restart_with(Options::default());
    }

    fn restart_with(&mut self, options: Options) {
        self.disk.crash(CrashKeeps::NOTHING);
        self.store = Store::open(self.disk.clone(), options).unwrap().0;
        self.writer = Writer::new(&self.store);
    }

    /// Every series with times in seconds from now and values.
    fn stored(&self) -> Vec<String> {
        let series = self.store.snapshot().select(&[], Timestamp::MIN, Timestamp::MAX);
        let mut shown: Vec<String> = series
            .into_iter()
            .map(|series| {
                let points = series.times.iter().zip(&series.values);
                let points: Vec<String> = points
                    .map(|(at, value)| match value.to_bits() == stale_nan().to_bits() {
                        true => format!("{}:stale", (at - NOW) / 1000),
                        false => format!("{}:{value}", (at - NOW) / 1000),
                    })
                    .collect();
                format!("{} {}", series.labels, points.join(" "))
            })
            .collect();
        shown.sort();
        shown
    }
}

fn refused(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(reason) => reason,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

const A: &[(&str, &str)] = &[("__name__", "a"), ("x", "1")];
const B: &[(&str, &str)] = &[("__name__", "b"), ("x", "1")];

#[test]
fn what_is_pushed_is_stored_and_survives_a_crash() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(-30, 1.0)]), (B, &[(-30, 2.5)])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(-15, 2.0), (0, 3.0)]), (B, &[(-15, stale_nan())])]), Outcome::Taken);
    let expected = [r#"a{x="1"} -30:1 -15:2 0:3"#, r#"b{x="1"} -30:2.5 -15:stale"#];
    assert_eq!(world.stored(), expected);
    world.restart();
    assert_eq!(world.stored(), expected);
    // A sender that did not hear the answer sends again, and goes on.
    assert_eq!(world.write(&[(A, &[(0, 3.0)]), (B, &[(-15, stale_nan())])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(15, 4.0)])]), Outcome::Taken);
    assert_eq!(world.stored(), [r#"a{x="1"} -30:1 -15:2 0:3 15:4"#, expected[1]]);
    assert_eq!(world.writer.counters().repeated, 2);
    let counters = world.writer.counters();
    assert_eq!((counters.histograms_dropped, counters.exemplars_dropped), (3, 3));
    assert_eq!(world.metadata.get("pushed_total").map(|family| family.kind), Some("counter"));
}

#[test]
fn series_that_come_apart_are_kept_apart() {
    let mut world = World::new(Options::default());
    let both = |at, value| [(A, vec![(at, value)]), (B, vec![(at, value)])];
    for (at, value) in [(-100, 1.0), (-85, 2.0)] {
        let samples = both(at, value);
        let pushed: Vec<Pushed<'_>> = samples.iter().map(|(labels, samples)| (*labels, &samples[..])).collect();
        assert_eq!(world.write(&pushed), Outcome::Taken);
    }
    // One is ahead of the other for a while, and both have the same times in the end.
    assert_eq!(world.write(&[(A, &[(-70, 3.0), (-55, 4.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(B, &[(-70, 3.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(B, &[(-55, 4.0), (-40, 5.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(-40, 5.0)])]), Outcome::Taken);
    let points = "-100:1 -85:2 -70:3 -55:4 -40:5";
    let expected = [format!("a{{x=\"1\"}} {points}"), format!("b{{x=\"1\"}} {points}")];
    assert_eq!(world.stored(), expected);
    world.restart();
    assert_eq!(world.stored(), expected);
}

#[test]
fn what_cannot_be_taken_is_named_and_the_rest_is_stored() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(0, 1.0)])]), Outcome::Taken);
    let outcome = world.write(&[(A, &[(-601, 9.0)]), (B, &[(0, 2.0)])]);
    assert_eq!(
        refused(&outcome),
        "out of order sample: a{x=\"1\"} at 999399000 (1 samples refused, the others stored)"
    );
    let outcome = world.write(&[(A, &[(0, 9.0)])]);
    assert!(refused(&outcome).starts_with("duplicate sample for timestamp: a"), "{outcome:?}");
    let outcome = world.write(&[(A, &[(601, 9.0)]), (B, &[(-7201, 1.0)])]);
    assert!(refused(&outcome).starts_with("out of bounds: a"), "{outcome:?}");
    let outcome = world.write(&[(&[("x", "1")], &[(0, 1.0)]), (B, &[(15, 3.0)])]);
    assert!(refused(&outcome).starts_with("a series has no metric name"), "{outcome:?}");
    let outcome = world.write(&[(&[("__name__", "c"), ("x", "1"), ("x", "2")], &[(0, 1.0)])]);
    assert!(refused(&outcome).starts_with("labels cannot be read: the name x occurs twice"), "{outcome:?}");
    assert_eq!(world.stored(), ["a{x=\"1\"} 0:1", "b{x=\"1\"} 0:2 15:3"]);
    let expected = Refused { labels: 2, out_of_order: 1, duplicate: 1, out_of_bounds: 2, limit: 0 };
    assert_eq!(world.writer.counters().refused, expected);
}

#[test]
fn series_beyond_the_limit_are_refused_and_leave_nothing_behind() {
    let mut world = World::new(Options { max_series: 1, ..Options::default() });
    let outcome = world.write(&[(A, &[(0, 1.0)]), (B, &[(0, 2.0)])]);
    assert!(refused(&outcome).contains("b{x=\"1\"}: the store has as many series as it may have"), "{outcome:?}");
    assert!(matches!(world.write(&[(B, &[(15, 2.0)])]), Outcome::Refused(_)));
    assert_eq!(world.write(&[(A, &[(15, 3.0)])]), Outcome::Taken);
    assert_eq!(world.stored(), ["a{x=\"1\"} 0:1 15:3"]);
    assert_eq!(world.store.sources().count(), 1);
}

#[test]
fn a_full_store_takes_nothing_of_a_request_and_all_of_it_later() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(-30, 1.0)])]), Outcome::Taken);
    world.restart_with(Options { max_pending_bytes: 1, ..Options::default() });
    let now = Timestamp::from_millis(NOW);
    let push = |world: &mut World, pushed: &[Pushed<'_>]| {
        let World { writer, store, metadata, .. } = world;
        writer.write(now, WriteId(0), &request(pushed), store, BOUNDS, metadata)
    };
    assert_eq!(push(&mut world, &[(A, &[(-15, 2.0)])]), None);
    // What waits for the disk is all that may; neither a known nor a new series is taken.
    let second: &[Pushed<'_>] = &[(A, &[(0, 3.0)]), (B, &[(0, 1.0)])];
    assert!(matches!(push(&mut world, second), Some((_, Outcome::Unavailable(_)))));
    assert_eq!(world.stored(), ["a{x=\"1\"} -30:1 -15:2"]);
    world.store.sync().unwrap();
    assert_eq!(world.writer.synced(), [(WriteId(0), Outcome::Taken)]);
    world.restart();
    assert_eq!(world.write(second), Outcome::Taken);
    assert_eq!(world.stored(), ["a{x=\"1\"} -30:1 -15:2 0:3", "b{x=\"1\"} 0:1"]);
}

/// The store takes the series of a new lane and then has no room for its row.
#[test]
fn a_store_that_fills_between_the_series_and_the_row_of_a_lane_loses_nothing() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(0, 1.0)])]), Outcome::Taken);
    world.restart_with(Options { max_pending_bytes: 1, ..Options::default() });
    assert!(matches!(world.write(&[(A, &[(-30, 2.0)])]), Outcome::Unavailable(_)));
    world.store.sync().unwrap();
    assert_eq!(world.write(&[(A, &[(-30, 2.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(-15, 3.0)])]), Outcome::Taken);
    let expected = ["a{x=\"1\"} -30:2 -15:3 0:1"];
    assert_eq!(world.stored(), expected);
    world.restart();
    assert_eq!(world.stored(), expected);
}

#[test]
fn what_a_lane_has_no_room_for_is_counted() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(0, 1.0)]), (B, &[(0, 1.0)])]), Outcome::Taken);
    // A lane's names and values may have fewer bytes than they have by now.
    world.restart_with(Options { max_dictionary_bytes_per_source: 16, ..Options::default() });
    let outcome = world.write(&[(A, &[(-15, 2.0)]), (B, &[(-15, 2.0)])]);
    assert!(refused(&outcome).starts_with("b{x=\"1\"}: the source's names and values take"), "{outcome:?}");
    assert!(matches!(world.write(&[(B, &[(-10, 2.0)])]), Outcome::Refused(_)));
    let counters = world.writer.counters();
    assert_eq!((counters.samples, counters.refused.limit), (1, 2));
    assert_eq!(world.stored(), ["a{x=\"1\"} -15:2 0:1", "b{x=\"1\"} 0:1"]);
}

/// What the store has no room for is not there, so it is no repetition when it comes again.
#[test]
fn what_was_refused_and_comes_again_is_refused_again() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(-30, 1.0)]), (B, &[(-30, 1.0)])]), Outcome::Taken);
    world.restart_with(Options { max_dictionary_bytes_per_source: 16, ..Options::default() });
    // The first lane is past what comes now, and the second, which A has opened, has no room for the name of B.
    assert_eq!(world.write(&[(A, &[(0, 2.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(-25, 1.5)])]), Outcome::Taken);
    let late: &[Pushed<'_>] = &[(A, &[(0, 2.0)]), (B, &[(-20, 2.0), (-10, 3.0), (0, 4.0)])];
    assert!(refused(&world.write(late)).contains("3 samples refused"));
    assert!(refused(&world.write(late)).contains("3 samples refused"));
    let counters = world.writer.counters();
    assert_eq!((counters.samples, counters.repeated, counters.refused.limit), (2, 2, 6));
    // With room it is taken, once.
    let dictionary = Options::default().max_dictionary_bytes_per_source;
    world.restart_with(Options { max_dictionary_bytes_per_source: dictionary, ..Options::default() });
    assert_eq!(world.write(late), Outcome::Taken);
    assert_eq!(world.write(late), Outcome::Taken);
    assert_eq!(world.stored(), ["a{x=\"1\"} -30:1 -25:1.5 0:2", "b{x=\"1\"} -30:1 -20:2 -10:3 0:4"]);
}

/// The store forgets a lane all rows of which are older than the retention; what comes for it later goes on.
#[test]
fn lanes_that_the_store_has_forgotten_are_used_again() {
    for restarts in [false, true] {
        let options = Options { block_span: Span::from_seconds(300), min_free_bytes: 0, ..Options::default() };
        let options = Options { retention: BOUNDS.retention, ..options };
        let mut world = World::new(options.clone());
        // Late samples make a second lane, and others that come apart leave the first behind.
        assert_eq!(world.write(&[(A, &[(-30, 1.0)]), (B, &[(-30, 1.0)])]), Outcome::Taken);
        assert_eq!(world.write(&[(A, &[(-15, 2.0)])]), Outcome::Taken);
        assert_eq!(world.write(&[(B, &[(-15, 2.0)])]), Outcome::Taken);
        assert_eq!(world.write(&[(A, &[(-60, 0.0)])]), Outcome::Taken);
        let lanes = world.store.sources().count();
        let mut now = NOW;
        let mut expected = Vec::new();
        for _ in 0..40 {
            now += 300_000;
            expected.push(now);
            assert_eq!(world.write_at(now, &[(A, &[(0, 3.0)]), (B, &[(0, 3.0)])]), Outcome::Taken);
            while world.store.maintain(Timestamp::from_millis(now)).unwrap().busy {}
        }
        assert!(world.store.sources().count() < lanes, "lanes are forgotten");
        if restarts {
            world.restart_with(options);
        }
        for late in [-10, -20, -5, -25] {
            expected.push(now + late * 1000);
            assert_eq!(world.write_at(now, &[(A, &[(late, 4.0)])]), Outcome::Taken, "{late} {restarts}");
        }
        assert_eq!(world.write_at(now, &[(A, &[(15, 5.0)]), (B, &[(15, 5.0)])]), Outcome::Taken);
        expected.push(now + 15_000);
        expected.sort_unstable();
        let from = Timestamp::from_millis(now) - BOUNDS.retention;
        let series = world.store.snapshot().select(&[], from, Timestamp::MAX);
        let a = series.iter().find(|series| series.labels.get(METRIC_NAME) == Some("a")).unwrap();
        expected.retain(|at| *at >= from.as_millis());
        assert_eq!(*a.times, expected);
        // After all of it is forgotten a series is as new.
        now += 8_000_000;
        while world.store.maintain(Timestamp::from_millis(now)).unwrap().busy {}
        assert_eq!(world.store.sources().count(), 0);
        world.writer.next_sweep = Some(Timestamp::MAX);
        assert_eq!(world.write_at(now, &[(A, &[(0, 6.0)])]), Outcome::Taken);
        assert_eq!(world.store.snapshot().newest(&[]).len(), 1);
    }
}

#[test]
fn labels_in_another_order_are_the_same_series() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(0, 1.0)])]), Outcome::Taken);
    let turned: &[(&str, &str)] = &[("x", "1"), ("__name__", "a")];
    assert_eq!(world.write(&[(turned, &[(15, 2.0)])]), Outcome::Taken);
    assert_eq!(world.stored(), ["a{x=\"1\"} 0:1 15:2"]);
    assert_eq!(world.store.stats().series, 1);
}

#[test]
fn what_is_out_of_order_is_stored_within_the_window_once() {
    let mut world = World::new(Options::default());
    assert_eq!(world.write(&[(A, &[(-300, 1.0), (0, 5.0)]), (B, &[(-300, 1.0), (0, 5.0)])]), Outcome::Taken);
    // One after the other, in any order, and more than once.
    assert_eq!(world.write(&[(A, &[(-100, 4.0), (-200, 3.0), (-100, 4.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(B, &[(-250, 2.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(-250, 2.0), (0, 5.0), (15, 6.0)])]), Outcome::Taken);
    assert_eq!(world.write(&[(A, &[(-250, 2.0), (-300, 1.0), (-100, 4.0)])]), Outcome::Taken);
    assert_eq!(world.writer.counters().repeated, 5);
    // Behind another of the same request, and again.
    assert_eq!(world.write(&[(B, &[(15, 6.0), (30, 7.0), (15, 6.0)])]), Outcome::Taken);
    assert_eq!(world.writer.counters().repeated, 6);
    let outcome = world.write(&[(A, &[(-200, 9.0), (-601, 9.0), (-585, 0.5)])]);
    assert!(refused(&outcome).contains("out of order sample: a"), "{outcome:?}");
    let counters = world.writer.counters();
    assert_eq!((counters.refused.out_of_order, counters.refused.duplicate), (1, 1));
    let expected =
        [r#"a{x="1"} -585:0.5 -300:1 -250:2 -200:3 -100:4 0:5 15:6"#, r#"b{x="1"} -300:1 -250:2 0:5 15:6 30:7"#];
    assert_eq!(world.stored(), expected);
    world.restart();
    assert_eq!(world.stored(), expected);
    assert_eq!(world.write(&[(A, &[(-150, 3.5), (-200, 3.0)])]), Outcome::Taken);
    assert!(world.stored()[0].contains("-200:3 -150:3.5 -100:4"));
}

/// The same samples, whatever their order: each series once, and what no lane has room for is counted.
#[test]
fn samples_in_any_order_are_found_in_theirs() {
    let mut world = World::new(Options::default());
    let mut state = 1u64;
    let (mut times, mut refused) = (Vec::new(), 0);
    for number in 0..200i64 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = -((state >> 33) as i64 % 500);
        let pushed: &[Pushed<'_>] = &[(if number % 2 == 0 { A } else { B }, &[(at, at as f64)])];
        match world.write(pushed) {
            Outcome::Taken => times.push((number % 2, at)),
            Outcome::Refused(_) => refused += 1,
            Outcome::Unavailable(reason) => panic!("{reason}"),
        }
    }
    times.sort_unstable();
    times.dedup();
    let shown = |own: i64| {
        let points = times.iter().filter(|(series, _)| *series == own);
        points.map(|(_, at)| format!("{at}:{at}")).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(world.stored(), [format!("a{{x=\"1\"}} {}", shown(0)), format!("b{{x=\"1\"}} {}", shown(1))]);
    assert_eq!(world.writer.counters().refused.out_of_order, refused);
    assert!(refused < 20, "{refused} of 200");
}

#[test]
fn what_was_deleted_can_be_pushed_again() {
    let mut world = World::new(Options::default());
    let both: &[Pushed<'_>] = &[(A, &[(-60, 1.0), (-30, 2.0)]), (B, &[(-60, 1.0), (-30, 2.0)])];
    let stored = [r#"a{x="1"} -60:1 -30:2"#, r#"b{x="1"} -60:1 -30:2"#];
    assert_eq!(world.write(both), Outcome::Taken);
    let delete = |world: &mut World, series: &str, from: i64| {
        let from = Timestamp::from_millis(NOW + from * 1000);
        let matchers = vec![Matcher::equal(METRIC_NAME, series)];
        let selectors = [matchers];
        world.store.delete(&selectors, from, Timestamp::MAX).unwrap();
        world.writer.deleted(&world.store, &selectors, from, Timestamp::MAX);
    };
    // The newest sample alone, then all of one series: twice, and in one request with what was not deleted.
    for (from, gone) in [(-30, 1), (-100, 2), (-100, 2)] {
        delete(&mut world, "a", from);
        assert_ne!(world.stored(), stored);
        let repeated = world.writer.counters().repeated;
        assert_eq!(world.write(both), Outcome::Taken);
        assert_eq!(world.stored(), stored);
        assert_eq!(world.writer.counters().repeated - repeated, 4 - gone);
    }
    // With another value, and not a second one.
    delete(&mut world, "a", -30);
    assert_eq!(world.write(&[(A, &[(-30, 7.0)])]), Outcome::Taken);
    assert!(refused(&world.write(&[(A, &[(-30, 8.0)])])).contains("duplicate sample"));
    assert_eq!(world.write(&[(A, &[(0, 3.0)])]), Outcome::Taken);
    let stored = [r#"a{x="1"} -60:1 -30:7 0:3"#, stored[1]];
    assert_eq!(world.stored(), stored);
    world.restart();
    assert_eq!(world.stored(), stored);
}

/// What only blocks hold is known by the table alone.
#[test]
fn what_was_not_deleted_is_not_stored_again_when_it_is_repeated() {
    let options = Options { block_span: Span::from_seconds(300), min_free_bytes: 0, ..Options::default() };
    let mut world = World::new(options);
    let old: &[Pushed<'_>] = &[(A, &[(-900, 1.0)]), (B, &[(-900, 1.0)])];
    assert_eq!(world.write(old), Outcome::Taken);
    let mut now = NOW;
    for _ in 0..3 {
        now += 300_000;
        while world.store.maintain(Timestamp::from_millis(now)).unwrap().busy {}
    }
    assert!(world.store.stats().blocks > 0 && world.store.slots("write/0/0").iter().all(|slot| slot.newest.is_none()));
    let selectors = [vec![Matcher::equal(METRIC_NAME, "a")]];
    world.store.delete(&selectors, Timestamp::MIN, Timestamp::MAX).unwrap();
    world.writer.deleted(&world.store, &selectors, Timestamp::MIN, Timestamp::MAX);
    // Both twice: what is gone comes back once, what is there not at all.
    for (taken, repeated) in [(3, 1), (3, 3)] {
        assert_eq!(world.write(old), Outcome::Taken);
        assert_eq!((world.writer.counters().samples, world.writer.counters().repeated), (taken, repeated));
    }
    let other: &[Pushed<'_>] = &[(A, &[(-900, 2.0)])];
    assert!(refused(&world.write(other)).contains("duplicate sample"));
    assert_eq!(world.stored(), [r#"a{x="1"} -900:1"#, r#"b{x="1"} -900:1"#]);
}
