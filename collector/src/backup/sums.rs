//! The list of a backup's files with their checksums: what a copy that lacks a file cannot tell by itself.
//!
//! It is written as `sha256sum` writes, so that `sha256sum -c SHA256SUMS` in the backup checks the same.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use ring::digest::{Context, SHA256};

use super::{LOCKS, error, named, names};

/// The list's name, at the root of a backup.
pub(super) const FILE: &str = "SHA256SUMS";
/// Where files are, as paths in the backup.
const FOLDERS: [&str; 4] = ["", "store", "store/wal", "store/blocks"];
/// Read at once, bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes the list of what is in the backup.
pub(super) fn write(backup: &Path) -> io::Result<()> {
    let mut text = String::new();
    for (path, sum) in sums(backup)? {
        let _ = writeln!(text, "{sum}  {path}");
    }
    let path = backup.join(FILE);
    fs::write(&path, text).and_then(|()| File::open(&path)?.sync_all()).map_err(named(&path))
}

/// Compares the backup with its list. One of an earlier build has none, which is told.
///
/// # Errors
/// Names each file that is missing, and each that is not what was copied.
pub(super) fn check(backup: &Path) -> io::Result<()> {
    let path = backup.join(FILE);
    let text = match fs::read_to_string(&path) {
        Err(found) if found.kind() == io::ErrorKind::NotFound => {
            eprintln!("{}: there is no list of files: whether one is missing cannot be told", path.display());
            return Ok(());
        }
        text => text.map_err(named(&path))?,
    };
    let found = sums(backup)?;
    let mut wrong = Vec::new();
    for line in text.lines() {
        let Some((sum, name)) = line.split_once("  ") else {
            return Err(error(io::ErrorKind::InvalidData, format!("{}: no line of sha256sum: {line}", path.display())));
        };
        let file = backup.join(name).display().to_string();
        match found.get(name) {
            None => wrong.push(format!("{file}: it is missing")),
            Some(found) if found != sum => wrong.push(format!("{file}: it is not what was copied")),
            Some(_) => {}
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(error(io::ErrorKind::InvalidData, wrong.join("\n"))) }
}

fn sums(backup: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut sums = BTreeMap::new();
    for folder in FOLDERS {
        for name in names(&backup.join(folder), |name| !LOCKS.contains(&name))? {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if path != FILE {
                let sum = sum(&backup.join(&path)).map_err(named(&backup.join(&path)))?;
                sums.insert(path, sum);
            }
        }
    }
    Ok(sums)
}

fn sum(path: &Path) -> io::Result<String> {
    let (mut file, mut context) = (File::open(path)?, Context::new(&SHA256));
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => context.update(&buffer[..read]),
        }
    }
    let mut text = String::new();
    context.finish().as_ref().iter().for_each(|byte| {
        let _ = write!(text, "{byte:02x}");
    });
    Ok(text)
}
