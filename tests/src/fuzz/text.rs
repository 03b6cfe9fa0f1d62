//! What people write: PromQL, rule files, alertmanager.yml, templates.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_collector_core::alert::Alert;
use watchfire_collector_core::template::notification::{NotificationData, NotificationFunctions};
use watchfire_collector_core::template::rule::{self, RuleData, Values};
use watchfire_collector_core::template::{Escape, TemplateSet};
use watchfire_collector_core::{alertmanager, rules};
use watchfire_promql::{Options, Selection, Series, Storage, StorageError, instant, parse, range};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::{Span, Timestamp};

/// Every selector finds the same two series.
struct Two;

impl Storage for Two {
    fn select(&self, selection: &Selection<'_>) -> Result<Vec<Series>, StorageError> {
        let (from, to) = (selection.from.as_millis(), selection.to.as_millis());
        let times: Arc<[i64]> = (0..20).map(|step| step * 30_000).filter(|at| (from..=to).contains(at)).collect();
        let series = |instance: &str, factor: f64| Series {
            labels: Labels::new([("__name__", "x"), ("instance", instance), ("le", "1")]),
            times: times.clone(),
            values: times.iter().map(|at| *at as f64 * factor).collect(),
        };
        Ok(vec![series("a", 1.0), series("b", f64::NAN)])
    }
}

/// What parses is printed and parsed again as the same, and evaluates or fails.
pub(super) fn promql(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let Ok(expr) = parse(text) else { return false };
    let printed = expr.to_string();
    match parse(&printed) {
        Ok(again) => assert_eq!(again.to_string(), printed, "printed from {text:?}"),
        Err(error) => panic!("{text:?} is printed as {printed:?}, which does not parse: {error}"),
    }
    let cancelled = || false;
    let options = Options { max_samples: 20_000, cancelled: Some(&cancelled), ..Options::default() };
    let at = Timestamp::from_millis(300_000);
    let _ = instant(&Two, &expr, at, &options);
    let _ = range(&Two, &expr, at, at + Span::from_seconds(120), Span::from_seconds(60), &options);
    true
}

pub(super) fn rules(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let parsed = rules::parse("rules.yml", text);
    assert!(parsed.as_ref().err().is_none_or(|mistakes| !mistakes.is_empty()), "a file is refused without a reason");
    parsed.is_ok()
}

/// What is read has routes that alerts find.
pub(super) fn alertmanager(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let parsed = alertmanager::parse("alertmanager.yml", text);
    assert!(parsed.as_ref().err().is_none_or(|mistakes| !mistakes.is_empty()), "a file is refused without a reason");
    let Ok(mut config) = parsed else { return false };
    let _ = config.load_templates(&|_| Ok(Vec::new()));
    let alert = Labels::new([("alertname", "A"), ("instance", "a")]);
    assert!(!config.routes.matching(&alert).is_empty(), "every alert has a route");
    true
}

/// Templates of rules, and of notifications for every place that they go to.
pub(super) fn template(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    let labels = Labels::new([("alertname", "A"), ("instance", "<b>\"'&\n")]);
    let now = Timestamp::from_millis(1_767_323_045_000);
    let data =
        RuleData { labels: &labels, value: 0.5, external_labels: &labels, external_url: "http://watch:7960", now };
    let template = rule::Template::new(text);
    let mut accepted = template.expand(&Values::new(data), &|_| Ok(vec![(labels.clone(), 1.0)])).is_ok();
    let functions = NotificationFunctions { now, route_labels: BTreeMap::new() };
    let alert = Alert {
        labels: labels.clone(),
        annotations: labels.clone(),
        starts_at: now,
        ends_at: None,
        timeout: false,
        updated_at: now,
        generator_url: "http://watch:7960/".to_owned(),
    };
    let none = BTreeMap::new();
    let data = NotificationData {
        now,
        receiver: "team",
        alerts: &[&alert],
        group_labels: &labels,
        common_labels: &labels,
        common_annotations: &labels,
        external_url: "http://watch:7960",
        reason: "first",
        route_labels: &none,
    };
    let value = data.value();
    for escape in [Escape::None, Escape::Html, Escape::Mrkdwn, Escape::Markdown] {
        accepted |= TemplateSet::default().render_text(text, &value, &functions, escape).is_ok();
    }
    accepted
}
