//! The adaptive card for Microsoft Teams, as Alertmanager builds it.
//!
//! <https://learn.microsoft.com/en-us/connectors/teams/#request-body-schema>, <https://adaptivecards.io/explorer/>

use serde_json::json;

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Teams;
use crate::template::Escape;

/// Characters of the text. Teams takes messages of 28 KB, and a character has up to four bytes.
const MAX_TEXT_CHARS: usize = 6000;
const MAX_TITLE_CHARS: usize = 500;

pub(super) fn render(teams: &Teams, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let title = cut(renderer.text("title", &teams.title, Escape::Markdown), MAX_TITLE_CHARS);
    let text = cut(renderer.text("text", &teams.text, Escape::Markdown), MAX_TEXT_CHARS);
    let color = if renderer.firing() { "Attention" } else { "Good" };
    let card = json!({
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.2",
        "body": [
            {"type": "TextBlock", "text": title, "weight": "Bolder", "size": "Medium", "wrap": true, "style": "heading", "color": color},
            {"type": "TextBlock", "text": text, "wrap": true},
        ],
        "msteams": {"width": "full"},
    });
    let attachment =
        json!({"contentType": "application/vnd.microsoft.card.adaptive", "contentUrl": null, "content": card});
    Ok(json!({"type": "message", "attachments": [attachment]}).to_string())
}
