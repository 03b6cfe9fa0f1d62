//! `wechat_configs`: a message of an application to people of a company in WeCom.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret, SecretSource};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct WeChat {
    pub url: Secret,
    pub secret: SecretSource,
    /// The company.
    pub corp: String,
    pub http: Arc<HttpConfig>,
    pub message: Template,
    /// Whether the message is Markdown rather than plain text.
    pub markdown: bool,
    pub agent: Template,
    pub to_user: Template,
    pub to_party: Template,
    pub to_tag: Template,
}

/// WeCom's own address.
const URL: &str = "https://qyapi.weixin.qq.com/cgi-bin/";
const TYPES: &[(&str, bool)] = &[("text", false), ("markdown", true)];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, false, global, report);
    let secret = secret::needed(&mut table, report, ["api_secret", "api_secret_file"], global, "wechat_api_secret");
    let url = secret::url_or(&mut table, report, "api_url", global, "wechat_api_url", URL);
    let corp = table.optional(report, "corp_id", document::text).filter(|corp| !corp.is_empty());
    let corp = corp.or_else(|| global.texts.get("wechat_api_corp_id").cloned());
    if corp.is_none() {
        report.add(table.at(), "`corp_id` must be set, or in `global` `wechat_api_corp_id`");
    }
    let markdown = table.optional(report, "message_type", document::word(TYPES)).unwrap_or(false);
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let message = text("message", r#"{{ template "wechat.default.message" . }}"#);
    let agent = text("agent_id", r#"{{ template "wechat.default.agent_id" . }}"#);
    let to_user = text("to_user", r#"{{ template "wechat.default.to_user" . }}"#);
    let to_party = text("to_party", r#"{{ template "wechat.default.to_party" . }}"#);
    let to_tag = text("to_tag", r#"{{ template "wechat.default.to_tag" . }}"#);
    table.finish(report);
    let (secret, corp, http) = (secret?, corp?, common.http);
    let wechat = WeChat { url, secret, corp, http, message, markdown, agent, to_user, to_party, to_tag };
    Some((common.send_resolved, IntegrationConfig::WeChat(Box::new(wechat))))
}

impl WeChat {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let Self { message, agent, to_user, to_party, to_tag, .. } = self;
        vec![message, agent, to_user, to_party, to_tag]
    }
}
