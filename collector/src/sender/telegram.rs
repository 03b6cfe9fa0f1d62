//! `telegram_configs`: the message is sent by a bot. <https://core.telegram.org/bots/api#making-requests>

use serde_json::Value;
use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::alertmanager::receiver::Telegram;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::client::secrets;
use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Telegram(telegram) = &delivery.integration.config else {
        return failed(false, "the integration sends nothing to Telegram");
    };
    let Body::Json(body) = &delivery.body;
    match post(context, telegram, body).await {
        Ok(outcome) => outcome,
        Err(reason) => failed(true, reason),
    }
}

async fn post(context: &Context, telegram: &Telegram, body: &str) -> Result<DeliveryOutcome, String> {
    let folder = context.folder.load_full();
    let token = secrets::read(&telegram.token, &folder).await?;
    let chat = secrets::read(&telegram.chat, &folder).await?;
    let chat: i64 = chat.parse().map_err(|_| "`chat_id` is no number of a chat".to_owned())?;
    let mut message: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    message["chat_id"] = chat.into();
    let url = format!("{}/bot{token}/sendMessage", telegram.api_url.expose().trim_end_matches('/'));
    let request = context.clients.prepare(&telegram.http, &folder).await?.hiding(token);
    Ok(request.post_json(url, message.to_string()).await)
}
