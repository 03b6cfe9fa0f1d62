//! `pagerduty_configs`: an event for each notification, which opens an incident or resolves it.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret, SecretSource};

/// Where an event goes and what it says.
#[derive(Debug, Clone)]
pub struct PagerDuty {
    pub key: Key,
    /// Of the second version of the API.
    pub url: Secret,
    pub http: Arc<HttpConfig>,
    pub client: Template,
    pub client_url: Template,
    pub description: Template,
    pub severity: Template,
    /// What is affected; the client, unless the file says otherwise.
    pub source: Template,
    pub class: Template,
    pub component: Template,
    pub group: Template,
    pub details: BTreeMap<String, Template>,
    /// `src`, `alt` and `href` of each.
    pub images: Vec<[Template; 3]>,
    /// `href` and `text` of each.
    pub links: Vec<[Template; 2]>,
    /// How long one attempt may take; zero leaves it to the group's interval.
    pub timeout: Span,
}

/// The integration's key, and with it the version of the API.
#[derive(Debug, Clone)]
pub enum Key {
    /// Of an integration of the type `Prometheus`: version 1.
    Service(SecretSource),
    /// Of an integration of the type `Events API v2`.
    Routing(SecretSource),
}

/// PagerDuty's own address.
const URL: &str = "https://events.pagerduty.com/v2/enqueue";
/// Details that are always there.
const DETAILS: [(&str, &str); 4] = [
    ("firing", "{{ .Alerts.Firing | toJson }}"),
    ("resolved", "{{ .Alerts.Resolved | toJson }}"),
    ("num_firing", "{{ .Alerts.Firing | len }}"),
    ("num_resolved", "{{ .Alerts.Resolved | len }}"),
];

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let key = key(&mut table, report);
    let url = secret::url_or(&mut table, report, "url", global, "pagerduty_url", URL);
    let mut details = table.optional(report, "details", field::templates).unwrap_or_default();
    for (name, text) in DETAILS {
        let usual = Template { at: table.at(), text: text.to_owned() };
        details.entry(name.to_owned()).or_insert(usual);
    }
    let images = table.optional(report, "images", document::list(image)).unwrap_or_default();
    let links = table.optional(report, "links", document::list(link)).unwrap_or_default();
    let timeout = table.optional(report, "timeout", document::span).unwrap_or(Span::ZERO);
    let mut text = |key, default: &str| field::or_default(&mut table, report, key, default);
    let client = text("client", r#"{{ template "pagerduty.default.client" . }}"#);
    let source = text("source", &client.text);
    let client_url = text("client_url", r#"{{ template "pagerduty.default.clientURL" . }}"#);
    let description = text("description", r#"{{ template "pagerduty.default.description" . }}"#);
    let (severity, class) = (text("severity", "error"), text("class", ""));
    let (component, group) = (text("component", ""), text("group", ""));
    table.finish(report);
    let pagerduty = PagerDuty {
        key: key?,
        url,
        http: common.http,
        client,
        client_url,
        description,
        severity,
        source,
        class,
        component,
        group,
        details,
        images,
        links,
        timeout,
    };
    Some((common.send_resolved, IntegrationConfig::PagerDuty(Box::new(pagerduty))))
}

fn key(table: &mut Table<'_>, report: &mut Report) -> Option<Key> {
    let keys = ["service_key", "service_key_file", "routing_key", "routing_key_file"];
    let service = secret::source(table, report, keys[0], keys[1]);
    let routing = secret::source(table, report, keys[2], keys[3]);
    if !keys.iter().any(|key| secret::is_given(table, key)) {
        report
            .add(table.at(), "one of `service_key`, `service_key_file`, `routing_key`, `routing_key_file` must be set");
    }
    service.map(Key::Service).or(routing.map(Key::Routing))
}

fn image(node: &Node, report: &mut Report) -> Option<[Template; 3]> {
    let mut table = Table::of(node, report)?;
    let image = ["src", "alt", "href"].map(|key| field::or_default(&mut table, report, key, ""));
    table.finish(report);
    Some(image)
}

fn link(node: &Node, report: &mut Report) -> Option<[Template; 2]> {
    let mut table = Table::of(node, report)?;
    let link = ["href", "text"].map(|key| field::or_default(&mut table, report, key, ""));
    table.finish(report);
    Some(link)
}

impl PagerDuty {
    /// Every template of the event.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let Self { client, client_url, description, severity, source, class, component, group, .. } = self;
        let texts = [client, client_url, description, severity, source, class, component, group].into_iter();
        let more = self.details.values().chain(self.images.iter().flatten()).chain(self.links.iter().flatten());
        texts.chain(more).collect()
    }
}
