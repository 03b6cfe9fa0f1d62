//! Parts of a date in UTC, from seconds since the epoch.

use watchfire_shared::time::civil_from_days;

/// Days since the epoch.
fn days(seconds: i64) -> i64 {
    seconds.div_euclid(86_400)
}

/// Year, month (from 1) and day (from 1).
fn civil(seconds: i64) -> (i64, i64, i64) {
    civil_from_days(days(seconds))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn length_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

pub(super) fn minute(seconds: i64) -> f64 {
    (seconds.rem_euclid(3600) / 60) as f64
}

pub(super) fn hour(seconds: i64) -> f64 {
    (seconds.rem_euclid(86_400) / 3600) as f64
}

/// Sunday is 0; the epoch was a Thursday.
pub(super) fn day_of_week(seconds: i64) -> f64 {
    (days(seconds) + 4).rem_euclid(7) as f64
}

pub(super) fn day_of_month(seconds: i64) -> f64 {
    civil(seconds).2 as f64
}

pub(super) fn day_of_year(seconds: i64) -> f64 {
    let (year, month, day) = civil(seconds);
    ((1..month).map(|month| length_of_month(year, month)).sum::<i64>() + day) as f64
}

pub(super) fn days_in_month(seconds: i64) -> f64 {
    let (year, month, _) = civil(seconds);
    length_of_month(year, month) as f64
}

pub(super) fn month(seconds: i64) -> f64 {
    civil(seconds).1 as f64
}

pub(super) fn year(seconds: i64) -> f64 {
    civil(seconds).0 as f64
}
