//! The functions that Go's `text/template` brings itself, and the methods of Alertmanager's lists and maps.

use std::cmp::Ordering;

use super::value::{ListKind, MapKind, sorted_pairs};
use super::{Value, convert, printf};

const NAMES: &[&str] = &[
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print", "printf", "println",
    "html", "js", "urlquery", "call",
];

pub(super) fn is_builtin(name: &str) -> bool {
    NAMES.contains(&name)
}

/// Calls a built-in function; `and` and `or` are the walker's, for they do not evaluate all their arguments.
pub(super) fn call(name: &str, args: &[Value]) -> Result<Value, String> {
    match (name, args) {
        ("not", [value]) => Ok(Value::Bool(!value.truth())),
        ("eq", [first, rest @ ..]) if !rest.is_empty() => {
            for other in rest {
                if equal(first, other)? {
                    return Ok(Value::Bool(true));
                }
            }
            Ok(Value::Bool(false))
        }
        ("ne", [a, b]) => equal(a, b).map(|equal| Value::Bool(!equal)),
        ("lt", [a, b]) => compare(a, b).map(|order| Value::Bool(order == Some(Ordering::Less))),
        ("le", [a, b]) => compare(a, b).map(|order| Value::Bool(order.is_some_and(Ordering::is_le))),
        ("gt", [a, b]) => compare(a, b).map(|order| Value::Bool(order == Some(Ordering::Greater))),
        ("ge", [a, b]) => compare(a, b).map(|order| Value::Bool(order.is_some_and(Ordering::is_ge))),
        ("len", [value]) => length(value).map(Value::Integer),
        ("index", [value, keys @ ..]) => keys.iter().try_fold(value.clone(), |value, key| index(&value, key)),
        ("slice", [value, bounds @ ..]) => slice(value, bounds),
        ("print", args) => printf::print(args).map(Value::text),
        ("println", args) => printf::println(args).map(Value::text),
        ("printf", [Value::Text(format), args @ ..]) => printf::printf(format, args).map(Value::text),
        ("printf", [other, ..]) => Err(format!("wrong type for value; expected string; got {}", other.type_name())),
        ("html", args) => Ok(Value::text(convert::html_escape(&joined(args)?))),
        ("js", args) => Ok(Value::text(convert::js_escape(&joined(args)?))),
        ("urlquery", args) => Ok(Value::text(convert::query_escape(&joined(args)?))),
        ("call", [other, ..]) => Err(format!("non-function of type {}", other.type_name())),
        ("not" | "len", args) => Err(format!("wrong number of args: want 1 got {}", args.len())),
        ("ne" | "lt" | "le" | "gt" | "ge", args) => Err(format!("wrong number of args: want 2 got {}", args.len())),
        (_, args) => Err(format!("wrong number of args: got {}", args.len())),
    }
}

fn joined(args: &[Value]) -> Result<String, String> {
    match args {
        [Value::Text(text)] => Ok(text.to_string()),
        args => printf::print(args),
    }
}

fn equal(a: &Value, b: &Value) -> Result<bool, String> {
    match (a, b) {
        (Value::Nil, other) | (other, Value::Nil) => Ok(matches!(other, Value::Nil)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Integer(a) | Value::Duration(a), Value::Integer(b) | Value::Duration(b)) => Ok(a == b),
        (Value::Float(a), Value::Float(b)) => Ok(a == b),
        (Value::Text(a), Value::Text(b)) => Ok(a == b),
        (Value::Time(a), Value::Time(b)) => Ok(a.at == b.at),
        (Value::List(_) | Value::Map(_), _) => Err(format!("non-comparable type {}: {}", excerpt(a), a.type_name())),
        (_, Value::List(_) | Value::Map(_)) => Err(format!("non-comparable type {}: {}", excerpt(b), b.type_name())),
        _ => Err(incompatible(a, b)),
    }
}

fn compare(a: &Value, b: &Value) -> Result<Option<Ordering>, String> {
    match (a, b) {
        (Value::Integer(a) | Value::Duration(a), Value::Integer(b) | Value::Duration(b)) => Ok(Some(a.cmp(b))),
        (Value::Float(a), Value::Float(b)) => Ok(a.partial_cmp(b)),
        (Value::Text(a), Value::Text(b)) => Ok(Some(a.cmp(b))),
        _ => Err(incompatible(a, b)),
    }
}

/// Go's words, and what usually is behind them: a float held against an integer literal.
fn incompatible(a: &Value, b: &Value) -> String {
    let hint = match (a, b) {
        (Value::Float(_), Value::Integer(number)) | (Value::Integer(number), Value::Float(_)) => {
            format!(" (write {number}.0 to compare with a float)")
        }
        _ => String::new(),
    };
    format!("incompatible types for comparison: {} and {}{hint}", a.type_name(), b.type_name())
}

fn excerpt(value: &Value) -> String {
    value.print().map(|text| text.chars().take(60).collect()).unwrap_or_default()
}

fn length(value: &Value) -> Result<i64, String> {
    let length = match value {
        Value::Text(text) => text.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Nil => return Err("len of nil pointer".to_owned()),
        other => return Err(format!("len of type {}", other.type_name())),
    };
    i64::try_from(length).map_err(|_| "the length is too large".to_owned())
}

fn index(value: &Value, key: &Value) -> Result<Value, String> {
    let position = |length: usize| match key {
        Value::Integer(at) => {
            usize::try_from(*at).ok().filter(|at| *at < length).ok_or_else(|| format!("index out of range: {at}"))
        }
        other => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    match (value, key) {
        (Value::Map(map), Value::Text(key)) => Ok(map.entries.get(&**key).cloned().unwrap_or_else(|| match map.kind {
            MapKind::Any => Value::Nil,
            MapKind::Strings | MapKind::Pairs => Value::text(""),
        })),
        (Value::Map(_), key) => Err(format!("value has type {}; should be string", key.type_name())),
        (Value::List(list), _) => position(list.items.len()).map(|at| list.items[at].clone()),
        (Value::Text(text), _) => position(text.len()).map(|at| Value::Integer(i64::from(text.as_bytes()[at]))),
        (Value::Nil, _) => Err("index of untyped nil".to_owned()),
        (other, _) => Err(format!("can't index item of type {}", other.type_name())),
    }
}

fn slice(value: &Value, bounds: &[Value]) -> Result<Value, String> {
    let length = length(value).map_err(|_| format!("can't slice item of type {}", value.type_name()))?;
    let bound = |at: usize, default: i64| match bounds.get(at) {
        None => Ok(default),
        Some(Value::Integer(at)) if (0..=length).contains(at) => Ok(*at),
        Some(Value::Integer(at)) => Err(format!("index out of range: {at}")),
        Some(other) => Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let (from, to) = (bound(0, 0)?, bound(1, length)?);
    if from > to || bounds.len() > 2 {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
    match value {
        Value::Text(text) => match text.get(range) {
            Some(part) => Ok(Value::text(part)),
            None => Err("the slice cuts a character in two".to_owned()),
        },
        Value::List(list) => Ok(Value::list(list.items[range].to_vec(), list.kind)),
        other => Err(format!("can't slice item of type {}", other.type_name())),
    }
}

/// A method of Alertmanager's `Alerts`, `KV`, `Pairs` or `Strings`; `None` where the value has no such method.
pub(super) fn method(of: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let texts = |items: Vec<&str>| Value::list(items.into_iter().map(Value::text).collect(), ListKind::Strings);
    match of {
        Value::Map(map) if map.kind == MapKind::Pairs => {
            let pairs = sorted_pairs(&map.entries);
            match (name, args) {
                ("SortedPairs", []) => {
                    Some(Ok(Value::list(pairs.iter().map(|(k, v)| pair(k, v)).collect(), ListKind::Pairs)))
                }
                ("Names", []) => Some(Ok(texts(pairs.iter().map(|(name, _)| name.as_str()).collect()))),
                ("Values", []) => {
                    Some(Ok(Value::list(pairs.iter().map(|(_, value)| (*value).clone()).collect(), ListKind::Strings)))
                }
                ("Remove", [Value::List(names)]) => {
                    let removed = |name: &str| {
                        names.items.iter().any(|item| matches!(item, Value::Text(text) if **text == *name))
                    };
                    let kept = map.entries.iter().filter(|(name, _)| !removed(name));
                    Some(Ok(Value::map(kept.map(|(k, v)| (k.clone(), v.clone())).collect(), MapKind::Pairs)))
                }
                ("Remove", _) => Some(Err("Remove takes a list of names".to_owned())),
                _ => None,
            }
        }
        Value::List(list) => match (list.kind, name, args) {
            (ListKind::Alerts, "Firing" | "Resolved", []) => {
                let status = if name == "Firing" { "firing" } else { "resolved" };
                let kept = list.items.iter().filter(|alert| field_text(alert, "Status") == status);
                Some(Ok(Value::list(kept.cloned().collect(), ListKind::Alerts)))
            }
            (ListKind::Pairs, "Names", []) => {
                Some(Ok(texts(list.items.iter().map(|p| field_text(p, "Name")).collect())))
            }
            (ListKind::Pairs, "Values", []) => {
                Some(Ok(texts(list.items.iter().map(|p| field_text(p, "Value")).collect())))
            }
            (ListKind::Strings, "Join", [Value::Text(separator)]) => {
                Some(super::notification::join(separator, &list.items).map(Value::text))
            }
            _ => None,
        },
        _ => None,
    }
}

fn pair(name: &str, value: &Value) -> Value {
    Value::structure("template.Pair", vec![("Name", Value::text(name)), ("Value", value.clone())])
}

fn field_text<'a>(of: &'a Value, name: &str) -> &'a str {
    match of {
        Value::Struct(fields) => match fields.fields.iter().find(|(own, _)| *own == name) {
            Some((_, Value::Text(text))) => text,
            _ => "",
        },
        _ => "",
    }
}
