//! Which time a frame is kept under.
//!
//! The agent's nominal tick is used as it is, so that all series of a fleet line up. A live frame whose clock is wrong is
//! not lost: it is stamped with the time of receipt. A frame from the spool says when something was, which nobody else
//! knows; its time is taken, or the frame is refused.

use watchfire_shared::frame::message::Lane;
use watchfire_shared::time::{Span, Timestamp};

/// How far an agent's clock may be off before its live frames are stamped by ours. Prometheus' and our own default rules
/// look back five minutes, so a minute still joins with other nodes' samples.
pub(crate) const MAX_CLOCK_OFFSET: Span = Span::from_seconds(60);

/// What became of a frame's time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stamp {
    /// The agent's tick.
    Nominal(Timestamp),
    /// The agent's clock is wrong; this is our time of receipt, moved on where needed to stay after the last one.
    Received(Timestamp),
    /// The time cannot be kept.
    Refused(&'static str),
}

/// Decides under which time a frame is kept. `last` is the newest time of the agent's series in this lane.
pub(crate) fn stamp(now: Timestamp, lane: Lane, tick: Timestamp, last: Option<Timestamp>, retention: Span) -> Stamp {
    let follows = last.is_none_or(|last| tick > last);
    match lane {
        Lane::Live if off_by(now, tick) <= MAX_CLOCK_OFFSET && follows => Stamp::Nominal(tick),
        Lane::Live => Stamp::Received(last.map_or(now, |last| now.max(last + Span::from_millis(1)))),
        Lane::Backfill if tick > now + MAX_CLOCK_OFFSET => Stamp::Refused("the time lies in the future"),
        Lane::Backfill if tick < now - retention => Stamp::Refused("the time is older than what is kept"),
        Lane::Backfill if !follows => Stamp::Refused("the time is not after the one before it"),
        Lane::Backfill => Stamp::Nominal(tick),
    }
}

fn off_by(now: Timestamp, tick: Timestamp) -> Span {
    if tick > now { tick.since(now) } else { now.since(tick) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000_000;

    fn check(lane: Lane, tick: i64, last: Option<i64>, expected: Stamp) {
        let at = |offset: i64| Timestamp::from_millis(NOW + offset);
        let retention = Span::from_seconds(3600);
        assert_eq!(stamp(at(0), lane, at(tick), last.map(at), retention), expected, "{lane:?} {tick} after {last:?}");
    }

    #[test]
    fn live_frames_are_kept_whatever_their_clock_says() {
        let at = |offset: i64| Timestamp::from_millis(NOW + offset);
        check(Lane::Live, -40, None, Stamp::Nominal(at(-40)));
        check(Lane::Live, 60_000, Some(0), Stamp::Nominal(at(60_000)));
        check(Lane::Live, 60_001, Some(-5), Stamp::Received(at(0)));
        check(Lane::Live, -60_001, Some(-5), Stamp::Received(at(0)));
        check(Lane::Live, -5, Some(-5), Stamp::Received(at(0)));
        check(Lane::Live, -5, Some(0), Stamp::Received(at(1)));
        check(Lane::Live, 0, Some(40_000), Stamp::Received(at(40_001)));
        check(Lane::Live, i64::MIN + NOW, None, Stamp::Received(at(0)));
    }

    #[test]
    fn spooled_frames_keep_their_time_or_are_refused() {
        let at = |offset: i64| Timestamp::from_millis(NOW + offset);
        check(Lane::Backfill, -600_000, Some(-610_000), Stamp::Nominal(at(-600_000)));
        check(Lane::Backfill, -610_000, Some(-610_000), Stamp::Refused("the time is not after the one before it"));
        check(Lane::Backfill, -3_600_001, None, Stamp::Refused("the time is older than what is kept"));
        check(Lane::Backfill, 60_001, None, Stamp::Refused("the time lies in the future"));
    }
}
