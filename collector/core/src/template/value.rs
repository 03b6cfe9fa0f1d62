//! The values that templates work on, and how Go prints them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::tz::TimeZone;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::{MAX_DEPTH, MAX_OUTPUT_BYTES, clock, number};

/// A value of a template. Cloning is cheap.
#[derive(Debug, Clone)]
pub enum Value {
    /// No value at all: it prints as `<no value>` and is false.
    Nil,
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(Arc<str>),
    /// A text that is trusted to be markup of its kind, and that escaping lets through.
    Markup(Markup, Arc<str>),
    List(List),
    Map(Map),
    Struct(Arc<Struct>),
    Time(Time),
    /// A length of time, in nanoseconds as Go counts them.
    Duration(i64),
}

/// What a trusted text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Markup {
    /// `safeHtml`.
    Html,
    /// `safeUrl`.
    Url,
}

/// Several values in order.
#[derive(Debug, Clone)]
pub struct List {
    pub items: Arc<[Value]>,
    pub kind: ListKind,
    depth: u32,
}

/// What a list's methods are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    Plain,
    /// `.Firing` and `.Resolved`.
    Alerts,
    /// `.Names` and `.Values`.
    Pairs,
    /// `.Join`.
    Strings,
}

/// Values by name.
#[derive(Debug, Clone)]
pub struct Map {
    pub entries: Arc<BTreeMap<String, Value>>,
    pub kind: MapKind,
    depth: u32,
}

/// What a map holds, which decides what an absent key is and how the map prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapKind {
    /// Texts: an absent key is the empty text.
    Strings,
    /// Texts with Alertmanager's methods, printed as `k=v, k=v`.
    Pairs,
    /// Anything: an absent key is no value.
    Any,
}

/// Named fields; asking for another one is an error.
#[derive(Debug)]
pub struct Struct {
    /// Go's name of the type, for messages.
    pub name: &'static str,
    pub fields: Vec<(&'static str, Value)>,
}

/// A point in time with the zone in which it is shown.
#[derive(Debug, Clone)]
pub struct Time {
    pub at: Timestamp,
    pub zone: TimeZone,
}

impl Value {
    #[must_use]
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// A list; lists and maps nested deeper than [`MAX_DEPTH`] are cut to no value.
    #[must_use]
    pub fn list(items: Vec<Self>, kind: ListKind) -> Self {
        let depth = 1 + items.iter().map(Self::depth).max().unwrap_or(0);
        if depth > MAX_DEPTH { Self::Nil } else { Self::List(List { items: items.into(), kind, depth }) }
    }

    /// A map; bounded as [`Value::list`].
    #[must_use]
    pub fn map(entries: BTreeMap<String, Self>, kind: MapKind) -> Self {
        let depth = 1 + entries.values().map(Self::depth).max().unwrap_or(0);
        if depth > MAX_DEPTH { Self::Nil } else { Self::Map(Map { entries: Arc::new(entries), kind, depth }) }
    }

    /// A map of a label set.
    #[must_use]
    pub fn labels(labels: &Labels, kind: MapKind) -> Self {
        Self::map(labels.iter().map(|(name, value)| (name.to_owned(), Self::text(value))).collect(), kind)
    }

    #[must_use]
    pub fn structure(name: &'static str, fields: Vec<(&'static str, Self)>) -> Self {
        Self::Struct(Arc::new(Struct { name, fields }))
    }

    #[must_use]
    pub fn time(at: Timestamp) -> Self {
        Self::Time(Time { at, zone: TimeZone::UTC })
    }

    fn depth(&self) -> u32 {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            Self::Struct(fields) => 1 + fields.fields.iter().map(|(_, value)| value.depth()).max().unwrap_or(0),
            _ => 0,
        }
    }

    /// Whether `if` and `with` take the value for true: it is not the zero value of its type.
    #[must_use]
    pub fn truth(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Integer(value) | Self::Duration(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Text(text) | Self::Markup(_, text) => !text.is_empty(),
            Self::List(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Struct(_) | Self::Time(_) => true,
        }
    }

    /// Go's name of the type.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Integer(_) => "int",
            Self::Float(_) => "float64",
            Self::Text(_) => "string",
            Self::Markup(Markup::Html, _) => "template.HTML",
            Self::Markup(Markup::Url, _) => "template.URL",
            Self::List(list) => match list.kind {
                ListKind::Plain => "[]interface {}",
                ListKind::Alerts => "template.Alerts",
                ListKind::Pairs => "template.Pairs",
                ListKind::Strings => "template.Strings",
            },
            Self::Map(map) => match map.kind {
                MapKind::Strings => "map[string]string",
                MapKind::Pairs => "template.KV",
                MapKind::Any => "map[string]interface {}",
            },
            Self::Struct(fields) => fields.name,
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
        }
    }

    /// The value as `fmt.Print` shows it, except that no value is `<no value>`.
    ///
    /// # Errors
    /// If it is longer than [`MAX_OUTPUT_BYTES`].
    pub fn print(&self) -> Result<String, String> {
        if let Self::Nil = self {
            return Ok("<no value>".to_owned());
        }
        let mut out = String::new();
        self.print_into(&mut out)?;
        Ok(out)
    }

    /// Appends the value as `fmt.Print` shows it.
    pub(super) fn print_into(&self, out: &mut String) -> Result<(), String> {
        match self {
            Self::Nil => out.push_str("<nil>"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&number::print_float(*value)),
            Self::Text(text) | Self::Markup(_, text) => out.push_str(text),
            Self::List(list) => {
                out.push('[');
                for (index, item) in list.items.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    item.print_into(out)?;
                }
                out.push(']');
            }
            Self::Map(map) if map.kind == MapKind::Pairs => {
                for (index, (name, value)) in sorted_pairs(&map.entries).into_iter().enumerate() {
                    out.push_str(if index > 0 { ", " } else { "" });
                    out.push_str(name);
                    out.push('=');
                    value.print_into(out)?;
                }
            }
            Self::Map(map) => {
                out.push_str("map[");
                for (index, (name, value)) in map.entries.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    out.push_str(name);
                    out.push(':');
                    value.print_into(out)?;
                }
                out.push(']');
            }
            Self::Struct(fields) => {
                out.push('{');
                for (index, (_, value)) in fields.fields.iter().enumerate() {
                    out.push_str(if index > 0 { " " } else { "" });
                    value.print_into(out)?;
                }
                out.push('}');
            }
            Self::Time(time) => out.push_str(&clock::print(time)),
            Self::Duration(nanoseconds) => out.push_str(&clock::print_duration(*nanoseconds)),
        }
        // Nested lists may share their parts, so the text can be far longer than the memory that holds them.
        if out.len() > MAX_OUTPUT_BYTES { Err(too_long()) } else { Ok(()) }
    }
}

/// The pairs of a map in Alertmanager's order: `alertname` first, then by name.
pub(super) fn sorted_pairs(entries: &BTreeMap<String, Value>) -> Vec<(&String, &Value)> {
    let mut pairs: Vec<_> = entries.iter().collect();
    pairs.sort_by_key(|(name, _)| name.as_str() != "alertname");
    pairs
}

pub(super) fn too_long() -> String {
    format!("the text is longer than {MAX_OUTPUT_BYTES} bytes")
}
