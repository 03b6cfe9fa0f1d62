//! What a person says of a node: that it is worked on for a while, or that it is gone for good.
//!
//! Nobody proves here who they are, so it is offered on loopback only. Each answer waits until the engine has taken it over and it is durable, or says that it did not.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use watchfire_collector_core::catalogue::maintenance::{MAX_MAINTENANCE, MAX_REASON_BYTES, Maintenance};
use watchfire_collector_core::engine::Input;
use watchfire_collector_core::view::{Health, NodeView, View};
use watchfire_shared::document::nearest;
use watchfire_shared::member::{Member, MemberState};
use watchfire_shared::time::Span;
use watchfire_shell::http::Problem;

use super::App;
use super::nodes::find;

/// How long an answer waits for the engine.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// What is said of a maintenance.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Announcement {
    /// How long from now.
    r#for: String,
    #[serde(default)]
    reason: String,
}

/// `POST /v1/nodes/{name}/maintenance {"for": "2h", "reason": ""}`: mutes the node's notifications, and takes it out of
/// health, for that time from now.
pub(super) async fn announce_maintenance(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<NodeView>, Problem> {
    check_local(&app)?;
    let expected = "expected {\"for\": \"2h\", \"reason\": \"\"}";
    let announcement: Announcement = serde_json::from_slice(&body)
        .map_err(|error| Problem::bad_request(format!("the body cannot be read: {error}; {expected}")))?;
    let node = find(&app.published.view().nodes, &name)?.name.clone();
    let maintenance = maintenance(&app, node.clone(), announcement)?;
    let until = maintenance.until;
    tell(&app, Input::SetMaintenance(Box::new(maintenance))).await?;
    shown(&app, |view| own(view, &node).filter(|node| node.maintenance_until == Some(until))).await.map(Json)
}

/// `DELETE /v1/nodes/{name}/maintenance`: it is over now.
pub(super) async fn end_maintenance(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
) -> Result<Json<NodeView>, Problem> {
    check_local(&app)?;
    let view = app.published.view();
    let node = find(&view.nodes, &name)?;
    if node.maintenance_until.is_none() {
        return Err(Problem::new(StatusCode::CONFLICT, "not_in_maintenance", format!("{name} is not in maintenance")));
    }
    let node = node.name.clone();
    tell(&app, Input::EndMaintenance { node: node.clone() }).await?;
    shown(&app, |view| own(view, &node).filter(|node| node.maintenance_until.is_none())).await.map(Json)
}

/// `POST /v1/nodes/{name}/decommission` or `DELETE /v1/nodes/{name}`: the node is gone for good and expected no more.
pub(super) async fn decommission(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    check_local(&app)?;
    let view = app.published.view();
    let node = find(&view.nodes, &name)?;
    let conflict = |detail: String| Problem::new(StatusCode::CONFLICT, "still_there", detail);
    let Some(id) = node.id else {
        return Err(conflict(format!(
            "{name} stands in the inventory and was never seen; take it out there and reload"
        )));
    };
    let reports = node.state.is_none() && node.health == Health::Ok;
    if reports || matches!(node.state, Some(MemberState::Alive | MemberState::Suspect)) {
        return Err(conflict(format!("{name} is running and would come back at once; stop its agent first")));
    }
    tell(&app, Input::Decommission(id)).await?;
    let gone = |view: &View| view.nodes.iter().all(|node| node.id != Some(id)).then_some(());
    shown(&app, gone).await.map(|()| StatusCode::NO_CONTENT)
}

/// `POST /v1/members/{name}/forget`: the member will not come back. Every member lists it no more, and nobody expects it.
pub(super) async fn forget(State(app): State<Arc<App>>, Path(name): Path<String>) -> Result<StatusCode, Problem> {
    check_local(&app)?;
    let view = app.membership.view();
    // An id is nobody else's, whatever somebody is called.
    let by_id = view.members.iter().find(|member| member.id.to_string() == name);
    let named: Vec<_> = match by_id {
        Some(member) => vec![member],
        None => view.members.iter().filter(|member| member.name == name).collect(),
    };
    let is_living = |member: &&Member| matches!(member.state, MemberState::Alive | MemberState::Suspect);
    let Some(member) = named.iter().find(|member| !is_living(member)).or(named.first()) else {
        if view.forgotten.iter().any(|gone| gone.name == name || gone.id.to_string() == name) {
            return Ok(StatusCode::NO_CONTENT);
        }
        let hint = nearest(&name, view.members.iter().map(|member| member.name.as_str()));
        let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
        let detail = format!("there is no member called {name}{hint}");
        return Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail));
    };
    if is_living(member) {
        let detail = format!("{name} is {} and would come back at once; stop it first", member.state.as_str());
        return Err(Problem::new(StatusCode::CONFLICT, "still_there", detail));
    }
    let id = member.id;
    app.membership.forget(id).await;
    let forgotten = async {
        let mut view = view;
        while !view.forgotten.iter().any(|gone| gone.id == id) {
            view = app.membership.later_than(view.index).await;
        }
    };
    let late = "it is not confirmed; look again before repeating it";
    tokio::time::timeout(MAX_WAIT, forgotten)
        .await
        .map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_confirmed", late))?;
    // The engine hears of it by itself; whoever asks next sees both.
    let gone = |view: &View| view.nodes.iter().all(|node| node.id != Some(id)).then_some(());
    shown(&app, gone).await.map(|()| StatusCode::NO_CONTENT)
}

pub(super) fn check_local(app: &App) -> Result<(), Problem> {
    let forbidden = |detail| Err(Problem::new(StatusCode::FORBIDDEN, "forbidden", detail));
    if !app.is_local {
        return forbidden("changes are taken on a loopback address only; bind [http] to 127.0.0.1 or ask on that host");
    }
    Ok(())
}

fn maintenance(app: &App, node: String, announcement: Announcement) -> Result<Maintenance, Problem> {
    let Announcement { r#for: text, reason } = announcement;
    let length = Span::parse(&text).map_err(|error| Problem::bad_request(format!("for: {error}, found {text:?}")))?;
    if !length.is_positive() || length > MAX_MAINTENANCE {
        let detail = format!("for: expected more than 0 and at most {MAX_MAINTENANCE}, found {text:?}");
        return Err(Problem::bad_request(detail));
    }
    if reason.len() > MAX_REASON_BYTES {
        let detail = format!("reason: {} bytes; at most {MAX_REASON_BYTES} are allowed", reason.len());
        return Err(Problem::bad_request(detail));
    }
    let now = app.clock.wall();
    Ok(Maintenance { node, since: now, until: now + length, reason })
}

async fn tell(app: &App, input: Input) -> Result<(), Problem> {
    let stopping = || Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the collector is stopping");
    if app.inbox.send(input).await { Ok(()) } else { Err(stopping()) }
}

fn own(view: &View, name: &str) -> Option<NodeView> {
    find(&view.nodes, name).ok().cloned()
}

/// Waits until the engine shows what was asked for. What it shows it has committed.
async fn shown<T>(app: &App, what: impl Fn(&View) -> Option<T>) -> Result<T, Problem> {
    let waiting = async {
        loop {
            let index = app.published.index();
            if let Some(found) = what(&app.published.view()) {
                return found;
            }
            app.published.later_than(index).await;
        }
    };
    let late = "the collector is busy and has not confirmed it; look again before repeating it";
    tokio::time::timeout(MAX_WAIT, waiting)
        .await
        .map_err(|_| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_confirmed", late))
}
