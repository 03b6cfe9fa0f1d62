//! Incidents and chats: what each service is asked, and with which secrets.

use serde_json::{Value, json};
use watchfire_collector_core::alertmanager::Secret;

use super::*;

/// Delivers a body to a service at the sink; the requests that it got.
async fn ask(receiver: &str, body: &Value) -> (DeliveryOutcome, Vec<(String, HeaderMap, String)>) {
    let sink = Receiver::default();
    let address = sink.start().await;
    let mut parcel = parcel(&receiver.replace("ADDRESS", &address.to_string()), &body.to_string());
    parcel.group_key = "{}:{alertname=\"A\"}".to_owned();
    let mut integration = (*parcel.integration).clone();
    if let alertmanager::IntegrationConfig::Pushover(pushover) = &mut integration.config {
        pushover.api_url = Secret::new(format!("http://{address}/1/messages.json"));
    }
    parcel.integration = Arc::new(integration);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let outcome = Senders::default().deliver(&parcel).await;
    let seen = sink.seen.lock().unwrap().drain(..).collect();
    (outcome, seen)
}

/// The one request, which succeeded.
async fn ask_once(receiver: &str, body: &Value) -> (String, HeaderMap, String) {
    let (outcome, seen) = ask(receiver, body).await;
    assert_eq!(outcome, DeliveryOutcome::Ok);
    let [request] = seen.try_into().unwrap();
    request
}

/// `sha256sum` of the group's key.
const GROUP: &str = "ad4b39d3af6c5f089ddb8504a474cd124febe3ef322f263d58074fb0c51dc572";

fn parsed(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test]
async fn pagerdutys_event_has_the_keys_of_integration_and_group() {
    let config = "    pagerduty_configs: [{routing_key: s3cret, url: 'http://ADDRESS/v2/enqueue'}]\n";
    let (line, headers, body) =
        ask_once(config, &json!({"event_action": "trigger", "payload": {"summary": "s"}})).await;
    assert_eq!((line.as_str(), &headers["content-type"]), ("POST /v2/enqueue", &"application/json".parse().unwrap()));
    let expected =
        json!({"event_action": "trigger", "payload": {"summary": "s"}, "routing_key": "s3cret", "dedup_key": GROUP});
    assert_eq!(parsed(&body), expected);
}

#[tokio::test]
async fn an_alert_of_opsgenie_is_made_updated_and_closed_under_its_alias() {
    let config = "    opsgenie_configs: [{api_key: s3cret, api_url: 'http://ADDRESS/', update_alerts: true}]\n";
    let create = json!({"create": {"message": "m", "description": "d", "details": {"a": "b"}, "source": "s"}});
    let (outcome, seen) = ask(config, &create).await;
    assert_eq!(outcome, DeliveryOutcome::Ok);
    let [create, message, description] = seen.as_slice() else { panic!("three requests: {seen:?}") };
    assert_eq!(
        (create.0.as_str(), &create.1["authorization"]),
        ("POST /v2/alerts", &"GenieKey s3cret".parse().unwrap())
    );
    let alert = json!({"alias": GROUP, "message": "m", "description": "d", "details": {"a": "b"}, "source": "s"});
    assert_eq!(parsed(&create.2), alert);
    assert_eq!(message.0, format!("PUT /v2/alerts/{GROUP}/message?identifierType=alias"));
    assert_eq!(parsed(&message.2), json!({"message": "m"}));
    assert_eq!(description.0, format!("PUT /v2/alerts/{GROUP}/description?identifierType=alias"));
    let (line, _, body) = ask_once(config, &json!({"close": {"source": "s"}})).await;
    assert_eq!(line, format!("POST /v2/alerts/{GROUP}/close?identifierType=alias"));
    assert_eq!(parsed(&body), json!({"source": "s"}));
}

#[tokio::test]
async fn telegram_gets_the_chat_and_the_token_is_told_to_nobody_else() {
    let config = "    telegram_configs: [{bot_token: '7:s3cret', chat_id: -100, api_url: 'http://ADDRESS'}]\n";
    let (line, _, body) = ask_once(config, &json!({"text": "t"})).await;
    assert_eq!(
        (line.as_str(), parsed(&body)),
        ("POST /bot7:s3cret/sendMessage", json!({"text": "t", "chat_id": -100}))
    );
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let refused = deliver(&config.replace("ADDRESS", &closed.to_string()), "{\"text\":\"t\"}").await;
    assert!(reason(&refused).0 && !reason(&refused).1.contains("s3cret"), "{refused:?}");
}

#[tokio::test]
async fn chats_get_their_message_as_it_is() {
    for (config, path) in [
        ("    discord_configs: [{webhook_url: 'http://ADDRESS/api/webhooks/1/t'}]\n", "POST /api/webhooks/1/t"),
        ("    msteamsv2_configs: [{webhook_url: 'http://ADDRESS/w?sig=x'}]\n", "POST /w?sig=x"),
    ] {
        let (line, _, body) = ask_once(config, &json!({"a": "b"})).await;
        assert_eq!((line.as_str(), parsed(&body)), (path, json!({"a": "b"})));
    }
}

#[tokio::test]
async fn pushovers_form_holds_any_text() {
    let config = "    pushover_configs: [{user_key: u, token: t}]\n";
    let (line, headers, body) = ask_once(config, &json!({"message": "a&token=x é\r\n", "priority": "2"})).await;
    assert_eq!(line, "POST /1/messages.json");
    assert_eq!(headers["content-type"], "application/x-www-form-urlencoded");
    assert_eq!(body, "message=a%26token%3Dx%20%C3%A9%0D%0A&priority=2&token=t&user=u");
}

#[tokio::test]
async fn a_service_that_refuses_is_quoted_without_its_key() {
    let config = "    pagerduty_configs: [{routing_key: s3cret, url: 'http://ADDRESS/bad/t0ken'}]\n";
    let (outcome, seen) = ask(config, &json!({})).await;
    assert_eq!(reason(&outcome), (false, "status 400 Bad Request: no hook *** for ***"));
    assert_eq!(seen.len(), 1);
}
