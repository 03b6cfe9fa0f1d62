//! Files of a program: written whole or not at all, private, found by pattern, and a data directory that only one process
//! uses.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use watchfire_shared::limits::MAX_CONFIG_FILE_BYTES;

/// Matches of one pattern; more is a pattern that was not meant (`/*`).
const MAX_GLOB_MATCHES: usize = 10_000;

/// A file or folder could not be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("cannot {action} {path}: {source}")]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("the data directory {path} is in use by process {pid}")]
    InUse { path: String, pid: String },
    #[error("{path}: only the last part of a path may hold `*`")]
    Pattern { path: String },
    #[error("{path}: more than {MAX_GLOB_MATCHES} files match")]
    TooMany { path: String },
    #[error("{path}: larger than {MAX_CONFIG_FILE_BYTES} bytes")]
    TooLarge { path: String },
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.display().to_string();
    move |source| FileError::Io { action, path, source }
}

/// Replaces a file by `bytes`, readable by its owner only: a reader, and a machine that lost its power, see the old bytes
/// or the new ones. Returns after the disk has them.
///
/// # Errors
/// If any step fails; the old file is then still there.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let temporary = path.with_added_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .map_err(failed("write", &temporary))?;
    file.write_all(bytes).and_then(|()| file.sync_all()).map_err(failed("write", &temporary))?;
    fs::rename(&temporary, path).map_err(failed("replace", path))?;
    // The rename is durable only once the folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed("sync", folder))
}

/// Reads a file if it exists, up to the size of a configuration file.
///
/// # Errors
/// If it exists and cannot be read, or is too large.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_CONFIG_FILE_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() > MAX_CONFIG_FILE_BYTES {
        return Err(FileError::TooLarge { path: path.display().to_string() });
    }
    Ok(Some(bytes))
}

/// Reads a file of text that must exist.
///
/// # Errors
/// If it cannot be read, is too large, or is not UTF-8.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let missing = || failed("read", path)(io::Error::from(io::ErrorKind::NotFound));
    let bytes = read_optional(path)?.ok_or_else(missing)?;
    String::from_utf8(bytes).map_err(|error| failed("read", path)(io::Error::new(io::ErrorKind::InvalidData, error)))
}

/// The files that one entry of a list of paths names, sorted by name.
///
/// A path without `*` names one file, which must exist. A pattern (`*` in the last part only; hidden files do not match)
/// may match nothing.
///
/// # Errors
/// For a missing named file, an unreadable folder, and a pattern outside the last part.
pub fn expand(pattern: &str) -> Result<Vec<PathBuf>, FileError> {
    let path = Path::new(pattern);
    if !pattern.contains('*') {
        fs::metadata(path).map_err(failed("find", path))?;
        return Ok(vec![path.to_owned()]);
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.to_string_lossy().contains('*') {
        return Err(FileError::Pattern { path: pattern.to_owned() });
    }
    let mut found = Vec::new();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(failed("list", folder)(error)),
    };
    for entry in entries {
        let entry = entry.map_err(failed("list", folder))?;
        let matches = entry.file_name().to_str().is_some_and(|file| !file.starts_with('.') && matches(name, file));
        // `metadata` follows links: in a mounted configuration map, each file is one.
        if matches && fs::metadata(entry.path()).is_ok_and(|metadata| metadata.is_file()) {
            found.push(entry.path());
        }
        if found.len() > MAX_GLOB_MATCHES {
            return Err(FileError::TooMany { path: pattern.to_owned() });
        }
    }
    found.sort();
    Ok(found)
}

/// Whether a name matches a pattern in which `*` stands for any text.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

/// A data directory that this process has for itself, until the value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// The kernel frees the lock with the file, also after kill -9.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if it is missing (mode 0700) and takes its lock.
    ///
    /// # Errors
    /// [`FileError::InUse`] with the number of the process that has it, or what the system says.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make", path))?;
        let lock_path = path.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut lock = match options.open(&lock_path) {
            // A lock needs no disk that can be written.
            Err(error) if error.kind() == io::ErrorKind::ReadOnlyFilesystem => File::open(&lock_path),
            opened => opened,
        }
        .map_err(failed("open", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                lock.take(20).read_to_string(&mut pid).map_err(failed("read", &lock_path))?;
                return Err(FileError::InUse { path: path.display().to_string(), pid: pid.trim().to_owned() });
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &lock_path)(error)),
        }
        let write = |lock: &mut File| {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        if let Err(error) = write(&mut lock) {
            // The number is for people; the lock is held without.
            tracing::warn!(path = %lock_path.display(), %error, "the number of this process cannot be written into the lock's file");
        }
        Ok(Self { path: path.to_owned(), _lock: lock })
    }

    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file inside.
    #[must_use]
    pub fn join(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_written_file_is_whole_private_and_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peers.json");
        write_atomic(&path, b"one").unwrap();
        write_atomic(&path, b"two").unwrap();
        assert_eq!(read_optional(&path).unwrap().unwrap(), b"two");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file stays");
        assert!(read_optional(&folder.path().join("none")).unwrap().is_none());
        assert!(write_atomic(&folder.path().join("no/such"), b"").is_err());
    }

    #[test]
    fn patterns_match_in_the_last_part_and_named_files_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", ".hidden.yml", "c.yaml"] {
            fs::write(folder.path().join(name), "").unwrap();
        }
        fs::create_dir(folder.path().join("d.yml")).unwrap();
        let find = |pattern: &str| expand(folder.path().join(pattern).to_str().unwrap());
        let names = |found: Vec<PathBuf>| -> Vec<String> {
            found.iter().map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(find("*.yml").unwrap()), ["a.yml", "b.yml"]);
        assert_eq!(names(find("c*y*l").unwrap()), ["c.yaml"]);
        assert_eq!(names(find("a.yml").unwrap()), ["a.yml"]);
        assert_eq!(find("*.toml").unwrap(), Vec::<PathBuf>::new());
        assert_eq!(find("none/*.yml").unwrap(), Vec::<PathBuf>::new());
        assert!(find("none.yml").unwrap_err().to_string().contains("none.yml"));
        assert!(matches!(find("*/a.yml"), Err(FileError::Pattern { .. })));
    }

    #[test]
    fn a_data_directory_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("data");
        let first = DataDir::open(&path).unwrap();
        let message = DataDir::open(&path).unwrap_err().to_string();
        assert!(message.ends_with(&format!("is in use by process {}", std::process::id())), "{message}");
        drop(first);
        DataDir::open(&path).unwrap();
    }
}
