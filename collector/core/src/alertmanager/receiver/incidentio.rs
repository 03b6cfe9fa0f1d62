//! `incidentio_configs`: an alert source of incident.io gets the group as a webhook does.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::{Authorization, HttpConfig};
use crate::alertmanager::secret::{self, SecretSource};

/// Where and how the source is told.
#[derive(Debug, Clone)]
pub struct IncidentIo {
    pub url: SecretSource,
    /// With the source's token.
    pub http: Arc<HttpConfig>,
    /// Alerts of one message; 0 for all of them.
    pub max_alerts: usize,
    /// How long one attempt may take; zero leaves it to the group's interval.
    pub timeout: Span,
}

const TOKEN: [&str; 2] = ["alert_source_token", "alert_source_token_file"];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::needed_url(&mut table, report, ["url", "url_file"]);
    let token = secret::source(&mut table, report, TOKEN[0], TOKEN[1]);
    let given = TOKEN.iter().any(|key| secret::is_given(&table, key));
    let own = table.entry("http_config").is_some_and(|(_, node)| !node.is_null());
    if own && given && common.http.authorization.is_some() {
        report.add(table.at(), "at most one of `alert_source_token` and an authorization in `http_config` may be set");
    }
    if !given && common.http.authorization.is_none() {
        let message = "one of `alert_source_token`, `alert_source_token_file` must be set, or an authorization in \
                       `http_config`";
        report.add(table.at(), message);
    }
    let max_alerts = table.optional(report, "max_alerts", document::integer(0, i64::from(u32::MAX))).unwrap_or(0);
    let timeout = table.optional(report, "timeout", document::span).unwrap_or(Span::ZERO);
    table.finish(report);
    let http = match token {
        None => common.http,
        Some(credentials) => {
            let authorization = Some(Authorization::Header { kind: "Bearer".to_owned(), credentials });
            Arc::new(HttpConfig { authorization, ..HttpConfig::clone(&common.http) })
        }
    };
    let incidentio = IncidentIo { url: url?, http, max_alerts: usize::try_from(max_alerts).ok()?, timeout };
    Some((common.send_resolved, IntegrationConfig::IncidentIo(Box::new(incidentio))))
}
