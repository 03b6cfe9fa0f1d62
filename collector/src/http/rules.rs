//! `/api/v1/rules` and `/api/v1/alerts`, as the last evaluations left them.

use std::sync::Arc;

use axum::extract::State;
use watchfire_collector_core::rules::view::{AlertsView, GroupView, RuleView, RulesView};

use super::App;
use crate::prometheus::answer::{ApiError, Result, Success};
use crate::prometheus::parameters::Parameters;

pub(super) async fn rules(State(app): State<Arc<App>>, parameters: Parameters) -> Result<RulesView> {
    let filter = Filter::of(&parameters)?;
    let view = app.published.view();
    let groups = view.rules.groups.iter().filter_map(|group| filter.group(group)).collect();
    Ok(Success::of(RulesView { groups }))
}

pub(super) async fn alerts(State(app): State<Arc<App>>) -> Success<AlertsView> {
    Success::of(AlertsView::clone(&app.published.view().alerts))
}

/// Which rules were asked for.
struct Filter<'a> {
    /// `alert` or `record`.
    kind: Option<&'a str>,
    names: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    with_alerts: bool,
}

impl<'a> Filter<'a> {
    fn of(parameters: &'a Parameters) -> std::result::Result<Self, ApiError> {
        let kind = parameters.get("type");
        if let Some(kind) = kind.filter(|kind| !matches!(*kind, "alert" | "record")) {
            return Err(ApiError::bad_data(format!("not supported value {kind:?}")));
        }
        let exclude = match parameters.get("exclude_alerts") {
            None | Some("false" | "0") => false,
            Some("true" | "1") => true,
            Some(other) => {
                return Err(ApiError::parameter("exclude_alerts", format!("expected true or false, found {other:?}")));
            }
        };
        Ok(Self {
            kind,
            names: parameters.all("rule_name[]").collect(),
            groups: parameters.all("rule_group[]").collect(),
            files: parameters.all("file[]").collect(),
            with_alerts: !exclude,
        })
    }

    /// The group with the rules that were asked for; `None` if none is left of one that was filtered.
    fn group(&self, group: &GroupView) -> Option<GroupView> {
        let named = |names: &[&str], name: &str| names.is_empty() || names.contains(&name);
        if !named(&self.groups, &group.name) || !named(&self.files, &group.file) {
            return None;
        }
        let rules: Vec<RuleView> = group.rules.iter().filter_map(|rule| self.rule(rule)).collect();
        if rules.is_empty() && !group.rules.is_empty() {
            return None;
        }
        Some(GroupView { rules, ..group.clone() })
    }

    fn rule(&self, rule: &RuleView) -> Option<RuleView> {
        let (kind, name) = match rule {
            RuleView::Alerting(rule) => ("alert", &rule.name),
            RuleView::Recording(rule) => ("record", &rule.name),
        };
        if self.kind.is_some_and(|wanted| wanted != kind)
            || (!self.names.is_empty() && !self.names.contains(&name.as_str()))
        {
            return None;
        }
        let mut rule = rule.clone();
        if let RuleView::Alerting(alerting) = &mut rule
            && !self.with_alerts
        {
            alerting.alerts.clear();
        }
        Some(rule)
    }
}
