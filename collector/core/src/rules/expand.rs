//! Labels and annotations of alerts, expanded over what the evaluation sees.

use std::collections::BTreeMap;

use watchfire_promql::Storage;
use watchfire_shared::document::Position;
use watchfire_shared::labels::{ALERT_NAME, Labels, Text};
use watchfire_shared::sample::Sample;
use watchfire_shared::time::Timestamp;

use super::Settings;
use super::job::vector;
use crate::template::rule::{self, RuleData, Template, Values};

/// Checks a template.
///
/// # Errors
/// Where in the text the mistake is, and what it is.
pub(super) fn check(text: &str) -> Result<(), (Position, String)> {
    rule::check(text).map_err(|error| (error.at, error.message))
}

/// The templates of an alerting rule by the names of their labels and annotations.
#[derive(Debug, Clone)]
pub(super) struct Templates {
    /// The label that names the alert, and its value.
    pub(super) alert_name: (Text, Text),
    pub(super) labels: Vec<(Text, Template)>,
    pub(super) annotations: Vec<(Text, Template)>,
}

impl Templates {
    pub(super) fn new(alert: &str, labels: &BTreeMap<String, String>, annotations: &BTreeMap<String, String>) -> Self {
        let read = |texts: &BTreeMap<String, String>| {
            texts.iter().map(|(name, text)| (name.as_str().into(), Template::new(text))).collect()
        };
        Self { alert_name: (ALERT_NAME.into(), alert.into()), labels: read(labels), annotations: read(annotations) }
    }
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

    /// Expands the templates of a rule for one sample of its result, in their order. What cannot be expanded becomes a
    /// text that says so: an alert with a broken annotation is better than none.
    pub(super) fn expand<'t>(
        &self,
        templates: impl Iterator<Item = &'t (Text, Template)>,
        values: &Values<'_>,
    ) -> impl Iterator<Item = (Text, Text)> {
        templates.map(move |(name, template)| {
            let expanded = template.expand(values, &|text| self.query(text));
            (name.clone(), expanded.unwrap_or_else(|error| format!("<error expanding template: {error}>").into()))
        })
    }

    /// What the templates of one sample see.
    pub(super) fn values<'s>(&'s self, sample: &'s Sample) -> Values<'s> {
        Values::new(RuleData {
            labels: &sample.labels,
            value: sample.value,
            external_labels: &self.settings.external_labels,
            external_url: &self.settings.external_url,
            now: self.at,
        })
    }

    fn query(&self, text: &str) -> Result<Vec<(Labels, f64)>, String> {
        let expr = watchfire_promql::parse_with(text, self.settings.syntax).map_err(|error| error.to_string())?;
        let answer = watchfire_promql::instant(self.storage, &expr, self.at, &self.settings.options());
        let samples = vector(answer.map_err(|error| error.to_string())?.value)?;
        Ok(samples.into_iter().map(|sample| (sample.labels, sample.value)).collect())
    }
}
