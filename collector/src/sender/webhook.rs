//! `webhook_configs`: the message is posted to a URL.

use watchfire_collector_core::alertmanager::http::HttpConfig;
use watchfire_collector_core::alertmanager::{IntegrationConfig, Secret, SecretSource};
use watchfire_collector_core::notify::webhook::Call;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::secrets;
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Webhook(webhook) = &delivery.integration.config else {
        return failed(false, "the integration calls no webhook");
    };
    let Body::Json(body) = &delivery.body;
    let call = serde_json::from_str::<Call>(body).ok();
    let (url, body) = match (&webhook.url_template, call) {
        (Some(template), Some(call)) => match template.complete(&call.filled_url) {
            Ok(url) => (SecretSource::Inline(Secret::new(url)), call.message),
            Err(reason) => return failed(false, reason),
        },
        // Made before the URL was a template; the group's next interval makes another one.
        (Some(_), None) => return failed(false, "the message was made for another URL"),
        // Made when it still was one.
        (None, Some(call)) => (webhook.url.clone(), call.message),
        (None, None) => (webhook.url.clone(), body.to_string()),
    };
    let is_file = matches!(url, SecretSource::File(_));
    match secrets::read(&url, &context.folder.load_full()).await {
        // What a template in the configuration was filled with may hold anything.
        Ok(url) if is_file && url.contains("{{") => {
            failed(false, "the URL in a file is no template; a URL with a template stands in `url`")
        }
        Ok(url) => post_to(context, url, &webhook.http, body).await,
        Err(reason) => failed(true, reason),
    }
}

/// Posts JSON to a URL that counts as a secret.
pub(super) async fn post(context: &Context, url: &SecretSource, http: &HttpConfig, body: String) -> DeliveryOutcome {
    match secrets::read(url, &context.folder.load_full()).await {
        Ok(url) => post_to(context, url, http, body).await,
        Err(reason) => failed(true, reason),
    }
}

async fn post_to(context: &Context, url: String, http: &HttpConfig, body: String) -> DeliveryOutcome {
    match context.clients.prepare(http, &context.folder.load_full()).await {
        Ok(request) => request.post_json(url, body).await,
        Err(reason) => failed(true, reason),
    }
}
