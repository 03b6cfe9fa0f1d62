//! `/v1/history`: which node was in which state from when to when, and who says so.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use watchfire_collector_core::history::{Interval, Source};
use watchfire_shared::document::nearest;
use watchfire_shared::time::Timestamp;
use watchfire_shell::http::{List, ListQuery, Problem};

use super::App;

/// What `filter` and `fields` may name.
const FIELDS: &[&str] = &["node", "id", "role", "source", "state", "from", "to", "reason"];

/// `?node=&from=&to=&source=&state=`: intervals that lie in part between the two times, by node and beginning.
pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<List<Interval>>, Problem> {
    let node = query.text("node");
    let from = time(&mut query, "from")?.unwrap_or(Timestamp::MIN);
    let to = time(&mut query, "to")?.unwrap_or(Timestamp::MAX);
    let source = query.word("source", &Source::ALL.map(|source| (source.as_str(), source)))?;
    let state = query.text("state");
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    if to <= from {
        return Err(Problem::bad_request(format!("to: expected a time after from, {from}, found {to}")));
    }
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let history = app.published.view().history.clone();
    if let Some(node) = node.as_deref().filter(|node| !history.knows(node)) {
        let hint = nearest(node, history.nodes());
        let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
        let detail = format!("nothing was ever noted of a node called {node}{hint}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    }
    let intervals = history.intervals(node.as_deref(), from, to);
    let takes = |interval: &&Interval| {
        source.is_none_or(|source| source == interval.source)
            && state.as_deref().is_none_or(|state| state == interval.state)
    };
    // Those that speak at once stand in the order of their lists.
    let place = |own: &Interval| {
        let order = format!("{:015}-{}-{}", own.from.as_millis(), own.source as u8, own.role as u8);
        (own.node.clone(), order)
    };
    Ok(Json(query.answer(index, intervals.iter().filter(takes), place, &choice)))
}

/// Takes a time of that name.
///
/// # Errors
/// If it is no time.
pub(super) fn time(query: &mut ListQuery, name: &'static str) -> Result<Option<Timestamp>, Problem> {
    let Some(text) = query.text(name) else { return Ok(None) };
    let expected =
        || Problem::bad_request(format!("{name}: expected a time such as 2026-01-01T00:00:00Z, found {text:?}"));
    Timestamp::parse_rfc3339(&text).map(Some).ok_or_else(expected)
}
