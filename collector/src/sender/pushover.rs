//! `pushover_configs`: the message is posted as a form. <https://pushover.net/api>

use std::collections::BTreeMap;

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::Pushover;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::secrets;
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Pushover(pushover) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Pushover");
    };
    let Body::Json(body) = &delivery.body;
    match post(context, pushover, body).await {
        Ok(outcome) => outcome,
        Err(reason) => failed(true, reason),
    }
}

async fn post(context: &Context, pushover: &Pushover, body: &str) -> Result<DeliveryOutcome, String> {
    let folder = context.folder.load_full();
    let user = secrets::read(&pushover.user, &folder).await?;
    let token = secrets::read(&pushover.token, &folder).await?;
    let mut form: BTreeMap<String, String> = serde_json::from_str(body).map_err(|error| error.to_string())?;
    form.extend([("user".to_owned(), user.clone()), ("token".to_owned(), token.clone())]);
    let request = context.clients.prepare(&pushover.http, &folder).await?.hiding(user).hiding(token);
    Ok(request.post_form(pushover.api_url.expose().to_owned(), &form).await)
}
