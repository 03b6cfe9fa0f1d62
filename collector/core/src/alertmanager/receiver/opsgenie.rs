//! `opsgenie_configs`: an alert in Opsgenie for each group, closed when the group has resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::{Authorization, HttpConfig};
use crate::alertmanager::secret::{self, Secret};

/// Where an alert goes and what it says.
#[derive(Debug, Clone)]
pub struct Opsgenie {
    pub url: Secret,
    /// With the API's key.
    pub http: Arc<HttpConfig>,
    pub message: Template,
    pub description: Template,
    pub source: Template,
    /// Beside the common labels.
    pub details: BTreeMap<String, Template>,
    pub entity: Template,
    pub responders: Vec<Responder>,
    /// With commas between them, as `tags`.
    pub actions: Template,
    pub tags: Template,
    pub note: Template,
    pub priority: Template,
    /// Whether message and description follow the group while the alert is open.
    pub update_alerts: bool,
}

/// Who is to respond: one of the first three, and what it is.
#[derive(Debug, Clone)]
pub struct Responder {
    pub id: Template,
    pub name: Template,
    pub username: Template,
    pub kind: Template,
}

/// Opsgenie's own address.
const URL: &str = "https://api.opsgenie.com/";
const KINDS: [&str; 5] = ["team", "teams", "user", "escalation", "schedule"];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let key = secret::needed(&mut table, report, ["api_key", "api_key_file"], global, "opsgenie_api_key");
    let url = secret::url_or(&mut table, report, "api_url", global, "opsgenie_api_url", URL);
    let details = table.optional(report, "details", field::templates).unwrap_or_default();
    let responders = table.optional(report, "responders", document::list(responder)).unwrap_or_default();
    let update_alerts = table.optional(report, "update_alerts", document::boolean).unwrap_or(false);
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let message = text("message", r#"{{ template "opsgenie.default.message" . }}"#);
    let description = text("description", r#"{{ template "opsgenie.default.description" . }}"#);
    let source = text("source", r#"{{ template "opsgenie.default.source" . }}"#);
    let (entity, actions, tags) = (text("entity", ""), text("actions", ""), text("tags", ""));
    let (note, priority) = (text("note", ""), text("priority", ""));
    table.finish(report);
    let authorization = Some(Authorization::Header { kind: "GenieKey".to_owned(), credentials: key? });
    let opsgenie = Opsgenie {
        url,
        http: Arc::new(HttpConfig { authorization, ..HttpConfig::clone(&common.http) }),
        message,
        description,
        source,
        details,
        entity,
        responders,
        actions,
        tags,
        note,
        priority,
        update_alerts,
    };
    Some((common.send_resolved, IntegrationConfig::Opsgenie(Box::new(opsgenie))))
}

fn responder(node: &Node, report: &mut Report) -> Option<Responder> {
    let mut table = Table::of(node, report)?;
    let [id, name, username] = ["id", "name", "username"].map(|key| field::or_default(&mut table, report, key, ""));
    let kind = table.required(report, "type", field::template);
    if [&id, &name, &username].iter().all(|template| template.text.is_empty()) {
        report.add(table.at(), "a responder needs `id`, `name` or `username`");
    }
    if let Some(kind) = &kind
        && !kind.text.contains("{{")
        && !KINDS.contains(&kind.text.to_ascii_lowercase().as_str())
    {
        report.add(kind.at, format!("unknown word {:?}, expected one of {}", kind.text, KINDS.join(", ")));
    }
    table.finish(report);
    Some(Responder { id, name, username, kind: kind? })
}

impl Opsgenie {
    /// Every template of the alert.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let Self { message, description, source, entity, actions, tags, note, priority, .. } = self;
        let texts = [message, description, source, entity, actions, tags, note, priority].into_iter();
        let responders = self.responders.iter().flat_map(|one| [&one.id, &one.name, &one.username, &one.kind]);
        texts.chain(self.details.values()).chain(responders).collect()
    }
}
