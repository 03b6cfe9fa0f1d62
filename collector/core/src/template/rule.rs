//! Templates in rule files: labels and annotations of alerts, as `prometheus/template` expands them.

use watchfire_shared::labels::{Labels, Text};
use watchfire_shared::matcher;
use watchfire_shared::time::{Span, Timestamp};

use super::value::{ListKind, MapKind};
use super::{Escape, Functions, TemplateError, TemplateSet, Value, convert, execute, humanize};

const NAME: &str = "";
const VARIABLES: &[&str] = &["$labels", "$externalLabels", "$externalURL", "$value"];

/// What a template of a rule is expanded with.
#[derive(Debug, Clone, Copy)]
pub struct RuleData<'a> {
    /// Labels of the sample that the rule's expression gave.
    pub labels: &'a Labels,
    /// Its value.
    pub value: f64,
    pub external_labels: &'a Labels,
    /// Address under which users reach this collector, without a slash at its end.
    pub external_url: &'a str,
    /// When the rule was evaluated.
    pub now: Timestamp,
}

/// Evaluates a PromQL expression for the function `query`, at the time of the rule's evaluation.
pub type Query<'a> = &'a dyn Fn(&str) -> Result<Vec<(Labels, f64)>, String>;

/// The text of a label or annotation, read once and expanded often.
#[derive(Debug, Clone)]
pub struct Template {
    text: Text,
    /// `None` if there is nothing in it to expand.
    read: Option<Result<TemplateSet, TemplateError>>,
}

impl Template {
    /// Reads the text. What is wrong with it is told by each expansion; see [`check`].
    #[must_use]
    pub fn new(text: &str) -> Self {
        let read = || {
            let mut set = TemplateSet::default();
            let functions = RuleFunctions { data: None, query: &|_| Ok(Vec::new()) };
            set.add_with_variables(NAME, text, &functions, VARIABLES).map(|()| set)
        };
        Self { text: text.into(), read: text.contains("{{").then(read) }
    }

    /// Expands the text. One without `{{` is returned as it is, which costs nothing.
    ///
    /// # Errors
    /// The first mistake with its line and column; the caller decides what stands in its place.
    pub fn expand(&self, values: &Values<'_>, query: Query<'_>) -> Result<Text, TemplateError> {
        let set = match &self.read {
            None => return Ok(self.text.clone()),
            Some(read) => read.as_ref().map_err(Clone::clone)?,
        };
        let functions = RuleFunctions { data: Some(values.data), query };
        execute::render(set, NAME, &values.dot, &values.variables, &functions, Escape::None).map(Text::from)
    }
}

/// What the templates of one sample see.
pub struct Values<'a> {
    data: RuleData<'a>,
    dot: Value,
    variables: [(&'static str, Value); 4],
}

impl<'a> Values<'a> {
    #[must_use]
    pub fn new(data: RuleData<'a>) -> Self {
        let labels = Value::labels(data.labels, MapKind::Strings);
        let external_labels = Value::labels(data.external_labels, MapKind::Strings);
        let (url, value) = (Value::text(data.external_url), Value::Float(data.value));
        let dot = Value::structure(
            "template.AlertTemplateData",
            vec![
                ("Labels", labels.clone()),
                ("ExternalLabels", external_labels.clone()),
                ("ExternalURL", url.clone()),
                ("Value", value.clone()),
            ],
        );
        let variables =
            [("$labels", labels), ("$externalLabels", external_labels), ("$externalURL", url), ("$value", value)];
        Self { data, dot, variables }
    }
}

/// Checks that a label's or annotation's text is a template, without expanding it.
///
/// # Errors
/// The first mistake with its line and column.
pub fn check(text: &str) -> Result<(), TemplateError> {
    let functions = RuleFunctions { data: None, query: &|_| Ok(Vec::new()) };
    TemplateSet::default().add_with_variables(NAME, text, &functions, VARIABLES)
}

const NAMES: &[&str] = &[
    "query",
    "first",
    "label",
    "value",
    "strvalue",
    "args",
    "reReplaceAll",
    "safeHtml",
    "match",
    "title",
    "toUpper",
    "toLower",
    "graphLink",
    "tableLink",
    "sortByLabel",
    "stripPort",
    "stripDomain",
    "humanize",
    "humanize1024",
    "humanizeDuration",
    "humanizePercentage",
    "humanizeTimestamp",
    "toTime",
    "toDuration",
    "now",
    "pathPrefix",
    "externalURL",
    "parseDuration",
    "tmpl",
    "urlQueryEscape",
];

struct RuleFunctions<'a> {
    /// `None` while a template is only checked.
    data: Option<RuleData<'a>>,
    query: Query<'a>,
}

impl Functions for RuleFunctions<'_> {
    fn has(&self, name: &str) -> bool {
        NAMES.contains(&name)
    }

    fn call(&self, name: &str, args: &[Value]) -> Result<Value, String> {
        let url = self.data.map_or("", |data| data.external_url);
        let text = |text: String| Ok(Value::text(text));
        match (name, args) {
            ("query", [Value::Text(expression)]) => {
                let samples = (self.query)(expression)?.into_iter().map(|(labels, value)| sample(&labels, value));
                Ok(Value::list(samples.collect(), ListKind::Plain))
            }
            ("first", [Value::List(list)]) => {
                list.items.first().cloned().ok_or_else(|| "first() called on vector with no elements".to_owned())
            }
            ("label", [Value::Text(label), sample]) => sample_label(sample, label),
            ("value", [Value::Struct(sample)]) => {
                let value = sample.fields.iter().find(|(name, _)| *name == "Value").map(|(_, value)| value.clone());
                value.ok_or_else(|| "value() takes a sample".to_owned())
            }
            ("strvalue", [sample]) => sample_label(sample, "__value__"),
            ("sortByLabel", [Value::Text(label), Value::List(list)]) => {
                let mut items = list.items.to_vec();
                items.sort_by_cached_key(|item| match sample_label(item, label) {
                    Ok(Value::Text(value)) => value.to_string(),
                    _ => String::new(),
                });
                Ok(Value::list(items, ListKind::Plain))
            }
            ("args", args) => {
                let named = args.iter().enumerate().map(|(index, value)| (format!("arg{index}"), value.clone()));
                Ok(Value::map(named.collect(), MapKind::Any))
            }
            ("reReplaceAll", [Value::Text(pattern), Value::Text(replacement), Value::Text(text)]) => {
                humanize::replace_all(pattern, replacement, text).map(Value::text)
            }
            ("match", [Value::Text(pattern), Value::Text(text)]) => {
                let regex = matcher::unanchored(pattern).map_err(|error| error.to_string())?;
                Ok(Value::Bool(regex.is_match(text)))
            }
            ("safeHtml", [Value::Text(html)]) => Ok(Value::Text(html.clone())),
            ("title", [Value::Text(words)]) => text(humanize::title(words, "")),
            ("toUpper", [Value::Text(words)]) => text(words.to_uppercase()),
            ("toLower", [Value::Text(words)]) => text(words.to_lowercase()),
            ("graphLink", [Value::Text(expression)]) => text(link(expression, 0)),
            ("tableLink", [Value::Text(expression)]) => text(link(expression, 1)),
            ("stripPort", [Value::Text(address)]) => text(humanize::strip_port(address)),
            ("stripDomain", [Value::Text(address)]) => text(humanize::strip_domain(address)),
            ("humanize", [number]) => text(humanize::humanize(humanize::to_float(number)?)),
            ("humanize1024", [number]) => text(humanize::humanize_1024(humanize::to_float(number)?)),
            ("humanizeDuration", [number]) => text(humanize::duration(humanize::to_float(number)?)),
            ("humanizePercentage", [number]) => text(humanize::percentage(humanize::to_float(number)?)),
            ("humanizeTimestamp", [number]) => humanize::timestamp(humanize::to_float(number)?).map(Value::text),
            ("toTime", [number]) => humanize::to_time(humanize::to_float(number)?),
            ("toDuration", [number]) => Ok(Value::Duration((humanize::to_float(number)? * 1e9) as i64)),
            ("now", []) => Ok(Value::Float(self.data.map_or(0.0, |data| data.now.as_seconds()))),
            ("pathPrefix", []) => text(humanize::url_path(url).to_owned()),
            ("externalURL", []) => text(url.to_owned()),
            ("parseDuration", [Value::Text(duration)]) => {
                let span = Span::parse(duration).map_err(|error| format!("{error}, found {duration:?}"))?;
                Ok(Value::Float(span.as_seconds()))
            }
            ("urlQueryEscape", [Value::Text(words)]) => text(convert::query_escape(words)),
            (_, args) => Err(wrong_arguments(args)),
        }
    }
}

/// What a function says to arguments of a number or type that it does not take.
pub(super) fn wrong_arguments(args: &[Value]) -> String {
    let types: Vec<&str> = args.iter().map(Value::type_name).collect();
    format!("wrong number or type of arguments: ({})", types.join(", "))
}

fn sample(labels: &Labels, value: f64) -> Value {
    Value::structure(
        "*template.sample",
        vec![("Labels", Value::labels(labels, MapKind::Strings)), ("Value", Value::Float(value))],
    )
}

fn sample_label(sample: &Value, label: &str) -> Result<Value, String> {
    let Value::Struct(fields) = sample else { return Err(format!("expected a sample, got {}", sample.type_name())) };
    match fields.fields.iter().find(|(name, _)| *name == "Labels") {
        Some((_, Value::Map(labels))) => Ok(labels.entries.get(label).cloned().unwrap_or_else(|| Value::text(""))),
        _ => Err("expected a sample".to_owned()),
    }
}

/// The path of the query page for an expression: the graph, or with 1 the table.
fn link(expression: &str, tab: u8) -> String {
    format!("/graph?g0.expr={}&g0.tab={tab}", convert::query_escape(expression))
}
