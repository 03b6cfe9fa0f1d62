//! What happened in a run: a fingerprint of everything, and the last lines for a person.

use std::collections::VecDeque;
use std::fmt;

use watchfire_shared::time::Timestamp;

/// Lines that are kept for a failing run's report.
const KEPT: usize = 400;

/// The record of a run.
#[derive(Default)]
pub struct Trace {
    hash: u64,
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
        // FNV-1a; a fingerprint, not a defence.
        let start = if self.hash == 0 { 0xcbf2_9ce4_8422_2325 } else { self.hash };
        self.hash =
            bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    }

    /// The fingerprint of all events so far; equal runs have equal ones.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        self.hash
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
