//! Points and lengths of time in templates: Go's layouts, text forms and methods.

use jiff::Zoned;
use jiff::tz::TimeZone;
use watchfire_shared::time::Timestamp;

use super::Value;
use super::value::Time;

/// Go's zero time, `0001-01-01T00:00:00Z`: what an alert that still fires has as its end.
pub(crate) const ZERO_TIME: Timestamp = Timestamp::from_millis(-62_135_596_800_000);

const NANOSECONDS_PER_MILLISECOND: i64 = 1_000_000;
const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The layout of `time.Time.String`.
const STRING_LAYOUT: &str = "2006-01-02 15:04:05.999999999 -0700 MST";

/// Go's layout elements; a longer one stands before its own beginning.
const ELEMENTS: &[&str] = &[
    "January", "Jan", "Monday", "Mon", "MST", "2006", "-07:00", "-0700", "-07", "Z07:00", "Z0700", "__2", "_2006",
    "_2", "002", "01", "02", "03", "04", "05", "06", "15", "PM", "pm", "1", "2", "3", "4", "5",
];

/// `time.Time.String`.
pub(super) fn print(time: &Time) -> String {
    format(time, STRING_LAYOUT)
}

fn zoned(time: &Time) -> Zoned {
    let at = jiff::Timestamp::from_millisecond(time.at.as_millis());
    let nearest = if time.at > Timestamp::EPOCH { jiff::Timestamp::MAX } else { jiff::Timestamp::MIN };
    at.unwrap_or(nearest).to_zoned(time.zone.clone())
}

/// `time.Time.Format`, see <https://pkg.go.dev/time#Layout>.
pub(super) fn format(time: &Time, layout: &str) -> String {
    let zoned = zoned(time);
    let mut out = String::new();
    let mut rest = layout;
    while let Some(char) = rest.chars().next() {
        if let Some(length) = fraction_length(rest, &out) {
            out.push_str(&fraction(&zoned, &rest[..length]));
            rest = &rest[length..];
            continue;
        }
        match ELEMENTS.iter().find(|element| rest.starts_with(**element) && !continues_word(rest, element)) {
            Some(element) => {
                out.push_str(&part(&zoned, element));
                rest = &rest[element.len()..];
            }
            None => {
                out.push(char);
                rest = &rest[char.len_utf8()..];
            }
        }
    }
    out
}

/// `Jan` in front of a lower-case letter is part of a word such as `Janet`, as Go decides too.
fn continues_word(rest: &str, element: &str) -> bool {
    matches!(element, "Jan" | "Mon") && rest[element.len()..].starts_with(|next: char| next.is_ascii_lowercase())
}

/// Length of `.000` or `,999` behind the seconds, if one stands here.
fn fraction_length(rest: &str, before: &str) -> Option<usize> {
    let digit = rest.strip_prefix(['.', ','])?.chars().next().filter(|digit| matches!(digit, '0' | '9'))?;
    let length = 1 + rest[1..].chars().take_while(|char| *char == digit).count();
    let ends = !rest[length..].starts_with(|next: char| next.is_ascii_digit());
    (ends && before.ends_with(|last: char| last.is_ascii_digit())).then_some(length)
}

fn fraction(zoned: &Zoned, element: &str) -> String {
    let digits = format!("{:09}", zoned.subsec_nanosecond());
    let mut text = digits[..(element.len() - 1).min(9)].to_owned();
    if element.ends_with('9') {
        text.truncate(text.trim_end_matches('0').len());
    }
    if text.is_empty() { text } else { format!("{}{text}", &element[..1]) }
}

fn part(zoned: &Zoned, element: &str) -> String {
    let weekday = WEEKDAYS[usize::from(zoned.weekday().to_sunday_zero_offset().unsigned_abs()) % 7];
    let month = MONTHS[usize::from(zoned.month().unsigned_abs().saturating_sub(1)) % 12];
    let hour12 = (zoned.hour() + 11) % 12 + 1;
    let offset = zoned.offset().seconds();
    let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.unsigned_abs() / 60);
    match element {
        "January" => month.to_owned(),
        "Jan" => month[..3].to_owned(),
        "Monday" => weekday.to_owned(),
        "Mon" => weekday[..3].to_owned(),
        "MST" => abbreviation(zoned),
        "2006" => format!("{:04}", zoned.year()),
        "_2006" => format!("_{:04}", zoned.year()),
        "Z07:00" | "Z0700" if offset == 0 => "Z".to_owned(),
        "-07:00" | "Z07:00" => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
        "-0700" | "Z0700" => format!("{sign}{:02}{:02}", minutes / 60, minutes % 60),
        "-07" => format!("{sign}{:02}", minutes / 60),
        "__2" => format!("{:>3}", zoned.day_of_year()),
        "002" => format!("{:03}", zoned.day_of_year()),
        "_2" => format!("{:>2}", zoned.day()),
        "01" => format!("{:02}", zoned.month()),
        "02" => format!("{:02}", zoned.day()),
        "03" => format!("{hour12:02}"),
        "04" => format!("{:02}", zoned.minute()),
        "05" => format!("{:02}", zoned.second()),
        "06" => format!("{:02}", zoned.year().rem_euclid(100)),
        "15" => format!("{:02}", zoned.hour()),
        "PM" => if zoned.hour() >= 12 { "PM" } else { "AM" }.to_owned(),
        "pm" => if zoned.hour() >= 12 { "pm" } else { "am" }.to_owned(),
        "1" => zoned.month().to_string(),
        "2" => zoned.day().to_string(),
        "3" => hour12.to_string(),
        "4" => zoned.minute().to_string(),
        _ => zoned.second().to_string(),
    }
}

fn abbreviation(zoned: &Zoned) -> String {
    zoned.time_zone().to_offset_info(zoned.timestamp()).abbreviation().to_owned()
}

/// `time.Duration.String`: `1h2m3.5s`, `100ms`, `0s`.
pub(super) fn print_duration(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let total = nanoseconds.unsigned_abs();
    let fraction = |value: u64, unit: u64| {
        let digits = format!("{:0width$}", value % unit, width = unit.ilog10() as usize);
        let digits = if unit == 1 { "" } else { digits.trim_end_matches('0') };
        if digits.is_empty() { (value / unit).to_string() } else { format!("{}.{digits}", value / unit) }
    };
    let text = match total {
        0 => "0s".to_owned(),
        1..1_000 => format!("{total}ns"),
        1_000..1_000_000 => format!("{}µs", fraction(total, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(total, 1_000_000)),
        _ => {
            let seconds = format!("{}s", fraction(total % 60_000_000_000, 1_000_000_000));
            let minutes = total / 60_000_000_000;
            match minutes {
                0 => seconds,
                1..60 => format!("{minutes}m{seconds}"),
                _ => format!("{}h{}m{seconds}", minutes / 60, minutes % 60),
            }
        }
    };
    format!("{sign}{text}")
}

/// A method of `time.Time` or `time.Duration`; `None` where the value has no such method.
pub(super) fn method(of: &Value, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    match of {
        Value::Time(time) => time_method(time, name, args),
        Value::Duration(nanoseconds) => duration_method(*nanoseconds, name, args),
        _ => None,
    }
}

fn time_method(time: &Time, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let number = |value: i64| Some(Ok(Value::Integer(value)));
    let local = || zoned(time);
    match (name, args) {
        ("Format", [Value::Text(layout)]) => Some(Ok(Value::text(format(time, layout)))),
        ("String", []) => Some(Ok(Value::text(print(time)))),
        ("Unix", []) => number(time.at.as_millis().div_euclid(1000)),
        ("UnixMilli", []) => number(time.at.as_millis()),
        ("UnixNano", []) => number(time.at.as_millis().saturating_mul(NANOSECONDS_PER_MILLISECOND)),
        ("UTC", []) => Some(Ok(Value::time(time.at))),
        ("Local", []) => Some(Ok(Value::Time(Time { at: time.at, zone: TimeZone::system() }))),
        ("Add", [Value::Duration(by)]) => {
            let at = time.at.as_millis().saturating_add(by / NANOSECONDS_PER_MILLISECOND);
            Some(Ok(Value::Time(Time { at: Timestamp::from_millis(at), zone: time.zone.clone() })))
        }
        ("Sub", [Value::Time(other)]) => {
            let span = time.at.since(other.at).as_millis();
            Some(Ok(Value::Duration(span.saturating_mul(NANOSECONDS_PER_MILLISECOND))))
        }
        ("Before", [Value::Time(other)]) => Some(Ok(Value::Bool(time.at < other.at))),
        ("After", [Value::Time(other)]) => Some(Ok(Value::Bool(time.at > other.at))),
        ("Equal", [Value::Time(other)]) => Some(Ok(Value::Bool(time.at == other.at))),
        ("IsZero", []) => Some(Ok(Value::Bool(time.at == ZERO_TIME))),
        ("Year", []) => number(local().year().into()),
        ("Month", []) => Some(Ok(Value::text(part(&local(), "January")))),
        ("Weekday", []) => Some(Ok(Value::text(part(&local(), "Monday")))),
        ("Day", []) => number(local().day().into()),
        ("Hour", []) => number(local().hour().into()),
        ("Minute", []) => number(local().minute().into()),
        ("Second", []) => number(local().second().into()),
        ("YearDay", []) => number(local().day_of_year().into()),
        ("Format" | "Add" | "Sub" | "Before" | "After" | "Equal", _) => {
            Some(Err(format!("wrong arguments for {name}")))
        }
        _ => None,
    }
}

fn duration_method(nanoseconds: i64, name: &str, args: &[Value]) -> Option<Result<Value, String>> {
    let parts = |unit: f64| Some(Ok(Value::Float(nanoseconds as f64 / unit)));
    match (name, args) {
        ("String", []) => Some(Ok(Value::text(print_duration(nanoseconds)))),
        ("Seconds", []) => parts(1e9),
        ("Minutes", []) => parts(60e9),
        ("Hours", []) => parts(3600e9),
        ("Milliseconds", []) => Some(Ok(Value::Integer(nanoseconds / NANOSECONDS_PER_MILLISECOND))),
        ("Nanoseconds", []) => Some(Ok(Value::Integer(nanoseconds))),
        ("Round" | "Truncate", [Value::Duration(unit)]) if *unit > 0 => {
            let rest = nanoseconds % unit;
            let up = name == "Round" && rest.unsigned_abs() >= unit.unsigned_abs().div_ceil(2);
            let away = if up { unit * nanoseconds.signum() } else { 0 };
            Some(Ok(Value::Duration((nanoseconds - rest).saturating_add(away))))
        }
        ("Round" | "Truncate", _) => Some(Err(format!("{name} takes a duration"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_durations_print_as_in_go() {
        let at = Timestamp::parse_rfc3339("2022-01-25T12:36:43.5Z").unwrap();
        let utc = Time { at, zone: TimeZone::UTC };
        assert_eq!(print(&utc), "2022-01-25 12:36:43.5 +0000 UTC");
        assert_eq!(format(&utc, "Mon Jan _2 3:04PM '06 .000 05.000"), "Tue Jan 25 12:36PM '22 .000 43.500");
        let berlin = Time { at, zone: TimeZone::fixed(jiff::tz::offset(1)) };
        assert_eq!(format(&berlin, "2006-01-02T15:04:05Z07:00"), "2022-01-25T13:36:43+01:00");
        assert_eq!(format(&utc, "2006-01-02T15:04:05.999999999Z07:00"), "2022-01-25T12:36:43.5Z");
        let cases =
            [(0, "0s"), (1_500_000_000, "1.5s"), (120_000_000_000, "2m0s"), (100_000_000, "100ms"), (1_500, "1.5µs")];
        for (nanoseconds, text) in cases {
            assert_eq!(print_duration(nanoseconds), text);
        }
        assert_eq!(print_duration(-3_723_000_000_000), "-1h2m3s");
    }
}
