//! Mattermost's message, as Alertmanager builds it.
//!
//! <https://developers.mattermost.com/integrate/webhooks/incoming/> and
//! <https://developers.mattermost.com/integrate/reference/message-attachments/>

use serde_json::{Map, Value, json};

use super::message::{Renderer, cut, insert_parts};
use crate::alertmanager::receiver::Mattermost;
use crate::alertmanager::receiver::mattermost::{MattermostAttachment, Priority};
use crate::template::Escape;

/// Mattermost's limit, characters.
const MAX_TEXT_CHARS: usize = 16_383;
const PRIORITIES: [&str; 3] = ["urgent", "important", "standard"];

pub(super) fn render(mattermost: &Mattermost, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let mut message = Map::new();
    insert_parts(&mut message, &mattermost.message, MAX_TEXT_CHARS, renderer);
    let text = renderer.text("text", &mattermost.text, Escape::Markdown);
    message.insert("text".to_owned(), cut(text, MAX_TEXT_CHARS).into());
    let attachments: Vec<Value> = mattermost.attachments.iter().map(|one| attachment(one, renderer)).collect();
    if !attachments.is_empty() {
        message.insert("attachments".to_owned(), attachments.into());
    }
    if let Some(card) = &mattermost.card {
        let card = cut(renderer.text("props", card, Escape::Markdown), MAX_TEXT_CHARS);
        message.insert("props".to_owned(), json!({ "card": card }));
    }
    if let Some(asked) = &mattermost.priority {
        message.insert("priority".to_owned(), priority(asked, renderer));
    }
    Ok(Value::Object(message).to_string())
}

fn attachment(attachment: &MattermostAttachment, renderer: &mut Renderer<'_>) -> Value {
    let mut block = Map::new();
    insert_parts(&mut block, &attachment.parts, MAX_TEXT_CHARS, renderer);
    let mut text = |template| cut(renderer.text("fields", template, Escape::Markdown), MAX_TEXT_CHARS);
    let fields = attachment.fields.iter().map(|field| {
        let mut cell = json!({"title": text(&field.title), "value": text(&field.value)});
        if let Some(short) = field.short {
            cell["short"] = short.into();
        }
        cell
    });
    let fields: Vec<Value> = fields.collect();
    if !fields.is_empty() {
        block.insert("fields".to_owned(), fields.into());
    }
    Value::Object(block)
}

/// What Mattermost takes: only an urgent message is repeated, and none of the lowest priority asks for anything.
fn priority(asked: &Priority, renderer: &mut Renderer<'_>) -> Value {
    let word = renderer.text("priority", &asked.word, Escape::None).to_lowercase();
    let word = PRIORITIES.into_iter().find(|known| *known == word).unwrap_or("standard");
    let mut priority = Map::from_iter([("priority".to_owned(), word.into())]);
    if asked.requested_ack && word != "standard" {
        priority.insert("requested_ack".to_owned(), true.into());
    }
    if asked.persistent && word == "urgent" {
        priority.insert("persistent_notifications".to_owned(), true.into());
    }
    Value::Object(priority)
}
