//! `/v1/orders`: every order that was given, the newest first, with what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use watchfire_collector_core::remediation::view::OrderView;
use watchfire_shell::http::{List, ListQuery, Problem};

use super::App;

/// What `filter` and `fields` may name.
const FIELDS: &[&str] = &[
    "id",
    "remediation",
    "attempt",
    "node",
    "node_id",
    "action",
    "params",
    "state",
    "detail",
    "alert",
    "fingerprint",
    "approver",
    "epoch",
    "seq",
    "issued_at",
    "expires_at",
    "ended_at",
    "exit_code",
    "output",
    "output_truncated",
    "verified",
    "history",
];

pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<List<OrderView>>, Problem> {
    let (node, remediation) = (query.text("node"), query.text("remediation"));
    let state = query.text("state");
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let view = app.published.view();
    let is = |wanted: &Option<String>, own: &str| wanted.as_ref().is_none_or(|wanted| wanted == own);
    let takes = |item: &&OrderView| {
        is(&node, &item.node) && is(&remediation, &item.remediation) && is(&state, item.state.as_str())
    };
    // Pages go up by place, and identities rise with time: what is newest has the lowest place.
    let place = |item: &OrderView| (format!("{:032x}", !item.id.0), String::new());
    Ok(Json(query.answer(index, view.remediation.orders.iter().filter(takes), place, &choice)))
}
