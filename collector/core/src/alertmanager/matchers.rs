//! Matchers in their three spellings: `match`, `match_re`, and `matchers` in the UTF-8 and the classic syntax.
//!
//! A text is first read in the UTF-8 syntax and, if that fails, in the classic one, with a warning: Alertmanager's fallback
//! mode. <https://prometheus.io/docs/alerting/latest/configuration/#matcher>

use watchfire_shared::document::{self, Mistake, Node, Report, Table};
use watchfire_shared::labels::is_label_name;
use watchfire_shared::matcher::{MatchOp, Matcher};

use super::items;
use crate::template;

/// Reads the keys `match`, `match_re` and `matchers` (with these names or such as `source_match`), sorted as Alertmanager
/// sorts them.
pub(super) fn read(
    table: &mut Table<'_>,
    keys: [&'static str; 3],
    warnings: &mut Vec<Mistake>,
    report: &mut Report,
) -> Vec<Matcher> {
    let [equal, regex, matchers] = keys;
    let mut all = table.optional(report, equal, |node, report| pairs(node, MatchOp::Equal, report)).unwrap_or_default();
    all.extend(table.optional(report, regex, |node, report| pairs(node, MatchOp::Regex, report)).unwrap_or_default());
    if let Some(node) = table.node(matchers) {
        list(node, &mut all, warnings, report);
    }
    all.sort_by(|a, b| (&a.name, &a.value, a.op).cmp(&(&b.name, &b.value, b.op)));
    all
}

fn pairs(node: &Node, op: MatchOp, report: &mut Report) -> Option<Vec<Matcher>> {
    let table = Table::of(node, report)?;
    let mut matchers = Vec::new();
    for (name, value) in table.entries() {
        if !is_label_name(&name.name) {
            report.add(name.at, format!("{:?} is no label name", name.name));
        }
        if value.is_null() && op == MatchOp::Regex {
            report.add(name.at, format!("the expression for `{}` is missing", name.name));
            continue;
        }
        let text = if value.is_null() { Some(String::new()) } else { document::text(value, report) };
        let Some(text) = text else { continue };
        match Matcher::new(name.name.as_str(), op, text) {
            Ok(matcher) => matchers.push(matcher),
            Err(error) => report.add(value.at, error.to_string()),
        }
    }
    Some(matchers)
}

fn list(node: &Node, all: &mut Vec<Matcher>, warnings: &mut Vec<Mistake>, report: &mut Report) {
    for item in items(node, report).unwrap_or_default() {
        let Some(text) = document::text(item, report) else { continue };
        match parse(&text) {
            Ok(parsed) => {
                all.extend(parsed.matchers);
                warnings.extend(parsed.warning.map(|message| Mistake {
                    file: report.file().to_owned(),
                    at: Some(item.at),
                    message,
                }));
            }
            Err(reason) => report.add(item.at, reason),
        }
    }
}

/// Matchers that were read, and why they should be written otherwise.
#[derive(Debug)]
pub struct Parsed {
    pub matchers: Vec<Matcher>,
    pub warning: Option<String>,
}

/// Reads `name="value"` conditions, separated by commas, with or without braces around them.
///
/// # Errors
/// What is wrong with the text, which the message repeats.
pub fn parse(text: &str) -> Result<Parsed, String> {
    match parse_utf8(text) {
        Ok(matchers) => Ok(Parsed { matchers, warning: None }),
        Err(reason) => match parse_classic(text) {
            Ok(matchers) => {
                let written: Vec<String> = matchers.iter().map(ToString::to_string).collect();
                let warning =
                    format!("the matcher {text:?} is in the classic syntax ({reason}); write {}", written.join(","));
                Ok(Parsed { matchers, warning: Some(warning) })
            }
            Err(_) => Err(format!("invalid matcher {text:?}: {reason}")),
        },
    }
}

const OPERATORS: [(&str, MatchOp); 4] =
    [("=~", MatchOp::Regex), ("!~", MatchOp::NotRegex), ("!=", MatchOp::NotEqual), ("=", MatchOp::Equal)];

fn parse_utf8(text: &str) -> Result<Vec<Matcher>, String> {
    let mut rest = text.trim();
    let braced = rest.starts_with('{');
    if braced {
        rest = rest[1..].trim_start();
    }
    let mut matchers = Vec::new();
    loop {
        if rest.is_empty() || rest.starts_with('}') {
            break;
        }
        let name = word(&mut rest, "a label name")?;
        if name.is_empty() {
            return Err("the label name is empty".to_owned());
        }
        rest = rest.trim_start();
        let (sign, op) = OPERATORS
            .into_iter()
            .find(|(sign, _)| rest.starts_with(sign))
            .ok_or_else(|| format!("expected one of = != =~ !~ after {name:?}"))?;
        rest = rest[sign.len()..].trim_start();
        let value = word(&mut rest, "a value")?;
        matchers.push(Matcher::new(name, op, value).map_err(|error| error.to_string())?);
        rest = rest.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after.trim_start(),
            None => break,
        }
    }
    match (braced, rest.strip_prefix('}').map(str::trim)) {
        (true, Some("")) => Ok(matchers),
        (true, _) => Err("the opening brace is not closed".to_owned()),
        (false, None) if rest.is_empty() && !matchers.is_empty() => Ok(matchers),
        (false, None) if rest.is_empty() => Err("it is empty".to_owned()),
        (false, Some(_)) => Err("a closing brace without an opening one".to_owned()),
        (false, None) => Err(format!("expected a comma before {rest:?}")),
    }
}

/// A quoted text, or characters that need no quotes.
fn word(rest: &mut &str, what: &str) -> Result<String, String> {
    if let Some(body) = rest.strip_prefix('"') {
        let mut escaped = false;
        let end = body.find(|char| {
            let ends = char == '"' && !escaped;
            escaped = char == '\\' && !escaped;
            ends
        });
        let end = end.ok_or("the quoted text is not closed")?;
        *rest = &body[end + 1..];
        return template::unquote(&body[..end], '"');
    }
    let reserved = |char: char| char.is_whitespace() || "{}!=~,\\\"'`".contains(char);
    let end = rest.find(reserved).unwrap_or(rest.len());
    let (word, after) = rest.split_at(end);
    if word.is_empty() {
        let found = rest.chars().next().map_or("nothing".to_owned(), |char| format!("{char:?}"));
        return Err(format!("expected {what}, found {found}"));
    }
    *rest = after;
    Ok(word.to_owned())
}

fn parse_classic(text: &str) -> Result<Vec<Matcher>, String> {
    let inner = text.trim();
    let inner = inner.strip_prefix('{').unwrap_or(inner);
    let inner = inner.strip_suffix('}').unwrap_or(inner);
    let mut parts = Vec::new();
    let (mut start, mut quoted, mut escaped) = (0, false, false);
    for (at, char) in inner.char_indices() {
        match char {
            '"' if !escaped => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&inner[start..at]);
                start = at + 1;
            }
            _ => {}
        }
        escaped = char == '\\' && !escaped;
    }
    parts.push(&inner[start..]);
    if parts.len() > 1 && parts.last().is_some_and(|part| part.trim().is_empty()) {
        parts.pop();
    }
    parts.into_iter().map(classic_matcher).collect()
}

fn classic_matcher(text: &str) -> Result<Matcher, String> {
    let text = text.trim();
    let end =
        text.find(|char: char| !(char.is_ascii_alphanumeric() || char == '_' || char == ':')).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let rest = rest.trim_start();
    let operator = OPERATORS.into_iter().find(|(sign, _)| rest.starts_with(sign));
    let ((sign, op), false) = (operator.ok_or("no operator")?, name.is_empty()) else {
        return Err("no label name".to_owned());
    };
    let raw = rest[sign.len()..].trim();
    let quoted = raw.starts_with('"');
    let body = if quoted { raw[1..].strip_suffix('"').ok_or("the quoted text is not closed")? } else { raw };
    let mut value = String::new();
    let mut chars = body.chars();
    while let Some(char) = chars.next() {
        match char {
            '"' => return Err("a quote inside of the value".to_owned()),
            '\\' => match chars.next() {
                Some('n') => value.push('\n'),
                Some(char @ ('"' | '\\')) => value.push(char),
                Some(char) => value.extend(['\\', char]),
                None if quoted => return Err("the value ends with a backslash".to_owned()),
                None => value.push('\\'),
            },
            char => value.push(char),
        }
    }
    Matcher::new(name, op, value).map_err(|error| error.to_string())
}
