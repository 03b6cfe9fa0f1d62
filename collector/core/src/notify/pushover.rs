//! Pushover's message: the fields of a form, without the user and the token, which the sender adds.
//!
//! <https://pushover.net/api>

use std::collections::BTreeMap;

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Pushover;
use crate::alertmanager::receiver::pushover::Format;
use crate::template::Escape;

/// Pushover's limits, characters.
const MAX_TITLE_CHARS: usize = 250;
const MAX_MESSAGE_CHARS: usize = 1024;
const MAX_URL_CHARS: usize = 512;
const MAX_URL_TITLE_CHARS: usize = 100;
/// Of the rest, which are words.
const MAX_WORD_CHARS: usize = 100;

pub(super) fn render(pushover: &Pushover, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let mut form = BTreeMap::new();
    let escape = if pushover.format == Format::Html { Escape::Html } else { Escape::None };
    for (key, template, escape, most) in [
        ("title", &pushover.title, Escape::None, MAX_TITLE_CHARS),
        ("message", &pushover.message, escape, MAX_MESSAGE_CHARS),
        ("url", &pushover.url, Escape::None, MAX_URL_CHARS),
        ("url_title", &pushover.url_title, Escape::None, MAX_URL_TITLE_CHARS),
        ("priority", &pushover.priority, Escape::None, MAX_WORD_CHARS),
        ("device", &pushover.device, Escape::None, MAX_WORD_CHARS),
        ("sound", &pushover.sound, Escape::None, MAX_WORD_CHARS),
    ] {
        let text = cut(renderer.text(key, template, escape).trim().to_owned(), most);
        if !text.is_empty() {
            form.insert(key, text);
        }
    }
    // It refuses empty messages.
    form.entry("message").or_insert_with(|| "(no details)".to_owned());
    let mut number = |key, span: watchfire_shared::time::Span| form.insert(key, (span.as_millis() / 1000).to_string());
    number("retry", pushover.retry);
    number("expire", pushover.expire);
    if pushover.ttl.is_positive() {
        number("ttl", pushover.ttl);
    }
    match pushover.format {
        Format::Html => form.insert("html", "1".to_owned()),
        Format::Monospace => form.insert("monospace", "1".to_owned()),
        Format::Plain => None,
    };
    serde_json::to_string(&form).map_err(|error| error.to_string())
}
