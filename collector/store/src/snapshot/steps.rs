//! How many series are read from files at a time, so that their points fit into memory.
//!
//! Blocks tell how many points they have, not which series has how many. So a step is made for the average of what was
//! read last, at first of all, and one that turns out too large is given up and made smaller.

/// Points of files that are wanted in memory at a time: a hundred megabytes with what is made of them.
const WANTED: usize = if cfg!(test) { 500 } else { 3_000_000 };
/// Points that a step may have, unless it is a single series.
const MOST: usize = 2 * WANTED;
/// How much smaller a step is after one that was too large, and how much larger it may be than the one before.
const FACTOR: usize = 4;

pub(super) struct Steps {
    series: usize,
}

impl Steps {
    /// For so many series with so many points, about.
    pub(super) fn new(series: usize, points: f64) -> Self {
        Self { series: ((series as f64 * WANTED as f64 / points.max(1.0)).ceil() as usize).max(1) }
    }

    /// How many of the series that are left come next, and how many points they may have.
    pub(super) fn next(&self, left: usize) -> (usize, usize) {
        let series = self.series.min(left);
        (series, if series == 1 { usize::MAX } else { MOST })
    }

    /// A step of so many series had more points than it may have.
    pub(super) fn was_too_large(&mut self, series: usize) {
        self.series = (series / FACTOR).max(1);
    }

    /// A step of so many series had so many points.
    pub(super) fn took(&mut self, series: usize, points: usize) {
        self.series = (series.saturating_mul(WANTED) / points.max(1)).clamp(1, series.saturating_mul(FACTOR).max(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes all of the series; returns how many steps it took, and how many points were read in vain.
    fn walk(lengths: &[usize]) -> (usize, usize) {
        let (mut steps, mut done, mut tries, mut vain) =
            (Steps::new(lengths.len(), lengths.iter().sum::<usize>() as f64), 0, 0, 0);
        while done < lengths.len() {
            let (series, room) = steps.next(lengths.len() - done);
            let points = lengths[done..done + series].iter().sum();
            tries += 1;
            if points > room {
                vain += room;
                steps.was_too_large(series);
            } else {
                assert!(points <= MOST || series == 1);
                steps.took(series, points);
                done += series;
            }
        }
        (tries, vain)
    }

    #[test]
    fn no_step_has_more_points_than_it_may_wherever_the_long_series_are() {
        assert_eq!(walk(&[10; 20]), (1, 0));
        assert_eq!(walk(&[10; 500]), (10, 0));
        assert_eq!(walk(&[5000; 3]), (3, 0));
        let (short, long) = (vec![1; 100_000], vec![400; 200]);
        let points: usize = 100_000 + 400 * 200;
        for lengths in [[short.clone(), long.clone()], [long, short]] {
            let (tries, vain) = walk(&lengths.concat());
            assert!(tries < 2 * points / WANTED && vain < points / 10, "{tries} steps, {vain} points in vain");
        }
    }
}
