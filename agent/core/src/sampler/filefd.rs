//! File handles of the whole system.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "filefd", sample };

static ALLOCATED: Family = Family::gauge("node_filefd_allocated", "File descriptor statistics: allocated.");
static MAXIMUM: Family = Family::gauge("node_filefd_maximum", "File descriptor statistics: maximum.");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let mut fields = text::lines(host.read("/proc/sys/fs/file-nr")?).next().into_iter().flat_map(text::fields);
    // The second number has been 0 since Linux 2.6.
    match (fields.next().and_then(text::number), fields.nth(1).and_then(text::number)) {
        (Some(allocated), Some(maximum)) => {
            sink.value(&ALLOCATED, allocated);
            sink.value(&MAXIMUM, maximum);
        }
        _ => sink.malformed(),
    }
    Ok(())
}
