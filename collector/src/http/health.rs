//! `/v1/health`: how well groups of nodes are, by any of their labels.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::view::{Health, NodeView};
use watchfire_shell::http::{List, ListQuery, Problem};

use super::App;
use super::nodes::{Filter, HEALTH};

/// Labels to group by. Beyond that every node would be a group.
const MAX_LABELS: usize = 8;
/// Names in a reason. Who wants all of them asks `/v1/nodes`.
const MAX_NAMES: usize = 5;

/// What `filter` and `fields` may name.
const FIELDS: &[&str] = &["group", "nodes", "ok", "degraded", "down", "unknown", "maintenance", "health", "reasons"];

/// The nodes that agree in the labels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct GroupHealth {
    /// The labels with their values; one that a node has not got is empty.
    group: BTreeMap<String, String>,
    nodes: usize,
    ok: usize,
    degraded: usize,
    down: usize,
    unknown: usize,
    maintenance: usize,
    /// The worst of its nodes; those in maintenance count for nothing.
    health: Health,
    /// Why it is not `ok`, the worst reason first.
    reasons: Vec<String>,
}

/// `?by=LABEL`, several times or with commas between; without, all nodes are one group.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    mut query: ListQuery,
) -> Result<Json<List<GroupHealth>>, Problem> {
    let by = query.texts("by");
    let by = labels_of(&by)?;
    let filter = Filter::take(&mut query)?;
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let view = app.published.view();
    let groups = group(view.nodes.iter().filter(|node| filter.takes(node)), &by);
    Ok(Json(query.answer(index, groups.iter(), |group| (place(group, &by), String::new()), &choice)))
}

/// The labels that `by` names, several times or with commas between.
///
/// # Errors
/// If one is empty, or there are too many.
pub(super) fn labels_of(by: &[String]) -> Result<Vec<&str>, Problem> {
    let by: Vec<&str> = by.iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    if by.iter().any(|label| label.is_empty()) {
        return Err(Problem::bad_request("by: expected the name of a label, found an empty text"));
    }
    if by.len() > MAX_LABELS {
        return Err(Problem::bad_request(format!("by: {} labels; at most {MAX_LABELS} are allowed", by.len())));
    }
    Ok(by)
}

/// Where a group stands in the list.
fn place(group: &GroupHealth, by: &[&str]) -> String {
    let values: Vec<&str> = by.iter().filter_map(|label| group.group.get(*label)).map(String::as_str).collect();
    values.join("/")
}

fn group<'a>(nodes: impl Iterator<Item = &'a NodeView>, by: &[&str]) -> Vec<GroupHealth> {
    let mut groups: BTreeMap<Vec<&str>, Vec<&NodeView>> = BTreeMap::new();
    for node in nodes {
        let values = by.iter().map(|label| node.labels.get(*label).map_or("", String::as_str)).collect();
        groups.entry(values).or_default().push(node);
    }
    let mut groups: Vec<GroupHealth> = groups.into_iter().map(|(values, nodes)| judge(by, &values, &nodes)).collect();
    groups.sort_by_key(|group| place(group, by));
    groups
}

fn judge(by: &[&str], values: &[&str], nodes: &[&NodeView]) -> GroupHealth {
    let count = |health: Health| nodes.iter().filter(|node| node.health == health).count();
    let reasons = [Health::Down, Health::Degraded, Health::Unknown];
    GroupHealth {
        group: by.iter().zip(values).map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect(),
        nodes: nodes.len(),
        ok: count(Health::Ok),
        degraded: count(Health::Degraded),
        down: count(Health::Down),
        unknown: count(Health::Unknown),
        maintenance: count(Health::Maintenance),
        health: nodes.iter().map(|node| node.health).max().unwrap_or(Health::Ok),
        reasons: reasons.into_iter().filter_map(|health| reason(nodes, health)).collect(),
    }
}

/// How many are not well in this way, and which.
fn reason(nodes: &[&NodeView], health: Health) -> Option<String> {
    let names: Vec<&str> = nodes.iter().filter(|node| node.health == health).map(|node| node.name.as_str()).collect();
    let word = HEALTH.iter().find(|(_, own)| *own == health).map(|(word, _)| *word)?;
    let more = match names.len().saturating_sub(MAX_NAMES) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let listed = names[..names.len().min(MAX_NAMES)].join(", ");
    (!names.is_empty()).then(|| format!("{} of {} {word}: {listed}{more}", names.len(), nodes.len()))
}

#[cfg(test)]
mod tests {
    use watchfire_collector_core::view::AlertCounts;
    use watchfire_shared::member::Role;

    use super::*;

    fn node(name: &str, role: Option<&str>, health: Health) -> NodeView {
        NodeView {
            target: None,
            id: None,
            name: name.to_owned(),
            role: Role::Agent,
            state: None,
            gossip: true,
            health,
            reasons: Vec::new(),
            last_report_at: None,
            clock_offset_seconds: None,
            alerts: AlertCounts::default(),
            labels: role.map(|role| ("role".to_owned(), role.to_owned())).into_iter().collect(),
            version: String::new(),
            maintenance_until: None,
        }
    }

    #[test]
    fn a_group_is_as_well_as_its_worst_node_that_counts() {
        let nodes = [
            node("web-1", Some("web"), Health::Ok),
            node("web-2", Some("web"), Health::Maintenance),
            node("db-1", Some("db"), Health::Degraded),
            node("db-2", Some("db"), Health::Down),
            node("cache-1", Some("cache"), Health::Maintenance),
            node("odd", None, Health::Unknown),
        ];
        let shown = |by: &[&str]| serde_json::to_value(group(nodes.iter(), by)).unwrap();
        let item = |role: &str, counts: [usize; 6], health: &str, reasons: &[&str]| {
            let [nodes, ok, degraded, down, unknown, maintenance] = counts;
            serde_json::json!({"group": {"role": role}, "nodes": nodes, "ok": ok, "degraded": degraded, "down": down,
                "unknown": unknown, "maintenance": maintenance, "health": health, "reasons": reasons})
        };
        let expected = serde_json::json!([
            item("", [1, 0, 0, 0, 1, 0], "unknown", &["1 of 1 unknown: odd"]),
            item("cache", [1, 0, 0, 0, 0, 1], "maintenance", &[]),
            item("db", [2, 0, 1, 1, 0, 0], "down", &["1 of 2 down: db-2", "1 of 2 degraded: db-1"]),
            item("web", [2, 1, 0, 0, 0, 1], "ok", &[]),
        ]);
        assert_eq!(shown(&["role"]), expected);
        let all = &shown(&[])[0];
        assert_eq!((&all["group"], &all["nodes"], &all["health"]), (&serde_json::json!({}), &6.into(), &"down".into()));
    }

    #[test]
    fn a_reason_names_a_few_nodes_and_counts_the_rest() {
        let nodes: Vec<NodeView> = (0..7).map(|n| node(&format!("n{n}"), None, Health::Down)).collect();
        let reasons = group(nodes.iter(), &[]).remove(0).reasons;
        assert_eq!(reasons, ["7 of 7 down: n0, n1, n2, n3, n4 and 2 more"]);
    }
}
