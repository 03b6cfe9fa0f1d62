//! Which blocks there are: finding them at the start, adding, removing, and setting aside what is damaged.

use std::io;
use std::sync::Arc;

use crate::block::{self, Block, FOLDER, Fault};
use crate::disk::Disk;
use crate::error::{Quarantined, StoreError};
use watchfire_shared::time::Timestamp;

const QUARANTINE_SUFFIX: &str = ".damaged";

/// The blocks in use. A clone of the list is one reference count.
#[derive(Default)]
pub(super) struct Blocks {
    /// By the time of their first row.
    list: Arc<Vec<Arc<Block>>>,
    /// The number of the next block; none is used twice.
    next: u64,
    /// Whether every name that was taken from the folder is durably gone.
    settled: bool,
    /// Blocks that are not in the list, but may be in the folder: naming them failed half way, and so did removing them.
    unknown: Vec<u64>,
}

impl Blocks {
    /// Opens every block. What is damaged is set aside, what a crash left unfinished or replaced is removed.
    pub(super) fn open(disk: &impl Disk, quarantined: &mut Vec<Quarantined>) -> Result<Self, StoreError> {
        let names = disk.list(FOLDER).map_err(failed("list", FOLDER))?;
        for name in names.iter().filter(|name| name.ends_with(block::NEW_SUFFIX)) {
            let path = format!("{FOLDER}/{name}");
            disk.remove(&path).map_err(failed("remove", &path))?;
        }
        let numbers: Vec<u64> = names.iter().filter_map(|name| block::number_of(name)).collect();
        let mut found = Vec::new();
        for number in &numbers {
            let path = block::path(*number);
            match Block::open(disk, *number) {
                Ok(block) => found.push(block),
                Err(Fault::Newer { found }) => {
                    return Err(StoreError::NewerFormat { path, found, known: block::FORMAT_VERSION });
                }
                Err(Fault::Io(error)) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    return Err(failed("read", &path)(error));
                }
                Err(fault) => {
                    let kept = quarantine(disk, *number, fault.to_string()).map_err(failed("set aside", &path))?;
                    quarantined.push(kept);
                }
            }
        }
        let mut blocks = Self { next: numbers.last().map_or(1, |last| last + 1), ..Self::default() };
        let replaced: Vec<u64> = found.iter().flat_map(|block| block.footer.replaces.iter().copied()).collect();
        for block in found {
            if replaced.contains(&block.footer.number) {
                let path = block::path(block.footer.number);
                disk.remove(&path).map_err(failed("remove", &path))?;
            } else {
                blocks.add(block);
            }
        }
        Ok(blocks)
    }

    pub(super) fn list(&self) -> &Arc<Vec<Arc<Block>>> {
        &self.list
    }

    /// Length of all files, bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.list.iter().map(|block| block.bytes).sum()
    }

    /// The last segment of the log whose rows are all in blocks.
    pub(super) fn wal_through(&self) -> u64 {
        self.list.iter().map(|block| block.footer.wal_through).max().unwrap_or_default()
    }

    pub(super) fn last_order(&self) -> u64 {
        self.list.iter().map(|block| block.footer.last_order).max().unwrap_or_default()
    }

    /// The number of the next block.
    pub(super) fn next_number(&self) -> u64 {
        self.next.max(1)
    }

    pub(super) fn take_number(&mut self) -> u64 {
        self.next = self.next_number() + 1;
        self.next - 1
    }

    /// Takes no number below this one from now on.
    pub(super) fn skip_to(&mut self, number: u64) {
        self.next = self.next.max(number);
    }

    pub(super) fn add(&mut self, block: Block) {
        let list = Arc::make_mut(&mut self.list);
        let at = list.partition_point(|other| {
            (other.footer.first, other.footer.number) < (block.footer.first, block.footer.number)
        });
        list.insert(at, Arc::new(block));
    }

    fn forget(&mut self, number: u64) {
        self.settled = false;
        Arc::make_mut(&mut self.list).retain(|block| block.footer.number != number);
    }

    /// Removes the file of a block that could not be given its name for good, if it has the name.
    pub(super) fn remove_unknown(&mut self, disk: &impl Disk, number: u64) {
        self.settled = false;
        self.unknown.push(number);
        // What fails is tried again by whoever has to rely on it.
        let _ = self.settle(disk);
    }

    /// Makes sure that no block but those of the list is in the folder after a crash, unless one of them replaces it. At
    /// the start nobody knows.
    pub(super) fn settle(&mut self, disk: &impl Disk) -> io::Result<()> {
        while let Some(number) = self.unknown.last() {
            match disk.remove(&block::path(*number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.unknown.pop(),
            };
        }
        if !self.settled {
            match disk.sync_folder(FOLDER) {
                // Nothing comes back in a folder that was never made.
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.settled = true,
            }
        }
        Ok(())
    }

    /// Removes a block's file. Should its name come back after a crash, it is removed again for the same reason.
    pub(super) fn remove(&mut self, disk: &impl Disk, number: u64) -> Result<(), StoreError> {
        let path = block::path(number);
        match disk.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed("remove", &path)(error)),
            _ => self.forget(number),
        }
        Ok(())
    }

    /// Sets a block aside: it is not read any more.
    pub(super) fn set_aside(
        &mut self,
        disk: &impl Disk,
        number: u64,
        reason: String,
    ) -> Result<Quarantined, StoreError> {
        let kept = quarantine(disk, number, reason).map_err(failed("set aside", &block::path(number)))?;
        self.forget(number);
        Ok(kept)
    }
}

/// Damaged blocks that an earlier start, or a reader before it, has set aside.
pub(super) fn set_aside_before(disk: &impl Disk) -> Result<Vec<Quarantined>, StoreError> {
    let names = disk.list(FOLDER).map_err(failed("list", FOLDER))?;
    let damaged = names.iter().filter_map(|name| Some((name, name.split_once(QUARANTINE_SUFFIX)?.0)));
    let kept = damaged.map(|(name, before)| {
        let kept_as = format!("{FOLDER}/{name}");
        let reason = "set aside by an earlier start".to_owned();
        let mut kept = Quarantined::unknown(format!("{FOLDER}/{before}"), kept_as, reason, 0);
        kept.lost_bytes = disk.open(&kept.kept_as).and_then(|file| file.length()).unwrap_or_default();
        if let Ok(footer) = block::footer_of(disk, &kept.kept_as) {
            (kept.from, kept.to) = (Timestamp::from_millis(footer.first), Timestamp::from_millis(footer.last));
        }
        kept
    });
    Ok(kept.collect())
}

pub(super) fn failed(action: &'static str, path: &str) -> impl Fn(io::Error) -> StoreError + Clone + use<> {
    let path = path.to_owned();
    move |error| StoreError::Io { action, path: path.clone(), error }
}

fn quarantine(disk: &impl Disk, number: u64, reason: String) -> io::Result<Quarantined> {
    let names = disk.list(FOLDER)?;
    let path = block::path(number);
    let free = |path: &String| !names.iter().any(|name| path.strip_prefix(FOLDER) == Some(&format!("/{name}")));
    let numbered = (2..).map(|number| format!("{path}{QUARANTINE_SUFFIX}.{number}"));
    let kept_as = std::iter::once(format!("{path}{QUARANTINE_SUFFIX}")).chain(numbered).find(free);
    let kept_as = kept_as.expect("an endless sequence has a name that is free");
    let lost_bytes = disk.open(&path)?.length()?;
    let mut kept = Quarantined::unknown(path, kept_as, reason, lost_bytes);
    if let Ok(footer) = block::footer_of(disk, &kept.path) {
        (kept.from, kept.to) = (Timestamp::from_millis(footer.first), Timestamp::from_millis(footer.last));
    }
    disk.rename(&kept.path, &kept.kept_as)?;
    // If it fails, the block may be there again after a crash, and is found damaged and set aside again.
    let _ = disk.sync_folder(FOLDER);
    Ok(kept)
}
