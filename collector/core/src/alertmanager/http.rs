//! `http_config`: how notifications reach their receivers over HTTP.

pub mod oauth2;

pub mod proxy;

use std::collections::BTreeMap;
use std::net::IpAddr;

use watchfire_shared::document::{self, Key, Node, Report, Table};

pub use oauth2::OAuth2;
pub use proxy::Proxy;

use super::secret::{self, Secret, SecretSource};

/// Settings of an HTTP client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    pub authorization: Option<Authorization>,
    /// Whether redirects are followed; never to another host with credentials.
    pub follow_redirects: bool,
    pub proxy: Proxy,
    /// More headers of each request: name and values in the order of the file.
    pub headers: BTreeMap<String, Vec<SecretSource>>,
    pub tls: TlsConfig,
}

/// How a request says who sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Authorization {
    Basic {
        username: Option<SecretSource>,
        password: Option<SecretSource>,
    },
    /// `Authorization: <kind> <credentials>`.
    Header {
        kind: String,
        credentials: SecretSource,
    },
    /// A token that another server lends.
    OAuth2(Box<OAuth2>),
}

/// Settings of TLS towards a receiver; PEM texts, inline or in files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    pub ca: Option<SecretSource>,
    pub certificate: Option<SecretSource>,
    pub key: Option<SecretSource>,
    /// The name that the certificate has to be for, instead of the host's.
    pub server_name: Option<String>,
    pub insecure_skip_verify: bool,
    /// The lowest version; TLS 1.2 where the file allows less.
    pub min_version: TlsVersion,
    /// The highest version.
    pub max_version: TlsVersion,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    Tls12,
    Tls13,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            ca: None,
            certificate: None,
            key: None,
            server_name: None,
            insecure_skip_verify: false,
            min_version: TlsVersion::Tls12,
            max_version: TlsVersion::Tls13,
        }
    }
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            authorization: None,
            follow_redirects: true,
            proxy: Proxy::Direct,
            headers: BTreeMap::new(),
            tls: TlsConfig::default(),
        }
    }
}

pub(super) fn read(node: &Node, report: &mut Report) -> Option<HttpConfig> {
    Table::of(node, report).map(|table| read_rest(table, report))
}

/// Reads the keys of an HTTP client out of a table of which others have taken theirs; nothing else may be left.
pub(crate) fn read_rest(mut table: Table<'_>, report: &mut Report) -> HttpConfig {
    let ways: Vec<&str> = ["basic_auth", "authorization", "oauth2", "bearer_token", "bearer_token_file"]
        .into_iter()
        .filter(|key| table.entry(key).is_some_and(|(_, node)| !node.is_null()))
        .collect();
    if let [_, second, ..] = ways.as_slice() {
        let at = table.entry(second).map_or(table.at(), |(key, _)| key.at);
        report.add(at, format!("at most one of {} may be set", ways.join(", ")));
    }
    let basic = table.optional(report, "basic_auth", basic);
    let header = table.optional(report, "authorization", authorization);
    let lent = table.optional(report, "oauth2", oauth2::read).map(|oauth2| Authorization::OAuth2(Box::new(oauth2)));
    let bearer = secret::source(&mut table, report, "bearer_token", "bearer_token_file")
        .map(|credentials| Authorization::Header { kind: "Bearer".to_owned(), credentials });
    let config = HttpConfig {
        authorization: basic.or(header).or(lent).or(bearer),
        follow_redirects: table.optional(report, "follow_redirects", document::boolean).unwrap_or(true),
        proxy: proxy::read(&mut table, report),
        headers: table.optional(report, "http_headers", headers).unwrap_or_default(),
        tls: table.optional(report, "tls_config", tls).unwrap_or_default(),
    };
    // Requests are HTTP/1.1 whatever this says; a receiver cannot tell the difference.
    table.optional(report, "enable_http2", document::boolean);
    refuse_name_through_proxy(&config.tls, &config.proxy, &table, report);
    table.finish(report);
    config
}

/// Reads headers as Prometheus' `remote_write` has them: names with one value each.
pub(crate) fn plain_headers(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Vec<SecretSource>>> {
    let table = Table::of(node, report)?;
    let mut headers = BTreeMap::new();
    for (name, node) in table.entries() {
        if RESERVED_HEADERS.contains(&name.name.to_ascii_lowercase().as_str()) {
            report.add(name.at, format!("the header `{}` cannot be set here", name.name));
        }
        check_header_name(name, report);
        let value = document::text(node, report)?;
        headers.insert(name.name.clone(), vec![SecretSource::Inline(Secret::new(value))]);
    }
    Some(headers)
}

fn basic(node: &Node, report: &mut Report) -> Option<Authorization> {
    let mut table = Table::of(node, report)?;
    let username = secret::source(&mut table, report, "username", "username_file");
    let password = secret::source(&mut table, report, "password", "password_file");
    table.finish(report);
    Some(Authorization::Basic { username, password })
}

fn authorization(node: &Node, report: &mut Report) -> Option<Authorization> {
    let mut table = Table::of(node, report)?;
    let kind = table.optional(report, "type", document::text).filter(|kind| !kind.trim().is_empty());
    let credentials = secret::source(&mut table, report, "credentials", "credentials_file");
    if kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("basic")) {
        report.add(table.at(), "the type `Basic` belongs into `basic_auth`");
    } else if credentials.is_none() {
        report.add(table.at(), "one of `credentials` and `credentials_file` must be set");
    }
    table.finish(report);
    Some(Authorization::Header { kind: kind.unwrap_or_else(|| "Bearer".to_owned()), credentials: credentials? })
}

/// Headers that the client itself writes, or that other keys set.
const RESERVED_HEADERS: &[&str] = &[
    "authorization",
    "host",
    "content-encoding",
    "content-length",
    "content-type",
    "user-agent",
    "connection",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "www-authenticate",
    "accept-encoding",
    "transfer-encoding",
    "upgrade",
];

fn headers(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Vec<SecretSource>>> {
    let table = Table::of(node, report)?;
    let mut headers = BTreeMap::new();
    for (name, node) in table.entries() {
        if RESERVED_HEADERS.contains(&name.name.to_ascii_lowercase().as_str()) {
            report.add(name.at, format!("the header `{}` cannot be set here", name.name));
        }
        check_header_name(name, report);
        let Some(mut values) = Table::of(node, report) else { continue };
        let mut sources = Vec::new();
        for key in ["values", "secrets"] {
            let texts = values.optional(report, key, document::list(secret::secret)).unwrap_or_default();
            sources.extend(texts.into_iter().map(SecretSource::Inline));
        }
        let files = values.optional(report, "files", document::text_list).unwrap_or_default();
        sources.extend(files.into_iter().map(SecretSource::File));
        values.finish(report);
        headers.insert(name.name.clone(), sources);
    }
    Some(headers)
}

/// Refuses what is no token of HTTP (RFC 9110, section 5.6.2).
fn check_header_name(name: &Key, report: &mut Report) {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if name.name.is_empty() || !name.name.bytes().all(token) {
        report.add(name.at, format!("{:?} is no name of a header", name.name));
    }
}

/// Versions as `tls_config` names them; `None` where this client cannot speak it.
const VERSIONS: &[(&str, Option<TlsVersion>)] =
    &[("TLS10", None), ("TLS11", None), ("TLS12", Some(TlsVersion::Tls12)), ("TLS13", Some(TlsVersion::Tls13))];

/// Reads `tls_config` of an HTTP client, which finds another server name as it finds a host: by asking for its addresses.
fn tls(node: &Node, report: &mut Report) -> Option<TlsConfig> {
    let config = tls_of_any(node, report)?;
    if config.server_name.as_ref().is_some_and(|name| name.parse::<IpAddr>().is_ok()) {
        let at = Table::of(node, report)?.entry("server_name").map_or(node.at, |(_, node)| node.at);
        report.add(at, "`server_name` must be a name here; an address goes into the URL");
    }
    Some(config)
}

/// A proxy is told whom to reach, and would be told the other name.
fn refuse_name_through_proxy(tls: &TlsConfig, proxy: &Proxy, table: &Table<'_>, report: &mut Report) {
    if tls.server_name.is_some() && *proxy != Proxy::Direct {
        let at = table.entry("tls_config").map_or(table.at(), |(key, _)| key.at);
        report.add(at, "`server_name` is not supported through a proxy");
    }
}

/// Reads `tls_config` of a mail server, to which a highest version cannot be told.
pub(super) fn tls_of_mail(node: &Node, report: &mut Report) -> Option<TlsConfig> {
    let config = tls_of_any(node, report)?;
    if config.max_version < TlsVersion::Tls13 {
        let at = Table::of(node, report)?.entry("max_version").map_or(node.at, |(key, _)| key.at);
        report.add(at, "`max_version` is not supported for mail: its client always offers TLS 1.3");
    }
    Some(config)
}

fn tls_of_any(node: &Node, report: &mut Report) -> Option<TlsConfig> {
    let mut table = Table::of(node, report)?;
    let mut version = |key| table.optional(report, key, document::word(VERSIONS));
    let (least, most) = (version("min_version"), version("max_version"));
    let at = |table: &Table<'_>, key: &str| table.entry(key).map_or(table.at(), |(_, node)| node.at);
    if most == Some(None) {
        report.add(at(&table, "max_version"), "nothing below TLS 1.2 is spoken");
    } else if least.flatten().zip(most.flatten()).is_some_and(|(least, most)| least > most) {
        report.add(at(&table, "max_version"), "`max_version` is below `min_version`");
    }
    let config = TlsConfig {
        ca: secret::source(&mut table, report, "ca", "ca_file"),
        certificate: secret::source(&mut table, report, "cert", "cert_file"),
        key: secret::source(&mut table, report, "key", "key_file"),
        server_name: table.optional(report, "server_name", document::text).filter(|name| !name.is_empty()),
        insecure_skip_verify: table.optional(report, "insecure_skip_verify", document::boolean).unwrap_or(false),
        min_version: least.flatten().unwrap_or(TlsVersion::Tls12),
        max_version: most.flatten().unwrap_or(TlsVersion::Tls13),
    };
    if config.certificate.is_some() != config.key.is_some() {
        report.add(table.at(), "a client certificate needs both `cert` and `key`, inline or as files");
    }
    table.finish(report);
    Some(config)
}
