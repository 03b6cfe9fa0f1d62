//! What the agent tells of itself: how each sampler fared, and the figures of uplink and spool.

use crate::host::Host;
use crate::order::{ENDS, EndCounts};
use crate::sink::{Family, Sink};
use crate::text;

static DURATION: Family =
    Family::gauge("node_scrape_collector_duration_seconds", "node_exporter: Duration of a collector scrape.");
static SUCCESS: Family =
    Family::gauge("node_scrape_collector_success", "node_exporter: Whether a collector succeeded.");
static ERRORS: Family =
    Family::counter("watchfire_agent_sampler_errors_total", "Rounds in which a source of a sampler could not be read.");
static MALFORMED: Family =
    Family::counter("watchfire_agent_malformed_lines_total", "Lines of kernel files that no sampler could read.");
static DROPPED: Family = Family::counter(
    "watchfire_agent_dropped_series_total",
    "Values dropped because there were too many series, or a name or a label value was too long.",
);
static RSS: Family =
    Family::gauge("watchfire_agent_resident_memory_bytes", "Memory of the agent that is in RAM, in bytes.");
static INFO: Family = Family::gauge("watchfire_agent_info", "The version of the agent; the value is always 1.");
static UPLINKS: Family =
    Family::gauge("watchfire_agent_uplinks_connected", "Collectors that the agent has a connection to.");
static LAST_ACK: Family = Family::gauge(
    "watchfire_agent_last_acknowledgement_timestamp_seconds",
    "When a collector last acknowledged a frame, in unixtime.",
);
static SPOOL_BYTES: Family = Family::gauge("watchfire_agent_spool_bytes", "Bytes of frames that wait in the spool.");
static SPOOL_DEGRADED: Family = Family::gauge(
    "watchfire_agent_spool_degraded",
    "1 while the spool cannot be written and new frames wait in memory, else 0.",
);
static SPOOL_DROPPED: Family =
    Family::counter("watchfire_agent_spool_dropped_frames_total", "Frames dropped from the full spool, oldest first.");
static SENT: Family = Family::counter("watchfire_agent_frames_sent_total", "Frames with values that were sent.");
static SENT_BYTES: Family =
    Family::counter("watchfire_agent_frame_bytes_sent_total", "Bytes of all frames that were sent.");
static REFUSED: Family =
    Family::counter("watchfire_agent_frames_refused_total", "Frames that a collector refused for good.");
static ORDERS: Family = Family::counter("watchfire_orders_total", "Orders that ended here, by outcome.");
static MISSED: Family = Family::counter("watchfire_agent_ticks_missed_total", "Ticks at which nothing was sampled.");
static RELOADED: Family = Family::gauge(
    "watchfire_agent_config_last_reload_successful",
    "Whether the configuration was good when it was last read.",
);
static UNKNOWN_KEYS: Family =
    Family::gauge("watchfire_agent_config_unknown_keys", "Keys of the configuration that nobody knows.");

/// Figures of the agent at the time of a round; totals count from its start.
#[derive(Clone, PartialEq, Debug)]
pub struct OwnFigures {
    pub version: &'static str,
    pub uplinks: u64,
    /// Seconds since 1970; `None` before the first.
    pub last_ack: Option<f64>,
    pub spool_bytes: u64,
    pub spool_degraded: bool,
    pub spool_dropped: u64,
    pub frames_sent: u64,
    pub bytes_sent: u64,
    pub frames_refused: u64,
    pub ticks_missed: u64,
    pub config_good: bool,
    pub config_unknown_keys: u64,
    /// How orders ended; `None` where none are taken.
    pub orders: Option<EndCounts>,
}

impl Default for OwnFigures {
    fn default() -> Self {
        Self {
            version: env!("CARGO_PKG_VERSION"),
            uplinks: 0,
            last_ack: None,
            spool_bytes: 0,
            spool_degraded: false,
            spool_dropped: 0,
            frames_sent: 0,
            bytes_sent: 0,
            frames_refused: 0,
            ticks_missed: 0,
            config_good: true,
            config_unknown_keys: 0,
            orders: None,
        }
    }
}

/// How a sampler fared in this round.
pub(super) fn outcome(name: &'static str, micros: u64, good: bool, errors: u64, sink: &mut Sink) {
    let labels = [("collector", name)];
    sink.emit(&DURATION, "", &labels, micros as f64 / 1e6);
    sink.emit(&SUCCESS, "", &labels, f64::from(u8::from(good)));
    sink.emit(&ERRORS, "", &[("sampler", name)], errors as f64);
}

pub(super) fn figures(own: &OwnFigures, host: &mut dyn Host, sink: &mut Sink) {
    sink.emit(&INFO, "", &[("version", own.version)], 1.0);
    let page_size = host.facts().page_size as f64;
    let resident = host
        .read("/proc/self/statm")
        .ok()
        .and_then(|bytes| text::fields(bytes.trim_ascii()).nth(1).and_then(text::number));
    if let Some(pages) = resident {
        sink.value(&RSS, pages * page_size);
    }
    if let Some(at) = own.last_ack {
        sink.value(&LAST_ACK, at);
    }
    let flag = |flag: bool| u64::from(flag);
    let (malformed, dropped) = (sink.malformed_total(), sink.dropped_total());
    for (family, value) in [
        (&MALFORMED, malformed),
        (&DROPPED, dropped),
        (&UPLINKS, own.uplinks),
        (&SPOOL_BYTES, own.spool_bytes),
        (&SPOOL_DEGRADED, flag(own.spool_degraded)),
        (&SPOOL_DROPPED, own.spool_dropped),
        (&SENT, own.frames_sent),
        (&SENT_BYTES, own.bytes_sent),
        (&REFUSED, own.frames_refused),
        (&MISSED, own.ticks_missed),
        (&RELOADED, flag(own.config_good)),
        (&UNKNOWN_KEYS, own.config_unknown_keys),
    ] {
        sink.value(family, value as f64);
    }
    for (end, count) in ENDS.iter().zip(own.orders.into_iter().flatten()) {
        sink.emit(&ORDERS, "", &[("outcome", end.as_str())], count as f64);
    }
}
