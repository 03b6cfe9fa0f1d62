//! The test file: strict keys, every mistake at once.

use std::collections::BTreeSet;

use watchfire_promql::{Expr, Syntax};
use watchfire_shared::document::{self, Mistake, Node, Position, Report, Table, list, span, text, yaml};
use watchfire_shared::labels::{ALERT_NAME, Labels};
use watchfire_shared::time::{Span, Timestamp};

use crate::rules::expression;

/// promtool's default for `evaluation_interval`.
const DEFAULT_INTERVAL: Span = Span::from_seconds(60);

/// A test file.
#[derive(Debug)]
pub(super) struct TestFile {
    /// Patterns and where they stand.
    pub(super) rule_files: Vec<(String, Position)>,
    pub(super) evaluation_interval: Span,
    pub(super) fuzzy_compare: bool,
    pub(super) group_eval_order: Vec<String>,
    pub(super) tests: Vec<Test>,
}

/// Series and what should come of them.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) at: Position,
    pub(super) name: Option<String>,
    /// Between the values of the input.
    pub(super) interval: Span,
    pub(super) start: Timestamp,
    pub(super) input: Vec<Input>,
    pub(super) alert_cases: Vec<AlertCase>,
    pub(super) expr_cases: Vec<ExprCase>,
    pub(super) external_labels: Labels,
    pub(super) external_url: String,
}

/// One series; a missing value is a gap.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) labels: Labels,
    pub(super) values: Vec<Option<f64>>,
}

/// Which alerts of a name should be firing.
#[derive(Debug)]
pub(super) struct AlertCase {
    pub(super) at: Position,
    pub(super) eval_time: Span,
    pub(super) name: String,
    /// Labels, `alertname` included, and annotations.
    pub(super) expected: Vec<(Labels, Labels)>,
}

/// What an expression should give.
#[derive(Debug)]
pub(super) struct ExprCase {
    pub(super) at: Position,
    pub(super) eval_time: Span,
    pub(super) text: String,
    pub(super) expr: Expr,
    pub(super) expected: Vec<(Labels, f64)>,
}

impl Test {
    pub(super) fn last_eval_time(&self) -> Span {
        let alerts = self.alert_cases.iter().map(|case| case.eval_time);
        alerts.chain(self.expr_cases.iter().map(|case| case.eval_time)).max().unwrap_or_default()
    }

    /// How many cases the test has.
    pub(super) const fn cases(&self) -> usize {
        self.alert_cases.len() + self.expr_cases.len()
    }
}

/// Reads a test file.
pub(super) fn parse(file: &str, content: &str) -> Result<TestFile, Vec<Mistake>> {
    let mut report = Report::new(file);
    let read = yaml::parse(content, &mut report).and_then(|root| test_file(content, &root, &mut report));
    report.finish(read)
}

fn test_file(content: &str, root: &Node, report: &mut Report) -> Option<TestFile> {
    let mut table = Table::of(root, report)?;
    let rule_files = table.optional(report, "rule_files", list(|node, report| Some((text(node, report)?, node.at))));
    let interval = table.optional(report, "evaluation_interval", positive_span).unwrap_or(DEFAULT_INTERVAL);
    let fuzzy_compare = table.optional(report, "fuzzy_compare", document::boolean);
    let order = table.optional(report, "group_eval_order", group_order);
    let tests = table.optional(report, "tests", list(|node, report| test(content, node, interval, report)));
    table.finish(report);
    Some(TestFile {
        rule_files: rule_files.unwrap_or_default(),
        evaluation_interval: interval,
        fuzzy_compare: fuzzy_compare.unwrap_or(false),
        group_eval_order: order.unwrap_or_default(),
        tests: tests.unwrap_or_default(),
    })
}

fn group_order(node: &Node, report: &mut Report) -> Option<Vec<String>> {
    let names = document::text_list(node, report)?;
    let mut seen = BTreeSet::new();
    for name in &names {
        if !seen.insert(name) {
            report.add(node.at, format!("the group {name:?} stands in the order twice"));
        }
    }
    Some(names)
}

fn test(content: &str, node: &Node, evaluation_interval: Span, report: &mut Report) -> Option<Test> {
    let mut table = Table::of(node, report)?;
    let name = table.optional(report, "name", text);
    let interval = table.optional(report, "interval", positive_span);
    let start = table.optional(report, "start_timestamp", timestamp);
    let input = table.optional(report, "input_series", list(input));
    let alert_cases = table.optional(report, "alert_rule_test", list(alert_case));
    let expr_cases = table.optional(report, "promql_expr_test", list(|node, report| expr_case(content, node, report)));
    let external_labels = table.optional(report, "external_labels", document::text_map);
    let external_url = table.optional(report, "external_url", text);
    table.finish(report);
    Some(Test {
        at: node.at,
        name,
        interval: interval.unwrap_or(evaluation_interval),
        start: start.unwrap_or(Timestamp::EPOCH),
        input: input.unwrap_or_default(),
        alert_cases: alert_cases.unwrap_or_default(),
        expr_cases: expr_cases.unwrap_or_default(),
        external_labels: Labels::new(external_labels.unwrap_or_default()),
        external_url: external_url.unwrap_or_default(),
    })
}

fn positive_span(node: &Node, report: &mut Report) -> Option<Span> {
    let span = span(node, report)?;
    if !span.is_positive() {
        report.add(node.at, "an interval must be longer than nothing");
        return None;
    }
    Some(span)
}

/// Seconds since the epoch, or an RFC 3339 time.
fn timestamp(node: &Node, report: &mut Report) -> Option<Timestamp> {
    let text = text(node, report)?;
    let seconds = text.parse::<f64>().ok().filter(|seconds| seconds.abs() < 1e12);
    let at = seconds.map(|seconds| Timestamp::from_millis((seconds * 1000.0).round() as i64));
    let at = at.or_else(|| Timestamp::parse_rfc3339(&text));
    if at.is_none() {
        report.add(
            node.at,
            format!("expected seconds since 1970 or a time such as 2026-01-01T00:00:00Z, found {text:?}"),
        );
    }
    at
}

fn input(node: &Node, report: &mut Report) -> Option<Input> {
    let mut table = Table::of(node, report)?;
    let series = table.required(report, "series", text);
    let values = table.required(report, "values", text);
    table.finish(report);
    match watchfire_promql::parse_series(&format!("{} {}", series?, values?)) {
        Ok((labels, values)) => Some(Input { labels, values }),
        Err(error) => {
            report.add(node.at, error.to_string());
            None
        }
    }
}

fn alert_case(node: &Node, report: &mut Report) -> Option<AlertCase> {
    let mut table = Table::of(node, report)?;
    let eval_time = table.optional(report, "eval_time", span).unwrap_or_default();
    let name = table.required(report, "alertname", text);
    let expected = table.optional(report, "exp_alerts", list(expected_alert)).unwrap_or_default();
    table.finish(report);
    let name = name?;
    let expected = expected.into_iter().map(|(labels, annotations)| (labels.with(ALERT_NAME, &name), annotations));
    Some(AlertCase { at: node.at, eval_time, expected: expected.collect(), name })
}

fn expected_alert(node: &Node, report: &mut Report) -> Option<(Labels, Labels)> {
    let mut table = Table::of(node, report)?;
    let labels = table.optional(report, "exp_labels", document::text_map).unwrap_or_default();
    let annotations = table.optional(report, "exp_annotations", document::text_map).unwrap_or_default();
    table.finish(report);
    Some((Labels::new(labels), Labels::new(annotations)))
}

fn expr_case(content: &str, node: &Node, report: &mut Report) -> Option<ExprCase> {
    let mut table = Table::of(node, report)?;
    let expr = table.required(report, "expr", |node, report| expression(content, Syntax::experimental(), node, report));
    let eval_time = table.optional(report, "eval_time", span).unwrap_or_default();
    let expected = table.optional(report, "exp_samples", list(expected_sample)).unwrap_or_default();
    table.finish(report);
    let (text, expr, _) = expr?;
    Some(ExprCase { at: node.at, eval_time, text, expr, expected })
}

fn expected_sample(node: &Node, report: &mut Report) -> Option<(Labels, f64)> {
    let mut table = Table::of(node, report)?;
    let labels = table.optional(report, "labels", series_labels);
    let value = table.optional(report, "value", number);
    if let Some(node) = table.node("histogram") {
        report.add(node.at, "native histograms are not supported");
    }
    table.finish(report);
    Some((labels.unwrap_or_default(), value.unwrap_or(0.0)))
}

/// A number as YAML and Go write it, infinities and NaN included.
fn number(node: &Node, report: &mut Report) -> Option<f64> {
    let text = text(node, report)?;
    let value = match text.to_ascii_lowercase().trim_start_matches('.') {
        "nan" => Some(f64::NAN),
        "inf" | "+inf" | "+.inf" => Some(f64::INFINITY),
        "-inf" | "-.inf" => Some(f64::NEG_INFINITY),
        number => number.replace('_', "").parse().ok().filter(|_| !text.starts_with('.')).or_else(|| text.parse().ok()),
    };
    if value.is_none() {
        report.add(node.at, format!("expected a number, found {text:?}"));
    }
    value
}

/// Labels in the notation of a series: `up{job="a"}`, `{a="b"}`, or nothing.
fn series_labels(node: &Node, report: &mut Report) -> Option<Labels> {
    let text = text(node, report)?;
    let labels = labels_of(&text);
    if labels.is_none() {
        report.add(node.at, format!("expected a series such as up{{job=\"node\"}}, found {text:?}"));
    }
    labels
}

fn labels_of(text: &str) -> Option<Labels> {
    if text.trim().is_empty() {
        return Some(Labels::default());
    }
    let (labels, values) = watchfire_promql::parse_series(text).ok()?;
    values.is_empty().then_some(labels)
}
