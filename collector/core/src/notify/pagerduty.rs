//! PagerDuty's event, without the integration's key and the incident's, which the sender adds.
//!
//! <https://developer.pagerduty.com/docs/events-api-v2/trigger-events/>,
//! <https://developer.pagerduty.com/docs/events-api-v1/trigger-events/>

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::message::{Renderer, cut};
use crate::alertmanager::Template;
use crate::alertmanager::receiver::PagerDuty;
use crate::alertmanager::receiver::pagerduty::Key;
use crate::template::Escape;

/// Characters of a summary.
const MAX_SUMMARY_CHARS: usize = 1024;
/// Bytes of an event; PagerDuty takes 512 KB, of which some are left to what the sender adds.
const MAX_EVENT_BYTES: usize = 510_000;
/// What stands in the place of details that are too long.
const TOO_LONG: &str = "the details are left out: the event would be longer than PagerDuty takes";

pub(super) fn render(pagerduty: &PagerDuty, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let action = if renderer.firing() { "trigger" } else { "resolve" };
    let mut text = |key: &str, template: &Template| renderer.text(key, template, Escape::None);
    let details = pagerduty.details.iter().map(|(name, template)| (name.clone(), detail(text(name, template))));
    let details: BTreeMap<String, Value> = details.collect();
    let summary = cut(text("description", &pagerduty.description), MAX_SUMMARY_CHARS);
    let client = [("client", &pagerduty.client), ("client_url", &pagerduty.client_url)];
    let mut event = Map::new();
    event.extend(client.map(|(key, template)| (key.to_owned(), Value::from(text(key, template)))));
    if let Key::Service(_) = pagerduty.key {
        event.insert("event_type".to_owned(), action.into());
        event.insert("description".to_owned(), summary.into());
        return written(event, details, |event, details| event.insert("details".to_owned(), details));
    }
    let mut payload = Map::from_iter([("summary".to_owned(), Value::from(summary))]);
    for (key, template) in [
        ("source", &pagerduty.source),
        ("severity", &pagerduty.severity),
        ("class", &pagerduty.class),
        ("component", &pagerduty.component),
        ("group", &pagerduty.group),
    ] {
        let text = text(key, template);
        payload.extend((!text.is_empty()).then(|| (key.to_owned(), text.into())));
    }
    let mut parts = |key: &str, names: &[&str], templates: &[Template]| {
        let texts =
            names.iter().zip(templates).map(|(name, template)| ((*name).to_owned(), text(key, template).into()));
        Value::Object(texts.collect())
    };
    let images: Vec<Value> =
        pagerduty.images.iter().map(|image| parts("images", &["src", "alt", "href"], image)).collect();
    let links: Vec<Value> = pagerduty.links.iter().map(|link| parts("links", &["href", "text"], link)).collect();
    // One without an address is refused as a whole.
    let with = |list: Vec<Value>, key: &str| -> Value { list.into_iter().filter(|one| one[key] != "").collect() };
    event.insert("event_action".to_owned(), action.into());
    event.insert("images".to_owned(), with(images, "src"));
    event.insert("links".to_owned(), with(links, "href"));
    event.insert("payload".to_owned(), payload.into());
    written(event, details, |event, details| {
        event.get_mut("payload").and_then(Value::as_object_mut)?.insert("custom_details".to_owned(), details)
    })
}

/// A detail that is JSON is shown as such.
fn detail(text: String) -> Value {
    match serde_json::from_str::<Value>(&text) {
        Ok(value) if value.is_object() || value.is_array() => value,
        _ => text.into(),
    }
}

/// The event with its details, or without them if it would be too long.
fn written(
    mut event: Map<String, Value>,
    details: BTreeMap<String, Value>,
    put: fn(&mut Map<String, Value>, Value) -> Option<Value>,
) -> Result<String, String> {
    put(&mut event, details.into_iter().collect::<Map<_, _>>().into());
    let whole = serde_json::to_string(&event).map_err(|error| error.to_string())?;
    if whole.len() <= MAX_EVENT_BYTES {
        return Ok(whole);
    }
    put(&mut event, json!({"error": TOO_LONG}));
    serde_json::to_string(&event).map_err(|error| error.to_string())
}
