//! The real host: kernel files by kept descriptors, links by netlink, mounts by a guarded thread.
//!
//! One buffer is read into again and again. A file of `/proc` is opened once; every round reads it from its beginning.

mod links;

mod mounts;

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use sysinfo::{CpuRefreshKind, Product, System};
use watchfire_agent_core::host::{FilesystemAnswer, Host, HostError, HostFacts, LinkSettings, Uname};

/// Read at a time. The kernel gives a page or so at once, and zeroes as much as is asked for.
const READ_BYTES: usize = 32 << 10;
/// The same for `/proc/sys`, where the kernel clears the whole buffer although the answer is one line.
const READ_SYSCTL_BYTES: usize = 128;
/// A kernel file, bytes. `/proc/stat` of a machine with 512 CPUs and 4,000 interrupts has 200 KiB.
const MAX_FILE_BYTES: usize = 8 << 20;
/// How long speed and duplex of a device, and files outside of `/proc`, are taken for unchanged.
const KEEP: Duration = Duration::from_secs(60);

/// The host that this process runs on.
#[derive(Debug)]
pub(crate) struct RealHost {
    files: BTreeMap<&'static str, File>,
    buffer: Vec<u8>,
    length: usize,
    /// What the buffer holds, for two samplers that read the same file.
    held: Option<&'static str>,
    kept: BTreeMap<&'static str, (Instant, Vec<u8>)>,
    links: links::Links,
    mounts: mounts::Guard,
    settings: BTreeMap<String, LinkSettings>,
    settings_at: Instant,
    facts: HostFacts,
    started: Instant,
}

impl RealHost {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            files: BTreeMap::new(),
            buffer: vec![0; READ_BYTES],
            length: 0,
            held: None,
            kept: BTreeMap::new(),
            links: links::Links::default(),
            mounts: mounts::Guard::default(),
            settings: BTreeMap::new(),
            settings_at: now,
            facts: facts(),
            started: now,
        }
    }

    /// Begins a round: nothing of the one before counts.
    pub(crate) fn begin(&mut self) {
        self.held = None;
        self.links.forget();
        if self.settings_at.elapsed() > KEEP {
            self.settings.clear();
            self.settings_at = Instant::now();
        }
    }

    fn fill(&mut self, path: &'static str) -> io::Result<()> {
        if !self.files.contains_key(path) {
            self.files.insert(path, File::open(path)?);
        }
        let file = &self.files[path];
        let step = if path.starts_with("/proc/sys/") { READ_SYSCTL_BYTES } else { READ_BYTES };
        self.length = 0;
        loop {
            if self.buffer.len() < self.length + step {
                if self.buffer.len() >= MAX_FILE_BYTES {
                    return Err(io::Error::other("the file is too large"));
                }
                self.buffer.resize(self.length + step, 0);
            }
            let room = &mut self.buffer[self.length..self.length + step];
            match file.read_at(room, self.length as u64) {
                Ok(0) => return Ok(()),
                Ok(read) => self.length += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn error(error: &io::Error) -> HostError {
    match error.kind() {
        // The kernel was built or booted without it.
        io::ErrorKind::NotFound | io::ErrorKind::Unsupported => HostError::Missing,
        _ => HostError::Failed(error.to_string()),
    }
}

impl Host for RealHost {
    fn read(&mut self, path: &'static str) -> Result<&[u8], HostError> {
        if !path.starts_with("/proc/") {
            // Such a file may be replaced, so no descriptor of it is kept; it changes with an upgrade, not with a tick.
            if self.kept.get(path).is_none_or(|(at, _)| at.elapsed() > KEEP) {
                let bytes = std::fs::read(path).map_err(|e| error(&e))?;
                self.kept.insert(path, (Instant::now(), bytes));
            }
            return Ok(&self.kept[path].1);
        }
        if self.held != Some(path) {
            self.held = None;
            if self.fill(path).is_err() {
                // The descriptor may be of a file that is gone and came back, such as one of a module.
                self.files.remove(path);
                self.fill(path).map_err(|e| error(&e))?;
            }
            self.held = Some(path);
        }
        Ok(&self.buffer[..self.length])
    }

    fn links(&mut self) -> Result<&[u8], HostError> {
        self.links.dump().map_err(|error| HostError::Failed(error.to_string()))
    }

    fn link_settings(&mut self, device: &str) -> LinkSettings {
        if let Some(known) = self.settings.get(device) {
            return *known;
        }
        let settings = links::settings(device);
        self.settings.insert(device.to_owned(), settings);
        settings
    }

    fn filesystems(&mut self, mount_points: &[&str], answers: &mut Vec<FilesystemAnswer>) {
        self.mounts.ask(mount_points, answers);
    }

    fn uname(&mut self) -> Uname {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Uname {
            sysname: text(uname.sysname()),
            release: text(uname.release()),
            version: text(uname.version()),
            machine: text(uname.machine()),
            nodename: text(uname.nodename()),
            domainname: text(uname.domainname()),
        }
    }

    fn facts(&self) -> &HostFacts {
        &self.facts
    }

    fn wall_clock(&self) -> f64 {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_micros() as f64 / 1e6)
    }

    fn monotonic_micros(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// The inventory: what sysinfo knows once and for all.
fn facts() -> HostFacts {
    let mut system = System::new().ok();
    if let Some(system) = &mut system {
        system.refresh_cpu_list(CpuRefreshKind::nothing());
    }
    let brand = system.as_ref().and_then(|system| system.cpus().first()).map(|cpu| cpu.brand().trim().to_owned());
    HostFacts {
        page_size: rustix::param::page_size() as u64,
        ticks_per_second: rustix::param::clock_ticks_per_second(),
        cpu_brand: brand.unwrap_or_default(),
        product_name: Product::name().map(|name| name.trim().to_owned()).unwrap_or_default(),
        vendor_name: Product::vendor_name().map(|name| name.trim().to_owned()).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
