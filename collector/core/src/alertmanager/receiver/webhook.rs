//! `webhook_configs`: Alertmanager's own JSON, or what `payload` makes of it, posted to a URL.

use std::sync::Arc;

use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Span;

use super::field::{self, Template, Tree};
use super::{Common, IntegrationConfig};
use crate::alertmanager::Global;
use crate::alertmanager::http::HttpConfig;
use crate::alertmanager::secret::{self, Secret, SecretSource};

/// Where and how a webhook is called.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub url: SecretSource,
    /// If the URL is a template.
    pub url_template: Option<UrlTemplate>,
    pub http: Arc<HttpConfig>,
    /// Alerts of one message; 0 for all of them.
    pub max_alerts: usize,
    /// How long one call may take; zero leaves it to the group's interval.
    pub timeout: Span,
    /// What is posted instead of Alertmanager's message.
    pub payload: Option<Tree>,
}

/// A URL that is filled in for each notification.
///
/// What stands around its actions may hold a token, and what is filled in has to wait on disk until it is delivered. So only
/// the actions are: a number between two marks stands for each piece of text until the call is made.
#[derive(Debug, Clone)]
pub struct UrlTemplate {
    pub template: Template,
    pieces: Vec<Secret>,
}

/// Stands around the number of a piece; from the area for private use, and in no URL.
const MARK: char = '\u{f8ff}';

impl UrlTemplate {
    fn new(url: &Template) -> Self {
        let (mut text, mut pieces) = (String::new(), Vec::new());
        let mut rest = url.text.as_str();
        while !rest.is_empty() {
            let (piece, action) = rest.split_at(rest.find("{{").unwrap_or(rest.len()));
            if !piece.is_empty() {
                text.push_str(&format!("{MARK}{}{MARK}", pieces.len()));
                pieces.push(Secret::new(piece));
            }
            let end = end_of_action(action);
            text.push_str(&action[..end]);
            rest = &action[end..];
        }
        Self { template: Template { at: url.at, text }, pieces }
    }

    /// Puts the pieces back into what was filled in. White space and control characters of values are escaped, since no URL
    /// has them.
    ///
    /// # Errors
    /// If it was made from another template.
    pub fn complete(&self, filled: &str) -> Result<String, String> {
        let mut url = String::new();
        for (index, part) in filled.split(MARK).enumerate() {
            // Every other part is a number.
            if index % 2 == 0 {
                part.chars().for_each(|char| push_escaped(char, &mut url));
            } else {
                let piece = part.parse::<usize>().ok().and_then(|number| self.pieces.get(number));
                url.push_str(piece.ok_or("the URL is another one than when the message was made")?.expose());
            }
        }
        secret::check_url(&url)?;
        Ok(url)
    }
}

/// Where the first action of a text that begins with one ends: behind braces that stand in no quotes.
fn end_of_action(text: &str) -> usize {
    let (mut quote, mut escaped) = (None, false);
    for (at, char) in text.char_indices() {
        match quote {
            Some(_) if escaped => escaped = false,
            Some('"' | '\'') if char == '\\' => escaped = true,
            Some(own) if own == char => quote = None,
            Some(_) => {}
            None if matches!(char, '"' | '\'' | '`') => quote = Some(char),
            None if text[at..].starts_with("}}") => return at + 2,
            None => {}
        }
    }
    text.len()
}

fn push_escaped(char: char, out: &mut String) {
    if !char.is_whitespace() && !char.is_control() {
        return out.push(char);
    }
    let mut bytes = [0; 4];
    for byte in char.encode_utf8(&mut bytes).bytes() {
        out.push_str(&format!("%{byte:02X}"));
    }
}

pub(super) fn read(node: &Node, global: &Global, report: &mut Report) -> Option<(bool, IntegrationConfig)> {
    let mut table = Table::of(node, report)?;
    let common = Common::read(&mut table, true, global, report);
    let url = secret::source(&mut table, report, "url", "url_file");
    if !["url", "url_file"].iter().any(|key| secret::is_given(&table, key)) {
        report.add(table.at(), "one of `url` and `url_file` must be set");
    }
    let mut url_template = None;
    if let (Some(SecretSource::Inline(url)), Some((_, node))) = (&url, table.entry("url")) {
        if url.expose().contains("{{") {
            url_template = field::template(node, report).map(|template| UrlTemplate::new(&template));
        } else if let Err(reason) = secret::check_url(url.expose()) {
            report.add(node.at, reason);
        }
    }
    let max_alerts = table.optional(report, "max_alerts", document::integer(0, i64::from(u32::MAX))).unwrap_or(0);
    let timeout = table.optional(report, "timeout", document::span).unwrap_or(Span::ZERO);
    let payload = table.optional(report, "payload", field::tree);
    table.finish(report);
    let max_alerts = usize::try_from(max_alerts).ok()?;
    let webhook = Webhook { url: url?, url_template, http: common.http, max_alerts, timeout, payload };
    Some((common.send_resolved, IntegrationConfig::Webhook(Box::new(webhook))))
}

impl Webhook {
    /// Every template of it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        let payload = self.payload.iter().flat_map(Tree::templates);
        payload.chain(self.url_template.iter().map(|url| &url.template)).collect()
    }
}

#[cfg(test)]
mod tests {
    use watchfire_shared::document::Position;

    use super::*;

    fn url(text: &str) -> UrlTemplate {
        UrlTemplate::new(&Template { at: Position { line: 1, column: 1 }, text: text.to_owned() })
    }

    #[test]
    fn a_url_is_filled_in_without_what_stands_around_its_actions() {
        let made = url(r#"https://h.example/t0ken/{{ .A }}?x={{ "}}" }}&y={{- `"{{` }}/end"#);
        let expected =
            "\u{f8ff}0\u{f8ff}{{ .A }}\u{f8ff}1\u{f8ff}{{ \"}}\" }}\u{f8ff}2\u{f8ff}{{- `\"{{` }}\u{f8ff}3\u{f8ff}";
        assert_eq!(made.template.text, expected);
        let filled = "\u{f8ff}0\u{f8ff}a b\r\nHost: x\u{f8ff}1\u{f8ff}7\u{f8ff}2\u{f8ff}é\u{f8ff}3\u{f8ff}";
        let complete = made.complete(filled).unwrap();
        assert_eq!(complete, "https://h.example/t0ken/a%20b%0D%0AHost:%20x?x=7&y=é/end");
        assert!(made.complete("\u{f8ff}9\u{f8ff}").is_err() && made.complete("ftp://x").is_err());
    }
}
