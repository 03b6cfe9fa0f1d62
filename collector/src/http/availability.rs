//! `/v1/availability`: which part of a window nodes, or groups of them, were up, and how that is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use watchfire_collector_core::availability::{Agent, DEFAULT_WINDOW, Figures, Tally, Window, of_agent, of_former};
use watchfire_collector_core::view::View;
use watchfire_shared::document::nearest;
use watchfire_shared::member::Role;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_shell::http::{List, ListQuery, Problem};

use super::App;
use super::health::labels_of;
use super::history::time;
use super::nodes::Filter;

/// What `filter` and `fields` may name: see [`Item`] and [`Figures`].
const FIELDS: &[&str] = &[
    "group",
    "nodes",
    "from",
    "to",
    "availability_ratio",
    "coverage_ratio",
    "lower_ratio",
    "upper_ratio",
    "up_seconds",
    "degraded_seconds",
    "down_seconds",
    "unknown_seconds",
    "maintenance_seconds",
    "outages",
    "mttr_seconds",
    "mttf_seconds",
    "mtbf_seconds",
    "mtbf_exceeds_seconds",
    "failures_per_hour",
    "failures_per_hour_low",
    "failures_per_hour_high",
    "longest_outages",
];

/// A node's name and labels, and what it went through.
type Told = (String, BTreeMap<String, String>, Tally);

/// One node, or the nodes that agree in some labels.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub(super) struct Item {
    /// `{"node": NAME}`, or the labels that were asked for with their values.
    group: BTreeMap<String, String>,
    nodes: usize,
    from: Timestamp,
    to: Timestamp,
    #[serde(flatten)]
    figures: Figures,
}

/// `?window=30d&to=&by=LABEL&node=` and the filters of `/v1/nodes`: every node by itself, or groups with `by`.
pub(super) async fn list(State(app): State<Arc<App>>, mut query: ListQuery) -> Result<Json<List<Item>>, Problem> {
    let by = query.texts("by");
    let by = labels_of(&by)?;
    let length = query.text("window").map_or(Ok(DEFAULT_WINDOW), |text| window(&text))?;
    let to = time(&mut query, "to")?;
    let node = query.text("node");
    let filter = Filter::take(&mut query)?;
    let choice = query.choose(FIELDS)?;
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let view = app.published.view();
    // What has not happened yet is no part of any window.
    let now = app.clock.wall();
    let to = to.map_or(now, |to| to.min(now));
    let window = Window { from: to - length, to };
    let tallies = tallies(&view, window, node.as_deref(), &filter)?;
    let mut groups: BTreeMap<Vec<String>, Tally> = BTreeMap::new();
    for (name, labels, tally) in tallies {
        let values = by.iter().map(|label| labels.get(*label).cloned().unwrap_or_default());
        let key = if by.is_empty() { vec![name] } else { values.collect() };
        groups.entry(key).or_default().add(tally);
    }
    let names = if by.is_empty() { vec!["node"] } else { by };
    let item = |(values, tally): (Vec<String>, Tally)| Item {
        group: names.iter().map(|name| (*name).to_owned()).zip(values).collect(),
        nodes: tally.nodes,
        from: window.from,
        to: window.to,
        figures: tally.figures(),
    };
    let items: Vec<Item> = groups.into_iter().map(item).collect();
    let place = |item: &Item| {
        let values = names.iter().filter_map(|name| item.group.get(*name)).map(String::as_str);
        (values.collect::<Vec<_>>().join("\u{1}"), String::new())
    };
    Ok(Json(query.answer(index, items.iter(), place, &choice)))
}

/// Every agent that is there, and those that were there in the window, with labels.
fn tallies(view: &View, window: Window, wanted: Option<&str>, filter: &Filter) -> Result<Vec<Told>, Problem> {
    let (history, own, policy) = (&view.history, &view.node, view.availability);
    let is_wanted = |name: &str| wanted.is_none_or(|wanted| wanted == name);
    let agents = view.nodes.iter().filter(|node| node.role == Role::Agent);
    let named: Vec<&str> = agents.clone().map(|node| node.name.as_str()).collect();
    let there = agents.filter(|node| is_wanted(&node.name) && filter.takes(node) && history.knows(&node.name));
    let mut tallies: Vec<Told> = there
        .map(|node| {
            let agent = Agent { name: &node.name, labels: &node.labels, last_report_at: node.last_report_at };
            (node.name.clone(), node.labels.clone(), of_agent(history, own, agent, window, policy))
        })
        .collect();
    // Of former nodes nobody knows any more what else they were.
    let is_agent = |name: &str| history.changes(name).iter().any(|change| change.role == Role::Agent);
    let former = history.nodes().filter(|name| is_wanted(name) && named.binary_search(name).is_err() && is_agent(name));
    if filter.is_empty() {
        let gone = former.map(|name| (name.to_owned(), BTreeMap::new(), of_former(history, own, name, window, policy)));
        tallies.extend(gone.filter(|(_, _, tally)| !tally.is_empty()));
    }
    match wanted.filter(|wanted| !history.knows(wanted) && !named.contains(wanted)) {
        None => Ok(tallies),
        Some(wanted) => {
            let hint = nearest(wanted, history.nodes());
            let hint = hint.map(|hint| format!(", did you mean {hint}?")).unwrap_or_default();
            let detail = format!("nothing was ever noted of a node called {wanted}{hint}");
            Err(Problem::new(StatusCode::NOT_FOUND, "not_found", detail))
        }
    }
}

fn window(text: &str) -> Result<Span, Problem> {
    let bad = |why: String| Problem::bad_request(format!("window: {why}, found {text:?}"));
    let length = Span::parse(text).map_err(|error| bad(error.to_string()))?;
    if length.is_positive() { Ok(length) } else { Err(bad("expected a length of time such as 30d".to_owned())) }
}
