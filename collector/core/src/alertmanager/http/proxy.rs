//! How requests go through a proxy: one that the file names, or what the environment says.

use std::collections::BTreeMap;

use watchfire_shared::document::{self, Node, Report, Table};

use super::{Secret, secret};

/// The way to receivers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Proxy {
    #[default]
    Direct,
    /// Whatever `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY` say.
    Environment,
    Through {
        url: Secret,
        /// Hosts, domains and networks that are reached directly, with commas between them.
        except: Option<String>,
        /// Headers for the proxy alone.
        headers: BTreeMap<String, Vec<Secret>>,
    },
}

/// Reads the keys of `http_config` that concern proxies.
pub(super) fn read(table: &mut Table<'_>, report: &mut Report) -> Proxy {
    let url = table.optional(report, "proxy_url", secret::url);
    let except = table.optional(report, "no_proxy", document::text).filter(|text| !text.trim().is_empty());
    let environment = table.optional(report, "proxy_from_environment", document::boolean).unwrap_or(false);
    let headers = table.optional(report, "proxy_connect_header", headers).unwrap_or_default();
    let named = table.entry("proxy_url").is_some_and(|(_, node)| !node.is_null());
    let mut refuse = |key: &str, message: &str| {
        let at = table.entry(key).map_or(table.at(), |(key, _)| key.at);
        report.add(at, format!("`{key}` {message}"));
    };
    if environment && named {
        refuse("proxy_from_environment", "and `proxy_url` must not both be set");
    }
    for (key, given) in [("no_proxy", except.is_some()), ("proxy_connect_header", !headers.is_empty())] {
        if given && !named {
            refuse(key, "needs `proxy_url`");
        }
    }
    match url {
        Some(url) => Proxy::Through { url, except, headers },
        None if environment => Proxy::Environment,
        None => Proxy::Direct,
    }
}

fn headers(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Vec<Secret>>> {
    let table = Table::of(node, report)?;
    let mut headers = BTreeMap::new();
    for (name, node) in table.entries() {
        super::check_header_name(name, report);
        let values = document::list(secret::secret)(node, report);
        headers.extend(values.map(|values| (name.name.clone(), values)));
    }
    Some(headers)
}
