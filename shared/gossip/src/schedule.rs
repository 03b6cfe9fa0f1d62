//! When what of the machine's own is due; foca's timers are the detector's.

use std::collections::BTreeMap;

use watchfire_shared::time::Timestamp;

/// The machine's own alarms; each is set at most once at a time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Alarm {
    /// Look for members whose state changed without a notification.
    Poll,
    /// Try addresses where no living member is known.
    Contacts,
    /// Spread metadata and leave notes.
    Rumors,
    /// Compare views with a random member.
    Pull,
    /// The member that was asked for its view did not answer.
    PullTimeout,
    /// Ask for metadata that is lacking.
    Fetch,
    /// Ask what silent members' hosts answer.
    Ask,
    /// Stop in favour of the machine that this one was copied from.
    Yield,
    /// Refusals have waited for a restart for long enough.
    Judge,
    /// Hold ties to the members that follow this one.
    Tie,
    /// Tell members that they were suspected while this node was cut off.
    Remind,
    /// Look again at deaths that were told and not believed.
    Hearsay,
    /// List members whose metadata did not come.
    List,
    /// Members that left are told to foca as down.
    Settle,
    /// Tell members once more of a change of keys that they did not make.
    Keys,
    /// Tell what this node sees of others.
    Report,
    /// Put together what is wrong about whom.
    Conditions,
    /// Hand the peers to the shell.
    SavePeers,
    /// Forget members that are down for long.
    Forget,
    /// One more round of the own leave note.
    Leave,
}

#[derive(Default, Debug)]
pub(crate) struct Schedule {
    alarms: BTreeMap<Alarm, Timestamp>,
}

impl Schedule {
    /// Sets an alarm, replacing the time it had.
    pub(crate) fn set(&mut self, alarm: Alarm, at: Timestamp) {
        self.alarms.insert(alarm, at);
    }

    /// Sets an alarm unless it rings earlier anyway.
    pub(crate) fn set_by(&mut self, alarm: Alarm, at: Timestamp) {
        let slot = self.alarms.entry(alarm).or_insert(at);
        *slot = at.min(*slot);
    }

    pub(crate) fn clear(&mut self) {
        self.alarms.clear();
    }

    pub(crate) fn cancel(&mut self, alarm: Alarm) {
        self.alarms.remove(&alarm);
    }

    pub(crate) fn is_set(&self, alarm: Alarm) -> bool {
        self.alarms.contains_key(&alarm)
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.alarms.values().min().copied()
    }

    /// Takes the earliest alarm that rings by `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Alarm> {
        let next = self.next().filter(|at| *at <= now)?;
        let alarm = self.alarms.iter().find(|(_, at)| **at == next).map(|(alarm, _)| *alarm)?;
        self.alarms.remove(&alarm);
        Some(alarm)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_ring_in_order_once_each() {
        let at = Timestamp::from_millis;
        let mut schedule = Schedule::default();
        schedule.set(Alarm::Poll, at(5));
        schedule.set(Alarm::Pull, at(9));
        schedule.set(Alarm::Pull, at(7));
        schedule.set_by(Alarm::Pull, at(8));
        schedule.set_by(Alarm::Leave, at(7));
        assert_eq!((schedule.pop(at(4)), schedule.next()), (None, Some(at(5))));
        let seen: Vec<_> = std::iter::from_fn(|| schedule.pop(at(100))).collect();
        assert_eq!(seen, [Alarm::Poll, Alarm::Pull, Alarm::Leave]);
        assert_eq!(schedule.next(), None);
    }
}
