//! `mattermost_configs`: a message, with attachments where the file has any, posted to a webhook of Mattermost.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};

use super::field::{self, Part, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, SecretSource};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct Mattermost {
    pub url: SecretSource,
    pub http: Arc<HttpConfig>,
    pub text: Template,
    /// `channel`, `username`, `icon_url`, `icon_emoji` and `type`, by their names.
    pub message: Vec<Part>,
    pub attachments: Vec<MattermostAttachment>,
    /// A text beside the message, which a person opens.
    pub card: Option<Template>,
    pub priority: Option<Priority>,
}

/// A block of a message: its texts by their names, and a table.
#[derive(Debug, Clone)]
pub struct MattermostAttachment {
    pub parts: Vec<Part>,
    pub fields: Vec<MattermostField>,
}

/// A field in an attachment's table.
#[derive(Debug, Clone)]
pub struct MattermostField {
    pub title: Template,
    pub value: Template,
    /// Whether it may stand beside another one.
    pub short: Option<bool>,
}

/// How urgent a message is.
#[derive(Debug, Clone)]
pub struct Priority {
    pub word: Template,
    /// Whether each reader is asked to acknowledge.
    pub requested_ack: bool,
    /// Whether an urgent message is repeated until somebody has seen it.
    pub persistent: bool,
}

const TEXT: &str = r#"{{ template "mattermost.default.text" . }}"#;
const MESSAGE: &[(&str, &str)] = &[
    ("channel", ""),
    ("username", r#"{{ template "mattermost.default.username" . }}"#),
    ("icon_url", ""),
    ("icon_emoji", ""),
    ("type", ""),
];
const ATTACHMENT: &[(&str, &str)] = &[
    ("fallback", ""),
    ("color", ""),
    ("pretext", ""),
    ("text", ""),
    ("author_name", ""),
    ("author_link", ""),
    ("author_icon", ""),
    ("title", ""),
    ("title_link", ""),
    ("thumb_url", ""),
    ("footer", ""),
    ("footer_icon", ""),
    ("image_url", ""),
];
/// As [`ATTACHMENT`] where the keys stand in the receiver itself; the text is the message's there.
const OWN_ATTACHMENT: &[(&str, &str)] = &[
    ("fallback", r#"{{ template "mattermost.default.fallback" . }}"#),
    ("color", r#"{{ template "mattermost.default.color" . }}"#),
    ("pretext", ""),
    ("author_name", ""),
    ("author_link", ""),
    ("author_icon", ""),
    ("title", r#"{{ template "mattermost.default.title" . }}"#),
    ("title_link", r#"{{ template "mattermost.default.titlelink" . }}"#),
    ("thumb_url", ""),
    ("footer", ""),
    ("footer_icon", ""),
    ("image_url", ""),
];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let keys = ["webhook_url", "webhook_url_file"];
    let url = secret::needed_url_or(&mut table, report, keys, global, "mattermost_webhook_url");
    let text = field::or_default(&mut table, report, "text", TEXT);
    let message = field::parts(&mut table, report, MESSAGE);
    let own = field::parts(&mut table, report, OWN_ATTACHMENT);
    let own_fields = table.optional(report, "fields", document::list(read_field)).unwrap_or_default();
    let mut attachments = table.optional(report, "attachments", document::list(read_attachment)).unwrap_or_default();
    let card = table.optional(report, "props", read_card).flatten();
    let priority = table.optional(report, "priority", read_priority).flatten();
    // Whoever sets a title wants to see it; a receiver that leaves all of this out gets a plain message.
    let asked = OWN_ATTACHMENT.iter().any(|(key, _)| secret::is_given(&table, key)) || !own_fields.is_empty();
    if asked && attachments.is_empty() {
        attachments.push(MattermostAttachment { parts: own, fields: own_fields });
    }
    table.finish(report);
    let mattermost = Mattermost { url: url?, http: common.http, text, message, attachments, card, priority };
    Some((common.send_resolved, IntegrationConfig::Mattermost(Box::new(mattermost))))
}

fn read_attachment(node: &Node, report: &mut Report) -> Option<MattermostAttachment> {
    let mut table = Table::of(node, report)?;
    let parts = field::parts(&mut table, report, ATTACHMENT);
    let fields = table.optional(report, "fields", document::list(read_field)).unwrap_or_default();
    table.finish(report);
    Some(MattermostAttachment { parts, fields })
}

fn read_field(node: &Node, report: &mut Report) -> Option<MattermostField> {
    let mut table = Table::of(node, report)?;
    let [title, value] = ["title", "value"].map(|key| field::needed(&mut table, report, key));
    let short = table.optional(report, "short", document::boolean);
    table.finish(report);
    Some(MattermostField { title: title?, value: value?, short })
}

fn read_card(node: &Node, report: &mut Report) -> Option<Option<Template>> {
    let mut table = Table::of(node, report)?;
    let card = table.optional(report, "card", field::template);
    table.finish(report);
    Some(card)
}

fn read_priority(node: &Node, report: &mut Report) -> Option<Option<Priority>> {
    let mut table = Table::of(node, report)?;
    let word = table.optional(report, "priority", field::template);
    let mut flag = |key| table.optional(report, key, document::boolean).unwrap_or(false);
    let (requested_ack, persistent) = (flag("requested_ack"), flag("persistent_notifications"));
    table.finish(report);
    Some(word.map(|word| Priority { word, requested_ack, persistent }))
}

impl Mattermost {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let parts = self.message.iter().chain(self.attachments.iter().flat_map(|one| &one.parts));
        let fields = self.attachments.iter().flat_map(|one| &one.fields);
        let mut templates: Vec<&Template> = parts.map(|(_, part)| part).collect();
        templates.extend(fields.flat_map(|field| [&field.title, &field.value]));
        templates.extend([&self.text].into_iter().chain(&self.card));
        templates.extend(self.priority.iter().map(|priority| &priority.word));
        templates
    }
}
