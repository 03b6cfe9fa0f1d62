//! When rules are evaluated and what becomes of their alerts.

use watchfire_promql::{Selection, Series, Storage, StorageError};

use super::*;

const DOWN: &str = r#"
groups:
  - name: g
    interval: 15s
    rules:
      - alert: Down
        expr: x == 0
        for: 10s
        labels: {severity: page}
        annotations: {summary: "{{ $labels.a }} {{ $value }}"}
"#;

#[test]
fn a_hold_shorter_than_the_interval_fires_at_its_end() {
    let mut bench = Bench::new(DOWN);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(25.0);
    assert_eq!(bench.told(), [r#"10.000 firing Down {a="1", severity="page"}"#]);
    bench.put(r#"x{a="1"}"#, 1.0);
    bench.run(45.0);
    assert_eq!(bench.told(), [r#"30.000 resolved Down {a="1", severity="page"}"#]);
    assert_eq!(bench.evaluated, ["0.000 g", "10.000 g", "15.000 g", "30.000 g", "45.000 g"]);
}

#[test]
fn what_leaves_the_result_while_pending_is_forgotten() {
    let mut bench = Bench::new(DOWN);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(5.0);
    assert_eq!(bench.records.len(), 1);
    bench.put(r#"x{a="1"}"#, 1.0);
    bench.run(60.0);
    assert_eq!(bench.told(), [""; 0]);
    assert!(bench.records.is_empty());
}

#[test]
fn a_resolved_alert_is_kept_for_a_while_and_begins_anew_if_it_comes_back() {
    let mut bench = Bench::new(DOWN);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(15.0);
    bench.put(r#"x{a="1"}"#, 1.0);
    bench.run(30.0);
    assert_eq!(bench.told().len(), 2);
    let [known] = &bench.set.known(bench.now)[..] else { panic!("one alert") };
    assert_eq!((known.starts_at, known.ends_at), (bench.at(10.0), Some(bench.at(30.0))));
    assert_eq!(known.annotations.value("summary"), "1 0");
    assert_eq!(known.generator_url, "/graph?g0.expr=x+%3D%3D+0&g0.tab=1");
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(56.0);
    assert_eq!(bench.told(), [r#"55.000 firing Down {a="1", severity="page"}"#]);
    bench.put(r#"x{a="1"}"#, 1.0);
    bench.run(60.0 + 15.0 * 60.0);
    assert_eq!((bench.told().len(), bench.set.known(bench.now).len()), (1, 1));
    bench.run(75.0 + 15.0 * 60.0);
    assert_eq!((bench.told().len(), bench.set.known(bench.now).len(), bench.records.len()), (0, 0, 0));
}

#[test]
fn an_alert_goes_on_firing_for_as_long_as_its_rule_says() {
    let rules = r#"
groups:
  - name: g
    rules:
      - {alert: Down, expr: x == 0, keep_firing_for: 20s}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(10.0);
    assert_eq!(bench.told(), [r#"0.000 firing Down {a="1"}"#, r#"0.000 firing Down {a="2"}"#]);
    bench.put(r#"x{a="1"}"#, 1.0);
    bench.put(r#"x{a="2"}"#, 1.0);
    bench.run(20.0);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(60.0);
    // Gone at 15, and 20 s later it is over; the other came back in time.
    assert_eq!(bench.told(), [r#"35.000 resolved Down {a="1"}"#]);
    assert_eq!(bench.set.active().count(), 1);
}

#[test]
fn a_membership_change_is_evaluated_at_once_by_the_groups_that_read_it() {
    let rules = r#"
groups:
  - name: members
    rules:
      - {alert: NodeDown, expr: '{__name__=~"watchfire_member_.+", state="down"} == 1'}
  - name: others
    rules:
      - {alert: Full, expr: disk > 0.9}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"watchfire_member_state{instance="a", state="down"}"#, 0.0);
    bench.run(2.0);
    bench.evaluated.clear();
    bench.change(r#"watchfire_member_state{instance="a", state="down"}"#, 1.0);
    bench.change(r#"watchfire_member_state{instance="a", state="alive"}"#, 0.0);
    bench.run(2.9);
    assert_eq!(bench.told(), [r#"2.050 firing NodeDown {instance="a", state="down"}"#]);
    assert_eq!(bench.evaluated, ["2.050 members"]);
}

#[test]
fn a_later_rule_sees_what_an_earlier_one_gave_in_the_same_pass() {
    let rules = r#"
groups:
  - name: g
    rules:
      - {record: "sum:x", expr: sum(x), labels: {kind: total}}
      - {alert: High, expr: 'sum:x > 5'}
      - {record: "alerts:count", expr: 'count(ALERTS{alertstate="firing"})'}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 4.0);
    bench.put(r#"x{a="2"}"#, 3.0);
    bench.run(0.0);
    assert_eq!(bench.told(), [r#"0.000 firing High {kind="total"}"#]);
    assert_eq!(bench.last("sum:x"), [r#"sum:x{kind="total"} 7"#]);
    assert_eq!(bench.last("alerts:count"), ["alerts:count 1"]);
    assert_eq!(bench.last("ALERTS"), [r#"ALERTS{alertname="High", alertstate="firing", kind="total"} 1"#]);
    let since = bench.zero.as_millis() / 1000;
    assert_eq!(
        bench.last("ALERTS_FOR_STATE"),
        [format!(r#"ALERTS_FOR_STATE{{alertname="High", kind="total"}} {since}"#)]
    );
    // What is gone ends with a stale marker.
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(15.0);
    assert_eq!(bench.told(), [r#"15.000 resolved High {kind="total"}"#]);
    assert_eq!(bench.last("ALERTS"), [r#"ALERTS{alertname="High", alertstate="firing", kind="total"} stale"#]);
    assert_eq!(bench.last("alerts:count"), ["alerts:count stale"]);
    assert_eq!(bench.appended.last().unwrap().source, "rules/f.yml/g");
}

#[test]
fn a_query_offset_moves_queries_and_samples_back() {
    let rules = "groups: [{name: g, query_offset: 30s, rules: [{record: y, expr: x * 2}]}]";
    let mut bench = Bench::new(rules);
    bench.put("x", 1.0);
    bench.run(15.0);
    bench.put("x", 2.0);
    bench.run(30.0);
    assert_eq!((bench.last("y"), bench.appended.last().unwrap().at), (vec!["y 2".to_owned()], bench.zero));
    bench.run(60.0);
    assert_eq!(bench.last("y"), ["y 4"]);
}

#[test]
fn a_rule_that_fails_keeps_its_alerts_and_stops_no_other() {
    let rules = r#"
groups:
  - name: g
    rules:
      - {alert: Down, expr: x * on (a) y == 0}
      - {record: z, expr: x}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.put(r#"y{a="1"}"#, 1.0);
    bench.run(0.0);
    assert_eq!(bench.told(), [r#"0.000 firing Down {a="1"}"#]);
    bench.put(r#"y{a="1", b="2"}"#, 1.0);
    bench.run(30.0);
    assert_eq!((bench.told().len(), bench.set.active().count(), bench.last("z").len()), (0, 1, 1));
    let [Fact::Failed { rule, message, .. }] = &bench.facts[..] else { panic!("{:?}", bench.facts) };
    assert!(rule == "Down" && message.contains("duplicate series"), "{message}");
    assert_eq!(bench.set.totals().failures, 2);
    bench.facts.clear();
    bench.remove(r#"y{a="1", b="2"}"#);
    bench.run(45.0);
    let [Fact::Recovered { .. }] = &bench.facts[..] else { panic!("{:?}", bench.facts) };
    assert_eq!(bench.told(), [""; 0]);
}

#[test]
fn equal_label_sets_are_an_error_of_the_rule() {
    let rules = r#"
groups:
  - name: g
    rules:
      - {alert: Down, expr: x == 0, labels: {a: ""}}
      - {record: y, expr: x, labels: {a: same}}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(0.0);
    let messages: Vec<&str> = bench
        .facts
        .iter()
        .map(|fact| match fact {
            Fact::Failed { message, .. } => message.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        messages,
        [
            "vector contains metrics with the same labelset after applying alert labels",
            "vector contains metrics with the same labelset after applying rule labels",
        ]
    );
    assert!(bench.told.is_empty() && bench.records.is_empty() && bench.appended.is_empty());
}

#[test]
fn above_the_limit_a_rule_fails_and_loses_its_alerts() {
    let rules = "groups: [{name: g, limit: 1, rules: [{alert: Down, expr: x == 0}, {record: y, expr: x}]}]";
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(0.0);
    assert_eq!(bench.told(), [r#"0.000 firing Down {a="1"}"#]);
    bench.put(r#"x{a="2"}"#, 0.0);
    bench.run(15.0);
    assert_eq!(bench.told(), [r#"15.000 resolved Down {a="1"}"#]);
    let messages: Vec<String> = bench.facts.iter().map(|fact| format!("{fact:?}")).collect();
    assert!(messages[0].contains("exceeded limit of 1 with 2 alerts"), "{messages:?}");
    assert!(messages[1].contains("exceeded limit of 1 with 2 series"), "{messages:?}");
    assert_eq!((messages.len(), bench.set.active().count(), bench.records.len()), (2, 0, 0));
}

#[test]
fn a_broken_annotation_says_so_and_the_alert_fires() {
    let rules = r#"
groups:
  - name: g
    rules:
      - alert: Down
        expr: x == 0
        annotations: {summary: '{{ query "x[" }}', good: '{{ query "x" | first | label "a" }}'}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(0.0);
    let [known] = &bench.set.known(bench.now)[..] else { panic!("one alert") };
    assert!(known.annotations.value("summary").starts_with("<error expanding template: "), "{known:?}");
    assert_eq!((known.annotations.value("good"), bench.told().len()), ("1", 1));
}

#[test]
fn a_firing_alert_tells_of_new_annotations() {
    let mut bench = Bench::new(DOWN);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(15.0);
    bench.told.clear();
    bench.put(r#"x{a="1"}"#, -0.0);
    bench.run(30.0);
    assert_eq!(bench.told(), [r#"30.000 firing Down {a="1", severity="page"}"#]);
    bench.run(60.0);
    assert_eq!(bench.told(), [""; 0]);
}

#[test]
fn regular_evaluations_that_are_left_out_are_counted() {
    let mut bench = Bench::new(DOWN);
    let mut out = Output::default();
    let late = bench.at(47.0);
    bench.set.wake(late, &mut out);
    let [Fact::Missed { evaluations: 3, .. }] = &out.facts[..] else { panic!("{:?}", out.facts) };
    // One is under way; no second one begins before it is back.
    let mut nothing = Output::default();
    bench.set.wake(bench.at(200.0), &mut nothing);
    assert!(nothing.jobs.is_empty() && nothing.facts.is_empty() && bench.set.deadline().is_none());
    let evaluation = out.jobs.remove(0).run(&bench.memory);
    bench.set.apply(bench.at(70.0), evaluation, &mut nothing);
    let [Fact::Slow { took, .. }] = &nothing.facts[..] else { panic!("{:?}", nothing.facts) };
    assert_eq!((*took, bench.set.totals().missed), (Span::from_seconds(23), 3));
}

/// Series of which one cannot be read without a panic.
struct Broken<'a>(&'a Memory);

impl Storage for Broken<'_> {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        assert!(!selection.matchers.iter().any(|matcher| matcher.value == "broken"), "a mistake of ours");
        self.0.select(selection)
    }
}

#[test]
fn a_rule_whose_evaluation_panics_has_failed_and_its_group_goes_on() {
    let mut bench = Bench::new(
        "groups: [{name: g, interval: 15s, rules: [{alert: A, expr: broken > 0}, {record: r, expr: good * 2}]}]",
    );
    bench.put("broken", 1.0);
    bench.put("good", 1.0);
    bench.run(0.0);
    assert_eq!(bench.told(), ["0.000 firing A {}"]);
    bench.now = bench.at(15.0);
    let mut out = Output::default();
    bench.set.wake(bench.now, &mut out);
    let job = out.jobs.pop().unwrap();
    bench.memory.insert(watchfire_promql::parse_series("good").unwrap().0, job.at.as_millis(), 4.0);
    let evaluation = job.run(&Broken(&bench.memory));
    let failures: Vec<(usize, &str)> = evaluation.failures.iter().map(|own| (own.rule, own.message.as_str())).collect();
    assert_eq!(failures, [(0, "the evaluation panicked, which is a mistake in Watchfire: a mistake of ours")]);
    let mut applied = Output::default();
    bench.set.apply(bench.now, evaluation, &mut applied);
    bench.take(applied);
    // The alert is as it was, the rule behind it was evaluated, and the group is due again.
    assert_eq!((bench.told(), bench.last("r")), (Vec::new(), vec!["r 8".to_owned()]));
    assert_eq!((bench.set.totals().failures, bench.set.active().count()), (1, 1));
    bench.run(30.0);
    assert_eq!((bench.evaluated.last().map(String::as_str), bench.set.totals().failures), (Some("30.000 g"), 1));
    bench.remove("broken");
    bench.run(45.0);
    assert_eq!(bench.told(), ["45.000 resolved A {}"]);
}

#[test]
fn rules_that_depend_on_each_other_are_evaluated_one_after_the_other_and_the_rest_together() {
    let mut bench = Bench::new(
        "groups: [{name: g, interval: 15s, rules: [{record: a, expr: x * 2}, {alert: B, expr: x > 0}, {record: c, expr: a + 1},
         {record: d, expr: 'x + 0'}, {record: e, expr: 'count({__name__=~\"d|ALERTS\"})'}]}]",
    );
    bench.put("x", 1.0);
    bench.now = bench.at(15.0);
    let mut out = Output::default();
    bench.set.wake(bench.now, &mut out);
    let job = out.jobs.pop().unwrap();
    bench.memory.insert(watchfire_promql::parse_series("x").unwrap().0, job.at.as_millis(), 1.0);
    let batches = std::cell::RefCell::new(Vec::new());
    let evaluation = job.run_together(&bench.memory, &|| Timestamp::EPOCH, &|count, work| {
        batches.borrow_mut().push(count);
        // The last first: the order within a batch does not matter.
        (0..count).rev().for_each(work);
    });
    assert_eq!((batches.take(), evaluation.failures.len()), (vec![2, 2, 1], 0));
    let mut applied = Output::default();
    bench.set.apply(bench.now, evaluation, &mut applied);
    bench.take(applied);
    assert_eq!([bench.last("c"), bench.last("e")], [vec!["c 3".to_owned()], vec!["e 2".to_owned()]]);
}

#[test]
fn equal_rules_have_a_state_each() {
    let rules = r#"
groups:
  - name: g
    rules:
      - {alert: Down, expr: x == 0, for: 1m}
      - {alert: Down, expr: x == 0, for: 1m}
      - {record: n, expr: count(x)}
      - {record: n, expr: count(x)}
"#;
    let mut bench = Bench::new(rules);
    bench.put(r#"x{a="1"}"#, 0.0);
    bench.run(75.0);
    assert_eq!(bench.told(), [r#"60.000 firing Down {a="1"}"#, r#"60.000 firing Down {a="1"}"#]);
    assert_eq!(bench.records.len(), 2);
    bench.restart();
    bench.see(true);
    bench.run(90.0);
    assert_eq!((bench.told(), bench.records.len()), (Vec::new(), 2));
}
