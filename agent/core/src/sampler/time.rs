//! The host's wall clock.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};

pub(super) const SAMPLER: Sampler = Sampler { name: "time", sample };

static SECONDS: Family = Family::gauge("node_time_seconds", "System time in seconds since epoch (1970).");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    sink.value(&SECONDS, host.wall_clock());
    Ok(())
}
