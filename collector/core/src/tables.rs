//! What tables of `collector.toml` have in common that name an address of somebody else, any number of them:
//! `[[remote_write]]` and `[[alertmanager]]`.

use watchfire_shared::config;
use watchfire_shared::document::{self, Node, Report};
use watchfire_shared::time::Span;

use crate::alertmanager::{Secret, check_url};

/// Reads all entries of the key `kind`: files with their tables.
///
/// # Errors
/// Every mistake, names that are used twice and more than `most` entries included.
pub(crate) fn read_all<T>(
    entries: &[(String, Node)],
    kind: &str,
    most: usize,
    read: impl Fn(&Node, &mut Report) -> Option<T>,
    name: impl Fn(&T) -> &str,
) -> Result<Vec<T>, Vec<String>> {
    let mut all: Vec<T> = Vec::new();
    let mut mistakes = Vec::new();
    for (file, node) in entries {
        let mut report = Report::new(file.clone());
        if let Some(own) = read(node, &mut report) {
            if all.iter().any(|other| name(other) == name(&own)) {
                report.add(node.at, format!("there is another {kind} called {:?}; give it a `name`", name(&own)));
            } else if all.len() == most {
                report.add(node.at, format!("there are more than {most} entries of {kind}"));
            }
            all.push(own);
        }
        mistakes.extend(report.into_mistakes().iter().map(ToString::to_string));
    }
    if mistakes.is_empty() { Ok(all) } else { Err(mistakes) }
}

pub(crate) fn url(node: &Node, report: &mut Report) -> Option<Secret> {
    let text = document::text(node, report)?;
    check_url(&text).map_err(|message| report.add(node.at, message)).ok()?;
    Some(Secret::new(text))
}

pub(crate) fn name(node: &Node, report: &mut Report) -> Option<String> {
    let text = document::text(node, report)?;
    if text.is_empty() || text.len() > 64 || text.chars().any(char::is_control) {
        report.add(node.at, "a name has 1 to 64 bytes and no control characters");
        return None;
    }
    Some(text)
}

/// The name of an entry that says none: host and port of its URL, without what may be a password or a token.
pub(crate) fn named_by(url: Option<&Secret>) -> String {
    let url = url.map_or("", Secret::expose);
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned()
}

/// A duration within bounds.
pub(crate) fn duration(min: Span, max: Span) -> impl Fn(&Node, &mut Report) -> Option<Span> {
    move |node, report| {
        let text = document::text(node, report)?;
        config::duration(&text, min, max).map_err(|message| report.add(node.at, message)).ok()
    }
}
