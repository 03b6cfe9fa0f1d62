//! The members as this node sees them: foca's members and what foca does not know of them.
//!
//! The view holds no timer and sends nothing. It is told what was observed and derives from it what is listed: one item
//! per node id, a wiped node's old item replaced by its new one, a member that said goodbye left and never down.

mod doubts;
mod entry;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use watchfire_shared::limits::MAX_MEMBERS;
use watchfire_shared::member::{Member, MemberChange, MemberState, NodeId};
use watchfire_shared::time::{Span, Timestamp};

use entry::Listed;
pub(crate) use entry::{Entry, Held, Shown};
pub use names::NameConflict;
use names::Names;

use crate::identity::Identity;
use crate::packet::{PageEntry, Standing};
use crate::place::Place;

/// How long a member may lack metadata before it is listed under its id.
pub(crate) const UNNAMED_AFTER: Span = Span::from_seconds(5);

/// A member that is not listed any more.
#[derive(Clone, PartialEq, Debug)]
pub struct Removal {
    pub at: Timestamp,
    pub reason: RemovalReason,
    /// The member as it was listed last.
    pub member: Member,
}

/// Why a member is not listed any more.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RemovalReason {
    /// Another id lives under its name: its data directory was wiped.
    Replaced(NodeId),
    /// It was down or left for a day, or made room for living members.
    Forgotten,
    /// Somebody said that it will not come back.
    Dismissed,
}

/// A member that somebody said will not come back. It does so only in a later life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Forgotten {
    pub id: NodeId,
    /// The life that will not come back, and those before it.
    pub generation: u32,
    pub addr: SocketAddr,
    pub name: String,
    pub at: Timestamp,
}

/// What became different.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Difference {
    Changed(MemberChange),
    Removed(Removal),
    /// One more claims a name that another living member has.
    Conflict(NameConflict),
}

#[derive(Debug)]
pub(crate) struct View {
    own: NodeId,
    /// Boxed, since a tree's nodes are a third empty.
    entries: BTreeMap<NodeId, Box<Entry>>,
    by_name: BTreeSet<(Arc<str>, NodeId)>,
    names: Names,
    /// Entries that may look different from what was told last.
    dirty: BTreeSet<NodeId>,
    /// Entries without metadata, by when they are listed anyway.
    unnamed: BTreeSet<(Timestamp, NodeId)>,
    index: u64,
    active: usize,
    stands_at: Place,
    /// Members that are kept at most; [`MAX_MEMBERS`], and less where a test fills the view.
    limit: usize,
}

impl View {
    pub(crate) fn new(now: Timestamp, own: Identity, metadata: Held) -> Self {
        let mut entry = Entry::new(now, own, 0, MemberState::Alive);
        entry.metadata = Some(Box::new(metadata));
        let mut view = Self {
            own: own.id,
            entries: BTreeMap::new(),
            by_name: BTreeSet::new(),
            names: Names::default(),
            dirty: BTreeSet::from([own.id]),
            unnamed: BTreeSet::new(),
            index: 0,
            active: 0,
            stands_at: Place::default(),
            limit: MAX_MEMBERS,
        };
        view.entries.insert(own.id, Box::new(entry));
        view
    }

    pub(crate) fn index(&self) -> u64 {
        self.index
    }

    pub(crate) fn get(&self, id: NodeId) -> Option<&Entry> {
        self.entries.get(&id).map(Box::as_ref)
    }

    pub(crate) fn own(&self) -> &Entry {
        &self.entries[&self.own]
    }

    /// Changes an entry; what became visible is told at the next [`View::flush`].
    pub(crate) fn change<T>(&mut self, id: NodeId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&id)?;
        let was_active = entry.is_active();
        let result = change(entry);
        let is_active = entry.is_active();
        if id != self.own {
            self.active = self.active + usize::from(is_active) - usize::from(was_active);
        }
        self.dirty.insert(id);
        Some(result)
    }

    /// Takes note of a round-trip time or a place. They change all the time, so that is no difference to tell.
    pub(crate) fn time(&mut self, id: NodeId, note: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(&id) {
            note(entry);
        }
    }

    /// Where the own node stands.
    pub(crate) fn stand_at(&mut self, place: Place) {
        self.stands_at = place;
    }

    /// Other members, whatever their state.
    pub(crate) fn others(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().map(Box::as_ref).filter(|entry| entry.identity.id != self.own)
    }

    /// Other members as they follow the own node by id, around to it again.
    pub(crate) fn following(&self) -> impl Iterator<Item = &Entry> {
        let after = (std::ops::Bound::Excluded(self.own), std::ops::Bound::Unbounded);
        let around = self.entries.range(after).chain(self.entries.range(..self.own));
        around.map(|(_, entry)| entry.as_ref())
    }

    /// Other members that are alive or suspect.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Entry> {
        self.others().filter(|entry| entry.is_active())
    }

    /// How many others are alive or suspect.
    pub(crate) fn active_count(&self) -> usize {
        self.active
    }

    pub(crate) fn is_active(&self, id: NodeId) -> bool {
        self.get(id).is_some_and(Entry::is_active)
    }

    /// Takes what foca holds of a member. Returns the states before and after if the state changed.
    pub(crate) fn observe(
        &mut self,
        now: Timestamp,
        identity: Identity,
        incarnation: u16,
        state: foca::State,
    ) -> Option<(Option<MemberState>, MemberState)> {
        let id = identity.id;
        let Some(entry) = self.entries.get_mut(&id) else {
            let entry = Entry::new(now, identity, incarnation, entry::visible(state));
            let state = entry.state;
            self.insert(now, entry);
            return Some((None, state));
        };
        if entry.same(&identity, incarnation, state) {
            return None;
        }
        self.change(id, |entry| entry.observe(now, identity, incarnation, state)).flatten()
    }

    /// Adds a member that is not known yet. The caller has made sure that there is room.
    pub(crate) fn insert(&mut self, now: Timestamp, entry: Entry) {
        let id = entry.identity.id;
        self.active += usize::from(entry.is_active());
        self.unnamed.insert((now + UNNAMED_AFTER, id));
        self.dirty.insert(id);
        self.entries.insert(id, Box::new(entry));
    }

    /// Takes metadata if it is newer. Returns whether it was.
    pub(crate) fn set_metadata(&mut self, id: NodeId, held: Held) -> bool {
        let newer = self.entries.get(&id).is_some_and(|entry| entry.stamp() < held.stamp);
        if newer {
            self.change(id, |entry| entry.metadata = Some(Box::new(held)));
        }
        newer
    }

    /// When a member without metadata is to be listed anyway.
    pub(crate) fn next_unnamed(&self) -> Option<Timestamp> {
        self.unnamed.first().map(|(at, _)| *at)
    }

    pub(crate) fn list_unnamed(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.unnamed.first().copied().filter(|(at, _)| *at <= now) {
            self.unnamed.remove(&(at, id));
            self.change(id, |entry| entry.waited = true);
        }
    }

    /// Members that are down or left since before `before`, the longest first.
    pub(crate) fn gone_before(&self, before: Timestamp) -> Vec<Identity> {
        let gone = self.others().filter(|entry| !entry.is_active() && entry.since <= before);
        let mut gone: Vec<(Timestamp, Identity)> = gone.map(|entry| (entry.since, entry.identity)).collect();
        gone.sort_unstable();
        gone.into_iter().map(|(_, identity)| identity).collect()
    }

    /// How many more members fit.
    pub(crate) fn room(&self) -> usize {
        self.limit.saturating_sub(self.entries.len())
    }

    #[cfg(test)]
    pub(crate) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
    }

    /// Drops a member altogether.
    pub(crate) fn forget(&mut self, now: Timestamp, id: NodeId, differences: &mut Vec<Difference>) {
        let Some(mut entry) = self.entries.remove(&id) else { return };
        self.active -= usize::from(entry.is_active());
        self.dirty.remove(&id);
        self.unlist(now, &mut entry, RemovalReason::Forgotten, differences);
    }

    /// Tells what became visible since the last time, oldest id first.
    pub(crate) fn flush(&mut self, now: Timestamp, differences: &mut Vec<Difference>) {
        let mut dirty = std::mem::take(&mut self.dirty);
        loop {
            let Some(id) = dirty.pop_first() else {
                dirty = self.settle_names(differences);
                if dirty.is_empty() {
                    return;
                }
                continue;
            };
            let Some(mut entry) = self.entries.remove(&id) else { continue };
            if entry.dismissed {
                self.unlist(now, &mut entry, RemovalReason::Dismissed, differences);
            } else if let Some(by) = self.replaced_by(&entry) {
                entry.replaced = true;
                self.unlist(now, &mut entry, RemovalReason::Replaced(by), differences);
            } else {
                let renamed = self.list(now, &mut entry, differences);
                if renamed || entry.is_active() {
                    // Others of this name are looked at again: the silent ones among them may be its former lives.
                    let name = entry.name();
                    let named = self.named(&name);
                    dirty.extend(named.filter(|other| *other != id && !self.is_active(*other)));
                }
            }
            self.entries.insert(id, entry);
        }
    }

    /// Who took a silent member's name: somebody living who appeared after it, or who is where it was, or anybody
    /// living if the member was never seen alive here.
    fn replaced_by(&self, entry: &Entry) -> Option<NodeId> {
        if entry.is_active() || entry.identity.id == self.own || entry.metadata.is_none() {
            return None;
        }
        let name = entry.name();
        let alive = self.named(&name).filter_map(|id| self.get(id)).filter(|other| other.is_active());
        let successor = |other: &&Entry| {
            let newer = !entry.seen_alive || other.first_seen >= entry.first_seen;
            newer || other.identity.addr == entry.identity.addr
        };
        alive.filter(successor).map(|other| other.identity.id).find(|id| *id != entry.identity.id)
    }

    /// Shows an entry as it is now if it is ready and looks different. Returns whether its name is new.
    fn list(&mut self, now: Timestamp, entry: &mut Entry, differences: &mut Vec<Difference>) -> bool {
        entry.replaced = false;
        if entry.metadata.is_none() && !entry.waited {
            return false;
        }
        let member = self.member(entry);
        let listed = Listed::of(&member, entry.name());
        if entry.listed.as_ref() == Some(&listed) {
            return false;
        }
        let renamed = entry.listed.as_ref().is_none_or(|before| before.name != listed.name);
        if renamed {
            self.unname(entry);
            self.by_name.insert((listed.name.clone(), member.id));
        }
        self.names.touch(&listed.name);
        let previous = entry.listed.replace(listed).map(|before| before.state);
        self.index += 1;
        differences.push(Difference::Changed(MemberChange { at: now, previous, member }));
        renamed
    }

    fn unlist(&mut self, now: Timestamp, entry: &mut Entry, reason: RemovalReason, differences: &mut Vec<Difference>) {
        self.unname(entry);
        if let Some(Listed { state, .. }) = entry.listed.take() {
            let member = Member { state, ..self.member(entry) };
            self.index += 1;
            differences.push(Difference::Removed(Removal { at: now, reason, member }));
        }
    }

    fn unname(&mut self, entry: &Entry) {
        if let Some(listed) = &entry.listed {
            self.names.touch(&listed.name);
            self.by_name.remove(&(listed.name.clone(), entry.identity.id));
        }
    }

    /// Members that are listed under a name.
    fn named(&self, name: &Arc<str>) -> impl Iterator<Item = NodeId> {
        let ids = (name.clone(), NodeId(u64::MIN))..=(name.clone(), NodeId(u64::MAX));
        self.by_name.range(ids).map(|(_, id)| *id)
    }

    fn member(&self, entry: &Entry) -> Member {
        let member = entry.member(|id| self.get(id).map_or_else(|| id.to_string().into(), Entry::name));
        Member { namesakes: self.namesakes(entry), ..member }
    }

    /// What is listed, by name, then by id.
    pub(crate) fn members(&self) -> Vec<Member> {
        let entries = self.by_name.iter().filter_map(|(_, id)| self.get(*id));
        entries.map(|entry| Member { rtt_ms: entry.rtt_ms(&self.stands_at), ..self.member(entry) }).collect()
    }

    /// Members that were dismissed, by id.
    pub(crate) fn dismissed(&self) -> Vec<Forgotten> {
        let dismissed = self.others().filter(|entry| entry.dismissed);
        let forgotten = dismissed.map(|entry| {
            let Identity { id, generation, addr } = entry.identity;
            Forgotten { id, generation, addr, name: entry.name().to_string(), at: entry.since }
        });
        forgotten.collect()
    }

    /// A number that two equal views share, whatever the order in which they learnt: the own entry is part of it.
    pub(crate) fn digest(&self) -> u64 {
        let listed = self.entries.values().filter(|entry| entry.is_listed());
        listed.fold(0, |digest, entry| digest ^ entry.digest())
    }

    /// A number that two views share which hold the same members for alive, and how many these are.
    pub(crate) fn active_digest(&self) -> (u64, u32) {
        let ids = self.active().map(|entry| entry.identity.id).chain([self.own]);
        ids.fold((0, 0), |(digest, count), id| (digest ^ entry::active_digest(id), count + 1))
    }

    /// Members with ids above `after`, at most `count`, and where the next page begins (0: nowhere).
    pub(crate) fn page(&self, now: Timestamp, after: u64, count: usize) -> (Vec<PageEntry>, u64) {
        let above = (std::ops::Bound::Excluded(NodeId(after)), std::ops::Bound::Unbounded);
        let mut entries = self.entries.range(above).map(|(_, entry)| entry).filter(|entry| entry.is_listed());
        let page: Vec<PageEntry> = entries.by_ref().take(count).map(|entry| entry.page(now)).collect();
        let next = page.last().filter(|_| entries.next().is_some()).map_or(0, |last| last.identity.id.0);
        (page, next)
    }
}

impl PageEntry {
    /// The state that an observer who trusts the page gives to a member that it did not know.
    pub(crate) fn state(&self) -> MemberState {
        match self.standing {
            Standing::Active => MemberState::Alive,
            Standing::Down => MemberState::Down,
            Standing::Left => MemberState::Left,
        }
    }
}
