//! Reading all of a block, to find everything that is wrong with it.

use std::collections::BTreeSet;

use super::index::Index;
use super::{Block, Fault};

impl Block {
    /// Checks every byte. Returns each fault with the offset of the part it is in.
    pub(crate) fn verify(&self) -> Vec<(u64, String)> {
        let mut faults: BTreeSet<(u64, String)> = BTreeSet::new();
        let mut note = |offset: u64, fault: &Fault| {
            let (at, what) = match fault {
                Fault::Damaged { at, what } => (*at, (*what).to_owned()),
                fault => (offset, fault.to_string()),
            };
            faults.insert((at, what));
        };
        for (_, section) in self.footer.sections() {
            if let Err(fault) = self.read_checked(section.offset, section.length, section.checksum) {
                note(section.offset, &fault);
            }
        }
        let index = Index::read(self).and_then(|index| {
            index.check_postings(self)?;
            index.series(self, &(0..self.footer.series).collect())
        });
        if let Err(fault) = index {
            note(self.footer.index_offset(), &fault);
        }
        let groups = self.groups().unwrap_or_else(|fault| {
            note(self.footer.groups.offset, &fault);
            Vec::new()
        });
        let mut values = Vec::new();
        for group in &groups {
            let detail = match self.detail(group) {
                Ok(detail) => detail,
                Err(fault) => {
                    note(group.offset, &fault);
                    continue;
                }
            };
            for column in &detail.columns {
                values.clear();
                if let Err(fault) = self.values(group, column, &mut values) {
                    note(group.offset + column.offset, &fault);
                }
            }
        }
        faults.into_iter().collect()
    }
}
