//! Slack's message: one attachment, as Alertmanager builds it.
//!
//! <https://docs.slack.dev/reference/methods/chat.postMessage> and
//! <https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>

use std::collections::BTreeMap;

use serde::Serialize;

use super::message::{Context, Renderer, cut};
use crate::alertmanager::receiver::slack::SlackAction;
use crate::alertmanager::{Slack, Template};
use crate::template::Escape;

/// What the notification log keeps of a message that may be changed: when it was posted, which is its id, and the id of its
/// channel.
pub const KEPT_TS: &str = "ts";
pub const KEPT_CHANNEL: &str = "channel";

/// Characters of a title; Slack cuts longer ones.
const MAX_TITLE_CHARS: usize = 1024;
/// Characters of an address, of a name and of a button's parts; Slack refuses longer ones.
const MAX_PLAIN_CHARS: usize = 3000;
/// Characters of a text; Slack refuses longer messages.
const MAX_TEXT_CHARS: usize = 40_000;

#[derive(Serialize)]
struct Message {
    #[serde(skip_serializing_if = "String::is_empty")]
    channel: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    username: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_emoji: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    icon_url: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    link_names: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    attachments: [Attachment; 1],
    /// The message that this one takes the place of.
    #[serde(skip_serializing_if = "Option::is_none")]
    ts: Option<String>,
}

#[derive(Serialize)]
struct Attachment {
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title_link: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pretext: String,
    text: String,
    fallback: String,
    callback_id: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    fields: Vec<Field>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    actions: Vec<Action>,
    #[serde(skip_serializing_if = "String::is_empty")]
    image_url: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    thumb_url: String,
    footer: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    color: String,
    mrkdwn_in: Vec<String>,
}

#[derive(Serialize)]
struct Field {
    title: String,
    value: String,
    short: bool,
}

#[derive(Serialize)]
struct Action {
    #[serde(flatten)]
    parts: BTreeMap<&'static str, String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    confirm: BTreeMap<&'static str, String>,
}

pub(super) fn render(slack: &Slack, context: &Context<'_>, renderer: &mut Renderer<'_>) -> Result<String, String> {
    let texts = &slack.texts;
    let mut channel = renderer.exact("channel", &texts.channel, Escape::None)?;
    let previous = (context.previous.get(KEPT_TS), context.previous.get(KEPT_CHANNEL));
    let mut ts = None;
    if let (true, (Some(of), Some(id))) = (slack.update_message, previous) {
        (ts, channel) = (Some(of.clone()), id.clone());
    }
    let fields = slack.fields.iter().map(|field| Field {
        title: cut(renderer.text("fields", &field.title, Escape::Mrkdwn), MAX_TITLE_CHARS),
        value: cut(renderer.text("fields", &field.value, Escape::Mrkdwn), MAX_TEXT_CHARS),
        short: field.short,
    });
    let fields = fields.collect();
    let actions = slack.actions.iter().map(|action| render_action(action, renderer)).collect();
    let mut words = |key, template: &Template| cut(renderer.text(key, template, Escape::Mrkdwn), MAX_TEXT_CHARS);
    let (pretext, text) = (words("pretext", &texts.pretext), words("text", &texts.text));
    let (fallback, footer) = (words("fallback", &texts.fallback), words("footer", &texts.footer));
    let message_text = words("message_text", &texts.message_text);
    let title = cut(words("title", &texts.title), MAX_TITLE_CHARS);
    let mut plain = |key, template: &Template| cut(renderer.text(key, template, Escape::None), MAX_PLAIN_CHARS);
    let attachment = Attachment {
        title,
        title_link: plain("title_link", &texts.title_link),
        pretext,
        text,
        fallback,
        callback_id: plain("callback_id", &texts.callback_id),
        fields,
        actions,
        image_url: plain("image_url", &texts.image_url),
        thumb_url: plain("thumb_url", &texts.thumb_url),
        footer,
        color: plain("color", &texts.color),
        mrkdwn_in: slack.mrkdwn_in.clone(),
    };
    let message = Message {
        channel,
        username: plain("username", &texts.username),
        icon_emoji: plain("icon_emoji", &texts.icon_emoji),
        icon_url: plain("icon_url", &texts.icon_url),
        link_names: slack.link_names,
        text: message_text,
        attachments: [attachment],
        ts,
    };
    serde_json::to_string(&message).map_err(|error| error.to_string())
}

fn render_action(action: &SlackAction, renderer: &mut Renderer<'_>) -> Action {
    let mut render = |parts: &[(&'static str, Template)]| {
        let text = |(key, part): &(&'static str, Template)| {
            (*key, cut(renderer.text(key, part, Escape::None), MAX_PLAIN_CHARS))
        };
        parts.iter().map(text).collect()
    };
    Action { parts: render(&action.parts), confirm: render(&action.confirm) }
}
