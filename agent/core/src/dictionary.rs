//! Which series stands in which slot, as of one tick. Snapshots share their content until it changes.

use std::sync::Arc;

use watchfire_shared::frame::message::{Dict, SeriesEntry};
use watchfire_shared::labels::Labels;
use watchfire_shared::limits::MAX_SERIES_PER_AGENT;
use watchfire_shared::sample::MetricKind;

/// A series in its slot.
pub(crate) type Slot = Option<(Labels, MetricKind)>;

/// The slots of a lane.
#[derive(Clone, Default, Debug)]
pub(crate) struct Dictionary(Arc<Vec<Slot>>);

impl Dictionary {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this is the very same snapshot.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(crate) fn slot(&self, slot: usize) -> Option<&(Labels, MetricKind)> {
        self.0.get(slot).and_then(Option::as_ref)
    }

    /// Frees slots, then fills slots. Slots beyond the limit are left out.
    pub(crate) fn change(&mut self, removed: &[u32], added: &[SeriesEntry]) {
        if removed.is_empty() && added.is_empty() {
            return;
        }
        let slots = Arc::make_mut(&mut self.0);
        for slot in removed {
            if let Some(slot) = slots.get_mut(*slot as usize) {
                *slot = None;
            }
        }
        for entry in added.iter().filter(|entry| (entry.slot as usize) < MAX_SERIES_PER_AGENT) {
            let slot = entry.slot as usize;
            if slots.len() <= slot {
                slots.resize(slot + 1, None);
            }
            slots[slot] = Some((entry.labels.clone(), entry.kind));
        }
    }

    /// Makes room for at least `n` slots.
    pub(crate) fn reserve(&mut self, n: usize) {
        if self.0.len() < n {
            Arc::make_mut(&mut self.0).resize(n.min(MAX_SERIES_PER_AGENT), None);
        }
    }

    /// Takes a part of a dictionary as it stands in a frame.
    pub(crate) fn take(&mut self, part: &Dict) {
        if part.base {
            *self = Self::default();
        }
        self.change(&part.remove, &part.add);
    }

    /// What turns `self` into `other`: slots that are freed, and series that are new in their slot.
    pub(crate) fn difference(&self, other: &Self) -> (Vec<u32>, Vec<SeriesEntry>) {
        let (mut removed, mut added) = (Vec::new(), Vec::new());
        for slot in 0..self.len().max(other.len()) {
            let (old, new) = (self.slot(slot), other.slot(slot));
            if old == new {
                continue;
            }
            if old.is_some() {
                removed.push(slot as u32);
            }
            if let Some((labels, kind)) = new {
                added.push(SeriesEntry { slot: slot as u32, labels: labels.clone(), kind: *kind });
            }
        }
        (removed, added)
    }
}
