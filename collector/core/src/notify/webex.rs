//! Webex' message. <https://developer.webex.com/docs/api/v1/messages/create-a-message>

use serde_json::json;

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Webex;
use crate::template::Escape;

/// Webex takes 7439 bytes, and counts them after encryption.
const MAX_MESSAGE_BYTES: usize = 7439;

pub(super) fn render(webex: &Webex, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let room = renderer.exact("room_id", &webex.room, Escape::None)?;
    let text = renderer.text("message", &webex.message, Escape::Markdown);
    let fits = text.floor_char_boundary(MAX_MESSAGE_BYTES);
    let message = if fits == text.len() {
        text
    } else {
        // The character that shows the cut has three bytes.
        let chars = text[..text.floor_char_boundary(MAX_MESSAGE_BYTES - 3)].chars().count();
        cut(text, chars)
    };
    Ok(json!({"markdown": message, "roomId": room}).to_string())
}
