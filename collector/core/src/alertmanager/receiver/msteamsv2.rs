//! `msteamsv2_configs`: an adaptive card, posted to a workflow of Microsoft Teams.

use std::sync::Arc;

use watchfire_shared::document::{Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, SecretSource};

/// Where a card goes and what it says.
#[derive(Debug, Clone)]
pub struct Teams {
    pub url: SecretSource,
    pub http: Arc<HttpConfig>,
    pub title: Template,
    pub text: Template,
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::needed_url(&mut table, report, ["webhook_url", "webhook_url_file"]);
    let title = field::or_default(&mut table, report, "title", r#"{{ template "msteamsv2.default.title" . }}"#);
    let text = field::or_default(&mut table, report, "text", r#"{{ template "msteamsv2.default.text" . }}"#);
    table.finish(report);
    let teams = Teams { url: url?, http: common.http, title, text };
    Some((common.send_resolved, IntegrationConfig::Teams(Box::new(teams))))
}

impl Teams {
    /// Every template of the card.
    pub(super) fn templates(&self) -> Vec<&Template> {
        vec![&self.title, &self.text]
    }
}
