//! What this node's view is worth: whether it has met the others, and whether it still hears them.

use watchfire_shared::time::Timestamp;

use super::Gossip;

/// How a node stands to the members that it knows or looks for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Contact {
    /// It has somebody to join, or was joined just now, and has not learnt everything that they know yet.
    #[default]
    Joining,
    /// It knows nobody else and looks for nobody.
    Alone,
    /// It has compared its view with a member, hears some, and knows who they are.
    Connected,
    /// It knows others and hears none of them, or doubts what it hears.
    CutOff,
}

impl Gossip {
    /// How this node stands to the others at `now`.
    #[must_use]
    pub fn contact(&self, now: Timestamp) -> Contact {
        let hears_somebody = self.view.active_count() > 0;
        // Who is there, but has not said who it is, is not listed yet.
        let is_complete = || self.view.active().all(|entry| entry.metadata.is_some() || entry.waited);
        let knows_somebody = self.view.others().next().is_some();
        if hears_somebody {
            match (self.detector.doubts(now), self.pulling.has_compared() && is_complete()) {
                (true, _) => Contact::CutOff,
                (false, true) => Contact::Connected,
                (false, false) => Contact::Joining,
            }
        } else if knows_somebody {
            Contact::CutOff
        } else if self.contacts.is_empty() {
            Contact::Alone
        } else {
            Contact::Joining
        }
    }
}
