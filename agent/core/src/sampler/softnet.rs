//! What each CPU did with received packets (`/proc/net/softnet_stat`, hexadecimal).

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "softnet", sample };

/// The column of each series.
static COLUMNS: [(usize, Family); 6] = [
    (0, Family::counter("node_softnet_processed_total", "Number of processed packets")),
    (1, Family::counter("node_softnet_dropped_total", "Number of dropped packets")),
    (2, Family::counter("node_softnet_times_squeezed_total", "Number of times processing packets ran out of quota")),
    (
        8,
        Family::counter(
            "node_softnet_cpu_collision_total",
            "Number of collision occur while obtaining device lock while transmitting",
        ),
    ),
    (9, Family::counter("node_softnet_received_rps_total", "Number of times cpu woken up received_rps")),
    (10, Family::counter("node_softnet_flow_limit_count_total", "Number of times flow limit has been reached")),
];
/// Where newer kernels say which CPU the line is about; offline CPUs have no line.
const CPU_COLUMN: usize = 12;

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    for (line, row) in text::lines(host.read("/proc/net/softnet_stat")?).zip(0u64..) {
        let field = |column: usize| text::fields(line).nth(column).and_then(text::hexadecimal);
        let mut digits = [0; 20];
        let cpu = decimal(field(CPU_COLUMN).unwrap_or(row), &mut digits);
        if field(0).is_none() {
            sink.malformed();
            continue;
        }
        for (column, family) in &COLUMNS {
            if let Some(value) = field(*column) {
                sink.emit(family, "", &[("cpu", cpu)], value as f64);
            }
        }
    }
    Ok(())
}

/// The number in decimal digits, without allocation.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &str {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return std::str::from_utf8(&digits[at..]).unwrap_or_default();
        }
    }
}
