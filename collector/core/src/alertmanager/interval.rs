//! `time_intervals`: named sets of recurring times, for routes that speak or keep quiet at some of them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use jiff::tz::TimeZone;
use watchfire_shared::document::{self, Node, Report, Table};
use watchfire_shared::time::Timestamp;

use super::items;
use crate::template::notification::zone;

/// A recurring time; every list that is there must hold the moment, and an absent one holds all.
#[derive(Debug, Clone)]
pub struct TimeInterval {
    /// Minutes of the day, the end excluded.
    times: Option<Vec<std::ops::Range<i32>>>,
    /// Sunday is 0.
    weekdays: Option<Vec<RangeInclusive<i32>>>,
    /// From 1; negative ones count from the end of the month.
    days_of_month: Option<Vec<RangeInclusive<i32>>>,
    months: Option<Vec<RangeInclusive<i32>>>,
    years: Option<Vec<RangeInclusive<i32>>>,
    location: TimeZone,
}

impl TimeInterval {
    /// Whether the moment lies in the interval.
    #[must_use]
    pub fn contains(&self, at: Timestamp) -> bool {
        let Ok(instant) = jiff::Timestamp::from_millisecond(at.as_millis()) else { return false };
        let local = instant.to_zoned(self.location.clone());
        let minute = i32::from(local.hour()) * 60 + i32::from(local.minute());
        let holds = |ranges: &Option<Vec<RangeInclusive<i32>>>, value: i32| {
            ranges.as_ref().is_none_or(|ranges| ranges.iter().any(|range| range.contains(&value)))
        };
        self.times.as_ref().is_none_or(|times| times.iter().any(|range| range.contains(&minute)))
            && self.days_of_month.as_ref().is_none_or(|ranges| {
                let last = i32::from(local.days_in_month());
                ranges.iter().any(|range| day_in(range, i32::from(local.day()), last))
            })
            && holds(&self.months, i32::from(local.month()))
            && holds(&self.weekdays, i32::from(local.weekday().to_sunday_zero_offset()))
            && holds(&self.years, i32::from(local.year()))
    }
}

/// Whether a day lies in a range whose negative ends count from the month's last day.
fn day_in(range: &RangeInclusive<i32>, day: i32, last: i32) -> bool {
    let from_end = |day: i32| if day < 0 { last + day + 1 } else { day };
    let (begin, end) = (from_end(*range.start()), from_end(*range.end()));
    begin <= last && (begin.max(-last)..=end.min(last)).contains(&day)
}

/// Reads `time_intervals` or `mute_time_intervals` and adds what they name.
pub(super) fn read_named(
    node: &Node,
    named: &mut BTreeMap<String, Vec<TimeInterval>>,
    report: &mut Report,
) -> Option<()> {
    for item in items(node, report)? {
        let Some(mut table) = Table::of(item, report) else { continue };
        let name = table.required(report, "name", document::text);
        let intervals = table.optional(report, "time_intervals", document::list(interval)).unwrap_or_default();
        table.finish(report);
        let Some(name) = name else { continue };
        if name.is_empty() {
            report.add(item.at, "the time interval has no name");
        } else if named.insert(name.clone(), intervals).is_some() {
            report.add(item.at, format!("the time interval {name:?} stands here twice"));
        }
    }
    Some(())
}

const WEEKDAYS: &[&str] = &["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
const MONTHS: &[&str] = &[
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

fn interval(node: &Node, report: &mut Report) -> Option<TimeInterval> {
    let mut table = Table::of(node, report)?;
    let interval = TimeInterval {
        times: table.optional(report, "times", document::list(times)),
        weekdays: table.optional(report, "weekdays", document::list(|node, report| range(node, report, weekday))),
        days_of_month: table.optional(report, "days_of_month", document::list(days)),
        months: table.optional(report, "months", document::list(|node, report| range(node, report, month))),
        years: table.optional(report, "years", document::list(|node, report| range(node, report, year))),
        location: table.optional(report, "location", location).unwrap_or(TimeZone::UTC),
    };
    table.finish(report);
    Some(interval)
}

fn times(node: &Node, report: &mut Report) -> Option<std::ops::Range<i32>> {
    let mut table = Table::of(node, report)?;
    let start = table.required(report, "start_time", minute);
    let end = table.required(report, "end_time", minute);
    table.finish(report);
    let (start, end) = (start?, end?);
    if start >= end {
        report.add(node.at, "the start time must be before the end time");
    }
    Some(start..end)
}

/// `HH:MM`, up to 24:00, as minutes of the day.
fn minute(node: &Node, report: &mut Report) -> Option<i32> {
    let text = document::text(node, report)?;
    let two = |part: &str| part.parse::<i32>().ok().filter(|_| part.len() == 2 && !part.starts_with(['+', '-']));
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((two(hour)?, two(minute)?)));
    match parts {
        Some((hour, minute)) if (hour < 24 && minute < 60) || (hour, minute) == (24, 0) => Some(hour * 60 + minute),
        _ => {
            report.add(node.at, format!("expected a time such as 08:30, up to 24:00, found {text:?}"));
            None
        }
    }
}

/// `value` or `value:value`, with the first not after the second.
fn range(node: &Node, report: &mut Report, value: impl Fn(&str) -> Result<i32, String>) -> Option<RangeInclusive<i32>> {
    let text = document::text(node, report)?.to_lowercase();
    let (begin, end) = text.split_once(':').unwrap_or((&text, &text));
    match (value(begin.trim()), value(end.trim())) {
        (Ok(begin), Ok(end)) if begin <= end => Some(begin..=end),
        (Ok(_), Ok(_)) => {
            report.add(node.at, format!("the range {text:?} ends before it begins"));
            None
        }
        (Err(reason), _) | (_, Err(reason)) => {
            report.add(node.at, reason);
            None
        }
    }
}

fn named(text: &str, what: &str, names: &'static [&'static str]) -> Result<i32, String> {
    let found = names.iter().position(|name| *name == text).and_then(|at| i32::try_from(at).ok());
    found.ok_or_else(|| match document::nearest(text, names.iter().copied()) {
        Some(hint) => format!("{text:?} is no {what}, did you mean `{hint}`?"),
        None => format!("{text:?} is no {what}"),
    })
}

fn weekday(text: &str) -> Result<i32, String> {
    named(text, "day of the week", WEEKDAYS)
}

fn month(text: &str) -> Result<i32, String> {
    match text.parse() {
        Ok(month @ 1..=12) => Ok(month),
        Ok(month) => Err(format!("{month} is no month between 1 and 12")),
        Err(_) => named(text, "month", MONTHS).map(|month| month + 1),
    }
}

fn year(text: &str) -> Result<i32, String> {
    text.parse().map_err(|_| format!("{text:?} is no year"))
}

/// Days of the month, which may count from its end.
fn days(node: &Node, report: &mut Report) -> Option<RangeInclusive<i32>> {
    let text = document::text(node, report)?;
    let day = |part: &str| match part.trim().parse() {
        Ok(day @ (1..=31 | -31..=-1)) => Ok(day),
        _ => Err(format!("{part:?} is no day of the month: 1 to 31, or -1 to -31 from its end")),
    };
    let (begin, end) = text.split_once(':').unwrap_or((&text, &text));
    let (begin, end) = match (day(begin), day(end)) {
        (Ok(begin), Ok(end)) => (begin, end),
        (Err(reason), _) | (_, Err(reason)) => {
            report.add(node.at, reason);
            return None;
        }
    };
    // In the longest month: a range that is empty there is empty always.
    let from_end = |day: i32| if day < 0 { 32 + day } else { day };
    if (begin < 0 && end > 0) || from_end(begin) > from_end(end) {
        report.add(node.at, format!("the range {text:?} ends before it begins"));
        return None;
    }
    Some(begin..=end)
}

fn location(node: &Node, report: &mut Report) -> Option<TimeZone> {
    let name = document::text(node, report)?;
    let zone = zone(&name);
    if zone.is_none() {
        report.add(
            node.at,
            format!("there is no time zone {name:?}; expected a name such as Europe/Berlin, UTC or Local"),
        );
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, moments: &[(&str, bool)]) {
        let mut report = Report::new("t");
        let node = document::yaml::parse(yaml, &mut report).unwrap();
        let interval = interval(&node, &mut report).unwrap();
        assert_eq!(report.into_mistakes(), []);
        for (moment, inside) in moments {
            let at = Timestamp::parse_rfc3339(moment).unwrap();
            assert_eq!(interval.contains(at), *inside, "{yaml} {moment}");
        }
    }

    #[test]
    fn intervals_hold_the_moments_that_they_name() {
        check(
            "times: [{start_time: '09:00', end_time: '17:00'}]",
            &[
                ("2026-01-01T08:59:59Z", false),
                ("2026-01-01T09:00:00Z", true),
                ("2026-01-01T16:59:59Z", true),
                ("2026-01-01T17:00:00Z", false),
            ],
        );
        check("times: [{start_time: '22:00', end_time: '24:00'}]", &[("2026-01-01T23:59:59Z", true)]);
        // 2026-01-03 is a Saturday.
        check(
            "weekdays: ['saturday', 'Monday:tuesday']",
            &[("2026-01-03T12:00:00Z", true), ("2026-01-04T12:00:00Z", false), ("2026-01-06T12:00:00Z", true)],
        );
        check(
            "days_of_month: ['-1', '1:2']",
            &[
                ("2026-02-28T00:00:00Z", true),
                ("2028-02-28T00:00:00Z", false),
                ("2026-02-02T00:00:00Z", true),
                ("2026-02-03T00:00:00Z", false),
            ],
        );
        check("days_of_month: ['31']", &[("2026-02-28T00:00:00Z", false), ("2026-01-31T00:00:00Z", true)]);
        check(
            "months: ['march:may', '12']\nyears: ['2026:2027']",
            &[
                ("2026-04-01T00:00:00Z", true),
                ("2026-12-01T00:00:00Z", true),
                ("2026-06-01T00:00:00Z", false),
                ("2028-04-01T00:00:00Z", false),
            ],
        );
        check(
            "times: [{start_time: '00:00', end_time: '01:00'}]\nlocation: Europe/Berlin",
            &[("2026-06-30T22:30:00Z", true), ("2026-12-31T22:30:00Z", false), ("2026-12-31T23:30:00Z", true)],
        );
        check("{}", &[("2026-01-01T00:00:00Z", true)]);
    }
}
