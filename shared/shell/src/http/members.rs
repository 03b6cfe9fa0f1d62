//! `/v1/members`: the members as this node sees them, filtered, in pages, and as a blocking query.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use watchfire_shared::document::nearest;
use watchfire_shared::member::{Member, MemberList, MemberState, Role, ViewSummary};

use super::Shared;
use super::list::ListQuery;
use super::problem::Problem;

const ROLES: &[(&str, Role)] = &[("agent", Role::Agent), ("collector", Role::Collector)];

pub(super) async fn list(State(shared): State<Arc<Shared>>, mut query: ListQuery) -> Result<Json<MemberList>, Problem> {
    let state = query.word("state", &MemberState::ALL.map(|state| (state.as_str(), state)))?;
    let role = query.word("role", ROLES)?;
    query.finish()?;
    let current = shared.membership.view().index;
    query.wait(current, |index| shared.membership.later_than(index)).await?;
    let view = shared.membership.view();
    let takes = |member: &&Member| {
        state.is_none_or(|state| state == member.state) && role.is_none_or(|role| role == member.role)
    };
    let place = |member: &Member| (member.name.clone(), member.id.to_string());
    let (items, next_cursor) = query.page(view.members.iter().filter(takes), place);
    Ok(Json(MemberList {
        view: ViewSummary::of(&view.node, &view.members, shared.clock.wall()),
        index: view.index.to_string(),
        next_cursor,
        items,
    }))
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
