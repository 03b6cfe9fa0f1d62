//! `rocketchat_configs`: the message is posted in the name of a user. <https://developer.rocket.chat/apidocs/post-message>

use serde_json::Value;
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::Answer;
use super::{Context, failed};

/// Characters of an error that go into a reason.
const MAX_ERROR_CHARS: usize = 200;

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::RocketChat(rocketchat) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Rocket.Chat");
    };
    let Body::Json(body) = &delivery.body;
    let request = match context.clients.prepare(&rocketchat.http, &context.folder.load_full()).await {
        Ok(request) => request,
        Err(reason) => return failed(true, reason),
    };
    let url = format!("{}/api/v1/chat.postMessage", rocketchat.url.expose().trim_end_matches('/'));
    match request.ask_json(url, body.to_string()).await {
        Ok(answer) => judge(&answer),
        Err(outcome) => outcome,
    }
}

/// A status of success may come with an answer that tells of none.
fn judge(answer: &Answer) -> DeliveryOutcome {
    let Ok(parsed) = serde_json::from_str::<Value>(&answer.text) else {
        return failed(true, "the answer is no JSON");
    };
    if parsed["success"] == Value::Bool(true) {
        return DeliveryOutcome::Ok;
    }
    let error = parsed["error"].as_str().unwrap_or("the answer does not say success");
    let error: String = error.chars().take(MAX_ERROR_CHARS).collect();
    failed(false, format!("Rocket.Chat answers {error:?}"))
}
