//! `email_configs`: the mail is written down as MIME ([`message`]) and handed to a mail server ([`session`]).

mod cram_md5;

mod message;

mod session;

use std::time::SystemTime;

use watchfire_collector_core::alertmanager::IntegrationConfig;
use watchfire_collector_core::notify::email::Mail;
use watchfire_collector_core::notify::{Body, Delivery, DeliveryOutcome};

use super::{Context, failed};

pub(super) async fn send(context: &Context, delivery: &Delivery) -> DeliveryOutcome {
    let IntegrationConfig::Email(email) = &delivery.integration.config else {
        return failed(false, "the integration sends no mail");
    };
    let Body::Json(body) = &delivery.body;
    let ready = Mail::read(body).and_then(|mail| message::write(&mail, SystemTime::now()));
    let ready = match ready {
        Ok(ready) => ready,
        // The same words would not become a mail by another attempt.
        Err(reason) => return failed(false, reason),
    };
    match session::hand_over(email, &ready, &context.folder.load_full()).await {
        Ok(refused) => {
            for (recipient, reason) in refused {
                tracing::warn!(integration = delivery.integration.id(), recipient, reason, "a recipient was refused");
            }
            DeliveryOutcome::Ok
        }
        Err(session::Failure { retry, reason }) => failed(retry, reason),
    }
}
