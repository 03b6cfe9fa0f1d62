//! Dictionaries and values of one lane: what is appended, and how everything else is refused.

use watchfire_shared::frame::message::{Data, Dict, Lane, Message, Nack, NackCode, Position};
use watchfire_shared::labels::Labels;
use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;
use watchfire_store::{AppendError, DictionaryError, Disk, Store};

use super::stamp::{Stamp, stamp};
use super::{ConnId, Ingest, Output, Report, position, source};
use crate::fact::{Fact, Level};

/// Where a connected agent's lane stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct LaneState {
    /// The epoch under which frames are kept.
    pub(super) epoch: u64,
    /// Frames are ignored until the agent was asked to send the lane again: the store had no room.
    pub(super) stalled: bool,
    /// The agent was asked to send the lane again and has not begun to; asking once is enough.
    resync_asked: bool,
}

impl LaneState {
    /// A lane whose agent calls its epoch `epoch`, when `last` is what the store has of it.
    ///
    /// An epoch below the last one means that the agent's clock was set back before it started. Its frames are new
    /// all the same, so they are kept under an epoch of ours that is higher than all before.
    pub(super) fn new(epoch: u64, last: Option<Position>) -> Self {
        let epoch = match last {
            Some(last) if last.epoch > epoch => last.epoch.saturating_add(1),
            _ => epoch,
        };
        Self { epoch, stalled: false, resync_asked: false }
    }
}

/// What becomes of a frame that was not appended.
enum Verdict {
    /// It is here already: acknowledge again.
    Known,
    /// Ask for the lane again.
    Resync,
    /// There is no room now; the agent keeps it.
    NoRoom,
    /// It will never be taken.
    Never(NackCode),
    /// It is no honest frame.
    Malformed,
}

fn verdict(error: &AppendError) -> Verdict {
    match error {
        AppendError::Duplicate { .. } => Verdict::Known,
        AppendError::NeedsKeyframe | AppendError::NeedsDictionary | AppendError::OtherDictionary { .. } => {
            Verdict::Resync
        }
        AppendError::Full | AppendError::Behind | AppendError::Failed(_) => Verdict::NoRoom,
        AppendError::NotAfter { .. } => Verdict::Never(NackCode::Clock),
        AppendError::SlotCount { .. } | AppendError::Malformed(_) => Verdict::Malformed,
        AppendError::SameLabels(_) | AppendError::Refused(_) => Verdict::Never(NackCode::Schema),
    }
}

impl Ingest {
    pub(super) fn dict<D: Disk>(
        &mut self,
        conn: ConnId,
        id: NodeId,
        mut dict: Dict,
        store: &mut Store<D>,
        out: &mut Vec<Output>,
    ) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let (lane, dict_id) = (dict.lane, dict.dict_id);
        if dict.base {
            agent.lane(lane).resync_asked = false;
        }
        let mut refused = Vec::new();
        let mut names: Vec<Labels> = Vec::with_capacity(dict.add.len());
        dict.add.retain(|entry| match agent.target.apply(&entry.labels) {
            Ok(labels) => {
                names.push(labels);
                true
            }
            Err(reason) => {
                refused.push((entry.slot, reason));
                false
            }
        });
        if let Some((_, reason)) = refused.first() {
            let (reason, slots) = (reason.clone(), refused.iter().map(|(slot, _)| *slot).collect());
            self.counters.rejected.schema += 1;
            self.nack(conn, Nack { lane, seq: u64::from(dict_id), code: NackCode::Schema, detail: reason, slots }, out);
        }
        for (entry, labels) in dict.add.iter().zip(&names) {
            self.metadata.note_kind(labels.metric_name(), entry.kind);
        }
        if let Err(error) = store.set_dictionary(&source(id, lane), &dict, &names) {
            self.dictionary_refused(conn, id, &dict, &error, out);
        }
    }

    fn dictionary_refused(
        &mut self,
        conn: ConnId,
        id: NodeId,
        dict: &Dict,
        error: &DictionaryError,
        out: &mut Vec<Output>,
    ) {
        let lane = dict.lane;
        let nack = |code, slots| Nack { lane, seq: u64::from(dict.dict_id), code, detail: error.to_string(), slots };
        match error {
            DictionaryError::Refused(slots) => {
                self.counters.rejected.quota += 1;
                let slots = slots.iter().map(|refused| refused.slot).collect();
                self.nack(conn, nack(NackCode::Quota, slots), out);
            }
            DictionaryError::OutOfOrder { .. } => self.ask_again(conn, id, lane, 0, &error.to_string(), out),
            DictionaryError::Full | DictionaryError::Behind | DictionaryError::Failed(_) => self.stall(id, lane),
            DictionaryError::LabelCount { .. } | DictionaryError::Local => {
                self.counters.rejected.schema += 1;
                self.nack(conn, nack(NackCode::Schema, Vec::new()), out);
            }
        }
    }

    pub(super) fn data<D: Disk>(
        &mut self,
        now: Timestamp,
        conn: ConnId,
        id: NodeId,
        data: &Data,
        store: &mut Store<D>,
        out: &mut Vec<Output>,
    ) {
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let (lane, tick) = (data.lane, Timestamp::from_millis(data.ts_ms));
        let clock_offset = tick.since(now);
        // A sign of life counts even where there is no room for its values.
        if lane == Lane::Live {
            agent.heard_at = now;
            out.push(Output::Report(Report::Live { id, clock_offset }));
        }
        let state = *agent.lane(lane);
        if state.stalled {
            self.counters.rejected.storage += 1;
            return;
        }
        let source = source(id, lane);
        let at = match stamp(now, lane, tick, store.last_at(&source), self.identity.retention) {
            Stamp::Nominal(at) => at,
            Stamp::Received(at) => {
                self.counters.restamped += 1;
                at
            }
            Stamp::Refused(reason) => return self.clock_refused(conn, data, reason, out),
        };
        match store.append(&source, position(state.epoch, data.seq), at, data) {
            Ok(()) => self.appended(id, lane, u64::from(data.n)),
            Err(error) => self.data_refused(conn, id, data, &error, out),
        }
    }

    fn appended(&mut self, id: NodeId, lane: Lane, samples: u64) {
        match lane {
            Lane::Live => self.counters.samples_live += samples,
            Lane::Backfill => self.counters.samples_backfill += samples,
        }
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.lane(lane).resync_asked = false;
        }
        self.unacknowledged.insert((id, lane));
    }

    fn data_refused(&mut self, conn: ConnId, id: NodeId, data: &Data, error: &AppendError, out: &mut Vec<Output>) {
        let (lane, seq) = (data.lane, data.seq);
        match verdict(error) {
            Verdict::Known => {
                self.counters.duplicates += 1;
                self.unacknowledged.insert((id, lane));
            }
            Verdict::Resync => self.ask_again(conn, id, lane, seq, &error.to_string(), out),
            Verdict::NoRoom => {
                self.counters.rejected.storage += 1;
                self.stall(id, lane);
            }
            Verdict::Never(code) => {
                self.count(code);
                self.nack(conn, Nack { lane, seq, code, detail: error.to_string(), slots: Vec::new() }, out);
            }
            Verdict::Malformed => {
                self.counters.rejected.malformed += 1;
                let nack = Nack { lane, seq, code: NackCode::Schema, detail: error.to_string(), slots: Vec::new() };
                self.nack(conn, nack, out);
                let fact = self.about(conn, Level::Warn, "an agent sent values that cannot be read");
                out.push(Output::Fact(fact.with("reason", error)));
                self.close(conn, "values cannot be read", 0, out);
            }
        }
    }

    /// A frame whose time cannot be kept. Its values may be what the next frame is a difference to, so the lane has to
    /// start over; the refused frame itself is dropped by the agent.
    fn clock_refused(&mut self, conn: ConnId, data: &Data, reason: &str, out: &mut Vec<Output>) {
        self.counters.rejected.clock += 1;
        let (lane, seq) = (data.lane, data.seq);
        self.nack(conn, Nack { lane, seq, code: NackCode::Clock, detail: reason.to_owned(), slots: Vec::new() }, out);
    }

    /// Asks for a lane to be sent again from a dictionary and a keyframe, once until it is.
    fn ask_again(&mut self, conn: ConnId, id: NodeId, lane: Lane, seq: u64, reason: &str, out: &mut Vec<Output>) {
        self.counters.rejected.resync += 1;
        let Some(agent) = self.agents.get_mut(&id) else { return };
        let state = agent.lane(lane);
        if state.resync_asked {
            return;
        }
        state.resync_asked = true;
        let nack = Nack { lane, seq, code: NackCode::Resync, detail: reason.to_owned(), slots: Vec::new() };
        self.nack(conn, nack, out);
    }

    fn stall(&mut self, id: NodeId, lane: Lane) {
        self.no_room = true;
        if let Some(agent) = self.agents.get_mut(&id) {
            agent.lane(lane).stalled = true;
        }
    }

    fn nack(&self, conn: ConnId, nack: Nack, out: &mut Vec<Output>) {
        let fact = Fact::new(Level::Debug, "refused a frame").with("reason", &nack.detail);
        out.push(Output::Fact(fact));
        out.push(Output::Reply(conn, Message::Nack(nack)));
    }

    fn count(&mut self, code: NackCode) {
        let rejected = &mut self.counters.rejected;
        let counter = match code {
            NackCode::Protocol => &mut rejected.protocol,
            NackCode::Quota => &mut rejected.quota,
            NackCode::Schema => &mut rejected.schema,
            NackCode::Clock => &mut rejected.clock,
            NackCode::Resync => &mut rejected.resync,
        };
        *counter += 1;
    }

    /// Asks the lanes that found no room to begin again, now that there is some.
    pub(super) fn ask_stalled_lanes(&mut self, out: &mut Vec<Output>) {
        for agent in self.agents.values_mut() {
            for lane in Lane::ALL {
                let state = agent.lane(lane);
                if std::mem::take(&mut state.stalled) {
                    state.resync_asked = true;
                    let detail = "there is room again".to_owned();
                    let nack = Nack { lane, seq: 0, code: NackCode::Resync, detail, slots: Vec::new() };
                    out.push(Output::Reply(agent.conn, Message::Nack(nack)));
                }
            }
        }
    }
}
