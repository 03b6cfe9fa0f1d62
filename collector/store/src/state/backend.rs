//! A file of a [`Disk`](crate::Disk) as what `redb` stores its pages in.

use std::io;

use redb::StorageBackend;

use crate::disk::DiskFile;

#[derive(Debug)]
pub(super) struct Backend(Box<dyn DiskFile>);

impl Backend {
    pub(super) fn new(file: Box<dyn DiskFile>) -> Self {
        Self(file)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_length(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(offset, data)
    }
}
