//! A cluster that has been at rest for long, made at once: what a simulation begins with, where thousands of joins would
//! take longer than what it measures. No program does this.

use foca::{Member, State};
use watchfire_shared::member::Metadata;
use watchfire_shared::time::Timestamp;

use super::{Effect, Gossip, metadata};
use crate::announced::encode_metadata;
use crate::config::Peer;
use crate::identity::Identity;
use crate::schedule::Alarm;
use crate::view::Held;

/// Comparisons of views that lie behind a member at rest: enough for the longest distance to the next.
const COMPARED: u32 = 8;

impl Gossip {
    /// Holds these members for alive from now on, as if they had been met long ago; the own node among them is passed
    /// over. Metadata that cannot be announced is left out.
    pub fn assume(&mut self, now: Timestamp, others: &[(Peer, Metadata)], effects: &mut Vec<Effect>) {
        let own = self.own().id;
        let others: Vec<_> = others.iter().filter(|(peer, _)| peer.id != own).collect();
        let alive = others.iter().map(|(peer, _)| {
            let identity = Identity::new(peer.id, peer.generation, peer.addr);
            Member::new(identity, 0, State::Alive)
        });
        self.with_foca(now, |foca, outbox| foca.apply_many(alive, false, outbox));
        self.poll(now);
        for (peer, value) in &others {
            let keys = self.view.own().metadata.as_ref().map(|own| own.keys.clone()).unwrap_or_default();
            if let Ok(bytes) = encode_metadata(value, &keys) {
                let stamp = metadata::first_stamp(peer.generation);
                let held = Held::read(stamp, bytes).expect("it was just encoded");
                self.view.set_metadata(peer.id, held);
            }
        }
        self.rumors = metadata::Rumors::default();
        self.wants.clear();
        self.schedule.cancel(Alarm::Rumors);
        self.schedule.cancel(Alarm::Fetch);
        self.pulling.rest(COMPARED);
        self.schedule_pull(now);
        self.work(now);
        self.hand_over(effects);
    }
}
