//! `watchfire-collector verify`: reads all that a store has on disk and says what is wrong, by file and offset.
//!
//! It changes nothing, and it does not repair: the next start of the collector sets damaged files aside on its own.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use watchfire_shell::arguments::Origin;
use watchfire_shell::lifecycle::exit;
use watchfire_store::{RealDisk, Verification};

use crate::load::load;
use crate::run::STORE_FOLDER;

/// Checks the store of the data directory. Exit code 1 if anything is wrong, or nothing can be read.
pub(crate) fn run(origin: &Origin, data_dir: Option<PathBuf>) -> ExitCode {
    let data_dir = match data_dir_of(origin, data_dir) {
        Ok(data_dir) => data_dir,
        Err(code) => return code,
    };
    match check(&data_dir) {
        Ok(found) => report(&data_dir.join(STORE_FOLDER), &found),
        Err(error) => {
            eprintln!("watchfire-collector: {error}");
            ExitCode::from(exit::ERROR)
        }
    }
}

/// The data directory that was named, or the configuration's. Mistakes of that are told.
pub(crate) fn data_dir_of(origin: &Origin, named: Option<PathBuf>) -> Result<PathBuf, ExitCode> {
    match named.map_or_else(|| load(origin).map(|load| load.settings.data_dir), Ok) {
        Ok(data_dir) => Ok(data_dir),
        Err(mistakes) => {
            eprintln!("{mistakes}");
            Err(ExitCode::from(exit::ERROR))
        }
    }
}

pub(crate) fn check(data_dir: &Path) -> std::io::Result<Verification> {
    let folder = data_dir.join(STORE_FOLDER);
    // Opening a disk makes its folder, which a check must not do.
    if !folder.is_dir() {
        let message = format!("{}: there is no store here", folder.display());
        return Err(std::io::Error::new(std::io::ErrorKind::NotFound, message));
    }
    let disk = RealDisk::open(&folder).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => in_use(data_dir, error.kind()),
        _ => error,
    })?;
    watchfire_store::verify(&disk)
}

/// Who keeps the folder from being looked at, and what to do about it.
fn in_use(data_dir: &Path, kind: std::io::ErrorKind) -> std::io::Error {
    let advice = "stop it first, or verify a backup (`watchfire-collector backup` makes one while it runs)";
    std::io::Error::new(kind, format!("{}: a collector runs on this folder: {advice}", data_dir.display()))
}

fn report(folder: &Path, found: &Verification) -> ExitCode {
    for fault in &found.faults {
        println!("{}: byte {}: {}", folder.join(&fault.path).display(), fault.offset, fault.what);
    }
    for path in &found.set_aside {
        println!("{}: set aside by an earlier start, not in use", folder.join(path).display());
    }
    let faults = found.faults.len();
    let plural = if faults == 1 { "" } else { "s" };
    println!(
        "{} files, {} records in the log, {} samples in blocks: {faults} fault{plural}",
        found.files, found.records, found.samples
    );
    if faults == 0 { ExitCode::SUCCESS } else { ExitCode::from(exit::ERROR) }
}
