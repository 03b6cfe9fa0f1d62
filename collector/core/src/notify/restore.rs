//! How the pipeline begins: from what an earlier process saved.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::labels::Fingerprint;
use watchfire_shared::time::Timestamp;

use super::dedup::LogEntry;
use super::group::Timer;
use super::state::{self, AlertRecord, GroupRecord, LogRecord, OutboxRecord, Saved, SilenceRecord};
use super::{Effect, Fact, Held, Inhibitor, Outbox, Pipeline, Silences, outbox};
use crate::alertmanager::Config;

impl Pipeline {
    /// Makes the pipeline from the records of the tables in [`state::TABLES`]; none for a first start.
    ///
    /// `external_url` is what messages name as the place to look. Records that cannot be read are skipped and told as facts by
    /// the first call, which is due at once. Alerts are kept as they were; one whose end was only the time by which it would
    /// have to be sent again gets that time anew.
    #[must_use]
    pub fn new(
        now: Timestamp,
        config: Arc<Config>,
        external_url: impl Into<String>,
        saved: impl IntoIterator<Item = Saved>,
    ) -> Self {
        let inhibitor = Inhibitor::new(&config);
        let mut pipeline = Self {
            config,
            external_url: external_url.into(),
            alerts: BTreeMap::new(),
            groups: BTreeMap::new(),
            timers: Default::default(),
            log: BTreeMap::new(),
            outbox: Outbox::default(),
            inhibitor,
            silences: Silences::default(),
            next_sweep: now,
            early: Vec::new(),
        };
        let mut timers = BTreeMap::new();
        for record in saved {
            if pipeline.restore(now, &record, &mut timers).is_none() {
                pipeline.early.push(Effect::Fact(Fact::UnreadableState { table: record.table, key: record.key }));
            }
        }
        pipeline.regroup(now, &timers);
        pipeline
    }

    fn restore(&mut self, now: Timestamp, saved: &Saved, timers: &mut BTreeMap<Arc<str>, Timer>) -> Option<()> {
        match saved.table.as_str() {
            state::ALERTS => {
                let AlertRecord { mut alert, resolved } = state::read(saved)?;
                if !resolved && let Some(end) = &mut alert.ends_at {
                    *end = (*end).max(now + self.config.global.resolve_timeout);
                }
                let fingerprint = alert.fingerprint();
                self.alerts.insert(fingerprint, Held { alert, groups: Vec::new(), saved_resolved: resolved });
            }
            state::GROUPS => {
                let GroupRecord { next, flushed } = state::read(saved)?;
                timers.insert(saved.key.as_str().into(), Timer { next, flushed });
            }
            state::LOG => {
                let LogRecord { at, firing, resolved, data } = state::read(saved)?;
                self.log.insert(state::parse_log_key(&saved.key)?, LogEntry { at, firing, resolved, data });
            }
            state::OUTBOX => {
                let record: OutboxRecord = state::read(saved)?;
                let (integration, group_key) = (record.integration.clone(), record.group_key.clone());
                if self.outbox.restore(now, saved.key.parse().ok()?, record, &self.config).is_none() {
                    let reason = outbox::GONE.to_owned();
                    self.early.push(Effect::Save(state::delete(state::OUTBOX, saved.key.clone())));
                    self.early.push(Effect::Fact(Fact::Abandoned { integration, group_key, reason }));
                }
            }
            state::SILENCES => self.silences.restore(state::read::<SilenceRecord>(saved)?.into_silence()?),
            _ => return None,
        }
        Some(())
    }

    /// Sorts the restored alerts into groups, and forgets the timers of groups that are none any more.
    fn regroup(&mut self, now: Timestamp, timers: &BTreeMap<Arc<str>, Timer>) {
        let mut effects = Vec::new();
        let fingerprints: Vec<Fingerprint> = self.alerts.keys().copied().collect();
        for fingerprint in fingerprints {
            if let Some(held) = self.alerts.get(&fingerprint) {
                self.inhibitor.insert(fingerprint, &held.alert.labels);
            }
            self.join_groups(now, fingerprint, timers, &mut effects);
        }
        for id in timers.keys().filter(|id| !self.groups.contains_key(*id)) {
            effects.push(Effect::Save(state::delete(state::GROUPS, id.to_string())));
        }
        self.early.append(&mut effects);
    }
}
