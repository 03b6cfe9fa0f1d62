//! Every history of one label set, up to a length: what is promised holds in all of them.

use watchfire_shared::labels::Fingerprint;

use super::super::saved;
use super::*;

/// What one evaluation meets.
#[derive(Clone, Copy, Debug)]
struct Meets {
    present: bool,
    fresh: bool,
}

const EVERY: Span = Span::from_seconds(10);
const LENGTH: u32 = 6;

/// Plays a history; after each step `look` sees the time, what was met, the alert before and after, and the step.
fn play(
    rule: &AlertRule,
    number: u32,
    restart: bool,
    mut look: impl FnMut(Timestamp, Meets, Option<&ActiveAlert>, Option<&ActiveAlert>, &Step),
) {
    let labels = Labels::new([(ALERT_NAME, "A"), ("x", "1")]);
    let (mut alerts, mut records) = (Alerts::new(), BTreeMap::new());
    for index in 0..LENGTH {
        let bits = number >> (2 * index) & 3;
        let meets = Meets { present: bits & 1 > 0, fresh: bits & 2 > 0 };
        let at = Timestamp::EPOCH + EVERY * (i64::from(index) + 1);
        let found = Found { labels: labels.clone(), annotations: Labels::default(), value: 1.0 };
        let found = if meets.present { vec![found] } else { Vec::new() };
        let before = alerts.get(&labels).cloned();
        let done = step(&mut alerts, found, rule, Circumstances { at, fresh: meets.fresh, limit: 0 }).unwrap();
        for change in done.changed.iter().map(|labels| saved::save(Fingerprint(7), &alerts[labels])) {
            records.insert(change.key, change.value.unwrap());
        }
        for labels in &done.gone {
            records.remove(&saved::key(Fingerprint(7), labels));
        }
        look(at, meets, before.as_ref(), alerts.get(&labels), &done);
        if restart {
            let loaded = records.iter().map(|(key, value)| saved::load(key, value).unwrap());
            let loaded: Alerts = loaded.map(|(_, alert)| (alert.labels.clone(), alert)).collect();
            assert_eq!(loaded, alerts, "history {number:b} restored after {at}");
            alerts = loaded;
        }
    }
}

fn in_every_history(hold: i64, keep: i64, check: impl Fn(&AlertRule, u32)) {
    let rule = AlertRule {
        hold: Span::from_seconds(hold),
        keep_firing_for: Span::from_seconds(keep),
        annotations: BTreeMap::new(),
    };
    (0..1 << (2 * LENGTH)).for_each(|number| check(&rule, number));
}

#[test]
fn it_fires_after_its_hold_and_not_before_and_never_while_blind() {
    for (hold, keep) in [(0, 0), (20, 0), (20, 20), (25, 15)] {
        in_every_history(hold, keep, |rule, number| {
            play(rule, number, false, |at, meets, before, after, step| {
                let was = before.map(|alert| alert.state);
                let is = after.map(|alert| alert.state);
                let fires = is == Some(State::Firing) && was != Some(State::Firing);
                let held = after.is_some_and(|alert| at.since(alert.active_at) >= rule.hold);
                let pending = was != Some(State::Firing) && meets.present;
                assert_eq!(fires, pending && held && meets.fresh, "{number:b} at {at}");
                let resolves = is == Some(State::Resolved) && was == Some(State::Firing);
                assert!(!resolves || (meets.fresh && !meets.present), "{number:b} at {at}");
                let words: Vec<bool> = step.updates.iter().map(|alert| alert.ends_at.is_some()).collect();
                let expected = if fires { vec![false] } else { vec![true; usize::from(resolves)] };
                assert_eq!(words, expected, "{number:b} at {at}");
            });
        });
    }
}

#[test]
fn while_blind_what_is_absent_stays_as_it_is() {
    in_every_history(20, 20, |rule, number| {
        play(rule, number, false, |at, meets, before, after, step| {
            if !meets.fresh && !meets.present {
                assert_eq!(before, after, "{number:b} at {at}");
                assert_eq!(*step, Step::default(), "{number:b} at {at}");
            }
        });
    });
}

#[test]
fn what_was_saved_is_the_whole_state() {
    for (hold, keep) in [(0, 0), (20, 20)] {
        in_every_history(hold, keep, |rule, number| play(rule, number, true, |_, _, _, _, _| {}));
    }
}

#[test]
fn a_firing_alert_holds_for_as_long_as_its_rule_says_and_no_longer() {
    in_every_history(0, 20, |rule, number| {
        let mut absent_since = None;
        play(rule, number, false, |at, meets, before, after, _| {
            let firing = before.is_some_and(|alert| alert.state == State::Firing);
            match (meets.present, meets.fresh) {
                (true, _) => absent_since = None,
                (false, true) if firing => {
                    let since = *absent_since.get_or_insert(at);
                    let still = after.is_some_and(|alert| alert.state == State::Firing);
                    assert_eq!(still, at.since(since) < rule.keep_firing_for, "{number:b} at {at}");
                }
                _ => {}
            }
        });
    });
}
