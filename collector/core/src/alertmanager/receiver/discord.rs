//! `discord_configs`: a message with one embed, posted to a channel's webhook.

use std::sync::Arc;

use watchfire_shared::document::{Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, SecretSource};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct Discord {
    pub url: SecretSource,
    pub http: Arc<HttpConfig>,
    /// The text beside the embed; what it mentions by its own words is notified.
    pub content: Template,
    pub title: Template,
    pub message: Template,
    pub username: Template,
    pub avatar_url: Template,
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::needed_url(&mut table, report, ["webhook_url", "webhook_url_file"]);
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let (content, username, avatar_url) = (text("content", ""), text("username", ""), text("avatar_url", ""));
    let title = text("title", r#"{{ template "discord.default.title" . }}"#);
    let message = text("message", r#"{{ template "discord.default.message" . }}"#);
    table.finish(report);
    let discord = Discord { url: url?, http: common.http, content, title, message, username, avatar_url };
    Some((common.send_resolved, IntegrationConfig::Discord(Box::new(discord))))
}

impl Discord {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        vec![&self.content, &self.title, &self.message, &self.username, &self.avatar_url]
    }
}
