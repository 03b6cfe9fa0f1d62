//! The collector's figures about itself, put together from its parts, and the records of nodes for the next start.

use std::collections::BTreeMap;
use std::sync::Arc;

use watchfire_shared::time::Timestamp;
use watchfire_store::{Disk, Quarantined};

use super::{Engine, NODE_TABLE};
use crate::series::freshness::Coverage;
use crate::series::node::NodeRecord;
use crate::series::write::{IntegrationFigures, SelfFigures};
use crate::view::Stats;

impl<D: Disk> Engine<D> {
    pub(super) fn figures(&self) -> SelfFigures {
        let (rules, notifications) = (self.rules.totals(), self.notifications());
        SelfFigures {
            ingest: self.ingest.counters(),
            remote_write: self.writer.counters(),
            agents_connected: self.ingest.agents(),
            coverage: Coverage::of(&self.fleet),
            fresh: self.freshness.is_fresh(),
            storage_full: self.durability.is_full(),
            store_behind: self.store.is_behind(),
            wal_sync_failures: self.durability.failures(),
            state_commit_failures: self.ledger.failures(),
            store: self.store.stats(),
            nodes: self.fleet.nodes().count(),
            nodes_refused: self.fleet.refused(),
            rule_evaluations: rules.evaluations,
            rule_evaluation_failures: rules.failures,
            rule_iterations_missed: rules.missed,
            rule_results_lost: self.lost_results,
            notifications_queued: notifications.iter().map(|own| own.queued).sum(),
            notifications,
            remediation: self.remediator.figures(),
            exports: self.exports.clone(),
        }
    }

    fn notifications(&self) -> Vec<IntegrationFigures> {
        let receivers = self.notifier.receivers();
        let integrations = receivers.into_iter().flat_map(|receiver| {
            let name = receiver.name;
            receiver.integrations.into_iter().map(move |own| IntegrationFigures {
                receiver: name.clone(),
                integration: own.kind.to_owned(),
                sent: own.delivered,
                failed: own.failed,
                queued: own.pending.len(),
            })
        });
        // Two integrations of one kind in one receiver share their series.
        let mut figures: BTreeMap<(String, String), IntegrationFigures> = BTreeMap::new();
        for own in integrations {
            let sum = figures.entry((own.receiver.clone(), own.integration.clone())).or_default();
            *sum = IntegrationFigures {
                sent: sum.sent + own.sent,
                failed: sum.failed + own.failed,
                queued: sum.queued + own.queued,
                ..own
            };
        }
        figures.into_values().collect()
    }

    /// Hands the records of changed nodes to the ledger.
    pub(super) fn save_nodes(&mut self, now: Timestamp) {
        for id in self.fleet.take_unsaved() {
            let record = self.fleet.get(id).map(|node| encode(&node.record));
            self.ledger.change_soon(now, NODE_TABLE, id.to_string(), record);
        }
        self.save_retired(now);
    }
}

/// What is shown of the figures by name.
pub(super) fn stats(figures: &SelfFigures, damaged: &Arc<Vec<Quarantined>>) -> Stats {
    Stats {
        ingest: figures.ingest,
        remote_write: figures.remote_write,
        agents_connected: figures.agents_connected,
        agents_expected: figures.coverage.expected,
        storage_full: figures.storage_full,
        store: figures.store,
        store_behind: figures.store_behind,
        damaged: Arc::clone(damaged),
        notifications_queued: figures.notifications_queued,
        exports: figures.exports.clone(),
    }
}

fn encode(record: &NodeRecord) -> Vec<u8> {
    // Named fields, so that a later version can add one and an older one can pass over it.
    rmp_serde::to_vec_named(record).expect("texts, numbers and times can always be encoded")
}
