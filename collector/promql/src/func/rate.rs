//! How counters and gauges change: `rate`, `increase`, `delta`, `irate`, `idelta`, `changes`, `resets`.

use super::Extrapolation;
use crate::eval::window::{Reach, Window};

pub(super) fn rate(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    let seconds = (window.end - window.start) as f64 / 1000.0;
    extrapolated(window, true).map(|increase| increase / seconds)
}

pub(super) fn increase(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    extrapolated(window, true)
}

pub(super) fn delta(window: &Window<'_>, _: [f64; 2]) -> Option<f64> {
    extrapolated(window, false)
}

/// The change over the whole window: that between its first and last sample, extended to the edges.
///
/// [`Reach`] tells how far. A counter is not extended to before it was zero. As Prometheus does it since 2.x; see
/// <https://prometheus.io/docs/prometheus/latest/querying/functions/#rate>.
fn extrapolated(window: &Window<'_>, counter: bool) -> Option<f64> {
    let &[first, .., last] = window.values else { return None };
    let mut change = last - first;
    if counter && !window.rising {
        // A value below its predecessor means that the counter began anew at zero.
        change += window.values.windows(2).filter(|pair| pair[1] < pair[0]).map(|pair| pair[0]).sum::<f64>();
    }
    Some(extended(change, first, window.reach?, counter))
}

fn extended(change: f64, first: f64, reach: Reach, counter: bool) -> f64 {
    let Reach { sampled, mut to_start, to_end } = reach;
    if counter && change > 0.0 && first >= 0.0 {
        to_start = to_start.min(sampled * (first / change));
    }
    change * ((sampled + to_start + to_end) / sampled)
}

impl Extrapolation {
    /// What the function gives for a window whose first and last values these are, and of which no value is below the one
    /// before it; `range` is its length in milliseconds.
    #[inline]
    pub(crate) fn of(self, first: f64, last: f64, reach: Reach, range: i64) -> f64 {
        let increase = extended(last - first, first, reach, self != Self::Delta);
        if self == Self::Rate { increase / (range as f64 / 1000.0) } else { increase }
    }
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
