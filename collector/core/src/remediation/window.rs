//! Windows: the times of the week at which a remediation may begin, such as `Mon-Fri 08:00-20:00 Europe/Berlin`.
//!
//! A window whose end is before its start goes over midnight and belongs to the day on which it starts. Daylight saving
//! is the zone's: a window is what the clock on the wall says.

use std::fmt;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};
use watchfire_shared::time::Timestamp;

use crate::template::notification::zone;

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];
const MINUTES_OF_A_DAY: u32 = 24 * 60;

/// A time of the week.
#[derive(Clone, PartialEq, Debug)]
pub struct Window {
    /// As it was written.
    text: String,
    /// From Monday on.
    days: [bool; 7],
    /// Minutes of the day; the end is not part of it.
    begin: u32,
    end: u32,
    zone: TimeZone,
}

impl Window {
    /// Reads `[DAYS] HH:MM-HH:MM [ZONE]`; without days it is every day, without a zone UTC.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let is_time = |word: &&str| word.starts_with(|first: char| first.is_ascii_digit());
        let (days, time, name) = match words.as_slice() {
            [time] if is_time(time) => (None, time, ""),
            [time, name] if is_time(time) => (None, time, *name),
            [days, time] => (Some(days), time, ""),
            [days, time, name] => (Some(days), time, *name),
            _ => {
                return Err(format!("expected a window such as \"Mon-Fri 08:00-20:00 Europe/Berlin\", found {text:?}"));
            }
        };
        let days = days.map_or(Ok([true; 7]), |days| parse_days(days))?;
        let (begin, end) = time.split_once('-').ok_or_else(|| format!("{time:?} is no time such as 08:00-20:00"))?;
        let (begin, end) = (minute(begin)?, minute(end)?);
        if begin == end {
            return Err(format!("{time:?} has no length"));
        }
        let zone = zone(name).ok_or_else(|| format!("there is no time zone {name:?}"))?;
        Ok(Self { text: words.join(" "), days, begin, end, zone })
    }

    /// Whether the moment lies in it.
    pub(super) fn contains(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return false };
        let local = instant.to_zoned(self.zone.clone());
        let minute = u32::from(local.hour().unsigned_abs()) * 60 + u32::from(local.minute().unsigned_abs());
        let today = usize::from(local.weekday().to_monday_zero_offset().unsigned_abs());
        let yesterday = (today + 6) % 7;
        if self.begin < self.end {
            return self.days[today] && (self.begin..self.end).contains(&minute);
        }
        (self.days[today] && minute >= self.begin) || (self.days[yesterday] && minute < self.end)
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Window {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// `Mon-Fri`, `Sat,Sun`, `Fri-Mon`.
fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let mut at = first;
        days[at] = true;
        while at != last {
            at = (at + 1) % 7;
            days[at] = true;
        }
    }
    Ok(days)
}

fn day(text: &str) -> Result<usize, String> {
    let found = DAYS.iter().find(|(name, _)| text.eq_ignore_ascii_case(name));
    let place = found.map(|(_, day)| usize::from(day.to_monday_zero_offset().unsigned_abs()));
    place.ok_or_else(|| format!("{text:?} is no day: Mon, Tue, Wed, Thu, Fri, Sat or Sun"))
}

/// `HH:MM` up to 24:00, in minutes.
fn minute(text: &str) -> Result<u32, String> {
    let two = |part: &str| part.parse::<u32>().ok().filter(|_| part.len() == 2 && !part.starts_with('+'));
    let parsed =
        text.split_once(':').and_then(|(hour, minute)| Some(two(hour)? * 60 + two(minute).filter(|m| *m < 60)?));
    parsed
        .filter(|minute| *minute <= MINUTES_OF_A_DAY)
        .ok_or_else(|| format!("{text:?} is no time of the day: 00:00 to 24:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, moments: &[(&str, bool)]) {
        let window = Window::parse(text).unwrap();
        for (moment, inside) in moments {
            let at = Timestamp::parse_rfc3339(moment).unwrap();
            assert_eq!(window.contains(at), *inside, "{text} {moment}");
        }
    }

    #[test]
    fn a_window_is_what_the_clock_on_the_wall_says() {
        // 2026-03-27 is a Friday; the clocks of Berlin go forward on Sunday the 29th.
        let berlin = [
            ("2026-03-27T06:59:59Z", false),
            ("2026-03-27T07:00:00Z", true),
            ("2026-03-27T18:59:59Z", true),
            ("2026-03-27T19:00:00Z", false),
            ("2026-03-28T12:00:00Z", false),
            ("2026-03-30T06:00:00Z", true),
            ("2026-03-30T18:00:00Z", false),
        ];
        check("Mon-Fri 08:00-20:00 Europe/Berlin", &berlin);
        check("00:00-24:00", &[("2026-01-01T00:00:00Z", true), ("2026-01-01T23:59:59Z", true)]);
        check("sat,Sun 00:00-24:00", &[("2026-01-03T00:00:00Z", true), ("2026-01-05T00:00:00Z", false)]);
    }

    #[test]
    fn over_midnight_a_window_belongs_to_the_day_on_which_it_starts() {
        let night = [
            ("2026-01-02T21:59:00Z", false),
            ("2026-01-02T22:00:00Z", true),
            ("2026-01-03T05:59:00Z", true),
            ("2026-01-03T06:00:00Z", false),
            ("2026-01-03T22:00:00Z", false),
        ];
        check("Fri 22:00-06:00", &night);
        check("Sun-Mon 22:00-06:00", &[("2026-01-06T05:00:00Z", true), ("2026-01-07T05:00:00Z", false)]);
    }

    #[test]
    fn what_is_no_window_is_refused_in_words() {
        for (text, reason) in [
            ("", "expected a window"),
            ("Mon-Fri", "expected a window"),
            ("Mo-Fr 08:00-20:00", "\"Mo\" is no day"),
            ("08:00-25:00", "\"25:00\" is no time of the day"),
            ("8:00-20:00", "\"8:00\" is no time of the day"),
            ("08:00-08:00", "has no length"),
            ("08:00-20:00 Mars/Olympus", "there is no time zone \"Mars/Olympus\""),
        ] {
            let error = Window::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
