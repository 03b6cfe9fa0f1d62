//! `/v1/nodes`: what the collector knows of each node, beyond its membership.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use watchfire_collector_core::view::{Health, NodeView};
use watchfire_shared::document::nearest;
use watchfire_shared::member::{MemberState, Role};
use watchfire_shell::http::{List, ListQuery, Problem};

use super::App;

/// Every word of `health`, for filters.
pub(super) const HEALTH: &[(&str, Health)] = &[
    ("ok", Health::Ok),
    ("degraded", Health::Degraded),
    ("down", Health::Down),
    ("unknown", Health::Unknown),
    ("maintenance", Health::Maintenance),
];
const ROLES: &[(&str, Role)] = &[("agent", Role::Agent), ("collector", Role::Collector)];

/// Which nodes are wanted.
pub(super) struct Filter {
    health: Option<Health>,
    state: Option<MemberState>,
    role: Option<Role>,
    labels: Vec<(String, String)>,
}

impl Filter {
    /// Takes the parameters `health`, `state`, `role`, and `label=NAME=VALUE` as often as it is given.
    ///
    /// # Errors
    /// A problem that names the words.
    pub(super) fn take(query: &mut ListQuery) -> Result<Self, Problem> {
        Ok(Self {
            health: query.word("health", HEALTH)?,
            state: query.word("state", &MemberState::ALL.map(|state| (state.as_str(), state)))?,
            role: query.word("role", ROLES)?,
            labels: query.labels()?,
        })
    }

    /// Whether every node is wanted.
    pub(super) fn is_empty(&self) -> bool {
        self.health.is_none() && self.state.is_none() && self.role.is_none() && self.labels.is_empty()
    }

    pub(super) fn takes(&self, node: &NodeView) -> bool {
        // A label that a node has not got is the empty text, as everywhere.
        let label = |name: &str| node.labels.get(name).map_or("", String::as_str);
        self.health.is_none_or(|health| health == node.health)
            && self.state.is_none_or(|state| Some(state) == node.state)
            && self.role.is_none_or(|role| role == node.role)
            && self.labels.iter().all(|(name, value)| label(name) == value)
    }
}

/// What `filter` and `fields` may name.
const FIELDS: &[&str] = &[
    "id",
    "name",
    "role",
    "state",
    "health",
    "reasons",
    "last_report_at",
    "clock_offset_seconds",
    "alerts",
    "labels",
    "version",
    "maintenance_until",
];

pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<List<NodeView>>, Problem> {
    let filter = Filter::take(&mut query)?;
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let view = app.published.view();
    let takes = |node: &&NodeView| filter.takes(node);
    let place = |node: &NodeView| (node.name.clone(), id_text(node));
    Ok(Json(query.answer(index, view.nodes.iter().filter(takes), place, &choice)))
}

pub(super) async fn one(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<Json<NodeView>, Problem> {
    find(&app.published.view().nodes, &name).map(|node| Json(node.clone()))
}

/// The node with this name or id; of an agent and a collector with one name, the agent.
///
/// # Errors
/// 404, with the nearest name that exists.
pub(super) fn find<'a>(nodes: &'a [NodeView], name: &str) -> Result<&'a NodeView, Problem> {
    // An id is nobody else's, whatever somebody is called.
    let by_id = nodes.iter().find(|node| node.id.is_some_and(|id| id.to_string() == name));
    let by_name = || nodes.iter().filter(|node| node.name == name).min_by_key(|node| node.role == Role::Collector);
    if let Some(node) = by_id.or_else(by_name) {
        return Ok(node);
    }
    let hint = nearest(name, nodes.iter().map(|node| node.name.as_str()));
    let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no node called {name}{hint}")))
}

fn id_text(node: &NodeView) -> String {
    node.id.map(|id| id.to_string()).unwrap_or_default()
}
