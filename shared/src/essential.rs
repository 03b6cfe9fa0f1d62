//! Which series a node is judged by. Where there is no room for all, they are admitted first: by the agent among its own
//! series, and by the collector among everybody's.

/// How the names begin: the default rules read them, and so does everybody.
pub const FAMILIES: [&str; 9] = [
    "node_cpu_",
    "node_memory_",
    "node_load",
    "node_filesystem_",
    "node_network_",
    "node_boot_time_",
    "node_time_",
    "node_uname_",
    "watchfire_agent_",
];

/// The place in [`FAMILIES`] of the family that a metric belongs to; `None` if a node is not judged by it.
#[must_use]
pub fn family(metric: &str) -> Option<usize> {
    FAMILIES.iter().position(|family| metric.starts_with(family))
}
