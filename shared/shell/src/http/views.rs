//! `/v1/members?view=`: whose word counts. `local` is what gossip says here; `collector` is what the reports of registered
//! nodes say to a collector; `merged` is the worse of both, and each item says which of the two said it.

use std::pin::Pin;

use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use watchfire_shared::member::{Member, MemberState, NodeId, Role, SERVICE_HTTP};
use watchfire_shared::time::Timestamp;

use super::problem::Problem;
use crate::membership::{Index, MembershipView};

/// Whose word counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Views {
    #[default]
    Local,
    Collector,
    Merged,
}

pub(super) const VIEWS: &[(&str, Views)] =
    &[("local", Views::Local), ("collector", Views::Collector), ("merged", Views::Merged)];

/// A node that a collector has registered, and what its reports say.
#[derive(Clone, PartialEq, Debug)]
pub struct Registered {
    /// `None` if nobody has seen it yet.
    pub id: Option<NodeId>,
    pub name: String,
    pub role: Role,
    pub labels: Value,
    pub version: String,
    /// `None`: nothing can be said.
    pub state: Option<MemberState>,
    pub last_report_at: Option<Timestamp>,
}

/// A collector's registered nodes, for the views that go by them.
pub trait Registry: Send + Sync {
    /// The version of what [`Registry::nodes`] gives.
    fn index(&self) -> Index;
    /// Waits until it is later than `index`.
    fn later_than<'a>(&'a self, index: Index) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    fn nodes(&self) -> Vec<Registered>;
}

/// The members as `nodes` and gossip's `members` have them, by name and id.
pub(super) fn items(kind: Views, members: &[Member], nodes: &[Registered]) -> Vec<Value> {
    let of_node = |node: &Registered| {
        let member = members.iter().find(|member| Some(member.id) == node.id);
        item(kind, member, Some(node))
    };
    let mut items: Vec<Value> = nodes.iter().map(of_node).collect();
    if kind == Views::Merged {
        let is_new = |member: &&Member| nodes.iter().all(|node| node.id != Some(member.id));
        items.extend(members.iter().filter(is_new).map(|member| item(kind, Some(member), None)));
    }
    items.sort_by_key(place);
    items
}

/// Where an item stands in the list.
pub(super) fn place(item: &Value) -> (String, String) {
    let text = |name: &str| item[name].as_str().unwrap_or_default().to_owned();
    (text("name"), text("id"))
}

fn item(kind: Views, member: Option<&Member>, node: Option<&Registered>) -> Value {
    let mut item = match (member, node) {
        (Some(member), _) => serde_json::to_value(member).unwrap_or_default(),
        (None, Some(node)) => json!({"id": node.id, "name": node.name, "addr": null, "since": null, "role": node.role,
            "labels": node.labels, "version": node.version, "suspected_by": [], "conditions": []}),
        (None, None) => json!({}),
    };
    let local = member.map(|member| member.state);
    let collector = node.and_then(|node| node.state);
    let (state, by) = match kind {
        Views::Local => (local, "local"),
        Views::Collector => (collector, "collector"),
        Views::Merged => worse(local, collector),
    };
    item["state"] = json!(state);
    item["said_by"] = json!(by);
    item["says"] = json!({"local": local, "collector": collector});
    item["last_report_at"] = json!(node.and_then(|node| node.last_report_at));
    item
}

/// The worse of what gossip and reports say, and who says it.
fn worse(local: Option<MemberState>, collector: Option<MemberState>) -> (Option<MemberState>, &'static str) {
    let badness = |state: MemberState| match state {
        MemberState::Alive => 0,
        MemberState::Left => 1,
        MemberState::Suspect => 2,
        MemberState::Down => 3,
    };
    match (local, collector) {
        (Some(local), Some(collector)) if local == collector => (Some(local), "both"),
        // Who said goodbye reports no more: that is no second opinion.
        (Some(MemberState::Left), _) => (local, "local"),
        (Some(here), Some(there)) if badness(there) > badness(here) => (collector, "collector"),
        (None, _) => (collector, "collector"),
        (Some(_), _) => (local, "local"),
    }
}

/// Where to ask for another view than one's own, from a node that has none: at a collector that is alive.
pub(super) fn elsewhere(view: &MembershipView, uri: &Uri) -> Response {
    let is_alive = |member: &&Member| member.role == Role::Collector && member.state == MemberState::Alive;
    let address = view.members.iter().filter(is_alive).find_map(|member| member.services.get(SERVICE_HTTP));
    let Some(address) = address else {
        let detail = format!("{} knows no collector that is alive, and only collectors have this view", view.node);
        return Problem::new(StatusCode::SERVICE_UNAVAILABLE, "no_collector", detail).into_response();
    };
    let location = format!("http://{address}{}", uri.path_and_query().map_or("/", |path| path.as_str()));
    let detail = format!("only collectors have this view: ask {location}");
    let problem = Problem::new(StatusCode::TEMPORARY_REDIRECT, "ask_collector", detail);
    ([(header::LOCATION, location)], problem).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::membership::tests::member;

    fn node(number: u64, state: Option<MemberState>) -> Registered {
        Registered {
            id: Some(NodeId(number)),
            name: format!("node-{number}"),
            role: Role::Agent,
            labels: json!({}),
            version: String::new(),
            state,
            last_report_at: None,
        }
    }

    #[test]
    fn the_worse_word_counts_and_says_whose_it_is() {
        use MemberState::{Alive, Down, Left};
        let members = [member(1, Alive), member(2, Down), member(3, Left), member(4, Alive)];
        let nodes =
            [node(1, Some(Down)), node(2, Some(Alive)), node(3, Some(Down)), node(5, Some(Alive)), node(6, None)];
        let told = |kind| -> Vec<String> {
            let told =
                |item: &Value| format!("{} {} {}", item["name"].as_str().unwrap(), item["state"], item["said_by"]);
            items(kind, &members, &nodes).iter().map(told).collect()
        };
        let merged = [
            r#"node-1 "down" "collector""#,
            r#"node-2 "down" "local""#,
            r#"node-3 "left" "local""#,
            r#"node-4 "alive" "local""#,
            r#"node-5 "alive" "collector""#,
            r#"node-6 null "collector""#,
        ];
        assert_eq!(told(Views::Merged), merged);
        assert_eq!(told(Views::Collector)[0], r#"node-1 "down" "collector""#);
        assert_eq!(told(Views::Collector).len(), 5, "who is not registered has no reports");
    }
}
