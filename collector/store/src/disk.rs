//! The one small trait through which all bytes of the store go.
//!
//! Paths are relative to the disk's root, with `/` between the parts and at most one folder deep. Nothing is durable
//! before it was synced: a file's content by [`DiskFile::sync`], its name by [`Disk::sync_folder`] on the folder it is
//! in. A full disk is [`std::io::ErrorKind::StorageFull`] or [`std::io::ErrorKind::QuotaExceeded`].

use std::fmt::Debug;
use std::io;

mod real;

mod sim;

#[cfg(test)]
mod tests;

pub use real::RealDisk;
pub use sim::{CrashKeeps, SimDisk};

/// Folders and names. See the module's head for what is durable when.
pub trait Disk: Send + 'static {
    /// Makes a new, empty file and opens it for reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` if the name is taken; otherwise what the disk says.
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Opens an existing file for reading and writing.
    ///
    /// # Errors
    /// `NotFound` if there is none of that name; otherwise what the disk says.
    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>>;

    /// Names of the files in a folder, sorted; the empty text is the root. A folder that does not exist has none.
    ///
    /// # Errors
    /// What the disk says.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// Makes a folder below the root unless it exists, durably.
    ///
    /// # Errors
    /// What the disk says.
    fn create_folder(&self, folder: &str) -> io::Result<()>;

    /// Gives a file another name, replacing a file of that name.
    ///
    /// # Errors
    /// What the disk says; the names are then as before.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the disk says; the file then still exists.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names in a folder durable; the empty text is the root.
    ///
    /// # Errors
    /// What the disk says; the names may then be the old or the new ones after a crash.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;

    /// Bytes that can still be written.
    ///
    /// # Errors
    /// What the disk says.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// An open file. Dropping it closes it and syncs nothing.
pub trait DiskFile: Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the disk says.
    fn length(&self) -> io::Result<u64>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before; otherwise what the disk says.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes all of `bytes` from `offset` on.
    ///
    /// # Errors
    /// What the disk says; any part of the bytes may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file or lengthens it with zeros.
    ///
    /// # Errors
    /// What the disk says.
    fn set_length(&self, length: u64) -> io::Result<()>;

    /// Makes the content durable (`fdatasync`).
    ///
    /// # Errors
    /// What the disk says; what was written since the last success may then be lost, even if a later sync succeeds.
    fn sync(&self) -> io::Result<()>;
}

/// Reads a whole file.
pub(crate) fn read_all(disk: &impl Disk, path: &str) -> io::Result<Vec<u8>> {
    let file = disk.open(path)?;
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// Whether the error says that no space is left.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// The folder part of a path, empty for a file in the root.
pub(crate) fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}
