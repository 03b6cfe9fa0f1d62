//! Rocket.Chat's message: one attachment, as Alertmanager builds it.
//!
//! <https://developer.rocket.chat/apidocs/post-message>

use serde_json::{Map, Value, json};

use super::message::{Renderer, cut, insert_parts};
use crate::alertmanager::receiver::RocketChat;
use crate::template::Escape;

/// Characters of a title, and of any other text; the server refuses longer messages.
const MAX_TITLE_CHARS: usize = 1024;
const MAX_TEXT_CHARS: usize = 5000;

pub(super) fn render(rocketchat: &RocketChat, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let (mut message, mut attachment) = (Map::new(), Map::new());
    insert_parts(&mut message, &rocketchat.message, MAX_TITLE_CHARS, renderer);
    if let Some(icon) = message.remove("icon_url") {
        message.insert("avatar".to_owned(), icon);
    }
    insert_parts(&mut attachment, &rocketchat.attachment, MAX_TEXT_CHARS, renderer);
    if let Some(Value::String(title)) = attachment.get_mut("title") {
        *title = cut(std::mem::take(title), MAX_TITLE_CHARS);
    }
    let mut text = |template| cut(renderer.text("fields", template, Escape::Markdown), MAX_TEXT_CHARS);
    let fields = rocketchat.fields.iter();
    let fields: Vec<Value> = fields
        .map(|field| json!({"title": text(&field.title), "value": text(&field.value), "short": field.short}))
        .collect();
    if !fields.is_empty() {
        attachment.insert("fields".to_owned(), fields.into());
    }
    let actions: Vec<Value> = rocketchat
        .actions
        .iter()
        .map(|action| {
            let mut button = Map::from_iter([("type".to_owned(), "button".into())]);
            insert_parts(&mut button, &action.0, MAX_TEXT_CHARS, renderer);
            Value::Object(button)
        })
        .collect();
    if !actions.is_empty() {
        attachment.insert("actions".to_owned(), actions.into());
    }
    message.insert("attachments".to_owned(), json!([attachment]));
    Ok(Value::Object(message).to_string())
}
