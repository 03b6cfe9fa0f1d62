//! `webex_configs`: the message is posted in the name of a bot.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed, webhook};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Webex(webex) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Webex");
    };
    let Body::Json(body) = &delivery.body;
    webhook::post(context, &webex.url, &webex.http, body.to_string()).await
}
