//! Samples: values of series at points in time.

use serde::{Deserialize, Serialize};

use crate::labels::Labels;
use crate::time::Timestamp;

/// The bits of the value that marks a series as gone, as Prometheus defines it (`model/value.StaleNaN`).
pub const STALE_NAN_BITS: u64 = 0x7ff0_0000_0000_0002;
/// The bits that Go gives to an ordinary NaN; PromQL results use it.
pub const NORMAL_NAN_BITS: u64 = 0x7ff8_0000_0000_0001;

/// The stale marker as a value.
#[must_use]
pub const fn stale_nan() -> f64 {
    f64::from_bits(STALE_NAN_BITS)
}

/// Whether the value is the stale marker, which no other NaN is.
#[must_use]
pub const fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_NAN_BITS
}

/// One value of one series.
#[derive(Clone, PartialEq, Debug)]
pub struct Sample {
    pub labels: Labels,
    pub at: Timestamp,
    pub value: f64,
}

/// What a metric's values mean, as exposition formats name it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricKind {
    Counter,
    Gauge,
    #[default]
    Untyped,
}

impl MetricKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Untyped => "untyped",
        }
    }
}
