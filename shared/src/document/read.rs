//! Readers that turn nodes into values, or into mistakes with a hint.

use std::collections::BTreeMap;

use super::{Key, Node, Report, ScalarKind, Value};
use crate::time::Span;

/// A table that is being read: it knows which keys were asked for, so that what remains is unknown.
pub struct Table<'a> {
    node: &'a Node,
    entries: &'a [(Key, Node)],
    asked: Vec<&'static str>,
}

impl<'a> Table<'a> {
    /// Begins to read a table; `None` and a mistake if the node is none. Nothing reads as an empty table.
    pub fn of(node: &'a Node, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Table(entries) => Some(Self { node, entries, asked: Vec::new() }),
            Value::Null => Some(Self { node, entries: &[], asked: Vec::new() }),
            _ => {
                report.add(node.at, format!("expected a table of keys and values, found {}", node.describe()));
                None
            }
        }
    }

    /// Where the table starts.
    #[must_use]
    pub fn at(&self) -> super::Position {
        self.node.at
    }

    /// The node of a key; an absent key and one without a value are both `None`.
    pub fn node(&mut self, name: &'static str) -> Option<&'a Node> {
        self.asked.push(name);
        self.entry(name).map(|(_, node)| node).filter(|node| !node.is_null())
    }

    /// Where a key stands.
    #[must_use]
    pub fn entry(&self, name: &str) -> Option<&'a (Key, Node)> {
        self.entries.iter().find(|(key, _)| key.name == name)
    }

    /// Reads a key that may be absent.
    pub fn optional<T>(
        &mut self,
        report: &mut Report,
        name: &'static str,
        read: impl FnOnce(&'a Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        let node = self.node(name)?;
        read(node, report)
    }

    /// Reads a key that must be there.
    pub fn required<T>(
        &mut self,
        report: &mut Report,
        name: &'static str,
        read: impl FnOnce(&'a Node, &mut Report) -> Option<T>,
    ) -> Option<T> {
        match self.node(name) {
            Some(node) => read(node, report),
            None => {
                let at = self.entry(name).map_or(self.node.at, |(key, _)| key.at);
                report.add(at, format!("the key `{name}` is missing"));
                None
            }
        }
    }

    /// Ends the reading: every key that nobody asked for is a mistake, with the nearest one that exists.
    pub fn finish(self, report: &mut Report) {
        for (key, _) in self.entries {
            if !self.asked.contains(&key.name.as_str()) {
                let hint = nearest(&key.name, self.asked.iter().copied());
                report.add(key.at, format!("unknown key `{}`{}", key.name, suggestion(hint, &self.asked)));
            }
        }
    }

    /// The keys in the order of the file, for tables with keys of the user's own choice.
    #[must_use]
    pub fn entries(&self) -> &'a [(Key, Node)] {
        self.entries
    }
}

fn suggestion(hint: Option<&str>, words: &[&str]) -> String {
    match hint {
        Some(hint) => format!(", did you mean `{hint}`?"),
        None if words.is_empty() => String::new(),
        None => {
            let mut words = words.to_vec();
            words.sort_unstable();
            words.dedup();
            format!(", expected one of {}", words.join(", "))
        }
    }
}

/// The word nearest to `text`, if one is near enough to have been meant.
#[must_use]
pub fn nearest<'w>(text: &str, words: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    let allowed = (text.chars().count() / 3).max(1);
    let lower = text.to_lowercase();
    words
        .into_iter()
        .map(|word| (strsim::damerau_levenshtein(&lower, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// Text. A plain YAML number or boolean is taken as it was written, as Go's YAML does.
pub fn text(node: &Node, report: &mut Report) -> Option<String> {
    match &node.value {
        Value::Scalar(scalar) if matches!(scalar.kind, ScalarKind::Text | ScalarKind::Plain) => {
            Some(scalar.text.clone())
        }
        _ => expected("text", node, report),
    }
}

/// A boolean, with the words of YAML 1.1.
pub fn boolean(node: &Node, report: &mut Report) -> Option<bool> {
    if let Value::Scalar(scalar) = &node.value
        && matches!(scalar.kind, ScalarKind::Plain | ScalarKind::Boolean)
    {
        match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "y" => return Some(true),
            "false" | "no" | "off" | "n" => return Some(false),
            _ => {}
        }
    }
    expected("true or false", node, report)
}

/// An integer within bounds, both included.
pub fn integer(min: i64, max: i64) -> impl Fn(&Node, &mut Report) -> Option<i64> {
    move |node, report| {
        let value = match &node.value {
            Value::Scalar(scalar) if matches!(scalar.kind, ScalarKind::Plain | ScalarKind::Integer) => {
                scalar.text.replace('_', "").parse().ok()
            }
            _ => None,
        };
        match value {
            Some(value) if (min..=max).contains(&value) => Some(value),
            Some(value) => {
                report.add(node.at, format!("{value} is not between {min} and {max}"));
                None
            }
            None => expected("an integer", node, report),
        }
    }
}

/// A number.
pub fn float(node: &Node, report: &mut Report) -> Option<f64> {
    let value = match &node.value {
        Value::Scalar(scalar) if scalar.kind != ScalarKind::Text => scalar.text.replace('_', "").parse().ok(),
        _ => None,
    };
    value.or_else(|| expected("a number", node, report))
}

/// A duration as Prometheus writes it.
pub fn span(node: &Node, report: &mut Report) -> Option<Span> {
    let text = text(node, report)?;
    match Span::parse(&text) {
        Ok(span) => Some(span),
        Err(error) => {
            report.add(node.at, format!("{error}, found {text:?}"));
            None
        }
    }
}

/// One of a fixed set of words.
pub fn word<T: Copy>(words: &'static [(&'static str, T)]) -> impl Fn(&Node, &mut Report) -> Option<T> {
    move |node, report| {
        let text = text(node, report)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let hint = nearest(&text, names.iter().copied());
        report.add(node.at, format!("unknown word {text:?}{}", suggestion(hint, &names)));
        None
    }
}

/// A list of what `read` reads; items that cannot be read are reported and left out.
pub fn list<T>(read: impl Fn(&Node, &mut Report) -> Option<T>) -> impl Fn(&Node, &mut Report) -> Option<Vec<T>> {
    move |node, report| match &node.value {
        Value::List(items) => Some(items.iter().filter_map(|item| read(item, report)).collect()),
        Value::Null => Some(Vec::new()),
        _ => expected("a list", node, report),
    }
}

/// A list of texts.
pub fn text_list(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    list(text)(node, report)
}

/// A table of texts with keys of the user's own choice.
pub fn text_map(node: &Node, report: &mut Report) -> Option<BTreeMap<String, String>> {
    let table = Table::of(node, report)?;
    let read = |(key, node): &(Key, Node), report: &mut Report| {
        let value = if node.is_null() { Some(String::new()) } else { text(node, report) };
        value.map(|value| (key.name.clone(), value))
    };
    Some(table.entries().iter().filter_map(|entry| read(entry, report)).collect())
}

fn expected<T>(what: &str, node: &Node, report: &mut Report) -> Option<T> {
    report.add(node.at, format!("expected {what}, found {}", node.describe()));
    None
}
