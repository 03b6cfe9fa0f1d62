//! `sns_configs`: a message published to a topic, an endpoint or a phone by Amazon's notification service.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret};

/// Where a message goes and what it says.
#[derive(Debug, Clone)]
pub struct Sns {
    /// The region's own address if it is left out.
    pub url: Option<Secret>,
    pub signing: Signing,
    pub http: Arc<HttpConfig>,
    pub destination: Destination,
    pub subject: Template,
    pub message: Template,
    pub attributes: BTreeMap<String, Template>,
}

/// How requests are signed; whatever is left out is found as Amazon's own programs find it.
#[derive(Debug, Clone, Default)]
pub struct Signing {
    pub region: Option<String>,
    pub keys: Option<(String, Secret)>,
    pub profile: Option<String>,
    /// Whose rights are borrowed with them.
    pub role: Option<Role>,
}

/// A role that is assumed (<https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub arn: String,
    pub external_id: Option<String>,
    pub fips: bool,
    /// Where it is asked for; `None` for the region's own service.
    pub sts_url: Option<Secret>,
}

/// Who gets the message.
#[derive(Debug, Clone)]
pub enum Destination {
    Topic(Template),
    Phone(Template),
    Target(Template),
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = table.optional(report, "api_url", secret::url);
    let signing = table.optional(report, "sigv4", read_signing).unwrap_or_default();
    let destination = destination(&mut table, report);
    let subject = field::or_default(&mut table, report, "subject", r#"{{ template "sns.default.subject" . }}"#);
    let message = field::or_default(&mut table, report, "message", r#"{{ template "sns.default.message" . }}"#);
    let attributes = table.optional(report, "attributes", field::templates).unwrap_or_default();
    // Whose client it is makes no difference to what is sent.
    table.optional(report, "use_aws_http_client", document::boolean);
    table.finish(report);
    // A signature holds for one host.
    let http = Arc::new(HttpConfig { follow_redirects: false, ..HttpConfig::clone(&common.http) });
    let sns = Sns { url, signing, http, destination: destination?, subject, message, attributes };
    Some((common.send_resolved, IntegrationConfig::Sns(Box::new(sns))))
}

fn destination(table: &mut Table<'_>, report: &mut Report) -> Option<Destination> {
    const KEYS: [&str; 3] = ["topic_arn", "phone_number", "target_arn"];
    let [topic, phone, target] = KEYS.map(|key| {
        let read = table.optional(report, key, field::template);
        read.filter(|template| !template.text.is_empty())
    });
    let given: Vec<_> = KEYS.into_iter().filter(|key| secret::is_given(table, key)).collect();
    match given.as_slice() {
        [] => report.add(table.at(), "one of `topic_arn`, `phone_number`, `target_arn` must be set"),
        [_] => {}
        [_, second, ..] => {
            let at = table.entry(second).map_or(table.at(), |(key, _)| key.at);
            report.add(at, "at most one of `topic_arn`, `phone_number`, `target_arn` may be set");
        }
    }
    topic.map(Destination::Topic).or(phone.map(Destination::Phone)).or(target.map(Destination::Target))
}

fn read_signing(node: &Node, report: &mut Report) -> Option<Signing> {
    let mut table = Table::of(node, report)?;
    let mut text = |key| table.optional(report, key, document::text).filter(|text| !text.is_empty());
    let (region, access_key, profile) = (text("region"), text("access_key"), text("profile"));
    let secret_key = table.optional(report, "secret_key", secret::secret).filter(|key| !key.expose().is_empty());
    let keys = match (access_key, secret_key) {
        (Some(access), Some(secret)) => Some((access, secret)),
        (None, None) => None,
        _ => {
            report.add(table.at(), "`access_key` and `secret_key` are only of use together");
            None
        }
    };
    let role = read_role(&mut table, report);
    table.finish(report);
    Some(Signing { region, keys, profile, role })
}

fn read_role(table: &mut Table<'_>, report: &mut Report) -> Option<Role> {
    let mut text = |key| table.optional(report, key, document::text).filter(|text| !text.is_empty());
    let (arn, external_id) = (text("role_arn"), text("external_id"));
    let fips = table.optional(report, "use_fips_sts_endpoint", document::boolean).unwrap_or(false);
    if external_id.is_some() && arn.is_none() {
        let at = table.entry("external_id").map_or(table.at(), |(key, _)| key.at);
        report.add(at, "`external_id` is only of use with `role_arn`");
    }
    arn.map(|arn| Role { arn, external_id, fips, sts_url: None })
}

impl Sns {
    /// Every template of the message.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let (Destination::Topic(to) | Destination::Phone(to) | Destination::Target(to)) = &self.destination;
        [to, &self.subject, &self.message].into_iter().chain(self.attributes.values()).collect()
    }
}
