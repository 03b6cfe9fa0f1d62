//! When a group is due: at its regular times, at once after a change of what it reads, and when a timer of its alerts ends.
//!
//! Regular times are multiples of the interval plus an offset that follows from the group's identity, so that groups spread
//! over the interval and keep their times over restarts. Evaluations out of turn are bounded: changes that come together are
//! taken together, and after each evaluation there is a pause in proportion to what it took.

use watchfire_shared::time::{Span, Timestamp};

/// How long a change waits for others that come with it: a partition shows as many changes within milliseconds.
const DEBOUNCE: Span = Span::from_millis(50);
/// The shortest pause between two evaluations of a group, other than its regular ones.
const MIN_PAUSE: Span = Span::from_millis(200);
/// The pause as a multiple of what the last evaluation took, so that a storm of changes costs a quarter of a core at most.
const PAUSE_FACTOR: i64 = 3;

/// The times of one group.
#[derive(Clone, Debug)]
pub(super) struct Clockwork {
    interval: Span,
    /// The next regular time.
    next: Timestamp,
    /// When an evaluation out of turn is wanted.
    prompt: Option<Timestamp>,
    /// The earliest timer of the group's alerts.
    timer: Option<Timestamp>,
    last: Option<Timestamp>,
    /// What the last evaluation took.
    took: Span,
}

/// One evaluation to be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Turn {
    pub(super) at: Timestamp,
    /// Regular times that passed without an evaluation.
    pub(super) missed: i64,
}

impl Clockwork {
    /// `identity` spreads the groups; `interval` must be positive.
    pub(super) fn new(identity: u64, interval: Span, now: Timestamp) -> Self {
        let offset = Span::from_millis((identity % interval.as_millis().unsigned_abs().max(1)) as i64);
        let slot = (now - offset).floor(interval) + offset;
        let next = if slot < now { slot + interval } else { slot };
        Self { interval, next, prompt: None, timer: None, last: None, took: Span::ZERO }
    }

    /// Keeps what is known of the group from before a reload.
    pub(super) const fn continue_from(&mut self, before: &Self) {
        self.last = before.last;
        self.took = before.took;
        self.timer = before.timer;
        self.prompt = before.prompt;
    }

    /// Asks for an evaluation out of turn.
    pub(super) fn change(&mut self, now: Timestamp) {
        let at = now + DEBOUNCE;
        self.prompt = Some(self.prompt.map_or(at, |earlier| earlier.min(at)));
    }

    /// When the next evaluation is due.
    pub(super) fn due(&self) -> Timestamp {
        let rested = self.last.map_or(Timestamp::MIN, |last| last + self.pause());
        // A timer that an evaluation has passed already waits for the regular time: the collector was blind.
        let timer = self.timer.filter(|timer| self.last.is_none_or(|last| last < *timer));
        let early = self.prompt.into_iter().chain(timer).min().map(|at| at.max(rested));
        early.map_or(self.next, |early| early.min(self.next))
    }

    fn pause(&self) -> Span {
        MIN_PAUSE.max(self.took * PAUSE_FACTOR)
    }

    /// Begins the evaluation that is due at `now`; `None` if none is.
    pub(super) fn begin(&mut self, now: Timestamp) -> Option<Turn> {
        if self.due() > now {
            return None;
        }
        let mut turn = Turn { at: now, missed: 0 };
        if self.next <= now {
            turn.missed = now.since(self.next).as_millis() / self.interval.as_millis();
            let slot = self.next + self.interval * turn.missed;
            self.next = slot + self.interval;
            // What else is due may have happened after the regular time, and must be seen.
            let early = self.prompt.is_some_and(|at| at <= now) || self.timer.is_some_and(|at| slot < at && at <= now);
            turn.at = if early { now } else { slot };
        }
        // Times of one group strictly increase; an evaluation out of turn may have come after the regular time.
        if self.last.is_some_and(|last| turn.at <= last) {
            turn.at = now.max(self.last.map_or(now, |last| last + Span::from_millis(1)));
        }
        self.prompt = self.prompt.filter(|prompt| *prompt > now);
        self.last = Some(turn.at);
        Some(turn)
    }

    /// Ends an evaluation: what it took, and the earliest timer of the group's alerts.
    pub(super) const fn end(&mut self, took: Span, timer: Option<Timestamp>) {
        self.took = took;
        self.timer = timer;
    }

    pub(super) const fn interval(&self) -> Span {
        self.interval
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn clockwork() -> Clockwork {
        Clockwork::new(3_000, Span::from_seconds(15), ms(100_000))
    }

    #[test]
    fn regular_times_are_slots_of_the_group() {
        let mut clockwork = clockwork();
        assert_eq!(clockwork.begin(ms(107_999)), None);
        assert_eq!(clockwork.begin(ms(108_004)), Some(Turn { at: ms(108_000), missed: 0 }));
        assert_eq!(clockwork.begin(ms(108_005)), None);
        assert_eq!(clockwork.due(), ms(123_000));
        // Two slots passed before this one.
        assert_eq!(clockwork.begin(ms(153_500)), Some(Turn { at: ms(153_000), missed: 2 }));
        assert_eq!(clockwork.due(), ms(168_000));
    }

    #[test]
    fn a_change_is_evaluated_at_once_with_those_that_come_with_it() {
        let mut clockwork = clockwork();
        clockwork.change(ms(101_000));
        clockwork.change(ms(101_030));
        assert_eq!(clockwork.due(), ms(101_050));
        assert_eq!(clockwork.begin(ms(101_050)), Some(Turn { at: ms(101_050), missed: 0 }));
        clockwork.end(Span::from_millis(10), None);
        assert_eq!(clockwork.due(), ms(108_000));
    }

    #[test]
    fn a_storm_of_changes_leaves_pauses() {
        let mut clockwork = clockwork();
        clockwork.change(ms(101_000));
        clockwork.begin(ms(101_050));
        clockwork.end(Span::from_millis(1_000), None);
        clockwork.change(ms(101_060));
        assert_eq!(clockwork.due(), ms(104_050));
        // The regular time waits for nothing.
        clockwork.end(Span::from_seconds(100), None);
        assert_eq!(clockwork.due(), ms(108_000));
    }

    #[test]
    fn a_timer_makes_the_group_due_exactly_then_and_only_once() {
        let mut clockwork = clockwork();
        clockwork.begin(ms(108_000));
        clockwork.end(Span::ZERO, Some(ms(118_000)));
        assert_eq!(clockwork.due(), ms(118_000));
        assert_eq!(clockwork.begin(ms(118_000)), Some(Turn { at: ms(118_000), missed: 0 }));
        clockwork.end(Span::ZERO, Some(ms(118_000)));
        assert_eq!(clockwork.due(), ms(123_000));
    }

    #[test]
    fn times_of_a_group_strictly_increase() {
        let mut clockwork = clockwork();
        clockwork.change(ms(107_950));
        // Late: the regular time is past as well, and both are served by one evaluation that sees the change.
        assert_eq!(clockwork.begin(ms(108_010)), Some(Turn { at: ms(108_010), missed: 0 }));
        clockwork.change(ms(108_150));
        assert_eq!(clockwork.begin(ms(108_209)), None);
        assert_eq!(clockwork.begin(ms(108_210)), Some(Turn { at: ms(108_210), missed: 0 }));
        assert_eq!(clockwork.begin(ms(108_210)), None);
        assert_eq!(clockwork.due(), ms(123_000));
    }
}
