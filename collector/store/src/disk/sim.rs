//! A disk in memory that fails as disks fail: it forgets what was not synced, tears writes, fills up, loses its power.
//!
//! Changes are kept as a log over the durable content. A sync makes one file's changes durable, a folder's sync its
//! names; a crash keeps a chosen part of the rest. Equal calls give equal content: nothing here is random.
#![allow(clippy::disallowed_types, reason = "the disk is shared by the code under test and the test that crashes it")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Disk, DiskFile, folder_of};

/// A simulated disk; clones are handles to the same one.
#[derive(Clone, Default, Debug)]
pub struct SimDisk(Arc<Mutex<Inner>>);

/// How much of what was not synced a crash keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct CrashKeeps {
    /// So many of the oldest unsynced changes survive whole.
    pub changes: usize,
    /// If the next one is a write, so many of its first bytes survive.
    pub bytes: usize,
}

impl CrashKeeps {
    /// Everything, as when only the process dies.
    pub const ALL: Self = Self { changes: usize::MAX, bytes: 0 };
    /// Nothing that was not synced.
    pub const NOTHING: Self = Self { changes: 0, bytes: 0 };
}

type Content = Arc<Vec<u8>>;

#[derive(Clone, Default, Debug)]
struct Inner {
    durable: Image,
    current: Image,
    unsynced: Vec<Change>,
    next_inode: u64,
    /// Raised by each crash; handles of an earlier life are dead.
    life: u64,
    capacity: Option<u64>,
    /// Whether [`Disk::free_bytes`] does not know of the capacity, as of a user's quota.
    hides_capacity: bool,
    failing_syncs: u32,
    /// Of folders alone.
    failing_folder_syncs: Option<(String, u32)>,
    power_off_in: Option<u64>,
    mutations: u64,
}

#[derive(Clone, Default, Debug)]
struct Image {
    names: BTreeMap<String, u64>,
    contents: BTreeMap<u64, Content>,
}

#[derive(Clone, Debug)]
enum Change {
    /// Names that change together, as a rename changes two; `None` removes.
    Names(Vec<(String, Option<u64>)>),
    Write {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Length {
        inode: u64,
        length: u64,
    },
}

impl Image {
    fn apply(&mut self, change: &Change) {
        match change {
            Change::Names(names) => {
                for (path, inode) in names {
                    match inode {
                        Some(inode) => self.names.insert(path.clone(), *inode),
                        None => self.names.remove(path),
                    };
                }
            }
            Change::Write { inode, offset, bytes } => {
                let content = Arc::make_mut(self.contents.entry(*inode).or_default());
                let from = *offset as usize;
                let end = from + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[from..end].copy_from_slice(bytes);
            }
            Change::Length { inode, length } => {
                Arc::make_mut(self.contents.entry(*inode).or_default()).resize(*length as usize, 0);
            }
        }
    }

    fn used(&self) -> u64 {
        self.names.values().map(|inode| self.contents.get(inode).map_or(0, |content| content.len() as u64)).sum()
    }
}

impl Inner {
    fn change(&mut self, change: Change) {
        self.current.apply(&change);
        self.unsynced.push(change);
    }

    /// Counts a change or sync, and fails it once the power is off.
    fn powered(&mut self) -> io::Result<()> {
        self.mutations += 1;
        match &mut self.power_off_in {
            Some(0) => Err(io::Error::other("the power is off")),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn sync(&mut self, covered: impl Fn(&Change) -> bool) -> io::Result<()> {
        self.powered()?;
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            return Err(io::Error::other("simulated failure of a sync"));
        }
        let (synced, rest) = std::mem::take(&mut self.unsynced).into_iter().partition(covered);
        self.unsynced = rest;
        let synced: Vec<Change> = synced;
        synced.iter().for_each(|change| self.durable.apply(change));
        Ok(())
    }
}

impl SimDisk {
    /// An empty disk without a limit.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // A panic elsewhere in a test leaves the content as it is, which is what a disk does too.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another disk with the same content, durable and not, and the same faults. Costs no copy of the files.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self(Arc::new(Mutex::new(self.inner().clone())))
    }

    /// The power fails and comes back: unsynced changes are lost but for what `keeps` says, open files are dead, and
    /// ordered faults are over.
    pub fn crash(&self, keeps: CrashKeeps) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        let unsynced = std::mem::take(&mut inner.unsynced);
        let kept = keeps.changes.min(unsynced.len());
        unsynced[..kept].iter().for_each(|change| inner.durable.apply(change));
        if let Some(Change::Write { inode, offset, bytes }) = unsynced.get(kept) {
            let bytes = bytes[..keeps.bytes.min(bytes.len())].to_vec();
            if !bytes.is_empty() {
                inner.durable.apply(&Change::Write { inode: *inode, offset: *offset, bytes });
            }
        }
        inner.current = inner.durable.clone();
        inner.life += 1;
        inner.power_off_in = None;
        inner.failing_syncs = 0;
        inner.failing_folder_syncs = None;
    }

    /// How many changes no sync has covered yet.
    #[must_use]
    pub fn unsynced_changes(&self) -> usize {
        self.inner().unsynced.len()
    }

    /// How many changes and syncs were asked for so far.
    #[must_use]
    pub fn mutations(&self) -> u64 {
        self.inner().mutations
    }

    /// Sets how many bytes fit; `None` is no limit. A write beyond fills what is left and then fails.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        let mut inner = self.inner();
        (inner.capacity, inner.hides_capacity) = (bytes, false);
    }

    /// As [`set_capacity`](Self::set_capacity), but nothing tells beforehand, as with a user's quota.
    pub fn set_quota(&self, bytes: Option<u64>) {
        let mut inner = self.inner();
        (inner.capacity, inner.hides_capacity) = (bytes, true);
    }

    /// Lets the next `count` syncs fail.
    pub fn fail_syncs(&self, count: u32) {
        self.inner().failing_syncs = count;
    }

    /// Lets the next `count` syncs of this folder's names fail.
    pub fn fail_folder_syncs(&self, folder: &str, count: u32) {
        self.inner().failing_folder_syncs = Some((folder.to_owned(), count));
    }

    /// Lets `count` more changes and syncs pass and then fails all until [`crash`](Self::crash).
    pub fn power_off_in(&self, count: u64) {
        self.inner().power_off_in = Some(count);
    }

    /// A file's current content; `None` if there is none of that name.
    #[must_use]
    pub fn content(&self, path: &str) -> Option<Vec<u8>> {
        let inner = self.inner();
        let inode = inner.current.names.get(path)?;
        Some(inner.current.contents.get(inode).map(|content| content.to_vec()).unwrap_or_default())
    }

    /// Puts a file there as if it had always been durable, replacing one of that name.
    pub fn plant(&self, path: &str, bytes: Vec<u8>) {
        let mut inner = self.inner();
        let inode = inner.next_inode;
        inner.next_inode += 1;
        let content = Arc::new(bytes);
        let inner = &mut *inner;
        for image in [&mut inner.durable, &mut inner.current] {
            image.names.insert(path.to_owned(), inode);
            image.contents.insert(inode, Arc::clone(&content));
        }
    }

    fn handle(&self, inode: u64, life: u64) -> Box<dyn DiskFile> {
        Box::new(SimFile { disk: self.clone(), inode, life })
    }
}

fn not_found(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, format!("{path}: no such file"))
}

impl Disk for SimDisk {
    fn create(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.inner();
        inner.powered()?;
        if inner.current.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let inode = inner.next_inode;
        inner.next_inode += 1;
        inner.change(Change::Names(vec![(path.to_owned(), Some(inode))]));
        let life = inner.life;
        drop(inner);
        Ok(self.handle(inode, life))
    }

    fn open(&self, path: &str) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.inner();
        let inode = *inner.current.names.get(path).ok_or_else(|| not_found(path))?;
        let life = inner.life;
        drop(inner);
        Ok(self.handle(inode, life))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let inner = self.inner();
        let name_of = |path: &String| path.rsplit('/').next().unwrap_or_default().to_owned();
        Ok(inner.current.names.keys().filter(|path| folder_of(path) == folder).map(name_of).collect())
    }

    fn create_folder(&self, _folder: &str) -> io::Result<()> {
        self.inner().powered()
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.powered()?;
        let inode = *inner.current.names.get(from).ok_or_else(|| not_found(from))?;
        inner.change(Change::Names(vec![(to.to_owned(), Some(inode)), (from.to_owned(), None)]));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut inner = self.inner();
        inner.powered()?;
        if !inner.current.names.contains_key(path) {
            return Err(not_found(path));
        }
        inner.change(Change::Names(vec![(path.to_owned(), None)]));
        Ok(())
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        let mut inner = self.inner();
        if let Some((failing, left)) = &mut inner.failing_folder_syncs
            && failing == folder
            && *left > 0
        {
            *left -= 1;
            return Err(io::Error::other("simulated failure of a folder's sync"));
        }
        inner.sync(|change| match change {
            Change::Names(names) => names.iter().any(|(path, _)| folder_of(path) == folder),
            Change::Write { .. } | Change::Length { .. } => false,
        })
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let inner = self.inner();
        let told = inner.capacity.filter(|_| !inner.hides_capacity);
        Ok(told.map_or(u64::MAX, |capacity| capacity.saturating_sub(inner.current.used())))
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: u64,
    life: u64,
}

impl SimFile {
    fn inner(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.disk.inner();
        if inner.life == self.life { Ok(inner) } else { Err(io::Error::other("the file was open before a crash")) }
    }

    fn length_in(&self, inner: &Inner) -> u64 {
        inner.current.contents.get(&self.inode).map_or(0, |content| content.len() as u64)
    }
}

impl DiskFile for SimFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.length_in(&*self.inner()?))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let inner = self.inner()?;
        let content = inner.current.contents.get(&self.inode).map_or(&[][..], |content| content.as_slice());
        let found = usize::try_from(offset).ok().and_then(|from| content.get(from..from.checked_add(out.len())?));
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.powered()?;
        let growth = (offset + bytes.len() as u64).saturating_sub(self.length_in(&inner));
        let free = inner.capacity.map_or(u64::MAX, |capacity| capacity.saturating_sub(inner.current.used()));
        let lacking = usize::try_from(growth.saturating_sub(free)).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = &bytes[..bytes.len() - lacking];
        if !bytes.is_empty() {
            inner.change(Change::Write { inode: self.inode, offset, bytes: bytes.to_vec() });
        }
        if lacking > 0 { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut inner = self.inner()?;
        inner.powered()?;
        let growth = length.saturating_sub(self.length_in(&inner));
        if inner.capacity.is_some_and(|capacity| inner.current.used() + growth > capacity) && growth > 0 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        inner.change(Change::Length { inode: self.inode, length });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let inode = self.inode;
        self.inner()?.sync(|change| match change {
            Change::Write { inode: own, .. } | Change::Length { inode: own, .. } => *own == inode,
            Change::Names(_) => false,
        })
    }
}
