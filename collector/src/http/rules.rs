//! `/api/v1/rules` and `/api/v1/alerts`, as the last evaluations left them.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::rules::view::{AlertsView, GroupView, RuleView, RulesView};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;

use super::App;
use super::lookup::selector;
use crate::prometheus::answer::{ApiError, Result, Success};
use crate::prometheus::parameters::Parameters;

pub(super) async fn rules(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Rules> {
    let filter = Filter::of(&parameters)?;
    let page = Page::of(&parameters)?;
    let view = app.published.view();
    let groups = view.rules.groups().filter_map(|group| filter.group(group)).collect();
    page.cut(groups).map(Success::of)
}

/// The `data` of the answer: the groups, and where the next page begins.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Rules {
    #[serde(flatten)]
    groups: RulesView,
    #[serde(skip_serializing_if = "Option::is_none")]
    group_next_token: Option<String>,
}

/// How many groups are wanted, and from where on.
struct Page<'a> {
    limit: Option<usize>,
    token: Option<&'a str>,
}

impl<'a> Page<'a> {
    fn of(parameters: &'a Parameters) -> std::result::Result<Self, ApiError> {
        let token = parameters.get("group_next_token");
        let limit = match parameters.get("group_limit") {
            None if token.is_some() => {
                let message = "group_limit needs to be present in order to paginate over the groups";
                return Err(ApiError::parameter("group_next_token", message));
            }
            None => None,
            Some(text) => match text.parse::<i32>() {
                Ok(limit) if limit > 0 => Some(limit as usize),
                Ok(_) => return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
                Err(_) => {
                    let message = "group_limit needs to be a valid number: strconv.ParseInt: parsing";
                    return Err(ApiError::parameter("group_limit", format!("{message} {text:?}: invalid syntax")));
                }
            },
        };
        Ok(Self { limit, token })
    }

    fn cut(&self, mut groups: Vec<GroupView>) -> std::result::Result<Rules, ApiError> {
        if let Some(token) = self.token {
            let first = groups.iter().position(|group| self::token(group) == token);
            let changed = || {
                let message = format!("invalid group_next_token '{token}'. were rule groups changed?");
                ApiError::parameter("group_next_token", message)
            };
            groups.drain(..first.ok_or_else(changed)?);
        }
        let limit = self.limit.unwrap_or(usize::MAX);
        let group_next_token = groups.get(limit).map(token);
        groups.truncate(limit);
        Ok(Rules { groups: RulesView { groups }, group_next_token })
    }
}

/// The name of the page that begins with a group.
fn token(group: &GroupView) -> String {
    Labels::new([("file", &*group.file), ("group", &*group.name)]).fingerprint().to_string()
}

pub(super) async fn alerts(State(app): State<Arc<App>>) -> Success<AlertsView> {
    Success::of(app.published.view().rules.alerts())
}

/// Which rules were asked for.
struct Filter<'a> {
    /// `alert` or `record`.
    kind: Option<&'a str>,
    names: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    with_alerts: bool,
    /// The labels of a rule satisfy one of these lists.
    selectors: Vec<Vec<Matcher>>,
}

impl<'a> Filter<'a> {
    fn of(parameters: &'a Parameters) -> std::result::Result<Self, ApiError> {
        let kind = parameters.get("type");
        if let Some(kind) = kind.filter(|kind| !matches!(*kind, "alert" | "record")) {
            return Err(ApiError::parameter("type", format!("not supported value {kind:?}")));
        }
        let exclude = match parameters.get("exclude_alerts") {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some(other) => {
                let message = "error converting exclude_alerts: strconv.ParseBool: parsing";
                return Err(ApiError::parameter("exclude_alerts", format!("{message} {other:?}: invalid syntax")));
            }
        };
        Ok(Self {
            kind,
            names: parameters.all("rule_name[]").collect(),
            groups: parameters.all("rule_group[]").collect(),
            files: parameters.all("file[]").collect(),
            with_alerts: !exclude,
            selectors: parameters
                .all("match[]")
                .map(|text| selector(text).map_err(ApiError::bad_data))
                .collect::<std::result::Result<_, _>>()?,
        })
    }

    /// The group with the rules that were asked for; `None` if none is left of one that was filtered.
    fn group(&self, group: GroupView) -> Option<GroupView> {
        let named = |names: &[&str], name: &str| names.is_empty() || names.contains(&name);
        if !named(&self.groups, &group.name) || !named(&self.files, &group.file) {
            return None;
        }
        let had_rules = !group.rules.is_empty();
        let rules: Vec<RuleView> = group.rules.into_iter().filter_map(|rule| self.rule(rule)).collect();
        if rules.is_empty() && had_rules {
            return None;
        }
        Some(GroupView { rules, ..group })
    }

    fn rule(&self, mut rule: RuleView) -> Option<RuleView> {
        let (kind, name, labels) = match &rule {
            RuleView::Alerting(rule) => ("alert", &rule.name, &rule.labels),
            RuleView::Recording(rule) => ("record", &rule.name, &rule.labels),
        };
        let value = |name: &str| labels.get(name).map(String::as_str).unwrap_or_default();
        let satisfies = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(value(&matcher.name)));
        if !self.selectors.is_empty() && !self.selectors.iter().any(satisfies) {
            return None;
        }
        if self.kind.is_some_and(|wanted| wanted != kind)
            || (!self.names.is_empty() && !self.names.contains(&name.as_str()))
        {
            return None;
        }
        if let RuleView::Alerting(alerting) = &mut rule
            && !self.with_alerts
        {
            alerting.alerts.clear();
        }
        Some(rule)
    }
}
