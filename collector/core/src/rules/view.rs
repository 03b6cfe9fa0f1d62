//! The answers of `GET /api/v1/rules` and `GET /api/v1/alerts`, with Prometheus' field names.

use std::collections::BTreeMap;

use serde::Serialize;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use super::alert::{ActiveAlert, State};
use super::job::RuleState;
use super::{Rule, RuleKind};
use crate::template::format_float;

/// The `data` of `/api/v1/rules`.
#[derive(Clone, Debug, Serialize)]
pub struct RulesView {
    pub groups: Vec<GroupView>,
}

/// One group; times in seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupView {
    pub name: String,
    pub file: String,
    pub rules: Vec<RuleView>,
    pub interval: f64,
    pub limit: usize,
    pub evaluation_time: f64,
    pub last_evaluation: String,
}

/// One rule.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum RuleView {
    Alerting(AlertingView),
    Recording(RecordingView),
}

/// An alerting rule; times in seconds.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertingView {
    pub state: &'static str,
    pub name: String,
    pub query: String,
    pub duration: f64,
    pub keep_firing_for: f64,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub alerts: Vec<AlertView>,
    #[serde(flatten)]
    pub run: RunView,
    pub r#type: &'static str,
}

/// A recording rule.
#[derive(Clone, Debug, Serialize)]
pub struct RecordingView {
    pub name: String,
    pub query: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    #[serde(flatten)]
    pub run: RunView,
    pub r#type: &'static str,
}

/// How the last evaluation of a rule went.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunView {
    /// `ok`, `err` or `unknown`.
    pub health: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    pub evaluation_time: f64,
    pub last_evaluation: String,
}

/// The `data` of `/api/v1/alerts`.
#[derive(Clone, Debug, Serialize)]
pub struct AlertsView {
    pub alerts: Vec<AlertView>,
}

/// One alert that is pending or firing.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AlertView {
    pub labels: Labels,
    pub annotations: Labels,
    pub state: &'static str,
    pub active_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_firing_since: Option<Timestamp>,
    pub value: String,
}

/// A rule as it is shown, with its alerts or without.
pub(super) fn rule(rule: &Rule, state: &RuleState, with_alerts: bool) -> RuleView {
    let active = state.alerts.values().filter(|alert| with_alerts && alert.state != State::Resolved);
    let (name, query, labels) = (rule.name.clone(), rule.expr.to_string(), rule.labels.clone());
    let run = RunView {
        health: match (&state.error, state.evaluated_at) {
            (Some(_), _) => "err",
            (None, Some(_)) => "ok",
            (None, None) => "unknown",
        },
        last_error: state.error.clone(),
        evaluation_time: state.took.as_seconds(),
        last_evaluation: time(state.evaluated_at),
    };
    match &rule.kind {
        RuleKind::Record => RuleView::Recording(RecordingView { name, query, labels, run, r#type: "recording" }),
        RuleKind::Alert(alert) => RuleView::Alerting(AlertingView {
            state: state.worst().as_str(),
            name,
            query,
            duration: alert.hold.as_seconds(),
            keep_firing_for: alert.keep_firing_for.as_seconds(),
            labels,
            annotations: alert.annotations.clone(),
            alerts: active.map(self::alert).collect(),
            run,
            r#type: "alerting",
        }),
    }
}

/// An alert as it is shown.
pub(super) fn alert(alert: &ActiveAlert) -> AlertView {
    AlertView {
        labels: alert.labels.clone(),
        annotations: alert.annotations.clone(),
        state: alert.state.as_str(),
        active_at: alert.active_at,
        keep_firing_since: alert.keep_firing_since,
        value: format_float(alert.value, 'e', None),
    }
}

/// A time, or Go's zero time for what never was.
pub(super) fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "0001-01-01T00:00:00Z".to_owned(), |at| at.to_string())
}
