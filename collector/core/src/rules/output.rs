//! What a rule set is given and what it gives: settings, and everything that has to be done for it.

use watchfire_promql::Syntax;
use watchfire_shared::labels::Labels;
use watchfire_shared::time::{Span, Timestamp};
use watchfire_store::StateChange;

use super::{Job, Rule};
use crate::alert::Alert;
use crate::template;

/// The table of the durable state that holds the alerts of rules.
pub const TABLE: &str = "rules";

/// What all groups share.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The interval of groups that name none, and the step of subqueries that name none.
    pub interval: Span,
    /// How old a sample may be and still stand for now.
    pub lookback: Span,
    /// Samples that one query may hold at once.
    pub max_samples: usize,
    /// What the function `query` of templates may use beyond the stable language.
    pub syntax: Syntax,
    /// `$externalLabels` of templates.
    pub external_labels: Labels,
    /// `$externalURL` of templates and the start of every generator URL; no slash at its end.
    pub external_url: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            interval: Span::from_seconds(15),
            lookback: Span::from_seconds(300),
            max_samples: 50_000_000,
            syntax: Syntax::default(),
            external_labels: Labels::default(),
            external_url: String::new(),
        }
    }
}

/// What has to be done, in any order, except that `changes` must be durable together with `alerts`.
#[derive(Debug, Default)]
pub struct Output {
    /// Evaluations to run on a snapshot; each result goes to [`RuleSet::apply`].
    pub jobs: Vec<Job>,
    /// Alerts that fired, were resolved, or go on firing with other annotations.
    pub alerts: Vec<Alert>,
    /// Samples to store.
    pub appends: Vec<Append>,
    /// Durable state to write.
    pub changes: Vec<StateChange>,
    /// What operators should know.
    pub facts: Vec<Fact>,
}

/// Samples of one group and time; a stale marker ends a series.
#[derive(Clone, PartialEq, Debug)]
pub struct Append {
    /// The name of the local source, `rules/FILE/GROUP`.
    pub source: String,
    pub at: Timestamp,
    /// Sorted by labels, each set at most once.
    pub samples: Vec<(Labels, f64)>,
}

/// What operators should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fact {
    /// Regular evaluations were left out, since an earlier one took too long or the collector was busy.
    Missed { file: String, group: String, evaluations: u64 },
    /// A rule began to fail, or fails for another reason than before.
    Failed { file: String, group: String, rule: String, message: String },
    /// A rule that failed works again.
    Recovered { file: String, group: String, rule: String },
    /// An evaluation took longer than the group's interval.
    Slow { file: String, group: String, took: Span },
    /// A durable record could not be read and was removed.
    BadRecord { key: String },
}

/// Counters since the start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Totals {
    /// Rules evaluated, the failed ones included.
    pub evaluations: u64,
    pub failures: u64,
    /// Regular evaluations of groups that were left out.
    pub missed: u64,
}

impl Settings {
    /// Where a person sees the rule's expression and its result.
    pub(super) fn generator_url(&self, rule: &Rule) -> String {
        format!("{}/graph?g0.expr={}&g0.tab=1", self.external_url, template::query_escape(&rule.expr.to_string()))
    }
}
