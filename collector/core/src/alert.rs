//! Alerts as they pass from the rules, or from outside, to notification.

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_shared::time::Timestamp;

/// One alert: a set of labels that is, or was, firing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Alert {
    /// Its identity; `alertname` is one of them.
    pub labels: Labels,
    pub annotations: Labels,
    pub starts_at: Timestamp,
    /// When it was resolved, or (for alerts from outside) when it counts as resolved unless it is sent again.
    pub ends_at: Option<Timestamp>,
    /// Whether `ends_at` is only the time by which it has to be sent again: an end that a sender named goes before it.
    #[serde(default)]
    pub timeout: bool,
    /// When its sender last spoke of it.
    pub updated_at: Timestamp,
    pub generator_url: String,
}

impl Alert {
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.labels.fingerprint()
    }

    /// Whether it is over at `now`.
    #[must_use]
    pub fn resolved_at(&self, now: Timestamp) -> bool {
        self.ends_at.is_some_and(|end| end <= now)
    }
}
