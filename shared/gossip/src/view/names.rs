//! Names that several living members claim.
//!
//! What it costs follows the members that were listed otherwise and those of the same name, and not the size of the view.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use watchfire_shared::member::{Namesake, NodeId};

use super::{Difference, Entry, View};

/// Two or more living members that claim one name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NameConflict {
    pub name: String,
    /// The members, with the addresses at which they gossip.
    pub members: Vec<(NodeId, SocketAddr)>,
}

/// Members of one name that a member's document shows; a name that a whole fleet has, as one image brings it, would make
/// every document as long as the list.
const MOST_SHOWN: usize = 16;

#[derive(Debug, Default)]
pub(super) struct Names {
    /// Names of members that are listed otherwise since it was looked last.
    touched: BTreeSet<Arc<str>>,
    contested: BTreeMap<Arc<str>, Vec<(NodeId, SocketAddr)>>,
}

impl Names {
    pub(super) fn touch(&mut self, name: &Arc<str>) {
        self.touched.insert(name.clone());
    }
}

impl View {
    /// Looks who lives under the names that were touched. Returns the members that look different now, because others came
    /// to their name or went.
    pub(super) fn settle_names(&mut self, differences: &mut Vec<Difference>) -> BTreeSet<NodeId> {
        let mut concerned = BTreeSet::new();
        for name in std::mem::take(&mut self.names.touched) {
            let living = self.named(&name).filter_map(|id| self.get(id)).filter(|entry| entry.is_active());
            let mut living: Vec<_> = living.map(|entry| (entry.identity.id, entry.identity.addr)).collect();
            // Two at one address are one whose data directory was wiped, and its former self that nobody has missed yet.
            let addresses: BTreeSet<SocketAddr> = living.iter().map(|(_, addr)| *addr).collect();
            if addresses.len() < 2 {
                living.clear();
            }
            let before = self.names.contested.get(&name).map_or(&[][..], Vec::as_slice);
            if living == before {
                continue;
            }
            concerned.extend(before.iter().chain(&living).map(|(id, _)| *id));
            if living.iter().any(|(id, _)| before.iter().all(|(known, _)| known != id)) {
                differences
                    .push(Difference::Conflict(NameConflict { name: name.to_string(), members: living.clone() }));
            }
            match living.is_empty() {
                true => drop(self.names.contested.remove(&name)),
                false => drop(self.names.contested.insert(name, living)),
            }
        }
        concerned
    }

    /// The other living members of a living member's name.
    pub(super) fn namesakes(&self, entry: &Entry) -> Vec<Namesake> {
        let contested = if entry.is_active() { self.names.contested.get(&entry.name()) } else { None };
        let others = contested.into_iter().flatten().filter(|(id, _)| *id != entry.identity.id);
        others.take(MOST_SHOWN).map(|(id, addr)| Namesake { id: *id, addr: *addr }).collect()
    }

    pub(crate) fn conflicts(&self) -> Vec<NameConflict> {
        let contested = self.names.contested.iter();
        contested.map(|(name, members)| NameConflict { name: name.to_string(), members: members.clone() }).collect()
    }
}
