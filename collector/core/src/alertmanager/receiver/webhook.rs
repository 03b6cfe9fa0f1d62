//! `webhook_configs`: Alertmanager's own JSON, posted to a URL.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, SecretSource};

/// Where and how a webhook is called.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub url: SecretSource,
    pub http: Arc<HttpConfig>,
    /// Alerts of one message; 0 for all of them.
    pub max_alerts: usize,
    /// How long one call may take; zero leaves it to the group's interval.
    pub timeout: Span,
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::source(&mut table, report, "url", "url_file");
    if !["url", "url_file"].iter().any(|key| secret::is_given(&table, key)) {
        report.add(table.at(), "one of `url` and `url_file` must be set");
    }
    if let (Some(SecretSource::Inline(url)), Some((_, node))) = (&url, table.entry("url")) {
        if url.expose().contains("{{") {
            report.add(node.at, "a template in the URL is not supported");
        } else if let Err(reason) = secret::check_url(url.expose()) {
            report.add(node.at, reason);
        }
    }
    let max_alerts = table.optional(report, "max_alerts", document::integer(0, i64::from(u32::MAX))).unwrap_or(0);
    let timeout = table.optional(report, "timeout", document::span).unwrap_or(Span::ZERO);
    if let Some(payload) = table.node("payload") {
        report.add(payload.at, "`payload` is not supported: the message is always Alertmanager's version 4");
    }
    table.finish(report);
    let webhook = Webhook { url: url?, http: common.http, max_alerts: usize::try_from(max_alerts).ok()?, timeout };
    Some((common.send_resolved, IntegrationConfig::Webhook(webhook)))
}
