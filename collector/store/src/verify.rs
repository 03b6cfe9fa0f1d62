//! Checking everything that a store has on disk, without changing any of it and without holding it in memory.
//!
//! One file after the other is read: a segment of the log at a time, a block column by column, the small state as a copy
//! in memory. It says what is wrong and where; what is to be done about it is done by the next start.

use std::io;

use crate::block::{self, Block, Fault};
use crate::disk::{Disk, SimDisk, read_all};
use crate::state;
use crate::wal::segment::{self, End, FORMAT_VERSION};
use crate::wal::{self, record};

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verification {
    /// Files that were checked.
    pub files: usize,
    /// Good records of the log.
    pub records: u64,
    /// Samples in blocks.
    pub samples: u64,
    /// What is wrong.
    pub faults: Vec<FileFault>,
    /// Damaged files that were set aside by an earlier start; they are not in use.
    pub set_aside: Vec<String>,
}

/// Something wrong in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileFault {
    pub path: String,
    /// Where the part begins that is wrong, bytes.
    pub offset: u64,
    pub what: String,
}

/// Checks every file of a store: each record of the log, each part of each block, each page of the small state.
///
/// The disk is to be used by nobody else meanwhile.
///
/// # Errors
/// If a folder or a segment cannot be read at all.
pub fn verify(disk: &impl Disk) -> io::Result<Verification> {
    let mut found = Verification::default();
    verify_log(disk, &mut found)?;
    for name in disk.list(block::FOLDER)? {
        let Some(number) = block::number_of(&name) else { continue };
        found.files += 1;
        verify_block(disk, number, &mut found);
    }
    if disk.list("")?.iter().any(|name| name == state::FILE) {
        found.files += 1;
        found.faults.extend(verify_state(disk)?);
    }
    for folder in [wal::FOLDER, block::FOLDER, ""] {
        let names = disk.list(folder)?.into_iter().filter(|name| name.contains(".damaged"));
        found.set_aside.extend(names.map(|name| if folder.is_empty() { name } else { format!("{folder}/{name}") }));
    }
    Ok(found)
}

/// Cuts an unfinished record off the end of the log, as the next start would: what a copy of a log that was being written
/// ends with. Returns how many bytes went.
///
/// # Errors
/// If the log cannot be read or cut.
pub fn cut_torn_tail(disk: &impl Disk) -> io::Result<u64> {
    wal::recovery::cut_tail(disk)
}

fn verify_log(disk: &impl Disk, found: &mut Verification) -> io::Result<()> {
    for name in disk.list(wal::FOLDER)? {
        let Some(number) = segment::number_of(&name) else { continue };
        let path = segment::path(number);
        let bytes = read_all(disk, &path)?;
        found.files += 1;
        let mut fault = |offset: usize, what: String| {
            found.faults.push(FileFault { path: path.clone(), offset: offset as u64, what });
        };
        if let Some(version) = segment::version_of(&bytes).filter(|version| *version > FORMAT_VERSION) {
            fault(8, format!("it has format version {version}; this program reads up to version {FORMAT_VERSION}"));
            continue;
        }
        let scan = segment::scan(&bytes);
        for range in &scan.records {
            match record::decode(&bytes[range.clone()]) {
                Some(_) => found.records += 1,
                None => {
                    fault(range.start, "a record whose checksum is right and whose content is malformed".to_owned())
                }
            }
        }
        match scan.end {
            End::Clean => {}
            End::Torn => {
                fault(scan.good, "an unfinished record, and nothing behind it: the next start cuts it".to_owned())
            }
            End::Damaged => fault(scan.good, "damaged, with good records behind it".to_owned()),
        }
    }
    Ok(())
}

fn verify_block(disk: &impl Disk, number: u64, found: &mut Verification) {
    let path = block::path(number);
    let mut fault = |offset, what| found.faults.push(FileFault { path: path.clone(), offset, what });
    match Block::open(disk, number) {
        Ok(block) => {
            block.verify().into_iter().for_each(|(offset, what)| fault(offset, what));
            found.samples += block.footer.samples;
        }
        Err(Fault::Damaged { at, what }) => fault(at, what.to_owned()),
        Err(other) => fault(0, other.to_string()),
    }
}

/// Checks every page of the small state, which has to be there; says what is wrong with it, if anything is.
///
/// # Errors
/// If the file cannot be read at all.
pub fn verify_state(disk: &impl Disk) -> io::Result<Option<FileFault>> {
    // Opening the file may repair it, so a copy is opened.
    let copy = SimDisk::new();
    copy.plant(state::FILE, read_all(disk, state::FILE)?);
    let fault = |what| FileFault { path: state::FILE.to_owned(), offset: 0, what };
    Ok(state::check(&copy).err().map(fault))
}
