//! Operations, bytes and times of block devices. Partitions, loop and RAM devices are left out by node_exporter's default
//! filter: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "diskstats", sample };

const SECTOR_BYTES: f64 = 512.0;
const MILLIS: f64 = 1000.0;

/// What a column becomes: multiplied by the first, divided by the second.
struct Column(Family, f64, f64);

const fn count(name: &'static str, help: &'static str) -> Column {
    Column(Family::counter(name, help), 1.0, 1.0)
}

const fn bytes(name: &'static str, help: &'static str) -> Column {
    Column(Family::counter(name, help), SECTOR_BYTES, 1.0)
}

const fn seconds(name: &'static str, help: &'static str) -> Column {
    Column(Family::counter(name, help), 1.0, MILLIS)
}

/// In the order of the file (Documentation/admin-guide/iostats.rst); older kernels end earlier.
static COLUMNS: [Column; 17] = [
    count("node_disk_reads_completed_total", "The total number of reads completed successfully."),
    count("node_disk_reads_merged_total", "The total number of reads merged."),
    bytes("node_disk_read_bytes_total", "The total number of bytes read successfully."),
    seconds("node_disk_read_time_seconds_total", "The total number of seconds spent by all reads."),
    count("node_disk_writes_completed_total", "The total number of writes completed successfully."),
    count("node_disk_writes_merged_total", "The number of writes merged."),
    bytes("node_disk_written_bytes_total", "The total number of bytes written successfully."),
    seconds("node_disk_write_time_seconds_total", "This is the total number of seconds spent by all writes."),
    Column(Family::gauge("node_disk_io_now", "The number of I/Os currently in progress."), 1.0, 1.0),
    seconds("node_disk_io_time_seconds_total", "Total seconds spent doing I/Os."),
    seconds("node_disk_io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os."),
    count("node_disk_discards_completed_total", "The total number of discards completed successfully."),
    count("node_disk_discards_merged_total", "The total number of discards merged."),
    count("node_disk_discarded_sectors_total", "The total number of sectors discarded successfully."),
    seconds("node_disk_discard_time_seconds_total", "This is the total number of seconds spent by all discards."),
    count("node_disk_flush_requests_total", "The total number of flush requests completed successfully"),
    seconds(
        "node_disk_flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
    ),
];

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    for line in text::lines(host.read("/proc/diskstats")?) {
        let mut fields = text::fields(line).skip(2);
        let Some(device) = fields.next().and_then(text::utf8) else {
            sink.malformed();
            continue;
        };
        if left_out(device) {
            continue;
        }
        for (Column(family, factor, divisor), field) in COLUMNS.iter().zip(fields) {
            match text::number(field) {
                Some(value) => sink.emit(family, "", &[("device", device)], value * factor / divisor),
                None => sink.malformed(),
            }
        }
    }
    Ok(())
}

fn left_out(device: &str) -> bool {
    let stem = device.trim_end_matches(|char: char| char.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    matches!(stem, "ram" | "zram" | "loop" | "fd") || is_disk_letter(stem) || is_nvme_partition(stem)
}

/// `sda`, `vdb`, `xvdc`, `hdd`: with digits behind, a partition.
fn is_disk_letter(stem: &str) -> bool {
    let rest = ["hd", "sd", "vd", "xvd"].iter().find_map(|kind| stem.strip_prefix(kind));
    rest.is_some_and(|rest| rest.len() == 1 && rest.as_bytes()[0].is_ascii_lowercase())
}

/// `nvme0n1p`: with digits behind, a partition.
fn is_nvme_partition(stem: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts = stem.strip_prefix("nvme").and_then(|rest| rest.strip_suffix('p')).and_then(|rest| rest.split_once('n'));
    parts.is_some_and(|(controller, namespace)| digits(controller) && digits(namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_and_memory_disks_are_left_out() {
        for device in ["sda1", "vdb12", "xvda3", "nvme0n1p2", "loop0", "ram3", "zram0", "fd0"] {
            assert!(left_out(device), "{device}");
        }
        for device in ["sda", "vda", "nvme0n1", "dm-0", "md127", "sdaa1", "mmcblk0p1", "sr0", "xvd1", "nvmep1"] {
            assert!(!left_out(device), "{device}");
        }
    }
}
