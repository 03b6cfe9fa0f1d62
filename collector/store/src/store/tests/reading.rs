//! What a snapshot answers.

use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::sample::is_stale;
use watchfire_shared::time::{Span, Timestamp};

use super::world::{World, labels, live, small_segments};
use crate::Newest;

#[test]
fn a_range_includes_both_ends_in_chunks_and_tail() {
    let mut world = World::new(small_segments());
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    let start = world.now;
    for i in 0..130 {
        world.tick(&live(1), |slot| f64::from(i) + slot as f64 / 2.0);
    }
    let snapshot = world.store.snapshot();
    let at = |i: i64| start + Span::from_seconds(10 * (i + 1));
    for (from, to) in [(0, 0), (0, 129), (59, 60), (60, 60), (118, 121), (125, 129), (-5, 3), (129, 200)] {
        let selected = snapshot.select(&[Matcher::equal("__name__", "b")], at(from), at(to));
        let expected: Vec<i64> = (from.max(0)..=to.min(129)).collect();
        assert_eq!(selected.len(), 1);
        assert_eq!(selected[0].labels, labels("b", 1));
        assert_eq!(*selected[0].times, expected.iter().map(|i| at(*i).as_millis()).collect::<Vec<_>>());
        assert_eq!(selected[0].values, expected.iter().map(|i| *i as f64 + 0.5).collect::<Vec<_>>());
    }
    assert_eq!(snapshot.select(&[], at(200), at(300)), []);
    assert_eq!(snapshot.select(&[Matcher::equal("instance", "other")], at(0), at(10)), []);
    let both = snapshot.select(&[Matcher::equal("instance", "node-1")], at(0), at(129));
    assert!(std::sync::Arc::ptr_eq(&both[0].times, &both[1].times), "series of one source share their times");
}

#[test]
fn names_values_and_series_are_those_with_points_in_the_range() {
    let mut world = World::new(small_segments());
    world.connect(&live(1), vec![Some(labels("a", 1))]);
    world.connect(&live(2), vec![Some(labels("b", 2))]);
    world.tick(&live(1), |_| 1.0);
    let middle = world.now;
    for _ in 0..70 {
        world.tick(&live(2), |_| 1.0);
    }
    let snapshot = world.store.snapshot();
    let (all, later) = ((Timestamp::MIN, Timestamp::MAX), (middle + Span::from_millis(1), Timestamp::MAX));
    assert_eq!(snapshot.label_names(&[], all.0, all.1), ["__name__", "instance", "job"]);
    assert_eq!(snapshot.label_values("instance", &[], all.0, all.1), ["node-1", "node-2"]);
    assert_eq!(snapshot.label_values("instance", &[], later.0, later.1), ["node-2"]);
    assert_eq!(snapshot.label_values("none", &[], all.0, all.1), Vec::<String>::new());
    assert_eq!(snapshot.series(&[], later.0, later.1), [labels("b", 2)]);
    let regex = Matcher::new("__name__", MatchOp::Regex, "a|c").unwrap();
    assert_eq!(snapshot.series(&[regex], all.0, all.1), [labels("a", 1)]);
    assert_eq!(snapshot.series(&[], Timestamp::MIN, middle - Span::from_millis(1)), []);
}

#[test]
fn the_newest_point_is_found_wherever_it_is() {
    let mut world = World::new(small_segments());
    world.connect(&live(1), vec![Some(labels("a", 1)), Some(labels("b", 1))]);
    world.tick(&live(1), |_| 7.0);
    world.change_slot(&live(1), 1, None);
    for _ in 0..65 {
        world.tick(&live(1), |_| 1.0);
    }
    let snapshot = world.store.snapshot();
    let newest = snapshot.newest(&[Matcher::equal("__name__", "a")]);
    assert_eq!(newest, [Newest { labels: labels("a", 1), at: world.now, value: 1.0 }]);
    let gone = snapshot.newest(&[Matcher::equal("__name__", "b")]);
    assert_eq!((gone.len(), gone[0].at), (1, world.now - Span::from_seconds(640)));
    assert!(is_stale(gone[0].value), "a removed series ends with a stale marker");
}

#[test]
fn a_silent_source_is_marked_stale_once_and_goes_on_afterwards() {
    let mut world = World::new(small_segments());
    world.connect(&live(1), vec![Some(labels("a", 1))]);
    assert_eq!(world.store.mark_stale(&live(1)), Ok(None), "there is nothing yet");
    assert_eq!(world.store.mark_stale(&live(9)), Ok(None), "it is unknown");
    world.tick(&live(1), |_| 1.0);
    let last = world.now;
    world.mark_stale(&live(1));
    assert_eq!(world.store.mark_stale(&live(1)), Ok(None));
    world.tick(&live(1), |_| 1.0);
    let selected = world.store.snapshot().select(&[], Timestamp::MIN, Timestamp::MAX);
    assert_eq!(*selected[0].times, [last, last + Span::from_millis(1), world.now].map(Timestamp::as_millis));
    assert_eq!(selected[0].values.iter().map(|value| is_stale(*value)).collect::<Vec<_>>(), [false, true, false]);
    world.check();
}

#[test]
fn snapshots_may_be_read_on_other_threads() {
    fn shared<T: Clone + Send + Sync + 'static>() {}
    shared::<crate::Snapshot>();
}
