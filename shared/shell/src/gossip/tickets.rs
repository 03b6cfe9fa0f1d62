//! Who waits for the machine's answer to a question of its own program.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use tokio::sync::oneshot;
use watchfire_gossip::KeyRefusal;

/// What comes back of a change of keys.
pub(crate) type KeysAnswer = oneshot::Sender<Result<(), KeyRefusal>>;

/// Questions that were not answered yet. The machine answers each one; those of a machine that has ended go with it.
#[derive(Clone, Default, Debug)]
pub(super) struct Tickets(Arc<Mutex<(u64, BTreeMap<u64, KeysAnswer>)>>);

impl Tickets {
    /// A number under which the answer will come.
    pub(super) fn give(&self, answer: KeysAnswer) -> u64 {
        let mut held = self.0.lock().expect("no holder of this lock can panic");
        held.0 += 1;
        let ticket = held.0;
        held.1.insert(ticket, answer);
        ticket
    }

    pub(super) fn answer(&self, ticket: u64, answer: Result<(), KeyRefusal>) {
        let waiting = self.0.lock().expect("no holder of this lock can panic").1.remove(&ticket);
        // Who asked may have gone.
        let _ = waiting.map(|waiting| waiting.send(answer));
    }
}
