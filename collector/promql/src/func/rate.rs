//! How counters and gauges change: `rate`, `increase`, `delta`, `irate`, `idelta`, `changes`, `resets`.

use super::Extrapolation;
use crate::eval::window::{Reach, Window};

pub(super) fn rate(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    extrapolated(window, Extrapolation::Rate)
}

pub(super) fn increase(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    extrapolated(window, Extrapolation::Increase)
}

pub(super) fn delta(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    extrapolated(window, Extrapolation::Delta)
}

/// The change over the whole window: that between its first and last sample, extended to the edges.
///
/// [`Reach`] tells how far. A counter is not extended to before it was zero. As Prometheus does it since 2.x, in its order
/// of operations, so that results are the same to the last bit; see
/// <https://prometheus.io/docs/prometheus/latest/querying/functions/#rate>.
fn extrapolated(window: &Window<'_>, kind: Extrapolation) -> Option<f64> {
    let &[first, .., last] = window.values else { return None };
    let mut change = last - first;
    if kind != Extrapolation::Delta && !window.rising {
        // A value below its predecessor means that the counter began anew at zero.
        for pair in window.values.windows(2).filter(|pair| pair[1] < pair[0]) {
            change += pair[0];
        }
    }
    Some(kind.extended(change, first, window.reach?, window.end - window.start))
}

impl Extrapolation {
    /// What the function gives for a window whose first and last values these are, and of which no value is below the one
    /// before it; `range` is its length in milliseconds.
    #[inline]
    pub(crate) fn of(self, first: f64, last: f64, reach: Reach, range: i64) -> f64 {
        self.extended(last - first, first, reach, range)
    }

    #[inline]
    fn extended(self, change: f64, first: f64, reach: Reach, range: i64) -> f64 {
        let Reach { sampled, mut to_start, to_end } = reach;
        if self != Self::Delta && change > 0.0 && first >= 0.0 {
            to_start = to_start.min(sampled * (first / change));
        }
        let factor = (sampled + to_start + to_end) / sampled;
        change * if self == Self::Rate { factor / seconds(range) } else { factor }
    }
}

/// Milliseconds as seconds, rounded as Go's `Duration.Seconds` rounds: whole seconds and the rest by themselves.
fn seconds(millis: i64) -> f64 {
    (millis / 1000) as f64 + (millis % 1000) as f64 / 1000.0
}

pub(super) fn irate(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let (&[.., before, time], &[.., earlier, value]) = (window.times, window.values) else { return None };
    let increase = if value < earlier { value } else { value - earlier };
    Some(increase / ((time - before) as f64 / 1000.0))
}

pub(super) fn idelta(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let &[.., earlier, value] = window.values else { return None };
    Some(value - earlier)
}

pub(super) fn changes(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let differ = |pair: &&[f64]| pair[0] != pair[1] && !(pair[0].is_nan() && pair[1].is_nan());
    Some(window.values.windows(2).filter(differ).count() as f64)
}

pub(super) fn resets(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    if window.rising {
        return Some(0.0);
    }
    Some(window.values.windows(2).filter(|pair| pair[1] < pair[0]).count() as f64)
}
