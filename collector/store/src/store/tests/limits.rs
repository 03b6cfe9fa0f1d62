//! What is refused, by name, and that everything else goes on.

use watchfire_shared::frame::body::BodyError;
use watchfire_shared::frame::message::Position;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Span;

use super::world::{World, content_of, dict, labels, live, small_segments};
use crate::{AppendError, DictionaryError, Options, Refusal, RefusedSlot, Source};

fn refusals(error: DictionaryError) -> Vec<(u32, Refusal)> {
    match error {
        DictionaryError::Refused(refused) => refused.iter().map(|refused| (refused.slot, refused.reason)).collect(),
        other => panic!("{other}"),
    }
}

fn add(world: &mut World, source: &Source, dict_id: u32, base: bool, series: &[(u32, Labels)]) -> Vec<(u32, Refusal)> {
    let labels: Vec<Labels> = series.iter().map(|(_, labels)| labels.clone()).collect();
    world.store.set_dictionary(source, &dict(dict_id, base, series, vec![]), &labels).err().map_or(vec![], refusals)
}

#[test]
fn a_dictionary_above_a_limit_is_named_and_the_rest_is_kept() {
    let options =
        Options { max_series: 5, max_series_per_source: 4, max_dictionary_bytes_per_source: 200, ..small_segments() };
    let mut world = World::new(options);
    let series =
        |numbers: std::ops::Range<u32>| -> Vec<_> { numbers.map(|i| (i, labels(&format!("m{i}"), 1))).collect() };
    assert_eq!(add(&mut world, &live(1), 1, true, &series(0..3)), []);
    let more = [
        (3, labels("m0", 1)),
        (2, labels("m9", 1)),
        (4, labels("m4", 1)),
        (3, Labels::default()),
        (3, labels(&"x".repeat(200), 1)),
        (3, labels("m3", 1)),
    ];
    let expected = [
        (3, Refusal::SameLabels),
        (2, Refusal::SlotTaken),
        (4, Refusal::SlotRange),
        (3, Refusal::NoLabels),
        (3, Refusal::DictionaryBytes),
    ];
    assert_eq!(add(&mut world, &live(1), 2, false, &more), expected);
    assert_eq!(
        add(&mut world, &live(2), 1, true, &[(0, labels("m0", 2)), (1, labels("m1", 2))]),
        [(1, Refusal::TotalQuota)]
    );
    assert_eq!(add(&mut world, &live(2), 2, false, &[(1, labels("m3", 1))]), [], "a known series costs nothing");
    assert_eq!(world.store.stats().series, 5);

    // A new start frees what had no data.
    assert_eq!(add(&mut world, &live(1), 7, true, &series(0..1)), []);
    assert_eq!(world.store.stats().series, 3);
}

#[test]
fn a_refused_slot_is_ignored_in_frames() {
    let mut world = World::new(Options { max_series: 1, ..small_segments() });
    world.connect(&live(1), vec![Some(labels("a", 1))]);
    assert_eq!(add(&mut world, &live(1), 2, false, &[(1, labels("b", 1))]), [(1, Refusal::TotalQuota)]);
    world.connect(&live(1), vec![Some(labels("a", 1))]);
    world.tick(&live(1), |_| 3.0);
    world.check();
}

#[test]
fn dictionaries_follow_each_other() {
    let mut world = World::new(small_segments());
    let one = [(0, labels("a", 1))];
    let set = |world: &mut World, source: &Source, id, base| {
        world.store.set_dictionary(source, &dict(id, base, &one, vec![]), &[labels("a", 1)])
    };
    assert_eq!(set(&mut world, &live(1), 2, false), Err(DictionaryError::OutOfOrder { last: 0, found: 2 }));
    assert_eq!(set(&mut world, &live(1), 5, true), Ok(()));
    assert_eq!(set(&mut world, &live(1), 7, false), Err(DictionaryError::OutOfOrder { last: 5, found: 7 }));
    assert_eq!(set(&mut world, &Source::Local("x".into()), 1, true), Err(DictionaryError::Local));
    let nothing = world.store.set_dictionary(&live(1), &dict(6, false, &one, vec![]), &[]);
    assert_eq!(nothing, Err(DictionaryError::LabelCount { entries: 1, labels: 0 }));
}

#[test]
fn frames_that_do_not_fit_are_refused_and_need_a_keyframe() {
    let mut world = World::new(small_segments());
    let source = live(1);
    let (position, now) = (Position { epoch: 1, seq: 1 }, world.now);
    world.connect(&source, vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    let (_, first) = world.frame(&source, |_| 1.0);
    let append = |world: &mut World, position, data: &_| {
        world.now += Span::from_seconds(1);
        world.store.append(&source, position, world.now, data)
    };
    assert_eq!(world.store.append(&live(9), position, now, &first), Err(AppendError::NeedsDictionary));
    let mut delta = first.clone();
    delta.keyframe = false;
    assert_eq!(append(&mut world, position, &delta), Err(AppendError::NeedsKeyframe));
    let mut short = first.clone();
    short.n = 1;
    assert_eq!(append(&mut world, position, &short), Err(AppendError::SlotCount { expected: 2, found: 1 }));
    let mut other = first.clone();
    other.dict_id = 9;
    assert_eq!(append(&mut world, position, &other), Err(AppendError::OtherDictionary { expected: 1, found: 9 }));
    let mut torn = first.clone();
    torn.body.pop();
    assert_eq!(append(&mut world, position, &torn), Err(AppendError::Malformed(BodyError::Truncated)));
    assert_eq!(append(&mut world, position, &first), Ok(()));

    assert_eq!(append(&mut world, position, &first), Err(AppendError::Duplicate { position, last: position }));
    let mut quiet = delta;
    quiet.body = vec![0];
    let next = Position { epoch: 1, seq: 2 };
    assert_eq!(append(&mut world, Position { epoch: 1, seq: 3 }, &quiet), Err(AppendError::NeedsKeyframe), "a gap");
    assert_eq!(append(&mut world, next, &quiet), Err(AppendError::NeedsKeyframe));
    assert_eq!(append(&mut world, next, &first), Ok(()));
    let last = world.now;
    assert_eq!(
        world.store.append(&source, Position { epoch: 1, seq: 3 }, last, &first),
        Err(AppendError::NotAfter { at: last, last })
    );
    let content = content_of(&world.store.snapshot());
    assert_eq!(content.values().map(|points| points.len()).collect::<Vec<_>>(), [2, 2], "nothing else was taken");
}

#[test]
fn local_series_are_refused_as_others_are() {
    let mut world = World::new(Options { max_series: 2, ..small_segments() });
    let sample = |i: u64| (labels("m", i), i as f64);
    let twice = world.store.append_local("x", world.now, &[sample(1), sample(1)]);
    assert_eq!(twice, Err(AppendError::SameLabels(labels("m", 1))));
    let error = world.store.append_local("x", world.now, &[sample(1), sample(2), sample(3)]);
    let refused = vec![RefusedSlot { slot: 2, labels: labels("m", 3), reason: Refusal::TotalQuota }];
    assert_eq!(error, Err(AppendError::Refused(refused)));
    let last = world.now;
    assert_eq!(world.store.append_local("x", last, &[sample(1)]), Err(AppendError::NotAfter { at: last, last }));
    assert_eq!(world.store.append_local("y", last, &[]), Ok(()));
    assert_eq!(world.store.sources().count(), 1, "a tick without series leaves no trace");
    assert_eq!(content_of(&world.store.snapshot()).len(), 2);
    assert_eq!(world.store.pending().oldest, Some(last));
}

#[test]
fn what_is_essential_is_admitted_where_others_have_taken_all_that_is_theirs() {
    let essential = |labels: &Labels| labels.metric_name().starts_with("node_");
    let options = Options { max_series: 60, max_series_per_source: 40, essential, ..small_segments() };
    let mut world = World::new(options);
    let series = |name: &str, node: u64, slots: std::ops::Range<u32>| -> Vec<_> {
        slots.map(|i| (i, labels(&format!("{name}{i}"), node))).collect()
    };
    let refused = add(&mut world, &live(1), 1, true, &series("other", 1, 0..39));
    assert_eq!(refused, [(38, Refusal::SourceQuota)], "two of forty are kept free");
    // In one message they come first, in whatever order they are.
    let mut both = series("other", 1, 38..39);
    both.extend(series("node_", 1, 39..40));
    assert_eq!(add(&mut world, &live(1), 2, false, &both), [(38, Refusal::SourceQuota)]);
    let refused = add(&mut world, &live(2), 1, true, &series("other", 2, 0..20));
    assert_eq!(refused, [(18, Refusal::TotalQuota), (19, Refusal::TotalQuota)], "three of sixty are kept free");
    assert_eq!(add(&mut world, &live(2), 2, false, &series("node_", 2, 20..22)), []);
    assert_eq!(world.store.room_for_series(), 0);
    world.local("own", &[(labels("up", 1), 1.0)]);
    assert_eq!(world.store.stats().series, 60);
    let refused = add(&mut world, &live(2), 3, false, &series("node_", 2, 22..23));
    assert_eq!(refused, [(22, Refusal::TotalQuota)], "the limit holds for everybody");
}
