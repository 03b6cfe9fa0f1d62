//! The small state: tables of named values, changed in durable transactions.
//!
//! It holds what changes in place (alerts, silences, the notification log, known agents) in one file of `redb`, which
//! checks its own pages. A file that is damaged is set aside and a fresh one begun. Values are bytes; their meaning and
//! their versions are their owners'.

use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, TableError};

mod backend;

#[cfg(test)]
mod tests;

use crate::disk::{Disk, is_full};
use crate::error::{Quarantined, StateError};
use backend::Backend;

pub(crate) const FILE: &str = "state.redb";
/// The file until it is complete.
const NEW_FILE: &str = "state.redb.new";
/// The version of the tables' layout that this program writes, and the newest that it reads.
const FORMAT_VERSION: u32 = 1;
/// The table that holds the format version.
const FORMAT_TABLE: TableDefinition<'static, &'static str, u32> = TableDefinition::new("watchfire.format");
/// Pages kept in memory, bytes. The state is a few megabytes; redb's own default is 1 GiB.
const CACHE_BYTES: usize = 8 << 20;

/// One change of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Made with its first key.
    pub table: &'static str,
    pub key: String,
    /// `None` removes the key.
    pub value: Option<Vec<u8>>,
}

/// What opening the state found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateRecovery {
    /// The damaged file that was set aside; the state is then empty.
    pub quarantined: Option<Quarantined>,
}

/// The small state. One thread owns it.
pub struct State {
    disk: Box<dyn Disk>,
    /// `None` after a failure, until the file could be opened again.
    database: Option<Database>,
}

/// Why a file could not be opened.
enum Obstacle {
    Damage(String),
    Disk(StateError),
}

impl State {
    /// Opens the state, or begins a fresh one where there is none or a damaged one.
    ///
    /// # Errors
    /// If the disk cannot be used, or the file was written by a newer version; the file is then as it was.
    pub fn open(disk: impl Disk) -> Result<(Self, StateRecovery), StateError> {
        let disk: Box<dyn Disk> = Box::new(disk);
        let mut recovery = StateRecovery::default();
        let names = disk.list("").map_err(|error| failed(&error))?;
        let database = if names.iter().any(|name| name == FILE) {
            match open_existing(&*disk, true) {
                Ok(database) => database,
                Err(Obstacle::Disk(error)) => return Err(error),
                Err(Obstacle::Damage(reason)) => {
                    recovery.quarantined = Some(quarantine(&*disk, &names, reason).map_err(|error| failed(&error))?);
                    create(&*disk, &names)?
                }
            }
        } else {
            create(&*disk, &names)?
        };
        Ok((Self { disk, database: Some(database) }, recovery))
    }

    /// Every key of the table with its value, sorted by key; nothing if there is no such table.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn load(&mut self, table: &str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let database = self.database()?;
        read(database, table).map_err(|error| self.lost(error))
    }

    /// Makes all changes durable, or none of them.
    ///
    /// # Errors
    /// The next call tries again. Whether the changes of this one will be there after a restart is not known, but it is
    /// all of them or none.
    pub fn commit(&mut self, changes: &[StateChange]) -> Result<(), StateError> {
        let database = self.database()?;
        write(database, changes).map_err(|error| self.lost(error))
    }

    fn database(&mut self) -> Result<&Database, StateError> {
        if self.database.is_none() {
            let opened = open_existing(&*self.disk, false);
            self.database = Some(opened.map_err(|obstacle| match obstacle {
                Obstacle::Disk(error) => error,
                Obstacle::Damage(reason) => StateError::Failed(reason),
            })?);
        }
        self.database.as_ref().ok_or_else(|| StateError::Failed("it is closed".to_owned()))
    }

    /// Closes the database, which accepts nothing more after an error, so that the next call opens it anew.
    fn lost(&mut self, error: redb::Error) -> StateError {
        self.database = None;
        match error {
            redb::Error::Io(error) => failed(&error),
            error => StateError::Failed(error.to_string()),
        }
    }
}

fn failed(error: &std::io::Error) -> StateError {
    if is_full(error) { StateError::Full } else { StateError::Failed(error.to_string()) }
}

fn read(database: &Database, table: &str) -> Result<Vec<(String, Vec<u8>)>, redb::Error> {
    let transaction = database.begin_read()?;
    let table = match transaction.open_table(TableDefinition::<&str, &[u8]>::new(table)) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
        opened => opened?,
    };
    let mut entries = Vec::new();
    for entry in table.iter()? {
        let (key, value) = entry?;
        entries.push((key.value().to_owned(), value.value().to_vec()));
    }
    Ok(entries)
}

fn write(database: &Database, changes: &[StateChange]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    for change in changes {
        let mut table = transaction.open_table(TableDefinition::<&str, &[u8]>::new(change.table))?;
        match &change.value {
            Some(value) => drop(table.insert(change.key.as_str(), value.as_slice())?),
            None => drop(table.remove(change.key.as_str())?),
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Opens the file; with `verify` it reads every page's checksum first.
fn open_existing(disk: &dyn Disk, verify: bool) -> Result<Database, Obstacle> {
    let file = disk.open(FILE).map_err(|error| Obstacle::Disk(failed(&error)))?;
    // redb answers most damage with an error, but asserts on some of it.
    let opened = catch_unwind(AssertUnwindSafe(|| {
        let mut database = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(Backend::new(file))?;
        if verify {
            database.check_integrity()?;
        }
        Ok::<_, DatabaseError>((version(&database), database))
    }));
    let (version, database) = match opened {
        Ok(opened) => opened.map_err(|error| obstacle(&error))?,
        Err(_) => return Err(Obstacle::Damage("its structure contradicts itself".to_owned())),
    };
    match version {
        Ok(FORMAT_VERSION) => Ok(database),
        Ok(found) if found > FORMAT_VERSION => {
            Err(Obstacle::Disk(StateError::NewerFormat { found, known: FORMAT_VERSION }))
        }
        Ok(found) => Err(Obstacle::Damage(format!("it claims the format version {found}"))),
        Err(error) => Err(Obstacle::Damage(error.to_string())),
    }
}

/// Reads every page of the state; says what is wrong.
pub(crate) fn check(disk: &dyn Disk) -> Result<(), String> {
    match open_existing(disk, true) {
        Ok(_) => Ok(()),
        Err(Obstacle::Damage(reason)) => Err(reason),
        Err(Obstacle::Disk(error)) => Err(error.to_string()),
    }
}

fn version(database: &Database) -> Result<u32, redb::Error> {
    let table = database.begin_read()?.open_table(FORMAT_TABLE)?;
    Ok(table.get("version")?.map_or(0, |version| version.value()))
}

fn obstacle(error: &DatabaseError) -> Obstacle {
    match error {
        DatabaseError::Storage(StorageError::Io(io)) => match io.kind() {
            // The content asks for what the file does not have.
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::InvalidData | std::io::ErrorKind::InvalidInput => {
                Obstacle::Damage(error.to_string())
            }
            _ => Obstacle::Disk(failed(io)),
        },
        error => Obstacle::Damage(error.to_string()),
    }
}

/// Makes an empty state under another name and gives it its own once it is whole.
fn create(disk: &dyn Disk, names: &[String]) -> Result<Database, StateError> {
    let io = |error: std::io::Error| failed(&error);
    if names.iter().any(|name| name == NEW_FILE) {
        disk.remove(NEW_FILE).map_err(io)?;
    }
    let backend = Backend::new(disk.create(NEW_FILE).map_err(io)?);
    let database = redb::Builder::new().set_cache_size(CACHE_BYTES).create_with_backend(backend);
    let database = database.map_err(|error| match obstacle(&error) {
        Obstacle::Disk(error) => error,
        Obstacle::Damage(reason) => StateError::Failed(reason),
    })?;
    mark_version(&database).map_err(|error| match error {
        redb::Error::Io(error) => failed(&error),
        error => StateError::Failed(error.to_string()),
    })?;
    disk.rename(NEW_FILE, FILE).map_err(io)?;
    disk.sync_folder("").map_err(io)?;
    Ok(database)
}

fn mark_version(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(FORMAT_TABLE)?.insert("version", FORMAT_VERSION)?;
    transaction.commit()?;
    Ok(())
}

fn quarantine(disk: &dyn Disk, names: &[String], reason: String) -> std::io::Result<Quarantined> {
    let numbered = (2..).map(|number| format!("{FILE}.damaged.{number}"));
    let kept_as = std::iter::once(format!("{FILE}.damaged")).chain(numbered).find(|name| !names.contains(name));
    let kept_as = kept_as.expect("an endless sequence has a name that is free");
    let lost_bytes = disk.open(FILE)?.length()?;
    disk.rename(FILE, &kept_as)?;
    disk.sync_folder("")?;
    Ok(Quarantined::unknown(FILE.to_owned(), kept_as, reason, lost_bytes))
}
