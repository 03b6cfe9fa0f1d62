//! `/api/v1/status/*`: what the program is, how it was configured, and what its store holds, as Prometheus' clients ask.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use axum::extract::State;
use serde::Serialize;
use watchfire_shared::labels::{Labels, METRIC_NAME};
use watchfire_shared::time::{Span, Timestamp};

use super::query::MAX_QUERY_TIME;
use super::{App, MAX_QUERIES};
use crate::prometheus::answer::{ApiError, ErrorKind, Result, Success};
use crate::prometheus::parameters::Parameters;

/// The Prometheus version whose API this one follows. Grafana reads it to know which features it may use.
const PROMETHEUS_VERSION: &str = "3.5.3";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct BuildInfo {
    version: &'static str,
    application: &'static str,
    application_version: &'static str,
    revision: &'static str,
    branch: &'static str,
    build_user: &'static str,
    build_date: &'static str,
    go_version: &'static str,
}

pub(super) async fn build_info() -> Success<BuildInfo> {
    Success::of(BuildInfo {
        version: PROMETHEUS_VERSION,
        application: "watchfire-collector",
        application_version: env!("CARGO_PKG_VERSION"),
        revision: "",
        branch: "",
        build_user: "",
        build_date: "",
        go_version: "",
    })
}

/// Fields that speak of Go's runtime are there for clients that expect them, and say that there is none.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RuntimeInfo {
    start_time: Timestamp,
    #[serde(rename = "CWD")]
    working_directory: String,
    hostname: String,
    server_time: Timestamp,
    #[serde(rename = "reloadConfigSuccess")]
    reload_success: bool,
    last_config_time: Timestamp,
    corruption_count: u64,
    goroutine_count: usize,
    #[serde(rename = "GOMAXPROCS")]
    cores: usize,
    #[serde(rename = "GOMEMLIMIT")]
    memory_limit: i64,
    #[serde(rename = "GOGC")]
    gogc: &'static str,
    #[serde(rename = "GODEBUG")]
    godebug: &'static str,
    storage_retention: String,
}

pub(super) async fn runtime_info(State(app): State<Arc<App>>) -> Success<RuntimeInfo> {
    let reload = app.reloader.last();
    let directory = std::env::current_dir().map(|path| path.display().to_string());
    Success::of(RuntimeInfo {
        start_time: app.started_at,
        working_directory: directory.unwrap_or_default(),
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        server_time: app.clock.wall(),
        reload_success: reload.successful,
        last_config_time: reload.loaded_at,
        corruption_count: 0,
        goroutine_count: 0,
        cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
        memory_limit: 0,
        gogc: "",
        godebug: "",
        storage_retention: reload.settings.storage.retention.to_string(),
    })
}

#[derive(Serialize)]
pub(super) struct Config {
    yaml: String,
}

/// What is configured of that which Prometheus has words for, in its words.
pub(super) async fn config(State(app): State<Arc<App>>) -> Success<Config> {
    let settings = &app.reloader.last().settings;
    let mut yaml = String::new();
    let text = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let _ = writeln!(yaml, "global:\n  evaluation_interval: {}", settings.rules.interval);
    if !settings.rules.external_labels.is_empty() {
        let _ = writeln!(yaml, "  external_labels:");
        for (name, value) in &settings.rules.external_labels {
            let _ = writeln!(yaml, "    {}: {}", text(name), text(value));
        }
    }
    let list = |yaml: &mut String, key: &str, items: &[String]| {
        if !items.is_empty() {
            let _ = writeln!(yaml, "{key}:");
            for item in items {
                let _ = writeln!(yaml, "- {}", text(item));
            }
        }
    };
    list(&mut yaml, "rule_files", &settings.rules.files);
    let _ = writeln!(yaml, "storage:\n  tsdb:\n    retention:\n      time: {}", settings.storage.retention);
    let _ = writeln!(yaml, "      size: {}B", settings.storage.max_bytes);
    Success::of(Config { yaml })
}

/// What is configured of that for which Prometheus has flags, under their names.
pub(super) async fn flags(State(app): State<Arc<App>>) -> Success<BTreeMap<&'static str, String>> {
    let settings = &app.reloader.last().settings;
    let yes = || "true".to_owned();
    Success::of(BTreeMap::from([
        ("config.file", settings.files.first().map(|file| file.display().to_string()).unwrap_or_default()),
        ("enable-feature", settings.syntax.features().join(",")),
        ("log.level", settings.log.level.clone()),
        ("query.lookback-delta", "5m".to_owned()),
        ("query.max-concurrency", MAX_QUERIES.to_string()),
        ("query.max-samples", settings.max_samples.to_string()),
        ("query.timeout", format!("{}m", MAX_QUERY_TIME.as_secs() / 60)),
        ("storage.tsdb.path", settings.data_dir.display().to_string()),
        ("storage.tsdb.retention.size", format!("{}B", settings.storage.max_bytes)),
        ("storage.tsdb.retention.time", settings.storage.retention.to_string()),
        ("web.enable-admin-api", app.is_local.to_string()),
        ("web.enable-lifecycle", yes()),
        ("web.external-url", settings.external_url.clone().unwrap_or_default()),
        ("web.listen-address", settings.http_bind.to_string()),
    ]))
}

#[derive(Serialize)]
pub(super) struct WalReplay {
    min: u64,
    max: u64,
    current: u64,
}

/// The log was replayed before this server answered its first request.
pub(super) async fn wal_replay() -> Success<WalReplay> {
    Success::of(WalReplay { min: 0, max: 0, current: 0 })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Tsdb {
    head_stats: HeadStats,
    series_count_by_metric_name: Vec<Count>,
    label_value_count_by_label_name: Vec<Count>,
    memory_in_bytes_by_label_name: Vec<Count>,
    series_count_by_label_value_pair: Vec<Count>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct HeadStats {
    num_series: usize,
    num_label_pairs: usize,
    chunk_count: usize,
    min_time: i64,
    max_time: i64,
}

#[derive(Serialize)]
struct Count {
    name: String,
    value: usize,
}

/// Series count as current if they had a sample within this time; Prometheus counts those of its head, which is as long.
const HEAD_TIME: Span = Span::from_seconds(2 * 3600);

/// Where the series come from: the metrics, labels and values with the most of them.
pub(super) async fn tsdb(State(app): State<Arc<App>>, parameters: Parameters) -> Result<Tsdb> {
    let limit = match parameters.integer("limit") {
        Ok(None) => 10,
        Ok(Some(limit)) if limit >= 1 => usize::try_from(limit).unwrap_or(usize::MAX),
        _ => return Err(ApiError::bad_data("limit must be a positive number")),
    };
    let (snapshot, now) = (app.published.snapshot().await, app.clock.wall());
    let retention = app.reloader.last().settings.storage.retention;
    let counted = tokio::task::spawn_blocking(move || {
        let series = snapshot.series(&[], now - HEAD_TIME, Timestamp::MAX);
        cardinality(&series, (now - retention).as_millis(), now.as_millis(), limit)
    });
    counted.await.map(Success::of).map_err(|_| ApiError::new(ErrorKind::Internal, "the count failed"))
}

/// Counts series. `oldest` and `newest` are the ends of what may be asked for, milliseconds.
fn cardinality(series: &[Labels], oldest: i64, newest: i64, limit: usize) -> Tsdb {
    let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (name, value) in series.iter().flat_map(Labels::iter) {
        *pairs.entry((name, value)).or_default() += 1;
    }
    let (mut values, mut bytes): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) = Default::default();
    for (name, value) in pairs.keys() {
        *values.entry(name).or_default() += 1;
        *bytes.entry(name).or_default() += value.len();
    }
    let metrics =
        pairs.iter().filter(|((name, _), _)| *name == METRIC_NAME).map(|((_, value), count)| (*value, *count));
    let by_pair = pairs.iter().map(|((name, value), count)| (format!("{name}={value}"), *count));
    Tsdb {
        series_count_by_metric_name: most(metrics, limit),
        label_value_count_by_label_name: most(values, limit),
        memory_in_bytes_by_label_name: most(bytes, limit),
        series_count_by_label_value_pair: most(by_pair, limit),
        head_stats: HeadStats {
            num_series: series.len(),
            num_label_pairs: pairs.len(),
            chunk_count: series.len(),
            min_time: oldest,
            max_time: newest,
        },
    }
}

fn most(counts: impl IntoIterator<Item = (impl Into<String>, usize)>, limit: usize) -> Vec<Count> {
    let mut counts: Vec<Count> = counts.into_iter().map(|(name, value)| Count { name: name.into(), value }).collect();
    counts.sort_by(|left, right| right.value.cmp(&left.value).then_with(|| left.name.cmp(&right.name)));
    counts.truncate(limit);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let series = [
            Labels::new([(METRIC_NAME, "a"), ("x", "1")]),
            Labels::new([(METRIC_NAME, "a"), ("x", "22")]),
            Labels::new([(METRIC_NAME, "b"), ("x", "1")]),
        ];
        let counted = serde_json::to_value(cardinality(&series, 1, 2, 1)).unwrap();
        let expected = serde_json::json!({
            "headStats": {"numSeries": 3, "numLabelPairs": 4, "chunkCount": 3, "minTime": 1, "maxTime": 2},
            "seriesCountByMetricName": [{"name": "a", "value": 2}],
            "labelValueCountByLabelName": [{"name": "__name__", "value": 2}],
            "memoryInBytesByLabelName": [{"name": "x", "value": 3}],
            "seriesCountByLabelValuePair": [{"name": "__name__=a", "value": 2}],
        });
        assert_eq!(counted, expected);
    }
}
