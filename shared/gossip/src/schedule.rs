//! When what is due: foca's timers in the order that foca demands, and the machine's own alarms.
//!
//! foca needs every timer delivered, those of one instant in the order of `Timer: Ord`, or it reports an incomplete
//! probe cycle. There is one foca for the life of a machine, so its timers need no tag of their instance.

use std::collections::BTreeMap;

use foca::Timer;
use watchfire_shared::time::{Span, Timestamp};

use crate::identity::Identity;

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
    /// Tell members that they were suspected while this node was cut off.
    Remind,
    /// List members whose metadata did not come.
    List,
    /// Members that left are told to foca as down.
    Settle,
    /// Hand the peers to the shell.
    SavePeers,
    /// Forget members that are down for long.
    Forget,
    /// One more round of the own leave note.
    Leave,
}

/// One thing that has become due.
#[derive(Debug)]
pub(crate) enum Due {
    Foca(Timer<Identity>),
    Alarm(Alarm),
}

#[derive(Default, Debug)]
pub(crate) struct Schedule {
    foca: BTreeMap<(Timestamp, u8, u64), Timer<Identity>>,
    submitted: u64,
    /// The next round of foca's gossip, put off while foca has no news to tell: it would wake the program for nothing.
    resting: Option<(Timestamp, Span, Timer<Identity>)>,
    alarms: BTreeMap<Alarm, Timestamp>,
}

impl Schedule {
    pub(crate) fn submit(&mut self, now: Timestamp, after: std::time::Duration, timer: Timer<Identity>) {
        self.submitted += 1;
        self.foca.insert((now + Span::from_std(after), rank(&timer), self.submitted), timer);
    }

    /// Puts a round of gossip off until [`Schedule::resume`].
    pub(crate) fn rest(&mut self, now: Timestamp, after: std::time::Duration, timer: Timer<Identity>) {
        let period = Span::from_std(after);
        self.resting = Some((now + period, period, timer));
    }

    /// There is news: rounds go on at the times at which they would have come.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        if let Some((at, period, timer)) = self.resting.take() {
            let missed = now.since(at).as_millis().max(0) as u64;
            let rounds = missed.div_ceil(period.as_millis().max(1) as u64);
            self.submitted += 1;
            self.foca.insert((at + period * rounds as i64, rank(&timer), self.submitted), timer);
        }
    }

    /// The probe of this member was answered: its second stage has nothing to do and comes with the next probe, in
    /// foca's order before it, so that both share one wake-up.
    pub(crate) fn join_stages(&mut self, probed: &Identity) {
        let is_stage = |timer: &Timer<Identity>| matches!(timer, Timer::SendIndirectProbe { probed_id, .. } if probed_id == probed);
        let next =
            self.foca.iter().find(|(_, timer)| matches!(timer, Timer::ProbeRandomMember(_))).map(|(key, _)| key.0);
        let stage = self.foca.iter().find(|(_, timer)| is_stage(timer)).map(|(key, _)| *key);
        if let (Some(at), Some(key)) = (next, stage)
            && key.0 < at
            && let Some(timer) = self.foca.remove(&key)
        {
            self.foca.insert((at, key.1, key.2), timer);
        }
    }

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
        self.foca.clear();
        self.resting = None;
        self.alarms.clear();
    }

    pub(crate) fn cancel(&mut self, alarm: Alarm) {
        self.alarms.remove(&alarm);
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        let foca = self.foca.first_key_value().map(|((at, ..), _)| *at);
        let alarm = self.alarms.values().min().copied();
        foca.into_iter().chain(alarm).min()
    }

    /// Takes the earliest thing that is due at `now`; foca's first of those of one instant.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Due> {
        let next = self.next().filter(|at| *at <= now)?;
        if let Some(entry) = self.foca.first_entry()
            && entry.key().0 <= next
        {
            return Some(Due::Foca(entry.remove()));
        }
        let alarm = self.alarms.iter().find(|(_, at)| **at == next).map(|(alarm, _)| *alarm)?;
        self.alarms.remove(&alarm);
        Some(Due::Alarm(alarm))
    }
}

/// The order of `foca::Timer`'s own `Ord`, as a key.
fn rank(timer: &Timer<Identity>) -> u8 {
    match timer {
        Timer::SendIndirectProbe { .. } => 0,
        Timer::ProbeRandomMember(_) => 1,
        Timer::ChangeSuspectToDown { .. } => 2,
        Timer::PeriodicAnnounce(_) => 3,
        Timer::PeriodicGossip(_) => 4,
        Timer::RemoveDown(_) => 5,
        Timer::PeriodicAnnounceDown(_) => 6,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use watchfire_shared::member::NodeId;

    use super::*;

    #[test]
    fn timers_of_one_instant_come_in_focas_order_and_late_ones_by_time() {
        let probed_id = Identity::new(NodeId(1), 1, "10.0.0.1:1".parse().unwrap());
        let timers = [
            Timer::PeriodicGossip(0),
            Timer::ProbeRandomMember(0),
            Timer::SendIndirectProbe { probed_id, token: 0 },
            Timer::RemoveDown(probed_id),
        ];
        let mut sorted = timers.to_vec();
        sorted.sort();
        let mut schedule = Schedule::default();
        for timer in timers {
            schedule.submit(Timestamp::EPOCH, Duration::from_millis(5), timer);
        }
        schedule.submit(Timestamp::EPOCH, Duration::from_millis(2), Timer::PeriodicGossip(9));
        schedule.set(Alarm::Poll, Timestamp::from_millis(5));
        let now = Timestamp::from_millis(100);
        let mut seen = Vec::new();
        while let Some(due) = schedule.pop(now) {
            seen.push(format!("{due:?}"));
        }
        let mut expected = vec![format!("{:?}", Due::Foca(Timer::PeriodicGossip(9)))];
        expected.extend(sorted.into_iter().map(|timer| format!("{:?}", Due::Foca(timer))));
        expected.push(format!("{:?}", Due::Alarm(Alarm::Poll)));
        assert_eq!(seen, expected);
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn the_second_stage_of_an_answered_probe_comes_with_the_next_probe_and_before_it() {
        let probed_id = Identity::new(NodeId(1), 1, "10.0.0.1:1".parse().unwrap());
        let mut schedule = Schedule::default();
        schedule.submit(Timestamp::EPOCH, Duration::from_millis(10), Timer::ProbeRandomMember(0));
        schedule.submit(Timestamp::EPOCH, Duration::from_millis(5), Timer::SendIndirectProbe { probed_id, token: 0 });
        schedule.join_stages(&probed_id.in_generation(2));
        assert_eq!(schedule.next(), Some(Timestamp::from_millis(5)), "another life's probe is not this one");
        schedule.join_stages(&probed_id);
        assert_eq!(schedule.next(), Some(Timestamp::from_millis(10)));
        let mut due = || format!("{:?}", schedule.pop(Timestamp::from_millis(10)));
        assert!(due().contains("SendIndirectProbe") && due().contains("ProbeRandomMember") && due() == "None");
    }

    #[test]
    fn a_round_of_gossip_that_was_put_off_comes_back_once_and_in_step() {
        let at = Timestamp::from_millis;
        let mut schedule = Schedule::default();
        schedule.rest(at(0), Duration::from_millis(5), Timer::PeriodicGossip(0));
        assert_eq!(schedule.next(), None);
        schedule.resume(at(2));
        schedule.resume(at(3));
        assert_eq!(schedule.next(), Some(at(5)));
        assert!(schedule.pop(at(5)).is_some() && schedule.pop(at(5)).is_none());
        schedule.rest(at(5), Duration::from_millis(5), Timer::PeriodicGossip(0));
        schedule.resume(at(52));
        assert_eq!(schedule.next(), Some(at(55)));
    }
}
