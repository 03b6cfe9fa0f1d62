//! The lines of `/proc/vmstat` that node_exporter keeps by default: `^(oom_kill|pgpg|pswp|pg.*fault)`.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;
use watchfire_shared::sample::MetricKind::Untyped;

pub(super) const SAMPLER: Sampler = Sampler { name: "vmstat", sample };

static FIELD: Family = Family::fields("node_vmstat_", "", Untyped, "/proc/vmstat information field {}.");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    for line in text::lines(host.read("/proc/vmstat")?) {
        // Most lines are not kept: their first byte says so.
        if !matches!(line.first(), Some(b'o' | b'p')) {
            continue;
        }
        let mut fields = text::fields(line);
        let Some(name) = fields.next().and_then(text::utf8).filter(|name| kept(name)) else { continue };
        match fields.next().and_then(text::float) {
            Some(value) => sink.emit(&FIELD, name, &[], value),
            None => sink.malformed(),
        }
    }
    Ok(())
}

fn kept(name: &str) -> bool {
    name.starts_with("oom_kill")
        || name.starts_with("pgpg")
        || name.starts_with("pswp")
        || name.strip_prefix("pg").is_some_and(|rest| rest.contains("fault"))
}
