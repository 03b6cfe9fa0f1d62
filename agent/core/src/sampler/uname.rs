//! What `uname(2)` says.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};

pub(super) const SAMPLER: Sampler = Sampler { name: "uname", sample };

static INFO: Family =
    Family::gauge("node_uname_info", "Labeled system information as provided by the uname system call.");

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let uname = host.uname();
    let labels = [
        ("sysname", &*uname.sysname),
        ("release", &*uname.release),
        ("version", &*uname.version),
        ("machine", &*uname.machine),
        ("nodename", &*uname.nodename),
        ("domainname", &*uname.domainname),
    ];
    sink.emit(&INFO, "", &labels, 1.0);
    Ok(())
}
