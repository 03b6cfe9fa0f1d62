//! The spool's disk: segments as append-only files, and the state file with the cursors.
//!
//! ```text
//! DATA_DIR/spool/0000000000000001.seg    a segment, named by its first sequence
//! DATA_DIR/spool/cursors                 what each collector has
//! DATA_DIR/life.journal                  when the agent ran, for the history of collectors that could not see it
//! ```
//!
//! One thread does all of it, in order. What the disk does not take (it is full, it fails) stays in memory behind the
//! part that it took, is tried again with every append and sync, and reads as if it were there.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use tokio::sync::mpsc;
use watchfire_agent_core::agent::Input;
use watchfire_agent_core::spool::{Found, FoundSegment, SegmentScan, SpoolEffect};
use watchfire_shell::files::{read_optional, write_atomic};

/// Orders that wait for the disk. A disk that hangs for as many ticks is dead; what comes then is lost and counted when
/// the log is read.
pub(crate) const MAX_ORDERS: usize = 4096;

const STATE: &str = "cursors";
const LIFE: &str = "life.journal";

/// What the thread of the disk is asked to do.
#[derive(Debug)]
pub(crate) enum DiskOrder {
    Spool(SpoolEffect),
    /// Replace the journal of the agent's life.
    KeepLife(Vec<u8>),
}

/// The files of the spool.
#[derive(Debug)]
pub(crate) struct SpoolDisk {
    folder: PathBuf,
    segments: BTreeMap<u64, Segment>,
    /// Segments with bytes that are not durable.
    dirty: BTreeMap<u64, File>,
    /// Whether files were made or deleted since the folder was synced.
    folder_dirty: bool,
    failing: bool,
}

#[derive(Debug, Default)]
struct Segment {
    on_disk: u64,
    pending: Vec<u8>,
}

impl SpoolDisk {
    /// Opens the spool in a data directory, cuts torn tails off, and tells what was found.
    ///
    /// # Errors
    /// If the folder cannot be made or read. A single segment that cannot be read is left out.
    pub(crate) fn open(data_dir: &Path) -> io::Result<(Self, Found)> {
        let folder = data_dir.join("spool");
        fs::create_dir_all(&folder)?;
        let mut found = Found::default();
        let mut segments = BTreeMap::new();
        for entry in fs::read_dir(&folder)?.flatten() {
            let Some(segment) = segment_of(&entry.path()) else { continue };
            match scan(&entry.path()) {
                Ok(scan) => {
                    segments.insert(segment, Segment { on_disk: scan.valid_bytes, pending: Vec::new() });
                    found.segments.push(FoundSegment { segment, scan });
                }
                Err(error) => {
                    tracing::warn!(%error, file = %entry.path().display(), "a part of the spool cannot be read")
                }
            }
        }
        found.state = fs::read(folder.join(STATE)).ok();
        Ok((Self { folder, segments, dirty: BTreeMap::new(), folder_dirty: false, failing: false }, found))
    }

    /// Performs one order; what it brings goes to `answer`.
    pub(crate) fn perform(&mut self, effect: SpoolEffect, mut answer: impl FnMut(Input)) {
        let result = match effect {
            SpoolEffect::Append { segment, bytes } => {
                self.segments.entry(segment).or_default().pending.extend(bytes);
                self.flush()
            }
            SpoolEffect::Read { connection, segment, offset, length } => {
                let bytes = self.read(segment, offset, length).ok();
                return answer(Input::SpoolRead { connection, segment, offset, bytes });
            }
            SpoolEffect::Delete { segment } => {
                self.segments.remove(&segment);
                self.dirty.remove(&segment);
                self.folder_dirty = true;
                match fs::remove_file(self.path(segment)) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                    _ if self.failing => self.flush(),
                    _ => return,
                }
            }
            SpoolEffect::Save { bytes } => {
                write_atomic(&self.folder.join(STATE), &bytes).map_err(|error| io::Error::other(error.to_string()))
            }
            SpoolEffect::Sync => self.flush().and_then(|()| self.sync()),
        };
        let waits = self.segments.values().any(|segment| !segment.pending.is_empty());
        match result {
            Err(error) => {
                self.failing = true;
                answer(Input::SpoolFailed { reason: error.to_string() });
            }
            Ok(()) if self.failing && !waits => {
                self.failing = false;
                answer(Input::SpoolRecovered);
            }
            Ok(()) => {}
        }
    }

    /// Writes what waits, the oldest segment first, so that a crash leaves no hole.
    fn flush(&mut self) -> io::Result<()> {
        for (segment, content) in &mut self.segments {
            if content.pending.is_empty() {
                continue;
            }
            if !self.dirty.contains_key(segment) {
                let path = self.folder.join(name(*segment));
                let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
                self.dirty.insert(*segment, file);
                self.folder_dirty = true;
            }
            let file = &self.dirty[segment];
            while !content.pending.is_empty() {
                // The place is given with every write: after one that failed half way, the next begins where it should.
                match file.write_at(&content.pending, content.on_disk) {
                    Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                    Ok(written) => {
                        content.on_disk += written as u64;
                        content.pending.drain(..written);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        for file in self.dirty.values() {
            file.sync_data()?;
        }
        self.dirty.clear();
        if std::mem::take(&mut self.folder_dirty) {
            File::open(&self.folder)?.sync_all()?;
        }
        Ok(())
    }

    fn read(&self, segment: u64, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let content = self.segments.get(&segment).ok_or(io::ErrorKind::NotFound)?;
        let from_disk = content.on_disk.saturating_sub(offset).min(length as u64) as usize;
        let mut bytes = vec![0; from_disk];
        if from_disk > 0 {
            File::open(self.path(segment))?.read_exact_at(&mut bytes, offset)?;
        }
        let start = offset.saturating_sub(content.on_disk) as usize;
        if let Some(rest) = content.pending.get(start..) {
            bytes.extend(rest.iter().take(length - from_disk));
        }
        Ok(bytes)
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.folder.join(name(segment))
    }
}

fn name(segment: u64) -> String {
    format!("{segment:016x}.seg")
}

fn segment_of(path: &Path) -> Option<u64> {
    if path.extension()? != "seg" {
        return None;
    }
    u64::from_str_radix(path.file_stem()?.to_str()?, 16).ok()
}

fn scan(path: &Path) -> io::Result<SegmentScan> {
    let bytes = fs::read(path)?;
    let scan = SegmentScan::of(&bytes);
    if scan.valid_bytes < bytes.len() as u64 {
        let lost = bytes.len() as u64 - scan.valid_bytes;
        tracing::warn!(file = %path.display(), bytes = lost, "a torn end of the spool was cut off");
        OpenOptions::new().write(true).open(path)?.set_len(scan.valid_bytes)?;
    }
    Ok(scan)
}

/// The file of the agent's own life. Nothing waits for it: what a failing disk does not take now, it may take in a minute.
#[derive(Debug)]
pub(crate) struct LifeFile {
    path: PathBuf,
    failing: bool,
}

impl LifeFile {
    /// Names the file and reads what an earlier life left in it.
    pub(crate) fn open(data_dir: &Path) -> (Self, Option<Vec<u8>>) {
        let path = data_dir.join(LIFE);
        let found = read_optional(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "what this agent noted of its earlier lives cannot be read and begins anew");
            None
        });
        (Self { path, failing: false }, found)
    }

    pub(crate) fn keep(&mut self, bytes: &[u8]) {
        match write_atomic(&self.path, bytes) {
            Ok(()) => self.failing = false,
            Err(error) if !std::mem::replace(&mut self.failing, true) => {
                tracing::warn!(%error, "the agent's journal of its life cannot be written; it is tried again");
            }
            Err(_) => {}
        }
    }
}

/// Starts the thread that owns the disk. It ends once the sender is dropped and everything ordered is done.
///
/// # Errors
/// If the system gives no thread.
pub(crate) fn start(
    mut disk: SpoolDisk,
    mut life: LifeFile,
    inputs: mpsc::Sender<Input>,
) -> io::Result<(mpsc::Sender<DiskOrder>, std::thread::JoinHandle<()>)> {
    let (orders, mut inbox) = mpsc::channel(MAX_ORDERS);
    let work = move || {
        while let Some(order) = inbox.blocking_recv() {
            match order {
                // At the end nobody listens any more, and what was ordered is done all the same.
                DiskOrder::Spool(effect) => disk.perform(effect, |input| drop(inputs.blocking_send(input))),
                DiskOrder::KeepLife(bytes) => life.keep(&bytes),
            }
        }
    };
    let thread = std::thread::Builder::new().name("spool".to_owned()).stack_size(256 << 10).spawn(work)?;
    Ok((orders, thread))
}

#[cfg(test)]
mod tests;
