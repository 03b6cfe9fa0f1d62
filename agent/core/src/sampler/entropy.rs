//! The kernel's entropy pool.

use super::Sampler;
use super::conntrack::single;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};

pub(super) const SAMPLER: Sampler = Sampler { name: "entropy", sample };

static AVAILABLE: Family = Family::gauge("node_entropy_available_bits", "Bits of available entropy.");
static POOL: Family = Family::gauge("node_entropy_pool_size_bits", "Bits of entropy pool.");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    single(host, sink, "/proc/sys/kernel/random/entropy_avail", &AVAILABLE)?;
    single(host, sink, "/proc/sys/kernel/random/poolsize", &POOL)
}
