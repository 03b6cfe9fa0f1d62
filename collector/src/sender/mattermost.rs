//! `mattermost_configs`: the message is posted to a webhook.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed, webhook};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Mattermost(mattermost) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Mattermost");
    };
    let Body::Json(body) = &delivery.body;
    webhook::post(context, &mattermost.url, &mattermost.http, body.to_string()).await
}
