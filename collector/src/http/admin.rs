//! Health and reload, as Prometheus' clients ask for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::StatusCode;

use super::App;

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
