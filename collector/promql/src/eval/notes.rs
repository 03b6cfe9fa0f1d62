//! Remarks about an evaluation, each with the place that it is about.

use std::collections::BTreeSet;

use crate::ast::Place;

/// Remarks kept of one query, of each kind. One per kind and selector is usual; data that is wrong everywhere would
/// otherwise yield one per series.
const MAX_NOTES: usize = 100;

/// Remarks, each text once.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    warnings: BTreeSet<String>,
    infos: BTreeSet<String>,
}

impl Notes {
    pub(super) fn warn(&mut self, text: &str, place: Place) {
        add(&mut self.warnings, "warning", text, place);
    }

    pub(super) fn inform(&mut self, text: &str, place: Place) {
        add(&mut self.infos, "info", text, place);
    }

    pub(super) fn into_texts(self) -> (Vec<String>, Vec<String>) {
        (self.warnings.into_iter().collect(), self.infos.into_iter().collect())
    }
}

fn add(notes: &mut BTreeSet<String>, kind: &str, text: &str, place: Place) {
    if notes.len() < MAX_NOTES {
        notes.insert(format!("PromQL {kind}: {text} ({}:{})", place.line, place.column));
    }
}
