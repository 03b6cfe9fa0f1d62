//! What the agent answers over HTTP: its view of the members, its metrics, whether it lives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::{mpsc, oneshot, watch};
use watchfire_agent_core::sampler::OwnFigures;
use watchfire_shell::clock::Clock;
use watchfire_shell::http::openapi::{
    Answer, Document, MEMBER_OPERATIONS, MEMBER_SCHEMAS, Operation, PROBE_OPERATIONS,
};
use watchfire_shell::http::{
    Exposition, METRICS_CONTENT_TYPE, discovery_routes, member_routes, not_found, probe_routes,
};
use watchfire_shell::journal::{Journal, Topic};
use watchfire_shell::membership::MembershipHandle;

use crate::sampling::Request;

/// How long a scrape may wait for the sampler. Prometheus itself gives up after 10 s.
const MAX_SCRAPE_TIME: std::time::Duration = std::time::Duration::from_secs(5);

/// What an agent has events about.
const TOPICS: [(&str, Topic); 2] = [Topic::ALL[0], Topic::ALL[1]];

/// The agent's `/v1/openapi.json`.
pub const DOCUMENT: Document = Document {
    title: "Watchfire agent",
    description: "The members as this node sees them, and its metrics. Times are RFC 3339 in UTC.",
    version: env!("CARGO_PKG_VERSION"),
    operations: &[MEMBER_OPERATIONS, PROBE_OPERATIONS, METRICS],
    schemas: &[MEMBER_SCHEMAS],
};
const METRICS: &[Operation] = &[Operation {
    answer: Answer::Text("text/plain"),
    is_foreign: true,
    ..Operation::get("/metrics", "The host's figures in Prometheus' text format, under node_exporter's names.")
}];

/// What requests need.
#[derive(Clone, Debug)]
pub(crate) struct App {
    pub(crate) membership: MembershipHandle,
    pub(crate) journal: Journal,
    pub(crate) clock: Clock,
    pub(crate) sampler: mpsc::Sender<Request>,
    pub(crate) figures: watch::Receiver<OwnFigures>,
    pub(crate) stopping: Arc<AtomicBool>,
}

/// All routes of the agent.
pub(crate) fn router(app: App) -> Router {
    let stopping = app.stopping.clone();
    let not_ready = move || stopping.load(Ordering::Relaxed).then(|| "the agent stops".to_owned());
    Router::new()
        .route("/metrics", get(metrics))
        .merge(DOCUMENT.route())
        .with_state(app.clone())
        .merge(discovery_routes(app.membership.clone(), |view| Ok(view.members.clone())))
        .merge(member_routes(app.membership, app.journal, &TOPICS, None, app.clock))
        .merge(probe_routes(not_ready))
        .fallback(not_found)
}

/// A round of its own, so that values are as fresh as those of node_exporter.
async fn metrics(State(app): State<App>) -> Response {
    let (answer, text) = oneshot::channel();
    let own = Box::new(app.figures.borrow().clone());
    if app.sampler.try_send(Request::Scrape { own, answer }).is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "the sampler is busy\n").into_response();
    }
    match tokio::time::timeout(MAX_SCRAPE_TIME, text).await {
        Ok(Ok(mut text)) => {
            text.push_str(&gossip_events(&app.membership));
            ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response()
        }
        _ => (StatusCode::SERVICE_UNAVAILABLE, "the sampler does not answer\n").into_response(),
    }
}

/// What gossip counted, for whoever scrapes: collectors are not sent it.
fn gossip_events(membership: &MembershipHandle) -> String {
    let mut out = Exposition::default();
    out.gossip_events(membership);
    out.finish()
}
