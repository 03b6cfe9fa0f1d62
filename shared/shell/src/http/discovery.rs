//! `/v1/sd/prometheus`: the agents as targets for an existing Prometheus (its `http_sd_configs`).
//!
//! Prometheus keeps its targets while this answers with an error, and drops those that an answer leaves out. So an answer is
//! the whole list, the dead included, or an error that says what is in doubt; it is empty only where nobody ever was.
//! Addresses are those that agents announce (`[http] bind`, or `advertise`). One that listens on its loopback only cannot be
//! reached from another host, where the same address would be somebody else: it is left out.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;
use tokio::time::Instant;
use watchfire_gossip::Contact;
use watchfire_shared::member::{Member, MemberState, Role, SERVICE_HTTP};

use super::list::ListQuery;
use super::members::ROLES;
use super::problem::Problem;
use crate::membership::{MembershipHandle, MembershipView};

/// When a client may try again after a doubt, seconds: most doubts are a program that starts.
const RETRY_AFTER: &str = "5";
/// Who is alone for longer than this after its start was not just waiting to be joined again, for members look for one that
/// they lost.
const LONELY_START: Duration = Duration::from_secs(10);
/// Nodes with this label come and go; one that is gone is no target any more.
const EPHEMERAL: &str = "ephemeral";

/// Which members are to be listed, or what is in doubt.
type Listing = dyn Fn(&MembershipView) -> Result<Vec<Member>, String> + Send + Sync;

struct Discovery {
    membership: MembershipHandle,
    listing: Box<Listing>,
    started: Instant,
}

/// One group of targets, as Prometheus reads it.
#[derive(Serialize)]
struct Group {
    targets: [String; 1],
    labels: BTreeMap<String, String>,
}

/// The route `/v1/sd/prometheus`; `listing` knows more of the members than gossip does, or hands them on as they are.
pub fn discovery_routes(
    membership: MembershipHandle,
    listing: impl Fn(&MembershipView) -> Result<Vec<Member>, String> + Send + Sync + 'static,
) -> Router {
    let discovery = Discovery { membership, listing: Box::new(listing), started: Instant::now() };
    Router::new().route("/v1/sd/prometheus", get(prometheus)).with_state(Arc::new(discovery))
}

/// `?role=agent|collector` (default: agents), `?label=NAME=VALUE`.
async fn prometheus(State(discovery): State<Arc<Discovery>>, parts: Parts) -> Response {
    match groups(&discovery, &parts) {
        Ok(groups) => Json(groups).into_response(),
        Err(problem) if problem.status() == StatusCode::SERVICE_UNAVAILABLE => {
            ([(header::RETRY_AFTER, RETRY_AFTER)], problem).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

fn groups(discovery: &Discovery, parts: &Parts) -> Result<Vec<Group>, Problem> {
    let mut query = ListQuery::bare(parts)?;
    let roles = query.words("role", ROLES)?;
    let labels = query.labels()?;
    query.finish()?;
    let view = discovery.membership.view();
    let contact = discovery.membership.contact();
    let is_known = match contact {
        Contact::Alone if discovery.started.elapsed() < LONELY_START => {
            Err(format!("{} has just started and heard nobody yet", view.node))
        }
        _ => certain(&view.node, contact, &discovery.membership.pools_in(contact)),
    };
    let members = is_known.and_then(|()| (discovery.listing)(&view)).map_err(in_doubt)?;
    let label = |member: &Member, name: &str| member.labels.get(name).cloned().unwrap_or_default();
    let members = members.iter().filter(|member| {
        let has_role = if roles.is_empty() { member.role == Role::Agent } else { roles.contains(&member.role) };
        has_role && !is_dismissed(member) && labels.iter().all(|(name, value)| label(member, name) == *value)
    });
    let (mut groups, mut hidden) = (Vec::new(), Vec::new());
    for member in members {
        match address(member, &view) {
            Ok(Some(address)) => groups.push(group(member, address)),
            Ok(None) => {}
            Err(Unreachable) => hidden.push(member.name.as_str()),
        }
    }
    if groups.is_empty() && !hidden.is_empty() {
        let names = hidden.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        return Err(in_doubt(format!(
            "{} agents serve /metrics on their loopback only ({names}); set [http] bind there",
            hidden.len()
        )));
    }
    Ok(groups)
}

fn in_doubt(detail: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "in_doubt", detail)
}

/// Whether this node's view of the members is one to build on.
fn certain(node: &str, contact: Contact, pools: &[&str]) -> Result<(), String> {
    let of_pools = match pools {
        [] => String::new(),
        pools => format!(" of {}", pools.join(" and ")),
    };
    match contact {
        Contact::Connected | Contact::Alone => Ok(()),
        Contact::Joining => {
            Err(format!("{node} has just started and has not compared its view with any member{of_pools}"))
        }
        Contact::CutOff => Err(format!("{node} hears none of the members that it knows{of_pools}; it may be cut off")),
    }
}

fn is_dismissed(member: &Member) -> bool {
    let is_gone = matches!(member.state, MemberState::Down | MemberState::Left);
    is_gone && member.labels.get(EPHEMERAL).is_some_and(|value| value == "true")
}

struct Unreachable;

/// Where a member serves its metrics; `None` if it has not said so.
fn address(member: &Member, view: &MembershipView) -> Result<Option<SocketAddr>, Unreachable> {
    let Some(address) = member.services.get(SERVICE_HTTP) else { return Ok(None) };
    // A member that gossips on its loopback shares its host with everybody who can hear it.
    let host = member.addr.ip().to_canonical();
    let is_own = |member: &Member| member.name == view.node && member.addr.ip().to_canonical() == host;
    let is_near = host.is_loopback() || view.members.iter().any(is_own);
    if address.ip().to_canonical().is_loopback() && !is_near { Err(Unreachable) } else { Ok(Some(*address)) }
}

fn group(member: &Member, address: SocketAddr) -> Group {
    let role = ROLES.iter().find(|(_, role)| *role == member.role).map_or("", |(word, _)| word);
    let own = [
        ("name", member.name.clone()),
        ("id", member.id.to_string()),
        ("role", role.to_owned()),
        ("state", member.state.as_str().to_owned()),
        ("version", member.version.clone()),
        ("gossip_address", member.addr.to_string()),
    ];
    let own = own.into_iter().map(|(name, value)| (format!("__meta_watchfire_{name}"), value));
    let labels = member.labels.iter().map(|(name, value)| {
        // As Prometheus' own discoveries write names that are no label names.
        let name = name.replace(|char: char| !char.is_ascii_alphanumeric(), "_");
        (format!("__meta_watchfire_label_{name}"), value.clone())
    });
    Group { targets: [address.to_string()], labels: own.chain(labels).collect() }
}
