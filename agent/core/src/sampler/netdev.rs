//! Traffic, errors and drops of network devices, from netlink or, where a sandbox refuses that, from `/proc/net/dev`.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::rtnetlink::{self, Link};
use crate::sink::{Family, Sink};
use crate::text;
use watchfire_shared::sample::MetricKind::Counter;

pub(super) const SAMPLER: Sampler = Sampler { name: "netdev", sample };

static TRAFFIC: Family = Family::fields("node_network_", "_total", Counter, "Network device statistic {}.");

/// The columns of `/proc/net/dev` by name, and the counters of `struct rtnl_link_stats64` whose sum each is.
const COLUMNS: [(&str, &[usize]); 16] = [
    ("receive_bytes", &[2]),
    ("receive_packets", &[0]),
    ("receive_errs", &[4]),
    ("receive_drop", &[6, 15]),
    ("receive_fifo", &[14]),
    ("receive_frame", &[13, 10, 11, 12]),
    ("receive_compressed", &[21]),
    ("receive_multicast", &[8]),
    ("transmit_bytes", &[3]),
    ("transmit_packets", &[1]),
    ("transmit_errs", &[5]),
    ("transmit_drop", &[7]),
    ("transmit_fifo", &[18]),
    ("transmit_colls", &[9]),
    ("transmit_carrier", &[17, 16, 19, 20]),
    ("transmit_compressed", &[22]),
];
/// `rx_nohandler`, which `/proc/net/dev` does not show.
const NO_HANDLER: usize = 23;

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    match host.links() {
        Ok(dump) => {
            if !rtnetlink::links(dump, |link| from_link(link, sink)) {
                sink.malformed();
            }
            Ok(())
        }
        Err(_) => {
            from_file(host.read("/proc/net/dev")?, sink);
            Ok(())
        }
    }
}

fn from_link(link: &Link<'_>, sink: &mut Sink) {
    let labels = [("device", link.name)];
    for (name, counters) in COLUMNS {
        let sum = counters.iter().try_fold(0u64, |sum, counter| Some(sum.wrapping_add(link.counter(*counter)?)));
        match sum {
            Some(sum) => sink.emit(&TRAFFIC, name, &labels, sum as f64),
            None => sink.malformed(),
        }
    }
    if let Some(packets) = link.counter(NO_HANDLER) {
        sink.emit(&TRAFFIC, "receive_nohandler", &labels, packets as f64);
    }
}

fn from_file(bytes: &[u8], sink: &mut Sink) {
    for line in text::lines(bytes).skip(2) {
        let Some((device, rest)) = text::split_once(line, b':') else {
            sink.malformed();
            continue;
        };
        let Some(device) = text::utf8(device.trim_ascii()) else {
            sink.malformed();
            continue;
        };
        for ((name, _), field) in COLUMNS.iter().zip(text::fields(rest)) {
            match text::number(field) {
                Some(value) => sink.emit(&TRAFFIC, name, &[("device", device)], value),
                None => sink.malformed(),
            }
        }
    }
}
