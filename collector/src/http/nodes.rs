//! `/v1/nodes`: what the collector knows of each node, beyond its membership.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Serialize;
use watchfire_collector_core::view::{Health, NodeView};
use watchfire_shared::document::nearest;
use watchfire_shared::member::MemberState;
use watchfire_shell::http::{ListQuery, Problem};

use super::App;

const HEALTH: &[(&str, Health)] =
    &[("ok", Health::Ok), ("degraded", Health::Degraded), ("down", Health::Down), ("unknown", Health::Unknown)];

/// The answer of `GET /v1/nodes`.
#[derive(Serialize)]
pub(super) struct NodeList {
    items: Vec<NodeView>,
    next_cursor: Option<String>,
    index: String,
}

pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<NodeList>, Problem> {
    let health = query.word("health", HEALTH)?;
    let state = query.word("state", &MemberState::ALL.map(|state| (state.as_str(), state)))?;
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let view = app.published.view();
    let takes = |node: &&NodeView| {
        health.is_none_or(|health| health == node.health) && state.is_none_or(|state| Some(state) == node.state)
    };
    let place = |node: &NodeView| (node.name.clone(), node.id.to_string());
    let (items, next_cursor) = query.page(view.nodes.iter().filter(takes), place);
    Ok(Json(NodeList { items, next_cursor, index: index.to_string() }))
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<NodeView>, Problem> {
    let view = app.published.view();
    let named = |node: &&NodeView| node.name == name || node.id.to_string() == name;
    if let Some(node) = view.nodes.iter().find(named) {
        return Ok(Json(node.clone()));
    }
    let hint = nearest(&name, view.nodes.iter().map(|node| node.name.as_str()));
    let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no node called {name}{hint}")))
}
