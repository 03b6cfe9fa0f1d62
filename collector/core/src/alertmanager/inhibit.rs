//! `inhibit_rules`: alerts that keep others quiet.

use std::collections::BTreeSet;

use watchfire_shared::document::{self, Mistake, Node, Report, Table};
use watchfire_shared::labels::Labels;
use watchfire_shared::matcher::Matcher;

use super::matchers;

/// While an alert fires that matches the source, alerts that match the target and agree in the `equal` labels are quiet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InhibitRule {
    pub name: String,
    pub source: Vec<Matcher>,
    pub target: Vec<Matcher>,
    /// Labels that must be equal; an absent one is the empty text.
    pub equal: BTreeSet<String>,
}

impl InhibitRule {
    #[must_use]
    pub fn is_source(&self, labels: &Labels) -> bool {
        self.source.iter().all(|matcher| matcher.matches_labels(labels))
    }

    #[must_use]
    pub fn is_target(&self, labels: &Labels) -> bool {
        self.target.iter().all(|matcher| matcher.matches_labels(labels))
    }

    /// The values of the `equal` labels, in the order of their names.
    #[must_use]
    pub fn key(&self, labels: &Labels) -> Vec<String> {
        self.equal.iter().map(|name| labels.value(name).to_owned()).collect()
    }
}

pub(super) fn read(node: &Node, warnings: &mut Vec<Mistake>, report: &mut Report) -> Option<InhibitRule> {
    let mut table = Table::of(node, report)?;
    let source = ["source_match", "source_match_re", "source_matchers"];
    let target = ["target_match", "target_match_re", "target_matchers"];
    let rule = InhibitRule {
        name: table.optional(report, "name", document::text).unwrap_or_default(),
        source: matchers::read(&mut table, source, warnings, report),
        target: matchers::read(&mut table, target, warnings, report),
        equal: table.optional(report, "equal", document::text_list).unwrap_or_default().into_iter().collect(),
    };
    table.finish(report);
    Some(rule)
}
