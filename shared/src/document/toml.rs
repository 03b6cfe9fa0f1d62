//! TOML into [`Node`]s, every syntax error of the file reported.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Key, Node, Position, Report, Scalar, ScalarKind, Value};
use crate::limits::MAX_CONFIG_FILE_BYTES;

/// Reads a TOML document; its root is always a table.
///
/// After a syntax error the tree holds what could still be read, so that other mistakes are reported with it.
pub fn parse(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > MAX_CONFIG_FILE_BYTES {
        report.add_whole(format!("the file has {} bytes, more than {MAX_CONFIG_FILE_BYTES}", text.len()));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    let lines = Lines::of(text);
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        report.add(lines.position(at), format!("invalid TOML: {}", error.message().trim_end()));
    }
    let start = Position { line: 1, column: 1 };
    Some(Node { at: start, value: table_value(table.get_ref(), &lines) })
}

fn table_value(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    let mut entries: Vec<(Key, Node)> = table
        .iter()
        .map(|(key, value)| {
            let key_at = lines.position(key.span().start);
            (Key { at: key_at, name: key.get_ref().to_string() }, node(value, lines))
        })
        .collect();
    entries.sort_by_key(|(key, _)| key.at);
    Value::Table(entries)
}

fn node(value: &Spanned<DeValue<'_>>, lines: &Lines<'_>) -> Node {
    let scalar = |text: String, kind| Value::Scalar(Scalar { text, kind });
    let value_at = lines.position(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => scalar(text.to_string(), ScalarKind::Text),
        DeValue::Integer(number) => scalar(number.to_string(), ScalarKind::Integer),
        DeValue::Float(number) => scalar(number.to_string(), ScalarKind::Float),
        DeValue::Boolean(value) => scalar(value.to_string(), ScalarKind::Boolean),
        DeValue::Datetime(date) => scalar(date.to_string(), ScalarKind::Date),
        DeValue::Array(items) => Value::List(items.iter().map(|item| node(item, lines)).collect()),
        DeValue::Table(table) => table_value(table, lines),
    };
    Node { at: value_at, value }
}

/// Finds line and column of a byte offset.
struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    fn position(&self, offset: usize) -> Position {
        let offset = offset.min(self.text.len());
        let line = self.starts.partition_point(|start| *start <= offset) - 1;
        let before = self.text.get(self.starts[line]..offset).unwrap_or_default();
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Position { line: number(line + 1), column: number(before.chars().count() + 1) }
    }
}
