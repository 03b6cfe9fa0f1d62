//! What was decided about alerts, and why: the last decisions, kept over restarts. Orders and attempts have histories of
//! their own; this tells of what was *not* done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use watchfire_shared::labels::INSTANCE;
use watchfire_shared::time::Timestamp;

use super::{Case, Output, encode};

/// The table of decisions, by place in a ring.
pub(crate) const TABLE: &str = "remediation_journal";
/// Decisions that are kept: a storm over some hundred nodes, and what came before it.
const MAX_ENTRIES: u64 = 512;

/// One decision: a case that came to be, or entered another state, or is kept back by other guards.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// Rises by one.
    pub seq: u64,
    pub at: Timestamp,
    pub remediation: String,
    pub alert: String,
    pub instance: String,
    pub state: String,
    pub reasons: Vec<String>,
}

/// The last decisions.
#[derive(Debug, Default)]
pub(super) struct Journal(BTreeMap<u64, Entry>);

impl Journal {
    pub(super) fn restore(records: &[(String, Vec<u8>)]) -> Self {
        let entries = records.iter().filter_map(|(_, value)| rmp_serde::from_slice::<Entry>(value).ok());
        Self(entries.map(|entry| (entry.seq, entry)).collect())
    }

    /// Those of one remediation, the newest first.
    pub(super) fn of<'a>(&'a self, remediation: &'a str) -> impl Iterator<Item = &'a Entry> {
        self.0.values().rev().filter(move |entry| entry.remediation == remediation)
    }

    pub(super) fn add(&mut self, now: Timestamp, remediation: &str, case: &Case, out: &mut Vec<Output>) {
        let seq = self.0.last_key_value().map_or(0, |(seq, _)| seq + 1);
        let entry = Entry {
            seq,
            at: now,
            remediation: remediation.to_owned(),
            alert: case.alert.value(watchfire_shared::labels::ALERT_NAME).to_owned(),
            instance: case.alert.value(INSTANCE).to_owned(),
            state: case.state.as_str().to_owned(),
            reasons: case.reasons.clone(),
        };
        let key = (seq % MAX_ENTRIES).to_string();
        out.push(Output::Note { table: TABLE, key, value: encode(&entry) });
        self.0.insert(seq, entry);
        while self.0.len() as u64 > MAX_ENTRIES {
            self.0.pop_first();
        }
    }
}
