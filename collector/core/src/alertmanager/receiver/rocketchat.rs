//! `rocketchat_configs`: a message with one attachment, posted in the name of a user of Rocket.Chat.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};

use super::field::{self, Part, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct RocketChat {
    /// The server.
    pub url: Secret,
    /// With the user's id and token.
    pub http: Arc<HttpConfig>,
    /// `channel`, `emoji` and `avatar` of the message, by these names.
    pub message: Vec<Part>,
    /// The texts of the attachment, by their names.
    pub attachment: Vec<Part>,
    pub fields: Vec<RocketChatField>,
    pub actions: Vec<RocketChatAction>,
}

/// A field in the attachment's table.
#[derive(Debug, Clone)]
pub struct RocketChatField {
    pub title: Template,
    pub value: Template,
    /// Whether it may stand beside another one.
    pub short: bool,
}

/// A button: `text`, and `url` or `msg`, by their names.
#[derive(Debug, Clone)]
pub struct RocketChatAction(pub Vec<Part>);

/// The server that is run by those who make it.
const URL: &str = "https://open.rocket.chat/";
const MESSAGE: &[(&str, &str)] = &[
    ("channel", ""),
    ("emoji", r#"{{ template "rocketchat.default.emoji" . }}"#),
    ("icon_url", r#"{{ template "rocketchat.default.iconurl" . }}"#),
];
const ATTACHMENT: &[(&str, &str)] = &[
    ("color", r#"{{ if eq .Status "firing" }}red{{ else }}green{{ end }}"#),
    ("title", r#"{{ template "rocketchat.default.title" . }}"#),
    ("title_link", r#"{{ template "rocketchat.default.titlelink" . }}"#),
    ("text", r#"{{ template "rocketchat.default.text" . }}"#),
    ("image_url", ""),
    ("thumb_url", ""),
];
const ACTION: &[(&str, &str)] = &[("text", ""), ("url", ""), ("msg", "")];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, false, global, report);
    let url = secret::url_or(&mut table, report, "api_url", global, "rocketchat_api_url", URL);
    let token = secret::needed(&mut table, report, ["token", "token_file"], global, "rocketchat_token");
    let user = secret::needed(&mut table, report, ["token_id", "token_id_file"], global, "rocketchat_token_id");
    let message = field::parts(&mut table, report, MESSAGE);
    let attachment = field::parts(&mut table, report, ATTACHMENT);
    let short = table.optional(report, "short_fields", document::boolean).unwrap_or(false);
    let fields = document::list(move |node: &Node, report: &mut Report| read_field(node, short, report));
    let fields = table.optional(report, "fields", fields).unwrap_or_default();
    let actions = table.optional(report, "actions", document::list(read_action)).unwrap_or_default();
    // Rocket.Chat links names by itself; Alertmanager takes the key and sends nothing for it.
    table.optional(report, "link_names", document::boolean);
    table.finish(report);
    let mut http = HttpConfig::clone(&common.http);
    http.headers.extend([("X-Auth-Token".to_owned(), vec![token?]), ("X-User-Id".to_owned(), vec![user?])]);
    let rocketchat = RocketChat { url, http: Arc::new(http), message, attachment, fields, actions };
    Some((common.send_resolved, IntegrationConfig::RocketChat(Box::new(rocketchat))))
}

fn read_field(node: &Node, short: bool, report: &mut Report) -> Option<RocketChatField> {
    let mut table = Table::of(node, report)?;
    let [title, value] = ["title", "value"].map(|key| field::or_default(&mut table, report, key, ""));
    let short = table.optional(report, "short", document::boolean).unwrap_or(short);
    table.finish(report);
    Some(RocketChatField { title, value, short })
}

fn read_action(node: &Node, report: &mut Report) -> Option<RocketChatAction> {
    let mut table = Table::of(node, report)?;
    // There is one type, `button`, and Alertmanager sends it whatever stands here.
    table.optional(report, "type", document::text);
    let parts = field::parts(&mut table, report, ACTION);
    table.finish(report);
    Some(RocketChatAction(parts))
}

impl RocketChat {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let parts = self.message.iter().chain(&self.attachment).chain(self.actions.iter().flat_map(|action| &action.0));
        let fields = self.fields.iter().flat_map(|field| [&field.title, &field.value]);
        parts.map(|(_, part)| part).chain(fields).collect()
    }
}
