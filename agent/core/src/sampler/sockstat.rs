//! Sockets in use, by protocol.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;
use watchfire_shared::sample::MetricKind::Gauge;

pub(super) const SAMPLER: Sampler = Sampler { name: "sockstat", sample };

/// The name is protocol, `_` and state; the help names both.
static STATE: Family = Family::fields("node_sockstat_", "", Gauge, "Number of sockets: {}.");
static USED: Family = Family::gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.");

/// IPv6 may be switched off; then its file is missing.
fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let page_size = host.facts().page_size as f64;
    read(host.read("/proc/net/sockstat")?, page_size, sink);
    match host.read("/proc/net/sockstat6") {
        Ok(bytes) => read(bytes, page_size, sink),
        Err(HostError::Missing) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

fn read(bytes: &[u8], page_size: f64, sink: &mut Sink) {
    let mut name = String::with_capacity(64);
    for line in text::lines(bytes) {
        let mut fields = text::fields(line);
        let Some(protocol) = fields.next().and_then(|field| field.strip_suffix(b":")).and_then(text::utf8) else {
            sink.malformed();
            continue;
        };
        while let Some(state) = fields.next() {
            let (Some(state), Some(value)) = (text::utf8(state), fields.next().and_then(text::number)) else {
                sink.malformed();
                break;
            };
            if protocol == "sockets" {
                sink.value(&USED, value);
                continue;
            }
            join(&mut name, protocol, state);
            sink.emit(&STATE, &name, &[], value);
            if state == "mem" {
                name.push_str("_bytes");
                sink.emit(&STATE, &name, &[], value * page_size);
            }
        }
    }
}

fn join(name: &mut String, protocol: &str, state: &str) {
    name.clear();
    name.push_str(protocol);
    name.push('_');
    name.push_str(state);
}
