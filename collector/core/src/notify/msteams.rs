//! The message card for a connector of Microsoft Teams, as Alertmanager builds it.
//!
//! <https://learn.microsoft.com/en-us/outlook/actionable-messages/message-card-reference>

use serde_json::json;

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::TeamsConnector;
use crate::template::Escape;

/// Characters of the text. Teams takes messages of 28 KB, and a character has up to four bytes.
const MAX_TEXT_CHARS: usize = 6000;
const MAX_TITLE_CHARS: usize = 500;
/// The card's colours.
const FIRING: &str = "8C1A1A";
const RESOLVED: &str = "2DC72D";

pub(super) fn render(teams: &TeamsConnector, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let mut text = |key, template, most| cut(renderer.text(key, template, Escape::Markdown), most);
    let title = text("title", &teams.title, MAX_TITLE_CHARS);
    let summary = text("summary", &teams.summary, MAX_TITLE_CHARS);
    let text = text("text", &teams.text, MAX_TEXT_CHARS);
    let card = json!({
        "@context": "http://schema.org/extensions",
        "@type": "MessageCard",
        // Alertmanager writes it so, and Teams takes it.
        "type": "MessageCard",
        "title": title,
        "summary": summary,
        "text": text,
        "themeColor": if renderer.firing() { FIRING } else { RESOLVED },
    });
    Ok(card.to_string())
}
