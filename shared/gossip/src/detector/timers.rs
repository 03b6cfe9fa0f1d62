//! foca's timers, delivered in the order that foca demands.
//!
//! foca needs every timer delivered, those of one instant in the order of `Timer: Ord`, or it reports an incomplete
//! probe cycle. There is one foca for the life of a machine, so its timers need no tag of their instance.

use std::collections::BTreeMap;

use foca::Timer;
use watchfire_shared::time::{Span, Timestamp};

use crate::identity::Identity;

#[derive(Default, Debug)]
pub(crate) struct Timers {
    waiting: BTreeMap<(Timestamp, u8, u64), Timer<Identity>>,
    submitted: u64,
    /// The next round of foca's gossip, put off while foca has no news to tell: it would wake the program for nothing.
    resting: Option<(Timestamp, Timer<Identity>)>,
}

impl Timers {
    pub(crate) fn submit(&mut self, now: Timestamp, after: Span, timer: Timer<Identity>) {
        self.submitted += 1;
        self.waiting.insert((now + after, rank(&timer), self.submitted), timer);
    }

    /// Puts a round of gossip off until [`Timers::resume`].
    pub(crate) fn rest(&mut self, now: Timestamp, after: Span, timer: Timer<Identity>) {
        self.resting = Some((now + after, timer));
    }

    /// There is news: the round that was put off comes when it would have come, or now if that is past.
    pub(crate) fn resume(&mut self, now: Timestamp) {
        if let Some((at, timer)) = self.resting.take() {
            self.submitted += 1;
            self.waiting.insert((at.max(now), rank(&timer), self.submitted), timer);
        }
    }

    /// The probe of this member was answered: its second stage has nothing to do and comes with the next probe, in
    /// foca's order before it, so that both share one wake-up.
    pub(crate) fn join_stages(&mut self, probed: &Identity) {
        let is_stage = |timer: &Timer<Identity>| matches!(timer, Timer::SendIndirectProbe { probed_id, .. } if probed_id == probed);
        let next = self.waiting.iter().find(|(_, timer)| matches!(timer, Timer::ProbeRandomMember(_)));
        let next = next.map(|((at, ..), _)| *at);
        let stage = self.waiting.iter().find(|(_, timer)| is_stage(timer)).map(|(key, _)| *key);
        if let (Some(at), Some(key)) = (next, stage)
            && key.0 < at
            && let Some(timer) = self.waiting.remove(&key)
        {
            self.waiting.insert((at, key.1, key.2), timer);
        }
    }

    pub(crate) fn next(&self) -> Option<Timestamp> {
        self.waiting.first_key_value().map(|((at, ..), _)| *at)
    }

    /// Takes the earliest timer that is due at `now`.
    pub(crate) fn pop(&mut self, now: Timestamp) -> Option<Timer<Identity>> {
        let first = self.waiting.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(first.remove())
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
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
    use watchfire_shared::member::NodeId;

    use super::*;

    #[test]
    fn timers_of_one_instant_come_in_focas_order_and_late_ones_by_time() {
        let probed_id = Identity::new(NodeId(1), 1, "10.0.0.1:1".parse().unwrap());
        let all = [
            Timer::PeriodicGossip(0),
            Timer::ProbeRandomMember(0),
            Timer::SendIndirectProbe { probed_id, token: 0 },
            Timer::RemoveDown(probed_id),
        ];
        let mut sorted = all.to_vec();
        sorted.sort();
        let mut timers = Timers::default();
        for timer in all {
            timers.submit(Timestamp::EPOCH, Span::from_millis(5), timer);
        }
        timers.submit(Timestamp::EPOCH, Span::from_millis(2), Timer::PeriodicGossip(9));
        assert_eq!(timers.pop(Timestamp::from_millis(1)), None);
        let now = Timestamp::from_millis(100);
        let seen: Vec<_> = std::iter::from_fn(|| timers.pop(now)).collect();
        let expected: Vec<_> = std::iter::once(Timer::PeriodicGossip(9)).chain(sorted).collect();
        assert_eq!(seen, expected);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn the_second_stage_of_an_answered_probe_comes_with_the_next_probe_and_before_it() {
        let at = Timestamp::from_millis;
        let probed_id = Identity::new(NodeId(1), 1, "10.0.0.1:1".parse().unwrap());
        let mut timers = Timers::default();
        timers.submit(at(0), Span::from_millis(10), Timer::ProbeRandomMember(0));
        timers.submit(at(0), Span::from_millis(5), Timer::SendIndirectProbe { probed_id, token: 0 });
        timers.join_stages(&probed_id.in_generation(2));
        assert_eq!(timers.next(), Some(at(5)), "another life's probe is not this one");
        timers.join_stages(&probed_id);
        assert_eq!(timers.next(), Some(at(10)));
        assert!(matches!(timers.pop(at(10)), Some(Timer::SendIndirectProbe { .. })));
        assert_eq!((timers.pop(at(10)), timers.pop(at(10))), (Some(Timer::ProbeRandomMember(0)), None));
    }

    #[test]
    fn a_round_of_gossip_that_was_put_off_comes_back_once_and_not_before_its_time() {
        let at = Timestamp::from_millis;
        let mut timers = Timers::default();
        timers.rest(at(0), Span::from_millis(5), Timer::PeriodicGossip(0));
        assert_eq!(timers.next(), None);
        timers.resume(at(2));
        timers.resume(at(3));
        assert_eq!(timers.next(), Some(at(5)));
        assert!(timers.pop(at(5)).is_some() && timers.pop(at(5)).is_none());
        timers.rest(at(5), Span::from_millis(5), Timer::PeriodicGossip(0));
        timers.resume(at(50));
        assert_eq!(timers.next(), Some(at(50)));
    }
}
