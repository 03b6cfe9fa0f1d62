//! Fields of receivers that are templates.

use std::collections::BTreeMap;

use watchfire_shared::document::{self, Node, Position, Report, Table};

use crate::template::TemplateSet;
use crate::template::notification::NotificationFunctions;

/// A text that is a template, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pub at: Position,
    pub text: String,
}

/// Reads a text that is a template; its syntax is checked, which templates it calls only once all files are known.
pub(in crate::alertmanager) fn template(node: &Node, report: &mut Report) -> Option<Template> {
    let text = document::text(node, report)?;
    if text.contains("{{") {
        let functions = NotificationFunctions::for_reading();
        if let Err(error) = TemplateSet::default().add("", &text, &functions) {
            report.add(node.at, format!("the template has a mistake at {error}"));
            return None;
        }
    }
    Some(Template { at: node.at, text })
}

/// Reads texts that are templates, by their names.
pub(in crate::alertmanager) fn templates(node: &Node, report: &mut Report) -> Option<BTreeMap<String, Template>> {
    let table = Table::of(node, report)?;
    let mut templates = BTreeMap::new();
    for (name, node) in table.entries() {
        templates.extend(template(node, report).map(|template| (name.name.clone(), template)));
    }
    Some(templates)
}

/// Reads a key that is a template, with what holds if it is left out. An empty text stays empty.
pub(super) fn or_default(table: &mut Table<'_>, report: &mut Report, key: &'static str, default: &str) -> Template {
    let at = table.at();
    table.optional(report, key, template).unwrap_or_else(|| Template { at, text: default.to_owned() })
}

/// Reads a list of texts that are taken as they are.
pub(super) fn words(table: &mut Table<'_>, report: &mut Report, key: &'static str) -> Vec<String> {
    table.optional(report, key, document::text_list).unwrap_or_default()
}
