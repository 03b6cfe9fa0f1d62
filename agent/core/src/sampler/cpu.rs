//! Seconds that each CPU spent in each mode. CPUs go by their name in `/proc/stat`: an offline one leaves no gap that
//! another could slip into. Guest time is apart although the kernel also counts it as user time.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "cpu", sample };

static SECONDS: Family = Family::counter("node_cpu_seconds_total", "Seconds the CPUs spent in each mode.");
static GUEST: Family =
    Family::counter("node_cpu_guest_seconds_total", "Seconds the CPUs spent in guests (VMs) for each mode.");

/// In the order of the columns.
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const GUEST_MODES: [&str; 2] = ["user", "nice"];
/// Seconds by which a time may go back without being a restart, as node_exporter has it.
const JUMP_BACK_SECONDS: f64 = 3.0;

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let ticks_per_second = host.facts().ticks_per_second as f64;
    let bytes = host.read("/proc/stat")?;
    for line in text::lines(bytes) {
        let mut fields = text::fields(line);
        let Some(name) = fields.next().and_then(|name| name.strip_prefix(b"cpu")).filter(|name| !name.is_empty())
        else {
            continue;
        };
        let Some(name) = text::integer(name).and_then(|_| text::utf8(name)) else {
            sink.malformed();
            continue;
        };
        let modes = MODES.iter().map(|mode| (&SECONDS, *mode));
        let columns = modes.chain(GUEST_MODES.iter().map(|mode| (&GUEST, *mode)));
        // Kernels before 2.6.33 have fewer columns; what is not there is no series.
        for ((family, mode), field) in columns.zip(fields) {
            match text::number(field) {
                Some(ticks) => {
                    let labels = [("cpu", name), ("mode", mode)];
                    sink.emit_held(family, "", &labels, ticks / ticks_per_second, JUMP_BACK_SECONDS);
                }
                None => sink.malformed(),
            }
        }
    }
    Ok(())
}
