//! The webhook's message: Alertmanager's JSON, version 4.
//!
//! <https://prometheus.io/docs/alerting/latest/configuration/#webhook_config>

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, Serializer};
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::time::Timestamp;

use super::message::{Context, Renderer, common, quote_meta};
use crate::alert::Alert;
use crate::alertmanager::Webhook;
use crate::template::Escape;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    receiver: String,
    status: &'static str,
    alerts: Vec<AlertMessage<'a>>,
    group_labels: &'a Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    /// The one key that Alertmanager writes in another manner.
    #[serde(rename = "notification_reason")]
    notification_reason: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    route_labels: &'a BTreeMap<String, String>,
    version: &'static str,
    group_key: &'a str,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AlertMessage<'a> {
    status: &'static str,
    labels: &'a Labels,
    annotations: &'a Labels,
    #[serde(serialize_with = "go_time")]
    starts_at: Timestamp,
    #[serde(serialize_with = "end")]
    ends_at: Option<Timestamp>,
    #[serde(rename = "generatorURL")]
    generator_url: &'a str,
    fingerprint: Fingerprint,
}

/// What is posted to a URL that is a template; the body of a delivery is one as JSON then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Call {
    /// What [`crate::alertmanager::receiver::webhook::UrlTemplate`] completes.
    pub filled_url: String,
    pub message: String,
}

/// Writes what is posted, and where if that is a template.
pub(super) fn render_call(
    now: Timestamp,
    webhook: &Webhook,
    context: &Context<'_>,
    alerts: &[&Alert],
    renderer: &Renderer<'_>,
) -> Result<String, String> {
    let message = match &webhook.payload {
        Some(payload) => renderer.document("payload", payload)?.to_string(),
        None => render(now, context, alerts, webhook.max_alerts, VERSION, renderer)?,
    };
    let Some(url) = &webhook.url_template else { return Ok(message) };
    let filled_url = renderer.exact("url", &url.template, Escape::None)?;
    serde_json::to_string(&Call { filled_url, message }).map_err(|error| error.to_string())
}

/// The alerts of one message; 0 for all of them.
pub(super) fn shown<'a, 'b>(alerts: &'b [&'a Alert], max_alerts: usize) -> &'b [&'a Alert] {
    if max_alerts > 0 { &alerts[..alerts.len().min(max_alerts)] } else { alerts }
}

/// Of Alertmanager's own message.
const VERSION: &str = "4";
/// Of incident.io's, which has the same shape.
const INCIDENTIO_VERSION: &str = "1";
/// Bytes that incident.io takes.
const MAX_INCIDENTIO_BYTES: usize = 512 << 10;

/// Writes the message for incident.io. Of one that is too large the first alert has to do: an incident is made of it.
pub(super) fn render_for_incidentio(
    now: Timestamp,
    context: &Context<'_>,
    alerts: &[&Alert],
    max_alerts: usize,
    renderer: &Renderer<'_>,
) -> Result<String, String> {
    let message = render(now, context, alerts, max_alerts, INCIDENTIO_VERSION, renderer)?;
    if message.len() <= MAX_INCIDENTIO_BYTES {
        return Ok(message);
    }
    render(now, context, alerts, 1, INCIDENTIO_VERSION, renderer)
}

/// Writes the message; alerts past `max_alerts` (0 for no bound) are only counted.
fn render(
    now: Timestamp,
    context: &Context<'_>,
    alerts: &[&Alert],
    max_alerts: usize,
    version: &'static str,
    renderer: &Renderer<'_>,
) -> Result<String, String> {
    let shown = shown(alerts, max_alerts);
    let firing = shown.iter().any(|alert| !alert.resolved_at(now));
    let message = Message {
        receiver: quote_meta(context.receiver),
        status: if firing { "firing" } else { "resolved" },
        alerts: shown.iter().map(|alert| alert_message(now, alert)).collect(),
        group_labels: context.group_labels,
        common_labels: common(shown, |alert| &alert.labels),
        common_annotations: common(shown, |alert| &alert.annotations),
        external_url: context.external_url,
        notification_reason: context.reason.words(),
        route_labels: renderer.route_labels(),
        version,
        group_key: context.group_key,
        truncated_alerts: alerts.len() - shown.len(),
    };
    serde_json::to_string(&message).map_err(|error| error.to_string())
}

fn alert_message(now: Timestamp, alert: &Alert) -> AlertMessage<'_> {
    let resolved = alert.resolved_at(now);
    AlertMessage {
        status: if resolved { "resolved" } else { "firing" },
        labels: &alert.labels,
        annotations: &alert.annotations,
        starts_at: alert.starts_at,
        ends_at: alert.ends_at.filter(|_| resolved),
        generator_url: &alert.generator_url,
        fingerprint: alert.fingerprint(),
    }
}

/// `time.RFC3339Nano`: fractions without zeros at their end.
fn go_time<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at.to_string();
    match text.strip_suffix('Z') {
        Some(body) if body.contains('.') => serializer.collect_str(&format_args!("{}Z", body.trim_end_matches('0'))),
        _ => serializer.serialize_str(&text),
    }
}

fn end<S: Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => go_time(at, serializer),
        None => serializer.serialize_str("0001-01-01T00:00:00Z"),
    }
}
