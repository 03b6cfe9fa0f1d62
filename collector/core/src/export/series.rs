//! The figures of a remote engine as series, for the collector's own and for `/metrics`.

use watchfire_shared::sample::MetricKind;

use super::Figures;

/// A metric family about remote engines.
#[derive(Debug, PartialEq)]
pub struct Family {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

/// One value, with the label `reason` where a family has it.
#[derive(Debug)]
pub struct Series {
    pub family: &'static Family,
    pub reason: Option<&'static str>,
    pub value: f64,
}

const fn family(name: &'static str, kind: MetricKind, help: &'static str) -> Family {
    Family { name, kind, help }
}

/// Every family, in the order in which they are shown.
pub const FAMILIES: &[Family] = &[
    family("watchfire_remote_write_sent_samples_total", MetricKind::Counter, "Samples that a remote engine took."),
    family(
        "watchfire_remote_write_failed_requests_total",
        MetricKind::Counter,
        "Requests to a remote engine that failed and are made again.",
    ),
    family(
        "watchfire_remote_write_restarts_total",
        MetricKind::Counter,
        "Times that writing to a remote engine was started again after a panic.",
    ),
    family(
        "watchfire_remote_write_dropped_samples_total",
        MetricKind::Counter,
        "Samples that a remote engine does not get, by reason.",
    ),
    family(
        "watchfire_remote_write_left_out_samples_total",
        MetricKind::Counter,
        "Samples that `match` or `write_relabel_configs` leave out.",
    ),
    family(
        "watchfire_remote_write_pending_samples",
        MetricKind::Gauge,
        "Samples that wait to be sent to a remote engine, about.",
    ),
    family(
        "watchfire_remote_write_highest_sent_timestamp_seconds",
        MetricKind::Gauge,
        "The latest time of a sample that a remote engine took.",
    ),
    family(
        "watchfire_remote_write_behind_seconds",
        MetricKind::Gauge,
        "How old the oldest live sample is that waits to be sent.",
    ),
    family("watchfire_remote_write_failing", MetricKind::Gauge, "Whether the last request to a remote engine failed."),
];

/// The figures, family by family.
#[must_use]
pub fn of(figures: &Figures) -> Vec<Series> {
    let values: [&[(Option<&'static str>, f64)]; 9] = [
        &[(None, figures.sent_samples as f64)],
        &[(None, figures.failed_requests as f64)],
        &[(None, figures.restarts as f64)],
        &[
            (Some("refused"), figures.refused_samples as f64),
            (Some("expired"), figures.expired_samples as f64),
            (Some("repeated"), figures.repeated_samples as f64),
            (Some("duplicate"), figures.duplicate_samples as f64),
        ],
        &[(None, figures.left_out_samples as f64)],
        &[(None, figures.pending_samples as f64)],
        &[(None, figures.highest_sent_at.map_or(0.0, |at| at.as_seconds()))],
        &[(None, figures.behind_seconds)],
        &[(None, f64::from(u8::from(figures.failing_since.is_some())))],
    ];
    let all = FAMILIES.iter().zip(values);
    all.flat_map(|(family, values)| {
        values.iter().map(move |(reason, value)| Series { family, reason: *reason, value: *value })
    })
    .collect()
}
