//! What happened in a run: a fingerprint of everything, and the last lines for a person.

use std::collections::VecDeque;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};

use watchfire_shared::time::Timestamp;

/// Lines that are kept for a failing run's report.
const KEPT: usize = 400;

/// The record of a run.
#[derive(Default)]
pub struct Trace {
    hash: DefaultHasher,
    events: u64,
    lines: VecDeque<String>,
}

impl Trace {
    /// Notes one event: it goes into the fingerprint and, for a while, into the kept lines.
    pub fn note(&mut self, now: Timestamp, what: fmt::Arguments<'_>) {
        let line = format!("{now} {what}");
        self.mix(line.as_bytes());
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }

    /// Notes bytes that are of no interest to a person.
    pub fn mix(&mut self, bytes: &[u8]) {
        self.events += 1;
        // With the same keys in every run, and compiled with optimisation also where this crate is not.
        self.hash.write(bytes);
    }

    /// The fingerprint of all events so far; equal runs have equal ones.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hash.finish()
    }

    /// How many events there were.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.events
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
