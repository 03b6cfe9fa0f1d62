//! Parts of a date in UTC, from seconds since the epoch.

/// Days since the epoch.
fn days(seconds: i64) -> i64 {
    seconds.div_euclid(86_400)
}

/// Year, month (from 1) and day (from 1).
///
/// Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
fn civil(seconds: i64) -> (i64, i64, i64) {
    let shifted = days(seconds) + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
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
