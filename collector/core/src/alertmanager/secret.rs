//! Texts that must not show up in logs, facts or messages.

use std::fmt;

use watchfire_shared::document::{self, Node, Report, Table, Value};

use super::Global;

/// A secret text. `Debug` and `Display` print `***`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where a secret comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// It stands in the configuration.
    Inline(Secret),
    /// The path of a file that holds it, as written; read whenever it is used, so that it may change.
    File(String),
}

/// Reads a text that is secret.
pub(super) fn secret(node: &Node, report: &mut Report) -> Option<Secret> {
    document::text(node, report).map(Secret)
}

/// Reads the keys `x` and `x_file`, of which at most one may be set; an empty text counts as not set.
pub(super) fn source(
    table: &mut Table<'_>,
    report: &mut Report,
    name: &'static str,
    file: &'static str,
) -> Option<SecretSource> {
    let inline = table.optional(report, name, secret).filter(|secret| !secret.0.is_empty());
    let path = table.optional(report, file, document::text).filter(|path| !path.is_empty());
    match (inline, path) {
        (Some(_), Some(_)) => {
            let at = table.entry(file).map_or(table.at(), |(key, _)| key.at);
            report.add(at, format!("at most one of `{name}` and `{file}` may be set"));
            None
        }
        (Some(secret), None) => Some(SecretSource::Inline(secret)),
        (None, Some(path)) => Some(SecretSource::File(path)),
        (None, None) => None,
    }
}

/// Whether a key says something; an empty text does not.
pub(super) fn is_given(table: &Table<'_>, key: &str) -> bool {
    let says = |value: &Value| match value {
        Value::Null => false,
        Value::Scalar(scalar) => !scalar.text.is_empty(),
        Value::List(_) | Value::Table(_) => true,
    };
    table.entry(key).is_some_and(|(_, node)| says(&node.value))
}

/// Reads the keys `x` and `x_file`, of which one must be set, here or as `global_key` in `global` (empty if there is none).
pub(super) fn needed(
    table: &mut Table<'_>,
    report: &mut Report,
    keys: [&'static str; 2],
    global: &Global,
    global_key: &'static str,
) -> Option<SecretSource> {
    let own = source(table, report, keys[0], keys[1]);
    if keys.iter().any(|key| is_given(table, key)) {
        return own;
    }
    let elsewhere = global.secrets.get(global_key).cloned();
    if elsewhere.is_none() {
        let hint = if global_key.is_empty() { String::new() } else { format!(", or in `global` `{global_key}`") };
        report.add(table.at(), format!("one of `{}`, `{}` must be set{hint}", keys[0], keys[1]));
    }
    elsewhere
}

/// As [`needed`] without `global`, for a URL that counts as a secret.
pub(super) fn needed_url(table: &mut Table<'_>, report: &mut Report, keys: [&'static str; 2]) -> Option<SecretSource> {
    needed_url_or(table, report, keys, &Global::default(), "")
}

/// As [`needed`], for a URL that counts as a secret.
pub(super) fn needed_url_or(
    table: &mut Table<'_>,
    report: &mut Report,
    keys: [&'static str; 2],
    global: &Global,
    global_key: &'static str,
) -> Option<SecretSource> {
    let url = needed(table, report, keys, global, global_key);
    if let (Some(SecretSource::Inline(url)), Some((_, node))) = (&url, table.entry(keys[0]))
        && let Err(reason) = check_url(url.expose())
    {
        report.add(node.at, reason);
    }
    url
}

/// Reads the address of a service: the receiver's own, that of `global`, or the usual one.
pub(super) fn url_or(
    table: &mut Table<'_>,
    report: &mut Report,
    key: &'static str,
    global: &Global,
    global_key: &str,
    usual: &str,
) -> Secret {
    let own = table.optional(report, key, url).or_else(|| global.urls.get(global_key).cloned());
    own.unwrap_or_else(|| Secret::new(usual))
}

/// Reads an http or https URL with a host; its text goes into no message, for it may hold a token.
pub(super) fn url(node: &Node, report: &mut Report) -> Option<Secret> {
    let url = secret(node, report)?;
    match check_url(url.expose()) {
        Ok(()) => Some(url),
        Err(reason) => {
            report.add(node.at, reason);
            None
        }
    }
}

/// Whether a text is an http or https URL with a host.
///
/// # Errors
/// What is wrong with it, without the text.
pub fn check_url(url: &str) -> Result<(), String> {
    let rest = match url.split_once("://") {
        Some((scheme, rest)) if matches!(scheme.to_ascii_lowercase().as_str(), "http" | "https") => rest,
        _ => return Err("expected a URL that begins with http:// or https://".to_owned()),
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, port),
        _ => (host, "80"),
    };
    if name.is_empty() || name.contains(char::is_whitespace) {
        return Err("the URL has no host".to_owned());
    }
    if port.parse::<u16>().is_err() {
        return Err("the URL's port is no number between 0 and 65535".to_owned());
    }
    Ok(())
}
