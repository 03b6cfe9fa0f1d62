//! Availability against examples that can be reckoned by hand, and against an oracle that looks at every second.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use watchfire_shared::member::{NodeId, Role};

use super::*;
use crate::history::{Change, Source};

const DAY: i64 = 86_400;
const DIED: &str = "ended the agent was killed or crashed, the host stayed up";

fn at(second: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + second * 1000)
}

fn policy() -> Policy {
    Policy::new(Span::from_seconds(900))
}

fn change(second: i64, source: Source, state: &str) -> Change {
    let (state, reason) = state.split_once(' ').unwrap_or((state, ""));
    let (state, reason) = (state.to_owned(), reason.to_owned());
    Change { at: at(second), id: NodeId(7), role: Role::Agent, source, state, reason }
}

fn of_collector(second: i64, state: &str) -> Change {
    Change { role: Role::Collector, ..change(second, Source::Collector, state) }
}

/// A day of a node, by what was said of it, and by what the collector said of itself.
fn day(said: &[(i64, Source, &str)], seeing: &[(i64, &str)]) -> Tally {
    let changes: Vec<Change> = said.iter().map(|(second, source, state)| change(*second, *source, state)).collect();
    let seeing: Vec<Change> = seeing.iter().map(|(second, state)| of_collector(*second, state)).collect();
    let subject = Subject { changes: &changes, is_ephemeral: false, journal_until: Some(at(DAY)) };
    let window = Window { from: at(0), to: at(DAY) };
    Tally::of("web-1", &timeline(&subject, Witness(&seeing), window, policy()), window, policy())
}

fn percent(ratio: Option<f64>) -> f64 {
    (ratio.unwrap_or(f64::NAN) * 100_000.0).round() / 1000.0
}

#[test]
fn short_blips_count_with_their_own_length() {
    let mut said = vec![(0, Source::Peers, "alive")];
    for blip in 1..=10 {
        said.extend([(blip * 3600, Source::Peers, "down silent"), (blip * 3600 + 40, Source::Peers, "alive")]);
    }
    let figures = day(&said, &[]).figures();
    assert_eq!((percent(figures.availability_ratio), figures.outages), (99.537, 10));
    assert_eq!((figures.mttr_seconds, figures.mttf_seconds), (Some(40.0), Some((DAY - 400) as f64 / 10.0)));
    assert_eq!(figures.mtbf_seconds, Some(8640.0));
}

#[test]
fn maintenance_counts_for_nothing() {
    for (hours, down, expected) in [(2, 300, 99.621), (12, 1800, 95.833)] {
        let said = [
            (0, Source::Peers, "alive"),
            (3600, Source::Operator, "maintenance"),
            (3700, Source::Peers, "down silent"),
            (3600 + hours * 3600, Source::Operator, "in_service"),
            (3600 + hours * 3600, Source::Peers, "alive"),
            (80_000, Source::Peers, "down silent"),
            (80_000 + down, Source::Peers, "alive"),
        ];
        let tally = day(&said, &[]);
        let figures = tally.figures();
        assert_eq!((percent(figures.availability_ratio), figures.outages), (expected, 1));
        assert_eq!((figures.maintenance_seconds, tally.unknown), ((hours * 3600) as f64, 0));
    }
}

#[test]
fn a_blind_collector_claims_nothing_of_what_it_did_not_see() {
    let said = [(0, Source::Peers, "alive"), (0, Source::Collector, "reporting")];
    let figures = day(&said, &[(0, "running"), (3600, "away"), (4 * 3600, "running")]).figures();
    let shown = [figures.availability_ratio, figures.coverage_ratio, figures.lower_ratio, figures.upper_ratio];
    assert_eq!(shown.map(percent), [100.0, 87.5, 87.5, 100.0]);
}

#[test]
fn an_agents_journal_fills_in_what_the_collector_missed() {
    let said = [
        (0, Source::Agent, "running"),
        (0, Source::Peers, "alive"),
        (3600, Source::Agent, "cut_off"),
        (2 * 3600, Source::Agent, "ended"),
        (3 * 3600, Source::Agent, "running"),
    ];
    let figures = day(&said, &[(0, "running"), (3600, "away"), (4 * 3600, "blind"), (5 * 3600, "running")]).figures();
    assert_eq!((percent(figures.availability_ratio), percent(figures.coverage_ratio)), (95.833, 100.0));
    assert_eq!((figures.outages, figures.mttr_seconds), (1, Some(3600.0)));
}

#[test]
fn a_dead_agent_is_no_dead_node() {
    let said = [(0, Source::Peers, "alive"), (3600, Source::Peers, "down refused"), (7200, Source::Peers, "alive")];
    let tally = day(&said, &[]);
    assert_eq!((tally.down, tally.degraded, tally.outages.len()), (0, 3_600_000, 0));
    // The same while the collector was away, by the agent's own journal.
    let said = [(0, Source::Agent, "running"), (3600, Source::Agent, DIED), (7200, Source::Agent, "running")];
    let away = day(&said, &[(0, "away")]);
    assert_eq!((away.down, away.degraded, away.unknown), (0, 3_600_000, 0));
    assert_eq!(percent(tally.figures().availability_ratio), 100.0);
}

#[test]
fn a_stop_is_unknown_within_the_grace_and_down_after_it() {
    let said = [(0, Source::Peers, "alive"), (3600, Source::Peers, "left"), (3600 + 1000, Source::Peers, "alive")];
    let tally = day(&said, &[]);
    assert_eq!((tally.unknown, tally.down), (900_000, 100_000));
}

#[test]
fn a_node_counts_from_when_it_was_first_seen_until_it_is_decommissioned() {
    let said = [
        (3600, Source::Peers, "alive"),
        (7200, Source::Peers, "down silent"),
        (7260, Source::Operator, "decommissioned"),
    ];
    let tally = day(&said, &[]);
    assert_eq!((tally.up, tally.down, tally.unknown), (3_600_000, 60_000, 0));
    let again = [said[0], said[1], said[2], (DAY - 10, Source::Peers, "alive")];
    assert_eq!(day(&again, &[]).up, 3_610_000);
}

#[test]
fn without_an_outage_no_time_between_outages_is_claimed() {
    let figures = day(&[(0, Source::Peers, "alive")], &[]).figures();
    assert_eq!((figures.mtbf_seconds, figures.mttr_seconds, figures.failures_per_hour_high), (None, None, None));
    assert_eq!(figures.mtbf_exceeds_seconds, Some(DAY as f64 / 3.0));
    assert_eq!(Tally::default().figures().availability_ratio, None);
}

#[test]
fn confidence_intervals_are_those_of_a_poisson_process() {
    // Five outages in a thousand hours: Ulm's interval, chi-square of 10 and of 12 degrees over twice the time.
    let outage = Outage { node: "a".into(), from: at(0), to: None, down: 0 };
    let tally = Tally { nodes: 1, up: 3_600_000_000, outages: vec![outage; 5], ..Tally::default() };
    let figures = tally.figures();
    let rounded = |rate: Option<f64>| (rate.unwrap() * 1e6).round() / 1e3;
    assert_eq!(rounded(figures.failures_per_hour), 5.0);
    assert_eq!([figures.failures_per_hour_low, figures.failures_per_hour_high].map(rounded), [1.623, 11.668]);
}

/// Everything that can be said, in whole seconds.
struct Case {
    said: Vec<Change>,
    seeing: Vec<Change>,
    is_ephemeral: bool,
    journal_until: Option<i64>,
    window: (i64, i64),
}

fn random_case(rng: &mut StdRng) -> Case {
    const STATES: [(Source, &[&str]); 4] = [
        (Source::Peers, &["alive", "alive", "down silent", "down refused", "down", "left"]),
        (Source::Collector, &["reporting", "silent"]),
        (Source::Agent, &["running", "cut_off", "suspended", "stopped", "ended the host went down", DIED]),
        (Source::Operator, &["maintenance", "in_service", "in_service", "decommissioned"]),
    ];
    let mut said = Vec::new();
    for (source, states) in STATES {
        let mut second = rng.random_range(0..40);
        for _ in 0..rng.random_range(0..8) {
            said.push(change(second, source, states[rng.random_range(0..states.len())]));
            second += rng.random_range(1..50);
        }
    }
    let mut seeing = Vec::new();
    let mut second = rng.random_range(0..20);
    for _ in 0..rng.random_range(0..6) {
        seeing.push(of_collector(second, ["running", "running", "away", "blind"][rng.random_range(0..4)]));
        second += rng.random_range(1..60);
    }
    said.sort_by_key(|change| (change.at, change.source));
    let from = rng.random_range(0..60);
    Case {
        said,
        seeing,
        is_ephemeral: rng.random_bool(0.2),
        journal_until: rng.random_bool(0.8).then(|| rng.random_range(0..300)),
        window: (from, from + rng.random_range(1..250)),
    }
}

/// The last word of a source until a second, as an index into the case's list.
fn last(changes: &[Change], source: Source, second: i64) -> Option<&Change> {
    changes.iter().rfind(|change| change.source == source && change.at <= at(second))
}

const GRACE: i64 = 30;

/// What a node is in one second, from all that was said until then, afresh.
fn oracle(case: &Case, second: i64) -> char {
    let word = |source| last(&case.said, source, second).map(|own| own.state.as_str());
    if word(Source::Operator) == Some("maintenance") {
        return 'm';
    }
    if !case.said.iter().any(|own| own.at <= at(second)) {
        return 'x';
    }
    let decommissioned = last(&case.said, Source::Operator, second).filter(|own| own.state == "decommissioned");
    let order = |own: &Change| (own.at, own.source);
    let seen_after = |gone: &Change| {
        let seen = |own: &&Change| matches!(own.state.as_str(), "alive" | "reporting" | "running");
        case.said.iter().filter(seen).any(|own| own.at <= at(second) && order(own) > order(gone))
    };
    if decommissioned.is_some_and(|gone| !seen_after(gone)) {
        return 'x';
    }
    let overdue = |own: &Change| at(second).since(own.at).as_millis() >= GRACE * 1000;
    let sees = last(&case.seeing, Source::Collector, second).is_none_or(|own| own.state == "running");
    let peers = last(&case.said, Source::Peers, second);
    let journal = last(&case.said, Source::Agent, second);
    let silent = word(Source::Collector) == Some("silent");
    let stop = |own: &Change| if overdue(own) { 'd' } else { 'u' };
    let told = if sees {
        match peers {
            Some(own) if own.state == "alive" => {
                if silent {
                    'g'
                } else {
                    'U'
                }
            }
            Some(own) if own.state == "left" => stop(own),
            Some(own) => {
                if own.reason == "refused" {
                    'g'
                } else {
                    'd'
                }
            }
            None if silent => 'd',
            None if word(Source::Collector).is_some() => 'U',
            None => 'u',
        }
    } else {
        match journal.filter(|_| case.journal_until.is_some_and(|until| second < until)) {
            Some(own) if own.state == "running" || own.state == "cut_off" => 'U',
            Some(own) if own.state == "stopped" => stop(own),
            Some(own) if format!("{} {}", own.state, own.reason) == DIED => 'g',
            Some(_) => 'd',
            None => 'u',
        }
    };
    let stopped = peers.is_some_and(|own| own.state == "left") || journal.is_some_and(|own| own.state == "stopped");
    match told {
        'd' if case.is_ephemeral => 'x',
        'u' if case.is_ephemeral && stopped => 'x',
        told => told,
    }
}

/// Outages, counted second by second.
fn count_outages(seconds: &[char], gap: usize) -> usize {
    let (mut outages, mut up_since) = (0, usize::MAX);
    for second in seconds {
        match second {
            'd' => {
                outages += usize::from(up_since >= gap);
                up_since = 0;
            }
            'U' | 'g' => up_since = up_since.saturating_add(1),
            _ => {}
        }
    }
    outages
}

#[test]
fn ten_thousand_histories_agree_with_a_look_at_every_second() {
    let mut rng = StdRng::seed_from_u64(2);
    let mut outages = 0;
    for number in 0..10_000 {
        let case = random_case(&mut rng);
        let policy =
            Policy { merge_gap: Span::from_seconds(rng.random_range(0..20)), ..Policy::new(Span::from_seconds(GRACE)) };
        let (from, to) = case.window;
        let window = Window { from: at(from), to: at(to) };
        let subject =
            Subject { changes: &case.said, is_ephemeral: case.is_ephemeral, journal_until: case.journal_until.map(at) };
        let segments = timeline(&subject, Witness(&case.seeing), window, policy);
        assert!(segments.windows(2).all(|pair| pair[0].to == pair[1].from && pair[0].condition != pair[1].condition));
        assert_eq!((segments[0].from, segments[segments.len() - 1].to), (window.from, window.to));
        let tally = Tally::of("a", &segments, window, policy);
        let seconds: Vec<char> = (from..to).map(|second| oracle(&case, second)).collect();
        let count = |kinds: &str| 1000 * seconds.iter().filter(|second| kinds.contains(**second)).count() as i64;
        let found = [tally.up, tally.degraded, tally.down, tally.unknown, tally.maintenance];
        let text: String = seconds.iter().collect();
        assert_eq!(found, ["Ug", "g", "d", "u", "m"].map(count), "history {number}: {text}\n{:?}", case.said);
        let gap = usize::try_from(policy.merge_gap.as_millis() / 1000).unwrap().max(1);
        assert_eq!(tally.outages.len(), count_outages(&seconds, gap), "history {number}: {text}");
        assert_eq!(tally.outages.iter().map(|own| own.down).sum::<i64>(), tally.down);
        let figures = tally.figures();
        if let (Some(mttf), Some(mttr)) = (figures.mttf_seconds, figures.mttr_seconds) {
            let (lambda, mu) = (mttf.recip(), mttr.recip());
            let share = if mttf == 0.0 { 0.0 } else { mu / (lambda + mu) };
            assert!((share - figures.availability_ratio.unwrap()).abs() < 1e-9);
        }
        let bounds = figures.lower_ratio.zip(figures.upper_ratio).zip(figures.availability_ratio);
        assert!(bounds.is_none_or(|((low, high), own)| low <= own + 1e-12 && own <= high + 1e-12));
        outages += tally.outages.len();
    }
    assert!(outages > 5_000, "the histories hold too few outages to prove anything: {outages}");
}
