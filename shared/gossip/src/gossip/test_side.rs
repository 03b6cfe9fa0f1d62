//! What only tests do to a machine.

use watchfire_shared::member::NodeId;
use watchfire_shared::time::Timestamp;

use super::Gossip;
use crate::view::Held;

impl Gossip {
    /// As a node of the first version would: it announces the first protocol and knows no later kinds of packets.
    pub(crate) fn speak_first_protocol(&mut self) {
        self.envelope.know_kinds_up_to(14);
        let own = self.view.own();
        let held = own.metadata.clone().expect("the own metadata is always held");
        let bytes = crate::announced::encode_announced(&held.value(), 1, &held.keys).expect("it was encoded before");
        let held = Held::read(held.stamp + 1, bytes).expect("it was just encoded");
        self.view.set_metadata(own.identity.id, held);
    }

    /// As if it alone had been told that a member is down.
    pub(crate) fn hold_for_down(&mut self, now: Timestamp, id: NodeId) {
        let identity = self.view.get(id).expect("the member is known").identity;
        let down = foca::Member::down(identity);
        self.with_foca(now, |foca, outbox| foca.apply_many(std::iter::once(down), false, outbox));
        self.poll(now);
    }

    pub(crate) fn set_member_limit(&mut self, limit: usize) {
        self.view.set_limit(limit);
    }
}
