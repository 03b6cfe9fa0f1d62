//! What the store remembers of one source to read its next frame.

use std::sync::Arc;

use watchfire_shared::frame::body::ValueState;
use watchfire_shared::frame::message::Position;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::Timestamp;

use crate::error::AppendError;
use crate::head::Head;
use crate::head::layout::Layout;
use crate::index::SourceId;
use crate::source::Source;
use crate::wal::record::{DataRecord, Shown, StateRecord};

/// Everything that a state record holds.
#[derive(Clone, Default, Debug)]
pub(super) struct Wire {
    pub(super) dict_id: u32,
    pub(super) layout: Arc<Layout>,
    /// Undefined while a keyframe is needed.
    pub(super) values: ValueState,
    pub(super) needs_keyframe: bool,
    /// The dictionary was forgotten because nothing came for long: the next one has to be whole.
    pub(super) needs_dictionary: bool,
    pub(super) last: Option<Position>,
    pub(super) last_at: Option<Timestamp>,
    /// The layout of the last row: what a later one lacks became stale.
    pub(super) shown: Arc<Layout>,
}

/// The samples of a local source's last tick, by which the next one is known to have the same series.
#[derive(Default)]
pub(super) struct Recent {
    /// The dictionary that the slots are of.
    pub(super) layout: Arc<Layout>,
    pub(super) slots: Vec<(Labels, u32)>,
}

pub(super) struct Stream {
    pub(super) source: Source,
    pub(super) id: SourceId,
    pub(super) wire: Wire,
    /// As it was at the last sync, while there are records after it.
    pub(super) committed: Option<Wire>,
    pub(super) durable: Option<Position>,
    /// The segment that has this source's state; 0 is none.
    pub(super) segment: u64,
    /// Of local sources only.
    pub(super) recent: Recent,
}

impl Wire {
    pub(super) fn to_record(&self, source: &Source) -> StateRecord {
        StateRecord {
            source: source.clone(),
            dict_id: self.dict_id,
            needs_keyframe: self.needs_keyframe,
            needs_dictionary: self.needs_dictionary,
            last: self.last,
            last_at: self.last_at,
            values: self.values.clone(),
            slots: self.layout.to_entries(),
            shown: if self.shown.len() == 0 {
                Shown::Nothing
            } else if Arc::ptr_eq(&self.shown, &self.layout) {
                Shown::Dictionary
            } else {
                Shown::Other(self.shown.to_entries())
            },
        }
    }

    /// Whether a frame of this shape can be read now.
    pub(super) fn check(&self, at: Timestamp, slots: usize, keyframe: bool) -> Result<(), AppendError> {
        if let Some(last) = self.last_at.filter(|last| at <= *last) {
            return Err(AppendError::NotAfter { at, last });
        }
        if slots < self.layout.slots() {
            return Err(AppendError::SlotCount { expected: self.layout.slots(), found: slots });
        }
        if keyframe {
            return Ok(());
        }
        if self.needs_keyframe {
            return Err(AppendError::NeedsKeyframe);
        }
        if slots != self.values.len() {
            return Err(AppendError::SlotCount { expected: self.values.len(), found: slots });
        }
        Ok(())
    }

    /// Whether a frame at this position follows the last one. A keyframe may leave some out.
    pub(super) fn check_position(&self, position: Position, keyframe: bool) -> Result<(), AppendError> {
        match self.last {
            Some(last) if position <= last => Err(AppendError::Duplicate { position, last }),
            Some(last) if !keyframe && (position.epoch, position.seq) != (last.epoch, last.seq.wrapping_add(1)) => {
                Err(AppendError::NeedsKeyframe)
            }
            None if !keyframe => Err(AppendError::NeedsKeyframe),
            _ => Ok(()),
        }
    }

    /// Takes a body that was checked.
    pub(super) fn decode(&mut self, data: &DataRecord<'_>) -> Result<(), AppendError> {
        self.values.resize(data.slots);
        if let Err(error) = self.values.decode(data.body, data.keyframe, data.coding) {
            self.needs_keyframe = true;
            return Err(error.into());
        }
        self.needs_keyframe = false;
        self.last = Some(data.position);
        self.last_at = Some(data.at);
        Ok(())
    }
}

impl Stream {
    pub(super) fn new(source: Source, id: SourceId) -> Self {
        Self {
            source,
            id,
            wire: Wire { needs_keyframe: true, ..Wire::default() },
            committed: None,
            durable: None,
            segment: 0,
            recent: Recent::default(),
        }
    }

    /// Lets go of the series of a source that has no row in the head.
    pub(super) fn forget_dictionary(&mut self, head: &mut Head) {
        let layout = std::mem::take(&mut self.wire.layout);
        for series in layout.series() {
            head.forget_unused(self.id, series);
        }
        self.wire.values = ValueState::default();
        self.wire.needs_keyframe = true;
        self.wire.needs_dictionary = matches!(self.source, Source::Agent(..));
    }

    /// Everything appended is durable.
    pub(super) fn settle(&mut self) {
        self.durable = self.wire.last;
        self.committed = None;
    }
}
