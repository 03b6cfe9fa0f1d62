//! The durable form of alerts: one record per alert, written when its state changes.
//!
//! `for` and `keep_firing_for` count from points in time that are in the record, so a restart neither shortens nor restarts
//! them. Value and annotations in a record are those of the last change of state.

use watchfire_shared::labels::{Fingerprint, Labels};
use watchfire_store::StateChange;

use super::TABLE;
use super::alert::ActiveAlert;

/// The key of an alert's record: its rule and its labels.
pub(super) fn key(rule: Fingerprint, labels: &Labels) -> String {
    format!("{rule}/{}", labels.fingerprint())
}

pub(super) fn save(rule: Fingerprint, alert: &ActiveAlert) -> StateChange {
    // Named fields, so that a later version can add one and an older one can pass over it.
    let value = rmp_serde::to_vec_named(alert).expect("texts, numbers and times can always be encoded");
    StateChange { table: TABLE, key: key(rule, &alert.labels), value: Some(value) }
}

pub(super) fn forget(rule: Fingerprint, labels: &Labels) -> StateChange {
    StateChange { table: TABLE, key: key(rule, labels), value: None }
}

/// Reads a record back; `None` if it is none, or not the one that belongs to the key.
pub(super) fn load(record_key: &str, value: &[u8]) -> Option<(Fingerprint, ActiveAlert)> {
    let (rule, _) = record_key.split_once('/')?;
    let rule = Fingerprint(u64::from_str_radix(rule, 16).ok()?);
    let alert: ActiveAlert = rmp_serde::from_slice(value).ok()?;
    (key(rule, &alert.labels) == record_key).then_some((rule, alert))
}
