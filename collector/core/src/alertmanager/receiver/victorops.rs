//! `victorops_configs`: an incident in Splunk On-Call (once VictorOps) for each group, recovered when the group has resolved.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret, SecretSource};

/// Where an incident goes and what it says.
#[derive(Debug, Clone)]
pub struct VictorOps {
    /// Without the key and the routing key, which follow it.
    pub url: Secret,
    pub key: SecretSource,
    pub http: Arc<HttpConfig>,
    pub routing_key: Template,
    pub message_type: Template,
    pub state_message: Template,
    pub entity_display_name: Template,
    pub monitoring_tool: Template,
    /// More fields of the incident, by their names.
    pub custom_fields: BTreeMap<String, Template>,
}

/// The service's own address.
const URL: &str = "https://alert.victorops.com/integrations/generic/20131114/alert/";
/// Names that the incident's own fields have.
const TAKEN: [&str; 7] = [
    "routing_key",
    "message_type",
    "state_message",
    "entity_display_name",
    "monitoring_tool",
    "entity_id",
    "entity_state",
];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let key = secret::needed(&mut table, report, ["api_key", "api_key_file"], global, "victorops_api_key");
    let url = secret::url_or(&mut table, report, "api_url", global, "victorops_api_url", URL);
    let routing_key = field::needed(&mut table, report, "routing_key");
    let custom_fields = table.optional(report, "custom_fields", custom_fields).unwrap_or_default();
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let message_type = text("message_type", "CRITICAL");
    let state_message = text("state_message", r#"{{ template "victorops.default.state_message" . }}"#);
    let entity_display_name =
        text("entity_display_name", r#"{{ template "victorops.default.entity_display_name" . }}"#);
    let monitoring_tool = text("monitoring_tool", r#"{{ template "victorops.default.monitoring_tool" . }}"#);
    table.finish(report);
    let victorops = VictorOps {
        url,
        key: key?,
        http: common.http,
        routing_key: routing_key?,
        message_type,
        state_message,
        entity_display_name,
        monitoring_tool,
        custom_fields,
    };
    Some((common.send_resolved, IntegrationConfig::VictorOps(Box::new(victorops))))
}

fn custom_fields(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Template>> {
    let fields = field::templates(node, report)?;
    for (key, _) in Table::of(node, report)?.entries() {
        if TAKEN.contains(&key.name.as_str()) {
            report.add(key.at, format!("`{}` is a field of every incident and cannot be a custom one", key.name));
        }
    }
    Some(fields)
}

impl VictorOps {
    /// Every template of the incident.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let Self { routing_key, message_type, state_message, entity_display_name, monitoring_tool, .. } = self;
        let own = [routing_key, message_type, state_message, entity_display_name, monitoring_tool];
        own.into_iter().chain(self.custom_fields.values()).collect()
    }
}
