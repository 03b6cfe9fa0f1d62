//! Properties of network devices: whether they are up, their carrier, speed, MTU and identity.

use super::Sampler;
use crate::host::{Host, HostError, LinkSettings};
use crate::rtnetlink::{self, Link};
use crate::sink::{Family, Label, Sink};
use watchfire_shared::sample::MetricKind::Gauge;

pub(super) const SAMPLER: Sampler = Sampler { name: "netclass", sample };

static UP: Family = Family::gauge("node_network_up", "Value is 1 if operstate is 'up', 0 otherwise.");
static INFO: Family =
    Family::gauge("node_network_info", "Non-numeric data from /sys/class/net/<iface>, value is always 1.");
static PROPERTY: Family = Family::fields("node_network_", "", Gauge, "Network device property: {}");
static CHANGES: Family =
    Family::counter("node_network_carrier_changes_total", "Network device property: carrier_changes_total");
static UP_CHANGES: Family =
    Family::counter("node_network_carrier_up_changes_total", "Network device property: carrier_up_changes_total");
static DOWN_CHANGES: Family =
    Family::counter("node_network_carrier_down_changes_total", "Network device property: carrier_down_changes_total");

/// IF_OPER_* of RFC 2863, by number.
const STATES: [&str; 7] = ["unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"];
/// IFF_RUNNING follows the carrier; the flags of sysfs are without it.
const RUNNING: u32 = 0x40;
const BYTES_PER_SECOND_OF_MBIT: f64 = 1e6 / 8.0;

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let dump = host.links()?.to_vec();
    let mut text = String::with_capacity(128);
    if !rtnetlink::links(&dump, |link| emit(link, host.link_settings(link.name), &mut text, sink)) {
        sink.malformed();
    }
    Ok(())
}

fn emit(link: &Link<'_>, settings: LinkSettings, text: &mut String, sink: &mut Sink) {
    let state = link.operational_state.and_then(|state| STATES.get(usize::from(state))).copied().unwrap_or("unknown");
    info(link, settings, state, text, sink);
    let labels = [("device", link.name)];
    sink.emit(&UP, "", &labels, f64::from(u8::from(state == "up")));
    let lower = link.lower_index.unwrap_or(link.index);
    // The kernel knows no carrier of a device that is switched off.
    let carrier = link.carrier.filter(|_| link.is_up()).map(u32::from);
    let properties = [
        ("carrier", carrier),
        ("dormant", Some(u32::from(state == "dormant"))),
        ("flags", Some(link.flags & 0xffff & !RUNNING)),
        ("iface_id", Some(link.index)),
        ("iface_link", Some(lower)),
        ("iface_link_mode", link.link_mode.map(u32::from)),
        ("mtu_bytes", link.mtu),
        ("net_dev_group", link.group),
        ("transmit_queue_length", link.queue_length),
        ("protocol_type", Some(u32::from(link.hardware_type))),
    ];
    for (name, value) in properties {
        emit_some(&PROPERTY, name, &labels, value.map(f64::from), sink);
    }
    let speed = settings.speed_mbit.map(|speed| f64::from(speed) * BYTES_PER_SECOND_OF_MBIT);
    emit_some(&PROPERTY, "speed_bytes", &labels, speed, sink);
    emit_some(&CHANGES, "", &labels, link.carrier_changes.map(f64::from), sink);
    emit_some(&UP_CHANGES, "", &labels, link.carrier_up.map(f64::from), sink);
    emit_some(&DOWN_CHANGES, "", &labels, link.carrier_down.map(f64::from), sink);
}

fn emit_some(family: &'static Family, field: &str, labels: &[Label<'_>], value: Option<f64>, sink: &mut Sink) {
    if let Some(value) = value {
        sink.emit(family, field, labels, value);
    }
}

fn info(link: &Link<'_>, settings: LinkSettings, state: &str, text: &mut String, sink: &mut Sink) {
    text.clear();
    hexadecimal(link.address, text);
    let middle = text.len();
    hexadecimal(link.broadcast, text);
    let labels = [
        ("device", link.name),
        ("address", &text[..middle]),
        ("broadcast", &text[middle..]),
        ("duplex", settings.duplex),
        ("operstate", state),
        ("adminstate", if link.is_up() { "up" } else { "down" }),
        ("ifalias", link.alias),
    ];
    sink.emit(&INFO, "", &labels, 1.0);
}

/// `02:fc:00:00:00:01`.
fn hexadecimal(address: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (at, byte) in address.iter().enumerate() {
        if at > 0 {
            text.push(':');
        }
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}
