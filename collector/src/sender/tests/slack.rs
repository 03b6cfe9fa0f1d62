//! Slack's answers, and which of its methods is called.

use std::collections::VecDeque;

use axum::Json;
use serde_json::{Value, json};

use super::*;

/// A Slack that gives prepared answers and remembers what it was sent.
#[derive(Clone, Default)]
struct Slack {
    seen: Arc<Mutex<Vec<(String, String, Value)>>>,
    answers: Arc<Mutex<VecDeque<Value>>>,
}

async fn method(State(slack): State<Slack>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let token = parts.headers.get("authorization").map_or("", |value| value.to_str().unwrap()).to_owned();
    slack.seen.lock().unwrap().push((parts.uri.path().to_owned(), token, serde_json::from_slice(&body).unwrap()));
    let next = slack.answers.lock().unwrap().pop_front().expect("an answer is prepared");
    match next {
        Value::String(text) => text.into_response(),
        // It never answers.
        Value::Null => std::future::pending().await,
        next => Json(next).into_response(),
    }
}

impl Slack {
    /// Sends a message about nothing; what Slack answers, and what became of it.
    async fn send(
        &self,
        config: &str,
        body: Value,
        answers: &[Value],
    ) -> (DeliveryOutcome, Vec<(String, String, Value)>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        *self.answers.lock().unwrap() = answers.iter().cloned().collect();
        let router = Router::new().fallback(method).with_state(self.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await });
        let config = config.replace("ADDRESS", &address.to_string());
        let outcome = deliver(&format!("    slack_configs: [{{{config}}}]\n"), &body.to_string()).await;
        server.abort();
        assert!(self.answers.lock().unwrap().is_empty(), "every answer was asked for");
        (outcome, std::mem::take(&mut *self.seen.lock().unwrap()))
    }
}

const BOT: &str = "app_token: xoxb-secret, app_url: 'http://ADDRESS/api/chat.postMessage', update_message: true";

fn message(ts: Option<&str>) -> Value {
    let mut message = json!({"channel": "#a", "username": "w", "icon_emoji": ":x:", "attachments": [{"text": "t"}]});
    if let Some(ts) = ts {
        message["ts"] = ts.into();
        message["channel"] = "C1".into();
    }
    message
}

fn kept(ts: &str) -> DeliveryOutcome {
    let data = [("ts", ts), ("channel", "C1")];
    DeliveryOutcome::OkWith(data.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

#[tokio::test]
async fn a_bots_message_is_posted_and_its_name_is_kept() {
    let answer = json!({"ok": true, "channel": "C1", "ts": "1.2", "message": {"text": "x".repeat(100_000)}});
    let (outcome, seen) = Slack::default().send(BOT, message(None), &[answer]).await;
    assert_eq!(outcome, kept("1.2"));
    assert_eq!(seen, [("/api/chat.postMessage".to_owned(), "Bearer xoxb-secret".to_owned(), message(None))]);
}

#[tokio::test]
async fn a_message_that_is_there_is_changed() {
    let answer = json!({"ok": true, "channel": "C1", "ts": "1.2"});
    let (outcome, seen) = Slack::default().send(BOT, message(Some("1.2")), &[answer]).await;
    assert_eq!(outcome, kept("1.2"));
    let change = json!({"channel": "C1", "ts": "1.2", "attachments": [{"text": "t"}]});
    assert_eq!(seen, [("/api/chat.update".to_owned(), "Bearer xoxb-secret".to_owned(), change)]);
}

#[tokio::test]
async fn a_message_that_was_deleted_is_posted_anew() {
    let answers =
        [json!({"ok": false, "error": "message_not_found"}), json!({"ok": true, "channel": "C1", "ts": "3.4"})];
    let (outcome, seen) = Slack::default().send(BOT, message(Some("1.2")), &answers).await;
    assert_eq!(outcome, kept("3.4"));
    let paths: Vec<&str> = seen.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(paths, ["/api/chat.update", "/api/chat.postMessage"]);
    assert_eq!((seen[1].2.get("ts"), &seen[1].2["channel"]), (None, &json!("C1")));
}

const THREAD: &str = "app_token: x, app_url: 'http://ADDRESS/api/chat.postMessage', message_strategy: thread";

/// A message for a thread, with a line above unless it is the `plain` kind.
fn in_thread(below: Option<&str>, plain: bool, emoji: Option<&str>) -> Value {
    let mut message = json!({"channel": "#a", "username": "w", "attachments": [{"text": "t"}]});
    if let Some(ts) = below {
        (message["thread_ts"], message["channel"]) = (ts.into(), "C1".into());
    }
    let header = (!plain).then(|| json!({"channel": "#a", "username": "w", "attachments": [{"title": "FIRING"}]}));
    message["thread"] = json!({"header": header, "states": "FIRING:1", "emoji": emoji});
    message
}

fn of_thread(ts: &str) -> DeliveryOutcome {
    let data = [("ts", ts), ("channel", "C1"), ("states", "FIRING:1")];
    DeliveryOutcome::OkWith(data.map(|(key, value)| (key.to_owned(), value.to_owned())).into())
}

/// Which methods were called, and below or about which message.
fn calls(seen: &[(String, String, Value)]) -> Vec<String> {
    let about = |message: &Value| {
        let named = |key: &str| message[key].as_str().map(|ts| format!(" {key}={ts}")).unwrap_or_default();
        ["channel", "thread_ts", "ts", "timestamp", "name"].map(named).concat()
    };
    seen.iter().map(|(path, _, message)| format!("{path}{}", about(message))).collect()
}

fn ok(ts: &str) -> Value {
    json!({"ok": true, "channel": "C1", "ts": ts})
}

#[tokio::test]
async fn a_thread_begins_with_its_line_and_goes_on_below_it() {
    let (outcome, seen) = Slack::default().send(THREAD, in_thread(None, false, None), &[ok("1.2"), ok("3.4")]).await;
    assert_eq!(outcome, of_thread("1.2"));
    let post = "/api/chat.postMessage";
    assert_eq!(calls(&seen), [format!("{post} channel=#a"), format!("{post} channel=C1 thread_ts=1.2")]);
    assert_eq!(seen[1].2.get("thread"), None);

    let answers = [ok("5.6"), ok("1.2"), json!({"ok": false, "error": "already_reacted"})];
    let (outcome, seen) = Slack::default().send(THREAD, in_thread(Some("1.2"), false, Some("tada")), &answers).await;
    assert_eq!(outcome, of_thread("1.2"));
    let expected = [
        "/api/chat.postMessage channel=C1 thread_ts=1.2",
        "/api/chat.update channel=C1 ts=1.2",
        "/api/reactions.add channel=C1 timestamp=1.2 name=tada",
    ];
    assert_eq!(calls(&seen), expected);
    assert_eq!(seen[1].2.get("username"), None, "only a new message has a name");
}

#[tokio::test]
async fn without_a_line_the_first_message_stands_above() {
    let (outcome, seen) = Slack::default().send(THREAD, in_thread(None, true, None), &[ok("1.2")]).await;
    assert_eq!((outcome, calls(&seen)), (of_thread("1.2"), vec!["/api/chat.postMessage channel=#a".to_owned()]));
    let (outcome, seen) = Slack::default().send(THREAD, in_thread(Some("1.2"), true, None), &[ok("3.4")]).await;
    let below = "/api/chat.postMessage channel=C1 thread_ts=1.2".to_owned();
    assert_eq!((outcome, calls(&seen)), (of_thread("1.2"), vec![below]));
}

#[tokio::test]
async fn a_thread_that_is_gone_is_begun_anew() {
    let gone = json!({"ok": false, "error": "thread_not_found"});
    let answers = [gone, ok("5.6"), ok("7.8")];
    let (outcome, seen) = Slack::default().send(THREAD, in_thread(Some("1.2"), false, None), &answers).await;
    assert_eq!(outcome, of_thread("5.6"));
    assert_eq!(calls(&seen)[2], "/api/chat.postMessage channel=C1 thread_ts=5.6");
}

#[tokio::test]
async fn a_message_that_is_out_is_not_failed_by_what_is_only_tried() {
    let answers = [ok("5.6"), Value::Null, Value::Null];
    let (outcome, seen) = Slack::default().send(THREAD, in_thread(Some("1.2"), false, Some("tada")), &answers).await;
    assert_eq!((outcome, seen.len()), (of_thread("1.2"), 3));
}

/// What becomes of each attempt at the first message of a thread, and what was called.
async fn attempts(answers: &[Value], timeout: Span, count: usize) -> (Vec<DeliveryOutcome>, Vec<String>) {
    let slack = Slack::default();
    *slack.answers.lock().unwrap() = answers.iter().cloned().collect();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = THREAD.replace("ADDRESS", &listener.local_addr().unwrap().to_string());
    let router = Router::new().fallback(method).with_state(slack.clone());
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = format!("    slack_configs: [{{{config}}}]\n");
    let delivery = Delivery { timeout, ..parcel(&config, &in_thread(None, false, None).to_string()) };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (senders, mut outcomes) = (Senders::default(), Vec::new());
    for _ in 0..count {
        outcomes.push(senders.deliver(&delivery).await);
    }
    let seen = slack.seen.lock().unwrap();
    (outcomes, calls(&seen))
}

#[tokio::test]
async fn a_line_is_used_again_after_no_answer_and_given_up_once_it_is_gone() {
    let (line, below) = ("/api/chat.postMessage channel=#a", "/api/chat.postMessage channel=C1 thread_ts=");
    let (outcomes, seen) = attempts(&[ok("1.2"), Value::Null, ok("3.4")], Span::from_millis(500), 2).await;
    assert_eq!((reason(&outcomes[0]).0, &outcomes[1]), (true, &of_thread("1.2")));
    assert_eq!(seen, [line.to_owned(), format!("{below}1.2"), format!("{below}1.2")]);

    let no = |error: &str| json!({"ok": false, "error": error});
    let answers = [ok("1.2"), no("ratelimited"), no("thread_not_found"), ok("5.6"), ok("7.8")];
    let (outcomes, seen) = attempts(&answers, Span::from_seconds(10), 2).await;
    assert_eq!(outcomes[1], of_thread("5.6"));
    assert_eq!(seen[2..], [format!("{below}1.2"), line.to_owned(), format!("{below}5.6")]);
}

#[tokio::test]
async fn a_line_whose_message_failed_is_used_by_the_next_attempt() {
    let answers = [ok("1.2"), json!({"ok": false, "error": "ratelimited"}), ok("3.4")];
    let (outcomes, seen) = attempts(&answers, Span::from_seconds(10), 2).await;
    assert!(reason(&outcomes[0]).0);
    assert_eq!(outcomes[1], of_thread("1.2"));
    assert_eq!(seen[1..], ["/api/chat.postMessage channel=C1 thread_ts=1.2"; 2], "one line");
}

#[tokio::test]
async fn an_answer_that_is_not_ok_is_a_failure() {
    let webhook = "api_url: 'http://ADDRESS/services/T0/B0/t0ken'";
    let cases = [
        (
            BOT,
            json!({"ok": false, "error": "channel_not_found"}),
            false,
            r##"channel "#a": Slack answers "channel_not_found""##,
        ),
        (BOT, json!({"ok": false, "error": "ratelimited"}), true, r##"channel "#a": Slack answers "ratelimited""##),
        (BOT, json!({}), false, r##"channel "#a": Slack answers "the answer does not say ok""##),
        (
            webhook,
            json!("invalid_payload at T0/B0/t0ken"),
            false,
            r##"channel "#a": Slack answers "invalid_payload at T0/B0/t0ken""##,
        ),
        (webhook, json!("no_service services/T0/B0/t0ken"), false, r##"channel "#a": Slack answers "no_service ***""##),
    ];
    for (config, answer, retry, expected) in cases {
        let (outcome, _) = Slack::default().send(config, message(None), &[answer]).await;
        assert_eq!(reason(&outcome), (retry, expected));
    }
    let (outcome, _) = Slack::default().send(webhook, message(None), &[json!("ok")]).await;
    assert_eq!(outcome, DeliveryOutcome::Ok);
}

#[tokio::test]
async fn a_slack_that_is_called_too_often_says_when_to_come_again() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let config = format!("    slack_configs: [{{api_url: 'http://{address}/busy'}}]\n");
    let DeliveryOutcome::Failed { retry, retry_after, .. } = deliver(&config, &message(None).to_string()).await else {
        panic!("delivered")
    };
    assert_eq!((retry, retry_after), (true, Some(Span::from_seconds(7))));
    assert_eq!(receiver.seen().len(), 1);
}
