//! Load averages.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "loadavg", sample };

static LOADS: [Family; 3] = [
    Family::gauge("node_load1", "1m load average."),
    Family::gauge("node_load5", "5m load average."),
    Family::gauge("node_load15", "15m load average."),
];

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let mut fields = text::lines(host.read("/proc/loadavg")?).next().into_iter().flat_map(text::fields);
    for family in &LOADS {
        match fields.next().and_then(text::float) {
            Some(load) => sink.value(family, load),
            None => sink.malformed(),
        }
    }
    Ok(())
}
