//! What survives: restarts, blindness, reloads.

use super::*;

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - {alert: Slow, expr: x == 0, for: 40s, keep_firing_for: 20s}
      - {alert: Quick, expr: x == 0}
"#;

/// A story with a death, a recovery and a short dip; `restarts` names the seconds after which the collector is killed.
fn story(restarts: &[f64]) -> Vec<String> {
    let mut bench = Bench::new(RULES);
    let mut times: Vec<f64> = (0..14).map(|step| f64::from(step) * 15.0).collect();
    times.extend(restarts);
    times.sort_by(f64::total_cmp);
    for time in times {
        let down = (30.0..100.0).contains(&time) || (130.0..140.0).contains(&time);
        bench.run(time - 0.001);
        bench.put(r#"x{a="1"}"#, if down { 0.0 } else { 1.0 });
        bench.run(time);
        if restarts.contains(&time) {
            bench.restart();
            bench.see(true);
        }
    }
    bench.told()
}

#[test]
fn a_story_is_told_the_same_way_wherever_the_collector_is_killed() {
    let expected = [
        r#"30.000 firing Quick {a="1"}"#,
        r#"70.000 firing Slow {a="1"}"#,
        r#"105.000 resolved Quick {a="1"}"#,
        r#"125.000 resolved Slow {a="1"}"#,
        r#"135.000 firing Quick {a="1"}"#,
        r#"150.000 resolved Quick {a="1"}"#,
    ];
    assert_eq!(story(&[]), expected);
    for second in [1.0, 31.0, 44.0, 61.0, 69.0, 71.0, 90.5, 106.0, 124.0, 126.0, 136.0, 151.0] {
        assert_eq!(story(&[second]), expected, "killed at {second}");
    }
    assert_eq!(story(&[31.0, 61.0, 71.0, 106.0, 136.0]), expected);
}

#[test]
fn a_blind_collector_neither_fires_nor_resolves() {
    let mut bench = Bench::new(RULES);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(10.0);
    assert_eq!(bench.told(), [r#"0.000 firing Quick {a="1"}"#]);
    bench.restart();
    // Another one is down, and of the first nothing is known.
    bench.remove(r#"x{a="1"}"#);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(100.0);
    assert_eq!(bench.told(), [""; 0]);
    // Its first report shows what became of it; the other one has been down long enough.
    bench.put(r#"x{a="1"}"#, 1.0);
    bench.see(true);
    bench.run(104.0);
    assert_eq!(
        bench.told(),
        [r#"100.050 firing Slow {a="2"}"#, r#"100.050 resolved Quick {a="1"}"#, r#"100.050 firing Quick {a="2"}"#,]
    );
}

#[test]
fn a_reload_keeps_the_state_of_rules_that_are_still_there() {
    let mut bench = Bench::new(RULES);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(20.0);
    assert_eq!(bench.told(), [r#"0.000 firing Quick {a="1"}"#]);
    // An edited expression and other annotations are the same rule; `for` goes on.
    let edited = r#"
groups:
  - name: g
    rules:
      - {alert: Quick, expr: x <= 0, annotations: {summary: new}}
      - {alert: Slow, expr: x < 1, for: 40s}
"#;
    bench.reload(edited);
    bench.run(44.0);
    assert_eq!(bench.told(), [r#"20.050 firing Quick {a="1"}"#, r#"40.000 firing Slow {a="1"}"#]);
}

#[test]
fn alerts_of_a_rule_that_is_gone_are_resolved_and_their_series_end() {
    let mut bench = Bench::new(RULES);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(20.0);
    bench.told.clear();
    bench.reload("groups: [{name: g, rules: [{alert: Slow, expr: x == 0, for: 40s, keep_firing_for: 20s}]}]");
    assert_eq!(bench.told(), [r#"20.000 resolved Quick {a="1"}"#]);
    assert_eq!(bench.last("ALERTS"), [r#"ALERTS{a="1", alertname="Quick", alertstate="firing"} stale"#]);
    assert_eq!(bench.records.len(), 1);
    // The same while the collector was down.
    bench.rules = "groups: []".to_owned();
    bench.run(45.0);
    assert_eq!(bench.told(), [r#"40.000 firing Slow {a="1"}"#]);
    bench.restart();
    assert_eq!(bench.told(), [r#"45.000 resolved Slow {a="1"}"#]);
    assert!(bench.records.is_empty() && bench.set.deadline().is_none());
}

#[test]
fn the_result_of_a_job_from_before_a_reload_is_ignored() {
    let mut bench = Bench::new(RULES);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.memory.insert(Labels::new([("__name__", "x")]), bench.zero.as_millis(), 0.0);
    let mut out = Output::default();
    bench.set.wake(bench.zero, &mut out);
    let old = out.jobs.remove(0).run(&bench.memory);
    assert!(!old.states[1].alerts.is_empty());
    bench.reload("groups: []");
    bench.set.apply(bench.zero, old, &mut out);
    assert!(out.alerts.is_empty() && out.changes.is_empty() && out.appends.is_empty() && bench.told.is_empty());
}

#[test]
fn a_record_that_cannot_be_read_is_removed_and_named() {
    let mut bench = Bench::new(RULES);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(20.0);
    let (key, value) = bench.records.pop_first().unwrap();
    let mut bad: Vec<(String, Vec<u8>)> = vec![("nonsense".to_owned(), value.clone()), (key, value[1..].to_vec())];
    bad.push(("0123456789abcdef/0123456789abcdef".to_owned(), value));
    bench.records.extend(bad.clone());
    bench.restart();
    let named: Vec<Fact> = bench.facts.drain(..).collect();
    let mut expected: Vec<Fact> = bad.into_iter().map(|(key, _)| Fact::BadRecord { key }).collect();
    expected.sort_by_key(|fact| format!("{fact:?}"));
    let mut sorted = named;
    sorted.sort_by_key(|fact| format!("{fact:?}"));
    assert_eq!(sorted, expected);
    assert_eq!((bench.records.len(), bench.told().len()), (1, 1));
}

#[test]
fn the_views_have_prometheus_names() {
    let mut bench = Bench::new(
        r#"
groups:
  - name: g
    limit: 5
    rules:
      - {alert: Down, expr: x == 0, for: 40s, labels: {severity: page}, annotations: {summary: "{{ $value }}"}}
      - {record: y, expr: sum(x)}
      - {record: z, expr: "x + on () {a=\"1\"}"}
"#,
    );
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(0.0);
    let zero = bench.zero.to_string();
    let fill = |text: &str| text.replace("ZERO", &zero).trim_end().to_owned();
    let standing = bench.set.standing();
    let rules = RulesView { groups: standing.groups().map(|group| group.view(|_| true, true)).collect() };
    let rules = serde_json::to_string_pretty(&rules).unwrap();
    assert_eq!(rules, fill(include_str!("../../../testdata/rules/rules_view.json")));
    let alerts = serde_json::to_string_pretty(&standing.alerts()).unwrap();
    assert_eq!(alerts, fill(include_str!("../../../testdata/rules/alerts_view.json")));
}

#[test]
fn turns_tell_what_took_another_state_and_nothing_else() {
    let mut bench =
        Bench::new("groups: [{name: g, rules: [{alert: A, expr: x == 0, for: 20s}, {alert: B, expr: y == 0}]}]");
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(0.0);
    let turns = |bench: &mut Bench, before: &Standing, until: f64| {
        bench.run(until);
        let now = bench.set.standing();
        let told = |turn: Turn| {
            format!("{} {} -> {}", turn.alert.labels.value("a"), turn.previous.unwrap_or("new"), turn.state)
        };
        (now.turns_since(before).into_iter().map(told).collect::<Vec<_>>(), now)
    };
    let (told, before) = turns(&mut bench, &Standing::default(), 0.0);
    assert_eq!(told, ["1 new -> pending", "2 new -> pending"]);
    assert!(before.turns_since(&before).is_empty());
    bench.remove(r#"x{a="1"}"#);
    bench.put(r#"x{a="3"}"#, 0.0);
    let (told, before) = turns(&mut bench, &before, 30.0);
    assert_eq!(told, ["1 pending -> inactive", "2 pending -> firing", "3 new -> pending"]);
    bench.reload("groups: [{name: g, rules: [{alert: A, expr: x == 0, for: 40s}]}]");
    let (told, before) = turns(&mut bench, &before, 31.0);
    assert!(told.is_empty(), "{told:?}");
    bench.remove(r#"x{a="2"}"#);
    let (told, _) = turns(&mut bench, &before, 50.0);
    assert_eq!(told, ["2 firing -> resolved"]);
}
