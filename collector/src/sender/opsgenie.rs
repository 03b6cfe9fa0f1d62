//! `opsgenie_configs`: an alert is made, updated or closed under an alias that names the group.

use reqwest::Method;
use serde_json::{Value, json};
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::Opsgenie;
use watchfire_collector_core::notify::opsgenie::{Call, Create};
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::group_id;
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Opsgenie(opsgenie) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Opsgenie");
    };
    let Body::Json(body) = &delivery.body;
    let call = match serde_json::from_str(body) {
        Ok(call) => call,
        Err(error) => return failed(false, error.to_string()),
    };
    for (method, path, body) in requests(opsgenie, call, &group_id(&delivery.group_key)) {
        let request = match context.clients.prepare(&opsgenie.http, &context.folder.load_full()).await {
            Ok(request) => request,
            Err(reason) => return failed(true, reason),
        };
        let url = format!("{}/{path}", opsgenie.url.expose().trim_end_matches('/'));
        let outcome = request.send_json(method, url, body.to_string()).await;
        if outcome != DeliveryOutcome::Ok {
            return outcome;
        }
    }
    DeliveryOutcome::Ok
}

/// The requests of a call, in their order.
fn requests(opsgenie: &Opsgenie, call: Call, alias: &str) -> Vec<(Method, String, Value)> {
    let of_alias = |what: &str| format!("v2/alerts/{alias}/{what}?identifierType=alias");
    let create = match call {
        Call::Close { source } => return vec![(Method::POST, of_alias("close"), json!({ "source": source }))],
        Call::Create(create) => create,
    };
    let mut alert = json!(create);
    alert["alias"] = alias.into();
    let mut requests = vec![(Method::POST, "v2/alerts".to_owned(), alert)];
    if opsgenie.update_alerts {
        let Create { message, description, .. } = *create;
        requests.push((Method::PUT, of_alias("message"), json!({ "message": message })));
        requests.push((Method::PUT, of_alias("description"), json!({ "description": description })));
    }
    requests
}
