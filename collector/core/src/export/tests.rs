//! An exporter over a real store, against an engine that is played: nothing is lost, whatever the engine does.

mod joined;

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{Report, toml};
use watchfire_shared::labels::Labels;
use watchfire_store::{CopiedBlocks, Options, SimDisk, Store};

use super::config::{check, read_all};
use super::*;

type Content = BTreeMap<Labels, BTreeMap<i64, u64>>;

/// Time, store and exporter, and what the engine has.
struct World {
    now: Timestamp,
    store: Store<SimDisk>,
    remote: Arc<Remote>,
    exporter: Exporter,
    encoder: encode::Encoder,
    copied: CopiedBlocks,
    engine: Content,
    /// What the engine says to a batch; `None` is that it takes it.
    say: fn(&Batch) -> Option<Answer>,
    sends: usize,
    saved: Option<Vec<u8>>,
    figures: Figures,
    facts: Vec<Fact>,
    /// The engine refuses a request with a sample that is not later than what it has, as a Prometheus does.
    is_strict: bool,
}

fn remote(text: &str, external: &BTreeMap<String, String>) -> Remote {
    let text = format!("[[remote_write]]\nurl = \"http://engine/write\"\n{text}");
    let mut report = Report::new("collector.toml");
    let root = toml::parse(&text, &mut report).unwrap();
    let document::Value::Table(mut entries) = root.value else { panic!() };
    let document::Value::List(items) = entries.remove(0).1.value else { panic!() };
    let entries: Vec<_> = items.into_iter().map(|item| ("collector.toml".to_owned(), item)).collect();
    read_all(&entries, external).unwrap().remove(0)
}

use watchfire_shared::document;

fn labels(name: &str, instance: usize) -> Labels {
    Labels::new([("__name__", name.to_owned()), ("instance", instance.to_string())])
}

fn refused(status: u16, reason: &str) -> Answer {
    Answer::Refused { status, reason: reason.to_owned(), content: encode::Content::default() }
}

fn takes(_: &Batch) -> Option<Answer> {
    None
}

impl World {
    fn new(text: &str) -> Self {
        Self::with(text, &BTreeMap::new())
    }

    fn with(text: &str, external: &BTreeMap<String, String>) -> Self {
        let now = Timestamp::from_millis(1_800_000_000_000);
        let options = Options { block_span: Span::from_seconds(300), min_free_bytes: 0, ..Options::default() };
        let (store, _) = Store::open(SimDisk::new(), options).unwrap();
        let remote = Arc::new(remote(text, external));
        let exporter = Exporter::new(now, Arc::clone(&remote), None, 7);
        Self {
            now,
            store,
            exporter,
            encoder: encode::Encoder::new(Arc::clone(&remote), 3),
            remote,
            copied: CopiedBlocks::default(),
            engine: Content::new(),
            say: takes,
            sends: 0,
            saved: None,
            figures: Figures::default(),
            facts: Vec::new(),
            is_strict: false,
        }
    }

    /// Ten seconds: two nodes of twenty series each write a row, the log is synced, and the exporter works until it waits.
    fn tick(&mut self) {
        self.now += Span::from_seconds(10);
        for node in 0..2 {
            let value = |series: usize| (self.now.as_millis() / 1000 % 1000) as f64 + series as f64 / 4.0;
            let samples: Vec<_> = (0..20).map(|series| (labels(&format!("m{series}"), node), value(series))).collect();
            self.store.append_local(&format!("node/{node}"), self.now, &samples).unwrap();
        }
        self.store.sync().unwrap();
        while self.store.maintain(self.now).unwrap().busy {}
        self.export();
    }

    fn export(&mut self) {
        let mut inputs = vec![Input::Wake];
        while let Some(input) = inputs.pop() {
            let mut effects = Vec::new();
            self.exporter.handle(self.now, input, &mut effects);
            for effect in effects {
                match effect {
                    Effect::Look(cursors) => {
                        let plan = plan(self.store.feed(), &cursors, &self.remote, self.now, &mut self.copied);
                        inputs.push(Input::Planned(Box::new(plan)));
                    }
                    Effect::Send(feed, batch) => inputs.push(Input::Answered(self.answer(&feed, &batch))),
                    Effect::Save(progress) => (self.saved, self.figures) = (Some(progress.cursors), progress.figures),
                    Effect::Fact(fact) => self.facts.push(fact),
                }
            }
        }
    }

    fn answer(&mut self, feed: &Feed, batch: &Batch) -> Answer {
        self.sends += 1;
        assert!(batch.samples() <= self.remote.batch_samples.max(20), "{} samples", batch.samples());
        let encoded = self.encoder.batch(self.now, feed, batch);
        if encoded.content.samples == 0 {
            return Answer::Nothing(encoded.content);
        }
        if let Some(answer) = (self.say)(batch) {
            return match answer {
                Answer::Refused { status, reason, .. } => Answer::Refused { status, reason, content: encoded.content },
                answer => answer,
            };
        }
        let series = crate::remote_write::tests::content_of(&encoded.body);
        if self.is_strict && series.iter().any(|(labels, points)| self.is_late(labels, points)) {
            let reason = "out of order sample".to_owned();
            return Answer::Refused { status: 400, reason, content: encoded.content };
        }
        let names: std::collections::BTreeSet<_> = series.iter().map(|(labels, _)| labels).collect();
        assert_eq!(names.len(), series.len(), "an engine may refuse a request that has a series twice");
        for (labels, points) in series {
            assert!(points.is_sorted_by(|a, b| a.0 < b.0), "or samples that are not in the order of time");
            let series = self.engine.entry(labels).or_default();
            for (at, bits) in points {
                assert_eq!(*series.entry(at).or_insert(bits), bits, "what comes again is the same");
            }
        }
        Answer::Taken(encoded.content)
    }

    /// Whether the engine has a sample of the series that is as late as one of these, and not the same.
    fn is_late(&self, labels: &Labels, points: &[(i64, u64)]) -> bool {
        let newest = self.engine.get(labels).and_then(BTreeMap::last_key_value);
        newest.is_some_and(|newest| points.iter().any(|(at, bits)| (at, bits) != newest && at <= newest.0))
    }

    /// We begin anew with what was saved.
    fn restart(&mut self) {
        self.exporter = Exporter::new(self.now, Arc::clone(&self.remote), self.saved.as_deref(), 9);
        self.copied = CopiedBlocks::default();
    }

    /// Time passes without new rows.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.now += Span::from_seconds(70);
            self.export();
        }
    }

    fn held(&self) -> Content {
        let series = self.store.snapshot().select(&[], Timestamp::MIN, Timestamp::MAX);
        let points = |series: &watchfire_store::SelectedSeries| -> BTreeMap<i64, u64> {
            series.times.iter().copied().zip(series.values.iter().map(|value| value.to_bits())).collect()
        };
        series.into_iter().map(|series| (series.labels.clone(), points(&series))).collect()
    }
}

fn gone(_: &Batch) -> Option<Answer> {
    Some(Answer::Gone { reason: "connection refused".to_owned() })
}

#[test]
fn the_engine_gets_everything_and_stale_markers_too() {
    let mut world = World::new("batch_samples = 100\n");
    (0..30).for_each(|_| world.tick());
    world.store.append_local("node/1", world.now + Span::from_seconds(1), &[]).unwrap();
    world.settle();
    assert_eq!(world.engine, world.held());
    assert_eq!(world.figures.pending_samples, 0);
    assert_eq!(world.figures.sent_samples, 30 * 40 + 20);
    assert_eq!((world.figures.failed_requests, world.figures.repeated_samples), (0, 0));
}

#[test]
fn after_a_long_outage_it_goes_on_from_the_blocks_with_no_queue() {
    let mut world = World::new("batch_samples = 1000\nsend_every = \"1s\"\n");
    (0..10).for_each(|_| world.tick());
    world.say = gone;
    (0..400).for_each(|_| world.tick());
    assert!(world.store.stats().blocks > 0, "part of it is on disk only");
    let told = world.figures.clone();
    assert!(told.failing_since.is_some() && told.behind_seconds > 3900.0 && told.pending_samples > 12_000, "{told:?}");
    assert!(world.sends < 120, "it waits longer each time: {}", world.sends);
    world.say = takes;
    world.settle();
    assert_eq!(world.engine, world.held());
    assert_eq!(world.figures.behind_seconds, 0.0);
    assert_eq!(world.figures.failing_since, None);
}

#[test]
fn what_a_dead_engine_had_taken_last_is_sent_again() {
    let mut world = World::new("resend = \"30s\"\n");
    (0..30).for_each(|_| world.tick());
    // It forgets its last twenty seconds.
    let forgotten = world.now - Span::from_seconds(20);
    for points in world.engine.values_mut() {
        points.retain(|at, _| *at <= forgotten.as_millis());
    }
    world.say = gone;
    (0..3).for_each(|_| world.tick());
    world.say = takes;
    world.settle();
    assert_eq!(world.engine, world.held());
}

#[test]
fn rows_that_are_left_out_acknowledge_nothing() {
    let mut world = World::new("resend = \"30s\"\nmatch = ['{__name__=\"rare\"}']\n");
    let rare = |world: &mut World| {
        world.store.append_local("rare", world.now + Span::from_seconds(1), &[(labels("rare", 0), 1.0)]).unwrap();
        world.tick();
    };
    rare(&mut world);
    // It dies and forgets, and for five minutes nothing is sent by which that would be known.
    assert_eq!(std::mem::take(&mut world.engine).len(), 1);
    (0..30).for_each(|_| world.tick());
    world.say = gone;
    rare(&mut world);
    (0..3).for_each(|_| world.tick());
    assert!(world.sends < 60, "it is waited for: {}", world.sends);
    world.say = takes;
    world.settle();
    let mut held = world.held();
    held.retain(|labels, _| labels.metric_name() == "rare");
    assert_eq!(world.engine, held);
    assert_eq!(world.figures.sent_samples, 3, "one of them twice");
    assert!(world.figures.left_out_samples >= (1 + 30 + 1 + 3) * 40);
}

/// It hangs for a while before it dies; we may go meanwhile too.
#[test]
fn what_an_engine_had_taken_before_it_could_not_be_reached_is_sent_again_however_long_that_is() {
    for restarts in [false, true] {
        let mut world = World::new("resend = \"30s\"\n");
        (0..30).for_each(|_| world.tick());
        let forgotten = world.now - Span::from_seconds(20);
        world.say = |_| Some(Answer::Later { retry_after: None, reason: "no answer in time".to_owned() });
        (0..6).for_each(|_| world.tick());
        world.engine.values_mut().for_each(|points| points.retain(|at, _| *at <= forgotten.as_millis()));
        world.say = gone;
        (0..12).for_each(|_| world.tick());
        if restarts {
            world.restart();
        }
        world.say = takes;
        world.settle();
        assert!(world.engine == world.held(), "{restarts}");
        assert!(world.figures.sent_samples < 54 * 40, "six rows again at most: {}", world.figures.sent_samples);
    }
}

/// As the next, but it is away until blocks have what it was sent, and we live on.
#[test]
fn an_engine_that_dies_again_gets_what_blocks_have_once_more() {
    let mut world = World::new("resend = \"30s\"\nbatch_samples = 200\n");
    (0..30).for_each(|_| world.tick());
    let durable = world.engine.clone();
    world.say = gone;
    (0..200).for_each(|_| world.tick());
    assert!(world.store.stats().blocks > 0);
    world.say = takes;
    world.now += Span::from_seconds(70);
    world.export();
    world.tick();
    assert!(world.engine == world.held(), "it is back and has everything");
    world.engine = durable;
    world.say = gone;
    world.tick();
    world.say = takes;
    world.settle();
    assert!(world.engine == world.held(), "and again");
}

/// What an engine took last it has in memory only, and what it was sent again is part of that.
#[test]
fn an_engine_that_dies_twice_and_us_with_it_the_second_time_gets_all_of_it() {
    let mut world = World::new("resend = \"30s\"\nbatch_samples = 200\n");
    (0..30).for_each(|_| world.tick());
    let forgotten = world.now - Span::from_seconds(20);
    let mut durable = world.engine.clone();
    durable.values_mut().for_each(|points| points.retain(|at, _| *at <= forgotten.as_millis()));
    world.engine = durable.clone();
    world.say = gone;
    (0..12).for_each(|_| world.tick());
    world.say = takes;
    world.now += Span::from_seconds(70);
    world.export();
    assert!(world.engine == world.held(), "it is back and has everything");
    // A moment later all that it took since is lost, and so are we; only what was saved is left.
    world.engine = durable;
    world.restart();
    world.settle();
    assert_eq!(world.engine, world.held());
}

#[test]
fn a_crash_repeats_and_leaves_nothing_out() {
    let mut world = World::new("batch_samples = 100\n");
    let mut saved = None;
    for step in 0..60 {
        world.tick();
        if step % 7 == 3 {
            // What was saved a while ago is what is left.
            world.exporter = Exporter::new(world.now, Arc::clone(&world.remote), saved.as_deref(), 7);
            world.copied = CopiedBlocks::default();
        }
        if step % 3 == 0 {
            saved = world.saved.clone();
        }
    }
    world.settle();
    let mut held = world.held();
    // The first crash came before anything was saved: what was there before the new start is no more sent.
    let first = world.engine.values().next().unwrap().keys().next().copied().unwrap();
    held.values_mut().for_each(|points| points.retain(|at, _| *at >= first));
    assert_eq!(world.engine, held);
}

#[test]
fn only_the_rows_that_are_refused_are_dropped() {
    let mut world = World::new("batch_samples = 1000\nsend_every = \"5m\"\n");
    // Every row of one minute of the hour is refused, whatever it comes with.
    let bad = |at: Timestamp| at.as_millis() / 60_000 % 10 == 3;
    world.say = |batch| {
        let bad = |at: Timestamp| at.as_millis() / 60_000 % 10 == 3;
        let is_bad = batch.runs.iter().flat_map(|run| &run.rows).any(|row| bad(row.at));
        is_bad.then(|| refused(400, "out of bounds"))
    };
    (0..120).for_each(|_| world.tick());
    world.settle();
    let mut held = world.held();
    let before: usize = held.values().map(BTreeMap::len).sum();
    held.values_mut().for_each(|points| points.retain(|at, _| !bad(Timestamp::from_millis(*at))));
    let after: usize = held.values().map(BTreeMap::len).sum();
    assert_eq!(world.engine, held);
    assert!(before > after);
    assert_eq!(world.figures.refused_samples, (before - after) as u64);
    assert_eq!(world.figures.failing_since, None, "an engine that refuses is there");
}

#[test]
fn a_request_that_is_wrong_as_such_is_not_tried_in_parts() {
    let mut world = World::new("");
    world.say = |_| Some(refused(404, "status 404"));
    world.tick();
    world.settle();
    assert_eq!((world.sends, world.figures.refused_samples), (1, 40));
}

#[test]
fn an_engine_that_asks_for_time_gets_it() {
    let mut world = World::new("send_every = \"1s\"\n");
    world.say = |_| Some(Answer::Later { retry_after: Some(Span::from_seconds(120)), reason: "429".to_owned() });
    world.tick();
    let failed_at = world.now;
    assert!(world.exporter.deadline().unwrap() >= failed_at + Span::from_seconds(120));
    (0..11).for_each(|_| world.tick());
    assert_eq!(world.sends, 1);
    world.say = takes;
    world.settle();
    assert_eq!(world.engine, world.held());
}

#[test]
fn what_is_too_old_is_left_out_and_counted() {
    let mut world = World::new("max_backlog = \"10m\"\n");
    world.say = gone;
    (0..200).for_each(|_| world.tick());
    world.say = takes;
    world.now += Span::from_seconds(70);
    world.export();
    let oldest = world.engine.values().flat_map(BTreeMap::keys).min().copied().unwrap();
    assert!(oldest >= before(world.now, Span::from_seconds(600)).as_millis());
    let sent: usize = world.engine.values().map(BTreeMap::len).sum();
    let held: usize = world.held().values().map(BTreeMap::len).sum();
    assert_eq!(world.figures.expired_samples as usize, held - sent);
}

#[test]
fn selectors_and_labels_apply() {
    let mut world = World::new(
        "match = ['{__name__=~\"m1|m2\"}', 'm3{instance=\"1\"}']\nlabels = { collector = \"w\", instance = \"x\" }\n",
    );
    world.tick();
    let found: Vec<String> = world.engine.keys().map(ToString::to_string).collect();
    assert_eq!(found.len(), 5, "{found:?}");
    assert!(found.iter().all(|labels| labels.contains("collector=\"w\"") && !labels.contains("\"x\"")), "{found:?}");
}

#[test]
fn external_labels_come_before_the_rules_and_yield_to_the_entrys_own() {
    let external = [("collector", "x"), ("instance", "y"), ("replica", "a"), ("none", "")];
    let external = external.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut world = World::with(
        "labels = { collector = \"w\" }\nwrite_relabel_configs = [\n\
         { source_labels = [\"__name__\", \"replica\"], regex = \"m1[0-9];a|m2;a\", action = \"keep\" },\n\
         { source_labels = [\"__name__\"], regex = \"m11\", target_label = \"__name__\", replacement = \"\" },\n\
         { source_labels = [\"__name__\"], regex = \"m12\", target_label = \"__name__\", replacement = \"renamed\" }]\n",
        &BTreeMap::from(external),
    );
    (0..3).for_each(|_| world.tick());
    let mut expected: Vec<String> = (0..2)
        .flat_map(|node| {
            let names = ["m2", "m10", "renamed", "m13", "m14", "m15", "m16", "m17", "m18", "m19"];
            names.map(|name| format!("{name}{{collector=\"w\", instance=\"{node}\", replica=\"a\"}}"))
        })
        .collect();
    expected.sort();
    let mut found: Vec<String> = world.engine.keys().map(ToString::to_string).collect();
    found.sort();
    assert_eq!(found, expected);
    assert!(world.engine.values().all(|points| points.len() == 3));
    assert_eq!(world.figures.sent_samples, 60);
}

#[test]
fn cursors_survive_their_bytes_and_nothing_else_does() {
    let mut world = World::new("");
    (0..5).for_each(|_| world.tick());
    let bytes = world.saved.unwrap();
    let cursors = Cursors::decode(&bytes).unwrap();
    assert_eq!(cursors.encode(), bytes);
    for length in 0..bytes.len() {
        assert_eq!(Cursors::decode(&bytes[..length]), None);
    }
}

#[test]
fn every_mistake_of_an_entry_is_told_at_its_place() {
    let text = "[[remote_write]]\nurl = \"ftp://x\"\ntimout = \"1s\"\nsend_every = \"1ms\"\nmatch = [\"{\"]\nlabels = { \"a-b\" = \"1\" }\nwrite_relabel_configs = [{ action = \"kep\", regex = \"(\" }]\nbasic_auth = { username = \"u\" }\nbearer_token = \"t\"\n";
    let mut report = Report::new("collector.toml");
    let root = toml::parse(text, &mut report).unwrap();
    let document::Value::Table(entries) = root.value else { panic!() };
    let document::Value::List(items) = &entries[0].1.value else { panic!() };
    check(&items[0], &mut report);
    let mistakes: Vec<String> = report.into_mistakes().iter().map(ToString::to_string).collect();
    let starts = [
        "collector.toml:2:7: expected a URL that begins with http:// or https://",
        "collector.toml:3:1: unknown key `timout`, did you mean `timeout`?",
        "collector.toml:4:14: 1ms is not between 100ms and 1h",
        "collector.toml:5:10: ",
        "collector.toml:6:10: `a-b` is no label name",
        "collector.toml:7:37: unknown word \"kep\", did you mean `keep`?",
        "collector.toml:7:52: invalid regular expression \"(\": missing closing ): `(`",
        "collector.toml:9:1: at most one of basic_auth, bearer_token may be set",
    ];
    assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
    for (mistake, start) in mistakes.iter().zip(starts) {
        assert!(mistake.starts_with(start), "{mistake}");
    }
    let entries: Vec<_> = ["a.toml", "b.toml"].map(|file| (file.to_owned(), items[0].clone())).into();
    assert!(read_all(&entries, &BTreeMap::new()).is_err());
}
