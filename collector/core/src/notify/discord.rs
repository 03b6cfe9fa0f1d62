//! Discord's message: an embed, as Alertmanager builds it.
//!
//! A value can make up no hidden link, and mentions nobody: only mentions that the configuration itself writes notify.
//! <https://discord.com/developers/docs/resources/webhook#execute-webhook>

use serde::Serialize;

use super::message::{Renderer, cut};
use crate::alertmanager::receiver::Discord;
use crate::template::Escape;

/// Discord's limits, characters.
const MAX_CONTENT_CHARS: usize = 2000;
const MAX_TITLE_CHARS: usize = 256;
const MAX_MESSAGE_CHARS: usize = 4096;
const MAX_USERNAME_CHARS: usize = 80;
/// The embed's colours: red while something fires, else green.
const FIRING: u32 = 0x0099_2d22;
const RESOLVED: u32 = 0x002e_cc71;

#[derive(Serialize)]
struct Message {
    content: String,
    embeds: [Embed; 1],
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    avatar_url: String,
    allowed_mentions: Mentions,
}

#[derive(Serialize)]
struct Embed {
    title: String,
    description: String,
    color: u32,
}

#[derive(Serialize)]
struct Mentions {
    parse: Vec<&'static str>,
}

pub(super) fn render(discord: &Discord, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let mut text = |key, template, most| cut(renderer.text(key, template, Escape::Markdown), most);
    let embed = Embed {
        title: text("title", &discord.title, MAX_TITLE_CHARS),
        description: text("message", &discord.message, MAX_MESSAGE_CHARS),
        color: 0,
    };
    let content = text("content", &discord.content, MAX_CONTENT_CHARS);
    let username = text("username", &discord.username, MAX_USERNAME_CHARS);
    let avatar_url = renderer.text("avatar_url", &discord.avatar_url, Escape::None);
    let message = Message {
        content,
        embeds: [Embed { color: if renderer.firing() { FIRING } else { RESOLVED }, ..embed }],
        username,
        avatar_url,
        allowed_mentions: mentions(&discord.content.text),
    };
    serde_json::to_string(&message).map_err(|error| error.to_string())
}

/// What the words of the configuration mention.
fn mentions(content: &str) -> Mentions {
    let kinds = [
        ("everyone", content.contains("@everyone") || content.contains("@here")),
        ("roles", content.contains("<@&")),
        ("users", content.replace("<@&", "").contains("<@")),
    ];
    Mentions { parse: kinds.into_iter().filter(|(_, mentioned)| *mentioned).map(|(kind, _)| kind).collect() }
}
