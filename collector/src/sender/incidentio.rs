//! `incidentio_configs`: the message is posted to an alert source.

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed, webhook};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::IncidentIo(incidentio) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to incident.io");
    };
    let Body::Json(body) = &delivery.body;
    webhook::post(context, &incidentio.url, &incidentio.http, body.to_string()).await
}
