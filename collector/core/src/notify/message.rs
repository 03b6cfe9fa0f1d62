//! What the messages of all kinds share: what they are about, and the templates' view of it.

use std::collections::BTreeMap;

use watchfire_shared::document::{Report, yaml};
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use crate::alert::Alert;
use crate::alertmanager::receiver::field::{Part, Tree, json};
use crate::alertmanager::{Config, Integration, IntegrationConfig, Template};
use crate::template::notification::{NotificationData, NotificationFunctions};
use crate::template::{Escape, TemplateSet, Value};

use super::dedup::{Reason, ReceiverData};
use super::route_labels;
use super::{
    discord, email, jira, mattermost, msteams, msteamsv2, opsgenie, pagerduty, pushover, rocketchat, slack, sns,
    telegram, victorops, webex, webhook, wechat,
};

/// What a message says beside its alerts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) receiver: &'a str,
    pub(super) group_labels: &'a Labels,
    pub(super) group_key: &'a str,
    pub(super) external_url: &'a str,
    pub(super) reason: Reason,
    /// As the route has them, templates not yet filled in.
    pub(super) route_labels: &'a BTreeMap<String, Template>,
    /// What the receiver answered to the message before, while alerts of it fire.
    pub(super) previous: &'a ReceiverData,
}

/// A message that is ready to go.
#[derive(Debug)]
pub(super) struct Rendered {
    pub(super) body: String,
    /// Templates that failed; the message tells so in their place.
    pub(super) mistakes: Vec<String>,
}

/// Makes the message for an integration.
pub(super) fn render(
    now: Timestamp,
    config: &Config,
    integration: &Integration,
    context: &Context<'_>,
    alerts: &[&Alert],
) -> Result<Rendered, String> {
    // Templates of a webhook know the alerts that it is told of.
    let shown = match &integration.config {
        IntegrationConfig::Webhook(webhook) => webhook::shown(alerts, webhook.max_alerts),
        _ => alerts,
    };
    let mut renderer = Renderer::new(now, &config.templates, context, shown);
    let body = match &integration.config {
        IntegrationConfig::Webhook(webhook) => webhook::render_call(now, webhook, context, alerts, &renderer),
        IntegrationConfig::IncidentIo(incidentio) => {
            webhook::render_for_incidentio(now, context, alerts, incidentio.max_alerts, &renderer)
        }
        IntegrationConfig::Email(email) => email::render(now, email, integration, context, &mut renderer),
        IntegrationConfig::Slack(slack) => slack::render(slack, context, &mut renderer),
        IntegrationConfig::PagerDuty(pagerduty) => pagerduty::render(pagerduty, &mut renderer),
        IntegrationConfig::Opsgenie(opsgenie) => opsgenie::render(opsgenie, &mut renderer),
        IntegrationConfig::Telegram(telegram) => telegram::render(telegram, &mut renderer),
        IntegrationConfig::Discord(discord) => discord::render(discord, &mut renderer),
        IntegrationConfig::Teams(teams) => msteamsv2::render(teams, &mut renderer),
        IntegrationConfig::Pushover(pushover) => pushover::render(pushover, &mut renderer),
        IntegrationConfig::TeamsConnector(teams) => msteams::render(teams, &mut renderer),
        IntegrationConfig::VictorOps(victorops) => victorops::render(victorops, &mut renderer),
        IntegrationConfig::Webex(webex) => webex::render(webex, &mut renderer),
        IntegrationConfig::RocketChat(rocketchat) => rocketchat::render(rocketchat, &mut renderer),
        IntegrationConfig::Mattermost(mattermost) => mattermost::render(mattermost, &mut renderer),
        IntegrationConfig::WeChat(wechat) => wechat::render(wechat, &mut renderer),
        IntegrationConfig::Jira(jira) => jira::render(jira, &mut renderer),
        IntegrationConfig::Sns(sns) => sns::render(sns, &mut renderer),
    };
    Ok(Rendered { body: body?, mistakes: renderer.mistakes })
}

/// Renders the templates of one message.
pub(super) struct Renderer<'a> {
    templates: &'a TemplateSet,
    functions: NotificationFunctions,
    data: Value,
    mistakes: Vec<String>,
    firing: bool,
    common_labels: Labels,
}

impl<'a> Renderer<'a> {
    fn new(now: Timestamp, templates: &'a TemplateSet, context: &Context<'_>, alerts: &[&Alert]) -> Self {
        let none = BTreeMap::new();
        let common_labels = common(alerts, |alert| &alert.labels);
        let data = NotificationData {
            now,
            receiver: &quote_meta(context.receiver),
            alerts,
            group_labels: context.group_labels,
            common_labels: &common_labels,
            common_annotations: &common(alerts, |alert| &alert.annotations),
            external_url: context.external_url,
            reason: context.reason.words(),
            route_labels: &none,
        };
        let (route_labels, mistakes) = route_labels::fill_in(now, templates, context.route_labels, &data);
        let data = NotificationData { route_labels: &route_labels, ..data }.value();
        let functions = NotificationFunctions { now, route_labels };
        let firing = alerts.iter().any(|alert| !alert.resolved_at(now));
        Self { templates, functions, data, mistakes, firing, common_labels }
    }

    /// Whether one of the alerts fires.
    pub(super) fn firing(&self) -> bool {
        self.firing
    }

    /// The labels that all alerts share.
    pub(super) fn common_labels(&self) -> &Labels {
        &self.common_labels
    }

    /// The labels of the route, filled in.
    pub(super) fn route_labels(&self) -> &BTreeMap<String, String> {
        &self.functions.route_labels
    }

    /// A text for people. Where its template fails, it says so instead: a message with a gap is better than none.
    pub(super) fn text(&mut self, key: &str, template: &Template, escape: Escape) -> String {
        self.exact(key, template, escape).unwrap_or_else(|mistake| {
            let data = Value::structure("mistake", vec![("Mistake", Value::text(mistake.as_str()))]);
            let shown = self.templates.render_text("({{ .Mistake }})", &data, &self.functions, escape);
            self.mistakes.push(mistake);
            shown.unwrap_or_default()
        })
    }

    /// A text for machines, such as an address.
    ///
    /// # Errors
    /// Why it cannot be rendered.
    pub(super) fn exact(&self, key: &str, template: &Template, escape: Escape) -> Result<String, String> {
        self.templates
            .render_text(&template.text, &self.data, &self.functions, escape)
            .map_err(|error| format!("the template of `{key}` failed: {error}"))
    }
}

impl Renderer<'_> {
    /// As [`Renderer::tree`], for what makes up a whole message.
    ///
    /// # Errors
    /// Why it cannot be rendered.
    pub(super) fn document(&self, key: &str, tree: &Tree) -> Result<serde_json::Value, String> {
        match tree {
            Tree::Text(template) => Ok(typed(self.exact(key, template, Escape::None)?, true)),
            tree => self.tree(key, tree),
        }
    }

    /// A value of any shape, its texts filled in. A text that reads as a number, a truth, or as a list or a table of JSON is
    /// one: that is how files name numbers in a template.
    ///
    /// # Errors
    /// Why it cannot be rendered.
    pub(super) fn tree(&self, key: &str, tree: &Tree) -> Result<serde_json::Value, String> {
        Ok(match tree {
            Tree::Leaf(value) => value.clone(),
            Tree::Text(template) => typed(self.exact(key, template, Escape::None)?, false),
            Tree::List(items) => items.iter().map(|item| self.tree(key, item)).collect::<Result<_, _>>()?,
            Tree::Table(entries) => {
                let entry = |(name, value): &(Template, Tree)| {
                    Ok::<_, String>((self.exact(key, name, Escape::None)?, self.tree(key, value)?))
                };
                serde_json::Value::Object(entries.iter().map(entry).collect::<Result<_, _>>()?)
            }
        })
    }
}

/// What a text reads as. Lists and tables in the style of YAML count only if `whole`, where the text is all there is: inside,
/// `disk full: /srv` is a sentence, whatever Alertmanager makes of it.
fn typed(text: String, whole: bool) -> serde_json::Value {
    let mut report = Report::new("");
    let structured = whole || text.trim_start().starts_with(['{', '[']);
    match yaml::parse(&text, &mut report) {
        Some(node) if report.is_empty() => match json(&node) {
            serde_json::Value::String(_) => text.into(),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) if !structured => text.into(),
            value => value,
        },
        _ => text.into(),
    }
}

/// Puts texts into a message under their names, each cut; those that say nothing are left out.
pub(super) fn insert_parts(
    message: &mut serde_json::Map<String, serde_json::Value>,
    parts: &[Part],
    most: usize,
    renderer: &mut Renderer<'_>,
) {
    for (key, template) in parts {
        let text = cut(renderer.text(key, template, Escape::Markdown), most);
        if !text.is_empty() {
            message.insert((*key).to_owned(), text.into());
        }
    }
}

/// Cuts a text that a receiver would not take, and shows that it did; `most` counts characters. Nothing is cut through the
/// middle of an escaped character, of a link or of a tag.
pub(super) fn cut(text: String, most: usize) -> String {
    if text.chars().nth(most).is_none() {
        return text;
    }
    let mut kept: String = text.chars().take(most - 1).collect();
    for (begin, end) in [('<', '>'), ('&', ';')] {
        let open = kept.rfind(begin).filter(|at| !kept[*at..].contains(end));
        kept.truncate(open.unwrap_or(kept.len()));
    }
    kept + "…"
}

/// The pairs that all alerts share.
pub(super) fn common(alerts: &[&Alert], labels: impl Fn(&Alert) -> &Labels) -> Labels {
    let Some((first, rest)) = alerts.split_first() else { return Labels::default() };
    let shared = |(name, value): &(&str, &str)| rest.iter().all(|alert| labels(alert).get(name) == Some(value));
    labels(first).iter().filter(shared).collect()
}

/// Go's `regexp.QuoteMeta`, through which Alertmanager passes the receiver's name.
pub(super) fn quote_meta(text: &str) -> String {
    let special = |char: char| r"\.+*?()|[]{}^$".contains(char);
    text.chars().flat_map(|char| special(char).then_some('\\').into_iter().chain([char])).collect()
}
