//! `slack_configs`: a message with one attachment, posted to a webhook or as a bot.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::{Authorization, HttpConfig};
use crate::alertmanager::secret::{self, SecretSource};

/// What a message says and where it goes.
#[derive(Debug, Clone)]
pub struct Slack {
    pub url: SecretSource,
    /// With the bot's token, if there is one.
    pub http: Arc<HttpConfig>,
    pub strategy: Strategy,
    /// How long one attempt may take; zero leaves it to the group's interval.
    pub timeout: Span,
    pub texts: SlackTexts,
    pub fields: Vec<SlackField>,
    pub actions: Vec<SlackAction>,
    pub link_names: bool,
    /// Which parts of the attachment Slack formats.
    pub mrkdwn_in: Vec<String>,
}

/// What becomes of a group's message when there is more to tell.
#[derive(Debug, Clone)]
pub enum Strategy {
    /// It is followed by another one.
    New,
    /// It is changed.
    Update,
    /// It is answered to in its thread.
    Thread(ThreadOptions),
}

/// How a thread looks.
#[derive(Debug, Clone)]
pub struct ThreadOptions {
    /// The reaction to the thread's first message when all alerts have resolved.
    pub resolve_emoji: Option<String>,
    /// Whether the thread's first message is a line that tells how the group went, instead of the group's first message.
    pub summary: bool,
    /// The colour of that line when all alerts have resolved.
    pub resolve_color: Option<Template>,
}

/// The templates of a message; those that render to nothing are left out of it.
#[derive(Debug, Clone)]
pub struct SlackTexts {
    pub channel: Template,
    pub username: Template,
    pub icon_emoji: Template,
    pub icon_url: Template,
    /// The message's own text, beside its attachment.
    pub message_text: Template,
    pub color: Template,
    pub title: Template,
    pub title_link: Template,
    pub pretext: Template,
    pub text: Template,
    pub fallback: Template,
    pub callback_id: Template,
    pub footer: Template,
    pub image_url: Template,
    pub thumb_url: Template,
}

/// A field in the attachment's table.
#[derive(Debug, Clone)]
pub struct SlackField {
    pub title: Template,
    pub value: Template,
    /// Whether it may stand beside another one.
    pub short: bool,
}

/// A button; either a link or an action with a name.
#[derive(Debug, Clone)]
pub struct SlackAction {
    /// `type`, `text`, `style`, then `url`, or `name` and `value`, by their keys; absent ones are left out.
    pub parts: Vec<(&'static str, Template)>,
    /// `text`, `title`, `ok_text`, `dismiss_text` of the question that is asked before, by their keys.
    pub confirm: Vec<(&'static str, Template)>,
}

/// The end of the address that bots post to; the one that changes a message differs only here.
pub const POST_MESSAGE: &str = "/chat.postMessage";

const SECRETS: [&str; 4] = ["api_url", "api_url_file", "app_token", "app_token_file"];
const DEFAULT_MRKDWN_IN: [&str; 3] = ["fallback", "pretext", "text"];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, false, global, report);
    let destination = destination(&mut table, common.http, global, report);
    let strategy = strategy(&mut table, destination.as_ref().is_none_or(|(url, ..)| is_bots(url)), report);
    let timeout = table.optional(report, "timeout", document::span).unwrap_or(Span::ZERO);
    let texts = texts(&mut table, report);
    let short = table.optional(report, "short_fields", document::boolean).unwrap_or(false);
    let fields = document::list(move |node: &Node, report: &mut Report| read_field(node, short, report));
    let fields = table.optional(report, "fields", fields).unwrap_or_default();
    let actions = table.optional(report, "actions", document::list(read_action)).unwrap_or_default();
    let link_names = table.optional(report, "link_names", document::boolean).unwrap_or(false);
    let mut mrkdwn_in = field::words(&mut table, report, "mrkdwn_in");
    if mrkdwn_in.is_empty() {
        mrkdwn_in = DEFAULT_MRKDWN_IN.map(str::to_owned).to_vec();
    }
    table.finish(report);
    let (url, http) = destination?;
    let slack = Slack { url, http, strategy, timeout, texts, fields, actions, link_names, mrkdwn_in };
    Some((common.send_resolved, IntegrationConfig::Slack(Box::new(slack))))
}

const STRATEGIES: &[(&str, &str)] = &[("new", "new"), ("update", "update"), ("thread", "thread")];

/// What `message_strategy` says, or the older `update_message`.
fn strategy(table: &mut Table<'_>, is_bots: bool, report: &mut Report) -> Strategy {
    let older = table.optional(report, "update_message", document::boolean).unwrap_or(false);
    let strategy = table.optional(report, "message_strategy", document::word(STRATEGIES));
    let options = table.optional(report, "threaded_options", thread_options);
    let key_at = |table: &Table<'_>, key| table.entry(key).map_or(table.at(), |(key, _)| key.at);
    if options.is_some() && strategy != Some("thread") {
        report.add(key_at(table, "threaded_options"), "`threaded_options` needs `message_strategy: thread`");
    }
    if older && strategy.is_some_and(|strategy| strategy != "update") {
        let at = key_at(table, "update_message");
        report.add(at, "`update_message` and `message_strategy` contradict each other; leave `update_message` out");
    }
    let chosen = match strategy {
        Some("thread") => Strategy::Thread(options.unwrap_or(THREAD)),
        Some("update") => Strategy::Update,
        _ if older => Strategy::Update,
        _ => Strategy::New,
    };
    if !matches!(chosen, Strategy::New) && !is_bots {
        let key = if older { "update_message" } else { "message_strategy" };
        let message = format!("`{key}` needs a bot: set `app_token`, or an `api_url` that ends in /chat.postMessage");
        report.add(key_at(table, key), message);
    }
    chosen
}

/// A thread about which nothing is said.
const THREAD: ThreadOptions = ThreadOptions { resolve_emoji: None, summary: true, resolve_color: None };

fn thread_options(node: &Node, report: &mut Report) -> Option<ThreadOptions> {
    let mut table = Table::of(node, report)?;
    let emoji = table.optional(report, "resolve_emoji", document::text);
    let summary = table.optional(report, "use_summary_header", document::boolean).unwrap_or(true);
    let header = table.optional(report, "summary_header", |node, report| {
        let mut table = Table::of(node, report)?;
        let color = table.optional(report, "resolve_color", field::template);
        table.finish(report);
        Some(color.filter(|color| !color.text.is_empty()))
    });
    if header.is_some() && !summary {
        let at = table.entry("summary_header").map_or(table.at(), |(key, _)| key.at);
        report.add(at, "`summary_header` needs `use_summary_header`");
    }
    table.finish(report);
    let resolve_emoji = emoji.map(|emoji| emoji.trim_matches(':').to_owned()).filter(|emoji| !emoji.is_empty());
    Some(ThreadOptions { resolve_emoji, summary, resolve_color: header.flatten() })
}

/// The address, and how the request says who sends it.
fn destination(
    table: &mut Table<'_>,
    http: Arc<HttpConfig>,
    global: &Global,
    report: &mut Report,
) -> Option<(SecretSource, Arc<HttpConfig>)> {
    let api_url = secret::source(table, report, "api_url", "api_url_file");
    if let (Some(SecretSource::Inline(url)), Some((_, node))) = (&api_url, table.entry("api_url"))
        && let Err(reason) = secret::check_url(url.expose())
    {
        report.add(node.at, reason);
    }
    let app_token = secret::source(table, report, "app_token", "app_token_file");
    let app_url = table.optional(report, "app_url", secret::url).unwrap_or_else(|| global.slack.app_url.clone());
    let given = |key: &&&str| secret::is_given(table, key);
    let set: Vec<&&str> = SECRETS.iter().filter(given).collect();
    if api_url.is_some() && app_token.is_some() {
        let at = set.get(1).and_then(|key| table.entry(key)).map_or(table.at(), |(key, _)| key.at);
        report.add(at, "at most one of `api_url`, `api_url_file`, `app_token`, `app_token_file` may be set");
    }
    let own_authorization = table.entry("http_config").is_some() && http.authorization.is_some();
    let bearer = |token: &SecretSource| {
        let authorization = Authorization::Header { kind: "Bearer".to_owned(), credentials: token.clone() };
        Arc::new(HttpConfig { authorization: Some(authorization), ..HttpConfig::clone(&http) })
    };
    let defaults = &global.slack;
    match (api_url, app_token, &defaults.app_token, &defaults.api_url) {
        (Some(url), ..) => Some((url, http)),
        (None, Some(_), ..) if own_authorization => {
            report.add(table.at(), "at most one of `app_token` and an authorization in `http_config` may be set");
            None
        }
        (None, Some(token), ..) => Some((SecretSource::Inline(app_url), bearer(&token))),
        (None, None, Some(_), _) if own_authorization => Some((SecretSource::Inline(app_url), http)),
        (None, None, Some(token), _) => Some((SecretSource::Inline(app_url), bearer(token))),
        (None, None, None, Some(url)) => Some((url.clone(), http)),
        (None, None, None, None) => {
            if set.is_empty() {
                let message = "one of `api_url`, `api_url_file`, `app_token`, `app_token_file` must be set, or in \
                               `global` `slack_api_url`, `slack_app_token`";
                report.add(table.at(), message);
            }
            None
        }
    }
}

/// Whether an address is one that bots post to. One in a file is not known before it is used.
fn is_bots(url: &SecretSource) -> bool {
    matches!(url, SecretSource::Inline(url) if url.expose().ends_with(POST_MESSAGE))
}

fn texts(table: &mut Table<'_>, report: &mut Report) -> SlackTexts {
    let mut text = |key, default: &str| {
        let default = if default.is_empty() {
            String::new()
        } else {
            format!(r#"{{{{ template "slack.default.{default}" . }}}}"#)
        };
        field::or_default(table, report, key, &default)
    };
    SlackTexts {
        channel: text("channel", ""),
        username: text("username", "username"),
        icon_emoji: text("icon_emoji", "iconemoji"),
        icon_url: text("icon_url", "iconurl"),
        message_text: text("message_text", ""),
        color: text("color", "color"),
        title: text("title", "title"),
        title_link: text("title_link", "titlelink"),
        pretext: text("pretext", "pretext"),
        text: text("text", "text"),
        fallback: text("fallback", "fallback"),
        callback_id: text("callback_id", "callbackid"),
        footer: text("footer", "footer"),
        image_url: text("image_url", ""),
        thumb_url: text("thumb_url", ""),
    }
}

fn read_field(node: &Node, short: bool, report: &mut Report) -> Option<SlackField> {
    let mut table = Table::of(node, report)?;
    let title = table.required(report, "title", field::template);
    let value = table.required(report, "value", field::template);
    let short = table.optional(report, "short", document::boolean).unwrap_or(short);
    table.finish(report);
    Some(SlackField { title: title?, value: value?, short })
}

fn read_action(node: &Node, report: &mut Report) -> Option<SlackAction> {
    let mut table = Table::of(node, report)?;
    let mut parts = Vec::new();
    for key in ["type", "text"] {
        parts.extend(table.required(report, key, field::template).map(|part| (key, part)));
    }
    parts.extend(table.optional(report, "style", field::template).map(|part| ("style", part)));
    let url = table.optional(report, "url", field::template);
    let named: Vec<_> = ["name", "value"]
        .into_iter()
        .filter_map(|key| Some((key, table.optional(report, key, field::template)?)))
        .collect();
    let confirm = table.optional(report, "confirm", read_confirm);
    if url.is_none() && named.first().is_none_or(|(key, _)| *key != "name") {
        report.add(table.at(), "an action needs `url` or `name`");
    }
    table.finish(report);
    // A link asks nothing and has no name.
    Some(match url {
        Some(url) => {
            parts.push(("url", url));
            SlackAction { parts, confirm: Vec::new() }
        }
        None => {
            parts.extend(named);
            SlackAction { parts, confirm: confirm.unwrap_or_default() }
        }
    })
}

fn read_confirm(node: &Node, report: &mut Report) -> Option<Vec<(&'static str, Template)>> {
    let mut table = Table::of(node, report)?;
    let mut parts: Vec<_> =
        table.required(report, "text", field::template).map(|part| ("text", part)).into_iter().collect();
    for key in ["title", "ok_text", "dismiss_text"] {
        parts.extend(table.optional(report, key, field::template).map(|part| (key, part)));
    }
    table.finish(report);
    Some(parts)
}

impl Slack {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let SlackTexts { channel, username, icon_emoji, icon_url, message_text, color, .. } = &self.texts;
        let SlackTexts { title, title_link, pretext, text, fallback, callback_id, .. } = &self.texts;
        let SlackTexts { footer, image_url, thumb_url, .. } = &self.texts;
        let mut templates = vec![channel, username, icon_emoji, icon_url, message_text, color, title, title_link];
        templates.extend([pretext, text, fallback, callback_id, footer, image_url, thumb_url]);
        templates.extend(self.fields.iter().flat_map(|field| [&field.title, &field.value]));
        let parts = self.actions.iter().flat_map(|action| action.parts.iter().chain(&action.confirm));
        templates.extend(parts.map(|(_, part)| part));
        if let Strategy::Thread(options) = &self.strategy {
            templates.extend(&options.resolve_color);
        }
        templates
    }
}
