//! The own probe that is under way, as seen from outside foca: whom it asks and whether it was answered.

use foca::ProbeNumber;

use crate::identity::Identity;

/// The last ping that foca sent on its own behalf.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Probe(Option<Sent>);

#[derive(Clone, Copy, Debug)]
struct Sent {
    number: ProbeNumber,
    target: Identity,
    answered: bool,
}

impl Probe {
    pub(super) fn sent(number: ProbeNumber, target: Identity) -> Self {
        Self(Some(Sent { number, target, answered: false }))
    }

    /// Takes an answer; whether it is the first to this very probe.
    pub(super) fn answered(&mut self, number: ProbeNumber, from: &Identity) -> bool {
        let Some(sent) = self.0.as_mut().filter(|sent| sent.number == number && sent.target == *from) else {
            return false;
        };
        !std::mem::replace(&mut sent.answered, true)
    }
}
