//! A token bucket over handed-in time: the bound on everything that is sent at somebody else's asking.

use watchfire_shared::time::{Span, Timestamp};

/// Tokens in thousandths, so that one millisecond adds exactly `per_second` of them.
#[derive(Debug)]
pub(crate) struct Bucket {
    per_second: i64,
    burst: i64,
    milli_tokens: i64,
    at: Timestamp,
}

impl Bucket {
    /// A full bucket that holds `burst` tokens and gains `per_second` each second.
    pub(crate) fn new(per_second: i64, burst: i64, now: Timestamp) -> Self {
        Self { per_second, burst, milli_tokens: burst * 1000, at: now }
    }

    /// Takes a token if there is one.
    pub(crate) fn take(&mut self, now: Timestamp) -> bool {
        self.refill(now);
        let taken = self.milli_tokens >= 1000;
        if taken {
            self.milli_tokens -= 1000;
        }
        taken
    }

    /// When a token will be there, if nobody takes one before.
    pub(crate) fn ready_at(&mut self, now: Timestamp) -> Timestamp {
        self.refill(now);
        let missing = (1000 - self.milli_tokens).max(0);
        now + Span::from_millis((missing + self.per_second - 1) / self.per_second)
    }

    fn refill(&mut self, now: Timestamp) {
        let elapsed = now.since(self.at).as_millis().clamp(0, 3_600_000);
        self.milli_tokens = (self.milli_tokens + elapsed * self.per_second).min(self.burst * 1000);
        self.at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let at = Timestamp::from_millis;
        let mut bucket = Bucket::new(4, 2, at(0));
        assert!(bucket.take(at(0)) && bucket.take(at(0)) && !bucket.take(at(0)));
        assert_eq!(bucket.ready_at(at(0)), at(250));
        assert!(!bucket.take(at(249)) && bucket.take(at(250)) && !bucket.take(at(250)));
        assert!(bucket.take(at(10_000)) && bucket.take(at(10_000)) && !bucket.take(at(10_000)));
    }
}
