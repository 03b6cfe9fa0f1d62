//! `oauth2`: a token is asked of a server with the client's own credentials (RFC 6749, section 4.4).

use std::collections::BTreeMap;

use watchfire_shared::document::{self, Node, Report, Table};

use super::{Proxy, TlsConfig, proxy};
use crate::alertmanager::secret::{self, Secret, SecretSource};

/// Who asks for a token, whom, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OAuth2 {
    pub client_id: String,
    pub client_secret: Option<SecretSource>,
    pub token_url: Secret,
    pub scopes: Vec<String>,
    /// More fields of the request.
    pub endpoint_params: BTreeMap<String, Secret>,
    pub proxy: Proxy,
    pub tls: TlsConfig,
}

/// Keys of the other way to get a token, by an assertion that the client signs (RFC 7523).
const ASSERTIONS: &[&str] = &[
    "client_certificate_key_id",
    "client_certificate_key",
    "client_certificate_key_file",
    "signature_algorithm",
    "iss",
    "audience",
    "claims",
];

const GRANTS: &[(&str, ())] = &[("client_credentials", ())];

pub(super) fn read(node: &Node, report: &mut Report) -> Option<OAuth2> {
    let mut table = Table::of(node, report)?;
    let client_id = table.required(report, "client_id", document::text).filter(|id| !id.is_empty());
    let token_url = table.required(report, "token_url", secret::url);
    for key in ASSERTIONS {
        if table.node(key).is_some() {
            let at = table.entry(key).map_or(table.at(), |(key, _)| key.at);
            report.add(at, format!("`{key}` is not supported: tokens are asked for with `client_secret`"));
        }
    }
    if let Some((key, node)) = table.entry("grant_type")
        && matches!(&node.value, document::Value::Scalar(scalar) if scalar.text.ends_with("jwt-bearer"))
    {
        report.add(key.at, "`grant_type` with an assertion is not supported: leave it out, for `client_credentials`");
        table.node("grant_type");
    } else {
        table.optional(report, "grant_type", document::word(GRANTS));
    }
    let config = OAuth2 {
        client_id: client_id.clone().unwrap_or_default(),
        client_secret: secret::source(&mut table, report, "client_secret", "client_secret_file"),
        token_url: token_url.clone().unwrap_or_default(),
        scopes: table.optional(report, "scopes", document::text_list).unwrap_or_default(),
        endpoint_params: table.optional(report, "endpoint_params", parameters).unwrap_or_default(),
        proxy: proxy::read(&mut table, report),
        tls: table.optional(report, "tls_config", super::tls).unwrap_or_default(),
    };
    super::refuse_name_through_proxy(&config.tls, &config.proxy, &table, report);
    if table.entry("client_id").is_some_and(|(_, node)| !node.is_null()) && client_id.is_none() {
        report.add(table.at(), "`client_id` must not be empty");
    }
    table.finish(report);
    (client_id.is_some() && token_url.is_some()).then_some(config)
}

fn parameters(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Secret>> {
    let texts = document::text_map(node, report)?;
    Some(texts.into_iter().map(|(name, value)| (name, Secret::new(value))).collect())
}
