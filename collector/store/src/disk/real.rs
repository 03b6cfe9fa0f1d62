//! A folder of the operating system's file system.
#![allow(clippy::disallowed_methods, reason = "the one place of the store that touches real files")]

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, folder_of};

/// The file that one process at a time holds locked.
const LOCK_FILE: &str = "LOCK";

/// A folder that belongs to this process alone while any clone of this value lives.
#[derive(Clone, Debug)]
pub struct RealDisk {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Held, never read: the operating system frees the lock when the process ends, however it ends.
    _lock: File,
}

impl RealDisk {
    /// Makes the folder unless it exists, and locks it.
    ///
    /// # Errors
    /// `WouldBlock` if another process holds the folder; otherwise what the operating system says. Messages name the
    /// path.
    pub fn open(root: impl AsRef<Path>) -> io::Result<Self> {
        let path = root.as_ref().to_owned();
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        std::fs::create_dir_all(&path).map_err(named)?;
        let lock =
            OpenOptions::new().create(true).truncate(false).write(true).open(path.join(LOCK_FILE)).map_err(named)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message = format!("{}: in use by another process", path.display());
                return Err(io::Error::new(io::ErrorKind::WouldBlock, message));
            }
            Err(TryLockError::Error(error)) => return Err(named(error)),
        }
        Ok(Self { root: Arc::new(Root { path, _lock: lock }) })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path.join(path)
    }
}

fn open(path: &Path, new: bool) -> io::Result<Box<dyn DiskFile>> {
    let file = OpenOptions::new().read(true).write(true).create_new(new).open(path)?;
    Ok(Box::new(RealFile(file)))
}

impl Disk for RealDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        open(&self.path(path), true)
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        open(&self.path(path), false)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match std::fs::read_dir(self.path(folder)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            if let (true, Ok(name)) = (entry.file_type()?.is_file(), entry.file_name().into_string()) {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn create_folder(&self, folder: &str) -> io::Result<()> {
        std::fs::create_dir_all(self.path(folder))?;
        self.sync_folder(folder_of(folder))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        std::fs::remove_file(self.path(path))
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        File::open(self.path(folder))?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let statistics = rustix::fs::statvfs(&self.root.path)?;
        Ok(statistics.f_bavail.saturating_mul(statistics.f_frsize))
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn length(&self) -> io::Result<u64> {
        self.0.metadata().map(|metadata| metadata.len())
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
