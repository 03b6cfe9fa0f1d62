//! Labels and annotations of alerts, expanded over what the evaluation sees.

use watchfire_promql::Storage;
use watchfire_shared::document::Position;
use watchfire_shared::labels::Labels;
use watchfire_shared::sample::Sample;
use watchfire_shared::time::Timestamp;

use super::Settings;
use super::job::vector;
use crate::template::rule::{self, RuleData};

/// Checks a template.
///
/// # Errors
/// Where in the text the mistake is, and what it is.
pub(super) fn check(text: &str) -> Result<(), (Position, String)> {
    rule::check(text).map_err(|error| (error.at, error.message))
}

/// Expands templates at the time of an evaluation.
pub(super) struct Expander<'a> {
    storage: &'a dyn Storage,
    settings: &'a Settings,
    at: Timestamp,
}

impl<'a> Expander<'a> {
    pub(super) const fn new(storage: &'a dyn Storage, settings: &'a Settings, at: Timestamp) -> Self {
        Self { storage, settings, at }
    }

    /// Expands one template for one sample of the result. What cannot be expanded becomes a text that says so: an alert
    /// with a broken annotation is better than none.
    pub(super) fn expand(&self, template: &str, sample: &Sample) -> String {
        let data = RuleData {
            labels: &sample.labels,
            value: sample.value,
            external_labels: &self.settings.external_labels,
            external_url: &self.settings.external_url,
            now: self.at,
        };
        let expanded = rule::expand(template, data, &|text| self.query(text));
        expanded.unwrap_or_else(|error| format!("<error expanding template: {error}>"))
    }

    fn query(&self, text: &str) -> Result<Vec<(Labels, f64)>, String> {
        let expr = watchfire_promql::parse(text).map_err(|error| error.to_string())?;
        let answer = watchfire_promql::instant(self.storage, &expr, self.at, &self.settings.options());
        let samples = vector(answer.map_err(|error| error.to_string())?.value)?;
        Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect())
    }
}
