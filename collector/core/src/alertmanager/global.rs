//! `global`: defaults of the receivers.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::http::{self, HttpConfig, TlsConfig};
use super::receiver::{Smarthost, email};
use super::secret::{self, Secret, SecretSource};

/// What `global` sets for all receivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Global {
    /// How long an alert from outside that names no end counts as firing once it is no longer sent.
    pub resolve_timeout: Span,
    pub http: Arc<HttpConfig>,
    pub smtp: SmtpDefaults,
    pub slack: SlackDefaults,
    /// Secrets and addresses for receivers that leave theirs out, by their keys here without `_file`.
    pub secrets: BTreeMap<&'static str, SecretSource>,
    pub urls: BTreeMap<&'static str, Secret>,
    pub texts: BTreeMap<&'static str, String>,
}

impl Global {
    /// Whether a key of a receiver's kind is set here.
    #[must_use]
    pub fn is_set(&self, key: &str) -> bool {
        self.secrets.contains_key(key) || self.urls.contains_key(key) || self.texts.contains_key(key)
    }
}

/// What mails share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmtpDefaults {
    pub from: Option<String>,
    pub hello: Option<String>,
    pub smarthost: Option<Smarthost>,
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    /// For CRAM-MD5.
    pub secret: Option<SecretSource>,
    pub identity: Option<String>,
    pub require_tls: bool,
    /// `None` leaves it to the port.
    pub force_implicit_tls: Option<bool>,
    pub tls: TlsConfig,
}

/// Where Slack messages go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackDefaults {
    pub api_url: Option<SecretSource>,
    pub app_token: Option<SecretSource>,
    pub app_url: Secret,
}

/// Slack's own address for bots.
const SLACK_APP_URL: &str = "https://slack.com/api/chat.postMessage";

impl Default for Global {
    fn default() -> Self {
        Self {
            resolve_timeout: Span::from_seconds(300),
            http: Arc::default(),
            smtp: SmtpDefaults {
                from: None,
                hello: None,
                smarthost: None,
                username: None,
                password: None,
                secret: None,
                identity: None,
                require_tls: true,
                force_implicit_tls: None,
                tls: TlsConfig::default(),
            },
            slack: SlackDefaults { api_url: None, app_token: None, app_url: Secret::new(SLACK_APP_URL) },
            secrets: BTreeMap::new(),
            urls: BTreeMap::new(),
            texts: BTreeMap::new(),
        }
    }
}

/// Keys with a `_file` of their own, of which at most one may be set.
const SECRETS: &[(&str, &str)] = &[
    ("opsgenie_api_key", "opsgenie_api_key_file"),
    ("wechat_api_secret", "wechat_api_secret_file"),
    ("victorops_api_key", "victorops_api_key_file"),
    ("telegram_bot_token", "telegram_bot_token_file"),
    ("rocketchat_token", "rocketchat_token_file"),
    ("rocketchat_token_id", "rocketchat_token_id_file"),
    ("mattermost_webhook_url", "mattermost_webhook_url_file"),
];

const URLS: &[&str] = &[
    "pagerduty_url",
    "opsgenie_api_url",
    "wechat_api_url",
    "victorops_api_url",
    "telegram_api_url",
    "webex_api_url",
    "rocketchat_api_url",
    "jira_api_url",
];

const TEXTS: &[&str] = &["wechat_api_corp_id"];

pub(super) fn read(node: &Node, report: &mut Report) -> Option<Global> {
    let mut table = Table::of(node, report)?;
    let mut global = Global::default();
    if let Some(span) = table.optional(report, "resolve_timeout", document::span) {
        global.resolve_timeout = span;
    }
    if let Some(config) = table.optional(report, "http_config", http::read) {
        global.http = Arc::new(config);
    }
    smtp(&mut table, &mut global.smtp, report);
    slack(&mut table, &mut global.slack, report);
    for (key, file) in SECRETS {
        global.secrets.extend(secret::source(&mut table, report, key, file).map(|secret| (*key, secret)));
    }
    for key in URLS {
        global.urls.extend(table.optional(report, key, secret::url).map(|url| (*key, url)));
    }
    for key in TEXTS {
        let text = table.optional(report, key, document::text).filter(|text| !text.is_empty());
        global.texts.extend(text.map(|text| (*key, text)));
    }
    table.finish(report);
    Some(global)
}

fn smtp(table: &mut Table<'_>, smtp: &mut SmtpDefaults, report: &mut Report) {
    let text = |table: &mut Table<'_>, report: &mut Report, key| {
        table.optional(report, key, document::text).filter(|text| !text.is_empty())
    };
    smtp.from = text(table, report, "smtp_from");
    smtp.hello = table.optional(report, "smtp_hello", email::hello);
    smtp.smarthost = table.optional(report, "smtp_smarthost", Smarthost::read);
    smtp.username = text(table, report, "smtp_auth_username");
    smtp.password = secret::source(table, report, "smtp_auth_password", "smtp_auth_password_file");
    smtp.identity = text(table, report, "smtp_auth_identity");
    smtp.secret = secret::source(table, report, "smtp_auth_secret", "smtp_auth_secret_file");
    smtp.require_tls = table.optional(report, "smtp_require_tls", document::boolean).unwrap_or(true);
    smtp.force_implicit_tls = table.optional(report, "smtp_force_implicit_tls", document::boolean);
    smtp.tls = table.optional(report, "smtp_tls_config", http::tls_of_mail).unwrap_or_default();
}

fn slack(table: &mut Table<'_>, slack: &mut SlackDefaults, report: &mut Report) {
    slack.api_url = secret::source(table, report, "slack_api_url", "slack_api_url_file");
    if let (Some(SecretSource::Inline(url)), Some((_, node))) = (&slack.api_url, table.entry("slack_api_url"))
        && let Err(reason) = secret::check_url(url.expose())
    {
        report.add(node.at, reason);
    }
    slack.app_token = secret::source(table, report, "slack_app_token", "slack_app_token_file");
    if let Some(url) = table.optional(report, "slack_app_url", secret::url) {
        slack.app_url = url;
    }
    // Before there were tokens, the bots' address stood in `slack_api_url`; such files may name both.
    let same = slack.api_url == Some(SecretSource::Inline(slack.app_url.clone()));
    let has = |keys: [&str; 2]| keys.iter().any(|key| secret::is_given(table, key));
    let (url, token) = (has(["slack_api_url", "slack_api_url_file"]), has(["slack_app_token", "slack_app_token_file"]));
    if url && token && !same {
        report.add(table.at(), "at most one of `slack_api_url` and `slack_app_token` may be set, inline or as files");
    }
}
