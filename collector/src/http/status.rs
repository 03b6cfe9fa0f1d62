//! `/v1/status`: how this collector is, in one answer. Its index rises with everything that the collector's lists show.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use watchfire_collector_core::engine::SnapshotStorage;
use watchfire_collector_core::export::Figures;
use watchfire_collector_core::notify::query::{AlertState, AlertView, ReceiverView};
use watchfire_collector_core::rules::Standing;
use watchfire_collector_core::rules::alert;
use watchfire_collector_core::view::{Health, View};
use watchfire_promql::{Options, Value, instant, parse};
use watchfire_shared::member::ViewSummary;
use watchfire_shared::time::Timestamp;
use watchfire_shell::http::{ListQuery, Problem};
use watchfire_store::Quarantined;

use super::App;

#[derive(Serialize)]
pub(super) struct Status {
    node: String,
    version: &'static str,
    ready: bool,
    /// Whether enough of the fleet has reported for rules to judge.
    fresh: bool,
    started_at: Timestamp,
    /// When it was made: what clocks are compared with.
    generated_at: Timestamp,
    index: String,
    members: ViewSummary,
    nodes: Nodes,
    agents: Agents,
    ingest: Ingest,
    storage: Storage,
    rules: Rules,
    alerts: Alerts,
    notifications: Notifications,
    /// How far each remote engine has come.
    remote_write: Vec<RemoteWrite>,
    config: Config,
}

#[derive(Serialize)]
struct Nodes {
    total: usize,
    ok: usize,
    degraded: usize,
    down: usize,
    unknown: usize,
    maintenance: usize,
}

#[derive(Serialize)]
struct Agents {
    connected: usize,
    expected: usize,
}

#[derive(Serialize)]
struct Ingest {
    /// Over the last minute; `None` before there was one.
    samples_per_second: Option<f64>,
    samples_total: u64,
    frames_total: u64,
    rejected_frames_total: u64,
}

#[derive(Serialize)]
struct Storage {
    series: usize,
    full: bool,
    /// Whether pushes have to wait because more came than goes to blocks in time.
    behind: bool,
    retention: String,
    bytes: u64,
    max_bytes: u64,
    /// Samples that were dropped before their time because of `max_bytes`, since the start.
    dropped_for_size_samples: u64,
    damaged: Vec<Damaged>,
}

/// A damaged file that was set aside; what could not be read of it is missing.
#[derive(Serialize)]
struct Damaged {
    file: String,
    kept_as: String,
    reason: String,
    /// `None` where nobody knows.
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    lost_samples: Option<u64>,
}

#[derive(Serialize)]
struct Rules {
    groups: usize,
    rules: usize,
    failing: Vec<FailingRule>,
}

#[derive(Serialize)]
struct FailingRule {
    file: String,
    group: String,
    rule: String,
    error: String,
}

#[derive(Serialize)]
struct Alerts {
    pending: usize,
    firing: usize,
    /// Of those that fire, how many are kept quiet.
    suppressed: usize,
    silences: usize,
}

#[derive(Serialize)]
struct Notifications {
    queued: usize,
    integrations: Vec<Integration>,
}

#[derive(Serialize)]
struct Integration {
    receiver: String,
    id: String,
    kind: &'static str,
    /// Whether its last attempt failed.
    failing: bool,
    delivered: u64,
    failed: u64,
    pending: usize,
    last_success_at: Option<Timestamp>,
    last_error_at: Option<Timestamp>,
    last_error: Option<String>,
}

#[derive(Serialize)]
struct RemoteWrite {
    name: String,
    #[serde(flatten)]
    figures: Figures,
}

#[derive(Serialize)]
struct Config {
    reload_successful: bool,
    loaded_at: Timestamp,
}

pub(super) async fn status(State(app): State<Arc<App>>, query: ListQuery) -> Result<Json<Status>, Problem> {
    query.finish()?;
    query.wait(app.published.index(), |index| app.published.later_than(index)).await?;
    let index = app.published.index();
    let samples_per_second = ingest_rate(&app).await;
    let (view, members, reload) = (app.published.view(), app.membership.view(), app.reloader.last());
    let counters = &view.stats.ingest;
    Ok(Json(Status {
        node: members.node.clone(),
        version: env!("CARGO_PKG_VERSION"),
        ready: !app.stopping.load(std::sync::atomic::Ordering::Relaxed),
        fresh: view.fresh,
        started_at: app.started_at,
        generated_at: app.clock.wall(),
        index: index.to_string(),
        members: ViewSummary::of(&members.node, &members.members, app.clock.wall()),
        nodes: nodes(&view),
        agents: Agents { connected: view.stats.agents_connected, expected: view.stats.agents_expected },
        ingest: Ingest {
            samples_per_second,
            samples_total: counters.samples_live + counters.samples_backfill,
            frames_total: counters.frames,
            rejected_frames_total: counters.rejected.by_reason().iter().map(|(_, frames)| frames).sum(),
        },
        storage: Storage {
            series: view.stats.store.series,
            full: view.stats.storage_full,
            behind: view.stats.store_behind,
            retention: reload.settings.storage.retention.to_string(),
            bytes: view.stats.store.wal_bytes + view.stats.store.block_bytes,
            max_bytes: reload.settings.storage.max_bytes,
            dropped_for_size_samples: view.stats.store.dropped_for_size_samples,
            damaged: view.stats.damaged.iter().map(damaged).collect(),
        },
        rules: rules(&view.rules),
        alerts: alerts(&view, app.clock.wall()),
        notifications: Notifications {
            queued: view.stats.notifications_queued,
            integrations: view.notifications.receivers.iter().flat_map(integrations).collect(),
        },
        remote_write: remote_write(&view),
        config: Config { reload_successful: reload.successful, loaded_at: reload.loaded_at },
    }))
}

/// From the collector's own series, as anybody would ask for it.
async fn ingest_rate(app: &App) -> Option<f64> {
    let expr = parse("sum(rate(watchfire_ingest_samples_total{job=\"watchfire\"}[1m]))").ok()?;
    let (snapshot, now) = (SnapshotStorage(app.published.snapshot().await), app.clock.wall());
    let evaluate = move || instant(&snapshot, &expr, now, &Options::default());
    match tokio::task::spawn_blocking(evaluate).await.ok()?.ok()?.value {
        Value::Vector(samples) => samples.first().map(|sample| sample.value),
        _ => None,
    }
}

fn remote_write(view: &View) -> Vec<RemoteWrite> {
    let remotes = view.stats.exports.iter();
    remotes.map(|(name, figures)| RemoteWrite { name: name.clone(), figures: figures.clone() }).collect()
}

fn nodes(view: &View) -> Nodes {
    let count = |health| view.nodes.iter().filter(|node| node.health == health).count();
    Nodes {
        total: view.nodes.len(),
        ok: count(Health::Ok),
        degraded: count(Health::Degraded),
        down: count(Health::Down),
        unknown: count(Health::Unknown),
        maintenance: count(Health::Maintenance),
    }
}

fn damaged(file: &Quarantined) -> Damaged {
    let known = |at: Timestamp| Some(at).filter(|at| ![Timestamp::MIN, Timestamp::MAX].contains(at));
    Damaged {
        file: file.path.clone(),
        kept_as: file.kept_as.clone(),
        reason: file.reason.clone(),
        from: known(file.from),
        to: known(file.to),
        lost_samples: file.lost_samples,
    }
}

fn rules(standing: &Standing) -> Rules {
    let (groups, rules) = standing.counts();
    let failing = standing.failing().map(|(group, rule, error)| FailingRule {
        file: group.file.clone(),
        group: group.name.clone(),
        rule: rule.to_owned(),
        error: error.to_owned(),
    });
    Rules { groups, rules, failing: failing.collect() }
}

fn alerts(view: &View, now: Timestamp) -> Alerts {
    let pending = view.rules.active().filter(|alert| alert.state == alert::State::Pending).count();
    let firing = view.notifications.alerts.iter().filter(|alert| !alert.alert.resolved_at(now));
    let quiet = |alert: &&Arc<AlertView>| alert.state == AlertState::Suppressed;
    Alerts {
        pending,
        firing: firing.clone().count(),
        suppressed: firing.filter(quiet).count(),
        silences: view.notifications.silences.iter().filter(|silence| silence.is_active(now)).count(),
    }
}

fn integrations(receiver: &ReceiverView) -> impl Iterator<Item = Integration> {
    receiver.integrations.iter().map(|own| {
        let (last_error_at, last_error) = own.last_error.clone().unzip();
        Integration {
            receiver: receiver.name.clone(),
            id: own.id.clone(),
            kind: own.kind,
            failing: last_error_at.is_some() && last_error_at > own.last_success,
            delivered: own.delivered,
            failed: own.failed,
            pending: own.pending.len(),
            last_success_at: own.last_success,
            last_error_at,
            last_error,
        }
    })
}
