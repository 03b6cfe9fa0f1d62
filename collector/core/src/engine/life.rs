//! What agents note of their own lives: asked for at each greeting, and filled into the history.
//!
//! For the time in which this collector was away or an agent was cut off, only the agent itself knows whether it ran. Its
//! word fills the history and nothing else: no rule, no `up` and no alert comes from it, for it comes late.

use watchfire_shared::frame::Message;
use watchfire_shared::life::{Life, LifeNote, LifeState, LifeWanted};
use watchfire_shared::limits::{MAX_LIFE_NOTES, MAX_LIFE_REASON_CHARS};
use watchfire_shared::member::{NodeId, Role};
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::Disk;

use super::{Effect, Engine};
use crate::history::{Change, Source};

/// A clock that is off by less is as good as ours, milliseconds.
const CLOCK_TOLERANCE_MILLIS: u64 = 1000;

impl<D: Disk> Engine<D> {
    /// Asks an agent that has just introduced itself for what we lack of its journal. An older agent passes over it.
    pub(super) fn ask_for_life(&self, id: NodeId, effects: &mut Vec<Effect>) {
        let Some(conn) = self.ingest.connection_of(id) else { return };
        let after = self.fleet.get(id).map_or(0, |node| node.record.life_seq);
        effects.push(Effect::Reply { conn, bytes: Message::LifeWanted(LifeWanted { after }).encode() });
    }

    /// Fills the history with what an agent says of its life. An agent sends only what it was asked for, so a lower number
    /// than the last known one is of a journal that began anew.
    pub(super) fn note_life(&mut self, now: Timestamp, id: NodeId, life: Life) {
        let Some(node) = self.fleet.get(id) else { return };
        let name = node.record.name.clone();
        let offset = node
            .clock_offset
            .filter(|offset| offset.as_millis().unsigned_abs() >= CLOCK_TOLERANCE_MILLIS)
            .unwrap_or(Span::ZERO);
        let oldest = now - self.settings.nodes.history_retention;
        let mut last = None;
        for note in life.notes.into_iter().take(MAX_LIFE_NOTES) {
            last = Some(note.seq);
            let at = Timestamp::from_millis(note.at.as_millis().saturating_sub(offset.as_millis())).min(now);
            if at >= oldest && note.state != LifeState::Unknown {
                self.record(now, &name, change(id, at, &note));
            }
        }
        if let Some(last) = last {
            self.fleet.life_noted(id, last);
            self.save_nodes(now);
        }
    }
}

fn change(id: NodeId, at: Timestamp, note: &LifeNote) -> Change {
    let visible = note.reason.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char });
    let reason = visible.take(MAX_LIFE_REASON_CHARS).collect();
    Change { at, id, role: Role::Agent, source: Source::Agent, state: note.state.as_str().to_owned(), reason }
}
