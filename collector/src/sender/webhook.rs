//! `webhook_configs`: the message is posted to a URL.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::secrets;
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Webhook(webhook) = &delivery.integration.config else {
        return failed(false, "the integration calls no webhook");
    };
    let Body::Json(body) = &delivery.body;
    let folder = context.folder.load_full();
    let url = match secrets::read(&webhook.url, &folder).await {
        Ok(url) => url,
        Err(reason) => return failed(true, reason),
    };
    match context.clients.prepare(&webhook.http, &folder).await {
        Ok(request) => request.post_json(url, body.to_string()).await,
        Err(reason) => failed(true, reason),
    }
}
