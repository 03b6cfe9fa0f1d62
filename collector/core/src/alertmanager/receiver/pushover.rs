//! `pushover_configs`: a message to the devices of a user.

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
pub struct Pushover {
    pub user: SecretSource,
    pub token: SecretSource,
    /// Pushover's own address; no file can change it.
    pub api_url: Secret,
    pub http: Arc<HttpConfig>,
    pub title: Template,
    pub message: Template,
    pub url: Template,
    pub url_title: Template,
    pub device: Template,
    pub sound: Template,
    pub priority: Template,
    /// How often a message of the highest priority is repeated until somebody has seen it.
    pub retry: Span,
    /// And for how long.
    pub expire: Span,
    /// After which it is deleted; zero for never.
    pub ttl: Span,
    pub format: Format,
}

/// How devices show a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Plain,
    Html,
    Monospace,
}

const API_URL: &str = "https://api.pushover.net/1/messages.json";

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let user = secret::needed(&mut table, report, ["user_key", "user_key_file"], global, "");
    let token = secret::needed(&mut table, report, ["token", "token_file"], global, "");
    let span = |table: &mut Table<'_>, report: &mut Report, key| table.optional(report, key, document::span);
    let retry = span(&mut table, report, "retry").unwrap_or(Span::from_seconds(60));
    let expire = span(&mut table, report, "expire").unwrap_or(Span::from_seconds(3600));
    let ttl = span(&mut table, report, "ttl").unwrap_or(Span::ZERO);
    let html = table.optional(report, "html", document::boolean).unwrap_or(false);
    let monospace = table.optional(report, "monospace", document::boolean).unwrap_or(false);
    if html && monospace {
        let at = table.entry("monospace").map_or(table.at(), |(key, _)| key.at);
        report.add(at, "at most one of `html` and `monospace` may be set");
    }
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let title = text("title", r#"{{ template "pushover.default.title" . }}"#);
    let message = text("message", r#"{{ template "pushover.default.message" . }}"#);
    let url = text("url", r#"{{ template "pushover.default.url" . }}"#);
    let priority = text("priority", r#"{{ if eq .Status "firing" }}2{{ else }}0{{ end }}"#);
    let (url_title, device, sound) = (text("url_title", ""), text("device", ""), text("sound", ""));
    table.finish(report);
    let pushover = Pushover {
        user: user?,
        token: token?,
        api_url: Secret::new(API_URL),
        http: common.http,
        title,
        message,
        url,
        url_title,
        device,
        sound,
        priority,
        retry,
        expire,
        ttl,
        format: if html {
            Format::Html
        } else if monospace {
            Format::Monospace
        } else {
            Format::Plain
        },
    };
    Some((common.send_resolved, IntegrationConfig::Pushover(Box::new(pushover))))
}

impl Pushover {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let Self { title, message, url, url_title, device, sound, priority, .. } = self;
        vec![title, message, url, url_title, device, sound, priority]
    }
}
