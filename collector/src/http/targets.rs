//! `/api/v1/targets`, `scrape_pools` and `alertmanagers`: the fleet as Prometheus' clients look for it. An agent is a
//! target that is never scraped but reports by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::view::{NodeView, Target};

use super::App;
use crate::prometheus::answer::Success;
use crate::prometheus::parameters::Parameters;

/// Go's zero time, for what never was.
const NEVER: &str = "0001-01-01T00:00:00Z";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Targets {
    active_targets: Vec<Active>,
    dropped_targets: [(); 0],
    dropped_target_counts: Option<BTreeMap<String, usize>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Active {
    discovered_labels: BTreeMap<String, String>,
    labels: BTreeMap<String, String>,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    last_scrape_duration: f64,
    health: &'static str,
    scrape_interval: String,
    scrape_timeout: String,
}

pub(super) async fn targets(State(app): State<Arc<App>>, parameters: Parameters) -> Success<Targets> {
    let view = app.published.view();
    let pool = parameters.get("scrapePool");
    let is_wanted = |state: &str| parameters.get("state").is_none_or(|wanted| wanted == state || wanted == "any");
    let targets = || view.nodes.iter().filter_map(|node| node.target.as_ref().map(|target| (node, target)));
    let in_pool = |(_, target): &(&NodeView, &Target)| pool.is_none_or(|pool| pool == target.job);
    let active = targets().filter(in_pool).filter(|_| is_wanted("active")).map(|(node, target)| active(node, target));
    let dropped = || targets().map(|(_, target)| (target.job.clone(), 0)).collect();
    Success::of(Targets {
        active_targets: active.collect(),
        dropped_targets: [],
        dropped_target_counts: is_wanted("dropped").then(dropped),
    })
}

fn active(node: &NodeView, target: &Target) -> Active {
    let labels = [("instance", &target.instance), ("job", &target.job)];
    let interval = target.interval.to_string();
    Active {
        discovered_labels: node.labels.clone(),
        labels: labels.map(|(name, value)| (name.to_owned(), value.clone())).into(),
        scrape_pool: target.job.clone(),
        scrape_url: String::new(),
        global_url: String::new(),
        last_error: if target.up == Some(false) { node.reasons.join("; ") } else { String::new() },
        last_scrape: node.last_report_at.map_or_else(|| NEVER.to_owned(), |at| at.to_string()),
        last_scrape_duration: 0.0,
        health: match target.up {
            Some(true) => "up",
            Some(false) => "down",
            None => "unknown",
        },
        scrape_interval: interval.clone(),
        scrape_timeout: interval,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScrapePools {
    scrape_pools: BTreeSet<String>,
}

pub(super) async fn scrape_pools(State(app): State<Arc<App>>) -> Success<ScrapePools> {
    let view = app.published.view();
    let jobs = view.nodes.iter().filter_map(|node| node.target.as_ref().map(|target| target.job.clone()));
    Success::of(ScrapePools { scrape_pools: jobs.collect() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Alertmanagers {
    active_alertmanagers: Vec<Address>,
    dropped_alertmanagers: [(); 0],
}

#[derive(Serialize)]
pub(super) struct Address {
    url: String,
}

/// Who is told of alerts beside the receivers of this collector; without what may be a password.
pub(super) async fn alertmanagers(State(app): State<Arc<App>>) -> Success<Alertmanagers> {
    let all = app.forwards.all();
    let addresses = all.iter().map(|standing| Address { url: standing.alertmanager.shown_url() + "/api/v2/alerts" });
    Success::of(Alertmanagers { active_alertmanagers: addresses.collect(), dropped_alertmanagers: [] })
}

/// What Prometheus would tell the users of its own pages.
pub(super) async fn notifications() -> Success<[(); 0]> {
    Success::of([])
}
