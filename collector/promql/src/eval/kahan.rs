//! Sums and means that keep the digits which plain addition loses.
//!
//! Neumaier's variant of Kahan summation (A. Neumaier, "Rundungsfehleranalyse einiger Verfahren zur Summation endlicher
//! Summen", 1974), and means that fall back to incremental form when the sum overflows.

/// A sum and what rounding took from it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    sum: f64,
    lost: f64,
}

impl Sum {
    pub(crate) fn add(&mut self, value: f64) {
        let total = self.sum + value;
        if total.is_infinite() {
            self.lost = 0.0;
        } else if self.sum.abs() >= value.abs() {
            self.lost += (self.sum - total) + value;
        } else {
            self.lost += (value - total) + self.sum;
        }
        self.sum = total;
    }

    pub(crate) fn value(&self) -> f64 {
        if self.sum.is_infinite() { self.sum } else { self.sum + self.lost }
    }

    fn scaled(self, factor: f64) -> Self {
        Self { sum: self.sum * factor, lost: self.lost * factor }
    }
}

impl FromIterator<f64> for Sum {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut sum = Self::default();
        values.into_iter().for_each(|value| sum.add(value));
        sum
    }
}

/// A mean; empty until the first value.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Mean {
    /// The sum, or the mean itself once `incremental`.
    sum: Sum,
    count: f64,
    incremental: bool,
}

impl Mean {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        if self.count == 1.0 {
            self.sum.sum = value;
            return;
        }
        if !self.incremental {
            let mut next = self.sum;
            next.add(value);
            if !next.sum.is_infinite() {
                self.sum = next;
                return;
            }
            self.incremental = true;
            let before = self.count - 1.0;
            self.sum = Sum { sum: self.sum.sum / before, lost: self.sum.lost / before };
        }
        self.sum = self.sum.scaled((self.count - 1.0) / self.count);
        self.sum.add(value / self.count);
    }

    pub(crate) fn value(&self) -> f64 {
        if self.incremental {
            return self.sum.sum + self.sum.lost;
        }
        self.sum.sum / self.count + self.sum.lost / self.count
    }
}

/// A population variance by Welford's method with compensated sums.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Variance {
    count: f64,
    mean: Sum,
    squares: Sum,
}

impl Variance {
    pub(crate) fn add(&mut self, value: f64) {
        self.count += 1.0;
        let delta = value - (self.mean.sum + self.mean.lost);
        self.mean.add(delta / self.count);
        self.squares.add(delta * (value - (self.mean.sum + self.mean.lost)));
    }

    pub(crate) fn value(&self) -> f64 {
        (self.squares.sum + self.squares.lost) / self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_values_survive_large_ones() {
        assert_eq!([1.0, 1e100, 1.0, -1e100].into_iter().collect::<Sum>().value(), 2.0);
    }

    #[test]
    fn a_mean_survives_the_overflow_of_its_sum() {
        let mut mean = Mean::default();
        [1e308, 1e308, 1e308].into_iter().for_each(|value| mean.add(value));
        assert!((mean.value() / 1e308 - 1.0).abs() < 1e-12);
    }
}
