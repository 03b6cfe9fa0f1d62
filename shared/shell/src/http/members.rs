//! `/v1/members`: the members as this node sees them, filtered, in pages, and as a blocking query.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use watchfire_shared::document::nearest;
use watchfire_shared::member::{Member, MemberState, Role, ViewSummary};

use super::Shared;
use super::list::{List, ListQuery};
use super::problem::Problem;

pub(super) const ROLES: &[(&str, Role)] = &[("agent", Role::Agent), ("collector", Role::Collector)];

/// What `filter` and `fields` may name.
const FIELDS: &[&str] = &[
    "id",
    "name",
    "addr",
    "state",
    "since",
    "incarnation",
    "generation",
    "role",
    "labels",
    "version",
    "services",
    "rtt_ms",
    "suspected_by",
    "cause",
    "suspicions",
];

/// The answer of `GET /v1/members`.
#[derive(Serialize)]
pub(super) struct Members {
    view: ViewSummary,
    #[serde(flatten)]
    list: List<Member>,
}

/// `?state=&role=&name=&label=NAME=VALUE`, several of each or with commas between, beside what every list takes.
pub(super) async fn list(State(shared): State<Arc<Shared>>, mut query: ListQuery) -> Result<Json<Members>, Problem> {
    let states = query.words("state", &MemberState::ALL.map(|state| (state.as_str(), state)))?;
    let roles = query.words("role", ROLES)?;
    let names = query.texts("name");
    let labels = query.labels()?;
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    let current = shared.membership.view().index;
    query.wait(current, |index| shared.membership.later_than(index)).await?;
    let view = shared.membership.view();
    let takes = |member: &&Member| {
        // A label that a member has not got is the empty text, as everywhere.
        let label = |name: &str| member.labels.get(name).map_or("", String::as_str);
        (states.is_empty() || states.contains(&member.state))
            && (roles.is_empty() || roles.contains(&member.role))
            && (names.is_empty() || names.contains(&member.name))
            && labels.iter().all(|(name, value)| label(name) == value)
    };
    let place = |member: &Member| (member.name.clone(), member.id.to_string());
    let list = query.answer(view.index, view.members.iter().filter(takes), place, &choice);
    Ok(Json(Members { view: ViewSummary::of(&view.node, &view.members, shared.clock.wall()), list }))
}

pub(super) async fn one(State(shared): State<Arc<Shared>>, Path(name): Path<String>) -> Result<Json<Member>, Problem> {
    let view = shared.membership.view();
    let named = |member: &&Member| member.name == name || member.id.to_string() == name;
    if let Some(member) = view.members.iter().find(named) {
        return Ok(Json(member.clone()));
    }
    let hint = nearest(&name, view.members.iter().map(|member| member.name.as_str()));
    let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
    let detail = format!("{} knows no member called {name}{hint}", view.node);
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
}
