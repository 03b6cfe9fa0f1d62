//! Templates in notifications: Alertmanager's functions.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher;
use watchfire_shared::time::Timestamp;

use super::rule::wrong_arguments;
use super::value::{ListKind, MapKind, Markup, Time, too_long};
use super::{Functions, MAX_OUTPUT_BYTES, Value, clock, convert, humanize};
use crate::alert::Alert;

const NAMES: &[&str] = &[
    "toUpper",
    "toLower",
    "title",
    "trimSpace",
    "join",
    "match",
    "safeHtml",
    "safeUrl",
    "urlUnescape",
    "reReplaceAll",
    "stringSlice",
    "routeLabels",
    "date",
    "tz",
    "now",
    "since",
    "humanizeDuration",
    "toDate",
    "mustToDate",
    "toJson",
    "base64encode",
    "base64decode",
    "list",
    "append",
    "dict",
];

/// The templates that Alertmanager brings itself, as files by name.
pub const DEFAULTS: [(&str, &str); 2] =
    [("default.tmpl", include_str!("defaults/default.tmpl")), ("email.tmpl", include_str!("defaults/email.tmpl"))];

/// The functions of notification templates; they know the time at which the notification is made.
#[derive(Debug, Clone)]
pub struct NotificationFunctions {
    pub now: Timestamp,
    /// The labels of the route that the notification took, with their templates filled in.
    pub route_labels: BTreeMap<String, String>,
}

impl NotificationFunctions {
    /// For reading templates, not for rendering them.
    #[must_use]
    pub fn for_reading() -> Self {
        Self { now: Timestamp::EPOCH, route_labels: BTreeMap::new() }
    }
}

impl Functions for NotificationFunctions {
    fn has(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        let text = |text: String| Ok(Value::text(text));
        match (name, args) {
            ("toUpper", [Value::Text(words)]) => text(words.to_uppercase()),
            ("toLower", [Value::Text(words)]) => text(words.to_lowercase()),
            ("title", [Value::Text(words)]) => text(humanize::title(&words.to_lowercase(), "'’")),
            ("trimSpace", [Value::Text(words)]) => text(words.trim().to_owned()),
            ("join", [Value::Text(separator), Value::List(list)]) => join(separator, &list.items).map(Value::text),
            ("match", [Value::Text(pattern), Value::Text(words)]) => {
                let regex = matcher::unanchored(pattern).map_err(|error| error.to_string())?;
                Ok(Value::Bool(regex.is_match(words)))
            }
            ("safeHtml", [Value::Text(words)]) => Ok(Value::Markup(Markup::Html, words.clone())),
            ("safeUrl", [Value::Text(words)]) => Ok(Value::Markup(Markup::Url, words.clone())),
            ("urlUnescape", [Value::Text(words)]) => convert::query_unescape(words).map(Value::text),
            ("reReplaceAll", [Value::Text(pattern), Value::Text(replacement), Value::Text(words)]) => {
                humanize::replace_all(pattern, replacement, words).map(Value::text)
            }
            ("stringSlice", items) if items.iter().all(|item| matches!(item, Value::Text(_))) => {
                Ok(Value::list(items.to_vec(), ListKind::Strings))
            }
            ("routeLabels", [Value::Text(name)]) => text(self.route_labels.get(&**name).cloned().unwrap_or_default()),
            ("date", [Value::Text(layout), Value::Time(time)]) => text(clock::format(time, layout)),
            ("tz", [Value::Text(name), Value::Time(time)]) => {
                let zone = zone(name).ok_or_else(|| format!("unknown time zone {name}"))?;
                Ok(Value::Time(Time { at: time.at, zone }))
            }
            ("now", []) => Ok(Value::time(self.now)),
            ("since", [Value::Time(time)]) => {
                Ok(Value::Duration(self.now.since(time.at).as_millis().saturating_mul(1_000_000)))
            }
            ("humanizeDuration", [number]) => text(humanize::duration(humanize::to_float(number)?)),
            ("toDate", [Value::Text(layout), Value::Text(date)]) => {
                Ok(parse_date(layout, date).unwrap_or_else(|_| Value::time(clock::ZERO_TIME)))
            }
            ("mustToDate", [Value::Text(layout), Value::Text(date)]) => parse_date(layout, date),
            ("toJson", [value]) => text(to_json(value)?),
            ("base64encode", [Value::Text(words)]) => text(base64_encode(words.as_bytes())),
            ("base64decode", [Value::Text(words)]) => base64_decode(words).map(Value::text),
            ("list", items) => Ok(Value::list(items.to_vec(), ListKind::Plain)),
            ("append", [Value::List(list), more @ ..]) => {
                let items = list.items.iter().chain(more).cloned().collect();
                Ok(Value::list(items, list.kind))
            }
            ("dict", pairs) => dict(pairs),
            (_, args) => Err(wrong_arguments(args)),
        }
    }
}

/// What a notification's template sees as its dot: Alertmanager's `template.Data`.
#[derive(Debug, Clone, Copy)]
pub struct NotificationData<'a> {
    pub now: Timestamp,
    pub receiver: &'a str,
    pub alerts: &'a [&'a Alert],
    pub group_labels: &'a Labels,
    pub common_labels: &'a Labels,
    pub common_annotations: &'a Labels,
    pub external_url: &'a str,
    /// Why the notification is made, in Alertmanager's words.
    pub reason: &'a str,
    /// As in [`NotificationFunctions`].
    pub route_labels: &'a BTreeMap<String, String>,
}

impl NotificationData<'_> {
    /// The data as a value; the status is `firing` while one of the alerts is.
    #[must_use]
    pub fn value(&self) -> Value {
        let status = |firing: bool| Value::text(if firing { "firing" } else { "resolved" });
        let pairs = |labels: &Labels| Value::labels(labels, MapKind::Pairs);
        let alert = |alert: &&Alert| {
            let resolved = alert.resolved_at(self.now);
            let end = alert.ends_at.filter(|_| resolved).unwrap_or(clock::ZERO_TIME);
            Value::structure(
                "template.Alert",
                vec![
                    ("Status", status(!resolved)),
                    ("Labels", pairs(&alert.labels)),
                    ("Annotations", pairs(&alert.annotations)),
                    ("StartsAt", Value::time(alert.starts_at)),
                    ("EndsAt", Value::time(end)),
                    ("GeneratorURL", Value::text(alert.generator_url.as_str())),
                    ("Fingerprint", Value::text(alert.fingerprint().to_string())),
                ],
            )
        };
        let text = |(name, value): (&String, &String)| (name.clone(), Value::text(value.as_str()));
        let route_labels = self.route_labels.iter().map(text).collect();
        Value::structure(
            "*template.Data",
            vec![
                ("Receiver", Value::text(self.receiver)),
                ("Status", status(self.alerts.iter().any(|alert| !alert.resolved_at(self.now)))),
                ("Alerts", Value::list(self.alerts.iter().map(alert).collect(), ListKind::Alerts)),
                ("GroupLabels", pairs(self.group_labels)),
                ("CommonLabels", pairs(self.common_labels)),
                ("CommonAnnotations", pairs(self.common_annotations)),
                ("ExternalURL", Value::text(self.external_url)),
                ("NotificationReason", Value::text(self.reason)),
                ("RouteLabels", Value::map(route_labels, MapKind::Pairs)),
            ],
        )
    }
}

/// Texts with a separator between them.
pub(super) fn join(separator: &str, items: &[Value]) -> Result<String, String> {
    let mut out = String::new();
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index > 0 { separator } else { "" });
        item.print_into(&mut out)?;
        if out.len() > MAX_OUTPUT_BYTES {
            return Err(too_long());
        }
    }
    Ok(out)
}

/// A time zone by its name in the IANA database, `UTC` or `Local`.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    match name {
        "" | "UTC" => Some(TimeZone::UTC),
        "Local" => Some(TimeZone::system()),
        name => TimeZone::get(name).ok(),
    }
}

fn dict(pairs: &[Value]) -> Result<Value, String> {
    if !pairs.len().is_multiple_of(2) {
        return Err("dict takes keys and values in turn".to_owned());
    }
    let mut entries = BTreeMap::new();
    for pair in pairs.chunks(2) {
        let [Value::Text(key), value] = pair else { return Err("the keys of dict are texts".to_owned()) };
        entries.insert(key.to_string(), value.clone());
    }
    Ok(Value::map(entries, MapKind::Any))
}

/// Reads the date layouts that templates use: RFC 3339 and its date alone.
fn parse_date(layout: &str, date: &str) -> Result<Value, String> {
    let whole = if layout == "2006-01-02" { format!("{date}T00:00:00Z") } else { date.to_owned() };
    let whole = if layout == "2006-01-02 15:04:05" { format!("{date}Z") } else { whole };
    if !matches!(layout, "2006-01-02" | "2006-01-02 15:04:05" | "2006-01-02T15:04:05Z07:00") {
        return Err(format!("the layout {layout:?} cannot be read; use 2006-01-02, with 15:04:05, or RFC 3339"));
    }
    Timestamp::parse_rfc3339(&whole)
        .map(Value::time)
        .ok_or_else(|| format!("{date:?} is no date of the layout {layout:?}"))
}

/// JSON as Go's `json.Marshal` writes it, with `<`, `>` and `&` escaped.
fn to_json(value: &Value) -> Result<String, String> {
    let mut out = String::new();
    write_json(value, &mut out)?;
    Ok(out.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026"))
}

fn write_json(value: &Value, out: &mut String) -> Result<(), String> {
    match value {
        Value::Nil => out.push_str("null"),
        Value::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
        Value::Integer(value) | Value::Duration(value) => out.push_str(&value.to_string()),
        Value::Float(value) => match serde_json::Number::from_f64(*value) {
            Some(number) if value.fract() == 0.0 && value.abs() < 1e15 => {
                out.push_str(number.to_string().trim_end_matches(".0"));
            }
            Some(number) => out.push_str(&number.to_string()),
            None => return Err(format!("json: unsupported value: {value}")),
        },
        Value::Text(text) | Value::Markup(_, text) => push_json_text(text, out),
        Value::Time(time) => push_json_text(&clock::format(time, "2006-01-02T15:04:05.999999999Z07:00"), out),
        Value::List(list) => {
            out.push('[');
            for (index, item) in list.items.iter().enumerate() {
                out.push_str(if index > 0 { "," } else { "" });
                write_json(item, out)?;
            }
            out.push(']');
        }
        Value::Map(map) => json_object(map.entries.iter().map(|(key, value)| (key.as_str(), value)), out)?,
        Value::Struct(fields) => {
            let names: Vec<(String, &Value)> =
                fields.fields.iter().map(|(name, value)| (json_name(name), value)).collect();
            json_object(names.iter().map(|(name, value)| (name.as_str(), *value)), out)?;
        }
    }
    if out.len() > MAX_OUTPUT_BYTES { Err(too_long()) } else { Ok(()) }
}

fn json_object<'a>(entries: impl Iterator<Item = (&'a str, &'a Value)>, out: &mut String) -> Result<(), String> {
    out.push('{');
    for (index, (key, value)) in entries.enumerate() {
        out.push_str(if index > 0 { "," } else { "" });
        push_json_text(key, out);
        out.push(':');
        write_json(value, out)?;
    }
    out.push('}');
    Ok(())
}

fn push_json_text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

/// The name that Alertmanager's structs have in JSON: `StartsAt` is `startsAt`, `ExternalURL` is `externalURL`.
fn json_name(field: &str) -> String {
    let mut chars = field.chars();
    chars.next().map(|first| first.to_ascii_lowercase().to_string() + chars.as_str()).unwrap_or_default()
}

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// RFC 4648, section 5, with padding, as Alertmanager's function has it.
fn base64_encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for index in 0..4 {
            let sextet = BASE64_URL[(word >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= chunk.len() { char::from(sextet) } else { '=' });
        }
    }
    out
}

fn base64_decode(text: &str) -> Result<String, String> {
    let bad = || format!("{text:?} is no base64 text");
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for chunk in text.as_bytes().chunks(4) {
        let digits = chunk.iter().take_while(|byte| **byte != b'=').count();
        if chunk.len() != 4 || digits < 2 || chunk[digits..].iter().any(|byte| *byte != b'=') {
            return Err(bad());
        }
        let mut word = 0u32;
        for byte in &chunk[..digits] {
            let sextet = BASE64_URL.iter().position(|own| own == byte).ok_or_else(bad)?;
            word = word << 6 | u32::try_from(sextet).map_err(|_| bad())?;
        }
        word <<= 6 * (4 - digits);
        out.extend_from_slice(&word.to_be_bytes()[1..digits]);
    }
    String::from_utf8(out).map_err(|_| bad())
}
