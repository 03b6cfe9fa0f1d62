//! `email_configs`: one mail per notification, handed to a mail server.

use std::collections::BTreeMap;

use watchfire_shared::document::{self, Node, Report, Table};

use super::field::{self, Template};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::{self, TlsConfig};
use crate::alertmanager::secret::{self, SecretSource};

/// What a mail says and the server that takes it.
#[derive(Debug, Clone)]
pub struct Email {
    /// Addresses with commas between them.
    pub to: Template,
    /// One address.
    pub from: Template,
    /// The name in `EHLO`.
    pub hello: String,
    pub smarthost: Smarthost,
    /// Without one, nothing is authenticated.
    pub username: Option<String>,
    pub password: Option<SecretSource>,
    /// For CRAM-MD5, which never sends it.
    pub secret: Option<SecretSource>,
    /// Whom PLAIN acts for, if not for the user.
    pub identity: Option<String>,
    /// More headers, or other ones than the usual, by their names as written.
    pub headers: BTreeMap<String, Template>,
    /// Empty for a mail without this part.
    pub html: Template,
    pub text: Template,
    /// Whether nothing is sent before `STARTTLS`.
    pub require_tls: bool,
    /// Whether the connection begins with TLS.
    pub implicit_tls: bool,
    pub tls: TlsConfig,
    pub threading: Option<Threading>,
}

/// A mail server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Smarthost {
    pub host: String,
    pub port: u16,
}

/// Which mails belong to one thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threading {
    /// All of a group.
    Group,
    /// Those of a group of one day (UTC).
    Daily,
}

/// The port where a connection begins with TLS, unless the file says otherwise.
const IMPLICIT_TLS_PORT: u16 = 465;
/// Headers that make up the form of the mail and cannot be chosen.
const RESERVED_HEADERS: &[&str] =
    &["content-type", "content-transfer-encoding", "mime-version", "date", "bcc", "message-id"];
/// The longest name of a header, so that it fits a line with a word of its value.
const MAX_HEADER_NAME: usize = 76;

const DEFAULT_HTML: &str = r#"{{ template "email.default.html" . }}"#;
const DEFAULT_TEXT: &str = r#"{{ template "email.default.text" . }}"#;

impl Smarthost {
    pub(in crate::alertmanager) fn read(node: &Node, report: &mut Report) -> Option<Self> {
        let text = document::text(node, report)?;
        let parsed = text.rsplit_once(':').and_then(|(host, port)| {
            let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
            let port = port.parse().ok().filter(|port| *port > 0)?;
            (!host.contains(char::is_whitespace)).then(|| Self { host: host.to_owned(), port })
        });
        if parsed.is_none() {
            report.add(node.at, format!("expected host:port, found {text:?}"));
        }
        parsed.map(|smarthost| match smarthost.host.as_str() {
            "" => Self { host: "localhost".to_owned(), ..smarthost },
            _ => smarthost,
        })
    }
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let send_resolved = Common::read_send_resolved(&mut table, false, report);
    let defaults = &global.smtp;
    let to = table.optional(report, "to", field::template).filter(|to| !to.text.is_empty());
    let from = table.optional(report, "from", field::template).filter(|from| !from.text.is_empty());
    let from = from.or_else(|| defaults.from.clone().map(|text| Template { at: node.at, text }));
    let smarthost = table.optional(report, "smarthost", Smarthost::read).or_else(|| defaults.smarthost.clone());
    for (key, global, missing) in [
        ("to", "", to.is_none()),
        ("from", "smtp_from", from.is_none()),
        ("smarthost", "smtp_smarthost", smarthost.is_none()),
    ] {
        // A value that is wrong has been told already.
        if missing && table.node(key).is_none() {
            let elsewhere = if global.is_empty() { String::new() } else { format!(", or in `global` `{global}`") };
            report.add(table.at(), format!("`{key}` must be set{elsewhere}"));
        }
    }
    let text = |table: &mut Table<'_>, report: &mut Report, key| {
        table.optional(report, key, document::text).filter(|text| !text.is_empty())
    };
    let hello = table.optional(report, "hello", hello).or_else(|| defaults.hello.clone());
    let username = text(&mut table, report, "auth_username").or_else(|| defaults.username.clone());
    let password = secret::source(&mut table, report, "auth_password", "auth_password_file");
    let identity = text(&mut table, report, "auth_identity").or_else(|| defaults.identity.clone());
    let secret = secret::source(&mut table, report, "auth_secret", "auth_secret_file");
    let require_tls = table.optional(report, "require_tls", document::boolean).unwrap_or(defaults.require_tls);
    let implicit = table.optional(report, "force_implicit_tls", document::boolean).or(defaults.force_implicit_tls);
    let tls = table.optional(report, "tls_config", http::tls_of_mail).unwrap_or_else(|| defaults.tls.clone());
    let headers = table.optional(report, "headers", headers).unwrap_or_default();
    let html = field::or_default(&mut table, report, "html", DEFAULT_HTML);
    let body = field::or_default(&mut table, report, "text", DEFAULT_TEXT);
    let threading = table.optional(report, "threading", threading).flatten();
    if threading.is_some()
        && let Some(name) =
            headers.keys().find(|name| ["references", "in-reply-to"].iter().any(|own| name.eq_ignore_ascii_case(own)))
    {
        report.add(table.at(), format!("`threading` sets the header `{name}`, which `headers` sets as well"));
    }
    table.finish(report);
    let smarthost = smarthost?;
    let email = Email {
        to: to?,
        from: from?,
        hello: hello.unwrap_or_else(|| "localhost".to_owned()),
        username,
        password: password.or_else(|| defaults.password.clone()),
        secret: secret.or_else(|| defaults.secret.clone()),
        identity,
        headers,
        html,
        text: body,
        require_tls,
        implicit_tls: implicit.unwrap_or(smarthost.port == IMPLICIT_TLS_PORT),
        smarthost,
        tls,
        threading,
    };
    Some((send_resolved, IntegrationConfig::Email(Box::new(email))))
}

/// Reads the name that the client gives itself; an empty one counts as not set.
pub(in crate::alertmanager) fn hello(node: &Node, report: &mut Report) -> Option<String> {
    let hello = document::text(node, report)?;
    if !hello.bytes().all(|byte| byte.is_ascii_graphic()) {
        report.add(node.at, format!("expected the name of a host, found {hello:?}"));
    }
    Some(hello).filter(|hello| !hello.is_empty())
}

fn headers(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Template>> {
    let table = Table::of(node, report)?;
    let mut headers = BTreeMap::<String, Template>::new();
    for (name, node) in table.entries() {
        let valid = |byte: u8| byte.is_ascii_graphic() && byte != b':';
        if name.name.is_empty() || name.name.len() > MAX_HEADER_NAME || !name.name.bytes().all(valid) {
            report.add(name.at, format!("{:?} is no name of a header", name.name));
        } else if RESERVED_HEADERS.iter().any(|own| name.name.eq_ignore_ascii_case(own)) {
            report.add(name.at, format!("the header `{}` cannot be set here", name.name));
        } else if headers.keys().any(|own| own.eq_ignore_ascii_case(&name.name)) {
            report.add(name.at, format!("the header `{}` stands here twice", name.name));
        }
        if let Some(template) = field::template(node, report) {
            headers.insert(name.name.clone(), template);
        }
    }
    Some(headers)
}

const THREADS: &[(&str, Threading)] = &[("none", Threading::Group), ("daily", Threading::Daily)];

fn threading(node: &Node, report: &mut Report) -> Option<Option<Threading>> {
    let mut table = Table::of(node, report)?;
    let enabled = table.optional(report, "enabled", document::boolean).unwrap_or(false);
    let by = table.optional(report, "thread_by_date", document::word(THREADS));
    if enabled && by.is_none() && table.entry("thread_by_date").is_none_or(|(_, node)| node.is_null()) {
        report.add(table.at(), "`thread_by_date` must be set: none or daily");
    }
    table.finish(report);
    Some(by.filter(|_| enabled))
}
