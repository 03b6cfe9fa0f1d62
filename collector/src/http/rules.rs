//! `/api/v1/rules` and `/api/v1/alerts`, as the last evaluations left them.

use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::rules::view::{AlertsView, RulesView};
use watchfire_collector_core::rules::{Group, Rule, Stood};
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
    page.of_groups(view.rules.groups().filter(|stood| filter.wants(stood.group())), &filter).map(Success::of)
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

    /// The page of these groups. What is not on it is not made.
    fn of_groups<'s>(
        &self,
        groups: impl Iterator<Item = &'s Stood>,
        filter: &Filter<'_>,
    ) -> std::result::Result<Rules, ApiError> {
        let mut groups = groups.peekable();
        if let Some(wanted) = self.token {
            while groups.next_if(|stood| token(stood.group()) != wanted).is_some() {}
            if groups.peek().is_none() {
                let message = format!("invalid group_next_token '{wanted}'. were rule groups changed?");
                return Err(ApiError::parameter("group_next_token", message));
            }
        }
        let page = groups.by_ref().take(self.limit.unwrap_or(usize::MAX));
        let shown = page.map(|stood| stood.view(|rule| filter.wants_rule(rule), filter.with_alerts)).collect();
        let group_next_token = groups.peek().map(|stood| token(stood.group()));
        Ok(Rules { groups: RulesView { groups: shown }, group_next_token })
    }
}

/// The name of the page that begins with a group.
fn token(group: &Group) -> String {
    Labels::new([("file", &*group.file), ("group", &*group.name)]).fingerprint().to_string()
}

pub(super) async fn alerts(State(app): State<Arc<App>>) -> Success<AlertsView> {
    Success::of(app.published.view().rules.alerts())
}

/// Which rules were asked for.
struct Filter<'a> {
    /// `alert` or `record`.
    kind: Option<String>,
    names: Vec<&'a str>,
    groups: Vec<&'a str>,
    files: Vec<&'a str>,
    with_alerts: bool,
    /// The labels of a rule satisfy one of these lists.
    selectors: Vec<Vec<Matcher>>,
}

impl<'a> Filter<'a> {
    fn of(parameters: &'a Parameters) -> std::result::Result<Self, ApiError> {
        let kind = parameters.get("type").map(str::to_lowercase);
        if let Some(kind) = kind.as_ref().filter(|kind| !matches!(kind.as_str(), "alert" | "record")) {
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

    /// Whether something of the group was asked for; of one without rules there is only itself.
    fn wants(&self, group: &Group) -> bool {
        named(&self.groups, &group.name)
            && named(&self.files, &group.file)
            && (group.rules.is_empty() || group.rules.iter().any(|rule| self.wants_rule(rule)))
    }

    fn wants_rule(&self, rule: &Rule) -> bool {
        let kind = if rule.alert().is_some() { "alert" } else { "record" };
        let value = |name: &str| rule.labels.get(name).map(String::as_str).unwrap_or_default();
        let satisfies = |matchers: &Vec<Matcher>| matchers.iter().all(|matcher| matcher.matches(value(&matcher.name)));
        self.kind.as_ref().is_none_or(|wanted| wanted == kind)
            && named(&self.names, &rule.name)
            && (self.selectors.is_empty() || self.selectors.iter().any(satisfies))
    }
}

/// Whether a name is among those that were asked for; none means all.
fn named(names: &[&str], name: &str) -> bool {
    names.is_empty() || names.contains(&name)
}
