//! `global`: defaults of the receivers.

use std::collections::BTreeSet;
use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::http::{self, HttpConfig};
use super::secret;

/// What `global` sets for all receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// How long an alert from outside that names no end counts as firing once it is no longer sent.
    pub resolve_timeout: Span,
    pub http: Arc<HttpConfig>,
    /// Keys of receiver kinds that are set here, for receivers that leave them out.
    pub set: BTreeSet<&'static str>,
}

impl Default for Global {
    fn default() -> Self {
        Self { resolve_timeout: Span::from_seconds(300), http: Arc::default(), set: BTreeSet::new() }
    }
}

/// Keys with a `_file` of their own, of which at most one may be set.
const SECRETS: &[(&str, &str)] = &[
    ("smtp_auth_password", "smtp_auth_password_file"),
    ("smtp_auth_secret", "smtp_auth_secret_file"),
    ("slack_api_url", "slack_api_url_file"),
    ("slack_app_token", "slack_app_token_file"),
    ("opsgenie_api_key", "opsgenie_api_key_file"),
    ("wechat_api_secret", "wechat_api_secret_file"),
    ("victorops_api_key", "victorops_api_key_file"),
    ("telegram_bot_token", "telegram_bot_token_file"),
    ("rocketchat_token", "rocketchat_token_file"),
    ("rocketchat_token_id", "rocketchat_token_id_file"),
    ("mattermost_webhook_url", "mattermost_webhook_url_file"),
];

const URLS: &[&str] = &[
    "slack_app_url",
    "pagerduty_url",
    "opsgenie_api_url",
    "wechat_api_url",
    "victorops_api_url",
    "telegram_api_url",
    "webex_api_url",
    "rocketchat_api_url",
    "jira_api_url",
];

const TEXTS: &[&str] =
    &["smtp_from", "smtp_hello", "smtp_smarthost", "smtp_auth_username", "smtp_auth_identity", "wechat_api_corp_id"];

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Global> {
    let mut table = Table::of(node, report)?;
    let mut global = Global::default();
    if let Some(span) = table.optional(report, "resolve_timeout", document::span) {
        global.resolve_timeout = span;
    }
    if let Some(config) = table.optional(report, "http_config", http::read) {
        global.http = Arc::new(config);
    }
    for (key, file) in SECRETS {
        secret::source(&mut table, report, key, file);
        let is_set = [key, file].iter().any(|key| table.entry(key).is_some_and(|(_, node)| !node.is_null()));
        global.set.extend(is_set.then_some(*key));
    }
    if global.set.contains("slack_api_url") && global.set.contains("slack_app_token") {
        report.add(table.at(), "at most one of `slack_api_url` and `slack_app_token` may be set, inline or as files");
    }
    for key in URLS {
        global.set.extend(table.optional(report, key, secret::url).map(|_| *key));
    }
    for key in TEXTS {
        let text = table.optional(report, key, document::text).filter(|text| !text.is_empty());
        if *key == "smtp_smarthost"
            && let Some(address) = &text
            && address.rsplit_once(':').is_none_or(|(_, port)| port.is_empty())
        {
            let at = table.entry(key).map_or(table.at(), |(_, node)| node.at);
            report.add(at, format!("expected host:port, found {address:?}"));
        }
        global.set.extend(text.map(|_| *key));
    }
    for key in ["smtp_require_tls", "smtp_force_implicit_tls"] {
        table.optional(report, key, document::boolean);
    }
    table.optional(report, "smtp_tls_config", http::tls);
    table.finish(report);
    Some(global)
}
