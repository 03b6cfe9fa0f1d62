//! What the engine keeps for those who copy the store elsewhere: their cursors on disk, and their figures for everybody.

use std::collections::BTreeMap;

use watchfire_shared::time::Timestamp;
use watchfire_store::{Disk, State, StateError};

use super::Engine;
use crate::export::{Progress, TABLE};

/// The saved cursors, by the name of the remote engine.
pub(super) fn load(state: &mut State) -> Result<BTreeMap<String, Vec<u8>>, StateError> {
    Ok(state.load(TABLE)?.into_iter().collect())
}

impl<D: Disk> Engine<D> {
    /// A remote engine has come further. One that the configuration names no more keeps its cursors, should it come back.
    pub(super) fn exported(&mut self, now: Timestamp, progress: Progress) {
        let Progress { remote, cursors, figures } = progress;
        self.ledger.change_soon(now, TABLE, remote.clone(), Some(cursors));
        if self.settings.exports.contains(&remote) {
            self.exports.insert(remote, figures);
        }
    }

    /// Forgets the figures of engines that are written to no more.
    pub(super) fn forget_exports(&mut self) {
        self.exports.retain(|remote, _| self.settings.exports.contains(remote));
    }
}
