//! `webex_configs`: a message of a bot to a room.

use std::sync::Arc;

use watchfire_shared::document::{Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, SecretSource};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct Webex {
    pub url: SecretSource,
    /// With the bot's token.
    pub http: Arc<HttpConfig>,
    pub room: Template,
    pub message: Template,
}

/// Webex' own address.
const URL: &str = "https://webexapis.com/v1/messages";

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::url_or(&mut table, report, "api_url", global, "webex_api_url", URL);
    let room = field::needed(&mut table, report, "room_id");
    let message = field::or_default(&mut table, report, "message", r#"{{ template "webex.default.message" . }}"#);
    let own = table.entry("http_config").is_some_and(|(_, node)| !node.is_null());
    if !own || common.http.authorization.is_none() {
        report.add(table.at(), "`http_config` must be set, with the bot's token under `authorization`");
    }
    table.finish(report);
    let webex = Webex { url: SecretSource::Inline(url), http: common.http, room: room?, message };
    Some((common.send_resolved, IntegrationConfig::Webex(Box::new(webex))))
}

impl Webex {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        vec![&self.room, &self.message]
    }
}
