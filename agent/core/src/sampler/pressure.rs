//! Pressure stall information (PSI): how long tasks waited for CPU, memory, IO and interrupts.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "pressure", sample };

/// The series of a resource, by the first word of its lines.
type Resource = (&'static str, Option<Family>, Option<Family>);

static RESOURCES: [Resource; 4] = [
    (
        "/proc/pressure/cpu",
        Some(Family::counter(
            "node_pressure_cpu_waiting_seconds_total",
            "Total time in seconds that processes have waited for CPU time",
        )),
        None,
    ),
    (
        "/proc/pressure/io",
        Some(Family::counter(
            "node_pressure_io_waiting_seconds_total",
            "Total time in seconds that processes have waited due to IO congestion",
        )),
        Some(Family::counter(
            "node_pressure_io_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IO congestion",
        )),
    ),
    (
        "/proc/pressure/memory",
        Some(Family::counter(
            "node_pressure_memory_waiting_seconds_total",
            "Total time in seconds that processes have waited for memory",
        )),
        Some(Family::counter(
            "node_pressure_memory_stalled_seconds_total",
            "Total time in seconds no process could make progress due to memory congestion",
        )),
    ),
    (
        "/proc/pressure/irq",
        None,
        Some(Family::counter(
            "node_pressure_irq_stalled_seconds_total",
            "Total time in seconds no process could make progress due to IRQ congestion",
        )),
    ),
];

/// The kernel may be built without PSI or booted with it switched off; then there is no series and no error.
fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let mut found = Err(HostError::Missing);
    for (path, waiting, stalled) in &RESOURCES {
        match host.read(path) {
            Ok(bytes) => {
                read(bytes, waiting.as_ref(), stalled.as_ref(), sink);
                found = Ok(());
            }
            Err(HostError::Missing) => {}
            Err(error) => return Err(error),
        }
    }
    found
}

fn read(bytes: &[u8], waiting: Option<&'static Family>, stalled: Option<&'static Family>, sink: &mut Sink) {
    for line in text::lines(bytes) {
        let mut fields = text::fields(line);
        let family = match fields.next() {
            Some(b"some") => waiting,
            Some(b"full") => stalled,
            _ => {
                sink.malformed();
                continue;
            }
        };
        let Some(family) = family else { continue };
        match fields.find_map(|field| field.strip_prefix(b"total=")).and_then(text::number) {
            Some(micros) => sink.value(family, micros / 1e6),
            None => sink.malformed(),
        }
    }
}
