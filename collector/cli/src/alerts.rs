//! `watchfire alerts`: those of the rules and those from outside in one list, with what keeps them quiet.

use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Map, Value, json};
use watchfire_shared::document::{self, Node, Report, text_map, yaml};
use watchfire_shared::matcher::Matcher;

use crate::client::{Client, ClientArguments};
use crate::output::{Cell, OutputArguments, Page, Table, Tone, items, labels, text};
use crate::{Failure, block_on, matching, watch};

/// States of an alert, those that need somebody first.
const STATES: [&str; 5] = ["firing", "pending", "inhibited", "muted", "silenced"];

#[derive(Args)]
pub(crate) struct AlertsArguments {
    #[command(flatten)]
    client: ClientArguments,
    #[command(flatten)]
    output: OutputArguments,
    /// Show only alerts that match all of these, such as `NodeDown zone=eu-1` or `instance=~"web-.*"`
    #[arg(value_name = "MATCHER")]
    matchers: Vec<String>,
    /// Show only alerts in this state
    #[arg(long, value_parser = STATES)]
    state: Option<String>,
    /// Print again whenever an alert changes
    #[arg(short, long)]
    watch: bool,
    /// End with code 3 if an alert that is shown fires and nothing keeps it quiet
    #[arg(long, conflicts_with = "watch")]
    fail_firing: bool,
}

pub(crate) fn run(arguments: &AlertsArguments) -> Result<ExitCode, Failure> {
    let client = Client::new(&arguments.client)?;
    let matchers = matching::parse(&arguments.matchers)?;
    let fetch = async |client: &Client| fetch(client, &matchers, arguments.state.as_deref()).await;
    let page = block_on(watch::show(&client, arguments.output.output, arguments.watch, watch::STATUS, fetch))?;
    let firing = items(&page.value, "/items").iter().any(|alert| text(alert, "/state") == "firing");
    Ok(crate::code(arguments.fail_firing && firing))
}

/// The alerts that match, as a page.
pub(crate) async fn fetch(client: &Client, matchers: &[Matcher], state: Option<&str>) -> Result<Page, Failure> {
    let notified = client.get("/api/v2/alerts").await?;
    let ruled = client.get("/api/v1/alerts").await?;
    let ruled = items(&ruled, "/data/alerts");
    let external = if ruled.is_empty() {
        Map::new()
    } else {
        external_labels(text(&client.get("/api/v1/status/config").await?, "/data/yaml"))
    };
    let mut alerts = merged(items(&notified, ""), ruled, &external);
    alerts.retain(|alert| {
        matching::matches(matchers, &alert["labels"]) && state.is_none_or(|state| text(alert, "/state") == state)
    });
    Ok(page(&alerts))
}

/// The labels that the collector gives every alert of its rules on the way to notification, from its configuration in
/// Prometheus' words.
fn external_labels(config: &str) -> Map<String, Value> {
    let mut report = Report::new("config");
    let root = yaml::parse(config, &mut report);
    let labels =
        root.as_ref().and_then(|root| child(root, "global")).and_then(|global| child(global, "external_labels"));
    let labels = labels.and_then(|labels| text_map(labels, &mut report)).unwrap_or_default();
    labels.into_iter().map(|(name, value)| (name, Value::String(value))).collect()
}

fn child<'a>(node: &'a Node, name: &str) -> Option<&'a Node> {
    match &node.value {
        document::Value::Table(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
        _ => None,
    }
}

/// One item per set of labels: what notification makes of it, and what its rule computed. Notification knows an alert
/// with the `external` labels that it has not itself.
fn merged(notified: &[Value], ruled: &[Value], external: &Map<String, Value>) -> Vec<Value> {
    let key = |alert: &Value| alert["labels"].to_string();
    let outside = |alert: &Value| {
        let mut labels = external.clone();
        labels.extend(
            alert["labels"].as_object().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())),
        );
        Value::Object(labels).to_string()
    };
    // Of rules that give the same alert, one that fires has the say.
    let firing = |alert: &&Value| text(alert, "/state") == "firing";
    let (firing, others): (Vec<&Value>, Vec<&Value>) = ruled.iter().partition(firing);
    let mut rules: BTreeMap<String, &Value> =
        others.into_iter().chain(firing).map(|alert| (outside(alert), alert)).collect();
    let from_notification = |alert: &Value| {
        let rule = rules.remove(&key(alert)).unwrap_or(&Value::Null);
        let names: Vec<&str> = items(alert, "/receivers").iter().map(|receiver| text(receiver, "/name")).collect();
        json!({
            "state": quiet(alert).unwrap_or("firing"),
            "labels": alert["labels"],
            "annotations": alert["annotations"],
            "since": alert["startsAt"],
            "value": rule["value"],
            "receivers": names,
            "silenced_by": alert["status"]["silencedBy"],
            "inhibited_by": alert["status"]["inhibitedBy"],
            "muted_by": alert["status"]["mutedBy"],
            "fingerprint": alert["fingerprint"],
            "generator_url": alert["generatorURL"],
        })
    };
    let mut all: Vec<Value> = notified.iter().map(from_notification).collect();
    all.extend(rules.into_values().map(|rule| {
        json!({
            "state": rule["state"],
            "labels": rule["labels"],
            "annotations": rule["annotations"],
            "since": rule["activeAt"],
            "value": rule["value"],
            "receivers": [],
            "silenced_by": [],
            "inhibited_by": [],
            "muted_by": [],
            "fingerprint": null,
            "generator_url": null,
        })
    }));
    let rank = |alert: &Value| STATES.iter().position(|state| *state == text(alert, "/state"));
    all.sort_by_cached_key(|alert| {
        let label = |name: &str| text(alert, &format!("/labels/{name}")).to_owned();
        (rank(alert), label("alertname"), label("instance"), alert["labels"].to_string())
    });
    all
}

/// What keeps an alert from being told.
fn quiet(alert: &Value) -> Option<&'static str> {
    let by = |what: &str| !items(alert, &format!("/status/{what}")).is_empty();
    [("silencedBy", "silenced"), ("inhibitedBy", "inhibited"), ("mutedBy", "muted")]
        .into_iter()
        .find_map(|(what, state)| by(what).then_some(state))
}

fn page(alerts: &[Value]) -> Page {
    let row = |alert: &Value| -> [Cell; 7] {
        let receivers: Vec<&str> = items(alert, "/receivers").iter().filter_map(Value::as_str).collect();
        let summary = match text(alert, "/annotations/summary") {
            "" => text(alert, "/annotations/description"),
            summary => summary,
        };
        [
            Cell::new(text(alert, "/state"), tone(text(alert, "/state"))),
            text(alert, "/labels/alertname").into(),
            text(alert, "/labels/instance").into(),
            labels(&alert["labels"], &["alertname", "instance"]).into(),
            text(alert, "/since").into(),
            receivers.join(",").into(),
            summary.into(),
        ]
    };
    let headings = ["STATE", "ALERT", "INSTANCE", "LABELS", "SINCE", "RECEIVERS", "SUMMARY"];
    let table = Table::new(headings, alerts.iter().map(row));
    let count = |state: &str| alerts.iter().filter(|alert| text(alert, "/state") == state).count();
    let counts: Vec<String> = STATES
        .iter()
        .map(|state| (count(state), state))
        .filter(|(count, _)| *count > 0)
        .map(|(count, state)| format!("{count} {state}"))
        .collect();
    let note = if counts.is_empty() { "no alerts".to_owned() } else { counts.join(", ") };
    Page { table, notes: vec![note], value: json!({ "items": alerts }) }
}

fn tone(state: &str) -> Tone {
    match state {
        "firing" => Tone::Bad,
        "pending" => Tone::Warning,
        _ => Tone::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_of_a_rule_shows_once_with_what_notification_makes_of_it() {
        let labels = |name: &str| json!({"alertname": name, "instance": "web-1"});
        let notified = |name: &str, silenced: &[&str]| {
            json!({"labels": labels(name), "annotations": {}, "startsAt": "2026-01-01T00:00:00Z", "receivers": [{"name": "team"}],
                   "status": {"silencedBy": silenced, "inhibitedBy": [], "mutedBy": []}, "fingerprint": "1"})
        };
        let ruled = |name: &str, state: &str| json!({"labels": labels(name), "annotations": {}, "state": state, "activeAt": "2026-01-01T00:00:00Z", "value": "1e+00"});
        let alerts = merged(
            &[notified("Quiet", &["s1"]), notified("Loud", &[]), notified("Outside", &[])],
            &[ruled("Coming", "pending"), ruled("Loud", "firing"), ruled("Quiet", "firing")],
            &Map::new(),
        );
        let shown: Vec<String> = alerts
            .iter()
            .map(|alert| format!("{} {} {}", text(alert, "/state"), text(alert, "/labels/alertname"), alert["value"]))
            .collect();
        let expected =
            ["firing Loud \"1e+00\"", "firing Outside null", "pending Coming \"1e+00\"", "silenced Quiet \"1e+00\""];
        assert_eq!(shown, expected);
    }

    #[test]
    fn external_labels_make_no_other_alert() {
        let external = external_labels(
            "global:\n  evaluation_interval: 15s\n  external_labels:\n    \"region\": \"eu\"\n    \"team\": \"ops\"\n",
        );
        let ruled = [
            json!({"labels": {"alertname": "A", "team": "db"}, "state": "firing", "value": "1e+00"}),
            json!({"labels": {"alertname": "A"}, "state": "pending", "value": "2e+00"}),
        ];
        let notified = [json!({"labels": {"alertname": "A", "region": "eu", "team": "db"}, "status": {}})];
        let alerts = merged(&notified, &ruled, &external);
        let shown: Vec<String> = alerts.iter().map(|alert| format!("{} {}", alert["labels"], alert["value"])).collect();
        let expected = [r#"{"alertname":"A","region":"eu","team":"db"} "1e+00""#, r#"{"alertname":"A"} "2e+00""#];
        assert_eq!(shown, expected);
        assert!(external_labels("global:\n  evaluation_interval: 15s\n").is_empty());
    }
}
