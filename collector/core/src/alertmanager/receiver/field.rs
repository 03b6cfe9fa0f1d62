//! Fields of receivers that are templates.

use std::collections::BTreeMap;

use watchfire_shared::document::{self, Key, Node, Position, Report, Scalar, ScalarKind, Table, Value};

use crate::alertmanager::secret;
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

/// Reads a key that is a template and must say something.
pub(super) fn needed(table: &mut Table<'_>, report: &mut Report, key: &'static str) -> Option<Template> {
    let found = table.optional(report, key, template);
    if !secret::is_given(table, key) {
        report.add(table.at(), format!("`{key}` must be set"));
        return None;
    }
    found
}

/// A template under the name that it has in the file and in the message.
pub type Part = (&'static str, Template);

/// Reads those of some keys that are set, or that have a default. An empty default stands for none.
pub(super) fn parts(
    table: &mut Table<'_>,
    report: &mut Report,
    keys: &'static [(&'static str, &'static str)],
) -> Vec<Part> {
    let at = table.at();
    let mut part = |(key, default): &(&'static str, &'static str)| {
        let usual = || (!default.is_empty()).then(|| Template { at, text: (*default).to_owned() });
        table.optional(report, key, template).or_else(usual).map(|template| (*key, template))
    };
    keys.iter().filter_map(&mut part).collect()
}

/// A value of any shape whose texts are templates.
#[derive(Debug, Clone)]
pub enum Tree {
    /// A number, a truth or nothing.
    Leaf(serde_json::Value),
    Text(Template),
    List(Vec<Tree>),
    /// Names are templates as well.
    Table(Vec<(Template, Tree)>),
}

impl Tree {
    /// Every template in it.
    pub(in crate::alertmanager) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Leaf(_) => Vec::new(),
            Self::Text(template) => vec![template],
            Self::List(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Table(entries) => {
                entries.iter().flat_map(|(name, value)| [vec![name], value.templates()].concat()).collect()
            }
        }
    }
}

/// Reads a value of any shape.
pub(super) fn tree(node: &Node, report: &mut Report) -> Option<Tree> {
    Some(match &node.value {
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Text || scalar.text.contains("{{") => {
            Tree::Text(template(node, report)?)
        }
        Value::Null | Value::Scalar(_) => match json(node) {
            serde_json::Value::String(text) => Tree::Text(Template { at: node.at, text }),
            leaf => Tree::Leaf(leaf),
        },
        Value::List(items) => Tree::List(every(items.iter().map(|item| tree(item, report)))?),
        Value::Table(entries) => {
            let mut read = |(key, value): &(Key, Node)| {
                let name = Scalar { text: key.name.clone(), kind: ScalarKind::Text };
                let name = template(&Node { at: key.at, value: Value::Scalar(name) }, report);
                name.zip(tree(value, report))
            };
            Tree::Table(every(entries.iter().map(&mut read))?)
        }
    })
}

/// All of them, read to the end so that each mistake is told.
fn every<T>(found: impl Iterator<Item = Option<T>>) -> Option<Vec<T>> {
    let found: Vec<Option<T>> = found.collect();
    found.into_iter().collect()
}

/// A document as JSON. Words without quotes are what YAML takes them for: numbers, truths, nothing or texts.
pub(crate) fn json(node: &Node) -> serde_json::Value {
    use serde_json::Value as Json;
    match &node.value {
        Value::Null => Json::Null,
        Value::Scalar(scalar) if scalar.kind == ScalarKind::Text => Json::from(scalar.text.as_str()),
        Value::Scalar(scalar) => match scalar.text.as_str() {
            "true" | "True" | "TRUE" => Json::Bool(true),
            "false" | "False" | "FALSE" => Json::Bool(false),
            text => match text.parse::<serde_json::Number>() {
                Ok(number) => Json::Number(number),
                Err(_) => Json::from(text),
            },
        },
        Value::List(items) => items.iter().map(json).collect(),
        Value::Table(entries) => entries.iter().map(|(key, value)| (key.name.clone(), json(value))).collect(),
    }
}

/// Reads a list of texts that are taken as they are.
pub(super) fn words(table: &mut Table<'_>, report: &mut Report, key: &'static str) -> Vec<String> {
    table.optional(report, key, document::text_list).unwrap_or_default()
}
