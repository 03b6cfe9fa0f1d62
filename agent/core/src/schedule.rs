//! When to sample: at multiples of the interval plus the node's own phase, so that a fleet does not report all at once.

use watchfire_shared::time::{Span, Timestamp};

use crate::random::Random;

/// The shortest and the longest distance of two ticks.
pub(crate) const INTERVAL_BOUNDS: (Span, Span) = (Span::from_millis(100), Span::from_seconds(3600));

/// The ticks of one node.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    node: u64,
    interval: Span,
    phase: Span,
    next: Timestamp,
}

/// A tick that is due.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Due {
    /// The nominal time.
    pub(crate) tick: Timestamp,
    /// Earlier ticks that passed without being noticed (a suspended machine).
    pub(crate) missed: u64,
}

impl Schedule {
    /// `node` is the node's id; it determines the phase.
    pub(crate) fn new(now: Timestamp, node: u64, interval: Span) -> Self {
        let interval = interval.clamp(INTERVAL_BOUNDS.0, INTERVAL_BOUNDS.1);
        let phase = Random::new(node).between(Span::ZERO, interval - Span::from_millis(1));
        let mut schedule = Self { node, interval, phase, next: now };
        schedule.next = schedule.latest(now) + interval;
        schedule
    }

    pub(crate) fn interval(&self) -> Span {
        self.interval
    }

    pub(crate) fn next(&self) -> Timestamp {
        self.next
    }

    /// Takes the latest tick that is due.
    pub(crate) fn take(&mut self, now: Timestamp) -> Option<Due> {
        if now < self.next {
            return None;
        }
        let tick = self.latest(now);
        let missed = tick.since(self.next).as_millis() / self.interval.as_millis();
        self.next = tick + self.interval;
        Some(Due { tick, missed: missed.max(0) as u64 })
    }

    /// Changes the interval. The next tick is the first of the new grid that is not before the one of the old grid could
    /// have been missed: no tick is lost and none comes twice.
    pub(crate) fn change(&mut self, now: Timestamp, interval: Span) {
        if interval != self.interval {
            *self = Self::new(now, self.node, interval);
        }
    }

    fn latest(&self, now: Timestamp) -> Timestamp {
        (now - self.phase).floor(self.interval) + self.phase
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_multiples_of_the_interval_plus_a_phase_of_the_node() {
        let second = Span::from_seconds(1);
        let mut schedule = Schedule::new(Timestamp::from_millis(5_000), 7, second);
        let phase = schedule.next().as_millis() % 1000;
        assert_ne!(phase, Schedule::new(Timestamp::EPOCH, 8, second).next().as_millis() % 1000);
        assert_eq!(schedule.take(schedule.next() - Span::from_millis(1)), None);
        for _ in 0..3 {
            let tick = schedule.next();
            assert_eq!(schedule.take(tick + Span::from_millis(30)), Some(Due { tick, missed: 0 }));
            assert_eq!((tick.as_millis() % 1000, schedule.next()), (phase, tick + second));
        }
    }

    #[test]
    fn ticks_that_passed_unnoticed_are_counted_not_made_up() {
        let mut schedule = Schedule::new(Timestamp::EPOCH, 7, Span::from_seconds(1));
        let late = schedule.next() + Span::from_millis(5_500);
        let due = schedule.take(late).unwrap();
        assert_eq!((due.missed, late.since(due.tick)), (5, Span::from_millis(500)));
        assert_eq!(schedule.take(late), None);
    }
}
