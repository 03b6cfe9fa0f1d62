//! Health, reload and what the program says of itself, as Prometheus' clients ask for it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use watchfire_shared::time::Timestamp;

use super::App;
use crate::prometheus::answer::Success;

/// The Prometheus version whose API this one follows. Grafana reads it to know which features it may use.
const PROMETHEUS_VERSION: &str = "3.5.0";

pub(super) async fn healthy() -> &'static str {
    "Watchfire collector is Healthy.\n"
}

/// The HTTP server starts after the configuration was loaded and the log replayed, so an answer is a yes until the
/// program stops.
pub(super) async fn ready(State(app): State<Arc<App>>) -> (StatusCode, &'static str) {
    match app.stopping.load(Ordering::Relaxed) {
        false => (StatusCode::OK, "Watchfire collector is Ready.\n"),
        true => (StatusCode::SERVICE_UNAVAILABLE, "Watchfire collector is stopping.\n"),
    }
}

pub(super) async fn reload(State(app): State<Arc<App>>) -> (StatusCode, String) {
    match app.reloader.reload().await {
        Ok(()) => (StatusCode::OK, String::new()),
        Err(mistakes) => (StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {mistakes}\n")),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuildInfo {
    version: &'static str,
    application: &'static str,
    application_version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

pub(super) async fn build_info() -> Success<BuildInfo> {
    Success::of(BuildInfo {
        version: PROMETHEUS_VERSION,
        application: "watchfire-collector",
        application_version: env!("CARGO_PKG_VERSION"),
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeInfo {
    start_time: Timestamp,
    #[serde(rename = "reloadConfigSuccess")]
    reload_success: bool,
    last_config_time: Timestamp,
    storage_retention: String,
}

pub(super) async fn runtime_info(State(app): State<Arc<App>>) -> Success<RuntimeInfo> {
    let reload = app.reloader.last();
    Success::of(RuntimeInfo {
        start_time: app.started_at,
        reload_success: reload.successful,
        last_config_time: reload.loaded_at,
        storage_retention: reload.retention.to_string(),
    })
}
