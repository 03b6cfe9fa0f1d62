//! The key file of gossip: one key of 64 hexadecimal digits a line, the one that seals first.
//!
//! ```text
//! # since 2026-11
//! 5f1d...
//! ```
//!
//! The file is the truth: it is read at the start and at each reload, and what the running program holds is never more
//! than what was read or written last. A file that others than its owner can read is refused. A change of keys that
//! comes while the program runs rewrites it, with the number of that change in a line of its own.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use watchfire_gossip::{GossipKey, MAX_GOSSIP_KEYS};

use crate::files::{FileError, read_optional, write_atomic};

/// Stands before the number of the latest change of keys.
const ORDER: &str = "# change ";

/// What a key file holds.
#[derive(Clone, PartialEq, Debug, Default)]
pub(crate) struct KeyFile {
    /// The one that seals first.
    pub(crate) keys: Vec<GossipKey>,
    /// The latest change of keys that it took part in; 0 for none.
    pub(crate) order: u64,
}

/// The key file cannot be used. Nothing of it was taken.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} does not exist; expected gossip keys, one of 64 hexadecimal digits a line")]
    Missing { path: String },
    #[error("{path} can be read by others than its owner (mode {mode:03o}); expected 600")]
    Open { path: String, mode: u32 },
    #[error("{path}:{line}: expected a gossip key of 64 hexadecimal digits")]
    Line { path: String, line: usize },
    #[error("{path}:{line}: the same key as before")]
    Twice { path: String, line: usize },
    #[error("{path} holds {count} keys; expected 1 to {MAX_GOSSIP_KEYS}")]
    Count { path: String, count: usize },
}

/// Reads a key file.
///
/// # Errors
/// What is wrong with it, with its line; never a part of a key.
pub(crate) fn read(file: &Path) -> Result<KeyFile, KeysError> {
    let path = file.display().to_string();
    let Some(bytes) = read_optional(file)? else { return Err(KeysError::Missing { path }) };
    let mode = std::fs::metadata(file).map(|found| found.permissions().mode() & 0o777).unwrap_or(0);
    if mode & 0o077 != 0 {
        return Err(KeysError::Open { path, mode });
    }
    let mut keys: Vec<GossipKey> = Vec::new();
    let mut order = 0;
    for (at, line) in String::from_utf8_lossy(&bytes).lines().enumerate() {
        order = line.strip_prefix(ORDER).and_then(|number| number.trim().parse().ok()).unwrap_or(order);
        let text = line.split('#').next().unwrap_or_default().trim();
        if text.is_empty() {
            continue;
        }
        let key = text.parse().map_err(|_| KeysError::Line { path: path.clone(), line: at + 1 })?;
        if keys.contains(&key) {
            return Err(KeysError::Twice { path, line: at + 1 });
        }
        keys.push(key);
    }
    if (1..=MAX_GOSSIP_KEYS).contains(&keys.len()) {
        Ok(KeyFile { keys, order })
    } else {
        Err(KeysError::Count { path, count: keys.len() })
    }
}

/// Replaces what a key file holds; returns after the disk has it.
///
/// # Errors
/// If any step fails; the old keys are then still there.
pub(crate) fn write(file: &Path, new: &KeyFile) -> Result<(), FileError> {
    let mut text = format!(
        "# Keys of gossip, the one that encrypts first. Read at each start and reload; `watchfire keys` rewrites it.\n\
         {ORDER}{}\n",
        new.order
    );
    for key in &new.keys {
        text += &key.to_hex();
        text.push('\n');
    }
    // A link stays a link: what it points to is replaced.
    let target = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    write_atomic(&target, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_private_and_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("gossip.keys"), folder.path().join("link"));
        fs::write(&file, "x").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let new = KeyFile { keys: vec![GossipKey::new([7; 32]), GossipKey::new([8; 32])], order: 41 };
        write(&link, &new).unwrap();
        assert_eq!((read(&file).unwrap(), read(&link).unwrap()), (new.clone(), new));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        let error = write(&folder.path().join("none/gossip.keys"), &KeyFile::default()).unwrap_err();
        assert!(error.to_string().contains("none/gossip.keys"), "{error}");
    }

    #[test]
    fn a_key_file_is_read_in_order_and_refused_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("gossip.keys");
        let write = |text: &str| {
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        };
        let (one, two) = ("11".repeat(32), "22".repeat(32));
        assert!(read(&file).unwrap_err().to_string().contains("does not exist"));
        write(&format!("# in use\n{one}\n\n  {two} # next\n"));
        let keys: Vec<String> = read(&file).unwrap().keys.iter().map(GossipKey::to_hex).collect();
        assert_eq!(keys, [one.clone(), two.clone()]);
        for (text, message) in [
            (format!("{one}\n{two}x\n"), "gossip.keys:2: expected a gossip key of 64 hexadecimal digits".to_owned()),
            (format!("{one}\n{one}\n"), "gossip.keys:2: the same key as before".to_owned()),
            ("# none\n".to_owned(), format!("gossip.keys holds 0 keys; expected 1 to {MAX_GOSSIP_KEYS}")),
        ] {
            write(&text);
            let error = read(&file).unwrap_err().to_string();
            assert!(error.ends_with(&message), "{error}");
            assert!(!error.contains("2222"), "a message never holds a part of a key");
        }
        write(&one);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&file).unwrap_err().to_string();
        assert!(error.contains("mode 640"), "{error}");
    }
}
