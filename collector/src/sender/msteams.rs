//! `msteams_configs`: the card is posted to a connector.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed, webhook};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::TeamsConnector(msteams) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to a connector of Microsoft Teams");
    };
    let Body::Json(body) = &delivery.body;
    webhook::post(context, &msteams.url, &msteams.http, body.to_string()).await
}
