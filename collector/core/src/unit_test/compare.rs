//! Comparing what was expected with what came, and showing the difference.

use std::fmt::{self, Display};

use watchfire_shared::labels::Labels;

/// A difference, one thing per line: `-` was expected and missing, `+` came unexpected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Shown {
    missing: Vec<String>,
    unexpected: Vec<String>,
    same: usize,
}

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.missing.iter().map(|line| ('-', line)).chain(self.unexpected.iter().map(|line| ('+', line)));
        let mut newline = "";
        for (sign, line) in lines {
            write!(f, "{newline}    {sign} {}", line.replace('\n', "\n      "))?;
            newline = "\n";
        }
        if self.same > 0 {
            write!(f, "{newline}    and {} as expected", self.same)?;
        }
        Ok(())
    }
}

/// Compares alerts, given as labels and annotations, in any order.
pub(super) fn same_alerts(expected: &[(Labels, Labels)], got: &[(Labels, Labels)]) -> Result<(), Shown> {
    let show = |(labels, annotations): &(Labels, Labels)| {
        let annotations: String = annotations.iter().map(|(name, value)| format!("\n{name}: {value:?}")).collect();
        format!("{labels}{annotations}")
    };
    compare(expected, got, |left, right| left == right, show)
}

/// Compares samples in any order. `fuzzy` forgives the last bit of a value.
pub(super) fn same_samples(expected: &[(Labels, f64)], got: &[(Labels, f64)], fuzzy: bool) -> Result<(), Shown> {
    let show = |(labels, value): &(Labels, f64)| format!("{labels} {}", watchfire_promql::format_float(*value));
    compare(expected, got, |left, right| left.0 == right.0 && same_value(left.1, right.1, fuzzy), show)
}

fn same_value(left: f64, right: f64, fuzzy: bool) -> bool {
    left == right
        || (left.is_nan() && right.is_nan())
        || (fuzzy && (left.next_up() == right || left.next_down() == right))
}

fn compare<T>(
    expected: &[T],
    got: &[T],
    same: impl Fn(&T, &T) -> bool,
    show: impl Fn(&T) -> String,
) -> Result<(), Shown> {
    let mut left: Vec<&T> = got.iter().collect();
    let mut missing = Vec::new();
    for wanted in expected {
        match left.iter().position(|got| same(wanted, got)) {
            Some(at) => drop(left.remove(at)),
            None => missing.push(show(wanted)),
        }
    }
    let unexpected: Vec<String> = left.into_iter().map(&show).collect();
    if missing.is_empty() && unexpected.is_empty() {
        return Ok(());
    }
    let same = expected.len() - missing.len();
    Err(Shown { missing, unexpected, same })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_shows_what_is_missing_and_what_is_too_many() {
        let sample = |name: &str, value| (Labels::new([("a", name)]), value);
        let expected = [sample("1", 1.0), sample("2", 2.0)];
        let difference = same_samples(&expected, &[sample("2", 2.5), sample("1", 1.0)], false).unwrap_err();
        assert_eq!(difference.to_string(), "    - {a=\"2\"} 2\n    + {a=\"2\"} 2.5\n    and 1 as expected");
        assert_eq!(same_samples(&expected, &[sample("2", 2.0), sample("1", 1.0)], false), Ok(()));
    }

    #[test]
    fn fuzzy_comparison_forgives_the_last_bit_only() {
        let sample = |value| [(Labels::default(), value)];
        assert!(same_samples(&sample(3.0), &sample(2.9999999999999996), true).is_ok());
        assert!(same_samples(&sample(3.0), &sample(3.0000000000000004), true).is_ok());
        assert!(same_samples(&sample(3.0), &sample(2.9999999999999987), true).is_err());
        assert!(same_samples(&sample(3.0), &sample(3.0000000000000004), false).is_err());
        assert!(same_samples(&sample(f64::NAN), &sample(f64::NAN), false).is_ok());
    }
}
