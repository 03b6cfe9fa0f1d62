//! `/v1/orders`: every order that was given, the newest first, with what became of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::remediation::view::OrderView;
use watchfire_shell::http::{ListQuery, Problem};

use super::App;

/// The answer of `GET /v1/orders`.
#[derive(Serialize)]
pub(super) struct OrderList {
    items: Vec<OrderView>,
    next_cursor: Option<String>,
    index: String,
}

pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<OrderList>, Problem> {
    let (node, remediation) = (query.text("node"), query.text("remediation"));
    let state = query.text("state");
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
    let (items, next_cursor) = query.page(view.remediation.orders.iter().filter(takes), place);
    Ok(Json(OrderList { items, next_cursor, index: index.to_string() }))
}
