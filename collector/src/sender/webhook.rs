//! `webhook_configs`: the message is posted to a URL.

use watchfire_collector_core::alertmanager::http::HttpConfig;
use watchfire_collector_core::alertmanager::{IntegrationConfig, SecretSource};
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::secrets;
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Webhook(webhook) = &delivery.integration.config else {
        return failed(false, "the integration calls no webhook");
    };
    let Body::Json(body) = &delivery.body;
    post(context, &webhook.url, &webhook.http, body.to_string()).await
}

/// Posts JSON to a URL that counts as a secret.
pub(super) async fn post(context: &Context, url: &SecretSource, http: &HttpConfig, body: String) -> DeliveryOutcome {
    let folder = context.folder.load_full();
    let url = match secrets::read(url, &folder).await {
        Ok(url) => url,
        Err(reason) => return failed(true, reason),
    };
    match context.clients.prepare(http, &folder).await {
        Ok(request) => request.post_json(url, body).await,
        Err(reason) => failed(true, reason),
    }
}
