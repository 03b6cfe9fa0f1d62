//! `pagerduty_configs`: the event is posted with the integration's key, and with the incident's, by which PagerDuty finds
//! the events of a group together.

use serde_json::Value;
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::PagerDuty;
use watchfire_collector_core::alertmanager::receiver::pagerduty::Key;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::{group_id, secrets};
use super::{Context, failed};

/// Of the API's first version, which has no address of its own in the configuration.
const FIRST_VERSION: &str = "https://events.pagerduty.com/generic/2010-04-15/create_event.json";

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::PagerDuty(pagerduty) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to PagerDuty");
    };
    let Body::Json(body) = &delivery.body;
    match post(context, pagerduty, body, &group_id(&delivery.group_key)).await {
        // The first version limits its callers with this status.
        Ok(DeliveryOutcome::Failed { reason, retry_after, .. })
            if matches!(pagerduty.key, Key::Service(_)) && reason.starts_with("status 403") =>
        {
            DeliveryOutcome::Failed { retry: true, reason, retry_after }
        }
        Ok(outcome) => outcome,
        Err(reason) => failed(true, reason),
    }
}

async fn post(context: &Context, pagerduty: &PagerDuty, body: &str, incident: &str) -> Result<DeliveryOutcome, String> {
    let folder = context.folder.load_full();
    let mut event: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    let (url, names, key) = match &pagerduty.key {
        Key::Service(key) => (FIRST_VERSION, ["service_key", "incident_key"], key),
        Key::Routing(key) => (pagerduty.url.expose(), ["routing_key", "dedup_key"], key),
    };
    let key = secrets::read(key, &folder).await?;
    event[names[0]] = key.as_str().into();
    event[names[1]] = incident.into();
    let request = context.clients.prepare(&pagerduty.http, &folder).await?.hiding(key);
    Ok(request.post_json(url.to_owned(), event.to_string()).await)
}
