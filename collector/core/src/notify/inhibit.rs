//! Which alerts keep which others quiet, found through an index over the labels that must be equal.

use std::collections::BTreeMap;

use watchfire_shared::labels::{Fingerprint, Labels};

use crate::alertmanager::{Config, InhibitRule};

/// The inhibit rules with the alerts that match their sources.
#[derive(Debug, Default)]
pub(super) struct Inhibitor {
    rules: Vec<Indexed>,
}

#[derive(Debug)]
struct Indexed {
    rule: InhibitRule,
    /// Sources by the values of the `equal` labels; the flag says that the source matches the target too.
    sources: BTreeMap<Vec<String>, BTreeMap<Fingerprint, bool>>,
}

impl Inhibitor {
    pub(super) fn new(config: &Config) -> Self {
        let indexed = |rule: &InhibitRule| Indexed { rule: rule.clone(), sources: BTreeMap::new() };
        Self { rules: config.inhibit_rules.iter().map(indexed).collect() }
    }

    pub(super) fn insert(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for Indexed { rule, sources } in &mut self.rules {
            if rule.is_source(labels) {
                sources.entry(rule.key(labels)).or_default().insert(fingerprint, rule.is_target(labels));
            }
        }
    }

    pub(super) fn remove(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        for Indexed { rule, sources } in &mut self.rules {
            let key = rule.key(labels);
            if let Some(alerts) = sources.get_mut(&key) {
                alerts.remove(&fingerprint);
                if alerts.is_empty() {
                    sources.remove(&key);
                }
            }
        }
    }

    /// A firing alert that keeps one with these labels quiet. An alert that matches both sides of a rule is not kept quiet by
    /// another that does, or each would silence the other.
    pub(super) fn inhibited_by(&self, labels: &Labels, is_firing: &dyn Fn(Fingerprint) -> bool) -> Option<Fingerprint> {
        self.rules.iter().find_map(|Indexed { rule, sources }| {
            if !rule.is_target(labels) {
                return None;
            }
            let alerts = sources.get(&rule.key(labels))?;
            let both = rule.is_source(labels);
            alerts
                .iter()
                .find(|(source, two_sided)| !(both && **two_sided) && is_firing(**source))
                .map(|(source, _)| *source)
        })
    }
}
