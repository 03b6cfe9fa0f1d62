//! Facts of the core as log lines.

use watchfire_agent_core::agent::Fact;

/// Logs a fact.
pub(crate) fn fact(fact: Fact) {
    match fact {
        Fact::Connected { address, collector } => tracing::info!(address, collector, "connected to a collector"),
        // One line says that it is lost; a collector that stays away must not fill the log.
        Fact::Lost { address, reason, attempts: 0 | 1, retry_at } => {
            tracing::warn!(address, reason, %retry_at, "no connection to a collector");
        }
        Fact::Lost { address, reason, attempts, retry_at } => {
            tracing::debug!(address, reason, attempts, %retry_at, "still no connection to a collector");
        }
        Fact::Refused { address, code, detail } => {
            tracing::warn!(address, ?code, detail, "a collector refused a frame for good");
        }
        Fact::Missed { ticks } => tracing::warn!(ticks, "ticks were missed"),
        Fact::SpoolDegraded { reason } => {
            tracing::error!(reason, "the spool cannot be written; what collectors lack waits in memory, 2 MiB at most");
        }
        Fact::SpoolRecovered => tracing::info!("the spool can be written again"),
        Fact::SpoolDropped { frames } => tracing::warn!(frames, "the spool is full; the oldest frames were dropped"),
        Fact::SpoolDamaged { parts } => {
            tracing::warn!(parts, "a part of the spool could not be read and was passed over")
        }
        Fact::Surplus { collectors } => {
            tracing::info!(collectors, "more collectors are known than an agent sends to");
        }
    }
}
