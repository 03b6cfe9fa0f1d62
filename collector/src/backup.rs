//! `watchfire-collector backup` and `restore`: all that a collector keeps, copied while it runs, and put back.
//!
//! The copy needs nothing of the running program, because of what its files are. Segments of the log only grow, each but
//! the last is whole, and a record that was being written is cut off the copy. Blocks never change, and a row is in the
//! log until it is in one: the log is copied first and the blocks after it. The small state is one file whose every page
//! has a checksum: it is copied until a copy is sound. All other files are small and replaced as a whole.
//!
//! A backup stands under its name only once it is complete, durable and checked. A list of its files with their
//! checksums is in it, and putting it back begins with that.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use watchfire_shell::arguments::Origin;
use watchfire_shell::lifecycle::exit;
use watchfire_store::{RealDisk, Verification, cut_torn_tail};

mod sums;

use crate::run::STORE_FOLDER;
use crate::verify::{check, data_dir_of};

/// Files that say who uses a folder; they are of no use in a copy.
const LOCKS: [&str; 2] = ["lock", "LOCK"];
/// The small state.
const STATE: &str = "state.redb";
/// How often the list of a folder or the small state is taken anew because the collector changed it meanwhile.
const MAX_TRIES: usize = 100;

/// Makes a backup. Exit code 1 if there is none then.
pub(crate) fn backup(origin: &Origin, data_dir: Option<PathBuf>, to: &Path) -> ExitCode {
    let data_dir = match data_dir_of(origin, data_dir) {
        Ok(data_dir) => data_dir,
        Err(code) => return code,
    };
    tell(copy(&data_dir, to), &format!("{} is a backup of {}", to.display(), data_dir.display()))
}

/// Puts a backup back. Exit code 1 if it was not.
pub(crate) fn restore(origin: &Origin, data_dir: Option<PathBuf>, from: &Path) -> ExitCode {
    let data_dir = match data_dir_of(origin, data_dir) {
        Ok(data_dir) => data_dir,
        Err(code) => return code,
    };
    tell(put_back(from, &data_dir), &format!("{} holds what was in {}", data_dir.display(), from.display()))
}

fn tell(done: io::Result<Verification>, what: &str) -> ExitCode {
    match done {
        Ok(found) => {
            println!(
                "{what}: {} files, {} records in the log, {} samples in blocks, all sound",
                found.files, found.records, found.samples
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("watchfire-collector: {error}");
            ExitCode::from(exit::ERROR)
        }
    }
}

/// Copies a data directory, of a running collector or not, to a folder that is empty or does not exist.
fn copy(data_dir: &Path, to: &Path) -> io::Result<Verification> {
    let store = data_dir.join(STORE_FOLDER);
    if !store.is_dir() {
        return Err(error(io::ErrorKind::NotFound, format!("{}: there is no store here", store.display())));
    }
    must_be_free(to)?;
    let unfinished = to.with_added_extension("unfinished");
    let done = copy_all(data_dir, &unfinished).and_then(|()| sound(&unfinished)).and_then(|found| {
        sums::write(&unfinished)?;
        sync_folder(&unfinished)?;
        let _ = fs::remove_dir(to);
        fs::rename(&unfinished, to).map_err(named(to))?;
        sync_folder(parent_of(to))?;
        Ok(found)
    });
    if done.is_err() && unfinished.exists() {
        let _ = fs::remove_dir_all(&unfinished);
    }
    done
}

fn copy_all(data_dir: &Path, to: &Path) -> io::Result<()> {
    let (from, store) = (data_dir.join(STORE_FOLDER), to.join(STORE_FOLDER));
    must_be_free(to)?;
    for folder in [to, &store, &store.join("wal"), &store.join("blocks")] {
        make_folder(folder, data_dir)?;
    }
    copy_log(&from.join("wal"), &store.join("wal"))?;
    cut_torn_tail(&RealDisk::open(&store)?)?;
    copy_blocks(&from.join("blocks"), &store.join("blocks"))?;
    for name in names(data_dir, |name| !LOCKS.contains(&name))? {
        copy_file(&data_dir.join(&name), &to.join(&name))?;
    }
    copy_state(&from, &store)?;
    for folder in [&store.join("wal"), &store.join("blocks"), &store, to] {
        sync_folder(folder)?;
    }
    Ok(())
}

/// Copies the segments, oldest first, until no newer one has been begun meanwhile: only the newest may end early.
fn copy_log(from: &Path, to: &Path) -> io::Result<()> {
    let mut first = String::new();
    for _ in 0..MAX_TRIES {
        let segments = names(from, |name| name.ends_with(".wal"))?;
        for name in segments.iter().filter(|name| **name >= first) {
            // One that is gone is in a block by now.
            ignore_missing(copy_file(&from.join(name), &to.join(name)))?;
        }
        let newest = segments.last().cloned().unwrap_or_default();
        if names(from, |name| name.ends_with(".wal"))?.last().is_none_or(|name| *name == newest) {
            return Ok(());
        }
        first = newest;
    }
    Err(error(io::ErrorKind::TimedOut, format!("{}: the log grows faster than it can be copied", from.display())))
}

/// Copies the blocks until none has gone meanwhile: what replaced it is in the next list.
fn copy_blocks(from: &Path, to: &Path) -> io::Result<()> {
    for _ in 0..MAX_TRIES {
        let blocks = names(from, |name| name.ends_with(".block"))?;
        for name in blocks.iter().filter(|name| !to.join(name).exists()) {
            ignore_missing(copy_file(&from.join(name), &to.join(name)))?;
        }
        if names(from, |name| name.ends_with(".block"))?.iter().all(|name| to.join(name).exists()) {
            return Ok(());
        }
    }
    Err(error(io::ErrorKind::TimedOut, format!("{}: blocks come faster than they can be copied", from.display())))
}

/// Copies the small state until the copy is sound: one that was written to meanwhile is not.
fn copy_state(from: &Path, to: &Path) -> io::Result<()> {
    let mut last = String::new();
    if !from.join(STATE).exists() {
        return Ok(());
    }
    for _ in 0..MAX_TRIES {
        copy_file(&from.join(STATE), &to.join(STATE))?;
        // The log and the blocks are checked at the end; here only what can change under the copy.
        match watchfire_store::verify_state(&RealDisk::open(to)?)? {
            None => return Ok(()),
            Some(fault) => last = fault.what,
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Err(error(io::ErrorKind::InvalidData, format!("{}: no copy of it is sound: {last}", from.join(STATE).display())))
}

/// Copies a backup into a data directory that is empty or does not exist.
fn put_back(from: &Path, data_dir: &Path) -> io::Result<Verification> {
    sums::check(from)?;
    sound(from)?;
    must_be_free(data_dir)?;
    // Where the directory is there already, as packages make it, it says who is to own what is in it.
    let owner = if data_dir.exists() { data_dir } else { from }.to_owned();
    let (store, to) = (from.join(STORE_FOLDER), data_dir.join(STORE_FOLDER));
    for folder in [data_dir, &to, &to.join("wal"), &to.join("blocks")] {
        make_folder(folder, &owner)?;
    }
    let is_kept = |name: &str| !LOCKS.contains(&name) && name != sums::FILE;
    for (from, to) in [
        (store.join("wal"), to.join("wal")),
        (store.join("blocks"), to.join("blocks")),
        (store, to.clone()),
        (from.to_owned(), data_dir.to_owned()),
    ] {
        for name in names(&from, is_kept)? {
            copy_file(&from.join(&name), &to.join(&name))?;
            own(&to.join(&name), &owner);
        }
        sync_folder(&to)?;
    }
    let found = sound(data_dir)?;
    own(&to.join("LOCK"), &owner);
    Ok(found)
}

/// Checks a copy.
fn sound(data_dir: &Path) -> io::Result<Verification> {
    let found = check(data_dir)?;
    let told = |fault: &watchfire_store::FileFault| {
        format!("{}: byte {}: {}", data_dir.join(STORE_FOLDER).join(&fault.path).display(), fault.offset, fault.what)
    };
    match found.faults.is_empty() {
        true => Ok(found),
        false => {
            let faults: Vec<String> = found.faults.iter().map(told).collect();
            Err(error(io::ErrorKind::InvalidData, faults.join("\n")))
        }
    }
}

fn must_be_free(folder: &Path) -> io::Result<()> {
    match fs::read_dir(folder) {
        Err(found) if found.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(found) => Err(named(folder)(found)),
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => {
                let message = format!("{} is not empty: nothing was copied into it", folder.display());
                Err(error(io::ErrorKind::AlreadyExists, message))
            }
        },
    }
}

/// Names of the files in a folder, sorted; a folder that does not exist has none.
fn names(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(found) if found.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(named(folder))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(named(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.file_type().is_ok_and(|kind| kind.is_file()) && is_wanted(&name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

/// Copies one file with its mode and, where that is allowed, its owner, durably.
fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    fs::copy(from, to).map_err(|found| error(found.kind(), format!("cannot copy {}: {found}", from.display())))?;
    own(to, from);
    File::open(to).and_then(|file| file.sync_all()).map_err(named(to))
}

fn ignore_missing(copied: io::Result<()>) -> io::Result<()> {
    match copied {
        Err(found) if found.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Makes a private folder unless it exists, owned as `like` is where that is allowed.
fn make_folder(folder: &Path, like: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(named(folder))?;
    own(folder, like);
    Ok(())
}

/// Only root may give files away; whoever else makes a copy owns it.
fn own(path: &Path, like: &Path) {
    if let Ok(found) = fs::metadata(like) {
        let _ = chown(path, Some(found.uid()), Some(found.gid()));
    }
}

fn parent_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(named(folder))
}

fn error(kind: io::ErrorKind, message: String) -> io::Error {
    io::Error::new(kind, message)
}

fn named(path: &Path) -> impl Fn(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |found| error(found.kind(), format!("{path}: {found}"))
}

#[cfg(test)]
mod tests;
