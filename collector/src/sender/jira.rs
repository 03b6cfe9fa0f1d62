//! `jira_configs`: the issue of a group is looked for by its label, then made, changed, resolved or reopened.
//!
//! <https://developer.atlassian.com/cloud/jira/platform/rest/v2/>. An issue that is made twice, for the answer to the first
//! request was lost, is found by its label at the next message.

use reqwest::Method;
use serde_json::{Map, Value, json};
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::Jira;
use watchfire_collector_core::alertmanager::receiver::jira::Api;
use watchfire_collector_core::notify::jira::Call;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::{escaped_segment, group_id};
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Jira(jira) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Jira");
    };
    let Body::Json(body) = &delivery.body;
    let call = match serde_json::from_str(body) {
        Ok(call) => call,
        Err(error) => return failed(false, error.to_string()),
    };
    let label = format!("ALERT{{{}}}", group_id(&delivery.group_key));
    match (Server { context, jira }).tell(call, label).await {
        Ok(()) => DeliveryOutcome::Ok,
        Err(outcome) => outcome,
    }
}

/// Jira, as the integration reaches it.
struct Server<'a> {
    context: &'a Context,
    jira: &'a Jira,
}

/// An issue that exists.
struct Issue {
    key: String,
    done: bool,
}

impl Server<'_> {
    async fn tell(&self, call: Call, label: String) -> Result<(), DeliveryOutcome> {
        let Some(issue) = self.search(&call, &label).await? else {
            // Nobody needs a new issue of what is over.
            if call.firing {
                self.ask(Method::POST, "issue", Some(json!({ "fields": labelled(call.create, &label) }))).await?;
            }
            return Ok(());
        };
        let fields = if call.update_labels { labelled(call.update, &label) } else { call.update };
        let path = format!("issue/{}", escaped_segment(&issue.key));
        self.ask(Method::PUT, &path, Some(json!({ "fields": fields }))).await?;
        let transition = match (call.firing, issue.done) {
            (true, true) => &self.jira.reopen_transition,
            (false, false) => &self.jira.resolve_transition,
            _ => return Ok(()),
        };
        if transition.is_empty() { Ok(()) } else { self.transition(&path, transition).await }
    }

    async fn search(&self, call: &Call, label: &str) -> Result<Option<Issue>, DeliveryOutcome> {
        let body = json!({"jql": self.query(call, label), "maxResults": 2, "fields": ["status"]});
        let found = self.post_to(&self.search_url(), body).await?;
        let Some(issue) = found["issues"].as_array().and_then(|issues| issues.first()) else { return Ok(None) };
        let key = issue["key"].as_str().ok_or_else(|| failed(false, "Jira's answer names no issue"))?;
        let done = issue.pointer("/fields/status/statusCategory/key") == Some(&Value::from("done"));
        Ok(Some(Issue { key: key.to_owned(), done }))
    }

    /// <https://support.atlassian.com/jira-software-cloud/docs/what-is-advanced-search-in-jira-cloud/>
    fn query(&self, call: &Call, label: &str) -> String {
        let jira = self.jira;
        let left_alone = match jira.wont_fix_resolution.as_str() {
            "" => String::new(),
            resolution => format!("resolution != {} and ", quoted(resolution)),
        };
        let minutes = jira.reopen_duration.as_millis() / 60_000;
        let open = if call.firing && !jira.reopen_transition.is_empty() && minutes > 0 {
            format!("(resolutiondate is EMPTY OR resolutiondate >= -{minutes}m)")
        } else {
            "statusCategory != Done".to_owned()
        };
        let (project, label) = (quoted(&call.project), quoted(label));
        format!("{left_alone}{open} and project={project} and labels={label} order by status ASC,resolutiondate DESC")
    }

    fn base(&self) -> &str {
        self.jira.url.expose().trim_end_matches('/')
    }

    /// The cloud searches by its third version alone, and a server of one's own by the second.
    fn search_url(&self) -> String {
        let base = self.base();
        let rest = base.split_once("://").map_or(base, |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, _)| host);
        match self.jira.api {
            Api::Cloud => format!("{}/search/jql", base.replacen("/2", "/3", 1)),
            Api::Auto if host == "atlassian.net" || host.ends_with(".atlassian.net") => {
                format!("{}/search/jql", base.replacen("/2", "/3", 1))
            }
            Api::Auto | Api::DataCenter => format!("{base}/search"),
        }
    }

    async fn transition(&self, issue: &str, name: &str) -> Result<(), DeliveryOutcome> {
        let path = format!("{issue}/transitions");
        let known = self.ask(Method::GET, &path, None).await?;
        let named = |transition: &&Value| transition["name"] == name;
        let transition = known["transitions"].as_array().and_then(|all| all.iter().find(named));
        let id = transition.and_then(|transition| transition["id"].as_str());
        let id = id.ok_or_else(|| failed(false, format!("the issue has no transition {name:?} now")))?;
        self.ask(Method::POST, &path, Some(json!({"transition": {"id": id}}))).await.map(drop)
    }

    async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value, DeliveryOutcome> {
        self.request(method, format!("{}/{path}", self.base()), body).await
    }

    async fn post_to(&self, url: &str, body: Value) -> Result<Value, DeliveryOutcome> {
        self.request(Method::POST, url.to_owned(), Some(body)).await
    }

    async fn request(&self, method: Method, url: String, body: Option<Value>) -> Result<Value, DeliveryOutcome> {
        let request = self.context.clients.prepare(&self.jira.http, &self.context.folder.load_full()).await;
        let request = request.map_err(|reason| failed(true, reason))?;
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        // Transitions go by their English names.
        let english = vec![("accept-language", "en".to_owned())];
        let request = request.with_headers(english).map_err(|reason| failed(false, reason))?;
        let answer = request.ask(method, url, body).await?;
        if answer.text.trim().is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_str(&answer.text).map_err(|_| failed(true, "the answer is no JSON"))
    }
}

/// The fields with the label that names the group.
fn labelled(mut fields: Map<String, Value>, label: &str) -> Map<String, Value> {
    let mut labels: Vec<String> =
        fields.remove("labels").and_then(|labels| serde_json::from_value(labels).ok()).unwrap_or_default();
    labels.push(label.to_owned());
    labels.sort();
    labels.dedup();
    fields.insert("labels".to_owned(), json!(labels));
    fields
}

/// A text in a query.
fn quoted(text: &str) -> String {
    let kept: String = text.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    format!("\"{}\"", kept.replace('\\', "\\\\").replace('"', "\\\""))
}
