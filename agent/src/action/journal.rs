//! The journal of orders: one line of JSON per change, synced before anybody acts on it.
//!
//! ```text
//! DATA_DIR/orders.journal
//! ```
//!
//! A line without its end is one that a crash tore; nobody acted on it, and it is cut off. Any other line that cannot be
//! read means that the journal cannot be trusted to know what has run: then no orders are taken until a person has
//! looked. After a failed sync nothing more is written.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use watchfire_agent_core::order::Entry;
use watchfire_shell::files::{DataDir, write_atomic};

const FILE: &str = "orders.journal";

/// The journal, open for writing.
#[derive(Debug)]
pub(super) struct Journal {
    path: PathBuf,
    /// `None` after a failure.
    file: Option<File>,
}

impl Journal {
    /// Opens the journal and reads what it holds.
    ///
    /// # Errors
    /// If it cannot be read or written, or holds what nobody wrote.
    pub(super) fn open(data: &DataDir) -> Result<(Self, Vec<Entry>), String> {
        let path = data.join(FILE);
        let told = |error: io::Error| format!("{}: {error}", path.display());
        let text = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(told(error)),
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let lines = text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let mut entries = Vec::new();
        for (number, line) in lines.enumerate() {
            let entry = serde_json::from_slice(line);
            entries.push(entry.map_err(|error| format!("{}:{}: {error}", path.display(), number + 1))?);
        }
        if whole < text.len() {
            let cut = OpenOptions::new().write(true).open(&path).and_then(|file| {
                file.set_len(whole as u64)?;
                file.sync_all()
            });
            cut.map_err(told)?;
        }
        let file = append_to(&path).map_err(told)?;
        // A new file is there after a crash only if its folder was synced.
        File::open(data.path()).and_then(|folder| folder.sync_all()).map_err(told)?;
        Ok((Self { path, file: Some(file) }, entries))
    }

    /// Appends an entry and syncs it.
    ///
    /// # Errors
    /// If it may not be durable; then nothing more is written.
    pub(super) fn append(&mut self, entry: &Entry) -> Result<(), String> {
        let Some(file) = &mut self.file else { return Err("it failed before".to_owned()) };
        let mut line = serde_json::to_vec(entry).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let written = file.write_all(&line).and_then(|()| file.sync_data());
        written.map_err(|error| {
            self.file = None;
            error.to_string()
        })
    }

    /// Replaces the journal by these entries.
    ///
    /// # Errors
    /// If that failed; the old one is then still there, and nothing more is written.
    pub(super) fn rewrite(&mut self, entries: &[Entry]) -> Result<(), String> {
        if self.file.take().is_none() {
            return Err("it failed before".to_owned());
        }
        let mut text = Vec::new();
        for entry in entries {
            serde_json::to_writer(&mut text, entry).map_err(|error| error.to_string())?;
            text.push(b'\n');
        }
        write_atomic(&self.path, &text).map_err(|error| error.to_string())?;
        self.file = Some(append_to(&self.path).map_err(|error| error.to_string())?);
        Ok(())
    }
}

fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}
