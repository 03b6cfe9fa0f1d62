//! `/v1/members`: the members as this node sees them, filtered, in pages, and as a blocking query.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use watchfire_gossip::Forgotten;
use watchfire_shared::document::nearest;
use watchfire_shared::member::{Member, MemberState, Role, ViewSummary};

use super::Shared;
use super::list::{Choice, List, ListQuery};
use super::problem::Problem;
use super::views::{self, VIEWS, Views};

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
    "conditions",
    "said_by",
    "says",
    "last_report_at",
    "suspicions",
    "namesakes",
];

/// The answer of `GET /v1/members`.
#[derive(Serialize)]
struct Members<T> {
    view: Summary,
    #[serde(flatten)]
    list: List<T>,
}

/// Whose view a list is.
#[derive(Serialize)]
struct Summary {
    #[serde(flatten)]
    counts: ViewSummary,
    kind: Views,
}

/// A member that somebody said will not come back: shown where it is asked for, for a day.
const FORGOTTEN: &str = "forgotten";

/// The filters of the list itself.
struct Wanted {
    states: Vec<MemberState>,
    /// Only members that are listed no more.
    forgotten: bool,
    roles: Vec<Role>,
    names: Vec<String>,
    labels: Vec<(String, String)>,
}

impl Wanted {
    fn take(query: &mut ListQuery) -> Result<Self, Problem> {
        let states = MemberState::ALL.map(|state| (state.as_str(), Some(state)));
        let states = query.words("state", &[&states[..], &[(FORGOTTEN, None)]].concat())?;
        let forgotten = states.contains(&None);
        if forgotten && states.len() > 1 {
            return Err(Problem::bad_request("state: forgotten members are listed by themselves"));
        }
        Ok(Self {
            states: states.into_iter().flatten().collect(),
            forgotten,
            roles: query.words("role", ROLES)?,
            names: query.texts("name"),
            labels: query.labels()?,
        })
    }

    fn takes(&self, member: &Member) -> bool {
        // A label that a member has not got is the empty text, as everywhere.
        let label = |name: &str| member.labels.get(name).map_or("", String::as_str);
        (self.states.is_empty() || self.states.contains(&member.state))
            && (self.roles.is_empty() || self.roles.contains(&member.role))
            && (self.names.is_empty() || self.names.contains(&member.name))
            && self.labels.iter().all(|(name, value)| label(name) == value)
    }

    /// The same of an item of a view that is not gossip's.
    fn takes_item(&self, item: &Value) -> bool {
        let text = |name: &str| item[name].as_str().unwrap_or_default();
        let label = |name: &str| item["labels"].get(name).and_then(Value::as_str).unwrap_or_default();
        let is_role = |role: &Role| ROLES.iter().any(|(word, own)| own == role && *word == text("role"));
        (self.states.is_empty() || self.states.iter().any(|state| state.as_str() == text("state")))
            && (self.roles.is_empty() || self.roles.iter().any(is_role))
            && (self.names.is_empty() || self.names.iter().any(|name| name == text("name")))
            && self.labels.iter().all(|(name, value)| label(name) == value)
    }
}

/// `?view=local|collector|merged`, and `?state=&role=&name=&label=NAME=VALUE`, several of each or with commas between,
/// beside what every list takes.
pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    uri: Uri,
    mut query: ListQuery,
) -> Result<Response, Problem> {
    let kind = query.word("view", VIEWS)?.unwrap_or_default();
    let wanted = Wanted::take(&mut query)?;
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    let registry = match (kind, &shared.registry) {
        (_, _) if wanted.forgotten => return forgotten(&shared, &query, &choice).await,
        (Views::Local, _) => return local(&shared, &query, &wanted, &choice).await,
        (_, None) => return Ok(views::elsewhere(&shared.membership.view(), &uri)),
        (_, Some(registry)) => registry,
    };
    query.wait(registry.index(), |index| registry.later_than(index)).await?;
    let index = registry.index();
    let view = shared.membership.view();
    let items = views::items(kind, &view.members, &registry.nodes());
    let count = |state: MemberState| items.iter().filter(|item| item["state"] == state.as_str()).count();
    let counts = ViewSummary {
        node: view.node.clone(),
        alive: count(MemberState::Alive),
        suspect: count(MemberState::Suspect),
        down: count(MemberState::Down),
        left: count(MemberState::Left),
        generated_at: shared.clock.wall(),
    };
    let list = query.answer(index, items.iter().filter(|item| wanted.takes_item(item)), views::place, &choice);
    Ok(Json(Members { view: Summary { counts, kind }, list }).into_response())
}

async fn local(shared: &Shared, query: &ListQuery, wanted: &Wanted, choice: &Choice) -> Result<Response, Problem> {
    let current = shared.membership.view().index;
    query.wait(current, |index| shared.membership.later_than(index)).await?;
    let view = shared.membership.view();
    let place = |member: &Member| (member.name.clone(), member.id.to_string());
    let list = query.answer(view.index, view.members.iter().filter(|member| wanted.takes(member)), place, choice);
    let counts = ViewSummary::of(&view.node, &view.members, shared.clock.wall());
    Ok(Json(Members { view: Summary { counts, kind: Views::Local }, list }).into_response())
}

/// Those that are forgotten, whatever else is asked for: nothing but who they were is kept.
async fn forgotten(shared: &Shared, query: &ListQuery, choice: &Choice) -> Result<Response, Problem> {
    let current = shared.membership.view().index;
    query.wait(current, |index| shared.membership.later_than(index)).await?;
    let view = shared.membership.view();
    let item = |gone: &Forgotten| json!({"id": gone.id, "name": gone.name, "state": FORGOTTEN, "since": gone.at});
    let items: Vec<Value> = view.forgotten.iter().map(item).collect();
    let place = |item: &Value| (item["id"].as_str().unwrap_or_default().to_owned(), String::new());
    let list = query.answer(view.index, items.iter(), place, choice);
    let counts = ViewSummary::of(&view.node, &view.members, shared.clock.wall());
    Ok(Json(Members { view: Summary { counts, kind: Views::Local }, list }).into_response())
}

pub(super) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(name): Path<String>,
    parts: Parts,
) -> Result<Json<Member>, Problem> {
    ListQuery::bare(&parts)?.finish()?;
    let view = shared.membership.view();
    // An id is nobody else's, whatever somebody is called.
    let by_id = view.members.iter().find(|member| member.id.to_string() == name);
    if let Some(member) = by_id.or_else(|| view.members.iter().find(|member| member.name == name)) {
        return Ok(Json(member.clone()));
    }
    if let Some(gone) = view.forgotten.iter().find(|gone| gone.name == name || gone.id.to_string() == name) {
        let detail = format!("{name} is forgotten since {}; it comes back when it starts again", gone.at);
        return Err(Problem::new(StatusCode::NOT_FOUND, "forgotten", detail));
    }
    let hint = nearest(&name, view.members.iter().map(|member| member.name.as_str()));
    let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
    let detail = format!("{} knows no member called {name}{hint}", view.node);
    Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
}
