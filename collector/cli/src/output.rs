//! How answers are printed: a table for people, JSON and YAML for programs, once or again at each change.
//!
//! Whatever came from outside goes through [`plain`] before it reaches a terminal. JSON escapes what it must by itself, and
//! so does YAML. Notes about the data go to standard error, where no program mistakes them for it.

mod table;

mod printer;

use std::io::IsTerminal;

use clap::{Args, ValueEnum};
use serde_json::Value;
use watchfire_shared::document::{self, Key, Node, Position, Scalar, ScalarKind};

pub(crate) use printer::{Page, Printer};
pub(crate) use table::{Cell, Table, Tone};

/// The form of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Format {
    Table,
    Json,
    Yaml,
}

/// How to print.
#[derive(Args)]
pub(crate) struct OutputArguments {
    /// How to print the answer
    #[arg(short, long, value_enum, default_value = "table", global = true)]
    pub(crate) output: Format,
}

/// A value as YAML, with a line break at its end.
pub(crate) fn yaml(value: &Value) -> String {
    document::emit(&node(value))
}

fn node(value: &Value) -> Node {
    let at = Position { line: 1, column: 1 };
    let scalar = |text: String, kind| document::Value::Scalar(Scalar { text, kind });
    let value = match value {
        Value::Null => document::Value::Null,
        Value::Bool(value) => scalar(value.to_string(), ScalarKind::Plain),
        Value::Number(value) => scalar(value.to_string(), ScalarKind::Plain),
        Value::String(text) => scalar(text.clone(), ScalarKind::Text),
        Value::Array(items) => document::Value::List(items.iter().map(node).collect()),
        Value::Object(entries) => {
            let entry = |(name, value): (&String, &Value)| (Key { at, name: name.clone() }, node(value));
            document::Value::Table(entries.iter().map(entry).collect())
        }
    };
    Node { at, value }
}

/// Text that came from elsewhere, fit for a terminal: no control characters, and none that turn the direction of writing.
pub(crate) fn plain(text: &str) -> String {
    let harmful = |char: char| {
        char.is_control() || matches!(char, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    text.chars().map(|char| if harmful(char) { '\u{fffd}' } else { char }).collect()
}

/// A member of a JSON value as text; nothing for what is missing.
pub(crate) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// A member of a JSON value as a whole number; 0 for what is missing.
pub(crate) fn number(value: &Value, pointer: &str) -> u64 {
    value.pointer(pointer).and_then(Value::as_u64).unwrap_or_default()
}

/// So many of something: `1 node`, `2 nodes`.
pub(crate) fn counted(count: usize, what: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {what}{plural}")
}

/// The items of a list.
pub(crate) fn items<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Labels as `name=value`, separated by commas, without some of them.
pub(crate) fn labels(value: &Value, without: &[&str]) -> String {
    let Some(labels) = value.as_object() else { return String::new() };
    let shown = labels.iter().filter(|(name, _)| !without.contains(&name.as_str()));
    let pairs: Vec<String> =
        shown.map(|(name, value)| format!("{name}={}", value.as_str().unwrap_or_default())).collect();
    pairs.join(",")
}

/// Colours, where the output is a terminal and `NO_COLOR` is not set.
#[derive(Clone, Copy)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// No colours, whatever the output is.
    #[cfg(test)]
    pub(crate) fn off() -> Self {
        Self { on: false }
    }

    pub(crate) fn for_stdout() -> Self {
        Self { on: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()) }
    }

    pub(crate) fn red(self, text: &str) -> String {
        self.wrap("31;1", text)
    }

    pub(crate) fn green(self, text: &str) -> String {
        self.wrap("32;1", text)
    }

    pub(crate) fn yellow(self, text: &str) -> String {
        self.wrap("33;1", text)
    }

    pub(crate) fn bold(self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.on { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn answers_are_readable_yaml() {
        let value = json!({"items": [{"name": "no", "rtt": 0.5, "up": true, "since": null, "labels": {}}], "note": "a\u{1b}[2J\nb"});
        let text = "items:\n  - name: \"no\"\n    rtt: 0.5\n    up: true\n    since: null\n    labels: {}\nnote: \"a\\u001b[2J\\nb\"\n";
        // Members of an object stand in the order of their names or of the answer.
        let lines = |text: &str| {
            let mut lines: Vec<String> =
                text.lines().map(|line| line.trim_start_matches([' ', '-']).to_owned()).collect();
            lines.sort();
            lines
        };
        assert_eq!(lines(&yaml(&value)), lines(text));
    }

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        assert_eq!(
            plain("a\u{1b}[31mb\r\n\t\u{9b}\u{202e}c ü"),
            "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}c ü"
        );
    }
}
