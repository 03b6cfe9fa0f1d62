//! Counters of the network protocols, by node_exporter's default filter.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;
use watchfire_shared::sample::MetricKind::Untyped;

pub(super) const SAMPLER: Sampler = Sampler { name: "netstat", sample };

static FIELD: Family = Family::fields("node_netstat_", "", Untyped, "Statistic {}.");

/// The files with IPv6 counters are missing where IPv6 is switched off.
fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    read_pairs(host.read("/proc/net/netstat")?, sink);
    read_pairs(host.read("/proc/net/snmp")?, sink);
    match host.read("/proc/net/snmp6") {
        Ok(bytes) => read_lines(bytes, sink),
        Err(HostError::Missing) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Files of line pairs: names, then values, both after the protocol.
fn read_pairs(bytes: &[u8], sink: &mut Sink) {
    let mut name = String::with_capacity(64);
    let mut lines = text::lines(bytes);
    while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
        let (mut names, mut values) = (text::fields(names), text::fields(values));
        let protocol = names.next();
        if protocol.is_none() || protocol != values.next() {
            sink.malformed();
            return;
        }
        let Some(protocol) = protocol.and_then(|field| field.strip_suffix(b":")).and_then(text::utf8) else {
            sink.malformed();
            continue;
        };
        for (field, value) in names.zip(values) {
            let Some(field) = text::utf8(field).filter(|field| kept(protocol, field)) else { continue };
            emit(&mut name, protocol, field, value, sink);
        }
    }
}

/// Lines of a name and a value, where the name begins with the protocol, which ends with 6.
fn read_lines(bytes: &[u8], sink: &mut Sink) {
    let mut name = String::with_capacity(64);
    for line in text::lines(bytes) {
        let mut fields = text::fields(line);
        let (Some(field), Some(value)) = (fields.next().and_then(text::utf8), fields.next()) else {
            sink.malformed();
            continue;
        };
        let Some(at) = field.find('6') else { continue };
        let (protocol, field) = field.split_at(at + 1);
        if kept(protocol, field) {
            emit(&mut name, protocol, field, value, sink);
        }
    }
}

fn emit(name: &mut String, protocol: &str, field: &str, value: &[u8], sink: &mut Sink) {
    name.clear();
    name.push_str(protocol);
    name.push('_');
    name.push_str(field);
    match text::float(value) {
        Some(value) => sink.emit(&FIELD, name, &[], value),
        None => sink.malformed(),
    }
}

/// `--collector.netstat.fields` of node_exporter, spelt out.
fn kept(protocol: &str, field: &str) -> bool {
    if field.ends_with("InErrors") || field.ends_with("InErrs") {
        return true;
    }
    match protocol {
        "Ip" => field == "Forwarding",
        "Ip6" | "IpExt" => matches!(field, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(field, "InMsgs" | "OutMsgs"),
        "TcpExt" => {
            field.starts_with("Listen")
                || field.starts_with("Syncookies")
                || matches!(field, "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop")
        }
        "Tcp" => matches!(
            field,
            "ActiveOpens" | "InSegs" | "OutSegs" | "OutRsts" | "PassiveOpens" | "RetransSegs" | "CurrEstab"
        ),
        "Udp" | "Udp6" => {
            matches!(field, "InDatagrams" | "OutDatagrams" | "NoPorts" | "RcvbufErrors" | "SndbufErrors")
        }
        _ => false,
    }
}
