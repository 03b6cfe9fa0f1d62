//! Scripts in virtual time, and the crash property.

mod crash;

mod messages;

mod world;

use watchfire_shared::labels::Labels;
use watchfire_shared::machine::Machine;
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::{Span, Timestamp};

use super::query::AlertFilter;
use super::{
    Answer, Delivery, DeliveryOutcome, Effect, Fact, Input, Pipeline, PostedAlert, Saved, Silence, SilenceError,
    TABLES, outbox,
};
use crate::alert::Alert;
use world::World;

/// Runs a script and holds the trace of what receivers got against its `>` lines.
///
/// A script begins with configurations (`=== name`, then YAML, up to `=== script`). Each line of the script is a time and a
/// command (see [`World::command`]); a line `> time text` is what happened by then.
fn check(name: &str, script: &str) {
    let mut parts = script.split("=== ").skip(1).map(|part| part.split_once('\n').unwrap_or((part, "")));
    let mut configs = Vec::new();
    let lines = loop {
        let (title, body) = parts.next().unwrap_or_else(|| panic!("{name}: no `=== script`"));
        if title.trim() == "script" {
            break body;
        }
        configs.push((title.trim().to_owned(), world::config(body)));
    };
    let mut world = World::new(configs);
    let mut expected = Vec::new();
    for line in lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('>') {
            Some(event) => expected.push(event.trim().to_owned()),
            None => world.command(line),
        }
    }
    assert!(!expected.is_empty(), "{name}: the script expects nothing");
    assert_eq!(world.trace.join("\n"), expected.join("\n"), "{name}");
}

macro_rules! scripts {
    ($($name:ident),* $(,)?) => {$(
        #[test]
        fn $name() {
            check(stringify!($name), include_str!(concat!("../../testdata/notify/", stringify!($name), ".txt")));
        }
    )*};
}

scripts!(
    groups_wait_and_repeat,
    routes_choose_receivers,
    resolved_alerts_are_told,
    inhibited_alerts_are_quiet,
    silences_hold_alerts_back,
    quiet_times_hold_alerts_back,
    failures_are_retried,
    a_slow_receiver_delays_no_other,
    crashes_lose_nothing,
    a_reload_tells_nothing_twice,
    alerts_of_vanished_rules_resolve,
    alerts_that_are_sent_no_more_resolve,
    slack_messages_are_changed,
    slack_threads,
    templates_that_fail_are_told,
    alerts_from_outside_time_out,
);

#[test]
fn the_webhooks_message_is_alertmanagers() {
    let mut world = World::new(vec![(
        "main".to_owned(),
        world::config(
            "route:
  receiver: web.hook
  group_by: [alertname]
  group_wait: 0s
  labels: {team: ops, owner: '{{ routeLabels \"team\" }} of {{ .GroupLabels.alertname }}', a: '{{ routeLabels \"b\" }}', b: '{{ routeLabels \"a\" }}'}
  routes: [{matchers: ['severity=\"page\"'], receiver: web.hook, labels: {team: night, b: plain}}]
receivers: [{name: web.hook, webhook_configs: [{url: 'http://127.0.0.1/', max_alerts: 2}]}]",
        ),
    )]);
    world.command("0s fire alertname=A severity=page instance=1 annotation:summary=down annotation:a=1");
    world.command("0s fire alertname=A severity=page instance=2 annotation:summary=down annotation:a=2");
    world.command("0s fire alertname=A severity=page instance=3");
    world.command("1s nothing");
    world.command("250500ms resolve alertname=A severity=page instance=1");
    world.command("301s nothing");
    let golden = include_str!("../../testdata/notify/webhook.json");
    assert_eq!(world.bodies.join("\n"), golden.trim_end());
}

const TWO: &str = "
route:
  receiver: team
  group_by: [alertname]
  group_wait: 10s
  routes: [{matchers: [alertname=B], receiver: other}]
receivers:
  - {name: team, webhook_configs: [{url: 'http://127.0.0.1/'}]}
  - {name: other, webhook_configs: [{url: 'http://127.0.0.1/', timeout: 3s}]}
inhibit_rules: [{source_matchers: [alertname=B], target_matchers: [alertname=C]}]
";

#[test]
fn the_interface_sees_states_groups_and_errors() {
    let mut world = World::new(vec![("main".to_owned(), world::config(TWO))]);
    world.command("0s silence s1 alertname=A 1h");
    for alert in ["alertname=A", "alertname=B", "alertname=C"] {
        world.command(&format!("0s fire {alert}"));
    }
    world.command("0s refuses other/webhook[0]");
    let all = AlertFilter::default();
    let state = |world: &World, filter: &AlertFilter| -> Vec<String> {
        let views = world.pipeline.alerts(world.now, filter);
        let mut shown: Vec<String> = views
            .iter()
            .map(|view| {
                let by = (&view.silenced_by, view.inhibited_by.len());
                format!("{} {:?} {:?} {:?}", view.alert.labels.value("alertname"), view.state, by, view.receivers)
            })
            .collect();
        shown.sort();
        shown
    };
    assert_eq!(
        state(&world, &all),
        [
            r#"A Suppressed (["s1"], 0) ["team"]"#,
            r#"B Unprocessed ([], 0) ["other"]"#,
            r#"C Suppressed ([], 1) ["team"]"#
        ]
    );
    world.command("1m nothing");
    assert_eq!(
        state(&world, &AlertFilter { silenced: false, inhibited: false, ..all.clone() }),
        [r#"B Active ([], 0) ["other"]"#]
    );
    let receiver = Matcher::new("receiver", MatchOp::Regex, "te.*").unwrap();
    assert_eq!(state(&world, &AlertFilter { receiver: Some(receiver), ..all.clone() }).len(), 2);
    let matchers = vec![Matcher::equal("alertname", "C")];
    assert_eq!(state(&world, &AlertFilter { matchers, ..all }).len(), 1);
    let groups: Vec<String> =
        world.pipeline.shown(world.now).1.iter().map(|group| format!("{} {}", group.key, group.receiver)).collect();
    assert_eq!(
        groups,
        [r#"{}/{alertname="B"}:{alertname="B"} other"#, r#"{}:{alertname="A"} team"#, r#"{}:{alertname="C"} team"#]
    );
    let receivers = world.pipeline.receivers();
    let other = &receivers[0].integrations[0];
    assert_eq!((receivers[0].name.as_str(), other.failed, other.delivered), ("other", 1, 0));
    assert_eq!(other.last_error.as_ref().map(|(_, reason)| reason.as_str()), Some("no"));
    assert_eq!((other.pending.len(), other.pending[0].attempts, other.pending[0].next_attempt), (1, 1, None));
    assert_eq!(receivers[1].integrations[0].pending.len(), 0);
    assert_eq!(world.pipeline.silences().count(), 1);
}

/// Hands alerts in and returns the deliveries.
fn deliveries(pipeline: &mut Pipeline, now: Timestamp, input: Input) -> Vec<Delivery> {
    let mut effects = Vec::new();
    pipeline.handle(now, input, &mut effects);
    effects
        .into_iter()
        .filter_map(|effect| if let Effect::Deliver(delivery) = effect { Some(delivery) } else { None })
        .collect()
}

fn alerts(names: std::ops::Range<usize>) -> Vec<Alert> {
    let alert = |name: usize| Alert {
        labels: Labels::new([("alertname", "B"), ("name", &format!("{name:03}"))]),
        annotations: Labels::default(),
        starts_at: Timestamp::EPOCH,
        ends_at: None,
        timeout: false,
        updated_at: Timestamp::EPOCH,
        generator_url: String::new(),
    };
    names.map(alert).collect()
}

#[test]
fn an_integration_has_a_bound_on_what_is_under_way() {
    let config = world::config(&TWO.replace("alertname]", "name]").replace("10s", "0s"));
    let mut pipeline = Pipeline::new(Timestamp::EPOCH, config, "", Vec::new());
    let now = Timestamp::EPOCH;
    let first = deliveries(&mut pipeline, now, Input::Alerts(alerts(0..20)));
    assert_eq!(first.len(), outbox::MAX_IN_FLIGHT);
    assert!(first.iter().all(|delivery| delivery.timeout == Span::from_seconds(3)), "the webhook's own timeout");
    let next = deliveries(&mut pipeline, now, Input::Delivered { id: first[0].id, outcome: DeliveryOutcome::Ok });
    assert_eq!(next.len(), 1, "one has ended, so one begins");
    let again = deliveries(&mut pipeline, now, Input::Delivered { id: first[0].id, outcome: DeliveryOutcome::Ok });
    assert_eq!(again.len(), 0, "an outcome that is told twice counts once");
}

#[test]
fn a_receiver_that_asks_for_patience_gets_it() {
    let config = world::config(&TWO.replace("10s", "0s"));
    let mut pipeline = Pipeline::new(Timestamp::EPOCH, config, "", Vec::new());
    let now = Timestamp::EPOCH;
    let first = deliveries(&mut pipeline, now, Input::Alerts(alerts(0..1)));
    let retry_after = Some(Span::from_seconds(42));
    let outcome = DeliveryOutcome::Failed { retry: true, reason: "429".to_owned(), retry_after };
    assert_eq!(deliveries(&mut pipeline, now, Input::Delivered { id: first[0].id, outcome }).len(), 0);
    assert_eq!(pipeline.deadline(), Some(now + Span::from_seconds(42)));
    let second = deliveries(&mut pipeline, now + Span::from_seconds(42), Input::Wake);
    assert_eq!((second.len(), second[0].attempt, &second[0].body), (1, 2, &first[0].body));
}

#[test]
fn records_that_cannot_be_read_are_told_and_skipped() {
    let saved = |table: &str, key: &str| Saved { table: table.to_owned(), key: key.to_owned(), value: vec![0xc1] };
    let records: Vec<Saved> = TABLES.iter().map(|table| saved(table, "x")).chain([saved("other", "y")]).collect();
    let mut pipeline = Pipeline::new(Timestamp::EPOCH, world::config(TWO), "", records);
    assert_eq!(pipeline.deadline(), Some(Timestamp::MIN), "what was found out is told at once");
    let mut effects = Vec::new();
    pipeline.handle(Timestamp::EPOCH, Input::Wake, &mut effects);
    assert_eq!(effects.len(), TABLES.len() + 1);
    assert!(effects.iter().all(|effect| matches!(effect, Effect::Fact(Fact::UnreadableState { .. }))));
    assert_eq!(pipeline.deadline(), None);
}

#[test]
fn silences_that_say_nothing_are_refused() {
    let silence = Silence {
        id: "s".to_owned(),
        matchers: vec![Matcher::equal("a", "b")],
        starts_at: Timestamp::EPOCH,
        ends_at: Timestamp::from_millis(10),
        updated_at: Timestamp::EPOCH,
        created_by: String::new(),
        comment: String::new(),
        annotations: Default::default(),
    };
    let check = |change: fn(&mut Silence)| {
        let mut silence = silence.clone();
        change(&mut silence);
        silence.check(Timestamp::from_millis(5))
    };
    assert_eq!(check(|_| {}), Ok(()));
    assert_eq!(check(|silence| silence.matchers.clear()), Err(SilenceError::NoMatchers));
    assert_eq!(check(|silence| silence.matchers = vec![Matcher::equal("a", "")]), Err(SilenceError::MatchesEverything));
    assert_eq!(
        check(|silence| silence.matchers = vec![Matcher::equal("a", "b"); 65]),
        Err(SilenceError::TooManyMatchers)
    );
    assert_eq!(check(|silence| silence.ends_at = Timestamp::EPOCH), Err(SilenceError::EndsBeforeItStarts));
    assert_eq!(check(|silence| silence.ends_at = Timestamp::from_millis(5)), Err(SilenceError::Ended));
}

/// Tells the pipeline something and returns what it answers.
fn ask(world: &mut World, input: Input) -> Answer {
    world.input(input);
    let answer = world.answers.pop();
    assert!(world.answers.is_empty(), "one answer for each question");
    answer.expect("every question is answered")
}

#[test]
fn reported_alerts_are_judged_one_by_one() {
    let mut world = World::new(vec![("main".to_owned(), world::config(TWO))]);
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let alert = |labels: &[(&str, &str)]| PostedAlert {
        labels: labels.iter().map(|(name, value)| pair(name, value)).collect(),
        ..PostedAlert::default()
    };
    let good = alert(&[("alertname", "A"), ("empty", "")]);
    let ended =
        PostedAlert { starts_at: Some(Timestamp::from_millis(5)), ends_at: Some(Timestamp::EPOCH), ..good.clone() };
    let long = PostedAlert { annotations: vec![pair("text", &"x".repeat(16 << 10))], ..good.clone() };
    let many: Vec<String> = (0..33).map(|n| format!("l{n}")).collect();
    let many = alert(&many.iter().map(|name| (name.as_str(), "x")).collect::<Vec<_>>());
    let batch = vec![alert(&[("empty", "")]), ended, alert(&[("", "x")]), good, long, many];
    let refused = [
        "at least one label pair required",
        "start time must be before end time",
        "invalid label set: invalid name \"\"",
        "an alert has 16398 bytes, more than 16384",
        "an alert has 33 labels, more than 32",
    ];
    let answer = ask(&mut world, Input::Post(batch));
    assert_eq!(answer, Answer::Posted { refused: refused.map(str::to_owned).to_vec() });
    let taken = world.pipeline.alerts(world.now, &AlertFilter::default());
    assert_eq!(taken.iter().map(|view| view.alert.labels.to_string()).collect::<Vec<_>>(), ["{alertname=\"A\"}"]);
    let alert = &taken[0].alert;
    assert_eq!((alert.starts_at, alert.ends_at), (world.now, Some(world.now + Span::from_seconds(300))));
}

#[test]
fn what_somebody_outside_says_of_a_known_alert_outlives_a_crash() {
    let mut world = World::new(vec![("main".to_owned(), world::config(TWO))]);
    world.command("0s post alertname=A annotation:text=first");
    world.command("1s post alertname=A annotation:text=second");
    world.command("2s fire alertname=B annotation:text=1");
    let disk = world.disk.clone();
    world.command("3s fire alertname=B annotation:text=2");
    assert_eq!(world.disk, disk, "a rule says it again");
    world.command("4s crash");
    let kept = world.pipeline.alerts(world.now, &AlertFilter::default());
    let texts: Vec<_> = kept.iter().filter_map(|view| view.alert.annotations.get("text")).collect();
    assert!(texts.contains(&"second"), "{texts:?}");
}

#[test]
fn a_silence_changes_in_place_or_is_replaced() {
    let mut world = World::new(vec![("main".to_owned(), world::config(TWO))]);
    let at = |seconds: i64| Timestamp::EPOCH + Span::from_seconds(seconds);
    let silence = |id: &str, value: &str, from: i64, to: i64| Silence {
        id: id.to_owned(),
        matchers: vec![Matcher::equal("a", value)],
        starts_at: at(from),
        ends_at: at(to),
        updated_at: at(0),
        created_by: "me".to_owned(),
        comment: String::new(),
        annotations: [("ticket".to_owned(), "7".to_owned())].into(),
    };
    let set = |world: &mut World, silence: Silence, replaces: Option<&str>| {
        let id = ask(world, Input::SetSilence { silence, replaces: replaces.map(str::to_owned) });
        let Answer::Silence(id) = id else { panic!("{id:?}") };
        id
    };
    let shown = |world: &World| -> Vec<String> {
        let line = |own: &Silence| format!("{} {} {}..{}", own.id, own.matchers[0], own.starts_at, own.ends_at);
        let lines = world.pipeline.silences().map(line);
        lines.map(|line| line.replace("1970-01-01T00:", "")).collect()
    };
    world.run_until(at(60));
    assert_eq!(set(&mut world, silence("one", "x", 0, 600), None), Ok("one".to_owned()));
    assert_eq!(shown(&world), ["one a=\"x\" 01:00Z..10:00Z"], "nothing is silenced in the past");
    world.run_until(at(120));
    assert_eq!(set(&mut world, silence("two", "x", 60, 900), Some("one")), Ok("one".to_owned()));
    assert_eq!(shown(&world), ["one a=\"x\" 01:00Z..15:00Z"], "longer, and the same");
    assert_eq!(set(&mut world, silence("two", "y", 60, 900), Some("one")), Ok("two".to_owned()));
    let both = ["one a=\"x\" 01:00Z..02:00Z", "two a=\"y\" 02:00Z..15:00Z"];
    assert_eq!(shown(&world), both, "what it matches never changes");
    assert_eq!(set(&mut world, silence("three", "y", 60, 900), Some("none")), Err(SilenceError::NotFound));
    assert_eq!(set(&mut world, silence("three", "y", 60, 100), None), Err(SilenceError::Ended));
    assert_eq!(shown(&world), both);
    assert_eq!(world.pipeline.next_turn(world.now), Some(at(900)));

    world.restart_quietly();
    assert_eq!(shown(&world), both, "silences survive the process");
    assert!(world.pipeline.silences().all(|silence| silence.annotations["ticket"] == "7"));
    let expire = |id: &str| Input::ExpireSilence { id: id.to_owned() };
    assert_eq!(ask(&mut world, expire("two")), Answer::Silence(Ok("two".to_owned())));
    assert_eq!(ask(&mut world, expire("none")), Answer::Silence(Err(SilenceError::NotFound)));
    assert_eq!(world.pipeline.next_turn(world.now), None);
}
