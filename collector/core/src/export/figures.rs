//! What is told of a remote engine: in series, and by `/v1/status`.

use serde::Serialize;
use watchfire_shared::time::Timestamp;

/// What became of samples so far, and how far behind the engine is.
#[derive(Clone, PartialEq, Debug, Default, Serialize)]
pub struct Figures {
    pub sent_samples: u64,
    /// Requests that failed and were or will be made again.
    pub failed_requests: u64,
    /// How many times all of it was started again after a panic.
    pub restarts: u64,
    /// Samples that the engine refused.
    pub refused_samples: u64,
    /// Samples that were older than `max_backlog` before they could be sent.
    pub expired_samples: u64,
    /// Samples that it refused and may have had, and those that were there twice.
    pub repeated_samples: u64,
    /// Samples of series that have the labels of another one, which has another value at that time.
    pub duplicate_samples: u64,
    /// Samples that the remote's selectors or rules leave out.
    pub left_out_samples: u64,
    /// Samples that wait to be sent, about.
    pub pending_samples: u64,
    /// The latest time of a sample that was taken.
    pub highest_sent_at: Option<Timestamp>,
    /// How old the oldest live sample is that waits.
    pub behind_seconds: f64,
    /// Since when every request has failed.
    pub failing_since: Option<Timestamp>,
    /// Of the last request that failed or was refused.
    pub last_error: Option<String>,
    pub last_error_at: Option<Timestamp>,
    pub last_success_at: Option<Timestamp>,
}

impl Figures {
    /// What copies to the engine has panicked and is started again.
    pub fn note_restart(&mut self, now: Timestamp, reason: String) {
        self.restarts += 1;
        self.failing_since.get_or_insert(now);
        self.last_error = Some(reason);
        self.last_error_at = Some(now);
    }
}
