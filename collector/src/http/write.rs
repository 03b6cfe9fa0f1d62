//! `POST /api/v1/write`: Prometheus remote write 1.0. A request is answered when what it brought is durable.
//!
//! Answers are those of Prometheus' own receiver: 204 for a request that was taken; 400 where sending it again would
//! change nothing, with what was refused first; 415 for another encoding or message; 503 while there is no room.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use watchfire_collector_core::remote_write::{Outcome, decode};

use super::App;

/// Requests at a time that are decompressed and wait for the engine; each may have 16 MiB then.
pub(crate) const MAX_WRITES: usize = 4;
/// How long a sender waits for the disk. Prometheus gives up after thirty seconds and sends again.
const MAX_WRITE_TIME: Duration = Duration::from_secs(20);
/// When a sender may try again while there is no room, seconds.
const RETRY_AFTER: &str = "1";

pub(super) async fn write(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    if let Err(refusal) = understood(&headers) {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, refusal + "\n").into_response();
    }
    let taken = tokio::time::timeout(MAX_WRITE_TIME, take(&app, body)).await;
    taken.unwrap_or_else(|_| unavailable("the samples did not become durable in time"))
}

async fn take(app: &App, body: Bytes) -> Response {
    let Ok(_place) = app.writes.acquire().await else { return unavailable("the collector is stopping") };
    let request = match tokio::task::spawn_blocking(move || decode(&body)).await {
        Ok(Ok(request)) => request,
        Ok(Err(error)) => return (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
        Err(_) => return (StatusCode::INTERNAL_SERVER_ERROR, "the request could not be read\n").into_response(),
    };
    match app.inbox.write(request).await {
        Some(Outcome::Taken) => StatusCode::NO_CONTENT.into_response(),
        Some(Outcome::Refused(reason)) => (StatusCode::BAD_REQUEST, format!("{reason}\n")).into_response(),
        Some(Outcome::Unavailable(reason)) => unavailable(&reason),
        None => unavailable("the collector is stopping"),
    }
}

fn unavailable(reason: &str) -> Response {
    let retry = [(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER))];
    (StatusCode::SERVICE_UNAVAILABLE, retry, format!("{reason}\n")).into_response()
}

/// Whether the headers announce what is spoken here. Old senders announce nothing.
fn understood(headers: &HeaderMap) -> Result<(), String> {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default()).unwrap_or_default();
    let encoding = text(header::CONTENT_ENCODING);
    if !matches!(encoding, "" | "snappy") {
        return Err(format!(
            "{encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
        ));
    }
    let content_type = text(header::CONTENT_TYPE);
    let mut parts = content_type.split(';').map(str::trim);
    let is_protobuf = parts.next().is_some_and(|kind| matches!(kind, "" | "application/x-protobuf"));
    let message = parts.find_map(|part| part.strip_prefix("proto=")).unwrap_or("prometheus.WriteRequest");
    if is_protobuf && message == "prometheus.WriteRequest" {
        return Ok(());
    }
    let found = if is_protobuf { message } else { content_type };
    Err(format!("{found} protobuf message is not accepted by this server; only accepts prometheus.WriteRequest"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_one_in_snappy_is_understood() {
        let check = |pairs: &[(header::HeaderName, &'static str)], expected: Option<&str>| {
            let headers = pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
            assert_eq!(understood(&headers).err().as_deref(), expected);
        };
        let kind = |value| (header::CONTENT_TYPE, value);
        check(&[], None);
        check(&[kind("application/x-protobuf"), (header::CONTENT_ENCODING, "snappy")], None);
        check(&[kind("application/x-protobuf;proto=prometheus.WriteRequest")], None);
        check(
            &[kind("application/x-protobuf;proto=io.prometheus.write.v2.Request")],
            Some(
                "io.prometheus.write.v2.Request protobuf message is not accepted by this server; only accepts prometheus.WriteRequest",
            ),
        );
        check(
            &[kind("text/plain")],
            Some("text/plain protobuf message is not accepted by this server; only accepts prometheus.WriteRequest"),
        );
        check(
            &[(header::CONTENT_ENCODING, "gzip")],
            Some("gzip encoding (compression) is not accepted by this server; only snappy is acceptable"),
        );
    }
}
