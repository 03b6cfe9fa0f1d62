//! `/api/v2`: Alertmanager's API, exact enough for its own tools (amtool, Grafana, karma, Prometheus' notifier).
//!
//! Reading shows what the engine published last. What changes something goes to the engine and is answered when it is
//! durable and to be seen. Whether it may come is decided before: see [`watchfire_shell::http::Guard`] and [`request::Body`].
//!
//! The specification: <https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml>.

mod model;

mod request;

mod alerts;

mod silences;

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use watchfire_shell::http::Guard;

use super::App;
use model::{Cluster, ConfigText, ReceiverName, Status, VersionInfo};
use request::{Filters, Query};

/// The Alertmanager version whose API this one follows. amtool warns of any other than its own.
const ALERTMANAGER_VERSION: &str = "0.33.1";

pub(super) fn routes(guard: &Guard) -> Router<Arc<App>> {
    Router::new()
        .route("/api/v2/status", get(status))
        .route("/api/v2/receivers", get(receivers))
        .route("/api/v2/alerts", get(alerts::list).merge(guard.over(post(alerts::add))))
        .route("/api/v2/alerts/groups", get(alerts::groups))
        .route("/api/v2/silences", get(silences::list).merge(guard.over(post(silences::set))))
        .route("/api/v2/silence/{id}", get(silences::one).merge(guard.over(delete(silences::expire))))
}

/// What is not a success, in one of the forms that Alertmanager uses.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::http) enum Refusal {
    /// A sentence.
    Text(StatusCode, String),
    /// A number and a sentence, for requests that break the specification.
    Code(StatusCode, u16, String),
    /// The status alone.
    Bare(StatusCode),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Text(status, text) => (status, Json(text)).into_response(),
            Self::Code(status, code, message) => {
                (status, Json(serde_json::json!({"code": code, "message": message}))).into_response()
            }
            Self::Bare(status) => status.into_response(),
        }
    }
}

type Result<T> = std::result::Result<T, Refusal>;

impl Refusal {
    fn bad(text: impl Into<String>) -> Self {
        Self::Text(StatusCode::BAD_REQUEST, text.into())
    }

    /// A member of the body breaks the specification.
    fn invalid(code: u16, message: impl Into<String>) -> Self {
        Self::Code(StatusCode::UNPROCESSABLE_ENTITY, code, message.into())
    }
}

async fn status(State(app): State<Arc<App>>) -> Json<Status> {
    let view = app.published.view();
    let original = view.notifications.config.as_ref().map(|config| config.shown.to_string());
    Json(Status {
        // Collectors share no state of alerts, which is what Alertmanager means by a cluster.
        cluster: Cluster { status: "disabled", peers: Vec::new() },
        config: ConfigText { original: original.unwrap_or_default() },
        uptime: app.started_at,
        version_info: VersionInfo {
            version: ALERTMANAGER_VERSION,
            branch: "watchfire",
            revision: env!("CARGO_PKG_VERSION"),
            build_user: "",
            build_date: "",
            go_version: "",
        },
    })
}

async fn receivers(State(app): State<Arc<App>>, query: Query) -> Result<Json<Vec<ReceiverName>>> {
    let filters = Filters::read(&query)?;
    let view = app.published.view();
    let names = view.notifications.receivers.iter().map(|receiver| receiver.name.as_str());
    Ok(Json(names.filter(|name| filters.takes_receiver(name)).map(ReceiverName::with_labels).collect()))
}
