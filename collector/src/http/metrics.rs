//! `/metrics`: the collector's own figures.
//!
//! What the engine writes into the store of itself stands here under the same names, so that the same rules work for
//! whoever watches the collector from outside; besides there is what only this process knows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use watchfire_collector_core::forward::Figures;
use watchfire_collector_core::metadata;
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::member::{MemberState, ViewSummary};
use watchfire_shared::sample::MetricKind;
use watchfire_shell::http::{Exposition, METRICS_CONTENT_TYPE};

use super::App;

pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut out = Exposition::default();
    about(&app, &mut out);
    members(&app, &mut out);
    ingest(&app, &mut out);
    own(&app, &mut out);
    forwards(&app, &mut out);
    engine(&app, &mut out);
    store(&app, &mut out);
    notifications(&app, &mut out);
    ([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], out.finish())
}

fn about(app: &App, out: &mut Exposition) {
    let reload = app.reloader.last();
    out.family("watchfire_build_info", MetricKind::Gauge, "The program, as labels.")
        .sample([("program", "watchfire-collector"), ("version", env!("CARGO_PKG_VERSION"))], 1.0)
        .gauge("watchfire_start_time_seconds", "When the program started.", app.started_at.as_seconds())
        .gauge(
            "watchfire_clock_ahead_seconds",
            "How far the system's clock was set back.",
            app.clock.ahead().as_seconds(),
        )
        .counter("watchfire_clock_steps_total", "Steps forward of the system's clock.", app.clock.steps())
        .gauge(
            "watchfire_config_last_reload_successful",
            "Whether the last configuration that was read is in use.",
            f64::from(u8::from(reload.successful)),
        )
        .gauge(
            "watchfire_config_last_reload_success_timestamp_seconds",
            "When the configuration in use was read.",
            reload.loaded_at.as_seconds(),
        );
}

fn members(app: &App, out: &mut Exposition) {
    let view = app.membership.view();
    let summary = ViewSummary::of(&view.node, &view.members, app.clock.wall());
    let counts = [
        (MemberState::Alive, summary.alive),
        (MemberState::Suspect, summary.suspect),
        (MemberState::Down, summary.down),
        (MemberState::Left, summary.left),
    ];
    out.family("watchfire_members", MetricKind::Gauge, "Members as this node sees them, by state.");
    for (state, count) in counts {
        out.sample([("state", state.as_str())], count as f64);
    }
    out.gossip_events(&app.membership);
}

fn ingest(app: &App, out: &mut Exposition) {
    let stats = app.connections.stats();
    let read = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    out.gauge("watchfire_ingest_connections", "Open connections of agents.", app.connections.count() as f64)
        .counter("watchfire_ingest_connections_accepted_total", "Connections accepted.", read(&stats.accepted))
        .counter("watchfire_ingest_connections_cut_off_total", "Connections closed at the door.", read(&stats.cut_off))
        .counter(
            "watchfire_ingest_handshakes_failed_total",
            "Connections that ended in the TLS handshake.",
            read(&stats.handshakes_failed),
        )
        .counter("watchfire_ingest_received_frames_total", "Frames that arrived.", read(&stats.frames))
        .counter("watchfire_ingest_received_bytes_total", "Bytes that arrived.", read(&stats.bytes));
}

/// What the engine knows of itself. A family that has no value now is named all the same.
fn own(app: &App, out: &mut Exposition) {
    let mut samples: BTreeMap<String, Vec<(Labels, f64)>> = BTreeMap::new();
    for (labels, value) in app.published.view().own_series() {
        samples.entry(labels.metric_name().to_owned()).or_default().push((labels, value));
    }
    for (name, kind, help) in metadata::own() {
        let kind = if kind == "counter" { MetricKind::Counter } else { MetricKind::Gauge };
        out.family(name, kind, help);
        for (labels, value) in samples.get(name).into_iter().flatten() {
            out.sample(labels.iter().filter(|(name, _)| *name != METRIC_NAME), *value);
        }
    }
}

/// What other Alertmanagers were told.
fn forwards(app: &App, out: &mut Exposition) {
    type Family = (&'static str, &'static str, fn(&Figures) -> u64);
    let all = app.forwards.all();
    if all.is_empty() {
        return;
    }
    let families: [Family; 2] = [
        ("watchfire_alertmanager_sent_alerts_total", "Alerts that an Alertmanager took.", |figures| figures.sent),
        (
            "watchfire_alertmanager_failed_alerts_total",
            "Alerts that an Alertmanager did not take, each time counted.",
            |figures| figures.failed,
        ),
    ];
    for (name, help, value) in families {
        out.family(name, MetricKind::Counter, help);
        for standing in all.iter() {
            let figures = standing.figures.load();
            out.sample([("alertmanager", standing.alertmanager.name.as_str())], value(&figures) as f64);
        }
    }
}

fn engine(app: &App, out: &mut Exposition) {
    let (seconds, inputs) = app.published.work();
    out.family("watchfire_engine_busy_seconds_total", MetricKind::Counter, "Time that the engine's thread worked.")
        .sample([], seconds)
        .counter("watchfire_engine_inputs_total", "Inputs that the engine took.", inputs);
}

fn store(app: &App, out: &mut Exposition) {
    let stats = &app.published.view().stats.store;
    out.gauge("watchfire_store_sources", "Streams of samples that the store knows.", stats.sources as f64)
        .gauge("watchfire_store_wal_bytes", "Length of the log.", stats.wal_bytes as f64)
        .gauge("watchfire_store_wal_segments", "Files of the log.", stats.segments as f64)
        .gauge("watchfire_store_blocks", "Blocks of history on disk.", stats.blocks as f64)
        .gauge("watchfire_store_block_bytes", "Length of the blocks.", stats.block_bytes as f64)
        .gauge("watchfire_store_block_samples", "Samples in the blocks.", stats.block_samples as f64)
        .gauge("watchfire_store_deletions", "Deletions of which blocks may still hold samples.", stats.deletions as f64)
        .counter("watchfire_store_cuts_total", "Blocks made of what was in memory.", stats.cuts)
        .counter("watchfire_store_compactions_total", "Blocks made of other blocks.", stats.merges)
        .counter("watchfire_store_blocks_dropped_total", "Blocks dropped for age or size.", stats.dropped_blocks);
}

fn notifications(app: &App, out: &mut Exposition) {
    out.family("watchfire_notification_attempts_total", MetricKind::Counter, "Attempts by integration and outcome.");
    for ((integration, outcome), count) in app.senders.counts() {
        out.sample([("integration", integration), ("outcome", outcome)], count as f64);
    }
}
