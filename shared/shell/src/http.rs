//! What the HTTP interfaces of agent and collector share: the bounded server, problem bodies, the members and their events,
//! probes of life, and the text format of metrics.
//!
//! Everything here reads snapshots; no request reaches into a machine.

mod problem;

mod guard;

mod serve;

mod stall;

mod list;

mod members;

mod views;

mod events;

mod discovery;

mod exposition;

pub mod openapi;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use crate::clock::Clock;
use crate::journal::{Journal, Topic};
use crate::membership::MembershipHandle;

pub use discovery::discovery_routes;
pub use exposition::{Exposition, METRICS_CONTENT_TYPE};
pub use guard::Guard;
pub use list::{Choice, Filter, FilterError, List, ListQuery, Shown};
pub use problem::{Problem, not_found};
pub use serve::{Server, bounded};
pub use views::{Registered, Registry};

/// The routes `/v1/members`, `/v1/members/{name}` and `/v1/events`; the journal knows of events about these topics,
/// and a collector has a registry.
pub fn member_routes(
    membership: MembershipHandle,
    journal: Journal,
    topics: &'static [(&'static str, Topic)],
    registry: Option<Arc<dyn Registry>>,
    clock: Clock,
) -> Router {
    Router::new()
        .route("/v1/members", get(members::list))
        .route("/v1/members/{name}", get(members::one))
        .route("/v1/events", get(events::events))
        .with_state(Arc::new(Shared { membership, journal, topics, registry, clock }))
}

/// The routes `/livez` (the program answers) and `/readyz`.
///
/// `not_ready` gives the reason why the program is not ready yet, or `None` when it is.
pub fn probe_routes(not_ready: impl Fn() -> Option<String> + Clone + Send + Sync + 'static) -> Router {
    let readyz = move || {
        let answer = not_ready();
        async move {
            match answer {
                None => (StatusCode::OK, "ok\n".to_owned()),
                Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")),
            }
        }
    };
    Router::new().route("/livez", get(|| async { "ok\n" })).route("/readyz", get(readyz))
}

struct Shared {
    membership: MembershipHandle,
    journal: Journal,
    topics: &'static [(&'static str, Topic)],
    registry: Option<Arc<dyn Registry>>,
    clock: Clock,
}

#[cfg(test)]
mod tests;
