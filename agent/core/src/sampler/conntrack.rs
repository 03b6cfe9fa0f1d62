//! Entries of the kernel's connection tracking table; absent where the module is not loaded.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "conntrack", sample };

static ENTRIES: Family =
    Family::gauge("node_nf_conntrack_entries", "Number of currently allocated flow entries for connection tracking.");
static LIMIT: Family = Family::gauge("node_nf_conntrack_entries_limit", "Maximum size of connection tracking table.");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    single(host, sink, "/proc/sys/net/netfilter/nf_conntrack_count", &ENTRIES)?;
    single(host, sink, "/proc/sys/net/netfilter/nf_conntrack_max", &LIMIT)
}

/// A file that holds one number.
pub(super) fn single(
    host: &mut dyn Host,
    sink: &mut Sink,
    path: &'static str,
    family: &'static Family,
) -> Result<(), HostError> {
    match host.read(path).map(|bytes| text::number(bytes.trim_ascii()))? {
        Some(value) => sink.value(family, value),
        None => sink.malformed(),
    }
    Ok(())
}
