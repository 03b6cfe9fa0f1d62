//! Series that have the same labels once they are relabelled.

use super::*;

/// `m10` to `m19` of a node are one series.
const JOIN: &str = "write_relabel_configs = [{ source_labels = [\"__name__\"], regex = \"m1.\", \
                    target_label = \"__name__\", replacement = \"joined\" }]\n";

/// What the engine has to have: of the joined series that one which is the first by its labels.
fn expected(world: &World) -> Content {
    let mut held = world.held();
    let joined = (0..2).map(|node| (labels("joined", node), held[&labels("m10", node)].clone())).collect::<Vec<_>>();
    held.retain(|labels, _| labels.metric_name().len() < 3);
    held.extend(joined);
    held
}

#[test]
fn series_that_become_one_lose_only_the_second_of_two_samples() {
    let mut world = World::new(&format!("batch_samples = 100\n{JOIN}"));
    (0..30).for_each(|_| world.tick());
    world.settle();
    assert_eq!(world.engine, expected(&world));
    assert_eq!(world.figures.sent_samples, 30 * 2 * 11);
    assert_eq!((world.figures.duplicate_samples, world.figures.repeated_samples), (30 * 2 * 9, 0));
    assert_eq!(world.facts.len(), 1, "it is said once: {:?}", world.facts);
    let told = format!("{:?}", world.facts[0]);
    let (kept, dropped) = (labels("m10", 0).to_string(), labels("m11", 0).to_string());
    assert!(told.contains(&format!("{kept:?}")) && told.contains(&format!("{dropped:?}")), "{told}");
}

/// From memory and from blocks, and what is sent again, is of the same series: `resend` changes nothing.
#[test]
fn the_same_one_of_them_is_sent_wherever_its_rows_are() {
    let mut world = World::new(&format!("resend = \"5m\"\n{JOIN}"));
    (0..20).for_each(|_| world.tick());
    world.say = gone;
    (0..200).for_each(|_| world.tick());
    assert!(world.store.stats().blocks > 0);
    world.say = takes;
    world.settle();
    assert_eq!(world.engine, expected(&world));
}

#[test]
fn one_that_ends_does_not_end_the_others() {
    let mut world = World::new(JOIN);
    let pair = [(labels("m10", 7), 1.0), (labels("m11", 7), 2.0)];
    world.store.append_local("pair", world.now + Span::from_seconds(1), &pair).unwrap();
    world.store.append_local("pair", world.now + Span::from_seconds(2), &pair[1..]).unwrap();
    world.store.append_local("pair", world.now + Span::from_seconds(3), &[]).unwrap();
    world.tick();
    world.settle();
    let values: Vec<f64> = world.engine[&labels("joined", 7)].values().map(|bits| f64::from_bits(*bits)).collect();
    assert_eq!(values[..2], [1.0, 2.0]);
    assert!(watchfire_shared::sample::is_stale(values[2]) && values.len() == 3);
    assert_eq!(world.figures.left_out_samples, 1, "the marker of the first");
}

/// Labels that are added make two series one, without any rule.
#[test]
fn added_labels_join_series_too() {
    let mut world = World::new("labels = { replica = \"a\" }\n");
    let named = Labels::new([("__name__", "own"), ("replica", "a")]);
    let samples = [(Labels::new([("__name__", "own")]), 1.0), (named.clone(), 2.0)];
    world.store.append_local("own", world.now + Span::from_seconds(1), &samples).unwrap();
    world.tick();
    assert_eq!(world.engine[&named].values().map(|bits| f64::from_bits(*bits)).collect::<Vec<_>>(), [1.0]);
    assert_eq!(world.figures.duplicate_samples, 1);
}

/// Series of two nodes are one, in rows that are not in one request: the engine has one's when the other's come, and a
/// Prometheus without a window refuses the whole request.
#[test]
fn what_an_engine_refuses_of_joined_series_costs_the_others_of_their_rows_nothing() {
    let rule = "write_relabel_configs = [{ source_labels = [\"__name__\"], regex = \"m0\", \
                target_label = \"instance\", replacement = \"all\" }]\n";
    let mut world = World::new(&format!("batch_samples = 100\n{rule}"));
    world.is_strict = true;
    world.say = gone;
    (0..30).for_each(|_| world.tick());
    world.say = takes;
    world.settle();
    let mut held = world.held();
    let joined = labels("m0", 0).with("instance", "all");
    let (first, second) = (held.remove(&labels("m0", 0)).unwrap(), held.remove(&labels("m0", 1)).unwrap());
    let sent = world.engine.remove(&joined).unwrap();
    assert_eq!(world.engine, held);
    assert!(sent.iter().all(|(at, bits)| first.get(at) == Some(bits) || second.get(at) == Some(bits)));
    // Each sample was taken, as a second one of the same value too, or is counted.
    let counted = world.figures.refused_samples + world.figures.duplicate_samples + world.figures.repeated_samples;
    assert!(counted > 0 && world.figures.sent_samples + counted == 30 * 2 * 20, "{:?}", world.figures);
}
