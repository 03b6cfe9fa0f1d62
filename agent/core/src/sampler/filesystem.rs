//! Sizes, inodes and the state of mounted filesystems, with node_exporter's default filters.
//!
//! Whether a filesystem is read-only is read from `/proc/1/mountinfo` in every round (mount and superblock options, ext4's
//! `emergency_ro` included): `statfs` reports what the agent's own sandbox sees. A mount that does not answer in time has
//! `device_error` 1 and no sizes.

use std::borrow::Cow;

use super::Sampler;
use crate::host::{FilesystemAnswer, Host, HostError};
use crate::sink::{Family, Sink};
use crate::text;

pub(super) const SAMPLER: Sampler = Sampler { name: "filesystem", sample };

static SIZE: Family = Family::gauge("node_filesystem_size_bytes", "Filesystem size in bytes.");
static FREE: Family = Family::gauge("node_filesystem_free_bytes", "Filesystem free space in bytes.");
static AVAILABLE: Family =
    Family::gauge("node_filesystem_avail_bytes", "Filesystem space available to non-root users in bytes.");
static FILES: Family = Family::gauge("node_filesystem_files", "Filesystem total file nodes.");
static FILES_FREE: Family = Family::gauge("node_filesystem_files_free", "Filesystem total free file nodes.");
static READ_ONLY: Family = Family::gauge("node_filesystem_readonly", "Filesystem read-only status.");
static DEVICE_ERROR: Family = Family::gauge(
    "node_filesystem_device_error",
    "Whether an error occurred while getting statistics for the given device.",
);

/// Mounts of one host; a machine full of containers has thousands, and each costs seven series.
const MAX_MOUNTS: usize = 1000;

/// `--collector.filesystem.fs-types-exclude` of node_exporter.
const TYPES_LEFT_OUT: &[&str] = &[
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "erofs",
    "sysfs",
    "tracefs",
];
/// `--collector.filesystem.mount-points-exclude` of node_exporter: these and all below them ...
const TREES_LEFT_OUT: &[&str] = &["/dev", "/proc", "/sys"];
/// ... and all below these.
const CONTENTS_LEFT_OUT: &[&str] = &["/run/credentials/", "/var/lib/docker/", "/var/lib/containers/storage/"];

#[derive(PartialEq, Eq)]
struct Mount<'a> {
    device: Cow<'a, str>,
    mount_point: Cow<'a, str>,
    kind: &'a str,
    read_only: bool,
}

fn sample(host: &mut dyn Host, sink: &mut Sink) -> Result<(), HostError> {
    let bytes = match host.read("/proc/1/mountinfo") {
        // Without the right to see process 1 (hidepid), the own view is the next best.
        Err(_) => host.read("/proc/self/mountinfo")?,
        Ok(bytes) => bytes,
    };
    let bytes = bytes.to_vec();
    let mut mounts: Vec<Mount<'_>> = Vec::new();
    for line in text::lines(&bytes) {
        match mount(line) {
            Some(mount) if left_out(&mount) || mounts.len() == MAX_MOUNTS => {}
            Some(mount) => {
                let same = |other: &Mount<'_>| {
                    (&other.device, &other.mount_point, other.kind) == (&mount.device, &mount.mount_point, mount.kind)
                };
                if !mounts.iter().any(same) {
                    mounts.push(mount);
                }
            }
            None => sink.malformed(),
        }
    }
    let points: Vec<&str> = mounts.iter().map(|mount| &*mount.mount_point).collect();
    let mut answers = Vec::with_capacity(points.len());
    host.filesystems(&points, &mut answers);
    for (mount, answer) in mounts.iter().zip(answers) {
        emit(mount, answer, sink);
    }
    Ok(())
}

fn emit(mount: &Mount<'_>, answer: FilesystemAnswer, sink: &mut Sink) {
    let labels = [("device", &*mount.device), ("mountpoint", &*mount.mount_point), ("fstype", mount.kind)];
    let mut emit = |family, value: f64| sink.emit(family, "", &labels, value);
    emit(&DEVICE_ERROR, f64::from(u8::from(answer == FilesystemAnswer::Error)));
    emit(&READ_ONLY, f64::from(u8::from(mount.read_only)));
    let FilesystemAnswer::Stats(stats) = answer else { return };
    let bytes = |blocks: u64| blocks as f64 * stats.block_size as f64;
    emit(&SIZE, bytes(stats.blocks));
    emit(&FREE, bytes(stats.blocks_free));
    emit(&AVAILABLE, bytes(stats.blocks_available));
    emit(&FILES, stats.files as f64);
    emit(&FILES_FREE, stats.files_free as f64);
}

/// Reads one line of mountinfo (proc_pid_mountinfo(5)): fixed fields, optional ones, `-`, type, source, super options.
fn mount(line: &[u8]) -> Option<Mount<'_>> {
    let mut fields = text::fields(line).skip(4);
    let mount_point = text::utf8(fields.next()?)?;
    let mount_options = fields.next()?;
    let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = text::utf8(fields.next()?)?;
    let device = text::utf8(fields.next()?)?;
    // A source may be empty, and is then followed by the options at once.
    let super_options = fields.next().unwrap_or_default();
    let read_only = [mount_options, super_options]
        .iter()
        .any(|options| options.split(|byte| *byte == b',').any(|option| option == b"ro" || option == b"emergency_ro"));
    Some(Mount { device: unescape(device), mount_point: unescape(mount_point), kind, read_only })
}

/// Blanks, tabs, line ends and backslashes stand as `\` and three octal digits.
fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let code = tail.first_chunk::<3>().filter(|_| *first == b'\\').and_then(|digits| {
            let digit = |at: usize| (b'0'..=b'7').contains(&digits[at]).then(|| u32::from(digits[at] - b'0'));
            u8::try_from(digit(0)? * 64 + digit(1)? * 8 + digit(2)?).ok()
        });
        bytes.push(code.unwrap_or(*first));
        rest = if code.is_some() { &tail[3..] } else { tail };
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn left_out(mount: &Mount<'_>) -> bool {
    let point = &*mount.mount_point;
    let below = |tree: &str| point.strip_prefix(tree).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let inside = |tree: &str| point.strip_prefix(tree).is_some_and(|rest| !rest.is_empty());
    TYPES_LEFT_OUT.contains(&mount.kind)
        || TREES_LEFT_OUT.iter().any(|tree| below(tree))
        || CONTENTS_LEFT_OUT.iter().any(|tree| inside(tree))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_octal() {
        assert_eq!(unescape(r"/mnt/a\040b\134c"), r"/mnt/a b\c");
        assert_eq!(unescape(r"/mnt/\09\777"), r"/mnt/\09\777");
    }

    #[test]
    fn kernel_trees_are_left_out_and_their_namesakes_are_not() {
        let mount = |point: &'static str, kind: &'static str| Mount {
            device: "d".into(),
            mount_point: point.into(),
            kind,
            read_only: false,
        };
        for (point, kind) in [("/dev", "ext4"), ("/sys/x", "ext4"), ("/run/credentials/a", "tmpfs"), ("/a", "overlay")]
        {
            assert!(left_out(&mount(point, kind)), "{point}");
        }
        for (point, kind) in [("/", "ext4"), ("/device", "xfs"), ("/run", "tmpfs"), ("/var/lib/docker", "ext4")] {
            assert!(!left_out(&mount(point, kind)), "{point}");
        }
    }
}
