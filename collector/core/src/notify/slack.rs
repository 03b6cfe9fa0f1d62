//! Slack's message: one attachment, as Alertmanager builds it; and in a thread, the line above it.
//!
//! <https://docs.slack.dev/reference/methods/chat.postMessage> and
//! <https://docs.slack.dev/legacy/legacy-messaging/legacy-secondary-message-attachments>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::document::Position;

use super::Reason;
use super::message::{Context, Renderer, cut};
use crate::alertmanager::receiver::slack::{SlackAction, Strategy, ThreadOptions};
use crate::alertmanager::{Slack, Template};
use crate::template::Escape;

/// What the notification log keeps of a message that may be changed: when it was posted, which is its id, and the id of its
/// channel.
pub const KEPT_TS: &str = "ts";
pub const KEPT_CHANNEL: &str = "channel";
/// And of a thread, what its line tells: `FIRING:2|RESOLVED:1`.
pub const KEPT_STATES: &str = "states";

/// Where in a thread a message goes; the sender takes it out of the message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// The line above, as it is now; without one, the group's first message stands above.
    pub header: Option<serde_json::Value>,
    /// To be kept under [`KEPT_STATES`].
    pub states: String,
    /// The reaction to what stands above.
    pub emoji: Option<String>,
}

/// The key of a [`Thread`] in a message.
pub const THREAD: &str = "thread";
/// States that a thread's line tells; older ones fall off.
const MAX_STATES: usize = 20;

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
    /// The message that this one stands below.
    #[serde(skip_serializing_if = "Option::is_none")]
    thread_ts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thread: Option<Thread>,
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
    let (mut ts, mut thread_ts) = (None, None);
    if let (Some(of), Some(id)) = previous {
        match slack.strategy {
            Strategy::New => {}
            Strategy::Update => (ts, channel) = (Some(of.clone()), id.clone()),
            Strategy::Thread(_) => (thread_ts, channel) = (Some(of.clone()), id.clone()),
        }
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
    let color = attachment.color.clone();
    let mut message = Message {
        channel,
        username: plain("username", &texts.username),
        icon_emoji: plain("icon_emoji", &texts.icon_emoji),
        icon_url: plain("icon_url", &texts.icon_url),
        link_names: slack.link_names,
        text: message_text,
        attachments: [attachment],
        ts,
        thread_ts,
        thread: None,
    };
    if let Strategy::Thread(options) = &slack.strategy {
        message.thread = Some(thread(options, (&message, color, texts.title.at), context, renderer));
    }
    serde_json::to_string(&message).map_err(|error| error.to_string())
}

/// How often in a row the group was in which state, up to now.
fn states(context: &Context<'_>) -> Vec<(String, u32)> {
    let kept = context.previous.get(KEPT_STATES).map_or("", String::as_str);
    let read =
        |part: &str| part.rsplit_once(':').and_then(|(state, times)| Some((state.to_owned(), times.parse().ok()?)));
    let mut states: Vec<(String, u32)> = kept.split('|').filter_map(read).collect();
    let state = match context.reason {
        Reason::First | Reason::NewAlerts => "FIRING",
        Reason::SomeResolved => "PARTIAL RESOLVE",
        Reason::AllResolved => "RESOLVED",
        Reason::Repeat => return states,
    };
    match states.last_mut() {
        Some((last, times)) if last == state => *times = times.saturating_add(1),
        _ => states.push((state.to_owned(), 1)),
    }
    states.split_off(states.len().saturating_sub(MAX_STATES))
}

/// What a thread's line tells beside its states.
const ALERT_NAME: &str = "{{ .CommonLabels.alertname }}";

fn thread(
    options: &ThreadOptions,
    (message, color, at): (&Message, String, Position),
    context: &Context<'_>,
    renderer: &mut Renderer<'_>,
) -> Thread {
    let states = states(context);
    let all_resolved = context.reason == Reason::AllResolved;
    let header = options.summary.then(|| {
        let name = renderer.text("alertname", &Template { at, text: ALERT_NAME.to_owned() }, Escape::Mrkdwn);
        let told = |(state, times): &(String, u32)| match times {
            1 => state.clone(),
            times => format!("{state} ({times})"),
        };
        let told: Vec<String> = states.iter().map(told).collect();
        let title = [told.join(" → "), name].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
        let title = cut(title, MAX_TITLE_CHARS);
        let color = match &options.resolve_color {
            Some(resolved) if all_resolved => {
                cut(renderer.text("resolve_color", resolved, Escape::None), MAX_PLAIN_CHARS)
            }
            _ => color,
        };
        let mut header = serde_json::json!({ "attachments": [{ "title": title, "fallback": title, "color": color }] });
        let parts = [
            ("channel", &message.channel),
            ("username", &message.username),
            ("icon_emoji", &message.icon_emoji),
            ("icon_url", &message.icon_url),
        ];
        for (key, value) in parts.into_iter().filter(|(_, value)| !value.is_empty()) {
            header[key] = value.as_str().into();
        }
        header
    });
    let states: Vec<String> = states.iter().map(|(state, times)| format!("{state}:{times}")).collect();
    Thread { header, states: states.join("|"), emoji: options.resolve_emoji.clone().filter(|_| all_resolved) }
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
