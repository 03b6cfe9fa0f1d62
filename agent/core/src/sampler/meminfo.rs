//! Every line of `/proc/meminfo`: bytes where the kernel says kB, plain counts where it says nothing.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;
use watchfire_shared::sample::MetricKind::Gauge;

pub(super) const SAMPLER: Sampler = Sampler { name: "meminfo", sample };

static BYTES: Family = Family::fields("node_memory_", "_bytes", Gauge, "Memory information field {}_bytes.");
static COUNT: Family = Family::fields("node_memory_", "", Gauge, "Memory information field {}.");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let mut name = String::with_capacity(64);
    for line in text::lines(host.read("/proc/meminfo")?) {
        let mut fields = text::fields(line);
        let field = fields.next().and_then(|field| field.strip_suffix(b":")).and_then(text::utf8);
        let value = fields.next().and_then(text::number);
        match (field, value, fields.next()) {
            (Some(field), Some(value), Some(b"kB")) => sink.emit(&BYTES, plain(field, &mut name), &[], value * 1024.0),
            (Some(field), Some(value), None) => sink.emit(&COUNT, plain(field, &mut name), &[], value),
            _ => sink.malformed(),
        }
    }
    Ok(())
}

/// `Active(anon)` as `Active_anon`.
fn plain<'a>(field: &'a str, name: &'a mut String) -> &'a str {
    if !field.contains('(') {
        return field;
    }
    name.clear();
    name.extend(field.chars().filter(|char| *char != ')').map(|char| if char == '(' { '_' } else { char }));
    name
}
