//! `/v1/remediations`: every remediation with its cases, and every reason for acting or not.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use watchfire_collector_core::remediation::Mode;
use watchfire_collector_core::remediation::view::RemediationView;
use watchfire_shared::document::nearest;
use watchfire_shell::http::{List, ListQuery, Problem};

use super::App;

/// What `filter` and `fields` may name.
const FIELDS: &[&str] = &[
    "name",
    "file",
    "mode",
    "when",
    "scope",
    "steps",
    "guards",
    "paused",
    "storm_until",
    "state",
    "cases",
    "attempts",
    "last_order",
    "decisions",
];

pub(super) async fn list(
    State(app): State<Arc<App>>,
    mut query: ListQuery,
) -> Result<Json<List<RemediationView>>, Problem> {
    let mode = query.word("mode", &Mode::ALL)?;
    let name = query.text("name");
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let view = app.published.view();
    let takes = |item: &&RemediationView| {
        mode.is_none_or(|mode| mode == item.mode) && name.as_ref().is_none_or(|name| *name == item.name)
    };
    let place = |item: &RemediationView| (item.name.clone(), String::new());
    Ok(Json(query.answer(index, view.remediation.remediations.iter().filter(takes), place, &choice)))
}

/// `GET /v1/remediations/{name}`
pub(super) async fn one(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<RemediationView>, Problem> {
    let view = app.published.view();
    let all = &view.remediation.remediations;
    if let Some(found) = all.iter().find(|own| own.name == name) {
        return Ok(Json(found.clone()));
    }
    let hint = nearest(&name, all.iter().map(|own| own.name.as_str()));
    let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", format!("there is no remediation called {name}{hint}")))
}
