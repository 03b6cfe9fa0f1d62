//! `/v1/keys`: the keys of encrypted gossip, which member holds which, and changes of them.
//!
//! A key itself never leaves a member: it is named by its id. Nobody proves here who they are, so changes are taken on
//! loopback only.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use watchfire_gossip::{GossipKey, KeyOp, KeyRefusal};
use watchfire_shared::member::{KeyId, Member, MemberState, ViewSummary};
use watchfire_shell::gossip::DEFAULT_POOL;
use watchfire_shell::http::{ListQuery, Problem};
use watchfire_shell::membership::{MembershipHandle, MembershipView};

use super::App;
use super::catalogue::check_local;

/// The answer of `GET /v1/keys`.
#[derive(Serialize)]
pub(super) struct KeyList {
    view: ViewSummary,
    index: String,
    next_cursor: Option<String>,
    items: Vec<KeyItem>,
    nodes: Vec<KeyNode>,
}

/// A key that some member holds.
#[derive(Serialize)]
struct KeyItem {
    id: KeyId,
    /// Whether this collector encrypts with it.
    primary: bool,
    /// Members that hold it, and of them those that encrypt with it.
    installed: usize,
    primary_on: usize,
    /// Known members, whatever their state, that do not hold it.
    missing: Vec<String>,
}

/// What one member holds.
#[derive(Serialize)]
struct KeyNode {
    id: String,
    name: String,
    state: MemberState,
    /// The one that it encrypts with first.
    keys: Vec<KeyId>,
    primary: Option<KeyId>,
    /// The latest change of keys that it took part in.
    order: u64,
    /// Why it could not make the latest one.
    #[serde(skip_serializing_if = "str::is_empty")]
    error: String,
}

/// What is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    op: Word,
    /// For `install` a key of 64 hexadecimal digits, or nothing for a new one; otherwise the id of an installed key.
    #[serde(default)]
    key: String,
    /// Which pool's keys, if this collector is in several.
    #[serde(default)]
    pool: Option<String>,
}

#[derive(Deserialize, Serialize, Clone, Copy)]
#[serde(rename_all = "lowercase")]
enum Word {
    Install,
    Use,
    Remove,
}

/// The answer of `POST /v1/keys`: the change is made here, and these members are being told.
#[derive(Serialize)]
pub(super) struct Ordered {
    op: Word,
    key: KeyId,
    /// Known members that have not made it yet.
    waiting_for: Vec<String>,
}

/// `GET /v1/keys`
pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<KeyList>, Problem> {
    let pool = query.text("pool");
    query.finish()?;
    let membership = in_pool(&app, pool.as_deref())?;
    query.wait(membership.view().index, |index| membership.later_than(index)).await?;
    let view = membership.view();
    let own = app.membership.id();
    let primary = view.members.iter().find(|member| member.id == own).and_then(|member| member.keys.primary());
    let mut ids: Vec<KeyId> = view.members.iter().flat_map(|member| member.keys.ids.iter().copied()).collect();
    ids.sort_unstable_by_key(|id| (Some(*id) != primary, *id));
    ids.dedup();
    Ok(Json(KeyList {
        view: ViewSummary::of(&view.node, &view.members, app.clock.wall()),
        index: view.index.to_string(),
        next_cursor: None,
        items: ids.into_iter().map(|id| item(&view, id, primary)).collect(),
        nodes: view.members.iter().map(node).collect(),
    }))
}

/// The membership of one pool, each of which has keys of its own; the first one's if none is named.
fn in_pool<'a>(app: &'a App, name: Option<&str>) -> Result<&'a MembershipHandle, Problem> {
    let pools = app.membership.pools();
    let named = pools.iter().find(|(own, _)| own == name.unwrap_or(DEFAULT_POOL));
    match (named, name) {
        (Some((_, membership)), _) => Ok(membership),
        (None, None | Some(DEFAULT_POOL)) => Ok(&app.membership),
        (None, Some(name)) => {
            let names: Vec<&str> = pools.iter().map(|(own, _)| own.as_str()).collect();
            let detail = format!("pool: expected one of {}, found {name:?}", names.join(", "));
            Err(Problem::bad_request(detail))
        }
    }
}

fn item(view: &MembershipView, id: KeyId, primary: Option<KeyId>) -> KeyItem {
    let (holders, others): (Vec<&Member>, Vec<&Member>) = view.members.iter().partition(|member| member.keys.holds(id));
    KeyItem {
        id,
        primary: primary == Some(id),
        installed: holders.len(),
        primary_on: holders.iter().filter(|member| member.keys.primary() == Some(id)).count(),
        missing: others.iter().map(|member| member.name.clone()).collect(),
    }
}

fn node(member: &Member) -> KeyNode {
    KeyNode {
        id: member.id.to_string(),
        name: member.name.clone(),
        state: member.state,
        keys: member.keys.ids.clone(),
        primary: member.keys.primary(),
        order: member.keys.order,
        error: member.keys.trouble.clone(),
    }
}

/// `POST /v1/keys {"op": "install" | "use" | "remove", "key": ""}`: answered once this collector has made the change and
/// its key file has it.
pub(super) async fn order(State(app): State<Arc<App>>, body: Bytes) -> Result<Json<Ordered>, Problem> {
    check_local(&app)?;
    let expected = "expected {\"op\": \"install\"}, or {\"op\": \"use\" or \"remove\", \"key\": \"(its id)\"}";
    // The message of the parser could repeat a part of a key.
    let order: Order = serde_json::from_slice(&body)
        .map_err(|_| Problem::bad_request(format!("the body cannot be read; {expected}")))?;
    let op = resolve(&order)?;
    let membership = in_pool(&app, order.pool.as_deref())?;
    membership.order_keys(op.clone()).await.map_err(refused)?;
    let others = membership.view();
    let own = app.membership.id();
    let waits = |member: &&Member| member.id != own && !op.is_made(&member.keys);
    let waiting_for = others.members.iter().filter(waits).map(|member| member.name.clone()).collect();
    Ok(Json(Ordered { op: order.op, key: op.key(), waiting_for }))
}

fn resolve(order: &Order) -> Result<KeyOp, Problem> {
    let text = order.key.trim();
    let id = || match (text.parse::<KeyId>(), text.parse::<GossipKey>()) {
        (Ok(id), _) => Ok(id),
        (_, Ok(key)) => Ok(key.id()),
        _ => Err(Problem::bad_request("key: expected the id of a key, 8 hexadecimal digits".to_owned())),
    };
    match order.op {
        Word::Install if text.is_empty() => Ok(KeyOp::Install(GossipKey::new(rand::random()))),
        Word::Install => {
            text.parse().map(KeyOp::Install).map_err(|error| Problem::bad_request(format!("key: {error}")))
        }
        Word::Use => id().map(KeyOp::Use),
        Word::Remove => id().map(KeyOp::Remove),
    }
}

fn refused(refusal: Option<KeyRefusal>) -> Problem {
    let Some(refusal) = refusal else {
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the collector is stopping");
    };
    let (status, code) = match &refusal {
        KeyRefusal::Plain => (StatusCode::CONFLICT, "not_encrypted"),
        KeyRefusal::Unknown(_) => (StatusCode::NOT_FOUND, "not_found"),
        KeyRefusal::Full | KeyRefusal::InUse { .. } | KeyRefusal::Busy => (StatusCode::CONFLICT, "conflict"),
        KeyRefusal::Lacking { .. } => (StatusCode::CONFLICT, "blocked"),
        KeyRefusal::File(_) => (StatusCode::INTERNAL_SERVER_ERROR, "not_written"),
    };
    Problem::new(status, code, refusal.to_string())
}
