//! The operating system's name as os-release(5) has it, and the machine's make.

use super::Sampler;
use crate::host::{Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "os", sample };

static INFO: Family = Family::gauge(
    "node_os_info",
    "A metric with a constant '1' value labeled by build_id, id, id_like, image_id, image_version, name, pretty_name, \
     variant, variant_id, version, version_codename, version_id.",
);
static VERSION: Family = Family::gauge("node_os_version", "Metric containing the major.minor part of the OS version.");
static HARDWARE: Family =
    Family::gauge("watchfire_agent_hardware_info", "The machine's make and processor; the value is always 1.");

/// The label and its key in the file.
const KEYS: [(&str, &str); 12] = [
    ("build_id", "BUILD_ID"),
    ("id", "ID"),
    ("id_like", "ID_LIKE"),
    ("image_id", "IMAGE_ID"),
    ("image_version", "IMAGE_VERSION"),
    ("name", "NAME"),
    ("pretty_name", "PRETTY_NAME"),
    ("variant", "VARIANT"),
    ("variant_id", "VARIANT_ID"),
    ("version", "VERSION"),
    ("version_codename", "VERSION_CODENAME"),
    ("version_id", "VERSION_ID"),
];

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    hardware(host, sink);
    let bytes = match host.read("/etc/os-release") {
        Err(HostError::Missing) => host.read("/usr/lib/os-release")?,
        other => other?,
    };
    let mut labels = KEYS.map(|(label, _)| (label, ""));
    for line in text::lines(bytes).filter(|line| !line.starts_with(b"#")) {
        let Some((key, value)) = text::split_once(line, b'=') else {
            sink.malformed();
            continue;
        };
        let Some(at) = KEYS.iter().position(|(_, known)| known.as_bytes() == key) else { continue };
        match text::utf8(value) {
            Some(value) => labels[at].1 = value.trim().trim_matches(['"', '\'']),
            None => sink.malformed(),
        }
    }
    sink.emit(&INFO, "", &labels, 1.0);
    let [_, id, id_like, _, _, name, .., version] = labels;
    if let Some(version) = major_minor(version.1) {
        sink.emit(&VERSION, "", &[id, id_like, name], version);
    }
    Ok(())
}

/// `22.04.1` as 22.04.
fn major_minor(version: &str) -> Option<f64> {
    let end = version.match_indices('.').nth(1).map_or(version.len(), |(at, _)| at);
    version[..end].parse().ok().filter(|version: &f64| version.is_finite())
}

fn hardware(host: &mut dyn Host, sink: &mut Sink) {
    let facts = host.facts();
    if !(facts.cpu_brand.is_empty() && facts.product_name.is_empty() && facts.vendor_name.is_empty()) {
        let labels = [
            ("cpu_brand", &*facts.cpu_brand),
            ("product_name", &*facts.product_name),
            ("vendor_name", &*facts.vendor_name),
        ];
        sink.emit(&HARDWARE, "", &labels, 1.0);
    }
}
