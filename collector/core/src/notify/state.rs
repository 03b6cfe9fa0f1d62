//! What the pipeline keeps on disk: tables of records, written as changes and read back at the start.
//!
//! | table | key | record |
//! |---|---|---|
//! | `notify_alert` | fingerprint | the alert, and whether it was resolved when it was written |
//! | `notify_group` | route and group labels | when the group speaks next |
//! | `notify_log` | group, unit separator, integration | what the integration was told last |
//! | `notify_outbox` | number of the delivery | a notification on its way |
//! | `notify_silence` | its id | a silence |
//!
//! Values are MessagePack maps with the names of the fields, so that fields may be added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use watchfire_shared::labels::Fingerprint;
use watchfire_shared::matcher::{MatchOp, Matcher};
use watchfire_shared::time::Timestamp;

use super::dedup::{LogEntry, Reason, ReceiverData};
use super::group::Timer;
use super::silence::Silence;
use crate::alert::Alert;

pub const ALERTS: &str = "notify_alert";
pub const GROUPS: &str = "notify_group";
pub const LOG: &str = "notify_log";
pub const OUTBOX: &str = "notify_outbox";
pub const SILENCES: &str = "notify_silence";

/// All tables of this module; what they hold is handed to [`super::Pipeline::new`].
pub const TABLES: &[&str] = &[ALERTS, GROUPS, LOG, OUTBOX, SILENCES];

/// Stands between the two parts of a log entry's key; no route or receiver holds it in practice, and one that does only
/// loses its entry at a restart.
const SEPARATOR: char = '\u{1f}';

/// One change of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub table: &'static str,
    pub key: String,
    /// `None` deletes the record.
    pub value: Option<Vec<u8>>,
}

/// One record as it was found on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Saved {
    pub table: String,
    pub key: String,
    pub value: Vec<u8>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AlertRecord {
    pub(super) alert: Alert,
    pub(super) resolved: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct GroupRecord {
    pub(super) next: Timestamp,
    pub(super) flushed: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct LogRecord {
    pub(super) at: Timestamp,
    pub(super) firing: BTreeSet<Fingerprint>,
    pub(super) resolved: BTreeSet<Fingerprint>,
    #[serde(default)]
    pub(super) data: ReceiverData,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OutboxRecord {
    pub(super) group: String,
    pub(super) group_key: String,
    pub(super) integration: String,
    pub(super) at: Timestamp,
    pub(super) reason: Reason,
    pub(super) firing: BTreeSet<Fingerprint>,
    pub(super) resolved: BTreeSet<Fingerprint>,
    pub(super) timeout_millis: i64,
    pub(super) body: String,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SilenceRecord {
    id: String,
    matchers: Vec<MatcherRecord>,
    starts_at: Timestamp,
    ends_at: Timestamp,
    updated_at: Timestamp,
    created_by: String,
    comment: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Serialize, Deserialize)]
struct MatcherRecord {
    name: String,
    op: String,
    value: String,
}

pub(super) fn save_alert(fingerprint: Fingerprint, alert: &Alert, resolved: bool) -> Change {
    save(ALERTS, fingerprint.to_string(), &AlertRecord { alert: alert.clone(), resolved })
}

pub(super) fn save_group(id: &str, timer: Timer) -> Change {
    save(GROUPS, id.to_owned(), &GroupRecord { next: timer.next, flushed: timer.flushed })
}

pub(super) fn save_log(key: &(Arc<str>, String), entry: &LogEntry) -> Change {
    let LogEntry { at, firing, resolved, data } = entry.clone();
    save(LOG, log_key(key), &LogRecord { at, firing, resolved, data })
}

pub(super) fn save_silence(silence: &Silence) -> Change {
    let matcher = |matcher: &Matcher| MatcherRecord {
        name: matcher.name.clone(),
        op: matcher.op.as_str().to_owned(),
        value: matcher.value.clone(),
    };
    let record = SilenceRecord {
        id: silence.id.clone(),
        matchers: silence.matchers.iter().map(matcher).collect(),
        starts_at: silence.starts_at,
        ends_at: silence.ends_at,
        updated_at: silence.updated_at,
        created_by: silence.created_by.clone(),
        comment: silence.comment.clone(),
        annotations: silence.annotations.clone(),
    };
    save(SILENCES, silence.id.clone(), &record)
}

pub(super) fn save(table: &'static str, key: String, record: &impl Serialize) -> Change {
    let value = rmp_serde::to_vec_named(record).expect("records are plain structs of texts, numbers and lists");
    Change { table, key, value: Some(value) }
}

pub(super) fn delete(table: &'static str, key: String) -> Change {
    Change { table, key, value: None }
}

pub(super) fn read<T: DeserializeOwned>(saved: &Saved) -> Option<T> {
    rmp_serde::from_slice(&saved.value).ok()
}

pub(super) fn log_key(key: &(Arc<str>, String)) -> String {
    format!("{}{SEPARATOR}{}", key.0, key.1)
}

pub(super) fn parse_log_key(key: &str) -> Option<(Arc<str>, String)> {
    key.rsplit_once(SEPARATOR).map(|(group, integration)| (group.into(), integration.to_owned()))
}

impl SilenceRecord {
    pub(super) fn into_silence(self) -> Option<Silence> {
        let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
        let matcher = |record: MatcherRecord| {
            let op = ops.into_iter().find(|op| op.as_str() == record.op)?;
            Matcher::new(record.name, op, record.value).ok()
        };
        Some(Silence {
            id: self.id,
            matchers: self.matchers.into_iter().map(matcher).collect::<Option<_>>()?,
            starts_at: self.starts_at,
            ends_at: self.ends_at,
            updated_at: self.updated_at,
            created_by: self.created_by,
            comment: self.comment,
            annotations: self.annotations,
        })
    }
}
