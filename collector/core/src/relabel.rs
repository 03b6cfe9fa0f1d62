//! Relabelling rules as Prometheus has them (`write_relabel_configs`): what they say, and what they make of a series.
//!
//! The source is Prometheus' `model/relabel`; <https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config>.

mod config;

#[cfg(test)]
mod tests;

use regex::Regex;
use watchfire_shared::labels::{Labels, LabelsBuilder};
use watchfire_shared::matcher::expand;

pub use config::read;

use crate::md5::md5;

/// What a rule does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    Replace,
    Keep,
    Drop,
    KeepEqual,
    DropEqual,
    HashMod,
    LabelMap,
    LabelDrop,
    LabelKeep,
    Lowercase,
    Uppercase,
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    action: Action,
    sources: Vec<String>,
    separator: String,
    regex: Regex,
    target: String,
    replacement: String,
    modulus: u64,
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let texts = |rule: &Self| (rule.separator.clone(), rule.target.clone(), rule.replacement.clone());
        (self.action, &self.sources, self.regex.as_str(), self.modulus)
            == (other.action, &other.sources, other.regex.as_str(), other.modulus)
            && texts(self) == texts(other)
    }
}

/// The labels of a series after the rules, one after the other; `None` if one of them drops the series. Some of them it
/// did not have at `first`, before external ones were added.
#[must_use]
pub fn apply(rules: &[Rule], labels: &Labels, first: &Labels) -> Option<Labels> {
    let mut builder = labels.to_builder();
    rules.iter().all(|rule| rule.apply(&mut builder, first)).then(|| builder.build())
}

impl Rule {
    /// Changes the labels; returns whether the series is kept.
    fn apply(&self, labels: &mut LabelsBuilder, first: &Labels) -> bool {
        let value = self.source(labels);
        match self.action {
            Action::Keep => return self.regex.is_match(&value),
            Action::Drop => return !self.regex.is_match(&value),
            Action::KeepEqual => return labels.get(&self.target).unwrap_or_default() == value,
            Action::DropEqual => return labels.get(&self.target).unwrap_or_default() != value,
            Action::Replace => self.replace(&value, labels),
            Action::HashMod => {
                let [.., a, b, c, d, e, f, g, h] = md5(value.as_bytes());
                let number = u64::from_be_bytes([a, b, c, d, e, f, g, h]) % self.modulus;
                labels.set(self.target.as_str(), number.to_string());
            }
            Action::LabelMap => self.map(labels, first),
            Action::LabelDrop => drop(labels.retain(|name| !self.regex.is_match(name))),
            Action::LabelKeep => drop(labels.retain(|name| self.regex.is_match(name))),
            Action::Lowercase => drop(labels.set(self.target.as_str(), value.chars().map(lower).collect::<String>())),
            Action::Uppercase => drop(labels.set(self.target.as_str(), value.chars().map(upper).collect::<String>())),
        }
        true
    }

    /// The values of the source labels with the separator between them.
    fn source(&self, labels: &LabelsBuilder) -> String {
        let values = self.sources.iter().map(|name| labels.get(name).unwrap_or_default());
        values.collect::<Vec<_>>().join(&self.separator)
    }

    fn replace(&self, value: &str, labels: &mut LabelsBuilder) {
        let Some(captures) = self.regex.captures(value) else { return };
        let (mut target, mut replacement) = (String::new(), String::new());
        expand(&captures, &self.target, &mut target);
        expand(&captures, &self.replacement, &mut replacement);
        if !target.is_empty() {
            labels.set(target, replacement);
        }
    }

    /// Copies labels to the names that theirs give; they were all read before the first is written. Where two go to one
    /// name, that which was added or changed before wins over what was there at first.
    fn map(&self, labels: &mut LabelsBuilder, first: &Labels) {
        let all = labels.clone().build();
        let (old, set): (Vec<_>, Vec<_>) = all.iter().partition(|(name, value)| first.get(name) == Some(*value));
        for (name, value) in old.into_iter().chain(set) {
            if let Some(captures) = self.regex.captures(name) {
                let mut target = String::new();
                expand(&captures, &self.replacement, &mut target);
                if !target.is_empty() {
                    labels.set(target, value);
                }
            }
        }
    }
}

/// Go's `unicode.ToLower`, which makes one character of one.
fn lower(char: char) -> char {
    char.to_lowercase().next().unwrap_or(char)
}

/// Go's `unicode.ToUpper`, which leaves a character alone that would become several, such as ß.
fn upper(char: char) -> char {
    let mut upper = char.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(one), None) => one,
        _ => char,
    }
}
