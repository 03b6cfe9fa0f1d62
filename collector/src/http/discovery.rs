//! `/v1/sd/prometheus` of a collector: gossip's members, held against the nodes that are registered.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Router;
use watchfire_collector_core::view::NodeView;
use watchfire_shared::member::{Member, MemberState, NodeId, Role};
use watchfire_shared::time::Span;
use watchfire_shell::http::discovery_routes;
use watchfire_shell::membership::MembershipView;

use super::App;

/// How long registered nodes may lack a member after a start. By then they are known to be missing.
const GATHERING: Span = Span::from_seconds(120);

pub(super) fn routes(app: &Arc<App>) -> Router {
    let app = app.clone();
    discovery_routes(app.membership.clone(), move |members| {
        if app.stopping.load(Ordering::Relaxed) {
            return Err("the collector is stopping".to_owned());
        }
        let gathers = app.clock.wall().since(app.started_at) < GATHERING;
        listed(members, &app.published.view().nodes, gathers)
    })
}

/// The members that are to be targets: those that live, and of those that are gone the ones that are still registered.
///
/// # Errors
/// If the collector `gathers` its members after a start, and some that are registered are not among them yet.
fn listed(members: &MembershipView, nodes: &[NodeView], gathers: bool) -> Result<Vec<Member>, String> {
    let known: BTreeSet<NodeId> = members.members.iter().map(|member| member.id).collect();
    // Who never gossiped has no state, and no address that could be told.
    let agents = || nodes.iter().filter(|node| node.role == Role::Agent && node.state.is_some());
    let missing: Vec<&str> =
        agents().filter(|node| node.id.is_some_and(|id| !known.contains(&id))).map(|node| node.name.as_str()).collect();
    if gathers && !missing.is_empty() {
        let names = missing.iter().take(3).copied().collect::<Vec<_>>().join(", ");
        return Err(format!(
            "{} of {} registered agents are not among the members yet ({names})",
            missing.len(),
            agents().count()
        ));
    }
    let registered: BTreeSet<NodeId> = nodes.iter().filter_map(|node| node.id).collect();
    let is_gone = |member: &Member| matches!(member.state, MemberState::Down | MemberState::Left);
    let stays = |member: &&Member| !is_gone(member) || registered.contains(&member.id);
    Ok(members.members.iter().filter(stays).cloned().collect())
}

#[cfg(test)]
mod tests {
    use watchfire_collector_core::view::{AlertCounts, Health};
    use watchfire_shared::time::Timestamp;

    use super::*;

    fn node(number: u64, state: Option<MemberState>) -> NodeView {
        NodeView {
            id: Some(NodeId(number)),
            name: format!("web-{number}"),
            role: Role::Agent,
            state,
            gossip: true,
            health: Health::Ok,
            reasons: Vec::new(),
            last_report_at: None,
            clock_offset_seconds: None,
            alerts: AlertCounts::default(),
            labels: Default::default(),
            version: String::new(),
            maintenance_until: None,
            target: None,
        }
    }

    fn member(number: u64, state: &str) -> Member {
        let member = serde_json::json!({"id": NodeId(number), "name": format!("web-{number}"), "addr": "10.0.0.1:7950",
            "state": state, "since": Timestamp::EPOCH, "incarnation": 0, "generation": 1, "role": "agent", "labels": {},
            "version": "", "services": {}, "rtt_ms": null, "suspected_by": [], "cause": null});
        serde_json::from_value(member).unwrap()
    }

    #[test]
    fn a_collector_that_gathers_says_so_and_what_was_decommissioned_is_no_target() {
        let nodes = [node(1, Some(MemberState::Alive)), node(2, Some(MemberState::Down)), node(3, None)];
        let view = |members: Vec<Member>| MembershipView { members, ..MembershipView::default() };
        let some = view(vec![member(1, "alive")]);
        let doubt = listed(&some, &nodes, true).unwrap_err();
        assert_eq!(doubt, "1 of 2 registered agents are not among the members yet (web-2)");
        assert_eq!(listed(&some, &nodes, false).unwrap(), some.members);
        let all = view(vec![member(1, "alive"), member(2, "down"), member(4, "down"), member(5, "alive")]);
        let names: Vec<String> = listed(&all, &nodes, true).unwrap().into_iter().map(|member| member.name).collect();
        assert_eq!(names, ["web-1", "web-2", "web-5"], "4 is gone and not registered; 5 is new");
    }
}
