//! The collector's HTTP interface: members, nodes, Prometheus' query API, rules and alerts, health and metrics.
//!
//! Handlers read what the engine published last, and the store's snapshot; none waits for the engine. What changes something
//! (reloads, alerts from outside, silences, what [`catalogue`] takes) stands behind a [`Guard`] against pages of other sites.

mod query;

mod links;

mod federate;

mod lookup;

mod metadata;

mod targets;

mod about;

mod compress;

mod origin;

mod write;

mod rules;

mod nodes;

mod views;

mod discovery;

mod health;

mod history;

mod availability;

mod catalogue;

mod keys;

mod remediations;

mod remediation_commands;

mod orders;

mod status;

mod alertmanager;

mod admin;

mod deletion;

mod metrics;

mod openapi;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::routing::{delete, get, post};
use axum::{Router, middleware};
use tokio::sync::Semaphore;
use watchfire_shared::time::Timestamp;
use watchfire_shell::clock::Clock;
use watchfire_shell::http::{Guard, member_routes, not_found, probe_routes};
use watchfire_shell::journal::{Journal, Topic};
use watchfire_shell::membership::MembershipHandle;

use crate::engine::{Inbox, Published};
use crate::forward::Forwards;
use crate::ingest::Connections;
use crate::reload::Reloader;
use crate::sender::Senders;
pub use openapi::DOCUMENT;
pub(crate) use write::MAX_WRITES;

/// Queries evaluated at a time. Each is computation on one core; more would only share it.
pub(crate) const MAX_QUERIES: usize = 4;

/// What the handlers read.
pub(crate) struct App {
    pub(crate) clock: Clock,
    pub(crate) membership: MembershipHandle,
    pub(crate) journal: Journal,
    pub(crate) published: Published,
    pub(crate) connections: Connections,
    pub(crate) senders: Senders,
    pub(crate) forwards: Forwards,
    pub(crate) reloader: Reloader,
    pub(crate) queries: Arc<Semaphore>,
    pub(crate) writes: Semaphore,
    pub(crate) inbox: Inbox,
    /// Whether the server listens on loopback only, where no proof of identity is asked for.
    pub(crate) is_local: bool,
    pub(crate) started_at: Timestamp,
    /// Before whatever changes something.
    pub(crate) guard: Guard,
    /// Set while the program stops, so that load balancers look elsewhere.
    pub(crate) stopping: AtomicBool,
}

/// Every route of the collector.
pub(crate) fn router(app: &Arc<App>) -> Router {
    let (ready, guard) = (app.clone(), &app.guard);
    let not_ready = move || ready.stopping.load(Ordering::Relaxed).then(|| "stopping".to_owned());
    Router::new()
        .route("/v1/nodes", get(nodes::list))
        .route("/v1/nodes/{name}", get(nodes::one).merge(guard.over(delete(catalogue::decommission))))
        .route("/v1/nodes/{name}/decommission", guard.over(post(catalogue::decommission)))
        .route(
            "/v1/nodes/{name}/maintenance",
            guard.over(post(catalogue::announce_maintenance).delete(catalogue::end_maintenance)),
        )
        .route("/v1/members/{name}/forget", guard.over(post(catalogue::forget)))
        .route("/v1/keys", get(keys::list).merge(guard.over(post(keys::order))))
        .route("/v1/health", get(health::list))
        .route("/v1/history", get(history::list))
        .route("/v1/availability", get(availability::list))
        .route("/v1/remediations", get(remediations::list))
        .route("/v1/remediations/pause", guard.over(post(remediation_commands::pause_all)))
        .route("/v1/remediations/resume", guard.over(post(remediation_commands::resume_all)))
        .route("/v1/remediations/{name}", get(remediations::one))
        .route("/v1/remediations/{name}/pause", guard.over(post(remediation_commands::pause_one)))
        .route("/v1/remediations/{name}/resume", guard.over(post(remediation_commands::resume_one)))
        .route("/v1/remediations/{name}/simulate", get(remediation_commands::simulate))
        .route("/v1/attempts/{id}/approve", guard.over(post(remediation_commands::approve)))
        .route("/v1/orders", get(orders::list))
        .route("/v1/status", get(status::status))
        .route("/-/healthy", get(admin::healthy))
        .route("/-/ready", get(admin::ready))
        .route("/-/reload", app.guard.over(post(admin::reload).put(admin::reload)))
        .route("/metrics", get(metrics::metrics))
        .route("/", get(links::alerts))
        .route("/graph", get(links::graph))
        .route("/query", get(links::graph))
        .merge(prometheus_routes())
        .route("/api/v1/write", guard.over(post(write::write)))
        .route(
            "/api/v1/admin/tsdb/delete_series",
            guard.over(post(deletion::delete_series).put(deletion::delete_series)),
        )
        .route(
            "/api/v1/admin/tsdb/clean_tombstones",
            guard.over(post(deletion::clean_tombstones).put(deletion::clean_tombstones)),
        )
        .merge(alertmanager::routes(&app.guard))
        .merge(DOCUMENT.route())
        .with_state(app.clone())
        .merge(discovery::routes(app))
        .merge(member_routes(
            app.membership.clone(),
            app.journal.clone(),
            &Topic::ALL,
            Some(Arc::new(views::OwnNodes(app.published.clone()))),
            app.clock.clone(),
        ))
        .merge(probe_routes(not_ready))
        .fallback(not_found)
}

/// What Prometheus' clients ask for.
fn prometheus_routes() -> Router<Arc<App>> {
    Router::new()
        .route("/api/v1/query", get(query::query).post(query::query))
        .route("/api/v1/query_range", get(query::query_range).post(query::query_range))
        .route("/api/v1/query_exemplars", get(query::query_exemplars).post(query::query_exemplars))
        .route("/api/v1/format_query", get(query::format_query).post(query::format_query))
        .route("/api/v1/parse_query", get(query::parse_query).post(query::parse_query))
        .route("/federate", get(federate::federate))
        .route("/api/v1/series", get(lookup::series).post(lookup::series))
        .route("/api/v1/labels", get(lookup::labels).post(lookup::labels))
        .route("/api/v1/label/{name}/values", get(lookup::label_values))
        .route("/api/v1/metadata", get(metadata::metadata))
        .route("/api/v1/targets", get(targets::targets))
        .route("/api/v1/targets/metadata", get(metadata::of_targets))
        .route("/api/v1/scrape_pools", get(targets::scrape_pools))
        .route("/api/v1/alertmanagers", get(targets::alertmanagers))
        .route("/api/v1/notifications", get(targets::notifications))
        .route("/api/v1/rules", get(rules::rules))
        .route("/api/v1/alerts", get(rules::alerts))
        .route("/api/v1/status/buildinfo", get(about::build_info))
        .route("/api/v1/status/runtimeinfo", get(about::runtime_info))
        .route("/api/v1/status/config", get(about::config))
        .route("/api/v1/status/flags", get(about::flags))
        .route("/api/v1/status/tsdb", get(about::tsdb))
        .route("/api/v1/status/walreplay", get(about::wal_replay))
        .layer(middleware::from_fn(compress::compress))
        .layer(middleware::from_fn(origin::allow))
}
