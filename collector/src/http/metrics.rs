//! `/metrics`: the collector's own figures.
//!
//! The engine writes its own series into the store as well; these are for whoever watches the collector from outside.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use watchfire_collector_core::export;
use watchfire_collector_core::forward::Figures;
use watchfire_shared::member::{MemberState, ViewSummary};
use watchfire_shared::sample::MetricKind;
use watchfire_shell::http::{Exposition, METRICS_CONTENT_TYPE};

use super::App;

pub(super) async fn metrics(State(app): State<Arc<App>>) -> impl IntoResponse {
    let mut out = Exposition::default();
    about(&app, &mut out);
    members(&app, &mut out);
    ingest(&app, &mut out);
    remote_write(&app, &mut out);
    exports(&app, &mut out);
    forwards(&app, &mut out);
    engine(&app, &mut out);
    store(&app, &mut out);
    notifications(&app, &mut out);
    remediation(&app, &mut out);
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
    let view = app.published.view();
    let counters = &view.stats.ingest;
    out.family("watchfire_ingest_samples_total", MetricKind::Counter, "Samples taken, by lane.")
        .sample([("lane", "live")], counters.samples_live as f64)
        .sample([("lane", "backfill")], counters.samples_backfill as f64)
        .counter("watchfire_ingest_duplicate_frames_total", "Frames that were known already.", counters.duplicates)
        .counter(
            "watchfire_ingest_restamped_frames_total",
            "Frames stamped with the time of receipt.",
            counters.restamped,
        );
    out.family("watchfire_ingest_rejected_frames_total", MetricKind::Counter, "Frames refused, by reason.");
    for (reason, count) in counters.rejected.by_reason() {
        out.sample([("reason", reason)], count as f64);
    }
}

fn remote_write(app: &App, out: &mut Exposition) {
    let counters = app.published.view().stats.remote_write;
    out.counter("watchfire_remote_write_requests_total", "Requests that pushed samples.", counters.requests)
        .counter("watchfire_remote_write_samples_total", "Pushed samples that were taken.", counters.samples)
        .counter(
            "watchfire_remote_write_repeated_samples_total",
            "Pushed samples that were there already.",
            counters.repeated,
        )
        .counter(
            "watchfire_remote_write_dropped_histograms_total",
            "Pushed native histograms, which are not kept.",
            counters.histograms_dropped,
        )
        .counter(
            "watchfire_remote_write_dropped_exemplars_total",
            "Pushed exemplars, which are not kept.",
            counters.exemplars_dropped,
        );
    let name = "watchfire_remote_write_refused_samples_total";
    out.family(name, MetricKind::Counter, "Pushed samples that were refused, by reason.");
    for (reason, count) in counters.refused.by_reason() {
        out.sample([("reason", reason)], count as f64);
    }
}

/// How far remote engines have come that we write to.
fn exports(app: &App, out: &mut Exposition) {
    let view = app.published.view();
    if view.stats.exports.is_empty() {
        return;
    }
    let all: Vec<_> = view.stats.exports.iter().map(|(name, figures)| (name, export::series::of(figures))).collect();
    for family in export::series::FAMILIES {
        out.family(family.name, family.kind, family.help);
        for (remote, series) in &all {
            for own in series.iter().filter(|own| own.family == family) {
                match own.reason {
                    Some(reason) => out.sample([("reason", reason), ("remote", remote.as_str())], own.value),
                    None => out.sample([("remote", remote.as_str())], own.value),
                };
            }
        }
    }
}

/// What other Alertmanagers were told.
fn forwards(app: &App, out: &mut Exposition) {
    let all = app.forwards.all();
    if all.is_empty() {
        return;
    }
    let families: [(&str, &str, fn(&Figures) -> u64); 2] = [
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
    let stats = &app.published.view().stats;
    out.family("watchfire_engine_busy_seconds_total", MetricKind::Counter, "Time that the engine's thread worked.")
        .sample([], seconds)
        .counter("watchfire_engine_inputs_total", "Inputs that the engine took.", inputs)
        .gauge(
            "watchfire_store_full",
            "Whether the disk has no room for samples.",
            f64::from(u8::from(stats.storage_full)),
        )
        .gauge("watchfire_agents_connected", "Agents that said hello and are connected.", stats.agents_connected as f64)
        .gauge("watchfire_agents_expected", "Agents that should report.", stats.agents_expected as f64);
}

fn store(app: &App, out: &mut Exposition) {
    let stats = &app.published.view().stats.store;
    out.gauge("watchfire_store_series", "Series in memory.", stats.series as f64)
        .gauge("watchfire_store_sources", "Streams of samples that the store knows.", stats.sources as f64)
        .gauge("watchfire_store_wal_bytes", "Length of the log.", stats.wal_bytes as f64)
        .gauge("watchfire_store_wal_segments", "Files of the log.", stats.segments as f64)
        .gauge("watchfire_store_blocks", "Blocks of history on disk.", stats.blocks as f64)
        .gauge("watchfire_store_block_bytes", "Length of the blocks.", stats.block_bytes as f64)
        .gauge("watchfire_store_block_samples", "Samples in the blocks.", stats.block_samples as f64)
        .gauge("watchfire_store_deletions", "Deletions of which blocks may still hold samples.", stats.deletions as f64)
        .counter("watchfire_store_cuts_total", "Blocks made of what was in memory.", stats.cuts)
        .counter("watchfire_store_compactions_total", "Blocks made of other blocks.", stats.merges)
        .counter("watchfire_store_blocks_dropped_total", "Blocks dropped for age or size.", stats.dropped_blocks)
        .counter("watchfire_store_quarantined_total", "Damaged files that were set aside.", stats.quarantined)
        .counter("watchfire_store_failures_total", "Failed attempts to make or remove a file.", stats.failures);
}

fn notifications(app: &App, out: &mut Exposition) {
    let queued = app.published.view().stats.notifications_queued;
    out.gauge("watchfire_notifications_queued", "Notifications that wait for delivery.", queued as f64);
    out.family("watchfire_notification_attempts_total", MetricKind::Counter, "Attempts by integration and outcome.");
    for ((integration, outcome), count) in app.senders.counts() {
        out.sample([("integration", integration), ("outcome", outcome)], count as f64);
    }
}

fn remediation(app: &App, out: &mut Exposition) {
    let view = app.published.view();
    let figures = &view.remediation.figures;
    out.family("watchfire_orders_total", MetricKind::Counter, "Orders that ended, by outcome.");
    for (outcome, count) in &figures.orders {
        out.sample([("outcome", *outcome)], *count as f64);
    }
    let help = "Attempts of remediations that ended, by outcome.";
    out.family("watchfire_remediation_attempts_total", MetricKind::Counter, help);
    for (outcome, count) in &figures.attempts {
        out.sample([("outcome", *outcome)], *count as f64);
    }
    let help = "Alerts that a remediation considers, by what is done about them.";
    out.family("watchfire_remediations", MetricKind::Gauge, help);
    for (name, state, count) in &figures.cases {
        out.sample([("remediation", name.as_str()), ("state", state)], *count as f64);
    }
    out.gauge("watchfire_remediations_paused", "Remediations that are paused.", figures.paused as f64);
}
