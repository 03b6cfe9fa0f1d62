//! What samplers ask of the host: bytes of kernel files, a dump of links, answers of statfs.
//!
//! Samplers only parse. Whoever implements [`Host`] opens, keeps and guards: the agent's shell does it on the real host,
//! the tests with fixture files. Nothing here decides what a value means.

use std::fmt;

/// Why a source gave nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HostError {
    /// The kernel or the machine does not have it; no mistake of anybody.
    Missing,
    /// It is there and could not be read; the text says why.
    Failed(String),
}

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("not there"),
            Self::Failed(reason) => f.write_str(reason),
        }
    }
}

/// Sizes of a mounted filesystem as `statfs(2)` gives them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FilesystemStats {
    /// Bytes of one block.
    pub block_size: u64,
    pub blocks: u64,
    pub blocks_free: u64,
    /// Blocks that users without privileges may take.
    pub blocks_available: u64,
    pub files: u64,
    pub files_free: u64,
}

/// What a mount point answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FilesystemAnswer {
    Stats(FilesystemStats),
    /// `statfs` failed, or did not return in time and is still being waited for.
    Error,
}

/// What only the driver of a network device knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LinkSettings {
    /// Mbit/s; `None` where the device has no speed or does not know it.
    pub speed_mbit: Option<u32>,
    /// `full`, `half` or `unknown`; empty where the device has none.
    pub duplex: &'static str,
}

/// `uname(2)`, as text.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Uname {
    pub sysname: String,
    pub release: String,
    pub version: String,
    pub machine: String,
    pub nodename: String,
    pub domainname: String,
}

/// What is known of the machine once and does not change while it runs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostFacts {
    /// Bytes of a memory page.
    pub page_size: u64,
    /// Units of `/proc/stat` per second.
    pub ticks_per_second: u64,
    pub cpu_brand: String,
    pub product_name: String,
    pub vendor_name: String,
}

impl Default for HostFacts {
    fn default() -> Self {
        Self {
            page_size: 4096,
            ticks_per_second: 100,
            cpu_brand: String::new(),
            product_name: String::new(),
            vendor_name: String::new(),
        }
    }
}

/// The host as samplers see it.
pub trait Host {
    /// The whole content of a file; valid until the next call.
    ///
    /// # Errors
    /// [`HostError::Missing`] if there is no such file, otherwise why it could not be read.
    fn read(&mut self, path: &'static str) -> Result<&[u8], HostError>;

    /// The answer to an RTM_GETLINK dump (rtnetlink(7)): netlink messages one after the other.
    ///
    /// # Errors
    /// If the kernel or a sandbox refuses netlink sockets.
    fn links(&mut self) -> Result<&[u8], HostError>;

    /// Speed and duplex of a network device, at most a minute old.
    fn link_settings(&mut self, device: &str) -> LinkSettings;

    /// Asks each mount point for its sizes; `answers` gets one per mount point, in order. Returns within a bounded time
    /// whatever the mounts do.
    fn filesystems(&mut self, mount_points: &[&str], answers: &mut Vec<FilesystemAnswer>);

    fn uname(&mut self) -> Uname;

    fn facts(&self) -> &HostFacts;

    /// Seconds since 1970 by the wall clock.
    fn wall_clock(&self) -> f64;

    /// Microseconds by a clock that only rises, for durations.
    fn monotonic_micros(&self) -> u64;
}
