//! Telegram's message, without the bot's token and the chat, which the sender adds.
//!
//! <https://core.telegram.org/bots/api#sendmessage>

use serde_json::{Map, Value, json};

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Telegram;
use crate::alertmanager::receiver::telegram::ParseMode;
use crate::template::Escape;

/// Telegram's limit, characters.
const MAX_TEXT_CHARS: usize = 4096;

pub(super) fn render(telegram: &Telegram, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let (escape, mode) = match telegram.parse_mode {
        ParseMode::Html => (Escape::Html, Some("HTML")),
        ParseMode::Markdown => (Escape::Markdown, Some("Markdown")),
        ParseMode::MarkdownV2 => (Escape::Markdown, Some("MarkdownV2")),
        ParseMode::Plain => (Escape::None, None),
    };
    let text = cut(renderer.text("message", &telegram.message, escape), MAX_TEXT_CHARS);
    let mut message = Map::from_iter([
        ("text".to_owned(), Value::from(text)),
        ("disable_notification".to_owned(), telegram.silent.into()),
        ("link_preview_options".to_owned(), json!({"is_disabled": true})),
    ]);
    message.extend(mode.map(|mode| ("parse_mode".to_owned(), mode.into())));
    if telegram.thread > 0 {
        message.insert("message_thread_id".to_owned(), telegram.thread.into());
    }
    Ok(Value::Object(message).to_string())
}
