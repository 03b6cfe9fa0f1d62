//! `slack_configs`: a message is posted to a webhook or as a bot, takes the place of the group's earlier one, or goes into
//! the group's thread ([`thread`]).
//!
//! <https://docs.slack.dev/reference/methods/chat.postMessage>, <https://docs.slack.dev/reference/methods/chat.update>

mod thread;

use serde_json::{Map, Value};
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::slack::{POST_MESSAGE, Slack, Strategy};
use watchfire_collector_core::notify::slack::{KEPT_CHANNEL, KEPT_TS, THREAD};
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome, ReceiverData};

use super::client::{Answer, secrets};
use super::{Context, failed};

pub(super) use thread::Begun;

/// Instead of [`POST_MESSAGE`].
const UPDATE: &str = "/chat.update";
/// What only a new message may say.
const ONLY_NEW: [&str; 3] = ["username", "icon_emoji", "icon_url"];
/// Errors after which the earlier message can never be changed; a new one is posted.
const UNCHANGEABLE: [&str; 3] = ["message_not_found", "cant_update_message", "edit_window_closed"];
/// Errors of Slack's own that pass.
const PASSING: [&str; 6] =
    ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"];
/// Bytes of an id that are kept; Slack's have under 20.
const MAX_ID_BYTES: usize = 128;
/// Characters of an error that go into a reason.
const MAX_ERROR_CHARS: usize = 200;

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Slack(slack) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Slack");
    };
    let Body::Json(body) = &delivery.body;
    let mut message: Map<String, Value> = match serde_json::from_str(body) {
        Ok(message) => message,
        Err(error) => return failed(false, error.to_string()),
    };
    let url = match secrets::read(&slack.url, &context.folder.load_full()).await {
        Ok(url) => url,
        Err(reason) => return failed(true, reason),
    };
    if let Some(thread) = message.remove(THREAD) {
        return thread::send(context, slack, delivery, (&url, message), thread).await;
    }
    if let (Some(base), true) = (url.strip_suffix(POST_MESSAGE), message.contains_key(KEPT_TS)) {
        let mut change = message.clone();
        change.retain(|key, _| !ONLY_NEW.contains(&key.as_str()));
        match call(context, slack, format!("{base}{UPDATE}"), &change).await {
            Err(Refusal::Slack(error)) if UNCHANGEABLE.contains(&error.as_str()) => {}
            result => return outcome(slack, &message, result),
        }
    }
    message.remove(KEPT_TS);
    let result = call(context, slack, url, &message).await;
    outcome(slack, &message, result)
}

/// Why a message was not taken.
enum Refusal {
    /// Slack's word for it.
    Slack(String),
    Other(DeliveryOutcome),
}

async fn call(
    context: &Context,
    slack: &Slack,
    url: String,
    message: &Map<String, Value>,
) -> Result<ReceiverData, Refusal> {
    let body = serde_json::to_string(message).map_err(|error| Refusal::Other(failed(false, error.to_string())))?;
    let request = context.clients.prepare(&slack.http, &context.folder.load_full()).await;
    let request = request.map_err(|reason| Refusal::Other(failed(true, reason)))?;
    read(&request.ask_json(url, body).await.map_err(Refusal::Other)?)
}

/// Reads an answer of status 2xx: a bot gets JSON, which may say that nothing was posted; a webhook gets `ok`.
fn read(answer: &Answer) -> Result<ReceiverData, Refusal> {
    let error = |text: &str| Refusal::Slack(text.chars().take(MAX_ERROR_CHARS).collect());
    if !answer.json {
        return if answer.text.trim() == "ok" { Ok(ReceiverData::new()) } else { Err(error(&answer.text)) };
    }
    let Ok(parsed) = serde_json::from_str::<Value>(&answer.text) else {
        return Err(Refusal::Other(failed(true, "the answer is no JSON")));
    };
    if parsed["ok"] != Value::Bool(true) {
        return Err(error(parsed["error"].as_str().unwrap_or("the answer does not say ok")));
    }
    let id = |key: &str| parsed[key].as_str().filter(|id| !id.is_empty() && id.len() <= MAX_ID_BYTES);
    let ids = [KEPT_TS, KEPT_CHANNEL].iter().filter_map(|key| Some(((*key).to_owned(), id(key)?.to_owned())));
    Ok(ids.collect())
}

fn outcome(slack: &Slack, message: &Map<String, Value>, result: Result<ReceiverData, Refusal>) -> DeliveryOutcome {
    match result {
        Ok(data) if matches!(slack.strategy, Strategy::Update) && data.len() == 2 => DeliveryOutcome::OkWith(data),
        Ok(_) => DeliveryOutcome::Ok,
        Err(Refusal::Other(outcome)) => outcome,
        Err(Refusal::Slack(error)) => {
            let channel = message.get("channel").and_then(Value::as_str);
            let channel = channel.map(|channel| format!("channel {channel:?}: ")).unwrap_or_default();
            failed(PASSING.contains(&error.as_str()), format!("{channel}Slack answers {error:?}"))
        }
    }
}
