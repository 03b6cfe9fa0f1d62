//! The witness: the member that was heard from last helps with a probe, beside the helpers that foca draws.
//!
//! Where most of a cluster dies at once, helpers drawn from everybody are dead as well, and their silence looks like this
//! node's own slowness: it would probe ever more patiently and, hearing nobody, doubt itself. Who was heard a moment ago
//! is the likeliest to answer, and its answer tells that the network carries.

use foca::{Header, Member, Message, OwnedNotification, State};
use watchfire_shared::time::Timestamp;

use super::Detector;
use crate::codec::without_updates;
use crate::identity::Identity;

/// Members that are remembered: the target of the probe and one that died just now may be among them.
const MOST: usize = 3;

/// The members that were heard from last, the latest first.
#[derive(Default, Debug)]
pub(super) struct Lately(Vec<Identity>);

impl Lately {
    pub(super) fn heard(&mut self, from: &Identity) {
        if self.0.first() != Some(from) {
            self.0.retain(|known| known != from);
            self.0.insert(0, *from);
            self.0.truncate(MOST);
        }
    }
}

impl Detector {
    /// Asks the witness to probe `target` too, unless foca asked it already.
    pub(super) fn ask_witness(&mut self, target: &Identity) {
        let is_alive =
            |id: &Identity| self.foca.iter_members().any(|member| member.id() == id && member.state() == State::Alive);
        let witness = self.lately.0.iter().find(|id| *id != target && is_alive(id)).copied();
        let asked = witness.and_then(|witness| Some((witness, self.health.witness_asked(witness)?)));
        let Some((dst, probe_number)) = asked else { return };
        let message = Message::PingReq { target: *target, probe_number };
        let header = Header { src: *self.identity(), src_incarnation: self.incarnation, dst, message };
        if let Ok(body) = without_updates(&header) {
            self.send(dst, body);
        }
    }

    /// The target answered the witness, whom foca does not know as a helper: foca is told of an answer to itself.
    pub(super) fn take_testimony(&mut self, now: Timestamp, header: &Header<Identity>) {
        let Message::ForwardedAck { origin, probe_number } = &header.message else { return };
        if !self.health.is_testimony(&header.src, origin, *probe_number) {
            return;
        }
        let known = |id: &Identity| self.foca.iter_members().find(|member| member.id() == id).map(Member::incarnation);
        let (Some(_), Some(src_incarnation)) = (known(&header.src), known(origin)) else { return };
        let message = Message::Ack(*probe_number);
        let answer = Header { src: *origin, src_incarnation, dst: *self.identity(), message };
        let Ok(body) = without_updates(&answer) else { return };
        self.call(now, |foca, outbox| {
            let outcome = foca.handle_data(body.as_slice(), &mut *outbox);
            // Nothing came from the target itself, so nobody is told that something did.
            outbox.notifications.retain(|told| !matches!(told, OwnedNotification::DataReceived(_)));
            outcome
        });
    }
}
