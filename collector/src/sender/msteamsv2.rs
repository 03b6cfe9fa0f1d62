//! `msteamsv2_configs`: the card is posted to a workflow.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed, webhook};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Teams(teams) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Teams");
    };
    let Body::Json(body) = &delivery.body;
    webhook::post(context, &teams.url, &teams.http, body.to_string()).await
}
