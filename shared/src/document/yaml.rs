//! YAML into [`Node`]s: one document of a file, duplicate keys refused, aliases and `<<` merges expanded within bounds.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{Key, Mistake, Node, Position, Report, Scalar, ScalarKind, Value};
use crate::limits::{MAX_CONFIG_FILE_BYTES, MAX_DOCUMENT_DEPTH, MAX_DOCUMENT_NODES};

/// Reads one YAML document. An empty file is [`Value::Null`].
///
/// Returns `None` if the text is no YAML or holds more than one document; duplicate keys are reported and the first one is
/// kept.
pub fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let node = parse_first(text, report)?;
    if let Some(at) = second_document(text) {
        report.add(at, "the file holds more than one YAML document; one was expected");
        return None;
    }
    Some(node)
}

/// As [`parse`], but what follows the first document is not looked at, as with the programs that decode a file once.
pub fn parse_first(text: &str, report: &mut Report) -> Option<Node> {
    if text.len() > MAX_CONFIG_FILE_BYTES {
        report.add_whole(format!("the file has {} bytes, more than {MAX_CONFIG_FILE_BYTES}", text.len()));
        return None;
    }
    let mut builder = Builder { report, stack: Vec::new(), anchors: BTreeMap::new(), root: None, nodes: 0 };
    for event in Parser::new_from_str(text) {
        match event {
            Ok((Event::DocumentEnd, _)) => break,
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                builder.report.add(position(*error.marker()), format!("invalid YAML: {}", error.info()));
                return None;
            }
        }
    }
    Some(builder.root.unwrap_or(Node { at: Position { line: 1, column: 1 }, value: Value::Null }))
}

/// A warning if a file goes on after the document that [`parse_first`] reads. `file` names it.
#[must_use]
pub fn unread(file: &str, text: &str) -> Option<Mistake> {
    let message = "only the first YAML document of a file counts: what follows is not read".to_owned();
    second_document(text).map(|at| Mistake { file: file.to_owned(), at: Some(at), message })
}

/// Where a second document begins, unless it is empty.
#[must_use]
pub fn second_document(text: &str) -> Option<Position> {
    let mut events =
        Parser::new_from_str(text).skip_while(|event| !matches!(event, Ok((Event::DocumentEnd, _)) | Err(_)));
    match events.next()? {
        Ok(_) => {}
        Err(_) => return None,
    }
    let begin = match events.next()? {
        Ok((Event::DocumentStart(_), span)) => position(span.start),
        Ok(_) => return None,
        Err(error) => return Some(position(*error.marker())),
    };
    match events.next()? {
        Ok((Event::Scalar(text, ScalarStyle::Plain, ..), _)) if text.is_empty() => None,
        _ => Some(begin),
    }
}

fn position(marker: Marker) -> Position {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}

/// A collection that is still open.
struct Open {
    at: Position,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Table { entries: Vec<(Key, Node)>, merged: Vec<(Key, Node)>, key: Option<Key> },
}

struct Builder<'a> {
    report: &'a mut Report,
    stack: Vec<Open>,
    anchors: BTreeMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
}

impl Builder<'_> {
    /// Takes one event; `None` ends the reading after a mistake that nothing can follow.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = position(span.start);
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let kind = if plain { ScalarKind::Plain } else { ScalarKind::Text };
                let value = if null { Value::Null } else { Value::Scalar(Scalar { text: text.into_owned(), kind }) };
                self.place(Node { at, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.open(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                self.open(at, anchor, Content::Table { entries: Vec::new(), merged: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let open = self.stack.pop()?;
                let value = match open.content {
                    Content::List(items) => Value::List(items),
                    Content::Table { entries, merged, .. } => Value::Table(own_first(entries, merged)),
                };
                self.place(Node { at: open.at, value }, open.anchor)
            }
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor) else {
                    self.report.add(at, "the alias refers to nothing before it");
                    return None;
                };
                let (node, size) = (Node { at, value: node.value.clone() }, size(node));
                self.count(size, at)?;
                self.place(node, 0)
            }
            _ => Some(()),
        }
    }

    fn open(&mut self, at: Position, anchor: usize, content: Content) -> Option<()> {
        if self.stack.len() >= MAX_DOCUMENT_DEPTH {
            self.report.add(at, format!("nested deeper than {MAX_DOCUMENT_DEPTH} levels"));
            return None;
        }
        self.stack.push(Open { at, anchor, content });
        Some(())
    }

    fn count(&mut self, nodes: usize, at: Position) -> Option<()> {
        self.nodes += nodes;
        if self.nodes > MAX_DOCUMENT_NODES {
            self.report.add(at, format!("more than {MAX_DOCUMENT_NODES} values once aliases are expanded"));
            return None;
        }
        Some(())
    }

    /// Puts a finished node into the collection that is open.
    fn place(&mut self, node: Node, anchor: usize) -> Option<()> {
        self.count(1, node.at)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        match self.stack.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Table { key: key @ None, .. }) => match node.value {
                Value::Scalar(scalar) => *key = Some(Key { at: node.at, name: scalar.text }),
                Value::Null => *key = Some(Key { at: node.at, name: String::new() }),
                _ => {
                    self.report.add(node.at, "a key must be a word");
                    return None;
                }
            },
            Some(Content::Table { entries, merged, key }) => {
                let key = key.take()?;
                if key.name == "<<" {
                    merge(merged, node, self.report);
                } else if entries.iter().any(|(other, _)| other.name == key.name) {
                    self.report.add(key.at, format!("the key `{}` stands here twice", key.name));
                } else {
                    entries.push((key, node));
                }
            }
        }
        Some(())
    }
}

/// `<<: *other` brings in keys that are not there already, as YAML 1.1's merge type says: of several tables the first one
/// wins, and a key of the table's own over all of them, wherever it stands.
fn merge(merged: &mut Vec<(Key, Node)>, node: Node, report: &mut Report) {
    match node.value {
        Value::Table(entries) => {
            for (key, value) in entries {
                if merged.iter().all(|(other, _)| other.name != key.name) {
                    merged.push((key, value));
                }
            }
        }
        Value::List(nodes) => nodes.into_iter().for_each(|node| merge(merged, node, report)),
        _ => report.add(node.at, "`<<` merges a table"),
    }
}

fn own_first(mut own: Vec<(Key, Node)>, merged: Vec<(Key, Node)>) -> Vec<(Key, Node)> {
    for (key, value) in merged {
        if own.iter().all(|(other, _)| other.name != key.name) {
            own.push((key, value));
        }
    }
    own
}

fn size(node: &Node) -> usize {
    1 + match &node.value {
        Value::List(items) => items.iter().map(size).sum(),
        Value::Table(entries) => entries.iter().map(|(_, node)| size(node)).sum(),
        _ => 0,
    }
}
