//! Which alerts keep which others quiet, found through an index over the labels that must be equal.
//!
//! Beside the rules of the configuration there is one that needs none: the alert that a whole group of nodes has fallen keeps
//! the alerts of its fallen nodes quiet. Which nodes those are changes with every event, so no label could say it.

use std::collections::{BTreeMap, BTreeSet};

use watchfire_shared::labels::{ALERT_NAME, Fingerprint, INSTANCE, Labels};

use crate::alertmanager::{Config, InhibitRule};

/// The name of the alert that a group of nodes has fallen. Its labels `label` and `value` say which.
pub const GROUP_ALERT: &str = "NodeGroupDown";

/// The inhibit rules with the alerts that match their sources.
#[derive(Debug, Default)]
pub(super) struct Inhibitor {
    rules: Vec<Indexed>,
    /// The group that explains what is wrong with an instance.
    explained: BTreeMap<String, Group>,
    /// Alerts that tell of a group.
    groups: BTreeMap<Group, BTreeSet<Fingerprint>>,
}

/// A label and its value.
type Group = (String, String);

fn group_of(labels: &Labels) -> Option<Group> {
    let told = labels.value(ALERT_NAME) == GROUP_ALERT;
    told.then(|| (labels.value("label").to_owned(), labels.value("value").to_owned()))
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
        let rules = config.inhibit_rules.iter().map(indexed).collect();
        Self { rules, explained: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Goes on with what another one knew of fallen groups.
    pub(super) fn explaining_as(mut self, before: &Self) -> Self {
        self.explained.clone_from(&before.explained);
        self
    }

    pub(super) fn explain(&mut self, instances: BTreeMap<String, Group>) {
        self.explained = instances;
    }

    pub(super) fn insert(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        if let Some(group) = group_of(labels) {
            self.groups.entry(group).or_default().insert(fingerprint);
        }
        for Indexed { rule, sources } in &mut self.rules {
            if rule.is_source(labels) {
                sources.entry(rule.key(labels)).or_default().insert(fingerprint, rule.is_target(labels));
            }
        }
    }

    pub(super) fn remove(&mut self, fingerprint: Fingerprint, labels: &Labels) {
        if let Some(group) = group_of(labels)
            && let Some(alerts) = self.groups.get_mut(&group)
        {
            alerts.remove(&fingerprint);
            if alerts.is_empty() {
                self.groups.remove(&group);
            }
        }
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
        self.by_group(labels, is_firing).or_else(|| self.by_rule(labels, is_firing))
    }

    /// The alert of the group that explains what is wrong with the instance.
    fn by_group(&self, labels: &Labels, is_firing: &dyn Fn(Fingerprint) -> bool) -> Option<Fingerprint> {
        let group = self.explained.get(labels.get(INSTANCE)?)?;
        self.groups.get(group)?.iter().copied().find(|alert| is_firing(*alert))
    }

    fn by_rule(&self, labels: &Labels, is_firing: &dyn Fn(Fingerprint) -> bool) -> Option<Fingerprint> {
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
