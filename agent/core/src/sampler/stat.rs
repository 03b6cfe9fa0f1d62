//! What else `/proc/stat` tells: context switches, forks, interrupts, the time of boot, processes that run or wait.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "stat", sample };

static FAMILIES: [(&str, Family); 6] = [
    ("intr", Family::counter("node_intr_total", "Total number of interrupts serviced.")),
    ("ctxt", Family::counter("node_context_switches_total", "Total number of context switches.")),
    ("btime", Family::gauge("node_boot_time_seconds", "Node boot time, in unixtime.")),
    ("processes", Family::counter("node_forks_total", "Total number of forks.")),
    ("procs_running", Family::gauge("node_procs_running", "Number of processes in runnable state.")),
    ("procs_blocked", Family::gauge("node_procs_blocked", "Number of processes blocked waiting for I/O to complete.")),
];

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    for line in text::lines(host.read("/proc/stat")?) {
        let mut fields = text::fields(line);
        let name = fields.next().unwrap_or_default();
        let Some((_, family)) = FAMILIES.iter().find(|(known, _)| known.as_bytes() == name) else { continue };
        match fields.next().and_then(text::number) {
            Some(value) => sink.value(family, value),
            None => sink.malformed(),
        }
    }
    Ok(())
}
