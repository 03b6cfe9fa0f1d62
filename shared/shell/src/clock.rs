//! Two readings of time that never decrease: a monotonic one for gossip, and a wall clock for everything that is kept.
//!
//! The wall clock runs on the monotonic one and follows the system's only forward. After a step back of the system's
//! clock (an administrator, a bad time server) it goes on from where it was; [`Clock::ahead`] tells by how much it is
//! ahead. A step forward, and the time that the machine was suspended, are followed at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use watchfire_shared::time::{Span, Timestamp};

/// Below this, the difference to the system's clock is the noise of reading two clocks one after the other.
const TOLERANCE_MILLIS: i64 = 10;
/// A difference of this much was a step, not a drift.
const STEP_MILLIS: i64 = 1000;
/// If reading both clocks took longer than this, the thread was interrupted between them and the pair means nothing.
const MAX_READING_TIME: Duration = Duration::from_millis(2);

/// The clock of a program. Clones show the same time.
#[derive(Clone, Debug)]
pub struct Clock(Arc<State>);

#[derive(Debug)]
struct State {
    started: Instant,
    /// Wall time less monotonic time, milliseconds. Only rises, so that the wall clock never decreases.
    offset: AtomicI64,
    steps: AtomicU64,
}

impl Clock {
    /// Starts a clock at the system's wall time.
    #[must_use]
    pub fn start() -> Self {
        let started = Instant::now();
        Self(Arc::new(State { started, offset: AtomicI64::new(system_millis()), steps: AtomicU64::new(0) }))
    }

    /// Milliseconds since the clock was started, as a point in time of its own scale.
    #[must_use]
    pub fn monotonic(&self) -> Timestamp {
        Timestamp::from_millis(Span::from_std(self.0.started.elapsed()).as_millis())
    }

    /// The wall time. Never less than any earlier reading of this clock or its clones.
    #[must_use]
    pub fn wall(&self) -> Timestamp {
        let before = Instant::now();
        let system = system_millis();
        let monotonic = self.monotonic().as_millis();
        if before.elapsed() <= MAX_READING_TIME {
            self.follow(system - monotonic);
        }
        Timestamp::from_millis(monotonic + self.0.offset.load(Ordering::Relaxed))
    }

    /// The wall time of a point on the monotonic scale.
    #[must_use]
    pub fn wall_of(&self, monotonic: Timestamp) -> Timestamp {
        let offset = self.0.offset.load(Ordering::Relaxed);
        Timestamp::from_millis(monotonic.as_millis().saturating_add(offset))
    }

    /// How far this clock is ahead of the system's, because that one was set back.
    #[must_use]
    pub fn ahead(&self) -> Span {
        let system = system_millis();
        let ahead = self.wall().as_millis() - system;
        if ahead <= TOLERANCE_MILLIS { Span::ZERO } else { Span::from_millis(ahead) }
    }

    /// How often the system's clock leapt forward by more than a second.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.0.steps.load(Ordering::Relaxed)
    }

    fn follow(&self, offset: i64) {
        let before = self.0.offset.load(Ordering::Relaxed);
        if offset < before + TOLERANCE_MILLIS {
            return;
        }
        // Two threads may see the same step; `fetch_max` lets one of them count it.
        let before = self.0.offset.fetch_max(offset, Ordering::Relaxed);
        if offset > before + STEP_MILLIS {
            self.0.steps.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn system_millis() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => Span::from_std(since).as_millis(),
        Err(before) => -Span::from_std(before.duration()).as_millis(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wall_clock_follows_steps_forward_and_ignores_steps_back() {
        let clock = Clock::start();
        let before = clock.wall();
        let offset = clock.0.offset.load(Ordering::Relaxed);
        clock.follow(offset - 3_600_000);
        assert!(clock.wall() >= before);
        assert_eq!(clock.steps(), 0);

        clock.follow(offset + 3_600_000);
        let after = clock.wall();
        assert!(after.since(before) >= Span::from_seconds(3600), "{before} {after}");
        assert_eq!(clock.steps(), 1);
        assert!(clock.ahead() >= Span::from_seconds(3599), "the system is an hour behind now: {}", clock.ahead());
        assert!(clock.wall() >= after);
    }

    #[test]
    fn noise_between_the_two_clocks_is_not_followed() {
        let clock = Clock::start();
        let offset = clock.0.offset.load(Ordering::Relaxed);
        clock.follow(offset + TOLERANCE_MILLIS - 1);
        assert_eq!(clock.0.offset.load(Ordering::Relaxed), offset);
    }
}
