//! `telegram_configs`: a message of a bot to a chat.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret, SecretSource};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct Telegram {
    pub token: SecretSource,
    pub api_url: Secret,
    pub http: Arc<HttpConfig>,
    /// The chat's number.
    pub chat: SecretSource,
    /// The topic inside of the chat; 0 for none.
    pub thread: i64,
    pub message: Template,
    /// Whether it arrives without a sound.
    pub silent: bool,
    pub parse_mode: ParseMode,
    /// How long one attempt may take; zero leaves it to the group's interval.
    pub timeout: Span,
}

/// How Telegram reads a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseMode {
    Html,
    Markdown,
    MarkdownV2,
    Plain,
}

const MODES: &[(&str, ParseMode)] = &[
    ("HTML", ParseMode::Html),
    ("Markdown", ParseMode::Markdown),
    ("MarkdownV2", ParseMode::MarkdownV2),
    ("", ParseMode::Plain),
];

/// Telegram's own address.
const API_URL: &str = "https://api.telegram.org";

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let token = secret::needed(&mut table, report, ["bot_token", "bot_token_file"], global, "telegram_bot_token");
    let api_url = secret::url_or(&mut table, report, "api_url", global, "telegram_api_url", API_URL);
    let chat = secret::needed(&mut table, report, ["chat_id", "chat_id_file"], global, "");
    if let (Some(SecretSource::Inline(chat)), Some((_, node))) = (&chat, table.entry("chat_id"))
        && chat.expose().parse::<i64>().is_err()
    {
        report.add(node.at, "expected the number of a chat");
    }
    let thread = table.optional(report, "message_thread_id", document::integer(0, i64::MAX)).unwrap_or(0);
    let message = field::or_default(&mut table, report, "message", r#"{{ template "telegram.default.message" . }}"#);
    let silent = table.optional(report, "disable_notifications", document::boolean).unwrap_or(false);
    let parse_mode = table.optional(report, "parse_mode", document::word(MODES)).unwrap_or(ParseMode::Html);
    let timeout = table.optional(report, "timeout", document::span).unwrap_or(Span::ZERO);
    table.finish(report);
    let (token, chat, http) = (token?, chat?, common.http);
    let telegram = Telegram { token, api_url, http, chat, thread, message, silent, parse_mode, timeout };
    Some((common.send_resolved, IntegrationConfig::Telegram(Box::new(telegram))))
}
