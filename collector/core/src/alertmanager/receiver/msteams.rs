//! `msteams_configs`: a message card, posted to a connector of Microsoft Teams.

use std::sync::Arc;

use watchfire_shared::document::{Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, SecretSource};

/// Where a card goes and what it says.
#[derive(Debug, Clone)]
pub struct TeamsConnector {
    pub url: SecretSource,
    pub http: Arc<HttpConfig>,
    pub title: Template,
    pub summary: Template,
    pub text: Template,
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::needed_url(&mut table, report, ["webhook_url", "webhook_url_file"]);
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let title = text("title", r#"{{ template "msteams.default.title" . }}"#);
    let summary = text("summary", r#"{{ template "msteams.default.summary" . }}"#);
    let text = text("text", r#"{{ template "msteams.default.text" . }}"#);
    table.finish(report);
    let teams = TeamsConnector { url: url?, http: common.http, title, summary, text };
    Some((common.send_resolved, IntegrationConfig::TeamsConnector(Box::new(teams))))
}

impl TeamsConnector {
    /// Every template of the card.
    pub(super) fn templates(&self) -> Vec<&Template> {
        vec![&self.title, &self.summary, &self.text]
    }
}
