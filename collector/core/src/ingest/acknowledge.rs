//! Acknowledgement: agents forget what we say is durable, so it is said only after the disk has it.

use watchfire_shared::frame::message::{Ack, Message};
use watchfire_store::{Disk, Store};

use super::{CREDIT_BYTES, Ingest, Output, source};

impl Ingest {
    /// Whether an agent waits to hear what is durable.
    pub(crate) fn awaits_acknowledgement(&self) -> bool {
        !self.unacknowledged.is_empty()
    }

    /// Tells each agent that waits what is durable. To be called when a sync of everything pending has succeeded.
    pub(crate) fn synced<D: Disk>(&mut self, store: &Store<D>, out: &mut Vec<Output>) {
        for (id, lane) in std::mem::take(&mut self.unacknowledged) {
            let Some(agent) = self.agents.get_mut(&id) else { continue };
            let Some(durable) = store.durable(&source(id, lane)) else { continue };
            if durable.epoch == agent.lane(lane).epoch {
                let ack = Ack { lane, seq: durable.seq, credit_bytes: CREDIT_BYTES };
                out.push(Output::Reply(agent.conn, Message::Ack(ack)));
            }
        }
        if !store.is_behind() {
            self.ask_stalled_lanes(out);
        }
    }
}
