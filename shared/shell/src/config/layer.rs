//! One source of values: what it says, as figment takes it, and what is wrong with it.
//!
//! Relative paths in a file begin in the folder of that file, whatever folder the program was started in; those of the
//! environment and of flags begin where the program was started.

use std::path::Path;

use super::ManyTable;
use figment::value::{Dict, Map, Value as Figment};
use figment::{Metadata, Profile, Provider};
use watchfire_shared::config::{self, ConfigKey, ConfigKind};
use watchfire_shared::document::{Key, Mistake, Node, Position, Report, Scalar, ScalarKind, Value, toml};

/// The values of one source.
pub(super) struct Layer {
    name: String,
    values: Dict,
    /// Tables of which there may be many: the key and each of them. They are the program's to read.
    tables: Vec<(String, Node)>,
    /// Wrong values and syntax errors.
    pub(super) mistakes: Vec<Mistake>,
    /// Sections and keys that do not exist.
    pub(super) unknown: Vec<Mistake>,
}

const START: Position = Position { line: 1, column: 1 };

impl Layer {
    /// What holds where nothing else is said.
    pub(super) fn defaults(keys: &[ConfigKey]) -> Self {
        let values = keys.iter().filter(|key| !matches!(key.kind, ConfigKind::Tables(_)));
        let file = values.fold(String::new(), |file, key| file + &format!("{} = {}\n", key.path, key.default));
        Self::file(keys, Path::new("built-in defaults"), &file)
    }

    /// A TOML file.
    pub(super) fn file(keys: &[ConfigKey], path: &Path, text: &str) -> Self {
        let name = path.display().to_string();
        let mut report = Report::new(name.as_str());
        let mut root = toml::parse(text, &mut report);
        if let (Some(root), Some(folder)) = (&mut root, path.parent()) {
            rebase("", root, keys, folder);
        }
        Self::checked(keys, &name, root, report)
    }

    /// One value from the environment or a flag, as text.
    pub(super) fn text(keys: &[ConfigKey], name: &str, path: &str, text: &str) -> Self {
        let kind = keys.iter().find(|key| key.path == path).map(|key| key.kind);
        let mut report = Report::new(name);
        let value = value_of(kind, text, &mut report);
        let table = |node: Node, name: &str| Node {
            at: START,
            value: Value::Table(vec![(Key { at: START, name: name.to_owned() }, node)]),
        };
        let value = Node { at: Position { line: 1, column: 2 }, value };
        let root = path.rsplit('.').fold(value, table);
        let mut layer = Self::checked(keys, name, Some(root), report);
        // There is no place in such a source but the source itself.
        for mistake in layer.mistakes.iter_mut().chain(&mut layer.unknown) {
            mistake.at = None;
        }
        layer
    }

    /// Its tables of which there may be many.
    pub(super) fn take_tables(&mut self) -> Vec<ManyTable> {
        let tables = std::mem::take(&mut self.tables).into_iter();
        tables.map(|(key, node)| ManyTable { key, file: self.name.clone(), node }).collect()
    }

    fn checked(keys: &[ConfigKey], name: &str, root: Option<Node>, mut report: Report) -> Self {
        let mut unknown_at = Vec::new();
        let mut values = Dict::new();
        let mut tables = Vec::new();
        if let Some(root) = root {
            config::check(&root, keys, &mut report);
            if let Value::Table(mut entries) = root.value {
                let is_many = |name: &str| keys.iter().any(|key| key.path == name);
                for (key, node) in entries.extract_if(.., |(key, _)| is_many(&key.name)) {
                    if let Value::List(items) = node.value {
                        tables.extend(items.into_iter().map(|item| (key.name.clone(), item)));
                    }
                }
                values = known_entries(keys, "", entries, &mut unknown_at);
            }
        }
        let (unknown, mistakes) = report
            .into_mistakes()
            .into_iter()
            .partition(|mistake| mistake.at.is_some_and(|at| unknown_at.contains(&at)));
        Self { name: name.to_owned(), values, tables, mistakes, unknown }
    }
}

/// Lets the relative paths in the table at `prefix` begin in a folder.
fn rebase(prefix: &str, table: &mut Node, keys: &[ConfigKey], folder: &Path) {
    let Value::Table(entries) = &mut table.value else { return };
    for (key, node) in entries {
        let path = format!("{prefix}{}", key.name);
        match keys.iter().find(|known| known.path == path).map(|known| known.kind) {
            Some(ConfigKind::Path) => rebase_text(node, folder),
            Some(ConfigKind::Globs) => items(node).for_each(|item| rebase_text(item, folder)),
            Some(ConfigKind::TablesOf(keys)) => items(node).for_each(|item| rebase("", item, keys, folder)),
            // What such a table holds is its reader's, but how Prometheus calls its files is known.
            Some(ConfigKind::Tables(_)) => items(node).for_each(|item| rebase_files(item, folder)),
            Some(_) => {}
            None => rebase(&format!("{path}."), node, keys, folder),
        }
    }
}

fn items(node: &mut Node) -> impl Iterator<Item = &mut Node> {
    if let Value::List(items) = &mut node.value { items.as_mut_slice() } else { &mut [] }.iter_mut()
}

/// Tables whose keys are names that the user gives.
const OWN_NAMES: [&str; 4] = ["labels", "headers", "proxy_connect_header", "endpoint_params"];

fn rebase_files(table: &mut Node, folder: &Path) {
    let Value::Table(entries) = &mut table.value else { return };
    for (key, node) in entries {
        match node.value {
            Value::Scalar(_) if key.name.ends_with("_file") => rebase_text(node, folder),
            _ if OWN_NAMES.contains(&key.name.as_str()) => {}
            // Each header has lists of `values`, `secrets` and `files`.
            Value::Table(ref mut headers) if key.name == "http_headers" => {
                let lists = headers.iter_mut().filter_map(|(_, header)| match &mut header.value {
                    Value::Table(lists) => lists.iter_mut().find(|(key, _)| key.name == "files"),
                    _ => None,
                });
                lists.flat_map(|(_, list)| items(list)).for_each(|item| rebase_text(item, folder));
            }
            _ => rebase_files(node, folder),
        }
    }
}

fn rebase_text(node: &mut Node, folder: &Path) {
    if let Value::Scalar(Scalar { text, kind: ScalarKind::Text }) = &mut node.value
        && !text.is_empty()
    {
        *text = folder.join(&*text).to_string_lossy().into_owned();
    }
}

/// Keeps of the table at `prefix` what has a key, and notes where the rest stands.
fn known_entries(keys: &[ConfigKey], prefix: &str, entries: Vec<(Key, Node)>, unknown_at: &mut Vec<Position>) -> Dict {
    let mut values = Dict::new();
    for (key, node) in entries {
        let path = format!("{prefix}{}", key.name);
        if keys.iter().any(|known| known.path == path) {
            values.insert(key.name, figment_value(node.value));
        } else if config::is_section(keys, &path) {
            // A section that is no table is a mistake that the check has named.
            if let Value::Table(entries) = node.value {
                values.insert(key.name, known_entries(keys, &format!("{path}."), entries, unknown_at).into());
            }
        } else {
            unknown_at.push(key.at);
        }
    }
    values
}

/// Reads the text of a variable or flag as its key's kind wants it: lists and tables as TOML, or as `a,b` and `a=b,c=d`.
fn value_of(kind: Option<ConfigKind>, text: &str, report: &mut Report) -> Value {
    let scalar = |text: &str, kind| Value::Scalar(Scalar { text: text.to_owned(), kind });
    let node = |text: &str| Node { at: START, value: scalar(text.trim(), ScalarKind::Text) };
    let items = || text.split(',').filter(|item| !item.trim().is_empty());
    match kind {
        Some(ConfigKind::Globs | ConfigKind::HostPorts | ConfigKind::TextList | ConfigKind::Labels)
            if text.trim_start().starts_with(['[', '{']) =>
        {
            match toml::parse(&format!("value = {text}"), report).map(|root| root.value) {
                Some(Value::Table(mut entries)) if !entries.is_empty() => entries.swap_remove(0).1.value,
                _ => Value::Null,
            }
        }
        Some(ConfigKind::Globs | ConfigKind::HostPorts | ConfigKind::TextList) => {
            Value::List(items().map(node).collect())
        }
        Some(ConfigKind::Labels) => {
            let pair = |item: &str| {
                let (name, value) = item.split_once('=').unwrap_or((item, ""));
                (Key { at: START, name: name.trim().to_owned() }, node(value))
            };
            Value::Table(items().map(pair).collect())
        }
        Some(ConfigKind::Integer { .. }) => scalar(text, ScalarKind::Integer),
        Some(ConfigKind::Boolean) => scalar(text, ScalarKind::Boolean),
        _ => scalar(text, ScalarKind::Text),
    }
}

fn figment_value(value: Value) -> Figment {
    match value {
        Value::Null => Figment::from(String::new()),
        Value::List(items) => items.into_iter().map(|item| figment_value(item.value)).collect::<Vec<_>>().into(),
        Value::Table(entries) => {
            entries.into_iter().map(|(key, node)| (key.name, figment_value(node.value))).collect::<Dict>().into()
        }
        Value::Scalar(scalar) => match scalar.kind {
            ScalarKind::Integer => scalar.text.replace('_', "").parse::<i64>().map_or(scalar.text.into(), Into::into),
            ScalarKind::Float => scalar.text.replace('_', "").parse::<f64>().map_or(scalar.text.into(), Into::into),
            // The words that the check of a boolean accepts.
            ScalarKind::Boolean => matches!(scalar.text.to_lowercase().as_str(), "true" | "yes" | "on" | "y").into(),
            ScalarKind::Text | ScalarKind::Plain | ScalarKind::Date => scalar.text.into(),
        },
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}
