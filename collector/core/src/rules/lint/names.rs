//! Which metrics there can be: those of agents, of the collector, and what rules record.

use std::collections::BTreeSet;

use watchfire_promql::Expr;
use watchfire_shared::labels::METRIC_NAME;
use watchfire_shared::matcher::MatchOp;

use crate::metadata::Metadata;
use crate::rules::Group;

/// What agents send. A test over the agent's own samples keeps it whole.
const AGENT_METRICS: &str = include_str!("agent_metrics.txt");
/// Below this, two names have little in common.
const ALIKE: f64 = 0.92;

/// The names that are known.
pub(super) struct Known {
    names: BTreeSet<String>,
    prefixes: Vec<&'static str>,
}

impl Known {
    pub(super) fn new(groups: &[Group]) -> Self {
        let lines = AGENT_METRICS.lines().filter(|line| !line.starts_with('#'));
        let (prefixes, agents): (Vec<&str>, Vec<&str>) = lines.partition(|line| line.ends_with('*'));
        let records = groups.iter().flat_map(|group| &group.rules).filter(|rule| rule.alert().is_none());
        let own = Metadata::default();
        let names = agents.into_iter().chain(own.iter().map(|(name, _)| name)).chain(["ALERTS", "ALERTS_FOR_STATE"]);
        let names = names.map(str::to_owned).chain(records.map(|rule| rule.name.clone()));
        Self { names: names.collect(), prefixes: prefixes.iter().map(|line| line.trim_end_matches('*')).collect() }
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }

    /// A warning for each name that an expression asks for and nobody is known to send, unless it was told already.
    pub(super) fn unknown(&self, expr: &Expr, told: &mut BTreeSet<String>) -> Vec<String> {
        let mut warnings = Vec::new();
        for selector in expr.selectors() {
            let named = selector.matchers.iter().filter(|matcher| matcher.name == METRIC_NAME);
            for matcher in named.filter(|matcher| matcher.op == MatchOp::Equal && !self.has(&matcher.value)) {
                if told.insert(matcher.value.clone()) {
                    let hint = self.nearest(&matcher.value);
                    let hint = hint.map(|near| format!(", did you mean `{near}`?")).unwrap_or_default();
                    let nobody = "comes from no agent, and no rule here records it";
                    warnings.push(format!("`{}` {nobody}{hint}", matcher.value));
                }
            }
        }
        warnings
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let scored = self.names.iter().map(|known| (strsim::jaro_winkler(name, known), known));
        let close = scored.filter(|(score, _)| *score > ALIKE);
        close.max_by(|left, right| left.0.total_cmp(&right.0)).map(|(_, known)| known.as_str())
    }
}
