//! `/v1/members`: the members as this node sees them, filtered, in pages, and as a blocking query.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use watchfire_shared::document::nearest;
use watchfire_shared::limits::MAX_BLOCKING_WAIT;
use watchfire_shared::member::{Member, MemberList, MemberState, Role, ViewSummary};
use watchfire_shared::time::Span;

use super::Shared;
use super::problem::Problem;
use crate::membership::{Index, MembershipView};

/// Items of a page, if nothing is said; a cluster of a hundred fits one.
const DEFAULT_LIMIT: usize = 100;
/// Items of a page at most. One item has some 400 bytes.
const MAX_LIMIT: usize = 1000;
/// How long a blocking query waits, if nothing is said.
const DEFAULT_WAIT: Span = Span::from_seconds(30);

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Parameters {
    index: Option<String>,
    wait: Option<String>,
    state: Option<String>,
    role: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    parameters: Result<Query<Parameters>, QueryRejection>,
) -> Result<Json<MemberList>, Problem> {
    let Query(parameters) = parameters.map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let filter = Filter::of(&parameters)?;
    let view = awaited(&shared, &parameters).await?;
    Ok(Json(page(&view, &filter, shared.clock.wall())))
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

/// The view, once it is later than the one that the client has.
async fn awaited(shared: &Shared, parameters: &Parameters) -> Result<Arc<MembershipView>, Problem> {
    let wait = match &parameters.wait {
        None => DEFAULT_WAIT,
        Some(text) => {
            Span::parse(text).map_err(|error| Problem::bad_request(format!("wait: {error}, found {text:?}")))?
        }
    };
    let view = shared.membership.view();
    let Some(index) = &parameters.index else { return Ok(view) };
    let index: Index = index.parse().map_err(|error| Problem::bad_request(format!("index: {error}")))?;
    if index.epoch != view.index.epoch || index.counter > view.index.counter {
        let detail = format!("the index {index} is of another life of this program; begin again without one");
        return Err(Problem::new(StatusCode::GONE, "index_gone", detail));
    }
    let wait = wait.min(MAX_BLOCKING_WAIT).to_std();
    let later = tokio::time::timeout(wait, shared.membership.later_than(index)).await;
    Ok(later.unwrap_or_else(|_| shared.membership.view()))
}

struct Filter {
    state: Option<MemberState>,
    role: Option<Role>,
    limit: usize,
    after: Option<String>,
}

impl Filter {
    fn of(parameters: &Parameters) -> Result<Self, Problem> {
        let states: Vec<(&str, MemberState)> = MemberState::ALL.iter().map(|state| (state.as_str(), *state)).collect();
        let roles = [("agent", Role::Agent), ("collector", Role::Collector)];
        let limit = parameters.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            return Err(Problem::bad_request(format!("limit: {limit} is not between 1 and {MAX_LIMIT}")));
        }
        Ok(Self {
            state: word("state", parameters.state.as_deref(), &states)?,
            role: word("role", parameters.role.as_deref(), &roles)?,
            limit,
            after: parameters.cursor.clone(),
        })
    }

    fn takes(&self, member: &Member) -> bool {
        self.state.is_none_or(|state| state == member.state) && self.role.is_none_or(|role| role == member.role)
    }
}

fn word<T: Copy>(name: &str, text: Option<&str>, words: &[(&str, T)]) -> Result<Option<T>, Problem> {
    let Some(text) = text else { return Ok(None) };
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(Some(*value));
    }
    let names: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    Err(Problem::bad_request(format!("{name}: expected one of {}, found {text:?}", names.join(", "))))
}

/// One page. A cursor is the place of the last item in the order of the list, so that members which come and go between
/// two pages neither repeat nor hide others.
fn page(view: &MembershipView, filter: &Filter, now: watchfire_shared::time::Timestamp) -> MemberList {
    let place = |member: &Member| format!("{}/{}", member.name, member.id);
    let behind = |member: &Member| {
        filter.after.as_ref().is_none_or(|after| {
            let (name, id) = after.rsplit_once('/').unwrap_or((after, ""));
            (member.name.as_str(), member.id.to_string().as_str()) > (name, id)
        })
    };
    let mut items = view.members.iter().filter(|member| filter.takes(member) && behind(member));
    let page: Vec<Member> = items.by_ref().take(filter.limit).cloned().collect();
    let next_cursor = items.next().and(page.last()).map(place);
    MemberList {
        view: ViewSummary::of(&view.node, &view.members, now),
        index: view.index.to_string(),
        next_cursor,
        items: page,
    }
}
