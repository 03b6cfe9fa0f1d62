//! Whether an integration has to be told, given what it was told last: Alertmanager's `DedupStage`.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::Fingerprint;
use watchfire_shared::time::{Span, Timestamp};

/// What a receiver answered and has to be known at the next message, by names of its sender.
pub type ReceiverData = BTreeMap<String, String>;

/// What an integration was told last about a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    pub at: Timestamp,
    pub firing: BTreeSet<Fingerprint>,
    pub resolved: BTreeSet<Fingerprint>,
    pub data: ReceiverData,
}

/// Why a notification is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    First,
    NewAlerts,
    AllResolved,
    SomeResolved,
    Repeat,
}

impl Reason {
    /// As Alertmanager words it towards receivers.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::First => "first notification",
            Self::NewAlerts => "new alerts added",
            Self::AllResolved => "all alerts resolved",
            Self::SomeResolved => "some alerts resolved",
            Self::Repeat => "repeat interval elapsed",
        }
    }
}

/// Why none is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quiet {
    NothingFiring,
    /// Nothing is new before the repeat at this time.
    Until(Timestamp),
}

/// The decision and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Now(Reason),
    No(Quiet),
}

/// What the route and the integration say about it.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    pub repeat_interval: Span,
    pub send_resolved: bool,
}

/// Decides whether an integration is told that these alerts fire and those have resolved.
#[must_use]
pub fn due(
    now: Timestamp,
    firing: &BTreeSet<Fingerprint>,
    resolved: &BTreeSet<Fingerprint>,
    last: Option<&LogEntry>,
    settings: Settings,
) -> Due {
    let Some(last) = last else {
        return if firing.is_empty() { Due::No(Quiet::NothingFiring) } else { Due::Now(Reason::First) };
    };
    if !firing.is_subset(&last.firing) {
        return Due::Now(Reason::NewAlerts);
    }
    // Independent of `send_resolved`, for the log has to forget what fired.
    if firing.is_empty() {
        return if last.firing.is_empty() { Due::No(Quiet::NothingFiring) } else { Due::Now(Reason::AllResolved) };
    }
    if settings.send_resolved && !resolved.is_subset(&last.resolved) {
        return Due::Now(Reason::SomeResolved);
    }
    let repeat = last.at + settings.repeat_interval;
    if repeat <= now { Due::Now(Reason::Repeat) } else { Due::No(Quiet::Until(repeat)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row: firing, resolved, what was told (`firing/resolved` or `-`), seconds since then, the decision with
    /// `send_resolved` and without. Each letter is an alert.
    fn check(rows: &str) {
        let set = |text: &str| {
            text.bytes().filter(u8::is_ascii_alphabetic).map(|b| Fingerprint(b.into())).collect::<BTreeSet<_>>()
        };
        for row in rows.lines().map(str::trim).filter(|row| !row.is_empty()) {
            let [firing, resolved, last, seconds, with, without] = row.split_whitespace().collect::<Vec<_>>()[..]
            else {
                panic!("{row}");
            };
            let last = last.split_once('/').map(|(firing, resolved)| LogEntry {
                at: Timestamp::EPOCH,
                firing: set(firing),
                resolved: set(resolved),
                data: ReceiverData::new(),
            });
            let now = Timestamp::EPOCH + Span::from_seconds(seconds.parse().unwrap());
            for (send_resolved, expected) in [(true, with), (false, without)] {
                let settings = Settings { repeat_interval: Span::from_seconds(100), send_resolved };
                let due = match due(now, &set(firing), &set(resolved), last.as_ref(), settings) {
                    Due::Now(reason) => format!("{reason:?}"),
                    Due::No(_) => "no".to_owned(),
                };
                assert_eq!(due, expected, "{row} send_resolved={send_resolved}");
            }
        }
    }

    #[test]
    fn only_news_is_told() {
        check(
            "a   .   -     0    First         First
             .   a   -     0    no            no
             a   .   a/.   99   no            no
             a   .   a/.   100  Repeat        Repeat
             ab  .   a/.   1    NewAlerts     NewAlerts
             b   a   a/.   1    NewAlerts     NewAlerts
             .   a   a/.   1    AllResolved   AllResolved
             .   a   ./a   500  no            no
             b   a   ab/.  1    SomeResolved  no
             b   a   ab/a  1    no            no
             b   a   b/a   100  Repeat        Repeat
             a   .   ./a   1    NewAlerts     NewAlerts",
        );
    }
}
