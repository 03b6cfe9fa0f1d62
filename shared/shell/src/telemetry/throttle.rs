//! Bounds how many lines of one kind the log takes, so that whoever knocks at a port cannot fill a disk with them.
//!
//! A kind is a message: what varies from line to line stands in fields. The first lines of a kind are written, and so are
//! some of those that follow; the rest is counted, and each minute one line says how many were left out. Lines that
//! somebody asked for (DEBUG, TRACE) are not bounded.
//!
//! It decides over time that it is told and writes nothing: [`super::summaries`] does.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::Level;

/// How many lines of a kind are written one after the other. A few hundred nodes may come or go at once and be named.
const BURST: u32 = 200;
/// One more line of a kind is written after this time, so that what goes on for ever costs some 2 MiB of log a day.
const EVERY: Duration = Duration::from_secs(6);
/// How many kinds are told apart. The programs have fewer; more means that a message holds what belongs into a field, and
/// all further ones are one kind.
const MAX_KINDS: usize = 512;
/// The name of the kind that holds all further ones.
const OTHERS: &str = "others";

/// Which lines of the log may still be written.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    kinds: BTreeMap<String, Kind>,
}

#[derive(Debug)]
struct Kind {
    level: Level,
    /// Until when the lines that were written are paid for, at one every [`EVERY`].
    paid: Duration,
    left_out: u64,
}

/// What was left out of the log since the last summary.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Summary {
    /// The worst level among the lines.
    pub(super) level: Level,
    pub(super) message: String,
    pub(super) lines: u64,
}

impl Throttle {
    /// Whether a line may be written. `now` is the time since any fixed moment.
    pub(super) fn admit(&mut self, now: Duration, level: Level, message: &str) -> bool {
        if level > Level::INFO {
            return true;
        }
        let known = self.kinds.contains_key(message) || self.kinds.len() < MAX_KINDS;
        let name = if known { message } else { OTHERS };
        let kind = self.kinds.entry(name.to_owned()).or_insert(Kind { level, paid: now, left_out: 0 });
        let paid = kind.paid.max(now);
        if paid - now > EVERY * (BURST - 1) {
            kind.left_out += 1;
            kind.level = kind.level.min(level);
            return false;
        }
        kind.paid = paid + EVERY;
        true
    }

    /// What was left out since the last time; forgets kinds that are quiet.
    pub(super) fn summarise(&mut self, now: Duration) -> Vec<Summary> {
        let mut summaries = Vec::new();
        self.kinds.retain(|message, kind| {
            let lines = std::mem::take(&mut kind.left_out);
            if lines > 0 {
                summaries.push(Summary { level: kind.level, message: message.clone(), lines });
            }
            kind.paid > now
        });
        summaries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn admitted(throttle: &mut Throttle, now: Duration, message: &str, lines: usize) -> usize {
        (0..lines).filter(|_| throttle.admit(now, Level::WARN, message)).count()
    }

    #[test]
    fn a_flood_is_written_at_first_and_then_at_a_steady_rate() {
        let mut throttle = Throttle::default();
        assert_eq!(admitted(&mut throttle, at(0), "knock", 1000), 200);
        assert_eq!(admitted(&mut throttle, at(60), "knock", 1000), 10);
        let expected = Summary { level: Level::WARN, message: "knock".to_owned(), lines: 800 + 990 };
        assert_eq!(throttle.summarise(at(60)), [expected]);
        assert_eq!(throttle.summarise(at(60)), []);
        assert_eq!(admitted(&mut throttle, at(86_400), "knock", 1000), 200);
    }

    #[test]
    fn a_flood_hides_no_other_kind() {
        let mut throttle = Throttle::default();
        admitted(&mut throttle, at(0), "knock", 1000);
        assert_eq!(admitted(&mut throttle, at(0), "the disk is full", 1), 1);
        let told: Vec<String> = throttle.summarise(at(0)).into_iter().map(|summary| summary.message).collect();
        assert_eq!(told, ["knock"]);
    }

    #[test]
    fn what_was_asked_for_is_not_bounded() {
        let mut throttle = Throttle::default();
        assert!((0..10_000).all(|_| throttle.admit(at(0), Level::DEBUG, "packet")));
        assert_eq!(throttle.summarise(at(0)), []);
    }

    #[test]
    fn the_worst_line_that_was_left_out_gives_the_level() {
        let mut throttle = Throttle::default();
        for _ in 0..=200 {
            throttle.admit(at(0), Level::INFO, "knock");
        }
        assert!(!throttle.admit(at(0), Level::ERROR, "knock"));
        let told: Vec<(Level, u64)> = throttle.summarise(at(0)).iter().map(|one| (one.level, one.lines)).collect();
        assert_eq!(told, [(Level::ERROR, 2)]);
    }

    #[test]
    fn kinds_are_bounded_and_forgotten_when_they_are_quiet() {
        let mut throttle = Throttle::default();
        let written = (0..2000).filter(|n| throttle.admit(at(0), Level::WARN, &format!("knock {n}"))).count();
        assert_eq!((written, throttle.kinds.len()), (MAX_KINDS + 200, MAX_KINDS + 1));
        let told = throttle.summarise(at(6 * 200));
        let expected = Summary { level: Level::WARN, message: OTHERS.to_owned(), lines: 2000 - MAX_KINDS as u64 - 200 };
        assert_eq!((told, throttle.kinds.len()), (vec![expected], 0));
    }
}
