mod conversations;

mod email;

mod hostile;

mod lent;

mod services;

mod slack;

mod tls;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use watchfire_collector_core::alertmanager;
use watchfire_collector_core::notify::{Body, DeliveryId};
use watchfire_shared::time::Span;

use super::*;

/// A receiver that answers by path, and remembers each request's method, path and headers.
#[derive(Clone, Default)]
struct Receiver {
    seen: Arc<Mutex<Vec<(String, HeaderMap, String)>>>,
    /// Where `/elsewhere` redirects to.
    elsewhere: Arc<Mutex<String>>,
}

/// What Amazon answers to those who may assume a role.
const STS: &str = "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
    <AssumedRoleUser><Arn>a</Arn></AssumedRoleUser><Credentials><AccessKeyId>LENT</AccessKeyId>\
    <SecretAccessKey>k</SecretAccessKey><SessionToken>t0ken</SessionToken><Expiration>2999-01-01T00:00:00Z</Expiration>\
    </Credentials></AssumeRoleResult></AssumeRoleResponse>";

async fn answer(State(receiver): State<Receiver>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 4 << 20).await.unwrap();
    let line = format!("{} {}", parts.method, parts.uri);
    receiver.seen.lock().unwrap().push((line, parts.headers, String::from_utf8(body.to_vec()).unwrap()));
    match parts.uri.path() {
        "/busy" => (StatusCode::TOO_MANY_REQUESTS, [(header::RETRY_AFTER, "7")], "slow down").into_response(),
        "/broken" => (StatusCode::BAD_GATEWAY, "upstream\n gone").into_response(),
        "/bad/t0ken" => (StatusCode::BAD_REQUEST, "no hook bad/t0ken for s3cret").into_response(),
        "/moved" => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/ok")]).into_response(),
        "/elsewhere" => {
            let to = receiver.elsewhere.lock().unwrap().clone();
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, to)]).into_response()
        }
        "/slack" => "ok".into_response(),
        "/sts" => STS.into_response(),
        "/slow" => {
            std::future::pending::<()>().await;
            StatusCode::OK.into_response()
        }
        _ => StatusCode::OK.into_response(),
    }
}

impl Receiver {
    async fn start(&self) -> SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().iter().map(|(line, ..)| line.clone()).collect()
    }
}

fn delivery(url: &str, more: &str) -> Delivery {
    parcel(&format!("    webhook_configs:\n      - url: {url}\n{more}"), "{\"version\":\"4\"}")
}

/// A delivery to the one integration of a receiver.
fn parcel(receiver: &str, body: &str) -> Delivery {
    let text = format!("route: {{receiver: r}}\nreceivers:\n  - name: r\n{receiver}");
    let config = alertmanager::parse("alertmanager.yml", &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"));
    Delivery {
        id: DeliveryId(1),
        receiver: "r".into(),
        integration: config.integrations("r")[0].clone(),
        group_key: "{}".into(),
        body: Body::Json(body.into()),
        attempt: 1,
        timeout: Span::from_seconds(10),
    }
}

async fn send(url: &str, more: &str) -> DeliveryOutcome {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Senders::default().deliver(&delivery(url, more)).await
}

async fn deliver(receiver: &str, body: &str) -> DeliveryOutcome {
    let _ = rustls::crypto::ring::default_provider().install_default();
    Senders::default().deliver(&parcel(receiver, body)).await
}

fn reason(outcome: &DeliveryOutcome) -> (bool, &str) {
    match outcome {
        DeliveryOutcome::Ok | DeliveryOutcome::OkWith(_) => panic!("delivered"),
        DeliveryOutcome::Failed { retry, reason, .. } => (*retry, reason),
    }
}

#[tokio::test]
async fn a_notification_is_posted_as_json_with_what_http_config_adds() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let config = "        http_config:\n          basic_auth: {username: u, password: s3cret}\n          http_headers: {X-Team: {values: [a, b]}}\n";
    assert_eq!(send(&format!("http://{address}/ok"), config).await, DeliveryOutcome::Ok);
    let seen = receiver.seen.lock().unwrap();
    let [(line, headers, body)] = seen.as_slice() else { panic!("one request: {seen:?}") };
    assert_eq!((line.as_str(), body.as_str()), ("POST /ok", "{\"version\":\"4\"}"));
    assert_eq!(headers["content-type"], "application/json");
    assert_eq!(headers["authorization"], "Basic dTpzM2NyZXQ=");
    assert_eq!(headers.get_all("x-team").iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(headers["user-agent"].to_str().unwrap().starts_with("Alertmanager/"));
}

#[tokio::test]
async fn a_url_is_filled_in_for_the_call() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let config =
        format!("    webhook_configs: [{{url: 'http://{address}/t0ken/{{{{ .Status }}}}?a={{{{ .Receiver }}}}'}}]\n");
    let body = r#"{"filled_url":"\u{f8ff}0\u{f8ff}fir ing\u{f8ff}1\u{f8ff}r\r\nX: y","message":"{\"a\":1}"}"#;
    let body = body.replace("\\u{f8ff}", "\u{f8ff}");
    assert_eq!(deliver(&config, &body).await, DeliveryOutcome::Ok);
    assert_eq!(reason(&deliver(&config, "{}").await), (false, "the message was made for another URL"));
    // The URL was a template when the message was made.
    let plain = format!("    webhook_configs: [{{url: 'http://{address}/plain'}}]\n");
    assert_eq!(deliver(&plain, &body).await, DeliveryOutcome::Ok);
    let seen: Vec<_> = receiver.seen.lock().unwrap().iter().map(|(line, _, body)| format!("{line} {body}")).collect();
    assert_eq!(seen, ["POST /t0ken/fir%20ing?a=r%0D%0AX:%20y {\"a\":1}", "POST /plain {\"a\":1}"]);
}

#[tokio::test]
async fn the_answer_says_whether_to_try_again_and_tells_no_secret() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let busy = send(&format!("http://{address}/busy"), "").await;
    let expected = DeliveryOutcome::Failed {
        retry: true,
        reason: "status 429 Too Many Requests: slow down".into(),
        retry_after: Some(Span::from_seconds(7)),
    };
    assert_eq!(busy, expected);
    let broken = send(&format!("http://{address}/broken"), "").await;
    assert_eq!(reason(&broken), (true, "status 502 Bad Gateway: upstream gone"));
    let secret = "        http_config: {authorization: {credentials: s3cret}}\n";
    let bad = send(&format!("http://{address}/bad/t0ken"), secret).await;
    assert_eq!(reason(&bad), (false, "status 400 Bad Request: no hook *** for ***"));
}

#[tokio::test]
async fn a_receiver_that_cannot_be_reached_is_tried_again() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = send(&format!("http://{closed}/t0ken"), "").await;
    let (retry, reason) = reason(&refused);
    assert!(retry && reason.contains("refused") && !reason.contains("t0ken"), "{reason}");
}

#[tokio::test]
async fn an_attempt_ends_in_time() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let mut slow = delivery(&format!("http://{address}/slow"), "");
    slow.timeout = Span::from_millis(50);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let senders = Senders::default();
    assert_eq!(reason(&senders.deliver(&slow).await), (true, "no answer within 50ms"));
    assert_eq!(senders.counts(), BTreeMap::from([(("webhook", "failed"), 1)]));
}

#[tokio::test]
async fn redirects_are_followed_but_carry_no_credentials_to_another_host() {
    let (receiver, other) = (Receiver::default(), Receiver::default());
    let (address, elsewhere) = (receiver.start().await, other.start().await);
    *receiver.elsewhere.lock().unwrap() = format!("http://{elsewhere}/ok");
    let url = |path: &str| format!("http://{address}{path}");
    let secret = "        http_config: {authorization: {credentials: s3cret}}\n";

    assert_eq!(send(&url("/moved"), secret).await, DeliveryOutcome::Ok);
    assert_eq!(receiver.seen(), ["POST /moved", "POST /ok"]);
    assert_eq!(send(&url("/elsewhere"), "").await, DeliveryOutcome::Ok);
    assert_eq!(other.seen(), ["POST /ok"]);

    let kept = send(&url("/elsewhere"), secret).await;
    let not_followed = "status 307 Temporary Redirect, a redirect that is not followed";
    assert_eq!(reason(&kept), (false, not_followed));
    let off = send(&url("/moved"), "        http_config: {follow_redirects: false}\n").await;
    assert_eq!(reason(&off), (false, not_followed));
    assert_eq!(other.seen().len(), 1, "nothing else went to the other host");
}

#[tokio::test]
async fn a_proxy_is_used_except_for_the_hosts_that_are_left_out() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let proxy = |more: &str| format!("        http_config: {{proxy_url: 'http://u:p@{address}', {more}}}\n");
    let through = proxy("no_proxy: 'example.net,127.0.0.1', proxy_connect_header: {X-Proxy: [a]}");
    assert_eq!(send("http://hooks.example.org/ok", &through).await, DeliveryOutcome::Ok);
    let direct = format!("http://{address}/direct");
    assert_eq!(send(&direct, &through).await, DeliveryOutcome::Ok);
    let seen = receiver.seen.lock().unwrap();
    let [(first, headers, _), (second, own, _)] = seen.as_slice() else { panic!("two requests: {seen:?}") };
    assert_eq!((first.as_str(), second.as_str()), ("POST http://hooks.example.org/ok", "POST /direct"));
    assert_eq!(
        (headers["host"].to_str().unwrap(), headers["proxy-authorization"].to_str().unwrap()),
        ("hooks.example.org", "Basic dTpw")
    );
    assert_eq!(own.get("proxy-authorization"), None);
}

#[tokio::test]
async fn secrets_in_files_are_read_at_each_attempt() {
    let receiver = Receiver::default();
    let address = receiver.start().await;
    let folder = tempfile::tempdir().unwrap();
    let config = "        http_config: {authorization: {credentials_file: token}}\n";
    let delivery = delivery(&format!("http://{address}/ok"), config);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let senders = Senders::default();
    senders.set_folder(folder.path());
    let missing = senders.deliver(&delivery).await;
    assert!(reason(&missing).1.contains("token"), "{missing:?}");
    for token in ["one", "two"] {
        std::fs::write(folder.path().join("token"), format!("{token}\n")).unwrap();
        assert_eq!(senders.deliver(&delivery).await, DeliveryOutcome::Ok);
    }
    let seen = receiver.seen.lock().unwrap();
    let tokens: Vec<_> = seen.iter().map(|(_, headers, _)| headers["authorization"].to_str().unwrap()).collect();
    assert_eq!(tokens, ["Bearer one", "Bearer two"]);
}

#[test]
fn every_kind_of_receiver_that_the_core_takes_has_a_sender() {
    let sendable: BTreeSet<&str> = SENDERS.iter().map(|sender| sender.kind).collect();
    let known: BTreeSet<&str> = alertmanager::receiver::KINDS.iter().map(|kind| kind.name).collect();
    assert_eq!(sendable, known);
}

#[tokio::test]
async fn one_that_panics_is_tried_again_and_the_next_goes_on() {
    let within = Span::from_seconds(5);
    let outcome = attempt(within, async { panic!("a secret") }).await;
    let DeliveryOutcome::Failed { retry: true, reason, .. } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("panicked") && !reason.contains("secret"), "{reason}");
    assert_eq!(attempt(within, async { DeliveryOutcome::Ok }).await, DeliveryOutcome::Ok);
}
