use serde_json::Value;
use watchfire_shared::document::{Report, Value as Read, toml};

use super::*;

fn alertmanager(more: &str) -> Arc<Alertmanager> {
    let text = format!("[[alertmanager]]\nurl = \"http://user:word@am.example:9093/prefix/\"\n{more}");
    Arc::new(read(&text).unwrap().remove(0))
}

fn read(text: &str) -> Result<Vec<Alertmanager>, Vec<String>> {
    let root = toml::parse(text, &mut Report::new("collector.toml")).unwrap();
    let Read::Table(mut entries) = root.value else { panic!() };
    let Read::List(items) = entries.remove(0).1.value else { panic!() };
    config::read_all(&items.into_iter().map(|item| ("collector.toml".to_owned(), item)).collect::<Vec<_>>())
}

fn alert(name: &str, ends_at: Option<Timestamp>) -> Alert {
    Alert {
        labels: Labels::new([("alertname", name), ("replica", "a")]),
        annotations: Labels::new([("summary", "It is so.")]),
        starts_at: at(1),
        ends_at,
        timeout: false,
        updated_at: at(1),
        generator_url: "http://watch/graph".to_owned(),
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds * 1000)
}

/// What a batch says of each alert: its name and its end.
fn told(batch: &Batch) -> Vec<(String, String)> {
    let posted: Vec<Value> = serde_json::from_slice(&batch.body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    posted.iter().map(|alert| (text(&alert["labels"]["alertname"]), text(&alert["endsAt"]))).collect()
}

fn end(name: &str, seconds: i64) -> Vec<(String, String)> {
    vec![(name.to_owned(), at(seconds).to_string())]
}

#[test]
fn an_alert_is_told_when_it_fires_each_minute_and_when_it_is_over() {
    let mut forward = Forward::new(alertmanager(""));
    let (own, of_others) = (alert("Own", None), alert("Other", Some(at(500))));
    forward.see(at(10), [&own, &of_others].into_iter());
    let batch = forward.batch(at(10)).unwrap();
    assert_eq!(told(&batch), end("Own", 250));
    let posted: Vec<Value> = serde_json::from_slice(&batch.body).unwrap();
    assert_eq!(posted[0]["startsAt"], at(1).to_string());
    assert_eq!(posted[0]["annotations"]["summary"], "It is so.");
    assert_eq!(posted[0]["generatorURL"], "http://watch/graph");
    forward.done(at(10), &batch, Outcome::Taken);
    forward.see(at(69), [&own].into_iter());
    assert!(forward.batch(at(69)).is_none());
    assert_eq!(forward.next(), Some(at(70)));
    let batch = forward.batch(at(70)).unwrap();
    forward.done(at(70), &batch, Outcome::Taken);
    forward.see(at(80), std::iter::empty());
    let batch = forward.batch(at(80)).unwrap();
    assert_eq!(told(&batch), end("Own", 80));
    forward.done(at(80), &batch, Outcome::Taken);
    forward.see(at(140), std::iter::empty());
    assert_eq!(told(&forward.batch(at(140)).unwrap()), end("Own", 80), "the other side may have been away");
    forward.see(at(980), std::iter::empty());
    assert_eq!((forward.batch(at(980)).is_none(), forward.next()), (true, None));
    assert_eq!(forward.figures(), &Figures { sent: 3, failed: 0, last_error: None });
}

#[test]
fn one_that_fires_again_is_told_at_once_and_one_that_nobody_knows_is_not_resolved() {
    let mut forward = Forward::new(alertmanager(""));
    let own = alert("Own", None);
    forward.see(at(10), [&own].into_iter());
    forward.see(at(11), std::iter::empty());
    assert!(forward.batch(at(11)).is_none(), "it was never told");
    forward.see(at(12), [&own].into_iter());
    let batch = forward.batch(at(12)).unwrap();
    forward.done(at(12), &batch, Outcome::Taken);
    forward.see(at(13), std::iter::empty());
    let batch = forward.batch(at(13)).unwrap();
    forward.done(at(13), &batch, Outcome::Taken);
    forward.see(at(14), [&own].into_iter());
    assert_eq!(told(&forward.batch(at(14)).unwrap()), end("Own", 254));
}

#[test]
fn whoever_is_away_is_tried_less_and_less_often_and_told_what_holds() {
    let mut forward = Forward::new(alertmanager(""));
    let own = alert("Own", None);
    let mut tries = Vec::new();
    for second in 0..200 {
        forward.see(at(second), [&own].into_iter());
        if let Some(batch) = forward.batch(at(second)) {
            tries.push(second);
            forward.done(at(second), &batch, Outcome::Later("refused".to_owned()));
        }
    }
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 123, 183]);
    assert_eq!(forward.figures().last_error.as_deref(), Some("refused"));
    let batch = forward.batch(at(243)).unwrap();
    assert_eq!(told(&batch), end("Own", 483));
    forward.done(at(243), &batch, Outcome::Refused("400".to_owned()));
    assert_eq!(forward.next(), Some(at(303)), "what is refused is not sent at once again");
}

#[test]
fn labels_are_rewritten_and_many_alerts_are_several_requests() {
    let rules = "alert_relabel_configs = [{ regex = \"replica\", action = \"labeldrop\" }, { source_labels = [\"alertname\"], regex = \"Quiet\", action = \"drop\" }]";
    let mut forward = Forward::new(alertmanager(rules));
    let alerts: Vec<Alert> = (0..300).map(|n| alert(&format!("A{n}"), None)).chain([alert("Quiet", None)]).collect();
    forward.see(at(10), alerts.iter());
    let first = forward.batch(at(10)).unwrap();
    assert!(!String::from_utf8(first.body.clone()).unwrap().contains("replica"));
    forward.done(at(10), &first, Outcome::Taken);
    let second = forward.batch(at(10)).unwrap();
    assert_eq!((told(&first).len(), told(&second).len()), (256, 44));
}

#[test]
fn entries_are_named_by_their_host_and_every_mistake_is_told() {
    let own = alertmanager("");
    assert_eq!((own.name.as_str(), own.url.expose()), ("am.example:9093", "http://user:word@am.example:9093/prefix"));
    assert_eq!(own.shown_url(), "http://am.example:9093/prefix");
    let entry = "[[alertmanager]]\nurl = \"http://am:9093\"\n";
    let mistakes = read(&format!("{entry}{entry}timeout = \"0s\"\nbearer_tokn = \"x\"\n")).unwrap_err();
    let all = mistakes.join("\n");
    assert!(all.contains("another alertmanager called \"am:9093\""), "{all}");
    assert!(all.contains("bearer_token") && all.contains("0s"), "{all}");
}
