//! `victorops_configs`: an incident is begun or recovered under an id that names the group.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::VictorOps;
use watchfire_collector_core::notify::victorops::Call;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::{escaped_segment, group_id, secrets};
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::VictorOps(victorops) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Splunk On-Call");
    };
    let Body::Json(body) = &delivery.body;
    let Call { routing_key, mut message } = match serde_json::from_str(body) {
        Ok(call) => call,
        Err(error) => return failed(false, error.to_string()),
    };
    message.insert("entity_id".to_owned(), group_id(&delivery.group_key));
    match post(context, victorops, &routing_key, &serde_json::json!(message).to_string()).await {
        Ok(outcome) => outcome,
        Err(reason) => failed(true, reason),
    }
}

async fn post(
    context: &Context,
    victorops: &VictorOps,
    routing_key: &str,
    message: &str,
) -> Result<DeliveryOutcome, String> {
    let folder = context.folder.load_full();
    let key = secrets::read(&victorops.key, &folder).await?;
    let base = victorops.url.expose().trim_end_matches('/');
    let url = format!("{base}/{}/{}", escaped_segment(&key), escaped_segment(routing_key));
    let request = context.clients.prepare(&victorops.http, &folder).await?.hiding(key);
    Ok(request.post_json(url, message.to_owned()).await)
}
