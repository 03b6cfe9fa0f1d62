//! `discord_configs`: the message is posted to a channel's webhook.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed, webhook};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Discord(discord) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Discord");
    };
    let Body::Json(body) = &delivery.body;
    webhook::post(context, &discord.url, &discord.http, body.to_string()).await
}
